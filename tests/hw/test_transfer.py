"""Hz, volts or counts to m/s."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.transfer import Line, Points, calibration_id, chosen

SPEED = st.floats(0, 100)


@st.composite
def tables(draw: st.DrawFn) -> tuple[tuple[float, float], ...]:
    count = draw(st.integers(2, 8))
    rising = {"min_size": count, "max_size": count, "unique_by": lambda figure: round(figure, 3)}
    xs, speeds = draw(st.lists(st.floats(0.1, 1000), **rising)), draw(st.lists(SPEED, **rising))
    return tuple(zip(sorted(xs), sorted(speeds), strict=True))


TABLE = tables()


def test_a_line_adds_its_offset_only_while_it_turns() -> None:
    """Slope times x plus offset; no pulses, no wind."""
    line = Line(0.765, 0.35)
    assert line.speed(5) == pytest.approx(4.175)
    assert line.speed(0) == 0
    assert line.speed(-1) == 0


def test_a_line_is_never_negative() -> None:
    """A negative offset is a threshold."""
    assert Line(1.0, -2.0).speed(1.5) == 0
    assert Line(1.0, -2.0).speed(3) == 1


@pytest.mark.parametrize(
    ("slope", "offset", "what"),
    [
        (0, 0, "slope"),
        (-1, 0, "slope"),
        (math.nan, 0, "slope"),
        (math.inf, 0, "slope"),
        (1, math.inf, "offset"),
    ],
)
def test_a_line_that_is_none_is_refused(slope: float, offset: float, what: str) -> None:
    """The message names the coefficient."""
    with pytest.raises(ValueError, match=what):
        Line(slope, offset)


def test_points_are_joined_by_lines() -> None:
    """Linear between two points, exact at each."""
    table = Points(((6, 4), (10, 7), (30, 20)))
    assert [table.speed(x) for x in (6, 8, 10, 20, 30)] == [4, 5.5, 7, 13.5, 20]


def test_points_go_on_beyond_their_ends() -> None:
    """Along the end segments, but never below 0, and no pulses are no wind."""
    table = Points(((6, 4), (10, 7), (30, 20)))
    assert table.speed(50) == pytest.approx(33)
    assert table.speed(2) == pytest.approx(1)
    assert table.speed(0.5) == 0
    assert table.speed(0) == 0
    assert Points(((2, 2), (4, 3))).speed(0) == 0
    assert Points(((0, 0.3), (4, 3))).speed(0) == 0


def test_a_table_of_volts_need_not_begin_at_zero() -> None:
    """0.4 to 2.0 V: at and below 0.4 V there is no wind."""
    table = Points(((0.4, 0), (2.0, 32.4)))
    assert table.speed(1.0) == pytest.approx(12.15)
    assert [table.speed(x) for x in (0.4, 0.3, 0, -2.048)] == [0, 0, 0, 0]


def test_a_table_may_reach_below_zero() -> None:
    """Where x can be negative by design, the table holds there too."""
    assert Points(((-1, 0), (1, 10))).speed(-0.5) == pytest.approx(2.5)
    assert Points(((-1, 0), (1, 10))).speed(0) == 5


def test_a_clamped_table_keeps_its_end_values() -> None:
    """At both ends, also at and below zero."""
    table = Points(((409, 0.5), (3686, 7.23)), clamp=True)
    assert [table.speed(x) for x in (-5, 0, 409, 3686, 4095)] == [0.5, 0.5, 0.5, 7.23, 7.23]


@pytest.mark.parametrize(
    ("points", "why"),
    [
        ((), "at least two"),
        (((1, 1),), "at least two"),
        (((1, 1), (1, 2)), "must rise"),
        (((2, 1), (1, 2)), "x must rise"),
        (((6, 4), (25.4, 1.6)), "the speed must rise from point to point, 1.6 m/s follows 4 m/s"),
        (((5, 4), (10, 8), (20, 8)), "the speed must rise"),
        (((1, 1), (2, math.nan)), "number 2 is not finite"),
        (((1, 1), (math.inf, 2)), "number 2 is not finite"),
        (((1, -1), (2, 2)), "number 1 has a negative"),
        (((1, 1, 1), (2, 2)), "number 1 has 3 figures"),
    ],
)
def test_points_that_are_none_are_refused(points: tuple[tuple[float, float], ...], why: str) -> None:
    """The message says which point, and what is wrong with it."""
    with pytest.raises(ValueError, match=why):
        Points(points)


@given(TABLE, st.floats(0, 2000), st.booleans())
def test_a_speed_is_finite_and_not_negative(
    points: tuple[tuple[float, float], ...], x: float, clamp: bool
) -> None:
    """Whatever the table, wherever x is."""
    speed = Points(points, clamp=clamp).speed(x)
    assert math.isfinite(speed)
    assert speed >= 0


@given(TABLE, st.data())
def test_between_two_points_the_speed_is_between_theirs(
    points: tuple[tuple[float, float], ...], data: st.DataObject
) -> None:
    """No overshoot."""
    n = data.draw(st.integers(0, len(points) - 2))
    (x0, v0), (x1, v1) = points[n : n + 2]
    speed = Points(points).speed(data.draw(st.floats(x0, x1)))
    assert min(v0, v1) - 1e-9 <= speed <= max(v0, v1) + 1e-9


@given(TABLE, st.data())
def test_the_figure_of_a_speed_is_the_inverse(
    points: tuple[tuple[float, float], ...], data: st.DataObject
) -> None:
    """Within the table, and on beyond it; and of a line."""
    table = Points(points)
    speed = data.draw(st.floats(points[0][1], points[-1][1]))
    assert table.speed(table.figure(speed)) == pytest.approx(speed, abs=1e-6)
    assert Points(((6, 4), (10, 7), (30, 20))).figure(33) == pytest.approx(50)
    assert Line(0.5, 1.0).figure(11) == pytest.approx(20)


def test_not_a_number_gives_none() -> None:
    """So that quality control rejects it: it is not 0."""
    assert math.isnan(Line(1).speed(math.nan))
    assert math.isnan(Points(((1, 1), (2, 2))).speed(math.nan))
    assert math.isnan(Points(((1, 1), (2, 2)), clamp=True).speed(math.nan))


def test_coefficients_without_a_name_get_one() -> None:
    """Readable for a line, a checksum for points; equal coefficients, equal names."""
    assert calibration_id(Line(0.62, 0.27)) == "slope-0.62-offset-0.27"
    assert calibration_id(Line(1.0)) == "slope-1"
    assert calibration_id(Points(((6, 4), (25.4, 16)))) == "points-0700fc41"
    assert calibration_id(Points(((6.0, 4.0), (25.4, 16.0)))) == "points-0700fc41"
    assert calibration_id(Points(((6, 4), (25.4, 16.1)))) != "points-0700fc41"
    assert calibration_id(Points(((6, 4), (25.4, 16)), clamp=True)) != "points-0700fc41"


MODEL = (Line(0.765, 0.35), "nrg-40c")


@pytest.mark.parametrize(
    ("model", "slope", "offset", "points", "speed_at_10", "name"),
    [
        (MODEL, None, None, None, 8.0, "nrg-40c"),
        (None, 0.62, None, None, 6.2, "slope-0.62"),
        (None, 0.62, 0.27, None, 6.47, "slope-0.62-offset-0.27"),
        (MODEL, 0.75, 0.4, None, 7.9, "slope-0.75-offset-0.4"),
        (MODEL, None, 0.3, None, 7.95, "slope-0.765-offset-0.3"),
        (MODEL, 0.75, None, None, 7.85, "slope-0.75-offset-0.35"),
    ],
)
def test_own_coefficients_stand_in_place_of_a_models(
    model: tuple[Line, str] | None,
    slope: float | None,
    offset: float | None,
    points: None,
    speed_at_10: float,
    name: str,
) -> None:
    """All of them or either, and what was used is in the name."""
    transfer, named = chosen(model, slope, offset, points)
    assert transfer.speed(10.0) == pytest.approx(speed_at_10)
    assert named == name


def test_points_stand_in_place_of_all_of_it() -> None:
    """Also where a model tells of something else."""
    transfer, name = chosen(MODEL, None, None, [[1, 2], [11, 12]])
    assert transfer.speed(10.0) == pytest.approx(11.0)
    assert name.startswith("points-")


@pytest.mark.parametrize(
    ("model", "slope", "offset", "points", "words"),
    [
        (None, None, None, None, 'set model = "…"'),
        (None, None, 0.3, None, "offset goes with slope"),
        ((Points(((0.4, 0.0), (2.0, 32.4))), "adafruit-1733"), None, 0.3, None, "offset goes with slope"),
        (None, 0.6, None, [[1, 2], [3, 4]], "set either"),
        (None, None, None, [], "at least two"),
    ],
)
def test_too_little_and_too_much_are_refused(
    model: tuple[Points, str] | None,
    slope: float | None,
    offset: float | None,
    points: list[list[float]] | None,
    words: str,
) -> None:
    """With what to set."""
    with pytest.raises(ValueError, match=words):
        chosen(model, slope, offset, points)
