"""Exponential backoff with full jitter: 2 s to 5 min, reset after 5 min of a stable link."""

from __future__ import annotations

import random

from agent.backoff import Backoff, Pace


class Ceilings(random.Random):
    """Always the upper end, which is the ceiling."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Highest(Ceilings):
    """The same, of a range that begins at 0."""

    def uniform(self, a: float, b: float) -> float:
        assert a == 0.0
        return super().uniform(a, b)


def test_the_ceiling_doubles_up_to_the_cap() -> None:
    """2, 4, 8 … 300 s, however long it goes on."""
    backoff = Backoff(Highest())
    delays = [backoff.next_delay(Pace()) for _ in range(100)]
    assert delays[:9] == [2, 4, 8, 16, 32, 64, 128, 256, 300]
    assert set(delays[9:]) == {300}


def test_delays_are_spread_over_all_of_the_range() -> None:
    """Masts that lost the same hub do not return in step."""
    delays = []
    for seed in range(200):
        backoff = Backoff(random.Random(seed))
        for _ in range(8):
            backoff.next_delay(Pace())
        delays.append(backoff.next_delay(Pace()))
    assert min(delays) < 15
    assert max(delays) > 285
    assert 130 < sum(delays) / len(delays) < 170


def test_each_kind_of_failure_has_its_own_pace() -> None:
    """A slow kind begins late and never hurries; the failures of all kinds count together."""
    slow = Pace(base_s=60.0, least_s=10.0)

    class Lowest(random.Random):
        def uniform(self, a: float, b: float) -> float:
            return a

    assert [Backoff(Lowest()).next_delay(slow), Backoff(Lowest()).next_delay(Pace())] == [10, 0]
    backoff = Backoff(Ceilings())
    assert [backoff.next_delay(p) for p in (Pace(), slow, Pace(cap_s=5.0), slow)] == [2, 120, 5, 300]


def test_what_is_forgotten_begins_anew() -> None:
    """After a clock was set, or on a link that is stable, the delays begin at the beginning."""
    backoff = Backoff(Highest())
    assert [backoff.next_delay(Pace()), backoff.next_delay(Pace())] == [2, 4]
    backoff.forget()
    assert backoff.next_delay(Pace()) == 2


def test_what_worked_is_tried_again_within_a_quarter_of_that_time() -> None:
    """However many failures were before; and what fails then counts on from there."""
    for worked_for_s, ceiling in ((1.0, 2), (10.0, 2), (16.0, 4), (64.0, 16), (299.0, 64)):
        backoff = Backoff(Highest())
        for _ in range(20):
            backoff.next_delay(Pace())
        assert backoff.next_delay(Pace(), worked_for_s) == ceiling
        assert ceiling <= max(2.0, worked_for_s / 4)
        assert backoff.next_delay(Pace()) == 2 * ceiling
