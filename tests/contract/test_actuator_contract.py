"""Every actuator keeps hw.actuator.Actuator's contract. A new driver adds its rigs to RIGS."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from gpiozero import Device
from gpiozero.pins.mock import MockFactory, MockPin, MockPWMPin

from hw.actuator import Actuator, SafeLine, Value
from hw.errors import DeviceUnavailable, HardwareError
from hw.registry import ACTUATORS, load
from hw.settings import parse
from tests.clock import FakeClock
from tests.gpiochip import Machine, install, leave_gpiod_only


@dataclass(frozen=True)
class Rig:
    """A driver on the bench, wired to something that tells what it does.

    ``takes`` and ``refuses``: values for ``check``; ``accepted``: words of the refusal;
    ``output``: what the actuator's pin, or whatever it drives, is at now. ``pin_class``: the pins of the
    board, which do PWM only where the driver needs it: such a pin falls to 0 when it is let go of.
    ``gpiod``: the pin is a line over libgpiod, on a machine without lgpio.
    ``found``: the pin's level before the driver opens it, which is not the safe one. ``safe_level``: the
    pin's level that does no harm without a program; None if the driver drives no pin.
    """

    driver: str
    settings: Mapping[str, Any]
    takes: tuple[Value, ...]
    refuses: tuple[object, ...]
    accepted: str
    output: Callable[[Any], Value]
    pin_class: type[MockPin] = MockPin
    gpiod: bool = False
    found: bool = True
    safe_level: bool | None = None


PIN = 17  # without a pull of its own


def driven() -> list[float]:
    """Every state that the pin was driven to, one by one different: what hangs on it keeps the last, also
    after it was let go of, for nothing else drives it."""
    if Device.pin_factory is None:
        return list(map(float, sys.modules["gpiod"].machine.line(PIN).levels))
    return [float(state) for _, state in Device.pin_factory.pin(PIN).states[1:]]


def relay(*, on: float) -> Callable[[Any], Value]:
    return lambda _: driven()[-1] == on


def servo(*, minimum: float, maximum: float) -> Callable[[Any], Value]:
    """A servo stays where its last pulse has put it: 1 to 2 ms of 20 from the lowest to the highest angle."""

    def angle(_: Any) -> Value:
        pulse_ms = next(state for state in reversed(driven()) if state) * 20
        return round(minimum + (pulse_ms - 1) * (maximum - minimum), 9)

    return angle


NEVER: tuple[object, ...] = (None, "", "on", "1", math.nan, math.inf, -math.inf, [], {}, 10**400)

RIGS = {
    "simulated switch": Rig(
        "simulated", {}, (True, False), (*NEVER, 0, 1, 0.0, 1.0), "true or false", lambda a: a.value
    ),
    "simulated switch, safe when on": Rig(
        "simulated", {"safe": True}, (True, False), (*NEVER, 0, 1), "true or false", lambda a: a.value
    ),
    "simulated level": Rig(
        "simulated",
        {"safe": 20, "minimum": -10, "maximum": 90.5},
        (-10, 0, 20.0, 90.5),
        (*NEVER, True, False, -10.1, 91),
        "a number from -10 to 90.5",
        lambda a: a.value,
    ),
    "relay": Rig(
        "relay",
        {"pin": PIN},
        (True, False, True),
        (*NEVER, 0, 1, 0.0),
        "true or false",
        relay(on=1),
        safe_level=False,
    ),
    "relay, active low": Rig(
        "relay",
        {"pin": PIN, "active": "low"},
        (True, False, True),
        (*NEVER, 0, 1),
        "true or false",
        relay(on=0),
        found=False,
        safe_level=True,
    ),
    "relay, safe when on": Rig(
        "relay",
        {"pin": PIN, "safe": True},
        (True, False),
        (*NEVER, 0, 1),
        "true or false",
        relay(on=1),
        found=False,
        safe_level=True,
    ),
    "relay, active low, safe when on": Rig(
        "relay",
        {"pin": PIN, "active": "low", "safe": True},
        (True, False),
        (*NEVER, 0, 1),
        "true or false",
        relay(on=0),
        safe_level=False,
    ),
    "pwm": Rig(
        "pwm",
        {"pin": PIN, "maximum": 0.8},
        (0, 0.29, 0.8),
        (*NEVER, True, False, -0.01, 0.81, 1),
        "a number from 0 to 0.8",
        lambda _: driven()[-1],
        MockPWMPin,
        safe_level=False,
    ),
    "servo": Rig(
        "servo",
        {"pin": PIN, "maximum": 80, "safe": -20, "travel_s": 0},
        (-90, 0, 12.5, 80),
        (*NEVER, True, False, -90.1, 81),
        "a number from -90 to 80",
        servo(minimum=-90, maximum=80),
        MockPWMPin,
        safe_level=False,
    ),
}

RIGS |= {
    f"{name}, over libgpiod": dataclasses.replace(rig, gpiod=True)
    for name, rig in RIGS.items()
    if rig.driver == "relay"
}

Bench = tuple[Actuator, Rig]


@pytest.fixture(params=sorted(RIGS))
def rig(request: pytest.FixtureRequest) -> Rig:
    return RIGS[request.param]


@pytest.fixture
def pi(rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    machine = install(monkeypatch, tmp_path)
    machine.plug(0, "pinctrl-bcm2711", 58)
    if rig.gpiod:
        leave_gpiod_only(monkeypatch, machine)
    return machine


@pytest.fixture
def bench(rig: Rig, pi: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    factory = MockFactory(pin_class=rig.pin_class)
    if not rig.gpiod:
        monkeypatch.setattr(Device, "pin_factory", factory)
        pin = factory.pin(PIN)
        if rig.found:
            pin.drive_high()
        pin.clear_states()
    driver = load(ACTUATORS, rig.driver)
    settings, errors = parse(driver.Settings, rig.settings)
    assert errors == []
    actuator = driver.open(settings, FakeClock())
    yield actuator, rig
    actuator.close()
    factory.reset()


def test_every_driver_has_a_rig() -> None:
    """No driver is registered without being held to the contract."""
    assert {rig.driver for rig in RIGS.values()} == set(ACTUATORS)


@pytest.mark.parametrize("name", sorted(ACTUATORS))
def test_a_driver_documents_itself_and_its_settings(name: str) -> None:
    """A driver has a docstring, and a frozen dataclass of settings with a line on each."""
    driver = load(ACTUATORS, name)
    assert driver.__doc__
    assert driver.Settings.__dataclass_params__.frozen
    assert all(field.metadata["doc"] for field in dataclasses.fields(driver.Settings))


def test_the_safe_value_is_one_it_takes(bench: Bench) -> None:
    """The safe value passes the actuator's own check."""
    actuator, _ = bench
    assert actuator.check(actuator.safe) == actuator.safe
    assert isinstance(actuator.simulated, bool)


def test_an_actuator_opens_in_its_safe_state(bench: Bench) -> None:
    """Nothing moves by opening."""
    actuator, rig = bench
    assert rig.output(actuator) == actuator.safe


def test_what_check_takes_is_driven(bench: Bench) -> None:
    """Each accepted value reaches the output and stays there."""
    actuator, rig = bench
    for value in rig.takes:
        actuator.drive(actuator.check(value))
        assert rig.output(actuator) == value


def test_what_check_refuses_is_named_with_what_it_would_take(bench: Bench) -> None:
    """Wrong types, a bool for a number, NaN and values out of range raise ValueError and move nothing."""
    actuator, rig = bench
    for value in rig.refuses:
        with pytest.raises(ValueError, match=rig.accepted):
            actuator.check(value)
    assert rig.output(actuator) == actuator.safe


def test_check_keeps_the_type(bench: Bench) -> None:
    """A switch's value is a bool, a level's a float, whatever JSON spelt it as."""
    actuator, rig = bench
    kind = bool if isinstance(actuator.safe, bool) else float
    assert all(type(actuator.check(value)) is kind for value in rig.takes)


def test_close_drives_the_safe_value(bench: Bench) -> None:
    """After close, and after closing again, the output is safe."""
    actuator, rig = bench
    for value in rig.takes:
        actuator.drive(actuator.check(value))
    actuator.close()
    assert rig.output(actuator) == actuator.safe
    actuator.close()
    assert rig.output(actuator) == actuator.safe


def test_a_closed_actuator_cannot_be_driven(bench: Bench) -> None:
    """Driving after close raises HardwareError, and the output stays safe."""
    actuator, rig = bench
    actuator.close()
    with pytest.raises(HardwareError, match="closed"):
        actuator.drive(rig.takes[0])
    assert rig.output(actuator) == actuator.safe


# --- without a program: hw.actuator.SafeLine


def parsed(rig: Rig) -> tuple[Any, Any]:
    """(the driver, its settings)"""
    driver = load(ACTUATORS, rig.driver)
    settings, errors = parse(driver.Settings, rig.settings)
    assert errors == []
    return driver, settings


def test_a_driver_says_which_lines_it_drives(pi: Machine, rig: Rig) -> None:
    """Each with the level that does no harm there; nothing is claimed by asking."""
    driver, settings = parsed(rig)
    expected = () if rig.safe_level is None else (SafeLine(str(pi.dev / "gpiochip0"), PIN, rig.safe_level),)
    assert driver.safe_lines(settings) == expected
    assert pi.opened == []
    assert pi.line(PIN).mode is None


def test_it_leaves_its_lines_as_it_says(pi: Machine, rig: Rig) -> None:
    """What the exit program drives is what the driver itself leaves behind, however it was driven before."""
    driver, settings = parsed(rig)
    actuator = driver.open(settings, FakeClock())
    for value in rig.takes:
        actuator.drive(actuator.check(value))
    actuator.close()
    for line in driver.safe_lines(settings):
        assert pi.line(line.offset).levels[-1] == line.level


def test_a_line_that_cannot_be_found_is_told_as_by_open(pi: Machine, rig: Rig) -> None:
    """A chip that is not there is a DeviceUnavailable, which passes by itself."""
    driver, settings = parsed(rig)
    if rig.safe_level is not None:
        with pytest.raises(DeviceUnavailable, match=r"there is no .*gpiochip9"):
            driver.safe_lines(dataclasses.replace(settings, chip="gpiochip9"))


def test_pins_of_a_chosen_factory_are_no_lines(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test's mock drives is nothing of this machine."""
    monkeypatch.setattr(Device, "pin_factory", MockFactory())
    driver, settings = parsed(rig)
    assert driver.safe_lines(settings) == ()
