"""An actuator that is not there at the start is a fault until it is, and keeps nothing else from working."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from agent.commands.actuation import Asker, Guarded, Origin, Refusal
from agent.commands.guard import Guard
from agent.commands.late import LateActuator
from hw.errors import DeviceUnavailable, HardwareError
from hw.simulated.pins import SimulatedActuator
from tests.clock import FakeClock


class Bench:
    """A guard with a beacon whose pin is in use at first."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.fault: HardwareError | None = DeviceUnavailable("GPIO 23 is in use by another program")
        self.tried = 0
        self.beacon = SimulatedActuator(SimulatedActuator.Settings())
        self.late = LateActuator(self._open, False, DeviceUnavailable("GPIO 23 is in use"), self.clock)
        self.events: list[Mapping[str, Any]] = []
        self.guard = Guard({"beacon": Guarded(self.late)}, lambda entry: self.events.append(entry.body))
        self.guard.start(self.clock.monotonic())

    def _open(self) -> SimulatedActuator:
        self.tried += 1
        if self.fault is not None:
            raise self.fault
        return self.beacon

    def ask(self, value: object) -> object:
        future = self.guard.drive("beacon", value, None, Asker(Origin.CLOUD, "c-1"))
        self.guard.step(self.clock.monotonic())
        return future.result(0)

    def pass_by(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1.0)
            self.guard.step(self.clock.monotonic())


def test_while_it_is_not_there_commands_fail_and_say_why() -> None:
    """The reason is the pin's, and not that the value was wrong."""
    bench = Bench()
    assert bench.guard.status["beacon"].fault == "GPIO 23 is in use"
    for value in (True, False):
        with pytest.raises(HardwareError, match="GPIO 23 is in use"):
            bench.ask(value)
    assert [event["event"] for event in bench.events] == ["actuator-fault"]


def test_it_is_asked_again_now_and_then_and_used_when_it_is_there() -> None:
    """Every ten seconds; then it is safe, which is told, and obeys."""
    bench = Bench()
    bench.pass_by(35)
    assert bench.tried == 3
    bench.fault = None
    bench.pass_by(10)
    assert [event["event"] for event in bench.events] == ["actuator-fault", "actuator-safe"]
    assert bench.ask(True) is True
    assert bench.beacon.value is True
    with pytest.raises(Refusal, match="expected true or false"):
        bench.ask(3)


def test_what_is_safe_is_known_before_it_is_there() -> None:
    """A command towards safe is told from one away from it; types are kept apart."""
    bench = Bench()
    assert bench.guard.is_safe("beacon", False)
    assert not bench.guard.is_safe("beacon", True)
    assert not bench.guard.is_safe("beacon", 0)


@pytest.mark.parametrize("there", [False, True])
def test_after_the_stop_it_is_opened_no_more(there: bool) -> None:
    """And if it came, it is let go of."""
    bench = Bench()
    if there:
        bench.fault = None
        bench.pass_by(12)
    tried = bench.tried
    bench.guard.stop(bench.clock.monotonic())
    bench.clock.advance(100)
    with pytest.raises(HardwareError, match="closed"):
        bench.late.drive(False)
    assert bench.tried == tried
