"""Simulated wind: a function of the seed and of the seconds since the first read, and of nothing else.

The same seed gives the same series, however often and at whatever instants it is read. Made of

- a mean that drifts over hours, and a direction that veers with it: a few slow sinusoids each;
- turbulence along and across the wind with the Kaimal spectrum (IEC 61400-1, annex B.2), as a sum of
  sinusoids spaced evenly in the logarithm of frequency, with seeded phases (Shinozuka and Deodatis, 1991);
- extreme operating gusts (IEC 61400-1, 6.3.2.2): dip, rise, dip, at seeded times.

The anemometer sees the length and the angle of the sum of these vectors, so that speed is never negative
and a gust from the side turns the vane.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from ..anemometer import WindSample
from ..clock import Clock
from ..errors import DeviceUnavailable
from ..settings import setting

_LENGTH_ALONG_M = 56.7  # 8.1·Λ, Λ = 0.7·z, at z = 10 m
_LENGTH_ACROSS_M = 18.9  # 2.7·Λ
_ACROSS = 0.8  # σ across / σ along
_LOWEST_HZ, _HIGHEST_HZ = 1 / 600, 2.0  # slower is drift; faster is beyond 4-Hz sampling
_MODES_ALONG, _MODES_ACROSS = 40, 24

_DRIFT = 0.12  # σ of the mean, relative to it
_DRIFT_PERIODS_S = (2_100.0, 5_300.0, 12_700.0, 31_000.0)
_VEER_DEG = 18.0  # σ of the slow direction
_VEER_PERIODS_S = (1_300.0, 4_100.0, 9_700.0, 26_000.0)

_GUST_S = 10.5  # IEC's duration
_GUST_EVERY_S = 100.0
_GUST_CHANCE = 0.7
_GUST_SIGMAS = (1.5, 3.3)  # 3.3 σ is IEC's extreme


class _Waves:
    """A sum of sinusoids (frequency in Hz, amplitude) with seeded phases."""

    def __init__(self, modes: Sequence[tuple[float, float]], rng: random.Random) -> None:
        self._terms = [(math.tau * f, math.tau * rng.random(), a) for f, a in modes]

    def at(self, t_s: float) -> float:
        sin = math.sin
        return sum([a * sin(w * t_s + phase) for w, phase, a in self._terms])


def _slow(sigma: float, periods_s: Sequence[float], rng: random.Random) -> _Waves:
    """Equal sinusoids that add up to ``sigma``, of periods within 10 % of these."""
    amplitude = sigma * math.sqrt(2 / len(periods_s))
    return _Waves([(1 / (p * rng.uniform(0.9, 1.1)), amplitude) for p in periods_s], rng)


def _kaimal(modes: int, turnover_s: float, rng: random.Random) -> _Waves:
    """Turbulence of unit variance: f·S(f) ∝ n/(1 + 6n)^(5/3) with n = f·``turnover_s`` (length scale / mean).

    Frequencies are jittered within their bands, so that the series does not repeat.
    """
    step = math.log(_HIGHEST_HZ / _LOWEST_HZ) / modes
    frequencies = [_LOWEST_HZ * math.exp(step * (i + rng.random())) for i in range(modes)]
    powers = [f * turnover_s / (1 + 6 * f * turnover_s) ** (5 / 3) for f in frequencies]
    total = sum(powers)
    return _Waves([(f, math.sqrt(2 * p / total)) for f, p in zip(frequencies, powers, strict=True)], rng)


class _Gusts:
    """At most one gust in each stretch of _GUST_EVERY_S seconds, in units of the turbulence's σ."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._stretch = -1
        self._start_s = 0.0
        self._sigmas = 0.0

    def at(self, t_s: float) -> float:
        stretch = int(t_s // _GUST_EVERY_S)
        if stretch != self._stretch:
            rng = random.Random(f"{self._seed}/{stretch}")  # noqa: S311  (weather, no secret)
            self._stretch = stretch
            self._sigmas = rng.uniform(*_GUST_SIGMAS) if rng.random() < _GUST_CHANCE else 0.0
            self._start_s = stretch * _GUST_EVERY_S + rng.uniform(0, _GUST_EVERY_S - _GUST_S)
        x = (t_s - self._start_s) / _GUST_S
        if not 0 < x < 1:
            return 0.0
        return -0.37 * self._sigmas * math.sin(3 * math.pi * x) * (1 - math.cos(math.tau * x))


class SimulatedAnemometer:
    """Simulated wind: turbulent, gusty, veering, repeatable by its seed."""

    simulated = True
    calibration: str | None = None
    has_direction = True

    @dataclass(frozen=True)
    class Settings:
        """What the wind is like at the long run."""

        seed: int | None = setting(
            None, doc="same seed, same wind (random, if absent)", minimum=0, maximum=2**53, example=42
        )
        mean_mps: float = setting(7.0, doc="mean speed", minimum=0, maximum=50)
        turbulence_intensity: float = setting(
            0.15, doc="standard deviation of the speed, relative to its mean", minimum=0, maximum=0.5
        )
        direction_deg: float = setting(
            230.0, doc="mean direction the wind comes from", minimum=0, maximum=360
        )

    @classmethod
    def open(cls, settings: Settings, clock: Clock) -> SimulatedAnemometer:  # noqa: ARG003  (every driver is given it)
        """A seed of its own where none is set; ``raw`` tells it."""
        return cls(settings)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._seed = random.SystemRandom().getrandbits(32) if settings.seed is None else settings.seed
        rng = random.Random(self._seed)  # noqa: S311  (weather, no secret)
        mean = max(settings.mean_mps, 1.0)
        self._drift = _slow(_DRIFT, _DRIFT_PERIODS_S, rng)
        self._veer_deg = _slow(_VEER_DEG, _VEER_PERIODS_S, rng)
        self._along = _kaimal(_MODES_ALONG, _LENGTH_ALONG_M / mean, rng)
        self._across = _kaimal(_MODES_ACROSS, _LENGTH_ACROSS_M / mean, rng)
        self._gusts = _Gusts(self._seed)
        self._first_read_s: float | None = None
        self._closed = False

    def read(self, now: float) -> WindSample:
        """The wind at ``now``. ``raw``: the seed and the elapsed seconds that it was computed from.

        Raises DeviceUnavailable after ``close``.
        """
        if self._closed:
            raise DeviceUnavailable("the simulated anemometer is closed")
        if self._first_read_s is None:
            self._first_read_s = now
        t_s = now - self._first_read_s
        mean = self._settings.mean_mps * max(0.0, 1 + self._drift.at(t_s))
        sigma = mean * self._settings.turbulence_intensity
        along = mean + sigma * (self._along.at(t_s) + self._gusts.at(t_s))
        across = sigma * _ACROSS * self._across.at(t_s)
        turned = math.degrees(math.atan2(across, along))
        direction = (self._settings.direction_deg + self._veer_deg.at(t_s) + turned) % 360
        return WindSample(
            now,
            math.hypot(along, across),
            direction if direction < 360 else 0.0,  # −1e-15 % 360 is 360.0
            raw={"seed": self._seed, "elapsed_s": t_s},
        )

    def close(self) -> None:
        """No more wind."""
        self._closed = True
