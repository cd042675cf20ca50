"""Which gpiochip carries a board's pins, what drives them, and gpiozero's way to them (lgpio_pins.py).

A pin is named by its GPIO number (BCM numbering on a Raspberry Pi: 17 is header pin 11), elsewhere by the
line's offset on the chip that the configuration names.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .actuator import SafeLine
from .errors import DeviceMisconfigured, DeviceUnavailable, HardwareError

DEV = Path("/dev")

_GET_CHIPINFO = 0x8044B401  # linux/gpio.h: GPIO_GET_CHIPINFO_IOCTL
_CHIPINFO = struct.Struct("32s32sI")
_HEADER_LABELS = ("pinctrl-bcm2", "pinctrl-rp1")  # Raspberry Pi 0 to 4 (bcm2835, bcm2711, bcm2712), 5 (rp1)
_RP1 = "pinctrl-rp1"
JOIN_GPIO = "join the group gpio (sudo usermod -aG gpio $USER) and log in again"


@dataclass(frozen=True, slots=True)
class GpioChip:
    """A gpiochip of this machine. ``fault``: why it cannot be used and what to do, else None."""

    path: str
    label: str = ""
    lines: int = 0
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class GpioLine:
    """A line of a gpiochip: ``path`` of the chip, ``offset`` of the line on it."""

    path: str
    offset: int


def chips() -> list[GpioChip]:
    """Every gpiochip there is, in the order of their numbers."""
    paths = [
        p for p in DEV.glob("gpiochip*") if p.name.removeprefix("gpiochip").isdigit() and not p.is_symlink()
    ]
    return [_chip(str(path)) for path in sorted(paths, key=lambda p: int(p.name.removeprefix("gpiochip")))]


def _chip(path: str) -> GpioChip:
    import fcntl

    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            return GpioChip(path, fault=f"no permission to open {path}: {JOIN_GPIO}")
        return GpioChip(path, fault=f"{path} cannot be opened: {error.strerror}")
    try:
        buffer = bytearray(_CHIPINFO.size)
        fcntl.ioctl(fd, _GET_CHIPINFO, buffer)
    except OSError as error:
        return GpioChip(path, fault=f"{path} is no gpiochip: {error.strerror}")
    finally:
        os.close(fd)
    _, label, lines = _CHIPINFO.unpack(buffer)
    return GpioChip(path, label.rstrip(b"\0").decode(errors="replace"), lines)


def find_line(pin: int, chip: str | None = None) -> GpioLine:
    """Where GPIO ``pin`` is: on the chip called ``chip`` ("gpiochip1"), else on the one with the header.

    Raises DeviceUnavailable if there is no such chip or it may not be used, DeviceMisconfigured if there are
    several and none is known to be the header, or if the chip has no such line.
    """
    return GpioLine(_find_chip(pin, chip).path, pin)


def _find_chip(pin: int, chip: str | None) -> GpioChip:
    found = chips()
    if chip is None:
        usable = _header(found)
    else:
        path = DEV / Path(chip).name
        if path.is_symlink():  # a Pi 5's gpiochip4 was renamed to gpiochip0
            path = DEV / path.readlink().name
        usable = [c for c in found if c.path == str(path)]
        if not usable:
            have = ", ".join(Path(c.path).name for c in found) or "none"
            raise DeviceUnavailable(f"there is no {path} (this machine has: {have})")
    if not usable:
        raise DeviceUnavailable(
            'this machine has no GPIO pins (no /dev/gpiochip*): to try it here, driver = "simulated"'
        )
    chosen = usable[0]
    if chosen.fault is not None:
        raise DeviceUnavailable(chosen.fault)
    if not 0 <= pin < chosen.lines:
        raise DeviceMisconfigured(
            f"{chosen.path} ({chosen.label}) has no GPIO {pin}: it has 0 to {chosen.lines - 1}"
        )
    return chosen


def _header(found: list[GpioChip]) -> list[GpioChip]:
    """The chip whose lines are the board's pins, or what stands in its way."""
    known = [c for c in found if c.label.startswith(_HEADER_LABELS) and c.lines >= 28]
    known.sort(key=lambda c: c.label != _RP1)  # a Pi 5 has both
    unreadable = [c for c in found if c.fault is not None]
    if known or unreadable or len(found) <= 1:
        return known[:1] or unreadable[:1] or found
    listed = ", ".join(f"{Path(c.path).name} ({c.label})" for c in found)
    raise DeviceMisconfigured(f'several gpiochips, which has the pin? Set chip = "gpiochipN": {listed}')


def has_gpiod() -> bool:
    """Whether gpiod 2 or newer is installed: then edges come from the kernel without loss."""
    try:
        import gpiod
    except ImportError:
        return False
    return hasattr(gpiod, "request_lines")  # the first version has none


def outputs_by() -> str | None:
    """What drives pins here: "lgpio", which is imported; without it "gpiod", which has no pulses; or None."""
    from . import lgpio_pins

    if lgpio_pins.is_installed():
        return "lgpio"
    return "gpiod" if has_gpiod() else None


# --- gpiozero

_factories: dict[str, Any] = {}
_factories_lock = threading.Lock()


def given_factory() -> Any:
    """The pin factory that somebody has chosen for this process (a test's mock), or None."""
    if os.environ.get("GPIOZERO_PIN_FACTORY") == "mock":
        from gpiozero import Device
        from gpiozero.pins.mock import MockFactory, MockPWMPin

        with _factories_lock:
            if Device.pin_factory is None:
                Device.pin_factory = MockFactory(pin_class=MockPWMPin)
    gpiozero = sys.modules.get("gpiozero")  # whoever chose one has imported it
    return None if gpiozero is None else gpiozero.Device.pin_factory


def pin_factory(chip: str | None = None, pin: int = 0) -> Any:
    """gpiozero's factory of the pins of ``chip``, to be given to devices as ``pin_factory=``.

    The one that somebody has chosen, else ours over lgpio, kept for the life of the process. Raises what
    ``find_line`` raises for ``pin``, and DeviceUnavailable if lgpio is not installed or the chip cannot be
    opened. Thread safety: any thread.
    """
    given = given_factory()
    if given is not None:
        return given
    found = _find_chip(pin, chip)
    with _factories_lock:
        if found.path not in _factories:
            from .lgpio_pins import open_factory

            _factories[found.path] = open_factory(found.path, found.lines, JOIN_GPIO)
        return _factories[found.path]


def safe_lines(pin: int, chip: str | None, level: bool) -> tuple[SafeLine, ...]:
    """Where GPIO ``pin`` is, as of ``find_line``, with the level that does no harm there.

    Nothing where somebody has chosen a pin factory: its pins are no lines of this machine. Raises what
    ``find_line`` raises. Thread safety: any thread.
    """
    if given_factory() is not None:
        return ()
    line = find_line(pin, chip)
    return (SafeLine(line.path, line.offset, level),)


def explain(error: Exception, pin: int) -> HardwareError:
    """What gpiozero, lgpio or gpiod raised for GPIO ``pin``, in words a person can act on."""
    from gpiozero import GPIOPinInUse, PinInvalidPin, PinPWMUnsupported

    # lgpio's has its text in ``value``, the kernel's in ``strerror``
    text = getattr(error, "value", None) or getattr(error, "strerror", None) or str(error)
    text = str(text or type(error).__name__)
    if isinstance(error, HardwareError):
        return error
    if isinstance(error, GPIOPinInUse):
        return DeviceMisconfigured(f"GPIO {pin} is in use by another part of this configuration")
    if isinstance(error, (PinInvalidPin, PinPWMUnsupported)):
        return DeviceMisconfigured(f"GPIO {pin} cannot be used so: {text}")
    if text == "GPIO busy":
        return DeviceUnavailable(
            f"GPIO {pin} is in use by another program, or by another part of this configuration "
            "(gpioinfo names who has it)"
        )
    return DeviceUnavailable(f"GPIO {pin} does not obey: {text}")
