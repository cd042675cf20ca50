"""A check ends in time, and one that fails keeps nobody from the others."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from agent.checks.finding import Finding, hidden, told_by, within


def test_a_check_that_hangs_is_left_to_itself() -> None:
    """And is told with what to do."""
    end = threading.Event()

    def hang() -> Finding:
        end.wait()
        return Finding("bus", "ok", "too late")

    found = within(0.05, "bus", hang)
    end.set()
    assert (found.name, found.state) == ("bus", "failed")
    assert "no answer within 0.05 s" in str(found)
    assert found.remedy


def test_a_check_that_breaks_is_a_finding() -> None:
    """Named, with the error."""
    found = within(30.0, "bus", lambda: Finding("bus", "ok", str(1 // 0)))
    assert found.state == "failed"
    assert "ZeroDivisionError" in found.text


def test_a_finding_is_one_line_with_its_remedy() -> None:
    """What is wrong, then what to do."""
    assert str(Finding("disk", "failed", "full", "make room")) == "full: make room"
    assert str(Finding("disk", "ok", "1 MB free")) == "1 MB free"


def test_what_a_user_may_not_see_is_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unlike what is there, or is not."""
    assert not hidden(tmp_path)
    assert not hidden(tmp_path / "none")

    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    assert hidden(tmp_path)


def test_programs_of_the_system_may_be_missing_fail_or_hang() -> None:
    """All of that is None."""
    assert told_by([sys.executable, "-c", "print('here')"], 30.0) == "here\n"
    assert told_by([sys.executable, "-c", "raise SystemExit(1)"], 30.0) is None
    assert told_by([sys.executable, "-c", "import time; time.sleep(60)"], 0.05) is None
    assert told_by(["no-such-program-anywhere"]) is None
