"""What the twin is told, and when."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from agent.batching import Batcher
from agent.cloud import twin
from agent.cloud.twin import MAX_BYTES, ReportedSensor, Reporter, Trouble, document, encoded
from agent.localhub.twin_rules import checked
from agent.uplink import Uplink
from tests.clock import FakeClock
from tests.fakes import FakeHub, FakeRows

TOP = ReportedSensor("top", "gpio-pulse", "davis-6410", "slope-0.62")


def _document(**other: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "version": "1.0",
        "board": "Raspberry Pi 4 Model B (bcm2711)",
        "run": "0badcafe",
        "sensors": [TOP],
        "backlog": 0,
        "dropped": 0,
        "rejected": 0,
        "last_error": None,
    }
    return document(**(values | other))


def test_the_document_says_what_the_agent_is() -> None:
    """Version, board, run, sensors with what they have, outbox; null where there is nothing to say."""
    assert _document(
        sensors=[TOP, ReportedSensor("low", "simulated")],
        backlog=7,
        dropped=2,
        rejected=1,
        last_error=Trouble("hub link: no answer", "2026-11-20T17:34:00.000Z"),
    ) == {
        "version": "1.0",
        "board": "Raspberry Pi 4 Model B (bcm2711)",
        "run": "0badcafe",
        "sensors": [
            {"id": "top", "driver": "gpio-pulse", "model": "davis-6410", "calibration": "slope-0.62"},
            {"id": "low", "driver": "simulated"},
        ],
        "sensorsLeftOut": None,
        "outbox": {"backlog": 7, "dropped": 2, "rejected": 1},
        "lastError": {"text": "hub link: no answer", "time": "2026-11-20T17:34:00.000Z"},
    }
    assert _document()["lastError"] is None


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_a_twin_takes_every_document(count: int) -> None:
    """Whatever the ids and texts are and however many, it keeps to 8 KB and to the rules for twins."""
    odd = "a.b $ö\n\x00🌬" * 500
    sensors = [ReportedSensor(f"{n}{odd}", odd, odd, odd) for n in range(count)]
    content = _document(sensors=sensors, board=odd, last_error=Trouble(odd))
    assert len(encoded(content)) <= MAX_BYTES
    assert len(content["sensors"]) + (content["sensorsLeftOut"] or 0) == count
    checked(json.loads(encoded(content)), "reported properties")


class Rig:
    """An uplink that reports, stepped by hand."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.hub = FakeHub()
        self.rows = FakeRows(3)
        self.figures: dict[str, Any] = {}
        self.uplink = Uplink(
            self.rows,
            self.hub.client,
            batcher=Batcher("object", 4096, "mast-1", {}),
            clock=self.clock,
            rng=random.Random(1),
            describe=self._describe,
        )

    def _describe(self, trouble: twin.LastTrouble) -> dict[str, Any]:
        told = None if trouble is None else Trouble(trouble[0], f"{trouble[1]:.0f}")
        return _document(**({"last_error": told} | self.figures))

    def run(self, seconds: float) -> None:
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            due = self.uplink.step(self.clock.monotonic())
            self.clock.advance(min(max(due - self.clock.monotonic(), 0.01), 1.0))

    @property
    def reports(self) -> list[dict[str, Any]]:
        return self.hub.reported


def test_it_is_told_once_at_connect() -> None:
    """When the connection has proved to work; not again while there is nothing new."""
    rig = Rig()
    rig.run(3600 * 0.7)
    assert rig.reports == [_document()]
    assert len(rig.rows.confirmed) == 3


def test_it_is_told_again_on_the_next_connection() -> None:
    """With the trouble that ended the last one; and again when the token was renewed."""
    rig = Rig()
    rig.run(100)
    rig.hub.newest.lose()
    rig.run(100)
    assert len(rig.reports) == 2
    assert rig.reports[1]["lastError"]["text"].startswith("connection lost")
    rig.run(3600)
    assert [r["lastError"] for r in rig.reports] == [None, *[rig.reports[1]["lastError"]] * 2]


def test_what_changes_is_told_once_a_minute_at_most() -> None:
    """However often it changes, and the last state in the end."""
    rig = Rig()
    rig.run(1)
    for number in range(300):
        rig.figures = {"dropped": number}
        rig.run(1)
    assert 4 <= len(rig.reports) <= 6
    rig.run(61)
    assert rig.reports[-1]["outbox"]["dropped"] == 299


def test_a_backlog_that_comes_and_goes_is_not_worth_a_message() -> None:
    """Of the backlog only the order of magnitude counts, from a hundred on; of an error not its time."""
    rig = Rig()
    rig.figures = {"last_error": Trouble("x", "1")}
    rig.run(10)
    for backlog in (1, 0, 99, 3, 40):
        rig.figures = {"backlog": backlog, "last_error": Trouble("x", str(backlog))}
        rig.run(61)
    assert len(rig.reports) == 1
    for backlog in (100, 999, 1000):
        rig.figures = {"backlog": backlog}
        rig.run(61)
    assert [r["outbox"]["backlog"] for r in rig.reports[1:]] == [100, 1000]


def test_a_hub_that_cannot_bear_reports_gets_its_telemetry() -> None:
    """Each report ends the connection: they become rare, and every message arrives."""
    rig = Rig()
    rig.hub.takes_reports = False
    for _ in range(100):
        rig.rows.add(1)
        rig.run(600)
    assert 4 <= rig.hub.ended <= 6
    rig.run(60)
    assert len(rig.rows.confirmed) == 103
    assert not rig.rows.rejected


def test_a_report_under_way_is_waited_for_and_never_longer_than_its_connection() -> None:
    """One at a time; when we end the connection ourselves, the next one is told at once."""
    hub = FakeHub()
    client = hub.client()
    client.connect()
    waiting: list[Any] = []
    report = client.report
    client.report = lambda properties: waiting.append(properties) or type(report({}))()  # type: ignore[method-assign,func-returns-value]
    reporter = Reporter(lambda _: _document(dropped=len(waiting)))
    for now in range(0, 1000, 10):
        reporter.step(client, float(now), None)
    assert len(waiting) == 1
    reporter.ended(1000.0, by_the_hub=False)
    reporter.step(client, 1001.0, None)
    assert len(waiting) == 2
