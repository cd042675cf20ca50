"""The unit, as far as it can be held against the rest of the repository; under systemd: tests/vm."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.harness import MASTHEAD

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "masthead.service"


def test_the_unit_is_valid(tmp_path: Path) -> None:
    """systemd-analyze verify finds nothing to complain about."""
    if shutil.which("systemd-analyze") is None:
        assert os.environ.get("CI") != "true", "systemd-analyze is missing"
        pytest.skip("no systemd-analyze")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/masthead/bin/masthead", MASTHEAD))
    result = subprocess.run(
        ["systemd-analyze", "--man=no", "verify", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_the_exit_program_is_where_the_unit_looks_for_it() -> None:
    """`pip install` into /opt/masthead puts it there, and the system's Python runs it, alone."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    ((folder, file),) = parser["options.data_files"].items()
    assert (ROOT / file.strip()).is_file()
    command = f"ExecStopPost=/usr/bin/python3 -I -S /opt/masthead/{folder}/{Path(file.strip()).name}"
    assert command in UNIT.read_text().splitlines()
