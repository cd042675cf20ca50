"""Lines by libgpiod 2 or later: how one is had of the kernel, and one that drives something.

Plain Debian has libgpiod, not lgpio: there it serves what is on or off. It has no pulses.
"""

from __future__ import annotations

import contextlib
import errno
from typing import Any

from . import gpio
from .errors import DeviceMisconfigured, DeviceUnavailable


def request_line(gpiod: Any, line: gpio.GpioLine, settings: Any, use: str, **options: Any) -> Any:
    """gpiod's request of one line. ``use`` is what the line is for: "tell of edges"; ``options`` are gpiod's.

    Raises DeviceUnavailable if the line is in use or may not be used, DeviceMisconfigured if there is none or
    it cannot be used so.
    """
    try:
        return gpiod.request_lines(line.path, {line.offset: settings}, consumer="masthead", **options)
    except OSError as error:
        where = f"GPIO {line.offset} of {line.path}"
        if error.errno == errno.EBUSY:
            raise DeviceUnavailable(f"GPIO {line.offset} is in use by {_consumer(gpiod, line)}") from error
        if error.errno in (errno.EACCES, errno.EPERM):
            raise DeviceUnavailable(f"no permission to open {line.path}: {gpio.JOIN_GPIO}") from error
        if error.errno in (errno.ENXIO, errno.EINVAL):
            raise DeviceMisconfigured(f"{where} cannot {use}: choose another pin") from error
        raise DeviceUnavailable(f"{where} cannot be opened: {error.strerror}") from error
    except ValueError as error:
        raise DeviceMisconfigured(f"{line.path} has no GPIO {line.offset}") from error


def _consumer(gpiod: Any, line: gpio.GpioLine) -> str:
    """Who has the line."""
    with contextlib.suppress(OSError), gpiod.Chip(line.path) as chip:
        consumer = chip.get_line_info(line.offset).consumer
        if consumer:
            return f"{consumer!r}: stop it, or choose another pin"
    return "another program: stop it, or choose another pin (gpioinfo lists them)"


class GpiodOutput:
    """A line that is high or low. Thread safety: one thread."""

    def __init__(self, line: gpio.GpioLine, state: float) -> None:
        """An output at this level from its first instant. Raises what ``request_line`` raises."""
        import gpiod

        self._gpiod: Any = gpiod
        self._offset = line.offset
        self._level = self._value(state)
        settings = gpiod.LineSettings(direction=gpiod.line.Direction.OUTPUT, output_value=self._level)
        self._request = request_line(gpiod, line, settings, "be an output")

    def drive(self, state: float) -> None:
        """Take this level: high from 1 on. Raises OSError if the line does not obey."""
        self._level = self._value(state)
        self._request.set_value(self._offset, self._level)

    def close(self) -> None:
        """An input pulled towards the level that was asked for last, then nobody's. Once."""
        line = self._gpiod.line
        pull = line.Bias.PULL_UP if self._level is line.Value.ACTIVE else line.Bias.PULL_DOWN
        with contextlib.suppress(OSError):
            settings = self._gpiod.LineSettings(direction=line.Direction.INPUT, bias=pull)
            self._request.reconfigure_lines({self._offset: settings})
        self._request.release()

    def _value(self, state: float) -> Any:
        return self._gpiod.line.Value.ACTIVE if state >= 1 else self._gpiod.line.Value.INACTIVE
