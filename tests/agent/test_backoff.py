"""Exponential backoff with full jitter: 2 s to 5 min, reset after 5 min of a stable link."""

from __future__ import annotations

import random

from agent.backoff import Backoff


class Highest(random.Random):
    """Always the upper end, which is the ceiling."""

    def uniform(self, a: float, b: float) -> float:
        assert a == 0.0
        return b


def test_the_ceiling_doubles_up_to_the_cap() -> None:
    """2, 4, 8 … 300 s, however long it goes on."""
    backoff = Backoff(Highest())
    delays = [backoff.next_delay() for _ in range(100)]
    assert delays[:9] == [2, 4, 8, 16, 32, 64, 128, 256, 300]
    assert set(delays[9:]) == {300}


def test_only_a_stable_link_forgets() -> None:
    """One that comes and goes keeps slowing down."""
    backoff = Backoff(Highest())
    assert [backoff.next_delay(up_for_s=299) for _ in range(4)] == [2, 4, 8, 16]
    assert [backoff.next_delay(up_for_s=300), backoff.next_delay()] == [2, 4]


def test_delays_are_spread_over_all_of_the_range() -> None:
    """Masts that lost the same hub do not return in step."""
    delays = []
    for seed in range(200):
        backoff = Backoff(random.Random(seed))
        for _ in range(8):
            backoff.next_delay()
        delays.append(backoff.next_delay())
    assert min(delays) < 15
    assert max(delays) > 285
    assert 130 < sum(delays) / len(delays) < 170
