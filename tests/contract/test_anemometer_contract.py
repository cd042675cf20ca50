"""Every anemometer keeps hw.anemometer.Anemometer's contract. A new driver adds one rig to RIGS."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hw.anemometer import Anemometer, WindSample
from hw.errors import HardwareError
from hw.registry import ANEMOMETERS, load
from hw.settings import parse
from tests.clock import FakeClock


@dataclass(frozen=True)
class Rig:
    """A driver on the bench.

    ``settings``: what it is configured with when all is well. ``faulty_settings``: with which it opens but
    has no value ``faulty_after_s`` seconds after its first read; None for a driver that cannot fail.
    """

    settings: Callable[[Path], Mapping[str, Any]]
    faulty_settings: Callable[[Path], Mapping[str, Any]] | None = None
    faulty_after_s: float = 0.0


def _recording(folder: Path, rows: int) -> dict[str, Any]:
    path = folder / f"{rows}.csv"
    lines = [f"{k / 4},{5 + k % 7},{k * 11 % 360}" for k in range(rows)]
    path.write_text("time_s,wind_speed_mps,wind_direction_deg\n" + "\n".join(lines))
    return {"file": str(path)}


RIGS = {
    "simulated": Rig(lambda _: {"seed": 1, "turbulence_intensity": 0.5}),
    "replay": Rig(lambda d: _recording(d, 1000), lambda d: _recording(d, 3), faulty_after_s=10.0),
}

Bench = tuple[Anemometer, FakeClock]


def _open(name: str, table: Mapping[str, Any], clock: FakeClock) -> Anemometer:
    driver = load(ANEMOMETERS, name)
    settings, errors = parse(driver.Settings, table)
    assert errors == []
    opened: Anemometer = driver.open(settings, clock)
    return opened


@pytest.fixture(params=sorted(RIGS))
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    clock = FakeClock()
    return _open(request.param, RIGS[request.param].settings(tmp_path), clock), clock


def _minute(bench: Bench) -> list[tuple[float, WindSample]]:
    anemometer, clock = bench
    samples = []
    for _ in range(240):
        samples.append((clock.monotonic(), anemometer.read(clock.monotonic())))
        clock.advance(0.25)
    return samples


def test_every_driver_has_a_rig() -> None:
    """No driver is registered without being held to the contract."""
    assert set(RIGS) == set(ANEMOMETERS)


@pytest.mark.parametrize("name", sorted(RIGS))
def test_a_driver_documents_itself_and_its_settings(name: str) -> None:
    """A driver has a docstring, and a frozen dataclass of settings with a line on each."""
    driver = load(ANEMOMETERS, name)
    assert driver.__doc__
    assert driver.Settings.__dataclass_params__.frozen
    assert all(field.metadata["doc"] for field in dataclasses.fields(driver.Settings))


def test_a_driver_says_what_it_is(bench: Bench) -> None:
    """Simulated, calibration and has_direction are there before the first read."""
    anemometer, _ = bench
    assert isinstance(anemometer.simulated, bool)
    assert isinstance(anemometer.has_direction, bool)
    assert anemometer.calibration is None or anemometer.calibration


def test_a_sample_is_stamped_with_the_time_of_its_reading(bench: Bench) -> None:
    """The sample's time is the ``now`` that was given."""
    assert all(sample.time_s == now for now, sample in _minute(bench))


def test_speed_is_finite_and_not_negative(bench: Bench) -> None:
    """A sample that is returned has a speed in m/s, or says why it has none."""
    for _, sample in _minute(bench):
        if sample.speed_mps is None:
            assert sample.fault
        else:
            assert math.isfinite(sample.speed_mps)
            assert sample.speed_mps >= 0


def test_direction_lies_within_the_circle(bench: Bench) -> None:
    """A direction is in [0, 360), and only an instrument with a vane gives one."""
    for _, sample in _minute(bench):
        if sample.direction_deg is not None:
            assert bench[0].has_direction
            assert 0 <= sample.direction_deg < 360


def test_raw_is_made_of_numbers(bench: Bench) -> None:
    """What the instrument itself said is a mapping of names to numbers."""
    for _, sample in _minute(bench):
        assert all(isinstance(value, (int, float)) for value in sample.raw.values())


@pytest.mark.parametrize("name", sorted(name for name, rig in RIGS.items() if rig.faulty_settings))
def test_a_fault_is_not_a_number(name: str, tmp_path: Path) -> None:
    """Where there is no value, read raises HardwareError with the cause."""
    rig, clock = RIGS[name], FakeClock()
    assert rig.faulty_settings
    anemometer = _open(name, rig.faulty_settings(tmp_path), clock)
    if rig.faulty_after_s:
        anemometer.read(clock.monotonic())
        clock.advance(rig.faulty_after_s)
    with pytest.raises(HardwareError) as caught:
        anemometer.read(clock.monotonic())
    assert str(caught.value)


def test_close_may_be_called_twice(bench: Bench) -> None:
    """Closing again does nothing."""
    bench[0].close()
    bench[0].close()


def test_a_closed_anemometer_reads_nothing(bench: Bench) -> None:
    """Reading after close raises HardwareError."""
    anemometer, clock = bench
    anemometer.read(clock.monotonic())
    anemometer.close()
    with pytest.raises(HardwareError, match="closed"):
        anemometer.read(clock.monotonic())
