"""The Debian package of the working tree, built as `make deb` does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "deploy" / "debian" / "build"


def sources(folder: Path, version: str | None = None) -> Path:
    """A copy of what the package is made of, in ``folder``, as another ``version`` if one is given."""
    for name in ("agent", "hw", "deploy", "build/carried"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "CHANGELOG.md", "LICENSE", "setup.cfg"):
        shutil.copy2(ROOT / name, folder)
    if version is not None:
        told = folder / "agent" / "__init__.py"
        text, replaced = re.subn(
            r'^__version__ = ".*"$', f'__version__ = "{version}"', told.read_text(), flags=re.M
        )
        assert replaced == 1
        told.write_text(text)
    return folder


def build(tree: Path, output: Path) -> Path:
    """The package of ``tree``, in the folder ``output``."""
    environment = {**os.environ, "PYTHON": sys.executable, "SOURCE_DATE_EPOCH": "1700000000"}
    program = tree / BUILD.relative_to(ROOT)
    done = subprocess.run(
        [str(program), str(output)], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Path(done.stdout.split()[-1])
