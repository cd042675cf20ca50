"""Which gpiochip a pin is on, and gpiozero's factory of its lines."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import gpiozero
import pytest
from gpiozero.pins.mock import MockFactory, MockPWMPin

from hw import gpio, lgpio_pins
from hw.actuator import SafeLine
from hw.errors import DeviceMisconfigured, DeviceUnavailable, HardwareError
from tests.gpiochip import LgpioError, Machine, forget_lgpio, install


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    return install(monkeypatch, tmp_path)


@pytest.fixture
def pi(machine: Machine) -> Machine:
    machine.plug(0, "pinctrl-bcm2711", 58)
    machine.plug(1, "raspberrypi-exp-gpio", 8)
    return machine


# --- chips and lines


@pytest.mark.parametrize(
    ("chips", "path"),
    [
        ({0: ("pinctrl-bcm2835", 54), 1: ("brcmvirt-gpio", 2), 2: ("raspberrypi-exp-gpio", 8)}, "gpiochip0"),
        ({0: ("pinctrl-bcm2711", 58), 1: ("raspberrypi-exp-gpio", 8)}, "gpiochip0"),
        ({4: ("pinctrl-rp1", 54), 0: ("gpio-brcmstb@107d508500", 32)}, "gpiochip4"),
        ({0: ("pinctrl-rp1", 54), 10: ("gpio-brcmstb@107d508500", 32)}, "gpiochip0"),
        ({2: ("pinctrl-bcm2712", 54), 3: ("pinctrl-rp1", 54)}, "gpiochip3"),
        ({0: ("pinctrl-bcm2712-aon", 17), 1: ("pinctrl-bcm2711", 58)}, "gpiochip1"),
        ({7: ("gpio-sim.0-node0", 8)}, "gpiochip7"),
    ],
    ids=[
        "Pi 3",
        "Pi 4",
        "Pi 5",
        "Pi 5 with a newer kernel",
        "two that could be",
        "one too small",
        "the only one",
    ],
)
def test_a_pin_is_on_the_header(machine: Machine, chips: dict[int, tuple[str, int]], path: str) -> None:
    """A board's header is known by its chip's label, whatever its number; an only chip needs no label."""
    for number, (label, lines) in chips.items():
        machine.plug(number, label, lines)
    assert gpio.find_line(7) == gpio.GpioLine(str(machine.dev / path), 7)


def test_several_chips_of_which_none_is_known_are_listed(machine: Machine) -> None:
    """The error says what to set, and to what."""
    machine.plug(1, "sunxi-r", 64)
    machine.plug(0, "sunxi", 288)
    with pytest.raises(DeviceMisconfigured, match=r"Set chip = .*gpiochip0 \(sunxi\), gpiochip1 \(sunxi-r\)"):
        gpio.find_line(17)


@pytest.mark.parametrize("name", ["gpiochip1", "/dev/gpiochip1"])
def test_a_chip_that_is_named_is_taken(pi: Machine, name: str) -> None:
    """By its name or its path, also where the header is known."""
    assert gpio.find_line(3, name).path == str(pi.dev / "gpiochip1")


def test_a_chip_that_is_not_there_is_named_with_those_that_are(pi: Machine) -> None:
    """A mistyped chip is mended at a glance."""
    with pytest.raises(DeviceUnavailable, match=r"no .*gpiochip9 \(this machine has: gpiochip0, gpiochip1\)"):
        gpio.find_line(3, "gpiochip9")


def test_a_link_to_a_chip_is_no_second_chip(machine: Machine) -> None:
    """A Pi 5's gpiochip4 is a link to gpiochip0: listed once, and found by both names."""
    machine.plug(0, "pinctrl-rp1", 54)
    (machine.dev / "gpiochip4").symlink_to("gpiochip0")
    assert [chip.path for chip in gpio.chips()] == [str(machine.dev / "gpiochip0")]
    assert gpio.find_line(17, "gpiochip4") == gpio.find_line(17)


def test_no_permission_names_the_group(pi: Machine) -> None:
    """Whoever may not open the header's chip is told which group to join; other chips do not replace it."""
    pi.forbidden = {0}
    assert [chip.fault is None for chip in gpio.chips()] == [False, True]
    with pytest.raises(DeviceUnavailable, match=r"gpiochip0: join the group gpio \(sudo usermod -aG gpio"):
        gpio.find_line(17)


def test_a_file_that_is_no_gpiochip_is_a_fault(machine: Machine) -> None:
    """What only looks like a chip says what it is not."""
    (machine.dev / "gpiochip0").touch()
    (machine.dev / "gpiochip-notes").touch()
    with pytest.raises(DeviceUnavailable, match="gpiochip0 is no gpiochip: "):
        gpio.find_line(1)


@pytest.mark.parametrize("pin", [58, -1])
def test_a_pin_beyond_the_chip_is_refused(pi: Machine, pin: int) -> None:
    """The error names the lines there are."""
    with pytest.raises(DeviceMisconfigured, match=rf"has no GPIO {pin}: it has 0 to 57"):
        gpio.find_line(pin)


def test_a_machine_without_chips_says_so(machine: Machine) -> None:
    """As in a container."""
    with pytest.raises(DeviceUnavailable, match="this machine has no GPIO pins"):
        gpio.find_line(1)


@pytest.mark.parametrize("level", [False, True])
def test_a_safe_line_is_where_the_pin_is(pi: Machine, level: bool) -> None:
    """The same chip and line that a driver would open, with the level it is given."""
    assert gpio.safe_lines(17, None, level) == (SafeLine(str(pi.dev / "gpiochip0"), 17, level),)
    assert gpio.safe_lines(3, "gpiochip1", level) == (SafeLine(str(pi.dev / "gpiochip1"), 3, level),)


def test_the_first_gpiod_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Edges without loss need gpiod 2; where there is none, or an older one, that is said."""
    monkeypatch.setitem(sys.modules, "gpiod", type(sys)("gpiod"))
    assert not gpio.has_gpiod()
    monkeypatch.setitem(sys.modules, "gpiod", None)
    assert not gpio.has_gpiod()


# --- the factory


def test_nothing_heavy_is_loaded_before_a_pin_is_opened() -> None:
    """Looking for lines, asking for a chosen factory and loading the drivers import no gpiozero."""
    program = (
        "import sys, hw.gpio, hw.lgpio_pins, hw.actuators.relay, hw.actuators.pwm, hw.actuators.servo\n"
        "hw.gpio.chips()\n"
        "assert hw.gpio.given_factory() is None\n"
        "assert not {'gpiozero', 'lgpio', 'gpiod'} & set(sys.modules)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "GPIOZERO_PIN_FACTORY"}
    root = str(Path(gpio.__file__).parents[1])
    subprocess.run([sys.executable, "-c", program], check=True, cwd=root, env=environment, timeout=60)


def test_a_factory_that_was_chosen_is_taken(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test's mock is everybody's, on a machine without a chip."""
    chosen = MockFactory()
    monkeypatch.setattr(gpiozero.Device, "pin_factory", chosen)
    assert gpio.pin_factory() is chosen
    assert gpio.pin_factory("gpiochip3", 400) is chosen


def test_the_environment_chooses_a_mock(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """GPIOZERO_PIN_FACTORY=mock gives pins that can do PWM, the same ones to everybody."""
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "mock")
    factory = gpio.pin_factory()
    assert isinstance(factory, MockFactory)
    assert factory.pin_class is MockPWMPin
    assert gpio.pin_factory("gpiochip1") is factory


def test_a_chip_has_one_factory(pi: Machine) -> None:
    """It is opened once, kept, and not made everybody's default."""
    factory = gpio.pin_factory()
    assert gpio.pin_factory(pin=57) is factory
    assert gpio.pin_factory("gpiochip0") is factory
    assert pi.opened == [0]
    assert gpiozero.Device.pin_factory is None
    assert gpio.pin_factory("gpiochip1") is not factory
    assert pi.opened == [0, 1]


def test_chips_do_not_share_pins(pi: Machine) -> None:
    """The same number on two chips is two pins, which may both be in use."""
    first = gpiozero.LED(5, pin_factory=gpio.pin_factory())
    second = gpiozero.LED(5, pin_factory=gpio.pin_factory("gpiochip1"))
    second.on()
    assert [pi.line(5, chip).levels[-1] for chip in (0, 1)] == [0, 1]
    first.close()
    second.close()


def test_any_board_will_do(machine: Machine) -> None:
    """Lines are pins on a machine that is no Raspberry Pi, without a warning."""
    machine.plug(3, "gpio-sim.0-node0", 40)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        led = gpiozero.LED(39, pin_factory=gpio.pin_factory())
    led.on()
    assert machine.line(39, 3).levels[-1] == 1
    led.close()
    assert machine.line(39, 3).pull == "up"


def levels_of_an_active_low_output(pi: Machine, pin_class: Any = None) -> list[int]:
    factory = gpio.pin_factory()
    factory.pin_class = pin_class or factory.pin_class
    device = gpiozero.DigitalOutputDevice(23, active_high=False, initial_value=False, pin_factory=factory)
    seen = list(pi.line(23).levels)
    device.close()
    return seen


def test_an_output_begins_at_its_level(pi: Machine) -> None:
    """An active-low output that is off is high from the first instant."""
    assert set(levels_of_an_active_low_output(pi)) == {1}
    assert pi.line(23).claims == [1]


def test_gpiozeros_own_pin_begins_with_a_glitch(pi: Machine) -> None:
    """What the pins here mend, seen by the same measurement."""
    gpio.pin_factory()
    from gpiozero.pins.lgpio import LGPIOPin

    assert levels_of_an_active_low_output(pi, LGPIOPin) == [0, 1]


def test_a_pin_can_be_used_again(pi: Machine) -> None:
    """It is free after close, pulled towards its last level, and begins anew at its level."""
    line = pi.line(23)
    levels_of_an_active_low_output(pi)
    assert (line.mode, line.pull) == (None, "up")
    line.levels.clear()
    assert set(levels_of_an_active_low_output(pi)) == {1}
    assert line.claims == [1, 1]


def test_an_output_that_could_not_be_let_go_of_begins_at_its_level(pi: Machine) -> None:
    """lgpio does not claim a line twice, so that the level is written."""
    device = gpiozero.LED(23, initial_value=True, pin_factory=gpio.pin_factory())
    pi.lgpio.broken = True
    device.close()
    pi.lgpio.broken = False
    assert pi.line(23).mode == "output"
    device = gpiozero.LED(23, initial_value=False, pin_factory=gpio.pin_factory())
    assert pi.line(23).levels[-1] == 0
    device.close()


def test_inputs_still_work(pi: Machine) -> None:
    """A pin of ours as gpiozero's input, with a pull."""
    button = gpiozero.InputDevice(17, pull_up=True, pin_factory=gpio.pin_factory())
    assert (pi.line(17).mode, pi.line(17).pull) == ("input", "up")
    button.close()
    assert pi.line(17).mode is None


def test_a_chip_that_cannot_be_written_names_the_group(pi: Machine) -> None:
    """Reading its name may be allowed where driving its lines is not."""
    pi.read_only = {0}
    with pytest.raises(DeviceUnavailable, match=r"can not open gpiochip.*join the group gpio"):
        gpio.pin_factory()
    pi.read_only = set()
    assert gpio.pin_factory() is gpio.pin_factory()


@pytest.mark.parametrize("content", [None, "", "raise FileNotFoundError('no FIFO')"])
def test_lgpio_that_cannot_be_had_is_told_with_the_remedy(
    pi: Machine,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    content: str | None,
) -> None:
    """Not installed, the empty placeholder, or unable to begin."""
    forget_lgpio(monkeypatch)
    if content is None:
        monkeypatch.setitem(sys.modules, "lgpio", None)
    else:
        folder = tmp_path_factory.mktemp("site")
        (folder / "lgpio.py").write_text(content)
        monkeypatch.syspath_prepend(str(folder))
    missing = "sudo apt install python3-lgpio; Debian 12: .*; Debian 13: sudo apt install python3-libgpiod"
    remedy = "lgpio cannot begin: no FIFO" if content else missing
    with pytest.raises(DeviceUnavailable, match=remedy):
        gpio.pin_factory()
    assert "LG_WD" not in os.environ


FIFO = """
import os
os.chdir(os.environ["LG_WD"])
open(".lgd-nfy0", "w").close()
made_in = os.getcwd()
class error(Exception): pass
SET_PULL_NONE = SET_PULL_UP = SET_PULL_DOWN = BOTH_EDGES = RISING_EDGE = FALLING_EDGE = 0
gpio_claim_input = gpio_claim_output = None
def gpiochip_open(number): return number
"""


@pytest.mark.parametrize("chosen", [False, True], ids=["ours", "chosen"])
def test_lgpios_import_leaves_the_process_where_it_is(
    pi: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, chosen: bool
) -> None:
    """lgpio makes a FIFO and changes folder at import: in a folder of its own, and comes back."""
    site, work, run = (tmp_path_factory.mktemp(name) for name in ("site", "work", "run"))
    (site / "lgpio.py").write_text(FIFO)
    forget_lgpio(monkeypatch)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.chdir(work)
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{run}:/elsewhere")
    monkeypatch.delenv("LG_WD", raising=False)
    if chosen:
        monkeypatch.setenv("LG_WD", str(site))
    gpio.pin_factory()
    made_in = Path(sys.modules["lgpio"].made_in)
    assert Path.cwd() == work
    assert list(work.iterdir()) == list(run.iterdir()) == []
    assert os.environ.get("LG_WD") == (str(site) if chosen else None)
    assert made_in == site if chosen else made_in.parent == run
    assert made_in.exists() == chosen


def test_the_real_lgpio_begins_without_a_trace(tmp_path: Path) -> None:
    """Where it is installed: its threads run, and neither folder nor process shows it."""
    program = (
        "import importlib.util, os, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "if importlib.util.find_spec('lgpio') is None: sys.exit(77)\n"
        "from hw.lgpio_pins import _import_lgpio\n"
        "before = os.getcwd()\n"
        "assert _import_lgpio().SET_PULL_NONE\n"
        "assert os.getcwd() == before and 'LG_WD' not in os.environ\n"
    )
    root = str(Path(lgpio_pins.__file__).parents[1])
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    (tmp_path / "work").mkdir()
    command = [sys.executable, "-c", program, root]
    done = subprocess.run(command, check=False, cwd=tmp_path / "work", env=environment, timeout=60)
    if done.returncode == 77:
        pytest.skip("lgpio is not installed")
    assert done.returncode == 0
    assert list((tmp_path / "tmp").iterdir()) == list((tmp_path / "work").iterdir()) == []


# --- faults in words


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (LgpioError("GPIO busy"), DeviceUnavailable, "GPIO 23 is in use by another program"),
        (LgpioError("bad PWM dutycycle"), DeviceUnavailable, "GPIO 23 does not obey: bad PWM dutycycle"),
        (gpiozero.GPIOPinInUse("pin GPIO23"), DeviceMisconfigured, "another part of this configuration"),
        (gpiozero.PinInvalidPin("99 is not a valid pin name"), DeviceMisconfigured, "99 is not a valid pin"),
        (gpiozero.PinPWMUnsupported(), DeviceMisconfigured, "GPIO 23 cannot be used so: PinPWMUnsupported"),
        (DeviceUnavailable("as it was"), DeviceUnavailable, "^as it was$"),
    ],
)
def test_what_libraries_raise_is_told_in_words(
    error: Exception, kind: type[HardwareError], words: str
) -> None:
    """One line, with the pin, of the kind that says what to do next."""
    with pytest.raises(kind, match=words) as told:
        raise gpio.explain(error, 23)
    assert "\n" not in str(told.value)
