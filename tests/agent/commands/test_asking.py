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
