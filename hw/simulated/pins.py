"""A simulated actuator: it takes what a real one would, and moves nothing."""

from __future__ import annotations

from dataclasses import dataclass

from ..actuator import SafeLine, Value, shown
from ..clock import Clock
from ..errors import DeviceUnavailable
from ..settings import setting


class SimulatedActuator:
    """Simulated switch or level, for trying commands without hardware."""

    simulated = True

    @dataclass(frozen=True)
    class Settings:
        """A safe state of true or false makes a switch, a number makes a level."""

        safe: bool | float = setting(False, doc="value that does no harm: true or false, or a level")
        minimum: float = setting(0.0, doc="lowest level")
        maximum: float = setting(1.0, doc="highest level")

        def __post_init__(self) -> None:
            if isinstance(self.safe, bool):
                if (self.minimum, self.maximum) != (0.0, 1.0):
                    raise ValueError("minimum and maximum belong to a level: give safe as a number")
            elif not self.minimum <= self.safe <= self.maximum:
                raise ValueError(f"safe must be from {self.minimum:g} to {self.maximum:g}, got {self.safe:g}")

    @classmethod
    def open(cls, settings: Settings, clock: Clock) -> SimulatedActuator:  # noqa: ARG003  (every driver is given it)
        """Opened in its safe state."""
        return cls(settings)

    @classmethod
    def safe_lines(cls, settings: Settings) -> tuple[SafeLine, ...]:  # noqa: ARG003  (every driver is given it)
        """None: nothing hangs on it."""
        return ()

    def __init__(self, settings: Settings) -> None:
        self.safe: Value = settings.safe
        self._range = settings.minimum, settings.maximum
        self._value = self.safe
        self._closed = False

    @property
    def value(self) -> Value:
        """What it was driven to last."""
        return self._value

    def check(self, value: object) -> Value:
        """A switch takes true and false, a level takes finite numbers in its range. Raises ValueError."""
        if isinstance(self.safe, bool):
            if isinstance(value, bool):
                return value
            raise ValueError(f"expected true or false, got {shown(value)}")
        low, high = self._range
        if isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high:
            return float(value)  # NaN lies in no range
        raise ValueError(f"expected a number from {low:g} to {high:g}, got {shown(value)}")

    def drive(self, value: Value) -> None:
        """Hold ``value``. Raises DeviceUnavailable after ``close``."""
        if self._closed:
            raise DeviceUnavailable("the simulated actuator is closed")
        self._value = value

    def close(self) -> None:
        """Back to the safe state, for good."""
        self._value = self.safe
        self._closed = True
