"""What the agent says of itself, for a person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.config import load
from agent.daemon import Daemon
from agent.status import describe, duration, value_text
from agent.tenure import Tenure

CONFIG = """\
[device]
state_directory = "{state}"
[[sensor]]
id = "top"
driver = "simulated"
[actuators.beacon]
driver = "simulated"
"""


@pytest.fixture
def snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A real agent's, before it has started."""
    for name in ("IOTHUB_DEVICE_CONNECTION_STRING", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "masthead.toml"
    path.write_text(CONFIG.format(state=tmp_path / "state"))
    tenure = Tenure()
    daemon = Daemon(load(path), tenure=tenure)
    try:
        return daemon.snapshot()
    finally:
        daemon.executor.close()
        tenure.end()


def line(text: str, word: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(word))


def test_a_fresh_agent(snapshot: dict[str, Any]) -> None:
    """Nothing is made up: no sample, no hub, no message."""
    text = describe(snapshot)
    assert line(text, "device") == "device    none at no hub"
    assert line(text, "link") == "link      off"
    assert line(text, "trouble").startswith("trouble   no connection string")
    assert line(text, "sensor") == "sensor    top: no sample yet"
    assert line(text, "received") == "received  0 messages"


def test_what_needs_attention_is_said(snapshot: dict[str, Any]) -> None:
    """Link, backlog, memory, faults, and what ends by itself."""
    link = {"state": "down", "since": "T1", "attempts": 14, "retryIn": 8.2, "lastError": "no answer"}
    link |= {"errorSince": "T4", "suspects": 2}
    snapshot["link"] |= link
    snapshot["outbox"] |= {"backlog": 5, "oldestUnsent": "T0", "dropped": 2, "degraded": "disk full"}
    snapshot["sensors"]["top"] |= {"fault": "no answer at 0x28", "simulated": True}
    actuator = {"value": True, "since": "T2", "why": "command c", "fault": None, "simulated": False}
    actuator |= {"secondsLeft": 3.6, "heldBy": []}
    held = [
        {"word": "interlock", "reason": "12.1 m/s at top", "secondsLeft": 61.0, "cloudOnly": False},
        {"word": "hold", "reason": "held at the mast", "secondsLeft": None, "cloudOnly": True},
    ]
    stuck = {**actuator, "fault": "stuck", "secondsLeft": None, "heldBy": held}
    snapshot["actuators"] = {"beacon": actuator, "vent": stuck}
    snapshot["holds"] = {"at the mast": {"since": "T5", "secondsLeft": 90.0}}
    snapshot |= {"messagesReceived": 1, "lastMessageReceived": "T3"}
    text = describe(snapshot)
    assert line(text, "link") == "link      down since T1, attempt 14, next in 8 s"
    assert line(text, "trouble") == "trouble   no answer (since T4)"
    assert line(text, "suspects").startswith("suspects  2 sent alone")
    assert "5 waiting since T0" in line(text, "sending")
    assert "2 dropped" in line(text, "outbox")
    assert "IN MEMORY ONLY: disk full" in line(text, "outbox")
    assert "no value: no answer at 0x28  (simulated)" in line(text, "sensor")
    assert "beacon: on since T2 (command c, 4 s left)" in text
    assert "vent: FAULT: stuck since T2" in text
    assert "\n            interlock: 12.1 m/s at top, 1 min 1 s more\n" in text
    assert "\n            hold: held at the mast (for the cloud)" in text
    assert line(text, "HELD") == (
        "HELD      at the mast since T5, 1 min 30 s more: the cloud moves nothing away from safe"
    )
    assert line(text, "received").endswith("the last at T3")


def test_a_sensor_with_a_vane(snapshot: dict[str, Any]) -> None:
    """Speed and where it comes from."""
    snapshot["sensors"]["top"] |= {"windSpeed": 7.04, "windDirection": 230.6}
    assert line(describe(snapshot), "sensor") == "sensor    top: 7.0 m/s from 231°"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59, "59 s"),
        (61, "1 min 1 s"),
        (3600 * 5 + 120, "5 h 2 min"),
        (86400 * 3 + 7200, "3 d 2 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    """In the two largest units."""
    assert duration(seconds) == text


def test_values() -> None:
    """A switch's, a level's, one that nobody knows."""
    assert [value_text(v) for v in (True, False, 0.5, None)] == ["on", "off", "0.5", "unknown"]
