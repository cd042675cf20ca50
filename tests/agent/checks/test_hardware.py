"""What the check says of that which drives the pins."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from agent.checks.finding import Finding
from agent.checks.hardware import findings, machine
from agent.config import loads
from tests.gpiochip import Machine, install, leave_gpiod_only

SENSOR = '[[sensor]]\nid = "top"\ndriver = "simulated"\n'


@pytest.fixture
def pi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    pi = install(monkeypatch, tmp_path)
    pi.plug(0, "pinctrl-bcm2711", 58)
    return pi


def outputs(*drivers: str) -> Finding:
    tables = "".join(f'[actuators.{d}]\ndriver = "{d}"\npin = {20 + k}\n' for k, d in enumerate(drivers))
    [found] = [f for f in findings(loads(SENSOR + tables)) if f.name == "outputs"]
    return found


@pytest.mark.usefixtures("pi")
def test_lgpio_drives_all() -> None:
    """It is named, and nothing else is to be said."""
    assert outputs("relay", "pwm", "servo") == Finding("outputs", "ok", "through lgpio")


def test_libgpiod_drives_relays(pi: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is enough for who has no others; what it cannot do is told."""
    leave_gpiod_only(monkeypatch, pi)
    found = outputs("relay")
    assert found == next(f for f in machine() if f.name == "outputs")
    assert (found.state, found.remedy) == ("ok", None)
    assert found.text.startswith("through libgpiod, ")


@pytest.mark.parametrize("driver", ["pwm", "servo"])
def test_pulses_need_lgpio(pi: Machine, monkeypatch: pytest.MonkeyPatch, driver: str) -> None:
    """With the remedy, as the agent would refuse to start with it."""
    leave_gpiod_only(monkeypatch, pi)
    found = outputs("relay", driver)
    assert found.state == "failed"
    assert "sudo apt install python3-lgpio" in str(found)
    assert "\n" not in str(found)


@pytest.mark.parametrize(
    ("drivers", "state", "on_13"),
    [((), "ok", True), (("relay",), "failed", True), (("relay", "servo"), "failed", False)],
)
def test_neither_is_told_with_what_would_do(
    pi: Machine, monkeypatch: pytest.MonkeyPatch, drivers: tuple[str, ...], state: str, on_13: bool
) -> None:
    """A failure only where it is wanted; libgpiod is named where it is enough."""
    leave_gpiod_only(monkeypatch, pi)
    monkeypatch.setitem(sys.modules, "gpiod", None)
    found = outputs(*drivers)
    assert found.state == state
    assert ("python3-libgpiod" in str(found)) == on_13


def test_a_machine_without_pins_needs_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As a laptop or a container."""
    install(monkeypatch, tmp_path)
    assert "outputs" not in [found.name for found in machine()]
