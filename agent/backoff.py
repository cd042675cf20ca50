"""Exponential backoff with full jitter (Brooker, "Exponential Backoff And Jitter", AWS 2015)."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast to try again after one kind of failure.

    The first delay is drawn from [``least_s``, ``base_s``]; the ceiling doubles with each failure up to
    ``cap_s``.
    """

    base_s: float = 2.0
    cap_s: float = 300.0
    least_s: float = 0.0


class Backoff:
    """How long to wait before the next attempt.

    The delay is uniform up to its ceiling, so that a field of masts that lost the same hub does not return to
    it in step. Failures of all kinds count together, until they are forgotten.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._failures = 0

    def next_delay(self, pace: Pace, worked_for_s: float = 0.0) -> float:
        """Seconds to wait after a failure.

        ``worked_for_s``: how long the connection that failed was of use. It is tried again within a quarter
        of that, so a link that comes and goes is up most of the time, and is never hammered.
        """
        if worked_for_s > 0.0:
            worth = max(worked_for_s / 4, pace.base_s) / pace.base_s
            self._failures = min(self._failures, int(math.log2(worth)))
        ceiling = min(pace.cap_s, pace.base_s * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return self._rng.uniform(pace.least_s, ceiling)

    def forget(self) -> None:
        """The link is well, or what was wrong with it may be mended: begin anew."""
        self._failures = 0
