"""`pip install .` on every supported Python that this machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VERSIONS = ("3.11", "3.12", "3.13")


def _python(version: str) -> str | None:
    """A working interpreter of that version: of the path, or of pyenv."""
    if sys.version.startswith(version + "."):
        return sys.executable
    places = [
        shutil.which(f"python{version}"),
        *Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python"),
    ]
    for place in filter(None, places):
        ran = subprocess.run([str(place), "-c", "import venv, ensurepip"], capture_output=True, check=False)
        if ran.returncode == 0:
            return str(place)
    return None


@pytest.mark.parametrize(
    "version",
    [
        # the one that runs this, always; each takes half a minute
        version if sys.version.startswith(f"{version}.") else pytest.param(version, marks=pytest.mark.long)
        for version in VERSIONS
    ],
)
def test_pip_install(tmp_path: Path, version: str) -> None:
    """A fresh environment, `pip install .`, and the command answers; the hub's extra is not needed."""
    python = _python(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    source = tmp_path / "source"
    shutil.copytree(
        ROOT,
        source,
        ignore=shutil.ignore_patterns(
            ".git", ".venv", "*.egg-info", "build", "__pycache__", ".*_cache", ".hypothesis"
        ),
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    place = tmp_path / "venv"
    if python == sys.executable:
        venv.create(place, with_pip=True)
    else:
        subprocess.run([python, "-m", "venv", str(place)], check=True, timeout=120)
    pip = [str(place / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", str(source)], check=True, timeout=300, env=environment)
    subprocess.run([*pip, "check"], check=True, timeout=60, env=environment)
    masthead = str(place / "bin" / "masthead")
    helped = subprocess.run(
        [masthead, "--help"], capture_output=True, text=True, check=True, timeout=60, env=environment
    )
    assert "masthead demo" in helped.stdout
    without = subprocess.run(
        [masthead, "hub"], capture_output=True, text=True, check=False, timeout=60, env=environment
    )
    assert without.returncode == 1
    assert "pip install '.[hub]'" in without.stderr
    imports = [
        str(place / "bin" / "python"),
        "-c",
        "import agent, hw, agent.daemon, agent.cloud.azure, azure.iot.device",
    ]
    subprocess.run(imports, check=True, timeout=60, env=environment, cwd=tmp_path)
