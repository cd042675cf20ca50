"""A relay, or anything else that a pin switches."""

from __future__ import annotations

from dataclasses import dataclass

from ..actuator import SafeLine, Value, shown
from ..clock import Clock
from ..gpio import safe_lines
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

    @classmethod
    def safe_lines(cls, settings: Settings) -> tuple[SafeLine, ...]:
        """Its line, at the level of its safe state (SafeLine)."""
        return safe_lines(settings.pin, settings.chip, _level(settings, settings.safe))

    def __init__(self, settings: Settings) -> None:
        self.safe: Value = settings.safe
        self._settings = settings
        self._output = Output("relay", settings.pin, settings.chip, _level(settings, settings.safe))

    def check(self, value: object) -> Value:
        """True is on, False is off. Raises ValueError for anything else."""
        if isinstance(value, bool):
            return value
        raise ValueError(f"expected true or false, got {shown(value)}")

    def drive(self, value: Value) -> None:
        """Switch. Raises DeviceUnavailable if the pin does not obey, or after ``close``."""
        self._output.drive(_level(self._settings, bool(value)))

    def close(self) -> None:
        """Switch to the safe state and let go of the pin, which is then pulled towards it."""
        self._output.close_in(_level(self._settings, bool(self.safe)))


def _level(settings: Relay.Settings, on: bool) -> bool:
    """The pin's level that means ``on``."""
    return on == (settings.active == "high")
