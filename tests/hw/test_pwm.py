"""Pulse width on its line. What every actuator keeps: tests/contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gpiozero import Device
from gpiozero.pins.mock import MockFactory, MockPin, MockPWMPin

from hw.actuators.pwm import Pwm
from hw.errors import DeviceMisconfigured, DeviceUnavailable
from hw.settings import parse
from tests.clock import FakeClock
from tests.gpiochip import Machine, install

CLOCK = FakeClock()


@pytest.fixture
def pi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    machine = install(monkeypatch, tmp_path)
    machine.plug(0, "pinctrl-bcm2711", 58)
    return machine


def pwm(**settings: Any) -> Pwm:
    return Pwm.open(Pwm.Settings(18, **settings), CLOCK)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"frequency_hz": 20_000}, "fan.frequency_hz: expected a number from 0.1 to 10000, got 20000"),
        ({"safe": 0.9, "maximum": 0.8}, "fan: safe must be from 0 to 0.8, got 0.9"),
        ({"minimum": 0.5, "maximum": 0.5, "safe": 0.5}, "fan: minimum (0.5) must be below maximum (0.5)"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(table: dict[str, object], message: str) -> None:
    """The limits are lgpio's, and the safe level lies within the range."""
    _, errors = parse(Pwm.Settings, {"pin": 18, **table}, "fan")
    assert [str(error) for error in errors] == [message]


@pytest.mark.parametrize(("safe", "level"), [(0.0, 0), (1.0, 1)])
def test_off_and_full_are_levels(pi: Machine, safe: float, level: int) -> None:
    """The line is claimed at a safe level of 0 or 1, and keeps it without a pulse to the end."""
    opened, line = pwm(safe=safe), pi.line(18)
    assert line.claims == [level]
    opened.drive(1.0 - safe)
    assert line.levels[-1] == 1 - level
    opened.drive(safe)
    opened.close()
    assert line.levels[-1] == level
    assert line.pulsed == []
    assert (line.mode, line.pull) == (None, "up" if level else "down")


@pytest.mark.parametrize(("safe", "level"), [(0.0, False), (0.4, False), (1.0, True)])
def test_without_a_program_there_are_no_pulses(pi: Machine, safe: float, level: bool) -> None:
    """Only full is left high: the level the line is left at, and the one the exit program is told."""
    opened, line = pwm(safe=safe), pi.line(18)
    opened.drive(0.7)
    opened.close()
    assert line.levels[-1] == level
    assert [named.level for named in Pwm.safe_lines(Pwm.Settings(18, safe=safe))] == [level]


@pytest.mark.parametrize("value", [0.01, 0.29, 0.333, 0.57, 0.999])
def test_pulses_are_as_wide_as_asked(pi: Machine, value: float) -> None:
    """Not cut to whole percents."""
    opened, line = pwm(frequency_hz=250), pi.line(18)
    opened.drive(value)
    hertz, percent = line.pulses or (0, 0)
    assert (hertz, percent) == (250, pytest.approx(value * 100))
    opened.close()


def test_off_is_taken_at_once(pi: Machine) -> None:
    """Pulses are stopped, and the line is low whatever it was at that moment; then they begin again."""
    opened, line = pwm(frequency_hz=0.1), pi.line(18)
    for value in (0.3, 0.7):
        opened.drive(value)
        opened.drive(0.0)
        assert line.pulses is None
        assert line.levels[-1] == 0
    opened.drive(0.0)
    opened.close()


def test_close_ends_pulses_low(pi: Machine) -> None:
    """In the middle of a pulse: the line is low before it is let go of."""
    opened, line = pwm(), pi.line(18)
    opened.drive(0.5)
    opened.close()
    assert line.pulses is None
    assert (line.levels[-1], line.mode, line.pull) == (0, None, "down")


def test_a_safe_level_between_is_held_while_it_is_open(pi: Machine) -> None:
    """It is low before the first pulse and after the last; close has the safe level in between."""
    opened, line = pwm(safe=0.25), pi.line(18)
    assert line.claims == [0]
    assert line.pulses == (100, 25)
    opened.drive(0.8)
    opened.close()
    assert [percent for _, percent in line.pulsed] == [25, 80, 25]
    assert (line.levels[-1], line.mode) == (0, None)


def test_the_same_over_a_mock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of states, as a chosen factory sees them."""
    factory = MockFactory(pin_class=MockPWMPin)
    monkeypatch.setattr(Device, "pin_factory", factory)
    opened = pwm(safe=0.25)
    pin = factory.pin(18)
    assert pin.frequency == 100
    opened.drive(0.8)
    opened.close()
    assert [state for _, state in pin.states] == [0, 0.25, 0.8, 0.25, 0]
    assert (pin.frequency, pin.function) == (None, "input")


def test_a_pin_without_pwm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """In words, and the pin is free again."""
    factory = MockFactory(pin_class=MockPin)
    monkeypatch.setattr(Device, "pin_factory", factory)
    with pytest.raises(DeviceMisconfigured, match="GPIO 18 cannot be used so: PinPWMUnsupported"):
        pwm()
    assert factory.pin(18).function == "input"
    factory.pin_class = MockPWMPin
    factory.pins.clear()
    pwm().close()


def test_what_fails_to_open_is_let_go_of(pi: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line is free and low, and can be opened later, while the fault is still being told."""
    with monkeypatch.context() as broken:
        broken.setattr(pi.lgpio, "tx_pwm", pi.lgpio.gpiochip_open)  # takes other arguments
        with pytest.raises(DeviceUnavailable, match="GPIO 18 does not obey") as told:
            pwm(safe=0.5)
    assert (pi.line(18).levels[-1], pi.line(18).mode) == (0, None)
    pwm(safe=0.5).close()
    assert told.value.__cause__ is not None


def test_a_line_that_failed_at_close_can_be_opened_again(pi: Machine) -> None:
    """Nothing stays reserved of what did not obey to the end."""
    opened, line = pwm(safe=0.25), pi.line(18)
    pi.lgpio.broken = True
    opened.close()
    pi.lgpio.broken = False
    opened = pwm(safe=0.0)
    opened.close()
    assert (line.pulses, line.levels[-1], line.mode) == (None, 0, None)


def test_pulses_that_cannot_be_stopped_are_a_fault(pi: Machine) -> None:
    """Driving says so and stops them the next time; close lets go of the line without raising."""
    opened = pwm()
    opened.drive(0.5)
    pi.lgpio.broken = True
    with pytest.raises(DeviceUnavailable, match="GPIO 18 does not obey: unexpected error"):
        opened.drive(0.0)
    pi.lgpio.broken = False
    opened.drive(0.0)
    assert (pi.line(18).pulses, pi.line(18).levels[-1]) == (None, 0)
    pi.lgpio.broken = True
    opened.close()
    with pytest.raises(DeviceUnavailable, match="pwm on GPIO 18 is closed"):
        opened.drive(0.0)
