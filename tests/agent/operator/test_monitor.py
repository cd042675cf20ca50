"""Events without a gap: monitor.py's invariants."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from agent.backoff import Backoff
from agent.operator.again import Again
from agent.operator.errors import HubRejected, HubUnavailable
from agent.operator.events import Start
from agent.operator.monitor import Monitor

from .fakes import GONE, FakeEvents


class Watched:
    """A monitor of a fake hub, with what it said and how long it slept."""

    def __init__(self, start: Start = "now") -> None:
        self.hub = FakeEvents()
        self.said: list[str] = []
        self.slept: list[float] = []
        again = Again(self.said.append, self.slept.append, Backoff(random.Random(1)))
        self.monitor = Monitor(self.hub.connect, start, again)

    def bodies(self) -> list[Any]:
        """What has come."""
        found = []
        while (event := self.monitor.poll(0.0)) is not None:
            found.append(json.loads(event.body))
        return found


def test_from_now_leaves_out_what_was_before() -> None:
    """And nothing that comes after ``open``, of no partition."""
    watched = Watched()
    watched.hub.arrive("old")
    watched.monitor.open()
    watched.hub.arrive("new", "0")
    watched.hub.arrive("new too", "1")
    assert watched.bodies() == ["new", "new too"]


def test_from_the_start_is_all_of_it() -> None:
    """That the hub still has."""
    watched = Watched("start")
    watched.hub.arrive("old")
    watched.monitor.open()
    watched.hub.arrive("new")
    assert watched.bodies() == ["old", "new"]
    assert watched.hub.readers[0].positions == {"0": "-1", "1": "-1"}


@pytest.mark.parametrize("start", ["now", "start"])
def test_a_break_leaves_no_gap_and_repeats_nothing(start: Start) -> None:
    """What came while nobody read, comes; what was queued behind the break comes once."""
    watched = Watched(start)
    watched.monitor.open()
    for number in range(3):
        watched.hub.arrive(number)
    first = watched.monitor.poll(0.0)
    assert first is not None
    watched.hub.fail(GONE)
    watched.hub.arrive(3)
    watched.hub.arrive(10, "1")
    assert [json.loads(first.body), *watched.bodies(), *watched.bodies()] == [0, 1, 2, 3, 10]
    assert watched.hub.readers[0].closed
    assert watched.said == [f"nobody listens; trying again in {watched.slept[0]:.1f} s", "connected again"]


def test_it_is_tried_again_later_and_later() -> None:
    """Until it goes, and each time that is said."""
    watched = Watched()
    watched.monitor.open()
    watched.hub.failures = [GONE] * 6
    watched.hub.fail(GONE)
    assert watched.bodies() == []
    assert len(watched.slept) == 7
    assert max(watched.slept) > 4 * watched.slept[0]
    assert len(watched.said) == 8
    watched.hub.arrive("again")
    assert watched.bodies() == ["again"]


def test_the_first_failure_ends_it() -> None:
    """Somebody is there to read it."""
    watched = Watched()
    watched.hub.failures = [GONE]
    with pytest.raises(HubUnavailable):
        watched.monitor.open()


def test_what_trying_again_does_not_mend_ends_it() -> None:
    """At once, or while it is tried again."""
    for failures in ([], [GONE, HubRejected("no right")]):
        watched = Watched()
        watched.monitor.open()
        watched.hub.failures = list(failures)
        watched.hub.fail(GONE if failures else HubRejected("no right"))
        with pytest.raises(HubRejected, match="no right"):
            watched.bodies()


@pytest.mark.parametrize("start", ["now", "start"])
def test_a_new_partition_is_read_from_its_start(start: Start) -> None:
    """After a break: it had nothing in it when the others began."""
    watched = Watched(start)
    watched.monitor.open()
    watched.hub.log["2"] = []
    watched.hub.arrive("there", "2")
    assert watched.bodies() == []
    watched.hub.fail(GONE)
    assert [*watched.bodies(), *watched.bodies()] == ["there"]
