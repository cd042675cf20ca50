"""A machine's gpiochips: fakes of lgpio, gpiod and the kernel's ioctl that keep what each line has been."""

from __future__ import annotations

import contextlib
import enum
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
    consumer: str = ""

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


class Gpiod(types.ModuleType):
    """The part of gpiod that outputs use, with what the kernel does; settings have their real names only."""

    def __init__(self, machine: Machine) -> None:
        super().__init__("gpiod")
        self.machine = machine
        self.broken = False
        """Whether every call on a line that is held fails."""
        self.line = types.SimpleNamespace(
            Bias=enum.Enum("Bias", "AS_IS DISABLED PULL_UP PULL_DOWN"),
            Direction=enum.Enum("Direction", "AS_IS INPUT OUTPUT"),
            Value=enum.Enum("Value", [("INACTIVE", 0), ("ACTIVE", 1)]),
        )

    def LineSettings(self, *, direction: Any, output_value: Any = None, bias: Any = None) -> Any:
        value = output_value or self.line.Value.INACTIVE
        return types.SimpleNamespace(direction=direction.name, value=value.value, bias=bias)

    def request_lines(self, path: str, config: dict[int, Any], consumer: str) -> GpiodRequest:
        chip = _number(path)
        if chip in self.machine.read_only:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        self.machine.opened.append(chip)
        [(number, settings)] = config.items()
        line = self.machine.line(number, chip)
        if line.busy or line.mode is not None:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        line.consumer = consumer
        request = GpiodRequest(self, number, line)
        request.reconfigure_lines(config)
        line.claims.append(settings.value)
        return request

    def Chip(self, path: str) -> Any:
        return contextlib.nullcontext(
            types.SimpleNamespace(get_line_info=lambda number: self.machine.line(number, _number(path)))
        )


@dataclass
class GpiodRequest:
    """A line that is held."""

    gpiod: Gpiod
    number: int
    line: Line

    def reconfigure_lines(self, config: dict[int, Any]) -> None:
        self._obeyed()
        settings = config[self.number]
        self.line.mode = settings.direction.lower()
        if self.line.mode == "output":
            self.line.levels.append(settings.value)
        else:
            self.line.pull = settings.bias.name.removeprefix("PULL_").lower()

    def set_value(self, number: int, value: Any) -> None:
        self._obeyed()
        assert (number, self.line.mode) == (self.number, "output")
        self.line.levels.append(value.value)

    def release(self) -> None:
        self.line.mode = None

    def _obeyed(self) -> None:
        if self.gpiod.broken or self.line.busy:
            raise OSError(errno.EIO, os.strerror(errno.EIO))


class Machine:
    """Its gpiochips, as ``number -> (label, lines)``, in a /dev of its own."""

    def __init__(self, dev: Path) -> None:
        self.dev = dev
        self.chips: dict[int, tuple[str, int]] = {}
        self.forbidden: set[int] = set()
        self.read_only: set[int] = set()
        self.opened: list[int] = []
        """Chips that lgpio or gpiod has opened."""
        self.lgpio = Lgpio(self)
        self.gpiod = Gpiod(self)
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


def leave_gpiod_only(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    """As plain Debian has it: gpiod, but no lgpio."""
    forget_lgpio(monkeypatch)
    monkeypatch.setitem(sys.modules, "lgpio", None)
    monkeypatch.setitem(sys.modules, "gpiod", machine.gpiod)
