from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.harness import MASTHEAD

UNIT = Path(__file__).parents[2] / "deploy" / "masthead.service"


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
