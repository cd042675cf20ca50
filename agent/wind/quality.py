"""What can be relied on: each sample's plausibility, and each report's quality and flags.

After the U.S. IOOS "Manual for Real-Time Quality Control of Wind Data" (QARTOD, 2014), whose grades the
report carries by name: good, suspect, fail, missing.

| Flag | Meaning | Quality |
|---|---|---|
| ``calm`` | mean speed below 0.5 m/s (METAR): the wind has no direction | – |
| ``no-direction`` | the instrument gives none | – |
| ``gust-missing`` | no 3-s window was complete: just started, or gaps | – |
| ``sensor-fault`` | samples missing, with a cause | – |
| ``no-samples`` | samples missing without a cause: none was taken | missing |
| ``incomplete`` | fewer than 90 % of the expected samples (and more than one) are valid | suspect |
| ``direction-missing`` | it was not calm, but no sample had one, or they cancelled out | suspect |
| ``direction-incomplete`` | fewer than 90 % of the valid samples had a direction | suspect |
| ``direction-ambiguous`` | more than 10 % of the directions lay between two steps of the vane | suspect |
| ``edges-lost`` | the instrument gave more pulses than reached us | suspect |
| ``out-of-range`` | samples were rejected: gross range test | suspect; fail if nothing else is left |
| ``rate-of-change`` | a step between two samples that no wind makes | suspect |
| ``flat-line`` | the speed did not move for a minute while it was not calm | suspect |

Every null of a report is explained by at least one flag.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from hw.anemometer import WindSample

from .statistics import CALM_MPS, ENOUGH, WindReport

Quality = Literal["good", "suspect", "fail", "missing"]

HIGHEST_MPS = 113.3
"""No wind is faster: Barrow Island, 10 April 1996, the highest gust ever measured (WMO)."""

STEP_MPS = 20.0
"""Largest credible step between samples at most STEP_WITHIN_S apart: at 25 m/s and 20 % turbulence, 4 σ."""

STEP_WITHIN_S = 1.0

FLAT_MPS = 0.01
"""A speed that varies by less is flat (QARTOD's ε)."""

FLAT_SAMPLES = 5
"""Fewest samples that show a flat line (QARTOD's count for a failure)."""

FLAT_S = 60.0
"""And for so long: a coarse instrument in smooth wind, or a recording of means, repeats itself a while."""

AMBIGUOUS = "direction-ambiguous"

_SUSPECT = {
    "incomplete",
    "direction-missing",
    "direction-incomplete",
    "direction-ambiguous",
    "edges-lost",
    "out-of-range",
    "rate-of-change",
    "flat-line",
}


@dataclass(slots=True)
class _FlatRun:
    """Consecutive samples that agree within FLAT_MPS."""

    since_s: float
    count: int
    low_mps: float
    high_mps: float


class QualityControl:
    """Judges the samples of one sensor before the statistics see them, then the report on them.

    For every sample ``screen``, then ``WindStatistics.add``; at the end of an interval
    ``WindStatistics.close``, then ``assess``. Thread safety: one thread, the sampler's.
    """

    def __init__(self, has_direction: bool, limit_mps: float = HIGHEST_MPS) -> None:
        """``has_direction`` may be set later, when the instrument is known.

        ``limit_mps``: speeds above are rejected; at most HIGHEST_MPS.
        """
        self.has_direction = has_direction
        self._limit_mps = min(limit_mps, HIGHEST_MPS)
        self._last: WindSample | None = None
        self._flat: _FlatRun | None = None
        self._seen: set[str] = set()
        self._ambiguous = 0

    def at_least(self, sample: WindSample) -> float | None:
        """The speed in m/s that ``sample``, as it was measured, gives reason to reckon with: of one that is
        rejected as too high, the limit. None where there is none."""
        speed = sample.speed_mps
        if speed is None or not speed >= 0:  # NaN compares false
            return None
        return min(speed, self._limit_mps)

    def screen(self, sample: WindSample) -> WindSample:
        """``sample`` without what cannot be true: gross range test on speed and direction.

        What is rejected becomes None, with the value in ``fault``.
        """
        speed, direction = sample.speed_mps, sample.direction_deg
        if speed is not None and not 0 <= speed <= self._limit_mps:  # NaN compares false
            self._seen.add("out-of-range")
            fault = f"speed {speed:g} m/s is outside 0 to {self._limit_mps:g}"
            sample = replace(sample, speed_mps=None, direction_deg=None, fault=fault)
        elif direction is not None and not 0 <= direction < 360:
            self._seen.add("out-of-range")
            fault = f"direction {direction:g}° is outside 0 to 360"
            sample = replace(sample, direction_deg=None, fault=fault)
        elif speed is None:
            self._seen.add("sensor-fault" if sample.fault else "no-samples")
        self._ambiguous += AMBIGUOUS in sample.flags
        self._seen.update(flag for flag in sample.flags if flag != AMBIGUOUS)
        self._compare(sample)
        return sample

    def _compare(self, sample: WindSample) -> None:
        """Step and flat line tests, against the samples before."""
        last, self._last = self._last, sample
        speed, now = sample.speed_mps, sample.time_s
        if speed is None:
            self._flat = None
            return
        if last is not None and last.speed_mps is not None:
            step = abs(speed - last.speed_mps)
            if step > STEP_MPS and now - last.time_s <= STEP_WITHIN_S:
                self._seen.add("rate-of-change")
        run = self._flat
        if run is None or max(speed, run.high_mps) - min(speed, run.low_mps) >= FLAT_MPS:
            self._flat = _FlatRun(now, 1, speed, speed)
            return
        run.count += 1
        run.low_mps, run.high_mps = min(speed, run.low_mps), max(speed, run.high_mps)
        if run.count >= FLAT_SAMPLES and now - run.since_s >= FLAT_S and speed >= CALM_MPS:
            self._seen.add("flat-line")

    def assess(self, report: WindReport) -> tuple[Quality, tuple[str, ...]]:
        """(quality, flags in alphabetical order) of the report on the samples screened since the last one."""
        flags, self._seen = self._seen, set()
        if report.samples_directed - self._ambiguous < ENOUGH * report.samples_directed:
            flags.add(AMBIGUOUS)
        self._ambiguous = 0
        if not self.has_direction:
            flags.add("no-direction")
        if report.speed_mps is None:
            if not flags & {"out-of-range", "sensor-fault"}:
                flags.add("no-samples")
            return ("fail" if "out-of-range" in flags else "missing"), tuple(sorted(flags))
        flags |= _gaps(report, self.has_direction)
        quality: Quality = "suspect" if flags & _SUSPECT else "good"
        return quality, tuple(sorted(flags))


def _gaps(report: WindReport, has_direction: bool) -> set[str]:
    """Flags for what is missing in a report that has a speed."""
    flags = set()
    calm = report.speed_mps is not None and report.speed_mps < CALM_MPS
    if calm:
        flags.add("calm")
    if report.gust_mps is None:
        flags.add("gust-missing")
    # one sample is let off: jitter may move it over the border into the next report
    if report.samples_valid < min(math.ceil(ENOUGH * report.samples_expected), report.samples_expected - 1):
        flags.add("incomplete")
    if has_direction:
        if report.vector_speed_mps is None or (report.direction_deg is None and not calm):
            flags.add("direction-missing")
        elif report.samples_directed < ENOUGH * report.samples_valid:
            flags.add("direction-incomplete")
    return flags
