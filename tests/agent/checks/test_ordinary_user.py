"""A user who may see next to nothing gets every check, and is told what root would see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

NOBODY = 65534
SCRIPT = """
import json, os, sys
sys.path[:0] = {path!r}
from pathlib import Path
from agent import checks
list(checks.run(Path({warm!r}), network=False))  # what is imported later may be closed to nobody
os.setgroups([])
os.setresgid({nobody}, {nobody}, {nobody})
os.setresuid({nobody}, {nobody}, {nobody})
for finding in checks.run(Path({config!r}), network=False):
    print(json.dumps([finding.name, finding.state, str(finding)]))
"""


@pytest.fixture
def mast() -> Iterator[Path]:
    """A folder that all may enter, in it one that only root may."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        (place / "closed").mkdir(mode=0o700)
        yield place


def write(path: Path, state: Path, **device: str) -> Path:
    lines = [f'{key} = "{value}"' for key, value in {"state_directory": str(state), **device}.items()]
    path.write_text("[device]\n" + "\n".join(lines) + '\n[[sensor]]\nid = "top"\ndriver = "simulated"\n')
    path.chmod(0o644)
    return path


def as_nobody(config: Path, warm: Path) -> dict[str, tuple[str, str]]:
    """The findings, by name, of a user who has no rights at all."""
    script = SCRIPT.format(path=sys.path, warm=str(warm), nobody=NOBODY, config=str(config))
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("IOTHUB", "MASTHEAD"))}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {name: (state, text) for name, state, text in map(json.loads, done.stdout.splitlines())}


def test_a_configuration_that_is_closed_has_a_remedy(mast: Path) -> None:
    """The installed one is for root and the service alone."""
    config, warm = write(mast / "masthead.toml", mast / "none"), write(mast / "warm.toml", mast / "none")
    config.chmod(0o640)
    state, text = as_nobody(config, warm)["configuration"]
    assert (state, "`sudo masthead check` can" in text) == ("failed", True)


@pytest.mark.parametrize("where", ["closed", "closed/state"])
def test_what_is_closed_is_said_and_not_tried(mast: Path, where: str) -> None:
    """State and credential: no traceback, and nothing that only root could know is called a failure."""
    closed = mast / where
    closed.mkdir(mode=0o700, exist_ok=True)
    config = write(mast / "masthead.toml", closed, connection_string_file=str(mast / "closed" / "connection"))
    warm = write(mast / "warm.toml", mast / "none")
    found = as_nobody(config, warm)
    assert found["agent"][0] == "warning"
    assert "use sudo" in found["agent"][1]
    assert found["sensors"][0] == "warning"
    assert "sudo masthead check" in found["sensors"][1]
    assert found["state"][0] in ("warning", "failed")
    assert found["credential"][0] == "warning"
    assert "Permission denied" in found["credential"][1]
    assert {"disk", "forecast", "clock", "permissions", "unit"} <= set(found)
