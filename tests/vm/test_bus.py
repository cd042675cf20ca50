"""An ADC and a magnetic vane on a simulated bus, as they come and go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .mast import Mast

ADC, VANE = 0x48, 0x36
MPS = 16.2  # of 1.2 V: the anemometer gives 0.4 to 2.0 V for 0 to 32.4 m/s
CODE = 9600  # of 1.2 V, at 4.096 V full scale in 15 bits


def _wire(mast: Mast) -> None:
    mast.registers(ADC, {0: CODE}, words=True)
    mast.registers(VANE, {0x0B: 0x20, 0x0C: 0x0C, 0x0D: 0x00, 0x1A: 64})  # a magnet, at 270 degrees


def _is_well(sample: dict[str, Any]) -> bool:
    return sample["fault"] is None and sample["windDirection"] is not None


@pytest.fixture(autouse=True)
def wired(mast: Mast) -> Iterator[None]:
    """Both chips answer, with wind in them."""
    _wire(mast)
    yield
    mast.machine.run("modprobe i2c-stub chip_addr=0x48,0x36")
    mast.chips(ADC, VANE)


def test_volts_and_angle_are_speed_and_direction(mast: Mast) -> None:
    """What stands in the chips' registers is read through /dev/i2c-0 as m/s and degrees."""
    sample = mast.sampled("volts", _is_well)
    assert sample["fault"] is None
    assert sample["windSpeed"] == pytest.approx(MPS, abs=0.01)
    assert sample["windDirection"] == 270.0
    assert sample["raw"]["volts"] == pytest.approx(1.2)
    assert sample["simulated"] is False


def test_a_chip_goes_and_comes_back(mast: Mast) -> None:
    """Without the ADC the fault says who does not answer; with it there is a value, without a restart."""
    before = mast.pid
    mast.chips(0x4B, VANE)
    gone = mast.sampled("volts", lambda sample: sample["windSpeed"] is None)
    assert gone["windSpeed"] is None
    assert "no answer from 0x48 on /dev/i2c-0" in gone["fault"]
    mast.chips(ADC, VANE)
    assert mast.sampled("volts", _is_well)["windSpeed"] == pytest.approx(MPS, abs=0.01)
    assert mast.pid == before


def test_a_vane_that_goes_leaves_the_speed(mast: Mast) -> None:
    """Without the vane there is a speed and no direction, and the fault says why."""
    mast.chips(ADC, 0x40)
    gone = mast.sampled("volts", lambda sample: sample["windDirection"] is None)
    assert gone["windSpeed"] == pytest.approx(MPS, abs=0.01)
    assert gone["windDirection"] is None
    assert "no answer from 0x36 on /dev/i2c-0" in gone["fault"]
    mast.chips(ADC, VANE)
    assert mast.sampled("volts", _is_well)["windDirection"] == 270.0


def test_the_bus_goes_and_comes_back(mast: Mast) -> None:
    """Without the adapter the fault names its device; with it there is a value, without a restart."""
    before = mast.pid
    mast.chips(0x4B, 0x40)  # whoever gets no answer closes the device, so that the module can go
    mast.machine.run("for i in $(seq 100); do modprobe -q -r i2c-stub && exit 0; sleep 0.1; done; exit 1")
    gone = mast.sampled("volts", lambda sample: "there is no" in (sample["fault"] or ""))
    assert "there is no /dev/i2c-0" in gone["fault"]
    mast.machine.run(f"modprobe i2c-stub chip_addr={ADC},{VANE}")
    _wire(mast)
    assert mast.sampled("volts", _is_well)["windSpeed"] == pytest.approx(MPS, abs=0.01)
    assert mast.pid == before
