"""Requests are answered in order and once, withdrawn if nobody waits, and nobody waits for ever."""

from __future__ import annotations

import threading

import pytest

from agent.commands import asking
from agent.commands.actuation import Refusal
from agent.commands.asking import Requests, result
from hw.errors import DeviceUnavailable, HardwareError


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_ANSWER_S", 0.01)


@pytest.fixture
def done() -> list[str]:
    return []


def answered(requests: Requests, now: float = 5.0) -> None:
    for request in requests.take():
        request.answer(now)


def test_what_is_asked_is_done_when_its_turn_has_come(done: list[str]) -> None:
    """Given the time of then, in the order it was asked for, and once."""
    requests = Requests()
    first = requests.add(lambda now: done.append(f"first at {now}"), towards_safe=False)
    second = requests.add(lambda now: done.append(f"second at {now}"), towards_safe=True)
    assert done == []
    answered(requests)
    answered(requests, 6.0)
    assert done == ["first at 5.0", "second at 5.0"]
    assert result(first) is result(second) is None


@pytest.mark.parametrize("error", [Refusal("hold: held at the mast"), DeviceUnavailable("it is gone")])
def test_a_refusal_and_a_fault_are_whoever_asked_s(error: Exception) -> None:
    """The guard goes on."""
    requests = Requests()

    def work(now: float) -> None:
        raise error

    future = requests.add(work, towards_safe=False)
    answered(requests)
    with pytest.raises(type(error), match=str(error)):
        result(future)


def test_a_guard_that_dies_tells_whoever_waits_and_dies_all_the_same() -> None:
    """The error goes on to the step, and the one who asked gets a HardwareError."""
    requests = Requests()
    future = requests.add(lambda now: 1 / 0, towards_safe=False)
    with pytest.raises(ZeroDivisionError):
        answered(requests)
    with pytest.raises(HardwareError, match="the guard failed: ZeroDivisionError"):
        result(future)


@pytest.mark.parametrize("towards_safe", [False, True])
def test_who_stood_behind_in_the_queue_of_a_guard_that_dies_does_not_wait_for_ever(
    towards_safe: bool, done: list[str]
) -> None:
    """It was taken with the others, and nobody will look at it."""
    requests = Requests()
    requests.add(lambda now: 1 / 0, towards_safe=False)
    behind = requests.add(lambda now: done.append("behind"), towards_safe=towards_safe)
    with pytest.raises(ZeroDivisionError):
        answered(requests)
    with pytest.raises(HardwareError, match="the guard"):
        result(behind)
    assert done == []


def test_what_nobody_waits_for_any_more_is_not_done(done: list[str]) -> None:
    """A guard that is late does not obey late."""
    requests = Requests()
    future = requests.add(lambda now: done.append("moved"), towards_safe=False)
    with pytest.raises(HardwareError, match="did not answer in time"):
        result(future)
    answered(requests)
    assert done == []


def test_towards_safe_is_done_late_rather_than_never(done: list[str]) -> None:
    """Whoever asked is told that the guard hangs, and cannot withdraw it."""
    requests = Requests()
    future = requests.add(lambda now: done.append("stopped"), towards_safe=True)
    with pytest.raises(HardwareError, match="the guard hangs"):
        result(future)
    assert not future.cancel()
    answered(requests)
    assert done == ["stopped"]


def test_what_is_being_done_is_waited_for_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot be withdrawn any more, so its end counts."""
    monkeypatch.setattr(asking, "_ANSWER_S", 10.0)
    requests, begun, go_on = Requests(), threading.Event(), threading.Event()

    def work(now: float) -> str:
        begun.set()
        go_on.wait(10)
        return "moved"

    future = requests.add(work, towards_safe=False)
    guard = threading.Thread(target=answered, args=[requests])
    guard.start()
    assert begun.wait(10)
    monkeypatch.setattr(asking, "_ANSWER_S", 0.01)
    with pytest.raises(HardwareError, match="the guard hangs in the driver"):
        result(future)
    go_on.set()
    guard.join(10)
    assert result(future) == "moved"


@pytest.mark.parametrize("towards_safe", [False, True])
def test_at_the_end_what_waits_and_what_comes_is_refused(towards_safe: bool, done: list[str]) -> None:
    """Nobody waits for a guard that has ended, and everything is made safe anyway."""
    requests = Requests()
    waiting = requests.add(lambda now: done.append("waiting"), towards_safe=towards_safe)
    withdrawn = requests.add(lambda now: done.append("withdrawn"), towards_safe=False)
    withdrawn.cancel()
    requests.end()
    late = requests.add(lambda now: done.append("late"), towards_safe=towards_safe)
    for future in (waiting, late):
        with pytest.raises(Refusal, match="stopping: the agent is ending"):
            result(future)
    assert requests.take() == []
    assert done == []


def test_many_threads_ask_and_each_gets_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """None is lost, and none is answered twice."""
    monkeypatch.setattr(asking, "_ANSWER_S", 10.0)
    requests, found, seen = Requests(), [], []

    def asks(number: int) -> None:
        future = requests.add(lambda now: seen.append(number) or number, towards_safe=False)
        found.append((number, result(future)))

    threads = [threading.Thread(target=asks, args=[number]) for number in range(20)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        answered(requests)
    assert sorted(found) == [(number, number) for number in range(20)]
    assert sorted(seen) == list(range(20))


class Slow:
    """A request that the guard is busy with until it may ``go_on``, and what was undone."""

    def __init__(self, error: Exception | None = None) -> None:
        self.requests, self.undone = Requests(), list[float]()
        self._error, self._begun, self._go_on = error, threading.Event(), threading.Event()
        self.asked = self.requests.add(self._work, self.undone.append, towards_safe=False)
        self._guard = threading.Thread(target=answered, args=[self.requests])
        self._guard.start()
        assert self._begun.wait(20)

    def _work(self, now: float) -> str:
        self._begun.set()
        self._go_on.wait(20)
        if self._error is not None:
            raise self._error
        return "moved"

    def end(self) -> None:
        self._go_on.set()
        self._guard.join(20)


def test_what_comes_to_its_end_when_it_was_given_up_is_undone() -> None:
    """At that moment, and once: who was told that it failed can rely on it."""
    slow = Slow()
    with pytest.raises(HardwareError, match="the guard hangs in the driver"):
        result(slow.asked)
    assert slow.undone == []
    slow.end()
    assert slow.undone == [5.0]


def test_what_fails_when_it_was_given_up_has_nothing_to_undo() -> None:
    """It has not moved."""
    slow = Slow(Refusal("hold: held at the mast"))
    with pytest.raises(HardwareError, match="the guard hangs in the driver"):
        result(slow.asked)
    slow.end()
    assert slow.undone == []


@pytest.mark.parametrize("error", [None, Refusal("hold: held at the mast")])
def test_what_is_done_in_the_moment_of_giving_up_counts(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    """Either it was done and whoever asked is told so, or it is undone: never both."""
    slow = Slow(error)
    abandon = slow.asked.abandon

    def late() -> bool:
        slow.end()
        return abandon()

    monkeypatch.setattr(slow.asked, "abandon", late)
    if error is None:
        assert result(slow.asked) == "moved"
    else:
        with pytest.raises(Refusal, match="held at the mast"):
            result(slow.asked)
    assert slow.undone == []


def test_either_it_is_done_or_it_is_given_up() -> None:
    """Whichever comes first, both sides know."""
    done, given_up = (Requests().add(lambda now: "moved", towards_safe=False) for _ in range(2))
    assert (done.settle(), done.abandon()) == (True, False)
    assert (given_up.abandon(), given_up.settle()) == (True, False)


def test_nobody_is_told_before_it_is_undone() -> None:
    """Whatever is undone is safe when the future has its end."""
    requests, order = Requests(), list[str]()
    asked = requests.add(lambda now: "moved", lambda now: order.append("undone"), towards_safe=False)
    asked.add_done_callback(lambda _: order.append("told"))
    assert asked.abandon()
    answered(requests)
    assert order == ["undone", "told"]
