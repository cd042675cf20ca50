"""The simulated vane is repeatable and veers; and how a vane's angle becomes a direction."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.errors import DeviceUnavailable
from hw.settings import parse
from hw.simulated.vane import SimulatedVane
from hw.vane_mounting import direction
from tests.clock import FakeClock


def _vane(**table: object) -> SimulatedVane:
    settings, errors = parse(SimulatedVane.Settings, table)
    assert errors == []
    assert settings
    return SimulatedVane.open(settings, FakeClock())


def _off(degrees: float, mean: float) -> float:
    """The signed difference of two directions."""
    return (degrees - mean + 180) % 360 - 180


def test_the_same_seed_gives_the_same_series() -> None:
    """Two vanes with one seed agree in every sample, whenever they were first read and how often."""
    one, other = _vane(seed=7), _vane(seed=7)
    here = [one.read(k / 4) for k in range(4001)]
    assert [other.read(8192 + k).direction_deg for k in range(1001)] == [s.direction_deg for s in here[::4]]


def test_without_a_seed_it_is_new_and_tells_its_seed() -> None:
    """The seed in ``raw`` gives the series again."""
    first = _vane().read(0.0)
    assert first.direction_deg != _vane().read(0.0).direction_deg
    assert _vane(seed=int(first.raw["seed"])).read(5.0).direction_deg == first.direction_deg


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_it_veers_slowly_and_jitters_about_its_mean(seed: int) -> None:
    """Over a day it stays about the configured direction; from second to second it moves a little."""
    vane = _vane(seed=seed, direction_deg=355.0)
    offs = [_off(vane.read(float(t)).direction_deg, 355.0) for t in range(0, 86_400, 10)]
    assert abs(sum(offs) / len(offs)) < 8
    assert 12 < math.sqrt(sum(off * off for off in offs) / len(offs)) < 28
    near = [_off(vane.read(t / 4).direction_deg, 355.0) for t in range(400)]
    steps = [abs(b - a) for a, b in itertools.pairwise(near)]
    assert 0 < max(steps) < 30


def test_every_direction_lies_within_the_circle() -> None:
    """Also about north, where it goes round."""
    vane = _vane(seed=4, direction_deg=0.0)
    assert all(0 <= vane.read(t / 4).direction_deg < 360 for t in range(4000))


def test_it_says_that_it_is_simulated() -> None:
    """It stands at no mast."""
    assert SimulatedVane.simulated


def test_a_closed_vane_reads_nothing() -> None:
    """After close, which may be called twice, read raises."""
    vane = _vane(seed=1)
    vane.read(0.0)
    vane.close()
    vane.close()
    with pytest.raises(DeviceUnavailable, match="closed"):
        vane.read(1.0)


@pytest.mark.parametrize(
    ("electrical", "offset", "clockwise", "expected"),
    [
        (0.0, 0.0, True, 0.0),
        (90.0, 30.0, True, 120.0),
        (90.0, 30.0, False, 300.0),
        (350.0, 20.0, True, 10.0),
        (10.0, -20.0, True, 350.0),
        (0.0, 360.0, True, 0.0),
        (0.0, -360.0, False, 0.0),
        (1e-15, 0.0, False, 0.0),
    ],
)
def test_the_mounting_turns_and_mirrors(
    electrical: float, offset: float, clockwise: bool, expected: float
) -> None:
    """The offset is where the vane points at 0; the angle may fall as the vane turns clockwise."""
    assert direction(electrical, offset, clockwise) == expected


@given(st.floats(-1e4, 1e4), st.floats(-360, 360), st.booleans())
def test_a_direction_is_never_360(electrical: float, offset: float, clockwise: bool) -> None:
    """Whatever the angles, the result is in [0, 360)."""
    assert 0 <= direction(electrical, offset, clockwise) < 360
