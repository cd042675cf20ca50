"""An end to what has none."""

from __future__ import annotations

import threading

import pytest

from agent.operator.bounded import closed, opened, within


def test_what_is_done_in_time_is_as_if_it_was_called() -> None:
    """Its result, or what it raises."""
    assert within(30, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(30, lambda: 1 / 0)


def test_what_is_silent_is_left() -> None:
    """After the time, and wherever it waits."""
    never = threading.Event()

    class Silent:
        def open(self) -> None:
            never.wait()

    class NeverReady:
        def open(self) -> None:
            pass

        def client_ready(self) -> bool:
            return never.wait(0.001)

    try:
        for work in (never.wait, lambda: opened(Silent(), 0.01), lambda: opened(NeverReady(), 0.01)):
            with pytest.raises(TimeoutError):
                within(0.05, work)
    finally:
        never.set()


def test_closing_is_no_reason_to_fail() -> None:
    """What is closed badly is given up."""

    class Broken:
        def close(self) -> None:
            raise RuntimeError("already")

    closed(Broken())
