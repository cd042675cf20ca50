"""Implausible samples are rejected, doubtful reports say so, and every null is explained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wind.quality import QualityControl
from agent.wind.statistics import WindReport, WindStatistics
from hw.anemometer import WindSample

RATE_HZ = 4
GOOD = WindReport(240, 240, 240, 7.0, 9.0, 5.0, 1.0, 231.0, 6.9)
EMPTY = WindReport(240, 0, 0, None, None, None, None, None, None)


def _quality(has_direction: bool = True, limit_mps: float = 113.3) -> QualityControl:
    return QualityControl(has_direction, limit_mps)


def _sample(
    k: int, speed: float | None, direction: float | None = 200.0, fault: str | None = None
) -> WindSample:
    return WindSample(100 + k / RATE_HZ, speed, direction, fault)


def test_a_complete_report_is_good_and_has_no_flags() -> None:
    """Nothing to remark."""
    assert _quality().assess(GOOD) == ("good", ())


@pytest.mark.parametrize("speed", [0.0, 7.0, 113.3])
def test_a_plausible_sample_passes_unchanged(speed: float) -> None:
    """From nothing to the highest gust ever measured."""
    sample = _sample(0, speed)
    assert _quality().screen(sample) is sample


@pytest.mark.parametrize("speed", [-0.01, 113.4, 558.7, 958.8, math.nan, math.inf, -math.inf])
def test_no_wind_is_negative_or_faster_than_the_record(speed: float) -> None:
    """Such a sample becomes a missing one that says why, and the report is suspect."""
    quality = _quality()
    screened = quality.screen(_sample(0, speed))
    assert (screened.speed_mps, screened.direction_deg) == (None, None)
    assert screened.fault == f"speed {speed:g} m/s is outside 0 to 113.3"
    assert quality.assess(GOOD) == ("suspect", ("out-of-range",))
    assert quality.assess(GOOD) == ("good", ())


def test_the_user_may_set_a_lower_limit_and_no_higher_one() -> None:
    """``max_speed_mps`` lies inside the hard limit."""
    assert _quality(limit_mps=40).screen(_sample(0, 40.1)).speed_mps is None
    assert _quality(limit_mps=40).screen(_sample(0, 40.0)).speed_mps == 40.0
    assert _quality(limit_mps=1000).screen(_sample(0, 114.0)).speed_mps is None


@pytest.mark.parametrize("direction", [-0.1, 360.0, math.nan, math.inf])
def test_a_direction_outside_the_circle_is_rejected_alone(direction: float) -> None:
    """The speed is still good for the statistics."""
    quality = _quality()
    screened = quality.screen(_sample(0, 5.0, direction))
    assert (screened.speed_mps, screened.direction_deg) == (5.0, None)
    assert screened.fault
    assert "direction" in screened.fault
    assert quality.assess(GOOD) == ("suspect", ("out-of-range",))


def test_an_interval_of_nothing_but_rejected_samples_has_failed() -> None:
    """The instrument spoke, and nothing it said can be true."""
    quality = _quality()
    quality.screen(_sample(0, 958.8))
    assert quality.assess(EMPTY) == ("fail", ("out-of-range",))


def test_an_interval_without_samples_is_missing() -> None:
    """With the cause where there is one."""
    quality = _quality()
    assert quality.assess(EMPTY) == ("missing", ("no-samples",))
    quality.screen(_sample(0, None, None, "no answer from 0x28"))
    assert quality.assess(EMPTY) == ("missing", ("sensor-fault",))


def test_an_instrument_without_direction_says_so_in_each_report() -> None:
    """The two nulls are explained, and the report is good."""
    report = replace(GOOD, samples_directed=0, direction_deg=None, vector_speed_mps=None)
    assert _quality(has_direction=False).assess(report) == ("good", ("no-direction",))
    assert _quality(has_direction=False).assess(EMPTY) == ("missing", ("no-direction", "no-samples"))


def test_a_calm_is_good() -> None:
    """It has no direction, and that is how calms are."""
    report = replace(GOOD, speed_mps=0.4, direction_deg=None, vector_speed_mps=0.3)
    assert _quality().assess(report) == ("good", ("calm",))


def test_a_lost_direction_is_suspect() -> None:
    """None at all, cancelled out, and some only."""
    none = replace(GOOD, samples_directed=0, direction_deg=None, vector_speed_mps=None)
    assert _quality().assess(none) == ("suspect", ("direction-missing",))
    assert _quality().assess(replace(none, speed_mps=0.1)) == ("suspect", ("calm", "direction-missing"))
    cancelled = replace(GOOD, direction_deg=None, vector_speed_mps=0.0)
    assert _quality().assess(cancelled) == ("suspect", ("direction-missing",))
    some = replace(GOOD, samples_directed=215)
    assert _quality().assess(some) == ("suspect", ("direction-incomplete",))
    assert _quality().assess(replace(GOOD, samples_directed=216)) == ("good", ())


@pytest.mark.parametrize(
    ("expected", "valid", "incomplete"),
    [(240, 241, False), (240, 216, False), (240, 215, True), (4, 3, False), (4, 2, True), (1, 1, False)],
)
def test_a_report_needs_nine_tenths_of_its_samples(expected: int, valid: int, incomplete: bool) -> None:
    """But one may have slipped over the border of a short interval."""
    report = replace(GOOD, samples_expected=expected, samples_valid=valid, samples_directed=valid)
    assert ("incomplete" in _quality().assess(report)[1]) is incomplete


def test_a_few_faults_are_told_but_do_no_harm() -> None:
    """A sample lost with a cause is remarked; the report is complete enough all the same."""
    quality = _quality()
    quality.screen(_sample(0, None, None, "checksum 0x31, expected 0x92"))
    assert quality.assess(replace(GOOD, samples_valid=239)) == ("good", ("sensor-fault",))


def test_a_fault_of_the_vane_alone_is_no_sensor_fault() -> None:
    """The speed is there: the missing direction is counted by the statistics."""
    quality = _quality()
    quality.screen(_sample(0, 5.0, None, "vane: no magnet"))
    assert quality.assess(GOOD) == ("good", ())


def test_a_gust_may_be_missing_without_harm() -> None:
    """Just after the start, no window of 3 s is complete."""
    assert _quality().assess(replace(GOOD, gust_mps=None, lull_mps=None)) == ("good", ("gust-missing",))


@pytest.mark.parametrize(
    ("step", "apart", "flagged"), [(20.0, 1, False), (20.1, 1, True), (30.0, 4, True), (30.0, 5, False)]
)
def test_a_step_that_no_wind_makes_is_suspect(step: float, apart: int, flagged: bool) -> None:
    """More than 20 m/s between samples up to a second apart; after a gap the wind may have changed."""
    quality = _quality()
    quality.screen(_sample(0, 5.0))
    quality.screen(_sample(apart, 5.0 + step))
    assert quality.assess(GOOD)[1] == (("rate-of-change",) if flagged else ())


def test_a_step_is_seen_over_the_border_of_two_reports() -> None:
    """It belongs to the report in which it arrives."""
    quality = _quality()
    quality.screen(_sample(0, 5.0))
    assert quality.assess(GOOD) == ("good", ())
    quality.screen(_sample(1, 40.0))
    assert quality.assess(GOOD) == ("suspect", ("rate-of-change",))


def _flags_by_second(speeds: Sequence[float | None]) -> list[bool]:
    """Whether each one-second report on ``speeds`` is flagged as a flat line."""
    quality, flagged = _quality(), []
    for k, speed in enumerate(speeds, start=1):
        quality.screen(_sample(k, speed))
        if k % RATE_HZ == 0:
            flagged.append("flat-line" in quality.assess(GOOD)[1])
    return flagged


def test_a_speed_that_stands_still_for_a_minute_is_suspect() -> None:
    """However short the reports: none within the first minute, each one after, none once it moves."""
    flagged = _flags_by_second([7.0] * 400 + [8.0 - k % 2 for k in range(40)])
    assert flagged == [False] * 60 + [True] * 40 + [False] * 10


def test_noise_below_a_hundredth_is_flat_and_a_slow_drift_is_not() -> None:
    """The range over the run counts, not the step from sample to sample."""
    assert any(_flags_by_second([7.0 + (k % 5) * 0.001 for k in range(400)]))
    assert not any(_flags_by_second([7.0 + k * 0.001 for k in range(2000)]))


def test_a_recording_of_means_is_not_flat() -> None:
    """A row every ten seconds is read forty times, and is no stuck instrument."""
    assert not any(_flags_by_second([5.0 + k // 40 % 3 for k in range(2000)]))


def test_a_calm_is_not_flat() -> None:
    """Nothing turns while nothing blows."""
    assert not any(_flags_by_second([0.0] * 2000))


@pytest.mark.parametrize(("count", "flat"), [(4, False), (5, True)])
def test_a_flat_line_takes_five_samples(count: int, flat: bool) -> None:
    """A sampler that stalled and finds the same speed again has proved nothing."""
    quality = _quality()
    for k in range(count):
        quality.screen(_sample(k * 60 * RATE_HZ, 7.0))
    assert ("flat-line" in quality.assess(GOOD)[1]) is flat


def test_a_missing_sample_ends_a_flat_line() -> None:
    """What happened meanwhile is unknown."""
    assert not any(_flags_by_second(([7.0] * 200 + [None]) * 5))


def test_lost_edges_make_a_report_suspect_once() -> None:
    """What the driver says of a sample is in the report that the sample belongs to, and in no other."""
    quality = _quality()
    quality.screen(replace(_sample(0, 7.0), flags=("edges-lost",)))
    assert quality.assess(GOOD) == ("suspect", ("edges-lost",))
    assert quality.assess(GOOD) == ("good", ())


@pytest.mark.parametrize(("ambiguous", "flagged"), [(24, False), (25, True)])
def test_a_vane_between_two_steps_now_and_then_is_no_matter(ambiguous: int, flagged: bool) -> None:
    """It has to pass there; more than a tenth of the time means that steps and resistors do not agree."""
    quality = _quality()
    for k in range(240):
        flags = ("direction-ambiguous",) if k < ambiguous else ()
        quality.screen(replace(_sample(k, 7.0 + k % 2), flags=flags))
    assert ("direction-ambiguous" in quality.assess(GOOD)[1]) is flagged
    assert quality.assess(GOOD) == ("good", ())


SPEEDS = st.floats(-5, 200) | st.just(math.nan)
TICKS = st.lists(st.none() | st.tuples(SPEEDS, st.none() | st.floats(-10, 370)), max_size=60)


@given(TICKS, st.booleans())
def test_every_null_is_explained_by_a_flag(
    ticks: list[tuple[float, float | None] | None], has_direction: bool
) -> None:
    """Whatever arrives: no speed, gust or direction is missing without a word."""
    quality, figures = _quality(has_direction), WindStatistics(RATE_HZ)
    for k, tick in enumerate(ticks):
        speed, direction = tick or (None, None)
        sample = _sample(k, speed, direction if has_direction else None, None if tick else "no answer")
        figures.add(quality.screen(sample))
    report = figures.close(15)
    grade, flags = quality.assess(report)
    explained = set(flags)
    absent = {"no-samples", "sensor-fault", "out-of-range"}
    if report.speed_mps is None:
        assert grade in ("missing", "fail")
        assert explained & absent
        return
    assert grade in ("good", "suspect")
    assert 0 <= report.speed_mps <= 113.3
    if report.gust_mps is None or report.lull_mps is None:
        assert "gust-missing" in explained
    if report.direction_deg is None:
        assert explained & {"calm", "no-direction", "direction-missing"}
    if report.vector_speed_mps is None:
        assert explained & {"no-direction", "direction-missing"}
    assert list(flags) == sorted(explained)
