"""Samples -> the figures of one report interval.

Strategy: mean and standard deviation by Welford's recurrence, so that no sum of squares cancels; gust and
lull as extremes of a running mean over the last ``gust_window_s`` seconds (WMO-No. 8, ch. 5: 3 s), each
time summed afresh, so that no running sum drifts; direction from the mean of the wind vectors.

The running window goes by time stamps and reaches back over the border between two reports: a gust belongs
to the report in which its window ends. A window counts only if it holds 90 % of the samples it should and
spans as long as those must, so that neither a gap nor a burst after a stall makes a gust of few samples.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from hw.anemometer import WindSample

CALM_MPS = 0.5
"""Mean speed below which wind has no direction (METAR: calm)."""

ENOUGH = 0.9
"""Share of the expected samples that makes a window, or a report, complete."""


@dataclass(frozen=True, slots=True)
class WindReport:
    """The wind of one interval. Whatever no sample could tell is None.

    ``samples_expected``: by interval and rate; ``samples_valid``: with a speed (one more than expected
    where a border falls so); ``samples_directed``: of those, with a direction.
    ``speed_mps``: scalar mean; ``speed_std_mps``: σ of the population; ``gust_mps``, ``lull_mps``: largest
    and smallest running mean that ended in the interval.
    ``direction_deg``, in [0, 360), and ``vector_speed_mps``: of the mean wind vector. No direction where
    the mean speed is calm or the vectors cancel out.
    """

    samples_expected: int
    samples_valid: int
    samples_directed: int
    speed_mps: float | None
    gust_mps: float | None
    lull_mps: float | None
    speed_std_mps: float | None
    direction_deg: float | None
    vector_speed_mps: float | None


class WindStatistics:
    """Accumulates samples, and closes report intervals.

    Thread safety: one thread, the sampler's.
    """

    def __init__(self, rate_hz: float, gust_window_s: float = 3.0) -> None:
        self._rate_hz = rate_hz
        period_s = 1 / rate_hz
        needed = math.ceil(ENOUGH * gust_window_s * rate_hz - 1e-6)
        self._needed = max(1, needed)
        # half a period of tolerance: time stamps jitter, and the borders of the window lie on samples
        self._reach_s = gust_window_s - period_s / 2
        self._least_span_s = (self._needed - 1.5) * period_s
        self._window: deque[tuple[float, float]] = deque()
        self._begin()

    def _begin(self) -> None:
        self._valid = 0
        self._mean = 0.0
        self._squares = 0.0
        self._gust: float | None = None
        self._lull: float | None = None
        self._directed = 0
        self._east = 0.0
        self._north = 0.0

    def add(self, sample: WindSample) -> None:
        """Take one sample; one without a speed counts as missing. Time stamps never go back."""
        speed = sample.speed_mps
        if speed is None:
            return
        self._valid += 1
        delta = speed - self._mean
        self._mean += delta / self._valid
        self._squares += delta * (speed - self._mean)
        if sample.direction_deg is not None:
            self._directed += 1
            angle = math.radians(sample.direction_deg)
            self._east += speed * math.sin(angle)
            self._north += speed * math.cos(angle)
        self._run(sample.time_s, speed)

    def _run(self, time_s: float, speed: float) -> None:
        """The running mean over (time_s − window, time_s], if it is complete."""
        window = self._window
        window.append((time_s, speed))
        while time_s - window[0][0] > self._reach_s:
            window.popleft()
        if len(window) < self._needed or time_s - window[0][0] < self._least_span_s:
            return
        mean = math.fsum(v for _, v in window) / len(window)
        self._gust = mean if self._gust is None else max(self._gust, mean)
        self._lull = mean if self._lull is None else min(self._lull, mean)

    def close(self, interval_s: float) -> WindReport:
        """The report on the ``interval_s`` seconds since the last one. The next interval begins."""
        vector_speed, direction = self._vector()
        report = WindReport(
            samples_expected=round(interval_s * self._rate_hz),
            samples_valid=self._valid,
            samples_directed=self._directed,
            speed_mps=self._mean if self._valid else None,
            gust_mps=self._gust,
            lull_mps=self._lull,
            speed_std_mps=math.sqrt(self._squares / self._valid) if self._valid else None,
            direction_deg=direction,
            vector_speed_mps=vector_speed,
        )
        self._begin()
        return report

    def _vector(self) -> tuple[float | None, float | None]:
        """Speed and direction of the mean wind vector."""
        if not self._directed:
            return None, None
        speed = math.hypot(self._east, self._north) / self._directed
        if self._mean < CALM_MPS or speed < 1e-9 * self._mean:
            return speed, None
        direction = math.degrees(math.atan2(self._east, self._north)) % 360
        return speed, direction if direction < 360 else 0.0  # −1e-15 % 360 is 360.0
