"""The daily event: when it comes, and what is in it after a day of ups and downs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.health import Health
from agent.machine import Machine
from agent.outbox import OutboxStats
from agent.reading import Entry
from agent.timekeeping import BootClock
from agent.writer_status import WriterStatus

DAY = 86_400.0
FIRST = 300.0


class FakeMachine(Machine):
    """As a test sets it."""

    temperature: float | None = None
    low: bool | None = None

    def temperature_c(self) -> float | None:
        return self.temperature

    def under_voltage(self) -> bool | None:
        return self.low

    def memory_bytes(self) -> int | None:
        return 27 << 20


class Agent:
    """One run of the agent, as far as its health goes."""

    def __init__(
        self, state: Path, now: float = 0.0, boot_id: str = "boot-1", *, follows: bool = False
    ) -> None:
        self.said: list[Entry] = []
        self.machine = FakeMachine()
        self.outbox = WriterStatus(OutboxStats(5, 7, 13, 8192, 1 << 20, 0, None, 2), 12, 7, 5, 0, 3, None, ())
        self.health = Health(
            self.said.append,
            now,
            state_directory=state,
            boot_id=boot_id,
            outbox=lambda: self.outbox,
            clock=lambda: BootClock(0.0, True),
            machine=self.machine,
            simulated=True,
            follows=follows,
        )

    def run(self, begin: float, end: float) -> list[dict[str, Any]]:
        """Step whenever it is due; the bodies of what it said meanwhile."""
        before, now = len(self.said), begin
        while now <= end:
            due = self.health.step(now)
            assert now < due <= now + 60
            now = due
        return [dict(entry.body) for entry in self.said[before:]]


def test_the_first_comes_after_minutes_and_then_one_a_day(tmp_path: Path) -> None:
    """By the clock of the boot; it does not leave before readings."""
    agent = Agent(tmp_path)
    assert agent.run(0.0, FIRST - 1) == []
    assert len(agent.run(FIRST, FIRST + 1)) == 1
    assert agent.run(FIRST + 10, FIRST + DAY - 1) == []
    assert len(agent.run(FIRST + DAY, FIRST + DAY + 1)) == 1
    first = agent.said[0]
    assert (first.kind, first.boot_time_s, first.simulated, first.urgent) == ("event", FIRST, True, False)


def test_what_is_in_it(tmp_path: Path) -> None:
    """Everything of a machine that has everything."""
    agent = Agent(tmp_path)
    agent.machine.temperature, agent.machine.low = 48.3, False
    (body,) = agent.run(0.0, FIRST)
    free = body["disk"].pop("free")
    assert free > 0
    assert body == {
        "event": "health",
        "link": {"connected": 0.0, "connections": 0, "confirmed": 7, "backlog": 5},
        "disk": {"store": 8192, "dropped": 3, "rejected": 2, "fault": None},
        "temperature": 48.3,
        "hottest": 48.3,
        "underVoltage": False,
        "starts": 1,
        "boots": 1,
        "uptime": 300,
        "clock": "synchronised",
        "memory": 27 << 20,
    }


def test_a_machine_that_has_nothing_is_null(tmp_path: Path) -> None:
    """No zone, no firmware, no directory for the count: null, and not a guess."""
    (body,) = Agent(tmp_path / "missing").run(0.0, FIRST)
    for name in ("temperature", "hottest", "underVoltage", "starts", "boots"):
        assert body[name] is None, name
    assert body["disk"]["free"] is None


def test_the_link_in_figures(tmp_path: Path) -> None:
    """The part of the time that it was up, how often it came, what was confirmed; anew each day."""
    agent = Agent(tmp_path)
    agent.health.link(True, 30.0)
    agent.health.link(True, 40.0)
    agent.health.link(False, 90.0)
    agent.health.link(False, 100.0)
    agent.health.link(True, 210.0)
    (body,) = agent.run(0.0, FIRST)
    assert body["link"] == {"connected": 0.5, "connections": 2, "confirmed": 7, "backlog": 5}
    (body,) = agent.run(FIRST + 10, FIRST + DAY)
    assert body["link"] == {"connected": 1.0, "connections": 0, "confirmed": 0, "backlog": 5}


def test_a_hot_noon_and_a_dip_are_remembered_until_it_is_said(tmp_path: Path) -> None:
    """And no longer."""
    agent = Agent(tmp_path)
    agent.machine.temperature, agent.machine.low = 20.0, False
    agent.run(0.0, FIRST)
    agent.machine.temperature, agent.machine.low = 81.0, True
    agent.run(FIRST + 60, FIRST + 120)
    agent.machine.temperature, agent.machine.low = -5.0, False
    (body,) = agent.run(FIRST + 180, FIRST + DAY)
    assert (body["temperature"], body["hottest"], body["underVoltage"]) == (-5.0, 81.0, True)
    agent.machine.temperature = 0.0
    agent.run(FIRST + DAY + 10, FIRST + DAY + 60)
    agent.machine.temperature = -5.0
    (body,) = agent.run(FIRST + DAY + 70, FIRST + 2 * DAY)
    assert (body["temperature"], body["hottest"], body["underVoltage"]) == (-5.0, 0.0, False)


def test_starts_are_counted_until_they_are_said(tmp_path: Path) -> None:
    """Of the agent, and of the machine: three starts in two boots, then none."""
    assert Agent(tmp_path).run(0.0, 100.0) == []
    assert Agent(tmp_path, 200.0).run(200.0, 300.0) == []
    agent = Agent(tmp_path, 10.0, "boot-2")
    (body,) = agent.run(10.0, 10.0 + FIRST)
    assert (body["starts"], body["boots"]) == (3, 2)
    (body,) = agent.run(20.0 + FIRST, 10.0 + FIRST + DAY)
    assert (body["starts"], body["boots"]) == (0, 0)


def test_a_reload_is_no_start(tmp_path: Path) -> None:
    """Many starts are a sign of a bad supply; and it brings no event more often."""
    assert len(Agent(tmp_path).run(0.0, FIRST)) == 1
    assert Agent(tmp_path, 400.0, follows=True).run(400.0, 500.0) == []
    (body,) = Agent(tmp_path, 600.0, follows=True).run(600.0, FIRST + DAY)
    assert (body["starts"], body["boots"]) == (0, 0)


def test_starts_in_a_row_bring_one_event_a_day(tmp_path: Path) -> None:
    """A service that is started again and again fills no quota; another boot may say it anew."""
    assert len(Agent(tmp_path).run(0.0, 1000.0)) == 1
    again = Agent(tmp_path, 2000.0)
    assert again.run(2000.0, 300.0 + DAY - 1) == []
    (body,) = again.run(300.0 + DAY, 300.0 + DAY + 60)
    assert body["starts"] == 1
    assert len(Agent(tmp_path, 5.0, "boot-2").run(5.0, 5.0 + FIRST)) == 1


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", "[" * 200_000, '{"boot_id": 1, "starts": "x"}', '{"other": 1}',
        '{"boot_id": "", "starts": NaN, "boots": 0, "said_boot_s": null}',
        '{"boot_id": "", "starts": 1e999, "boots": 0, "said_boot_s": null}',
    ],
)  # fmt: skip
def test_a_damaged_count_begins_anew(tmp_path: Path, content: str) -> None:
    """It is no reason to fail."""
    (tmp_path / "health.json").write_text(content)
    (body,) = Agent(tmp_path).run(0.0, FIRST)
    assert body["starts"] == 1


@pytest.mark.parametrize("said", ["1e12", "1e999", "NaN"])
def test_a_damaged_time_silences_nobody(tmp_path: Path, said: str) -> None:
    """An event that was said in the future of this boot was said now at the latest."""
    (tmp_path / "health.json").write_text(
        f'{{"boot_id": "boot-1", "starts": 0, "boots": 0, "said_boot_s": {said}}}'
    )
    (body,) = Agent(tmp_path).run(0.0, DAY)
    assert body["starts"] == 1


def test_a_fault_of_the_store_is_told(tmp_path: Path) -> None:
    """In the words of its log line."""
    agent = Agent(tmp_path)
    agent.outbox = WriterStatus(agent.outbox.stats, 0, 0, 1, 1, 0, "disk I/O error", ())
    (body,) = agent.run(0.0, FIRST)
    assert body["disk"]["fault"] == "disk I/O error"
