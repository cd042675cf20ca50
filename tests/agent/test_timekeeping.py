"""Clock trust: what time it was, and whether to believe it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.timekeeping import BootClock, Timekeeper, kernel_synchronised, read_boot_id
from tests.clock import FakeClock


def test_time_is_iso_8601_in_utc_with_milliseconds() -> None:
    """Rounded to the millisecond nearest."""
    assert BootClock(1_795_196_000.0, True).time_text(40.0) == "2026-11-20T17:34:00.000Z"
    assert BootClock(1_795_196_000.0, True).time_text(40.1236) == "2026-11-20T17:34:00.124Z"


@pytest.mark.parametrize("offset_s", [1e30, -1e30, float("nan"), float("inf")])
def test_what_no_calendar_holds_is_shown_as_1970(offset_s: float) -> None:
    """A nonsensical clock makes no message impossible to build."""
    assert BootClock(offset_s, False).time_text(0.0) == "1970-01-01T00:00:00.000Z"


def test_an_unsynchronised_clock_is_followed_and_said_to_be_one() -> None:
    """Until the kernel vouches for it the offset is what the clock says at the moment."""
    clock = FakeClock(monotonic=100.0, wall=1000.0)
    keeper = Timekeeper(clock, "boot", lambda: False)
    assert keeper.read() == BootClock(900.0, False)
    assert keeper.read().quality == "unsynchronised"
    clock.set_wall(5000.0)
    assert keeper.read() == BootClock(4900.0, False)


def test_once_synchronised_the_offset_follows_only_a_synchronised_clock() -> None:
    """A lost time source, or a clock set by hand after it, leaves the last good offset standing."""
    clock = FakeClock(monotonic=100.0, wall=1000.0)
    synchronised = True
    keeper = Timekeeper(clock, "boot", lambda: synchronised)
    assert keeper.read() == BootClock(900.0, True)
    synchronised = False
    clock.set_wall(0.0)
    assert keeper.read() == BootClock(900.0, True)
    synchronised = True
    clock.set_wall(2000.0)
    assert keeper.read() == BootClock(1900.0, True)


def test_a_boot_has_a_name_of_its_own(tmp_path: Path) -> None:
    """The kernel's where it gives one, else a new one for every start."""
    (tmp_path / "boot_id").write_text("abc\n")
    assert read_boot_id(tmp_path / "boot_id") == "abc"
    assert read_boot_id(tmp_path / "none") != read_boot_id(tmp_path / "none")
    assert read_boot_id() == read_boot_id()


def test_the_kernel_is_asked_whether_its_clock_is_synchronised() -> None:
    """It answers yes or no, and nothing is raised."""
    assert kernel_synchronised() in (True, False)
