"""Outputs where there is libgpiod and no lgpio. The relay on them: test_relay.py and tests/contract."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from hw import gpio
from hw.actuators.output import Output
from hw.actuators.pwm import Pwm
from hw.actuators.relay import Relay
from hw.actuators.servo import Servo
from hw.errors import DeviceMisconfigured, DeviceUnavailable, HardwareError
from hw.gpio import GpioLine
from hw.gpiod_lines import GpiodOutput
from tests.clock import FakeClock
from tests.gpiochip import Machine, forget_lgpio, install, leave_gpiod_only


@pytest.fixture
def debian(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """A Raspberry Pi with plain Debian."""
    machine = install(monkeypatch, tmp_path)
    machine.plug(0, "pinctrl-bcm2711", 58)
    leave_gpiod_only(monkeypatch, machine)
    return machine


def test_a_relay_is_mastheads_to_the_kernel(debian: Machine) -> None:
    """gpioinfo names who has the line, as it does for edges."""
    opened = Relay.open(Relay.Settings(23), FakeClock())
    assert debian.line(23).consumer == "masthead"
    opened.close()


@pytest.mark.parametrize("driver", [Pwm, Servo])
def test_pulses_are_a_wrong_configuration(debian: Machine, driver: Any) -> None:
    """One line that says what they need and how it is had; the line is not touched."""
    with pytest.raises(DeviceMisconfigured) as told:
        driver.open(driver.Settings(18), FakeClock())
    what = f"the {driver.__name__.lower()} on GPIO 18 needs lgpio"
    remedy = "Raspberry Pi OS: sudo apt install python3-lgpio; "
    assert str(told.value).startswith(f"{what}, for libgpiod has no pulses: {remedy}")
    assert "\n" not in str(told.value)
    assert debian.opened == []


@pytest.mark.parametrize("driver", [Relay, Pwm, Servo])
def test_a_chip_that_is_not_there_is_told_first(debian: Machine, driver: Any) -> None:
    """It may come; and what else is wrong is told then."""
    with pytest.raises(DeviceUnavailable, match=r"there is no .*gpiochip9"):
        driver.open(driver.Settings(18, "gpiochip9"), FakeClock())


def test_lgpio_is_used_where_there_are_both(debian: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A board's outputs are all driven by the same library."""
    assert gpio.outputs_by() == "gpiod"
    monkeypatch.setitem(sys.modules, "lgpio", debian.lgpio)
    assert gpio.outputs_by() == "lgpio"
    Output("relay", 23, None, state=0).close()
    assert debian.line(23).claims == [0]
    assert debian.line(23).consumer == ""


def test_an_lgpio_that_cannot_begin_is_not_replaced(
    debian: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """It is installed, and may begin the next time: a pwm is no wrong configuration."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "lgpio.py").write_text("raise FileNotFoundError('no FIFO')")
    forget_lgpio(monkeypatch)
    monkeypatch.syspath_prepend(str(folder))
    assert gpio.outputs_by() == "lgpio"
    with pytest.raises(DeviceUnavailable, match="lgpio cannot begin: no FIFO"):
        Pwm.open(Pwm.Settings(18), FakeClock())


@pytest.mark.parametrize("module", [None, type(sys)("gpiod")], ids=["none", "version 1"])
def test_without_either_the_remedy_is_told(
    debian: Machine, monkeypatch: pytest.MonkeyPatch, module: Any
) -> None:
    """The first gpiod has another interface and does not serve."""
    monkeypatch.setitem(sys.modules, "gpiod", module)
    assert gpio.outputs_by() is None
    with pytest.raises(DeviceUnavailable, match="Debian 13: sudo apt install python3-libgpiod") as told:
        Relay.open(Relay.Settings(23), FakeClock())
    assert "\n" not in str(told.value)


def test_a_chip_that_may_not_be_driven_names_the_group(debian: Machine) -> None:
    """Reading its name may be allowed where driving its lines is not."""
    debian.read_only = {0}
    with pytest.raises(DeviceUnavailable, match=r"no permission to open .*gpiochip0: join the group gpio"):
        Relay.open(Relay.Settings(23), FakeClock())


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (OSError(errno.EINVAL, "Invalid argument"), DeviceMisconfigured, "GPIO 23 of .* cannot be an output"),
        (OSError(errno.EIO, "Input/output error"), DeviceUnavailable, "cannot be opened: Input/output error"),
        (ValueError("no such line"), DeviceMisconfigured, "gpiochip0 has no GPIO 23"),
    ],
)
def test_a_line_that_cannot_be_had_is_told_in_words(
    debian: Machine, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[HardwareError], words: str
) -> None:
    """Of the kind that says what to do next."""

    def refused(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(debian.gpiod, "request_lines", refused)
    with pytest.raises(kind, match=words):
        Relay.open(Relay.Settings(23), FakeClock())


@pytest.mark.parametrize("level", [False, True])
def test_a_line_that_did_not_obey_is_pulled_towards_what_was_asked_for(debian: Machine, level: bool) -> None:
    """As it could not be driven safe, at least it is pulled there."""
    output = GpiodOutput(gpio.find_line(23), state=not level)
    debian.gpiod.broken = True
    with pytest.raises(OSError, match="Input/output"):
        output.drive(level)
    debian.gpiod.broken = False
    output.close()
    assert (debian.line(23).mode, debian.line(23).pull) == (None, "up" if level else "down")


# --- the real gpiod, where there is one


class Recorder:
    """Stands for the request, which only a real gpiochip gives."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.calls.append((name, arguments))


def test_the_real_gpiod_has_what_the_fake_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings, values and the methods of a request, as they are used."""
    gpiod = pytest.importorskip("gpiod", minversion="2")
    recorder = Recorder()
    asked: list[Any] = []
    monkeypatch.setattr(gpiod, "request_lines", lambda *a, **k: asked.append((a, k)) or recorder)
    output = GpiodOutput(GpioLine("/dev/gpiochip0", 23), state=1)
    output.drive(0)
    output.close()
    line = gpiod.line
    settings = gpiod.LineSettings(direction=line.Direction.OUTPUT, output_value=line.Value.ACTIVE)
    assert asked == [(("/dev/gpiochip0", {23: settings}), {"consumer": "masthead"})]
    pulled = gpiod.LineSettings(direction=line.Direction.INPUT, bias=line.Bias.PULL_DOWN)
    assert recorder.calls == [
        ("set_value", (23, line.Value.INACTIVE)),
        ("reconfigure_lines", ({23: pulled},)),
        ("release", ()),
    ]
    assert all(hasattr(gpiod.LineRequest, name) for name, _ in recorder.calls)


def test_the_real_gpiod_refuses_what_is_no_chip() -> None:
    """Its own error becomes words."""
    pytest.importorskip("gpiod", minversion="2")
    with pytest.raises(DeviceUnavailable, match=f"GPIO 23 of {os.devnull} cannot be opened: "):
        GpiodOutput(GpioLine(os.devnull, 23), state=0)
