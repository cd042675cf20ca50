"""Sensors and actuators are tried where nobody has them, and asked for where an agent does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from agent.checks import instruments
from agent.checks.finding import Finding
from agent.config import Config, load


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "masthead.toml"
    path.write_text(
        f'[device]\nstate_directory = "{tmp_path / "state"}"\n'
        '[[sensor]]\nid = "top"\ndriver = "simulated"\n[actuators.beacon]\ndriver = "simulated"\n'
    )
    return load(path)


def told(fault: str | None) -> dict[str, Any]:
    """A status with one sensor and one actuator."""
    return {
        "sensors": {"top": {"windSpeed": None, "windDirection": None, "fault": fault}},
        "actuators": {"beacon": {"value": False, "fault": fault}},
    }


def states(findings: list[Finding]) -> dict[str, str]:
    return {finding.name: finding.state for finding in findings}


def test_a_directory_that_nobody_has_locked_yet_is_left_as_it_is(config: Config) -> None:
    """A lock that root made by a check would shut out the service's user."""
    config.state_directory.mkdir()
    assert states(list(instruments.findings(config))) == {"sensor top": "ok", "actuator beacon": "ok"}
    assert list(config.state_directory.iterdir()) == []


def test_who_may_not_see_the_lock_tries_nothing(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent may have the sensors; root can see it."""
    config.state_directory.mkdir()
    monkeypatch.setattr(instruments.os, "access", lambda path, mode: mode == os.F_OK)
    found = next(instruments.findings(config))
    assert (found.name, found.state) == ("sensors", "warning")
    assert "sudo masthead check" in str(found)


def test_faults_that_the_agent_tells_are_failures(config: Config) -> None:
    """In its words."""
    found = list(instruments.in_use(config, told("no answer from 0x25: is it wired and powered?")))
    assert states(found) == {"sensor top": "failed", "actuator beacon": "failed"}
    assert all("is it wired and powered?" in str(finding) for finding in found)
    assert set(states(list(instruments.in_use(config, told(None)))).values()) == {"ok"}


def test_what_the_agent_was_not_started_with_is_said(config: Config) -> None:
    """The configuration was changed since."""
    found = list(instruments.in_use(config, {"sensors": {}, "actuators": {}}))
    assert states(found) == {"sensor top": "warning", "actuator beacon": "warning"}
    assert all(finding.remedy for finding in found)
