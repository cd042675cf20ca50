"""What systemd says of the service, as a finding."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.checks import unit

WELL = {
    "LoadState": "loaded", "UnitFileState": "enabled", "ActiveState": "active", "SubState": "running",
    "NRestarts": "0", "Result": "success", "ExecMainStatus": "0",
}  # fmt: skip


def test_where_no_systemd_runs_it_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With words."""
    monkeypatch.setattr(unit, "RUNNING_SYSTEMD", tmp_path / "none")
    assert (unit.finding().state, "no systemd" in unit.finding().text) == ("ok", True)


def test_it_is_asked_of_systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not answer is a warning."""
    program = tmp_path / "systemctl"
    program.write_text("#!/bin/sh\necho LoadState=not-found\n")
    program.chmod(0o755)
    monkeypatch.setattr(unit, "RUNNING_SYSTEMD", tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert "is not installed (not-found)" in unit.finding().text
    program.write_text("#!/bin/sh\nexit 1\n")
    assert "does not answer" in unit.finding().text


def test_all_is_well() -> None:
    """Enabled and running."""
    found = unit.judge(WELL)
    assert (found.state, found.text, found.remedy) == ("ok", "enabled, active (running)", None)


@pytest.mark.parametrize(
    ("told", "state", "text", "remedy"),
    [
        ({"ActiveState": "inactive", "SubState": "dead"}, "warning", "inactive", "enable --now"),
        (
            {"ActiveState": "inactive", "SubState": "dead", "Result": "exec-condition"},
            "warning", "inactive", "sudo masthead setup",
        ),
        ({"UnitFileState": "disabled"}, "warning", "not started at boot", "systemctl enable"),
        ({"NRestarts": "7"}, "warning", "started again 7 times", "journalctl"),
        (
            {"SubState": "auto-restart", "Result": "exit-code", "ExecMainStatus": "1"},
            "failed", "the last end: exit-code, status 1", "journalctl",
        ),
        ({"ActiveState": "failed", "Result": "watchdog"}, "failed", "watchdog", "journalctl"),
    ],
)  # fmt: skip
def test_what_is_wrong_has_a_remedy(told: dict[str, str], state: str, text: str, remedy: str) -> None:
    """Stopped, not enabled, restarting, failed."""
    found = unit.judge({**WELL, **told})
    assert found.state == state
    assert text in found.text
    assert found.remedy is not None
    assert remedy in found.remedy
    assert told.get("Result") != "exec-condition" or found.remedy == remedy  # enabling it starts nothing
