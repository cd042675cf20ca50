"""Servo pulses on their line. What every actuator keeps: tests/contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gpiozero import Device
from gpiozero.pins.mock import MockFactory, MockPWMPin

from hw.actuators.servo import Servo
from hw.errors import DeviceUnavailable
from hw.settings import parse
from tests.clock import FakeClock
from tests.gpiochip import Line, Machine, install


@pytest.fixture
def pi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    machine = install(monkeypatch, tmp_path)
    machine.plug(0, "pinctrl-bcm2711", 58)
    return machine


class Bench:
    """A servo whose waiting is the clock's."""

    def __init__(self, **settings: Any) -> None:
        self.clock = FakeClock()
        self.waits: list[float] = []
        self.servo = Servo(Servo.Settings(18, **settings), self.clock, self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.clock.advance(seconds)


def pulses_ms(line: Line) -> list[float]:
    assert {hertz for hertz, _ in line.pulsed} == {50}
    return [round(percent / 100 * 20, 6) for _, percent in line.pulsed]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"minimum": 0, "maximum": 0}, "vent: minimum (0) must be below maximum (0)"),
        ({"min_pulse_ms": 1.5, "max_pulse_ms": 1.5}, "vent: min_pulse_ms and max_pulse_ms must differ"),
        ({"maximum": 45, "safe": 60}, "vent: safe must be from -90 to 45, got 60"),
        ({"max_pulse_ms": 3}, "vent.max_pulse_ms: expected a number from 0.5 to 2.5, got 3"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(table: dict[str, object], message: str) -> None:
    """The safe angle lies within the range, and pulses are what servos take."""
    _, errors = parse(Servo.Settings, {"pin": 18, **table}, "vent")
    assert [str(error) for error in errors] == [message]


@pytest.mark.parametrize(
    ("settings", "angle", "pulse_ms"),
    [
        ({}, -90, 1.0),
        ({}, 0, 1.5),
        ({}, 1, 1.505556),
        ({}, 90, 2.0),
        ({"minimum": 0, "maximum": 180, "min_pulse_ms": 0.5, "max_pulse_ms": 2.5}, 45, 1.0),
        ({"min_pulse_ms": 2.0, "max_pulse_ms": 1.0}, -90, 2.0),
    ],
)
def test_an_angle_is_the_length_of_a_pulse(
    pi: Machine, settings: dict[str, float], angle: float, pulse_ms: float
) -> None:
    """Linear between the ends, in steps finer than a degree, fifty times a second."""
    bench = Bench(**settings)
    bench.servo.drive(angle)
    assert pulses_ms(pi.line(18))[-1] == pulse_ms
    bench.servo.close()


def test_it_opens_towards_its_safe_angle(pi: Machine) -> None:
    """The line is low until the first pulse, which is the safe one."""
    bench = Bench(safe=-90)
    assert pi.line(18).claims == [0]
    assert pulses_ms(pi.line(18)) == [1.0]
    bench.servo.close()


def test_close_gives_it_time_to_get_there(pi: Machine) -> None:
    """Pulses of the safe angle go on for travel_s, then they end low."""
    bench, line = Bench(travel_s=0.7), pi.line(18)
    bench.servo.drive(90.0)
    bench.clock.advance(60)
    bench.servo.close()
    assert bench.waits == [pytest.approx(0.7)]
    assert pulses_ms(line)[-1] == 1.5
    assert (line.pulses, line.levels[-1], line.mode) == (None, 0, None)
    bench.servo.close()
    assert len(bench.waits) == 1


def test_close_waits_only_for_what_is_left(pi: Machine) -> None:
    """Time on the way to the safe angle counts, also if that was driven again; once there, nobody waits."""
    bench = Bench(travel_s=0.5)
    bench.servo.drive(90.0)
    bench.servo.drive(0.0)
    bench.clock.advance(0.25)
    bench.servo.drive(0.0)
    bench.clock.advance(0.125)
    bench.servo.close()
    assert bench.waits == [pytest.approx(0.125)]
    settled = Bench(travel_s=0.5)
    settled.clock.advance(0.5)
    settled.servo.close()
    assert settled.waits == []


def test_a_line_that_does_not_obey_is_not_waited_for(pi: Machine, caplog: pytest.LogCaptureFixture) -> None:
    """A fault of drive, an error in the log of close; where it is after that is not known."""
    bench = Bench()
    pi.lgpio.broken = True
    with pytest.raises(DeviceUnavailable, match="GPIO 18 does not obey"):
        bench.servo.drive(0.0)
    bench.clock.advance(9)
    bench.servo.close()
    assert bench.waits == []
    assert "servo on GPIO 18 was let go of in an unknown state" in caplog.text


def test_after_a_fault_it_travels_anew(pi: Machine) -> None:
    """What was not driven may be anywhere."""
    bench = Bench(travel_s=0.5)
    bench.clock.advance(9)
    pi.lgpio.broken = True
    with pytest.raises(DeviceUnavailable):
        bench.servo.drive(0.0)
    pi.lgpio.broken = False
    bench.servo.close()
    assert bench.waits == [pytest.approx(0.5)]


def test_it_is_let_go_of_even_if_the_wait_is_broken_off(pi: Machine) -> None:
    """Ctrl-C while it travels."""
    bench = Bench()
    bench.servo.drive(90.0)

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    bench.servo._sleep = interrupt
    with pytest.raises(KeyboardInterrupt):
        bench.servo.close()
    assert (pi.line(18).pulses, pi.line(18).mode) == (None, None)


def test_the_log_says_once_what_software_pulses_are(
    pi: Machine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At open, where lgpio makes them; a factory that was chosen makes its own."""
    Bench(travel_s=0).servo.close()
    assert [record.getMessage() for record in caplog.records] == [
        "the servo on GPIO 18 is held by pulses that software times: it trembles when the machine is busy"
    ]
    caplog.clear()
    monkeypatch.setattr(Device, "pin_factory", MockFactory(pin_class=MockPWMPin))
    Bench(travel_s=0).servo.close()
    assert caplog.records == []
