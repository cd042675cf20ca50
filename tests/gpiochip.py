"""A machine's gpiochips: a fake of lgpio and of the kernel's ioctl that keeps what each line has been."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gpiozero
import pytest

from hw import gpio

_GET_CHIPINFO = 0x8044B401
_real_ioctl = fcntl.ioctl
_real_open = os.open


class LgpioError(Exception):
    """As lgpio's own: str() gives the text in quotes."""

    def __init__(self, value: str) -> None:
        super().__init__(value)
        self.value = value

    def __str__(self) -> str:
        return repr(self.value)


@dataclass
class Line:
    """``mode``: None, "input" or "output". ``levels``: every level it had as an output, repeats included;
    ``pulses``: (hertz, percent) while lgpio pulses it."""

    mode: str | None = None
    pull: str = "none"
    claims: list[int] = field(default_factory=list)
    levels: list[int] = field(default_factory=list)
    pulses: tuple[float, float] | None = None
    pulsed: list[tuple[float, float]] = field(default_factory=list)
    busy: bool = False

    def stop(self) -> None:
        """Pulses end where the line is: high, the worst that can be."""
        if self.pulses is not None:
            self.pulses = None
            self.levels.append(1)


class Lgpio(types.ModuleType):
    """The part of lgpio that gpiozero's pins use, with what lgGpio.c does (lg 0.2.2)."""

    error = LgpioError
    BOTH_EDGES, RISING_EDGE, FALLING_EDGE = 3, 1, 2
    SET_PULL_UP, SET_PULL_DOWN, SET_PULL_NONE = 32, 64, 128

    def __init__(self, machine: Machine) -> None:
        super().__init__("lgpio")
        self._machine = machine
        self.broken = False
        """Whether every call on a line fails."""

    def gpiochip_open(self, number: int) -> int:
        if number in self._machine.read_only:
            raise LgpioError("can not open gpiochip")
        self._machine.opened.append(number)
        return number

    def gpiochip_close(self, handle: int) -> None: ...

    def gpio_claim_input(self, handle: int, number: int, flags: int = 0) -> None:
        line = self._line(handle, number)
        if line.mode != "input":
            line.stop()
            line.mode = "input"
            line.pull = {32: "up", 64: "down"}.get(flags, "none")

    def gpio_claim_output(self, handle: int, number: int, level: int = 0) -> None:
        line = self._line(handle, number)
        if line.mode != "output":  # else nothing is done, the level is not taken
            line.mode = "output"
            line.claims.append(level)
            line.levels.append(level)

    def gpio_free(self, handle: int, number: int) -> None:
        line = self._line(handle, number)
        if line.mode is None:
            raise LgpioError("GPIO not allocated")
        line.stop()
        line.mode = None

    def gpio_get_mode(self, handle: int, number: int) -> int:
        return 2 * (self._line(handle, number).mode == "output")

    def gpio_read(self, handle: int, number: int) -> int:
        return self._line(handle, number).levels[-1]

    def gpio_write(self, handle: int, number: int, level: int) -> None:
        line = self._line(handle, number)
        assert line.mode == "output"
        line.levels.append(int(level))

    def tx_pwm(self, handle: int, number: int, hertz: float, percent: float) -> None:
        line = self._line(handle, number)
        assert line.mode == "output"
        if hertz:
            assert 0.1 <= hertz <= 10_000
            assert 0 <= percent <= 100
            line.pulses = (hertz, percent)
            line.pulsed.append(line.pulses)
        elif line.pulses is None:
            raise LgpioError("bad PWM micros")
        else:
            line.stop()

    def _line(self, handle: int, number: int) -> Line:
        line = self._machine.line(number, handle)
        if self.broken:
            raise LgpioError("unexpected error")
        if line.busy:
            raise LgpioError("GPIO busy")
        return line


class Machine:
    """Its gpiochips, as ``number -> (label, lines)``, in a /dev of its own."""

    def __init__(self, dev: Path) -> None:
        self.dev = dev
        self.chips: dict[int, tuple[str, int]] = {}
        self.forbidden: set[int] = set()
        self.read_only: set[int] = set()
        self.opened: list[int] = []
        """Chips that lgpio has opened."""
        self.lgpio = Lgpio(self)
        self._lines: dict[tuple[int, int], Line] = {}

    def plug(self, number: int, label: str, lines: int) -> None:
        """Add a gpiochip."""
        self.chips[number] = (label, lines)
        (self.dev / f"gpiochip{number}").touch()

    def line(self, number: int, chip: int = 0) -> Line:
        """A line of a chip."""
        assert number < self.chips[chip][1]
        return self._lines.setdefault((chip, number), Line())

    # --- what the kernel would do

    def open(self, path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if Path(path) in {self.dev / f"gpiochip{number}" for number in self.forbidden}:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return _real_open(path, flags, *args, **kwargs)

    def ioctl(self, fd: int, request: int, argument: Any = 0, mutate: bool = True) -> Any:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if path.parent != self.dev or request != _GET_CHIPINFO:
            return _real_ioctl(fd, request, argument, mutate)
        if _number(path) not in self.chips:
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        label, lines = self.chips[_number(path)]
        argument[:] = gpio._CHIPINFO.pack(path.name.encode(), label.encode(), lines)
        return 0


def _number(path: Any) -> int:
    return int(Path(path).name.removeprefix("gpiochip"))


def install(monkeypatch: pytest.MonkeyPatch, dev: Path) -> Machine:
    """A machine without gpiochips, for the length of a test; nobody has chosen a pin factory."""
    machine = Machine(dev.resolve())
    monkeypatch.setattr(gpio, "DEV", machine.dev)
    monkeypatch.setattr(os, "open", machine.open)
    monkeypatch.setattr(fcntl, "ioctl", machine.ioctl)
    monkeypatch.setattr(gpio, "_factories", {})
    monkeypatch.setattr(gpiozero.Device, "pin_factory", None)
    monkeypatch.delenv("GPIOZERO_PIN_FACTORY", raising=False)
    forget_lgpio(monkeypatch)
    monkeypatch.setitem(sys.modules, "lgpio", machine.lgpio)
    return machine


def forget_lgpio(monkeypatch: pytest.MonkeyPatch) -> None:
    """lgpio, and gpiozero's use of it, are imported anew, and forgotten again after the test."""
    for name in ("lgpio", "gpiozero.pins.lgpio"):
        monkeypatch.setitem(sys.modules, name, None)
        del sys.modules[name]
