"""The simulated wind is repeatable, and is like wind."""

from __future__ import annotations

import itertools
import math
import statistics
import time

import pytest

from agent.wind.statistics import WindStatistics
from hw.simulated.wind import SimulatedAnemometer

RATE_HZ = 4
HOUR = 3600 * RATE_HZ
START_S = 5000.0


def _wind(seed: int | None = 1, **settings: float) -> SimulatedAnemometer:
    return SimulatedAnemometer(SimulatedAnemometer.Settings(seed=seed, **settings))


def _speeds(anemometer: SimulatedAnemometer, count: int) -> list[float]:
    speeds = [anemometer.read(START_S + k / RATE_HZ).speed_mps for k in range(count)]
    return [speed for speed in speeds if speed is not None]


@pytest.fixture(scope="module", params=[1, 2, 3])
def hour(request: pytest.FixtureRequest) -> list[float]:
    """An hour of speeds at 4 Hz."""
    return _speeds(_wind(request.param), HOUR)


def test_the_same_seed_gives_the_same_series() -> None:
    """Two anemometers with one seed agree in every sample, whenever they were first read."""
    one, other = _wind(7), _wind(7)
    for k in range(2000):
        here, there = one.read(k / 4), other.read(8192 + k / 4)  # binary fractions: the sums are exact
        assert (here.speed_mps, here.direction_deg) == (there.speed_mps, there.direction_deg)


def test_the_series_does_not_depend_on_how_often_it_is_read() -> None:
    """Read at 4 Hz, at 1 Hz or in leaps, an instant has the same wind."""
    fast, slow, leaping = _wind(7), _wind(7), _wind(7)
    at_4_hz = [fast.read(k / 4) for k in range(4001)]
    assert [slow.read(float(k)) for k in range(1001)] == at_4_hz[::4]
    assert [leaping.read(0.0), leaping.read(1000.0)] == [at_4_hz[0], at_4_hz[4000]]


def test_different_seeds_differ() -> None:
    """Another seed is another series."""
    assert _speeds(_wind(1), 100) != _speeds(_wind(2), 100)


def test_without_a_seed_the_wind_is_new_and_tells_its_seed() -> None:
    """Two anemometers without a seed differ, and the seed in ``raw`` gives the series again."""
    one, other = _wind(None), _wind(None)
    first = one.read(START_S)
    assert first.speed_mps != other.read(START_S).speed_mps
    assert _wind(int(first.raw["seed"])).read(START_S).speed_mps == first.speed_mps


def test_the_mean_of_an_hour_is_near_the_setting(hour: list[float]) -> None:
    """The slow drift stays within a third of the mean that was set."""
    assert statistics.fmean(hour) == pytest.approx(7.0, rel=0.33)


def test_the_mean_drifts_over_hours() -> None:
    """Ten-minute means of a day spread by about the drift's 12 %."""
    anemometer = _wind(4)
    means = []
    for start_s in range(0, 86400, 1800):
        samples = (anemometer.read(start_s + 2.0 * k).speed_mps or 0.0 for k in range(300))
        means.append(statistics.fmean(samples))
    assert 0.06 < statistics.pstdev(means) / statistics.fmean(means) < 0.2


@pytest.mark.parametrize("intensity", [0.05, 0.15, 0.3])
def test_turbulence_has_the_intensity_that_was_set(intensity: float) -> None:
    """Standard deviation over mean, averaged over an hour's ten-minute blocks."""
    speeds = _speeds(_wind(5, turbulence_intensity=intensity), HOUR)
    blocks = [speeds[k : k + 2400] for k in range(0, HOUR, 2400)]
    measured = statistics.fmean(statistics.pstdev(b) / statistics.fmean(b) for b in blocks)
    assert measured == pytest.approx(intensity, rel=0.1, abs=0.01)


@pytest.mark.parametrize(("minutes", "low", "high"), [(1, 1.15, 1.4), (10, 1.3, 1.6)])
def test_gust_factors_are_those_of_real_wind(minutes: int, low: float, high: float) -> None:
    """3-s gust over mean at 15 % turbulence: about 1.25 in a minute, 1.4 in ten."""
    anemometer, figures, factors = _wind(6), WindStatistics(RATE_HZ), []
    for k in range(1, HOUR + 1):
        figures.add(anemometer.read(START_S + k / RATE_HZ))
        if k % (minutes * 60 * RATE_HZ) == 0:
            report = figures.close(minutes * 60)
            assert report.gust_mps
            assert report.speed_mps
            factors.append(report.gust_mps / report.speed_mps)
    assert low < statistics.fmean(factors) < high


def test_the_spectrum_falls_with_minus_five_thirds(hour: list[float]) -> None:
    """In the inertial range the mean square of increments grows with lag^(2/3) (Kolmogorov, 1941)."""

    def structure(lag: int) -> float:
        return statistics.fmean((b - a) ** 2 for a, b in zip(hour, hour[lag:], strict=False))

    slope = math.log(structure(8) / structure(2)) / math.log(4)
    assert slope == pytest.approx(2 / 3, abs=0.12)


def test_increments_are_those_of_real_wind(hour: list[float]) -> None:
    """From one sample at 4 Hz to the next, the speed changes by some tenths of a m/s, never by leaps."""
    steps = [b - a for a, b in itertools.pairwise(hour)]
    assert 0.2 < statistics.pstdev(steps) < 0.8
    assert max(map(abs, steps)) < 3.0


def test_the_direction_veers_around_the_setting() -> None:
    """Directions keep within the circle across north, swing, and average near the setting over a day."""
    anemometer = _wind(8, direction_deg=0.0)
    directions = [anemometer.read(30.0 * k).direction_deg for k in range(2880)]
    assert all(d is not None and 0 <= d < 360 for d in directions)
    turned = [(d + 180) % 360 - 180 for d in directions if d is not None]
    assert abs(statistics.fmean(turned)) < 15
    assert 10 < statistics.pstdev(turned) < 35


def test_without_mean_there_is_no_wind() -> None:
    """A mean of zero is a calm."""
    assert set(_speeds(_wind(1, mean_mps=0.0), 100)) == {0.0}


def test_the_cost_of_a_sample_is_printed() -> None:
    """Not asserted: a machine may be busy."""
    anemometer = _wind(9)
    began = time.perf_counter()
    _speeds(anemometer, 2000)
    print(f"\nsimulated wind: {(time.perf_counter() - began) / 2000 * 1e6:.0f} µs a sample")
