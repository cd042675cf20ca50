"""One message to its end: delivery.py's invariants."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from agent.operator.amqp import EventReader, FeedbackReader, Sender
from agent.operator.delivery import Delivery, Hub
from agent.operator.errors import HubRejected, HubUnavailable
from agent.operator.messages import C2dMessage, Fate, Feedback
from tests.e2e.harness import wait_for

from .fakes import GONE, FakeEvents, FakeFeedback, FakeLink, FakeSender
from .site import DEVICE, Site

MESSAGE = C2dMessage("mast-1", b'{"command": "ping"}', "m-1", ack="full")
SUCCESS = ("m-1", "mast-1", "Success")
DONE = {"commandId": "m-1", "status": "done"}


class World:
    """A hub and its device; ``at`` is what happens at which second after the sending."""

    def __init__(self, at: dict[float, Callable[[World], Any]]) -> None:
        self.events = FakeEvents()
        self.feedback = FakeFeedback()
        self.sent: list[C2dMessage] = []
        self.shown: list[Fate] = []
        self.said: list[str] = []
        self.at = dict(at)
        self.now = 0.0
        self.sending = float("inf")
        hub = Hub(lambda: FakeSender(self._sent), self._link, self.events.connect)
        self.delivery = Delivery(hub, self.shown.append, self.said.append, self._clock, self._sleep)

    def run(self, timeout_s: float = 60.0) -> Fate:
        return self.delivery.run(MESSAGE, timeout_s)

    def answers(self, body: object) -> None:
        self.events.arrive(body)

    def _link(self) -> FakeLink:
        return self.feedback.connect()

    def _sent(self, message: C2dMessage) -> None:
        self.sent.append(message)
        self.sending = self.now

    def _clock(self) -> float:
        self._pass(0.1)
        return self.now

    def _sleep(self, seconds: float) -> None:
        self._pass(seconds)

    def _pass(self, seconds: float) -> None:
        self.now += seconds
        for due in [due for due in sorted(self.at) if self.sending + due <= self.now]:
            self.at.pop(due)(self)


def test_all_three_stages_are_told_as_they_come() -> None:
    """Also where the outcome is faster than the feedback, which hubs keep back."""
    world = World({1: lambda w: w.events.arrive(DONE), 15: lambda w: w.feedback.tell(SUCCESS)})
    fate = world.run()
    assert fate.good
    assert [(f.taken, f.feedback is not None, f.outcome is not None) for f in world.shown] == [
        (True, False, False),
        (True, False, True),
        (True, True, True),
    ]
    assert world.now < 20
    assert len(world.feedback.taken) == 1


def test_what_came_at_once_is_not_missed() -> None:
    """The outcome is there before the sender knows that the hub has taken the message."""
    world = World({0: lambda w: (w.feedback.tell(SUCCESS), w.events.arrive(DONE))})
    assert world.run().good


def test_a_failed_delivery_ends_the_waiting() -> None:
    """No outcome will come of it."""
    world = World({5: lambda w: w.feedback.tell(("m-1", "mast-1", "Expired"))})
    fate = world.run()
    assert (fate.settled, fate.good, fate.outcome) == (True, False, None)
    assert world.now < 10


def test_time_runs_out() -> None:
    """And what is known is told."""
    world = World({1: lambda w: w.feedback.tell(SUCCESS)})
    fate = world.run(timeout_s=30)
    assert (fate.feedback is not None, fate.missing) == (True, "the device's outcome")
    assert 30 <= world.now < 35


def test_other_peoples_feedback_is_given_back() -> None:
    """Also where it came together with ours, and where it was there before."""
    world = World(
        {
            1: lambda w: w.feedback.tell(("other", "mast-1", "Success"), SUCCESS),
            2: lambda w: w.events.arrive(DONE),
        }
    )
    world.feedback.tell(("m-1", "mast-1", "Expired"))
    fate = world.run()
    assert fate.good
    assert world.feedback.taken == []
    assert len(world.feedback.waiting) == 2


def test_other_peoples_feedback_is_theirs_within_seconds() -> None:
    """Not at our end: who waits at the same time gets it, and so do we."""
    seen: list[Feedback] = []

    def reads(world: World) -> None:
        other = world.feedback.connect()
        for feedback in other.read():
            seen.append(feedback)
            other.settle(feedback, taken=True)

    world = World(
        {
            1: lambda w: w.feedback.tell(("other", "mast-2", "Success")),
            4: reads,
            20: lambda w: w.feedback.tell(SUCCESS),
            21: lambda w: w.events.arrive(DONE),
        }
    )
    assert world.run().good
    assert [record.message_id for feedback in seen for record in feedback.records] == ["other"]
    assert world.now < 30


def test_once_its_feedback_is_in_others_have_theirs_at_once() -> None:
    """While the outcome is waited for, nothing more is read."""
    other = ("other", "mast-2", "Success")
    world = World(
        {
            1: lambda w: w.feedback.tell(SUCCESS, other),
            3: lambda w: w.feedback.tell(other),
            30: lambda w: w.events.arrive(DONE),
        }
    )
    assert world.run().good
    assert [len(feedback.records) for feedback in world.feedback.waiting] == [2, 1]
    assert max(world.feedback.given.values()) == 1


def test_what_nobody_wants_is_not_worn_out() -> None:
    """A hub gives a record out ten times, and keeps it for an hour."""
    world = World({1: lambda w: w.feedback.tell(("other", "mast-2", "Success"))})
    fate = world.run(timeout_s=3600)
    assert fate.feedback is None
    assert 3 <= max(world.feedback.given.values()) <= 8
    assert len(world.feedback.waiting) == 1


@pytest.mark.parametrize("at", [{1500: DONE}, {}])
def test_a_long_wait_beside_others_misses_nothing(at: dict[float, object]) -> None:
    """It looks at the outcome, and before the time is up."""
    world = World(
        {
            1: lambda w: w.feedback.tell(("other", "mast-2", "Success")),
            1490: lambda w: w.feedback.tell(SUCCESS),
            **{second: partial(World.answers, body=body) for second, body in at.items()},
        }
    )
    fate = world.run(timeout_s=2000)
    assert fate.feedback is not None
    assert fate.good == bool(at)
    assert world.now < (1510 if at else 2005)


def test_an_older_record_with_its_id_is_not_taken_for_its_own() -> None:
    """Neither at first nor when it comes again."""
    world = World({1: lambda w: w.events.arrive(DONE), 30: lambda w: w.feedback.tell(SUCCESS)})
    world.feedback.tell(("m-1", "mast-1", "Expired"))
    assert world.run().good


def test_what_a_broken_link_brought_is_not_settled_on_the_next() -> None:
    """There its number is another's."""

    def breaks(world: World) -> None:
        link = world.feedback.links[-1]
        link.close()
        link.error = GONE

    world = World(
        {
            1: lambda w: w.feedback.tell(("other", "mast-2", "Success")),
            1.5: breaks,
            9: lambda w: (w.feedback.tell(SUCCESS), w.events.arrive(DONE)),
        }
    )
    assert world.run().good
    assert len(world.feedback.taken) == 1


def test_two_at_one_hub_do_not_starve_each_other(site: Site) -> None:
    """One waits for a device that is away; the other's feedback, which came to it, gets on."""
    site.hub.ensure_device("away")
    access = site.access()
    hub = Hub(lambda: Sender(access), lambda: FeedbackReader(access), lambda: EventReader(access, "$Default"))
    site.hub.send_c2d(DEVICE, b"x", message_id="theirs", ack="full")
    site.deliver()
    taken = threading.Event()
    waiting = Delivery(hub, lambda _fate: taken.set(), lambda _text: None)
    message = C2dMessage("away", b"x", "ours", expires_s=600.0, ack="full")
    thread = threading.Thread(target=lambda: waiting.run(message, 60.0), daemon=True)
    thread.start()
    assert taken.wait(60)
    assert site.hub.store.feedback._locked  # with the first, who has no use for it
    other = FeedbackReader(access)
    other.open()
    found: list[str] = []

    def reads() -> bool:
        found.extend(record.message_id for feedback in other.read() for record in feedback.records)
        return "theirs" in found

    try:
        wait_for(reads, "the other's feedback")
        assert thread.is_alive()
    finally:
        other.close()
        site.hub.store.c2d.purge("away")
        thread.join(90)


def test_a_link_that_breaks_is_made_again() -> None:
    """Both of them, while the message is on its way; it is sent once."""

    def breaks(world: World) -> None:
        world.feedback.links[-1].error = GONE
        world.feedback.failures = [GONE]
        world.events.fail(GONE)

    world = World({1: breaks, 4: lambda w: (w.feedback.tell(SUCCESS), w.events.arrive(DONE))})
    assert world.run().good
    assert world.said.count("connected again") == 2
    assert len(world.sent) == 1


def test_a_hub_that_does_not_come_back_costs_no_more_than_the_time() -> None:
    """Told as a time-out."""

    def breaks(world: World) -> None:
        world.feedback.links[-1].error = GONE
        world.feedback.failures = [GONE] * 999

    world = World({1: breaks})
    fate = world.run(timeout_s=30)
    assert (fate.taken, fate.feedback, fate.outcome) == (True, None, None)
    assert 30 <= world.now < 35


def test_what_is_not_taken_is_an_error() -> None:
    """And nothing is waited for."""

    def refuses(_message: C2dMessage) -> None:
        raise HubRejected("no device")

    world = World({})
    world._sent = refuses  # type: ignore[method-assign]
    with pytest.raises(HubRejected, match="no device"):
        world.run()
    assert world.shown == []
    assert world.events.readers[0].closed
    world = World({})
    world.feedback.failures = [GONE]
    with pytest.raises(HubUnavailable):
        world.run()
    assert world.sent == []
