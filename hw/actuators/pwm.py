"""A level by pulse width: a fan, a heater, a lamp."""

from __future__ import annotations

from dataclasses import dataclass

from ..actuator import SafeLine, Value
from ..clock import Clock
from ..gpio import safe_lines
from ..settings import setting
from .output import Output, number_within


class Pwm:
    """Fan, heater or lamp whose power is set by pulses on a GPIO pin: 0 is off, 1 is full."""

    simulated = False

    @dataclass(frozen=True)
    class Settings:
        """Pulses are timed by software, in whole microseconds and later when the machine is busy: a step is
        1 % at 10,000 Hz and finer below, and each pulse costs processor time, so take the lowest frequency
        that does. 0 and 1 are levels without pulses and taken at once; what lies between begins with the next
        period.

        High is on, always: before the first pulse, and when the program ends, the pin is low, which has to
        mean off. A safe level between 0 and 1 is held while the program runs; then the pin is low. Only where
        the safe level is 1 is it left high.
        """

        pin: int = setting(doc="GPIO number of the pin", minimum=0, example=18)
        chip: str | None = setting(
            None, doc="gpiochip that has the pin (the board's header, if absent)", example="gpiochip0"
        )
        frequency_hz: float = setting(100.0, doc="pulses per second", minimum=0.1, maximum=10_000)
        minimum: float = setting(0.0, doc="lowest level", minimum=0, maximum=1)
        maximum: float = setting(1.0, doc="highest level", minimum=0, maximum=1)
        safe: float = setting(0.0, doc="level that does no harm", minimum=0, maximum=1)

        def __post_init__(self) -> None:
            if not self.minimum < self.maximum:
                raise ValueError(f"minimum ({self.minimum:g}) must be below maximum ({self.maximum:g})")
            if not self.minimum <= self.safe <= self.maximum:
                raise ValueError(f"safe must be from {self.minimum:g} to {self.maximum:g}, got {self.safe:g}")

    @classmethod
    def open(cls, settings: Settings, clock: Clock) -> Pwm:  # noqa: ARG003  (every driver is given it)
        """Opened at its safe level. Raises DeviceMisconfigured, DeviceUnavailable."""
        return cls(settings)

    @classmethod
    def safe_lines(cls, settings: Settings) -> tuple[SafeLine, ...]:
        """Its line: high if the safe level is 1, else low, for without a program there are no pulses."""
        return safe_lines(settings.pin, settings.chip, settings.safe == 1.0)

    def __init__(self, settings: Settings) -> None:
        self.safe: Value = settings.safe
        self._range = settings.minimum, settings.maximum
        self._output = Output("pwm", settings.pin, settings.chip, settings.safe, settings.frequency_hz)

    def check(self, value: object) -> Value:
        """Finite numbers from minimum to maximum. Raises ValueError for anything else."""
        return number_within(value, *self._range)

    def drive(self, value: Value) -> None:
        """Take this level. Raises DeviceUnavailable if the pin does not obey, or after ``close``."""
        self._output.drive(float(value))

    def close(self) -> None:
        """Take the safe level, then let go of the pin: pulses end, and it is low, or high where safe is 1."""
        self._output.close_in(float(self.safe))
