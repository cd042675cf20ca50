"""gpiozero's pins over lgpio, as the outputs of a mast need them: the only importer of lgpio.

Where they differ from gpiozero's own LGPIOPin (2.0.1):

* A line becomes an output at its level, in one request. gpiozero has it at 0 first and writes then, so that
  an active-low relay is on for an instant.
* A duty is what was asked for. gpiozero cuts it to whole percents (its issue #1209), which leaves a servo six
  positions; lgpio takes a float and times pulses in whole microseconds (lgGpio.c, lgTxPwm).
* Duties 0 and 1 are levels that are taken at once. Anything else begins with lgpio's next cycle, and pulses
  that are stopped in the middle of one leave the line where it is (lgGpio.c, xSetAsPwm).
* A line is let go as an input that is pulled towards its last level, and free for others.
* The pins are the lines of a gpiochip, on any board, not what gpiozero knows of a Raspberry Pi's header.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from contextlib import suppress
from tempfile import TemporaryDirectory
from typing import Any

from .errors import DeviceUnavailable

INSTALL = "Raspberry Pi OS: sudo apt install python3-lgpio; Debian 12: deploy/install.sh, not the package"
"""How lgpio is had. Debian 13 has neither a package nor a wheel of it."""


class NotInstalled(DeviceUnavailable):
    """There is no lgpio on this machine."""


def is_installed() -> bool:
    """Whether there is an lgpio, which is imported; why it cannot begin, if so, is told by open_factory."""
    try:
        _import_lgpio()
    except NotInstalled:
        return False
    except DeviceUnavailable:
        pass
    return True


def open_factory(path: str, lines: int, remedy: str) -> Any:
    """A gpiozero.Factory of the ``lines`` of the gpiochip at ``path``, which is opened.

    Raises NotInstalled, DeviceUnavailable if lgpio cannot begin, or, with ``remedy``, if the chip cannot be
    opened.
    """
    lgpio = _import_lgpio()
    number = int(path.rpartition("gpiochip")[2])
    try:
        return _factory_class(lgpio)(number, lines)
    except lgpio.error as error:
        raise DeviceUnavailable(f"{path} cannot be opened for writing ({error.value}): {remedy}") from error


def _import_lgpio() -> Any:
    """The module lgpio, and gpiozero's use of it. Raises NotInstalled, DeviceUnavailable if it cannot begin.

    At import lgpio makes a FIFO for edges in $LG_WD and changes to that folder. It gets one of its own, which
    goes when the FIFO is open; the process stays where it was.
    """
    try:
        here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:  # another user's folder, after `su`: no way back there
        here = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    chosen = os.environ.get("LG_WD")
    writable = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0] or None
    try:
        with TemporaryDirectory(prefix="lgpio-", dir=writable) as folder:
            try:
                os.environ["LG_WD"] = chosen or folder
                import gpiozero.pins.lgpio  # noqa: F401  (it asks for constants that a placeholder lacks)
                import lgpio
            finally:
                os.fchdir(here)
                if chosen is None:
                    del os.environ["LG_WD"]
    except (ImportError, AttributeError) as error:  # PyPI's lgpio 0.0.0.2 is an empty placeholder
        raise NotInstalled(
            f"lgpio, which drives the pins, is not installed ({error}): {INSTALL}; "
            "Debian 13: sudo apt install python3-libgpiod, which serves all but pwm and servo"
        ) from error
    except OSError as error:
        raise DeviceUnavailable(
            f"lgpio cannot begin: {error} (it needs a writable temporary folder)"
        ) from error
    finally:
        os.close(here)
    return lgpio


def _factory_class(lgpio: Any) -> Any:
    from gpiozero.pins.lgpio import LGPIOFactory, LGPIOPin

    pulls = {None: lgpio.SET_PULL_NONE, 0: lgpio.SET_PULL_DOWN, 1: lgpio.SET_PULL_UP}

    class LinePin(LGPIOPin):  # type: ignore[misc]
        """A line of a gpiochip."""

        _pwm: tuple[float, float] | None  # gpiozero's: hertz and percent, while there is a frequency

        def __init__(self, factory: Any, info: Any) -> None:
            self._level: int | None = None  # last one as an output
            self._pulsing = False
            super().__init__(factory, info)

        @property
        def _line(self) -> tuple[int, int]:
            return self.factory._handle, self._number

        def output_with_state(self, state: float) -> None:
            """An output at this level from its first instant; below 1 the level is 0 until there is PWM."""
            level = int(state >= 1)
            lgpio.gpio_claim_output(*self._line, level)
            self._hold(level)  # a line that is an output already is not claimed again

        def close(self) -> None:
            """An input pulled towards its last level, then nobody's. Never fails."""
            if self.factory._handle is None:
                return
            self._pwm = None
            with suppress(lgpio.error):
                lgpio.gpio_claim_input(*self._line, pulls[self._level])
                self._level, self._pulsing = None, False
                lgpio.gpio_free(*self._line)

        def _set_state(self, value: float) -> None:
            if self._pwm is None:
                super()._set_state(value)
                self._level = int(bool(value))
                return
            hertz, percent = self._pwm[0], float(value * 100)
            if 0 < value < 1:
                lgpio.tx_pwm(*self._line, hertz, percent)
                self._pulsing = True
            else:
                self._hold(int(value))
            self._pwm = (hertz, percent)

        def _set_frequency(self, value: float | None) -> None:
            """PWM begins at the line's level; None ends it, at 0 if there were pulses, and never fails."""
            if value:
                percent = self._pwm[1] if self._pwm else 100.0 * (self._level or 0)
                self._pwm = (value, percent)
                if self._pulsing:
                    lgpio.tx_pwm(*self._line, value, percent)
            elif self._pwm:
                self._pwm = None
                if self._pulsing:
                    with suppress(lgpio.error):
                        self._hold(0)

        def _hold(self, level: int) -> None:
            try:
                if self._pulsing:
                    lgpio.tx_pwm(*self._line, 0, 0)
                    self._pulsing = False
            finally:
                lgpio.gpio_write(*self._line, level)
                self._level = level

    class LineFactory(LGPIOFactory):  # type: ignore[misc]
        """The lines of one gpiochip. Pins and reservations are its own: two chips have the same numbers."""

        def __init__(self, number: int, lines: int) -> None:
            super().__init__(chip=number)
            self.pin_class = LinePin
            self.pins: dict[Any, Any] = {}
            self._reservations: Any = defaultdict(list)
            self._res_lock = threading.Lock()
            self._lines_info = _board_info(lines)

        def _get_board_info(self) -> Any:
            return self._lines_info

    return LineFactory


def _board_info(lines: int) -> Any:
    """What gpiozero looks pins up in: a board with one header, on which are the lines of a gpiochip."""
    from gpiozero.compat import frozendict
    from gpiozero.pins import BoardInfo, HeaderInfo, PinInfo

    pins = {
        k: PinInfo(
            number=k,
            name=f"GPIO{k}",
            names=frozenset({k, str(k), f"GPIO{k}"}),
            pull="",
            row=k + 1,
            col=1,
            interfaces=frozenset({"gpio"}),
        )
        for k in range(lines)
    }
    header = HeaderInfo("lines", lines, 1, frozendict(pins))
    unknown = dict.fromkeys(BoardInfo._fields, "")
    return BoardInfo(**{**unknown, "headers": frozendict({"lines": header})})
