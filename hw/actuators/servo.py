"""A hobby servo: an angle by the length of a pulse, fifty times a second."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..actuator import SafeLine, Value
from ..clock import Clock
from ..errors import HardwareError
from ..gpio import given_factory, safe_lines
from ..settings import setting
from .output import Output, number_within

log = logging.getLogger(__name__)

_FRAME_HZ = 50.0
_FRAME_MS = 1000.0 / _FRAME_HZ


class Servo:
    """Hobby servo on a GPIO pin, driven in degrees."""

    simulated = False

    @dataclass(frozen=True)
    class Settings:
        """The pulse is linear between the two ends; min_pulse_ms above max_pulse_ms turns the other way.

        lgpio times the pulses by software: to the microsecond when the machine is idle (a thousandth of the
        travel), later when it is busy, so that the horn trembles. Good enough for a vent or a flap; not for
        anything that has to be held precisely, which wants a PWM chip of its own.

        Pulses go on after the position is reached, so that it is held against the wind. They end when the
        program does: the servo has ``travel_s`` to reach its safe angle, and has no power from then on.
        """

        pin: int = setting(doc="GPIO number of the pin", minimum=0, example=18)
        chip: str | None = setting(
            None, doc="gpiochip that has the pin (the board's header, if absent)", example="gpiochip0"
        )
        minimum: float = setting(-90.0, doc="lowest angle in degrees")
        maximum: float = setting(90.0, doc="highest angle in degrees")
        min_pulse_ms: float = setting(1.0, doc="pulse at the lowest angle", minimum=0.5, maximum=2.5)
        max_pulse_ms: float = setting(2.0, doc="pulse at the highest angle", minimum=0.5, maximum=2.5)
        travel_s: float = setting(0.5, doc="longest time it takes to its safe angle", minimum=0, maximum=1)
        safe: float = setting(0.0, doc="angle in degrees that does no harm")

        def __post_init__(self) -> None:
            if not self.minimum < self.maximum:
                raise ValueError(f"minimum ({self.minimum:g}) must be below maximum ({self.maximum:g})")
            if self.min_pulse_ms == self.max_pulse_ms:
                raise ValueError("min_pulse_ms and max_pulse_ms must differ")
            if not self.minimum <= self.safe <= self.maximum:
                raise ValueError(f"safe must be from {self.minimum:g} to {self.maximum:g}, got {self.safe:g}")

    @classmethod
    def open(cls, settings: Settings, clock: Clock) -> Servo:
        """Opened on its way to its safe angle. Raises DeviceMisconfigured, DeviceUnavailable."""
        return cls(settings, clock)

    @classmethod
    def safe_lines(cls, settings: Settings) -> tuple[SafeLine, ...]:
        """Its line, low: without a pulse it has no power."""
        return safe_lines(settings.pin, settings.chip, level=False)

    def __init__(self, settings: Settings, clock: Clock, sleep: Callable[[float], None] = time.sleep) -> None:
        self.safe: Value = settings.safe
        self._settings = settings
        self._clock = clock
        self._sleep = sleep
        self._output = Output("servo", settings.pin, settings.chip, self._duty(settings.safe), _FRAME_HZ)
        self._angle: float | None = settings.safe
        self._since = clock.monotonic()
        if given_factory() is None:
            log.warning(
                "the %s is held by pulses that software times: it trembles when the machine is busy",
                self._output.name,
            )

    def check(self, value: object) -> Value:
        """Finite numbers from minimum to maximum, in degrees. Raises ValueError for anything else."""
        return number_within(value, self._settings.minimum, self._settings.maximum)

    def drive(self, value: Value) -> None:
        """Turn to this angle and hold it.

        Raises DeviceUnavailable if the pin does not obey, or after ``close``.
        """
        angle, before = float(value), self._angle
        self._angle = None  # unknown, should the pin not obey
        self._output.drive(self._duty(angle))
        self._angle = angle
        if angle != before:
            self._since = self._clock.monotonic()

    def close(self) -> None:
        """Turn to the safe angle, wait until it is reached (``travel_s`` at most), then let go of the pin."""
        try:
            if not self._output.closed:
                self.drive(self.safe)
                left = self._since + self._settings.travel_s - self._clock.monotonic()
                if left > 0:
                    self._sleep(left)
        except HardwareError:
            pass  # told by close_in, which tries again
        finally:
            self._output.close_in(self._duty(float(self.safe)))

    def _duty(self, angle: float) -> float:
        s = self._settings
        part = (angle - s.minimum) / (s.maximum - s.minimum)
        return (s.min_pulse_ms + part * (s.max_pulse_ms - s.min_pulse_ms)) / _FRAME_MS
