"""Exponential backoff with full jitter (Brooker, "Exponential Backoff And Jitter", AWS 2015)."""

from __future__ import annotations

import random


class Backoff:
    """How long to wait before the next attempt.

    The ceiling starts at ``base_s`` and doubles with each failure up to ``cap_s``; the delay is uniform in
    [0, ceiling], so that a field of masts that lost the same hub does not return to it in step. Only a link
    that was up for ``stable_s`` forgets its failures: one that comes and goes keeps slowing down.
    """

    def __init__(
        self, rng: random.Random, base_s: float = 2.0, cap_s: float = 300.0, stable_s: float = 300.0
    ) -> None:
        self._rng = rng
        self._base_s = base_s
        self._cap_s = cap_s
        self._stable_s = stable_s
        self._failures = 0

    def next_delay(self, up_for_s: float = 0.0) -> float:
        """Seconds to wait after a failure of a link that had been up for ``up_for_s``."""
        if up_for_s >= self._stable_s:
            self._failures = 0
        ceiling = min(self._cap_s, self._base_s * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return self._rng.uniform(0.0, ceiling)
