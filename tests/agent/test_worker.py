"""A worker thread steps its worker when due or woken, and tells when it dies or is stuck."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from agent.worker import WorkerThread
from hw.clock import SystemClock

LONG_S = 30.0


class Stepper:
    """A worker that does what it is told in each step."""

    name = "stepper"
    step_bound_s = 1.0

    def __init__(self, work: Callable[[float], float]) -> None:
        self.step = work


@pytest.fixture
def threads() -> Iterator[list[WorkerThread]]:
    started: list[WorkerThread] = []
    yield started
    for thread in started:
        assert thread.stop(LONG_S)


def started(threads: list[WorkerThread], work: Callable[[float], float]) -> WorkerThread:
    thread = WorkerThread(Stepper(work), SystemClock(), lambda name: None)
    threads.append(thread)
    thread.start()
    return thread


def test_steps_at_once_and_again_when_due(threads: list[WorkerThread]) -> None:
    """Each step is given the time, and none comes before it is due."""
    steps: list[float] = []
    enough = threading.Event()

    def work(now: float) -> float:
        steps.append(now)
        if len(steps) == 3:
            enough.set()
            return now + 3600
        return now + 0.01

    started(threads, work)
    assert enough.wait(LONG_S)
    assert all(b - a >= 0.01 for a, b in pairwise(steps))


def test_wake_steps_before_the_time(threads: list[WorkerThread]) -> None:
    """Also when it came during a step."""
    stepped = threading.Semaphore(0)

    def work(now: float) -> float:
        stepped.release()
        return now + 3600

    thread = started(threads, work)
    assert stepped.acquire(timeout=LONG_S)
    for _ in range(3):
        thread.wake()
        assert stepped.acquire(timeout=LONG_S)


def test_a_stuck_step_is_unhealthy(threads: list[WorkerThread]) -> None:
    """Within its bound it is well, beyond it is not, and afterwards it is again."""
    entered, leave = threading.Event(), threading.Event()

    def work(now: float) -> float:
        entered.set()
        leave.wait(LONG_S)
        return now + 3600

    thread = started(threads, work)
    assert entered.wait(LONG_S)
    now = SystemClock().monotonic()
    assert thread.healthy(now)
    assert not thread.healthy(now + 1.5)
    assert not thread.stop(0.01)
    leave.set()
    assert thread.stop(LONG_S)
    assert not thread.healthy(now)


def test_a_worker_between_two_steps_is_healthy(threads: list[WorkerThread]) -> None:
    """However long it waits for the next."""
    stepped = threading.Event()

    def work(now: float) -> float:
        stepped.set()
        return now + 86400

    thread = started(threads, work)
    assert stepped.wait(LONG_S)
    thread.wake()
    while not thread.healthy(SystemClock().monotonic() + 7200):
        pass  # until the step it may be in has ended


def test_a_worker_that_dies_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """With its traceback in the log; it is not healthy."""
    died = threading.Event()
    names: list[str] = []

    def on_death(name: str) -> None:
        names.append(name)
        died.set()

    def work(now: float) -> float:
        raise RuntimeError("the worker's own fault")

    thread = WorkerThread(Stepper(work), SystemClock(), on_death)
    thread.start()
    assert died.wait(LONG_S)
    assert thread.stop(LONG_S)
    assert names == ["stepper"]
    assert not thread.healthy(SystemClock().monotonic())
    assert "the worker's own fault" in caplog.text
