"""The relay on its line: no glitch, never left on. What every actuator keeps: tests/contract."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from gpiozero import Device
from gpiozero.pins.mock import MockFactory

from agent.commands.actuation import LOCAL, Guarded
from agent.commands.guard import Guard
from hw.actuators import relay as relay_module
from hw.actuators.relay import Relay
from hw.errors import DeviceMisconfigured, DeviceUnavailable, HardwareError
from tests.clock import FakeClock
from tests.gpiochip import Machine, install, leave_gpiod_only

CLOCK = FakeClock()


@pytest.fixture(params=["lgpio", "gpiod"])
def pi(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """A Raspberry Pi whose pins are driven by the one library or the other."""
    machine = install(monkeypatch, tmp_path)
    machine.plug(0, "pinctrl-bcm2711", 58)
    if request.param == "gpiod":
        leave_gpiod_only(monkeypatch, machine)
    return machine


def relay(*, active: str = "low", safe: bool = False, pin: int = 23, chip: str | None = None) -> Relay:
    return Relay.open(Relay.Settings(pin, chip, active, safe), CLOCK)


@pytest.mark.parametrize(
    ("active", "safe", "level"), [("low", False, 1), ("low", True, 0), ("high", False, 0), ("high", True, 1)]
)
def test_the_line_is_claimed_once_at_its_safe_level(pi: Machine, active: str, safe: bool, level: int) -> None:
    """From its first instant as an output to its last the line is at no other level, if nobody drives it."""
    opened, line = relay(active=active, safe=safe), pi.line(23)
    assert line.claims == [level]
    opened.close()
    assert line.claims == [level]
    assert set(line.levels) == {level}
    assert (line.mode, line.pull) == (None, "up" if level else "down")


def test_it_is_safe_before_it_is_let_go(pi: Machine) -> None:
    """The last level that is written is the safe one, however it was driven before."""
    opened, line = relay(), pi.line(23)
    opened.drive(True)
    assert line.levels[-1] == 0
    opened.close()
    assert line.levels[-1] == 1
    assert line.mode is None


def test_a_line_that_does_not_obey_is_a_fault_and_may_obey_again(pi: Machine) -> None:
    """Driving says so each time; what works again is driven."""
    opened = relay()
    pi.lgpio.broken = pi.gpiod.broken = True
    for _ in range(2):
        with pytest.raises(
            DeviceUnavailable, match=r"GPIO 23 does not obey: (unexpected|Input/output) error$"
        ):
            opened.drive(True)
    pi.lgpio.broken = pi.gpiod.broken = False
    opened.drive(True)
    assert pi.line(23).levels[-1] == 0
    opened.close()


def test_close_of_a_line_that_does_not_obey_is_logged(pi: Machine, caplog: pytest.LogCaptureFixture) -> None:
    """It raises nothing, but nobody is left to believe that it is safe."""
    opened = relay()
    opened.drive(True)
    pi.lgpio.broken = pi.gpiod.broken = True
    opened.close()
    opened.close()
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "relay on GPIO 23 was let go of in an unknown state" in caplog.text
    with pytest.raises(DeviceUnavailable, match="the relay on GPIO 23 is closed"):
        opened.drive(False)


def test_a_line_of_another_program_is_named(pi: Machine) -> None:
    """And can be had when that has ended."""
    pi.line(23).busy = True
    with pytest.raises(DeviceUnavailable, match="GPIO 23 is in use by another program") as told:
        relay()
    pi.line(23).busy = False
    relay().close()
    assert "\n" not in str(told.value)


def test_a_pin_that_is_used_twice_is_refused(pi: Machine) -> None:
    """The first one keeps it, untouched."""
    first = relay()
    in_use = "GPIO 23 is in use by (another part of this configuration|'masthead')"
    with pytest.raises(HardwareError, match=in_use):
        relay(active="high")
    assert set(pi.line(23).levels) == {1}
    first.drive(True)
    assert pi.line(23).levels[-1] == 0
    first.close()


def test_a_line_on_another_chip(pi: Machine) -> None:
    """``chip`` says where; a line that it has not is refused with those it has."""
    pi.plug(2, "pcf8574", 8)
    opened = relay(pin=7, chip="gpiochip2")
    assert pi.line(7, 2).claims == [1]
    opened.close()
    with pytest.raises(DeviceMisconfigured, match="has no GPIO 8: it has 0 to 7"):
        relay(pin=8, chip="gpiochip2")


def test_a_pin_that_the_board_has_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by a factory that somebody has chosen."""
    monkeypatch.setattr(Device, "pin_factory", MockFactory())
    with pytest.raises(DeviceMisconfigured, match="GPIO 99 cannot be used so: 99 is not a valid pin name"):
        relay(pin=99)


@pytest.mark.parametrize("end", ["stop", "crash of a driver"])
def test_the_guard_leaves_it_off_at_every_end(pi: Machine, end: str) -> None:
    """Driven on by a command, the line is off before it is let go of, also if another actuator fails."""
    opened, other = relay(), relay(pin=24)
    guard = Guard({"other": Guarded(other), "siren": Guarded(opened)}, lambda entry: None)
    guard.start(0.0)
    for name in ("other", "siren"):
        guard.drive(name, True, None, LOCAL)
    guard.step(1.0)
    assert [pi.line(pin).levels[-1] for pin in (23, 24)] == [0, 0]
    if end != "stop":
        pi.line(24).busy = True
    guard.stop(2.0)
    assert pi.line(23).levels[-1] == 1
    assert pi.line(23).mode is None
    pi.line(24).busy = False


CONFIG = """
[device]
state_directory = "{folder}/state"

[[sensor]]
id = "top"
driver = "simulated"

[actuators.siren]
driver = "relay"
pin = 23
active = "low"
"""
PROGRAM = """
import os
import sys
import time
from pathlib import Path
import pytest
from agent.cli import main
from hw.actuators.relay import Relay
from tests.gpiochip import install
folder, again = Path(sys.argv[1]), int(sys.argv[2])
(folder / "dev").mkdir()
machine = install(pytest.MonkeyPatch(), folder / "dev")
machine.plug(0, "pinctrl-bcm2711", 58)
drive, on = Relay.drive, []
def driven(relay, value):
    if on and not value:
        os.kill(os.getpid(), again)
        time.sleep(0.3)
        on.clear()
    drive(relay, value)
    on.extend([True] * value)
Relay.drive = driven
sys.argv = ["masthead", "actuate", "siren", "on", "--config", str(folder / "masthead.toml")]
try:
    main()
finally:
    siren = machine.line(23)
    print(siren.claims, siren.levels[-1], siren.mode)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_no_signal_leaves_it_on(tmp_path: Path, number: signal.Signals) -> None:
    """`masthead actuate` that is ended by a signal has driven the relay off before it let go of the line;
    that it comes again just then changes nothing."""
    (tmp_path / "masthead.toml").write_text(CONFIG.format(folder=tmp_path))
    root = str(Path(relay_module.__file__).parents[2])
    command = [sys.executable, "-u", "-c", PROGRAM, str(tmp_path), str(int(number))]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, env=environment) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "siren is on\n"
            process.send_signal(number)
            said, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert said.splitlines()[-1] == "[1] 1 None"
