"""All checks together: their order, what is left out, and a running agent that has trouble."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from agent import checks
from agent.checks import running
from agent.config import load
from agent.control import ControlError


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("IOTHUB_DEVICE_CONNECTION_STRING", "CREDENTIALS_DIRECTORY", "MASTHEAD_CA_FILE"):
        monkeypatch.delenv(name, raising=False)
    found = tmp_path / "masthead.toml"
    found.write_text(
        f'[device]\nstate_directory = "{tmp_path / "state"}"\n[[sensor]]\nid = "top"\ndriver = "simulated"\n'
    )
    return found


def test_the_order_is_always_the_same(path: Path) -> None:
    """What others rest on comes first; each check that does not depend on the machine is there."""
    names = [finding.name for finding in checks.run(path, network=False)]
    expected = [
        "configuration", "board", "agent", "sensor top", "state", "disk", "forecast", "clock", "rtc",
        "permissions", "credential", "ca", "unit",
    ]  # fmt: skip
    assert [name for name in names if name in expected] == expected


def test_an_agent_that_cannot_be_asked_has_failed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there, but nobody can tell how it is."""
    monkeypatch.setattr("agent.state.holder", lambda _: "4711")
    finding, status = running.ask(load(path))
    assert (finding.state, status) == ("failed", None)
    assert "in use by a masthead (process 4711) that cannot be asked" in finding.text


def test_each_is_looked_for_when_it_is_asked_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever shows them shows the first before the last was begun."""

    def never(_: object) -> Any:
        raise AssertionError

    monkeypatch.setattr(checks.storage, "findings", never)
    names = [finding.name for finding in islice(checks.run(path, network=False), 4)]
    assert names[0] == "configuration"
    assert "state" not in names


def test_one_that_breaks_keeps_nobody_from_the_others(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, and the rest follows."""
    monkeypatch.setattr(checks.clock, "RTC_CLASS", None)
    found = {finding.name: finding for finding in checks.run(path, network=False)}
    assert found["clock"].state == "failed"
    assert "this check itself failed (AttributeError: " in found["clock"].text
    assert {"permissions", "credential", "unit"} <= set(found)


def test_a_wrong_configuration_leaves_the_unit(path: Path) -> None:
    """Every error of it, and why the service does not run."""
    path.write_text("[telemetri]\n[outbocks]\n")
    found = list(checks.run(path))
    assert [finding.name for finding in found] == ["configuration"] * (len(found) - 1) + ["unit"]
    assert {finding.state for finding in found[:-1]} == {"failed"}


@pytest.mark.parametrize(
    ("degraded", "trouble", "state", "text"),
    [
        (None, None, "ok", "running, hub link up, 3 rows waiting"),
        (None, "looks like throttling", "warning", "looks like throttling"),
        ("disk I/O error", None, "failed", "in memory only (disk I/O error)"),
    ],
)
def test_what_troubles_the_running_agent(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    degraded: str | None,
    trouble: str | None,
    state: str,
    text: str,
) -> None:
    """A link that is down passes; a store that takes nothing is a failure."""
    told = {"link": {"state": "up", "lastError": trouble}, "outbox": {"backlog": 3, "degraded": degraded}}

    class Client:
        def __init__(self, _: Path) -> None: ...

        def __enter__(self) -> Client:
            return self

        def __exit__(self, *_: object) -> None: ...

        def ask(self, _: str) -> dict[str, Any]:
            return told

    monkeypatch.setattr(running, "ControlClient", Client)
    found, status = running.ask(load(path))
    assert status == told
    assert found.state == state
    assert text in found.text


@pytest.mark.parametrize(
    ("cause", "state", "remedy"),
    [(TimeoutError(), "failed", "journalctl"), (PermissionError(), "warning", None)],
)
def test_an_agent_that_does_not_answer(
    path: Path, monkeypatch: pytest.MonkeyPatch, cause: OSError, state: str, remedy: str | None
) -> None:
    """One that hangs is a failure with what to do; one that may not be asked says so itself."""

    def refuse(_: Path) -> None:
        raise ControlError("no answer") from cause

    monkeypatch.setattr(running, "ControlClient", refuse)
    found, status = running.ask(load(path))
    assert (found.state, status) == (state, None)
    assert (remedy in str(found.remedy)) if remedy else found.remedy is None
