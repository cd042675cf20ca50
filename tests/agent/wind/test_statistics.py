"""The figures of a report equal a brute-force reference, and no gap, burst or border bends them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wind.statistics import WindReport, WindStatistics
from hw.anemometer import WindSample

RATE_HZ = 4.0


def _sample(time_s: float, speed: float | None, direction: float | None = None) -> WindSample:
    return WindSample(time_s, speed, direction)


def _report(samples: Iterable[WindSample], interval_s: float = 60.0) -> WindReport:
    figures = WindStatistics(RATE_HZ)
    for sample in samples:
        figures.add(sample)
    return figures.close(interval_s)


def _steady(count: int, speed: float = 5.0, start: int = 0) -> list[WindSample]:
    return [_sample((start + k) / RATE_HZ, speed) for k in range(count)]


def _blowing(*winds: tuple[float, float]) -> WindReport:
    """A report on winds of (speed, direction)."""
    return _report(_sample(k / RATE_HZ, speed, direction) for k, (speed, direction) in enumerate(winds))


def test_an_empty_interval_has_no_figures() -> None:
    """Nothing measured, nothing said."""
    assert _report([]) == WindReport(240, 0, 0, None, None, None, None, None, None)


def test_missing_samples_count_as_missing_only() -> None:
    """A sample without a speed is not a calm."""
    samples = [_sample(0.0, 4.0), _sample(0.25, None), _sample(0.5, None, 90.0), _sample(0.75, 6.0)]
    report = _report(samples, interval_s=1.0)
    assert (report.samples_expected, report.samples_valid, report.speed_mps) == (4, 2, 5.0)
    assert report.speed_std_mps == 1.0
    assert report.direction_deg is None


def test_each_interval_starts_afresh() -> None:
    """Mean, deviation, extremes and direction of one report know nothing of the one before."""
    figures = WindStatistics(RATE_HZ)
    for sample in _steady(240, speed=20.0):
        figures.add(sample)
    figures.close(60)
    for k in range(240, 480):
        figures.add(_sample(k / RATE_HZ + 60, 5.0, 90.0))
    report = figures.close(60)
    assert (report.speed_mps, report.speed_std_mps, report.samples_valid) == (5.0, 0.0, 240)
    assert (report.gust_mps, report.lull_mps) == (5.0, 5.0)
    assert report.direction_deg == pytest.approx(90)


def test_the_running_window_reaches_over_the_border() -> None:
    """A gust across two intervals belongs to the one in which its window ends, at full height."""
    figures = WindStatistics(RATE_HZ)
    speeds = [5.0] * 234 + [11.0] * 12 + [5.0] * 234  # half of the gust on either side
    reports = []
    for k, speed in enumerate(speeds, start=1):
        figures.add(_sample(k / RATE_HZ, speed))
        if k % 240 == 0:
            reports.append(figures.close(60))
    assert [r.gust_mps for r in reports] == [8.0, 11.0]


def test_reports_shorter_than_the_window_have_gusts() -> None:
    """With a report each second, the first two have no gust, and all later ones do."""
    figures = WindStatistics(RATE_HZ)
    gusts = []
    for k in range(1, 41):
        figures.add(_sample(k / RATE_HZ, float(k)))
        if k % 4 == 0:
            gusts.append(figures.close(1).gust_mps)
    assert gusts[:2] == [None, None]
    assert gusts[2:] == [k - 5.5 for k in range(12, 41, 4)]


@pytest.mark.parametrize(("count", "complete"), [(10, False), (11, True), (12, True)])
def test_a_window_needs_nine_tenths_of_its_samples(count: int, complete: bool) -> None:
    """At 4 Hz, 11 of 12."""
    report = _report(_steady(count))
    assert (report.gust_mps is not None) is complete


def test_a_window_holds_three_seconds_and_not_a_sample_more() -> None:
    """The sample that is exactly 3 s old is out, however time stamps round."""
    for start_s in (0.0, 0.1, 12_345.678, 3e7 / 7):
        speeds = [100.0] + [4.0] * 12
        report = _report(_sample(start_s + k * 0.25, speed) for k, speed in enumerate(speeds))
        assert report.lull_mps == 4.0


def test_samples_that_come_a_little_early_or_late_stay_in_their_windows() -> None:
    """With 50 ms of jitter each window holds twelve, so that a pattern of twelve has a constant mean."""
    figures = WindStatistics(RATE_HZ)
    reports = []
    for k in range(1, 253):
        jitter_s = (k * 7 % 11 - 5) / 100
        figures.add(_sample(k / RATE_HZ + jitter_s, float(k % 12)))
        if k in (12, 252):
            reports.append(figures.close(60))
    assert (reports[1].lull_mps, reports[1].gust_mps) == (5.5, 5.5)


def test_a_gap_makes_no_gust() -> None:
    """A single high sample after a gap is no gust; the window must fill again first."""
    samples = [*_steady(20), _sample(60.0, 50.0), *_steady(8, start=241)]
    report = _report(samples)
    assert report.gust_mps == 5.0


def test_a_burst_after_a_stall_makes_no_gust() -> None:
    """Twelve samples in a tenth of a second do not make three seconds of wind."""
    samples = _steady(20) + [_sample(60 + k / 100, 50.0) for k in range(12)]
    assert _report(samples).gust_mps == 5.0


def test_samples_at_one_instant_do_no_harm() -> None:
    """A time stamp that stands still divides by nothing."""
    report = _report(_sample(5.0, 7.0) for _ in range(100))
    assert (report.speed_mps, report.gust_mps) == (7.0, None)


def test_other_rates_have_their_own_windows() -> None:
    """Thirty samples at 10 Hz, three at 1 Hz."""
    for rate_hz, count in ((10.0, 30), (1.0, 3), (3.3, 10), (20.0, 60)):
        figures = WindStatistics(rate_hz)
        for k in range(3 * count):
            figures.add(_sample(1000 + k / rate_hz, float(k % count)))
        report = figures.close(9)
        assert report.gust_mps is not None
        assert report.samples_expected == round(9 * rate_hz)


def test_the_window_can_be_of_another_length() -> None:
    """A window of one sample's length has the peak as its gust."""
    figures = WindStatistics(RATE_HZ, gust_window_s=0.25)
    for sample in (*_steady(10), _sample(2.5, 9.0)):
        figures.add(sample)
    report = figures.close(3)
    assert (report.gust_mps, report.lull_mps) == (9.0, 5.0)


def test_a_direction_across_north_is_north() -> None:
    """350° and 10° average to 0°, not to 180°."""
    report = _blowing((5.0, 350.0), (5.0, 10.0))
    assert report.direction_deg is not None
    assert min(report.direction_deg, 360 - report.direction_deg) < 1e-9
    assert report.vector_speed_mps == pytest.approx(5 * math.cos(math.radians(10)))


def test_the_direction_is_weighted_by_speed() -> None:
    """Three metres from the south and four from the west are five from 233°."""
    report = _blowing((3.0, 180.0), (4.0, 270.0))
    assert report.direction_deg == pytest.approx(math.degrees(math.atan2(-4, -3)) % 360)
    assert report.vector_speed_mps == pytest.approx(2.5)


def test_calm_has_no_direction() -> None:
    """Below 0.5 m/s on the mean, a vane points anywhere; the vector speed is still known."""
    calm, breeze = _blowing((0.49, 90.0)), _blowing((0.5, 90.0))
    assert calm.direction_deg is None
    assert calm.vector_speed_mps == pytest.approx(0.49)
    assert breeze.direction_deg == pytest.approx(90)


def test_winds_that_cancel_out_have_no_direction() -> None:
    """Five from the east and five from the west come from nowhere."""
    report = _blowing((5.0, 90.0), (5.0, 270.0))
    assert (report.speed_mps, report.direction_deg) == (5.0, None)
    assert report.vector_speed_mps == pytest.approx(0, abs=1e-12)


def test_samples_without_direction_are_left_out_of_the_vector() -> None:
    """Their speed is in the mean all the same."""
    report = _report([_sample(0.0, 4.0, 90.0), _sample(0.25, 8.0)])
    assert (report.samples_valid, report.samples_directed, report.speed_mps) == (2, 1, 6.0)
    assert report.vector_speed_mps == pytest.approx(4.0)


def test_a_direction_is_never_360() -> None:
    """A hair west of north is folded into [0, 360)."""
    report = _blowing(*[(5.0, 360 - 1e-14), (5.0, 0.0)] * 5)
    assert report.direction_deg is not None
    assert 0 <= report.direction_deg < 360


def test_nothing_drifts_over_a_hundred_thousand_samples() -> None:
    """After 10^5 samples on a high mean, deviation and running mean are exact to a billionth."""
    figures = WindStatistics(RATE_HZ)
    speeds = [100.0 + (k % 12) * 1e-4 for k in range(100_800)]
    for k, speed in enumerate(speeds):
        figures.add(_sample(k / RATE_HZ, speed, 200.0))
    report = figures.close(25_200)
    assert report.speed_mps == pytest.approx(math.fsum(speeds) / len(speeds), rel=1e-12)
    assert report.speed_std_mps == pytest.approx(statistics.pstdev(speeds[:12]), rel=1e-9)
    assert report.vector_speed_mps == pytest.approx(report.speed_mps, rel=1e-10)
    window = math.fsum(speeds[:12]) / 12
    # the very first window may be one sample short, and is then a little lower
    assert report.gust_mps == pytest.approx(window, abs=1e-9)
    figures.add(_sample(25_200.0, 100.0))
    assert figures.close(0.25).gust_mps == pytest.approx(window, rel=1e-15)


SPEEDS = st.floats(0, 60)
DIRECTIONS = st.floats(0, 360, exclude_max=True)
SERIES = st.lists(st.none() | st.tuples(SPEEDS, st.none() | DIRECTIONS), max_size=120)


def _brute_force(ticks: list[tuple[float, float | None] | None], first: int, end: int) -> WindReport:
    """The report on ``ticks[first:end]`` (4 Hz, None for missing), by definition and without any state."""
    valid = [tick for tick in ticks[first:end] if tick is not None]
    windows = []
    for k in range(first, end):
        window = [tick[0] for tick in ticks[max(0, k - 11) : k + 1] if tick is not None]
        # both the latest sample, and what makes the window long enough, are there
        early = any(tick is not None for tick in ticks[max(0, k - 11) : max(0, k - 9)])
        if ticks[k] is not None and len(window) >= 11 and early:
            windows.append(statistics.fmean(window))
    speeds = [speed for speed, _ in valid]
    mean = statistics.fmean(speeds) if speeds else None
    polar = [(s, math.radians(d)) for s, d in valid if d is not None]
    vectors = [(s * math.sin(a), s * math.cos(a)) for s, a in polar]
    vector_speed = direction = None
    if vectors:
        east, north = (math.fsum(c) / len(vectors) for c in zip(*vectors, strict=True))
        vector_speed = math.hypot(east, north)
        if mean is not None and mean >= 0.5:
            direction = math.degrees(math.atan2(east, north)) % 360
    return WindReport(
        end - first,
        len(valid),
        len(vectors),
        mean,
        max(windows, default=None),
        min(windows, default=None),
        statistics.pstdev(speeds) if speeds else None,
        direction,
        vector_speed,
    )


def _near(one: float | None, other: float | None) -> bool:
    return one is other or (one is not None and other is not None and one == pytest.approx(other, abs=1e-6))


@given(SERIES, st.integers(0, 120), st.floats(0, 1e6))
def test_figures_equal_a_brute_force_reference(
    ticks: list[tuple[float, float | None] | None], border: int, start_s: float
) -> None:
    """Any series with gaps, cut into two intervals anywhere, at any time since boot."""
    border = min(border, len(ticks))
    figures = WindStatistics(RATE_HZ)
    for first, end in ((0, border), (border, len(ticks))):
        for k in range(first, end):
            speed, direction = ticks[k] or (None, None)
            figures.add(_sample(start_s + k / RATE_HZ, speed, direction))
        got = figures.close((end - first) / RATE_HZ)
        want = _brute_force(ticks, first, end)
        for name in ("samples_expected", "samples_valid", "samples_directed"):
            assert getattr(got, name) == getattr(want, name)
        for name in ("speed_mps", "gust_mps", "lull_mps", "speed_std_mps", "vector_speed_mps"):
            assert _near(getattr(got, name), getattr(want, name)), name
        clear = want.vector_speed_mps is not None and want.vector_speed_mps > 1e-3
        if clear and want.speed_mps is not None and abs(want.speed_mps - 0.5) > 1e-6:
            assert (got.direction_deg is None) == (want.direction_deg is None)
            if got.direction_deg is not None and want.direction_deg is not None:
                turn = (got.direction_deg - want.direction_deg + 180) % 360 - 180
                assert abs(turn) < 1e-3


@given(st.lists(SPEEDS, min_size=1, max_size=60), st.floats(0.1, 3), st.floats(0, 359.9), st.floats(0, 359.9))
def test_figures_scale_and_turn_with_the_wind(
    speeds: list[float], factor: float, direction: float, turn: float
) -> None:
    """Twice the wind has twice the figures; a mast turned by an angle has the direction turned by it."""
    one = _report(_sample(k / RATE_HZ, s, direction) for k, s in enumerate(speeds))
    turned = (direction + turn) % 360
    other = _report(_sample(k / RATE_HZ, s * factor, turned) for k, s in enumerate(speeds))
    for name in ("speed_mps", "gust_mps", "lull_mps", "speed_std_mps", "vector_speed_mps"):
        value = getattr(one, name)
        assert _near(getattr(other, name), value if value is None else value * factor), name
    if other.direction_deg is not None:
        assert abs((other.direction_deg - turned + 180) % 360 - 180) < 1e-6


@given(st.lists(SPEEDS, min_size=12, max_size=80))
def test_gust_and_lull_enclose_the_running_mean_and_lie_within_the_extremes(speeds: list[float]) -> None:
    """lowest ≤ lull ≤ gust ≤ highest."""
    report = _report(_sample(k / RATE_HZ, s) for k, s in enumerate(speeds))
    assert report.gust_mps is not None
    assert report.lull_mps is not None
    assert min(speeds) - 1e-9 <= report.lull_mps <= report.gust_mps <= max(speeds) + 1e-9
