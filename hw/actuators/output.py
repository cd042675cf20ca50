"""A GPIO pin that drives something, on gpiozero: safe from its first instant as an output to its last."""

from __future__ import annotations

import logging
from typing import Any

from ..actuator import shown
from ..errors import DeviceUnavailable, HardwareError
from ..gpio import explain, pin_factory

log = logging.getLogger(__name__)


def number_within(value: object, low: float, high: float) -> float:
    """``value`` as a float. Raises ValueError unless it is a finite number from ``low`` to ``high``."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high:
        return float(value)  # NaN lies in no range
    raise ValueError(f"expected a number from {low:g} to {high:g}, got {shown(value)}")


class Output:
    """An open pin. Thread safety: one thread.

    ``state``: 0 and 1, or False and True, are the levels of the pin, low and high; what lies between is the
    part of the time that it is high, where there is a frequency.
    """

    def __init__(
        self, what: str, pin: int, chip: str | None, state: float, frequency_hz: float | None = None
    ) -> None:
        """The pin becomes an output in ``state``. ``what`` names it: "relay".

        Raises DeviceMisconfigured, DeviceUnavailable.
        """
        self.name = f"{what} on GPIO {pin}"
        self._pin = pin
        self._device: Any = None
        factory = pin_factory(chip, pin)
        from gpiozero import GPIODevice

        device = None
        try:
            factory.pin(pin)  # one that cannot be had is not left reserved
            device = GPIODevice(pin, pin_factory=factory)
            device.pin.output_with_state(state)
            if frequency_hz is not None:
                device.pin.frequency = frequency_hz
                device.pin.state = state
        except Exception as error:  # gpiozero's, lgpio's: they have no root in common
            if device is not None:
                device.close()
            raise explain(error, pin) from error
        self._device = device

    @property
    def closed(self) -> bool:
        """Whether the pin was let go of."""
        return self._device is None

    def drive(self, state: float) -> None:
        """Take this state and hold it. Raises DeviceUnavailable, also if it is closed."""
        if self._device is None:
            raise DeviceUnavailable(f"the {self.name} is closed")
        try:
            self._device.pin.state = state
        except Exception as error:
            raise explain(error, self._pin) from error

    def close(self) -> None:
        """Let go of the pin, whatever it does. May be called twice."""
        if self._device is None:
            return
        device, self._device = self._device, None
        try:
            if device.pin.frequency is not None:
                device.pin.frequency = None
            device.close()
        except Exception as error:  # noqa: BLE001  (of a pin that is gone there is nothing left to do)
            log.error("the %s could not be let go of: %r", self.name, error)

    def close_in(self, state: float) -> None:
        """Drive ``state``, then let go of the pin, also if it does not obey: the log says so then."""
        if self._device is None:
            return
        try:
            self.drive(state)
        except HardwareError as error:
            log.error("the %s was let go of in an unknown state: %s", self.name, error)
        self.close()
