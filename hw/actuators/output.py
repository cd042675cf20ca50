"""A GPIO pin that drives something: safe from its first instant as an output to its last.

By gpiozero, over lgpio or the factory that somebody has chosen. Where lgpio is not installed, libgpiod serves
what is on or off.
"""

from __future__ import annotations

import logging
from typing import Any, Protocol

from ..actuator import shown
from ..errors import DeviceMisconfigured, DeviceUnavailable, HardwareError
from ..gpio import explain, find_line, given_factory, outputs_by, pin_factory
from ..gpiod_lines import GpiodOutput
from ..lgpio_pins import INSTALL

log = logging.getLogger(__name__)


def number_within(value: object, low: float, high: float) -> float:
    """``value`` as a float. Raises ValueError unless it is a finite number from ``low`` to ``high``."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high:
        return float(value)  # NaN lies in no range
    raise ValueError(f"expected a number from {low:g} to {high:g}, got {shown(value)}")


class _Line(Protocol):
    """An open pin, by whatever drives it: whose errors have no root in common."""

    def drive(self, state: float) -> None: ...

    def close(self) -> None: ...


class Output:
    """An open pin. Thread safety: one thread.

    ``state``: 0 and 1, or False and True, are the levels of the pin, low and high; what lies between is the
    part of the time that it is high, where there is a frequency.
    """

    def __init__(
        self, what: str, pin: int, chip: str | None, state: float, frequency_hz: float | None = None
    ) -> None:
        """The pin becomes an output in ``state``. ``what`` names it: "relay".

        Raises DeviceMisconfigured, also where pulses are wanted of libgpiod; DeviceUnavailable.
        """
        self.name = f"{what} on GPIO {pin}"
        self._pin = pin
        try:
            self._line: _Line | None = self._opened(chip, state, frequency_hz)
        except HardwareError:
            raise
        except Exception as error:
            raise explain(error, pin) from error

    def _opened(self, chip: str | None, state: float, frequency_hz: float | None) -> _Line:
        if given_factory() is None:
            line = find_line(self._pin, chip)
            if outputs_by() == "gpiod":
                if frequency_hz is not None:
                    raise DeviceMisconfigured(
                        f"the {self.name} needs lgpio, for libgpiod has no pulses: {INSTALL}"
                    )
                return GpiodOutput(line, state)
        return _GpiozeroOutput(pin_factory(chip, self._pin), self._pin, state, frequency_hz)

    @property
    def closed(self) -> bool:
        """Whether the pin was let go of."""
        return self._line is None

    def drive(self, state: float) -> None:
        """Take this state and hold it. Raises DeviceUnavailable, also if it is closed."""
        if self._line is None:
            raise DeviceUnavailable(f"the {self.name} is closed")
        try:
            self._line.drive(state)
        except Exception as error:
            raise explain(error, self._pin) from error

    def close(self) -> None:
        """Let go of the pin, whatever it does. May be called twice."""
        if self._line is None:
            return
        line, self._line = self._line, None
        try:
            line.close()
        except Exception as error:  # noqa: BLE001  (of a pin that is gone there is nothing left to do)
            log.error("the %s could not be let go of: %r", self.name, error)

    def close_in(self, state: float) -> None:
        """Drive ``state``, then let go of the pin, also if it does not obey: the log says so then."""
        if self._line is None:
            return
        try:
            self.drive(state)
        except HardwareError as error:
            log.error("the %s was let go of in an unknown state: %s", self.name, error)
        self.close()


class _GpiozeroOutput:
    """A pin of gpiozero's."""

    def __init__(self, factory: Any, pin: int, state: float, frequency_hz: float | None) -> None:
        from gpiozero import GPIODevice

        factory.pin(pin)  # one that cannot be had is not left reserved
        self._device = GPIODevice(pin, pin_factory=factory)
        try:
            self._device.pin.output_with_state(state)
            if frequency_hz is not None:
                self._device.pin.frequency = frequency_hz
                self._device.pin.state = state
        except Exception:
            self._device.close()
            raise

    def drive(self, state: float) -> None:
        self._device.pin.state = state

    def close(self) -> None:
        if self._device.pin.frequency is not None:
            self._device.pin.frequency = None
        self._device.close()
