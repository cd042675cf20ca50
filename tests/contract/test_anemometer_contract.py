"""Every anemometer keeps hw.anemometer.Anemometer's contract. A new driver adds one rig to RIGS."""

from __future__ import annotations

import dataclasses
import math

import pytest

from hw.anemometer import WindSample
from hw.errors import BadSample, HardwareError
from hw.registry import ANEMOMETERS, load

from .anemometer_rigs import RIGS
from .lab import PERIOD_S, Bench, Lab

WARM_UP_S = 10.0
"""Until then a cup may not have turned, a counter not have counted."""


@pytest.fixture(params=sorted(RIGS))
def bench(request: pytest.FixtureRequest, lab: Lab) -> Bench:
    return _bench(request.param, lab)


def _bench(name: str, lab: Lab) -> Bench:
    return Bench(ANEMOMETERS, RIGS[name].driver or name, RIGS[name], lab)


def _minute(bench: Bench) -> list[WindSample]:
    samples = []
    for _ in range(round(60 / PERIOD_S)):
        bench.pass_by()
        try:
            samples.append(bench.read())
        except BadSample:
            assert len(samples) * PERIOD_S < WARM_UP_S
    return samples


def _value(bench: Bench, within_s: float = WARM_UP_S) -> WindSample:
    """The first sample with a speed."""
    for _ in range(round(within_s / PERIOD_S)):
        bench.pass_by()
        try:
            sample: WindSample = bench.read()
        except HardwareError:
            continue
        if sample.speed_mps is not None:
            return sample
    pytest.fail(f"no value within {within_s} s")


def test_every_driver_has_a_rig() -> None:
    """No driver is registered without being held to the contract."""
    assert {rig.driver or name for name, rig in RIGS.items()} == set(ANEMOMETERS)


@pytest.mark.parametrize("name", sorted(ANEMOMETERS))
def test_a_driver_documents_itself_and_its_settings(name: str) -> None:
    """A driver has a docstring, and a frozen dataclass of settings with a line on each."""
    driver = load(ANEMOMETERS, name)
    assert driver.__doc__
    assert driver.Settings.__dataclass_params__.frozen
    assert all(field.metadata["doc"] for field in dataclasses.fields(driver.Settings))


def test_a_driver_says_what_it_is(bench: Bench) -> None:
    """Simulated, calibration and has_direction are there before the first read."""
    assert isinstance(bench.device.simulated, bool)
    assert isinstance(bench.device.has_direction, bool)
    assert bench.device.calibration is None or bench.device.calibration


def test_what_is_measured_names_its_calibration(bench: Bench) -> None:
    """A real instrument's transfer function travels with the data; an invented wind has none."""
    assert bench.device.simulated == (bench.device.calibration is None)


def test_a_sample_is_stamped_with_the_time_of_its_reading(bench: Bench) -> None:
    """The sample's time is the ``now`` that was given."""
    assert _value(bench).time_s == bench.lab.clock.monotonic()


def test_there_is_a_speed_within_the_warm_up_and_then_always(bench: Bench) -> None:
    """While all is well, no sample is missing, and each speed is finite and not negative."""
    samples = _minute(bench)
    assert len(samples) >= (60 - WARM_UP_S) / PERIOD_S
    for sample in samples:
        assert sample.speed_mps is not None
        assert math.isfinite(sample.speed_mps)
        assert sample.speed_mps >= 0


def test_the_wind_of_the_bench_blows(bench: Bench) -> None:
    """The rigs are not all calm: what is measured is not a default."""
    assert max(sample.speed_mps or 0 for sample in _minute(bench)) > 1


def test_direction_lies_within_the_circle(bench: Bench) -> None:
    """A direction is in [0, 360), and only an instrument with a vane gives one."""
    for sample in _minute(bench):
        if sample.direction_deg is not None:
            assert bench.device.has_direction
            assert 0 <= sample.direction_deg < 360


def test_raw_is_made_of_numbers(bench: Bench) -> None:
    """What the instrument itself said is a mapping of names to numbers, and there is something in it."""
    for sample in _minute(bench):
        assert sample.raw
        assert all(isinstance(value, (int, float)) for value in sample.raw.values())


@pytest.mark.parametrize("name", sorted(name for name, rig in RIGS.items() if rig.unplug))
def test_a_fault_is_not_a_number_and_passes_by_itself(name: str, lab: Lab) -> None:
    """Where there is no value, read raises HardwareError with the cause; when it is mended, values return."""
    bench = _bench(name, lab)
    _value(bench)
    rig = bench.rig
    assert rig.unplug is not None
    rig.unplug(lab)
    for _ in range(20):
        bench.pass_by()
        with pytest.raises(HardwareError) as caught:
            bench.read()
        assert str(caught.value)
    if rig.plug is not None:
        rig.plug(lab)
        assert _value(bench).speed_mps is not None


@pytest.mark.parametrize("name", sorted(name for name, rig in RIGS.items() if rig.plug))
def test_an_instrument_may_come_later_than_the_driver(name: str, lab: Lab) -> None:
    """Opening does not need it; it is used as soon as it is there."""
    bench = _bench(name, lab)
    rig = bench.rig
    assert rig.unplug is not None
    assert rig.plug is not None
    rig.unplug(lab)
    with pytest.raises(HardwareError):
        bench.read()
    rig.plug(lab)
    assert _value(bench).speed_mps is not None


def test_close_may_be_called_twice(bench: Bench) -> None:
    """Closing again does nothing."""
    bench.device.close()
    bench.device.close()
    assert bench.lab.i2c.open_fds == 0


def test_a_closed_anemometer_reads_nothing(bench: Bench) -> None:
    """Reading after close raises HardwareError."""
    _value(bench)
    bench.device.close()
    with pytest.raises(HardwareError, match="closed"):
        bench.read()


def test_what_is_closed_can_be_opened_again(bench: Bench) -> None:
    """Pin and bus are free afterwards."""
    bench.device.close()
    assert bench.lab.i2c.open_fds == 0
    bench.device = bench.open()
    assert _value(bench).speed_mps is not None
