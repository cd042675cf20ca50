"""A relay, or anything else that a pin switches."""

from __future__ import annotations

from dataclasses import dataclass

from ..actuator import Value, shown
from ..clock import Clock
from ..settings import setting
from .output import Output


class Relay:
    """Relay, valve, beacon or anything else that is on or off, on a GPIO pin."""

    simulated = False

    @dataclass(frozen=True)
    class Settings:
        """``active = "low"`` is usual for relay boards with an optocoupler: their input pulls in at 0 V."""

        pin: int = setting(doc="GPIO number of the pin", minimum=0, example=23)
        chip: str | None = setting(
            None, doc="gpiochip that has the pin (the board's header, if absent)", example="gpiochip0"
        )
        active: str = setting("high", doc="level of the pin that means on", choices=("high", "low"))
        safe: bool = setting(False, doc="value that does no harm: true is on, false is off")

    @classmethod
    def open(cls, settings: Settings, clock: Clock) -> Relay:  # noqa: ARG003  (every driver is given it)
        """Opened in its safe state, which is the pin's from its first instant as an output.

        Raises DeviceMisconfigured, DeviceUnavailable.
        """
        return cls(settings)

    def __init__(self, settings: Settings) -> None:
        self.safe: Value = settings.safe
        self._high_is_on = settings.active == "high"
        self._output = Output("relay", settings.pin, settings.chip, self._level(settings.safe))

    def check(self, value: object) -> Value:
        """True is on, False is off. Raises ValueError for anything else."""
        if isinstance(value, bool):
            return value
        raise ValueError(f"expected true or false, got {shown(value)}")

    def drive(self, value: Value) -> None:
        """Switch. Raises DeviceUnavailable if the pin does not obey, or after ``close``."""
        self._output.drive(self._level(bool(value)))

    def close(self) -> None:
        """Switch to the safe state and let go of the pin, which is then pulled towards it."""
        self._output.close_in(self._level(bool(self.safe)))

    def _level(self, on: bool) -> bool:
        return on == self._high_is_on
