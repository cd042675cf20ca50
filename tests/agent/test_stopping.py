"""How a signal or another thread reaches the main thread."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from agent.stopping import StopRequest


@pytest.fixture
def stopping() -> Iterator[StopRequest]:
    """With the signals' handlers of before afterwards."""
    request = StopRequest()
    with request.instead_of_signals():
        yield request


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_asks_to_end(stopping: StopRequest, number: signal.Signals) -> None:
    """A terminal that hangs up ends what runs in it."""
    os.kill(os.getpid(), number)
    assert stopping.wait(30)
    assert stopping.is_set()
    assert not stopping.take_reload()


def test_for_a_service_a_hangup_asks_for_a_reload(stopping: StopRequest) -> None:
    """The wait ends at once and nothing is set; asked twice it is done once."""
    stopping.on_signals(hangup_reloads=True)
    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGHUP)
    assert not stopping.wait(3600)
    assert [stopping.take_reload(), stopping.take_reload()] == [True, False]
    os.kill(os.getpid(), signal.SIGTERM)
    while not stopping.wait(3600):
        pass
    assert stopping.is_set()


def test_what_is_asked_for_while_it_is_looked_at_is_not_forgotten() -> None:
    """A signal comes between any two steps, so also right after the look."""

    class Interrupted(StopRequest):
        """A signal asks as soon as it was looked whether anybody did."""

        asked = False
        signals = 0

        @property
        def _reload(self) -> bool:  # type: ignore[override]
            seen = self.asked
            if self.signals:
                self.signals -= 1
                self.ask_reload()
            return seen

        @_reload.setter
        def _reload(self, asked: bool) -> None:
            self.asked = asked

    request = Interrupted()
    request.signals = 1
    assert [request.take_reload(), request.take_reload()] == [False, True]
