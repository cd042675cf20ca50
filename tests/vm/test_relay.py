"""Relays on simulated lines: what `masthead actuate` does to the copper, and what it does not."""

from __future__ import annotations

import time

from .mast import BEACON, HEATER, Mast


def _level_becomes(mast: Mast, line: int, level: int, within_s: float) -> bool:
    end = time.monotonic() + within_s
    while mast.level(line) != level:
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def test_a_relay_is_on_for_its_time(mast: Mast) -> None:
    """`masthead actuate` switches the line on, and the end of the time switches it off."""
    assert mast.level(BEACON) == 0
    assert mast.actuate("beacon", "on", for_s=3) == "beacon is on\n"
    assert mast.level(BEACON) == 1
    assert _level_becomes(mast, BEACON, 0, within_s=10)


def test_an_active_low_relay_is_on_at_low(mast: Mast) -> None:
    """Where low means on, on is 0 and off is 1."""
    assert mast.level(HEATER) == 1
    mast.actuate("heater", "on", for_s=3)
    assert mast.level(HEATER) == 0
    assert _level_becomes(mast, HEATER, 1, within_s=10)


def test_a_stop_drives_safe_while_the_line_is_held(mast: Mast) -> None:
    """An agent that is stopped while relays are on drives them off before it lets go of their lines."""
    mast.actuate("beacon", "on", for_s=600)
    mast.actuate("heater", "on", for_s=600)
    mast.trace()
    mast.stop()
    for line, safe in ((BEACON, 0), (HEATER, 1)):
        done = mast.traced(line)
        assert done.index(("set", safe)) < done.index(("in", 0))
        assert ("set", 1 - safe) not in done


def test_no_relay_moves_when_the_agent_starts(mast: Mast) -> None:
    """From the first instant as outputs the lines have the level that is safe, and none other until the stop.

    The kernel's own trace is the witness: it has every level that was ever set.
    """
    mast.stop()
    mast.trace()
    mast.start()
    mast.stop()
    for line, safe in ((BEACON, 0), (HEATER, 1)):
        levels = [value for what, value in mast.traced(line) if what == "set"]
        assert levels, "the line was never driven"
        assert set(levels) == {safe}
