"""Simulated vane: a function of the seed and of the seconds since the first read, and of nothing else."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from ..clock import Clock
from ..errors import DeviceUnavailable
from ..settings import setting
from ..vane import VaneSample
from ..vane_mounting import direction

_VEER_DEG = 18.0  # σ of the slow direction, as simulated/wind.py has it
_VEER_PERIODS_S = (1_300.0, 4_100.0, 9_700.0, 26_000.0)
_JITTER_DEG = 8.0  # σ of turbulence from the side, 0.8 · 15 % of the mean speed
_JITTER_PERIODS_S = (1.7, 2.9, 5.3, 9.1, 17.0, 31.0, 59.0, 113.0)


class SimulatedVane:
    """Simulated vane: veers slowly and jitters, repeatable by its seed."""

    simulated = True

    @dataclass(frozen=True)
    class Settings:
        """What the direction is like at the long run."""

        seed: int | None = setting(
            None, doc="same seed, same directions (random, if absent)", minimum=0, maximum=2**53, example=42
        )
        direction_deg: float = setting(
            230.0, doc="mean direction the wind comes from", minimum=0, maximum=360
        )

    @classmethod
    def open(cls, settings: Settings, clock: Clock) -> SimulatedVane:  # noqa: ARG003  (every driver is given it)
        """A seed of its own where none is set; ``raw`` tells it."""
        return cls(settings)

    def __init__(self, settings: Settings) -> None:
        self._mean_deg = settings.direction_deg
        self._seed = random.SystemRandom().getrandbits(32) if settings.seed is None else settings.seed
        rng = random.Random(self._seed)  # noqa: S311  (weather, no secret)
        self._waves = [
            (
                math.tau / (period * rng.uniform(0.9, 1.1)),
                math.tau * rng.random(),
                sigma * math.sqrt(2 / len(periods)),
            )
            for sigma, periods in ((_VEER_DEG, _VEER_PERIODS_S), (_JITTER_DEG, _JITTER_PERIODS_S))
            for period in periods
        ]
        self._first_read_s: float | None = None
        self._closed = False

    def read(self, now: float) -> VaneSample:
        """The direction at ``now``. ``raw``: the seed and the elapsed seconds that it was computed from.

        Raises DeviceUnavailable after ``close``.
        """
        if self._closed:
            raise DeviceUnavailable("the simulated vane is closed")
        if self._first_read_s is None:
            self._first_read_s = now
        t_s = now - self._first_read_s
        turned = sum(amplitude * math.sin(omega * t_s + phase) for omega, phase, amplitude in self._waves)
        return VaneSample(direction(turned, self._mean_deg), raw={"seed": self._seed, "elapsed_s": t_s})

    def close(self) -> None:
        """No more wind."""
        self._closed = True
