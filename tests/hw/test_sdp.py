"""The pitot tube on an SDP3x or SDP8xx: its arithmetic, how it is started, and how it comes back."""

from __future__ import annotations

import errno
import math
from typing import Any

import pytest
import smbus2.smbus2 as smbus2
from hypothesis import given
from hypothesis import strategies as st

from hw.anemometer import WindSample
from hw.errors import BadSample, DeviceUnavailable, HardwareError
from hw.i2c.sdp import SdpPitot, air_density, crc8
from hw.settings import parse
from tests import i2c
from tests.clock import FakeClock
from tests.hw.chips import Level, SdpChip, sdp_crc

STEP_S = 0.25


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> i2c.FakeI2C:
    return i2c.install(monkeypatch)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def chip(fake: i2c.FakeI2C, clock: FakeClock) -> SdpChip:
    fake.chips[1][0x25] = chip = SdpChip(clock)
    return chip


def _pitot(clock: FakeClock, **table: object) -> SdpPitot:
    settings, errors = parse(SdpPitot.Settings, table)
    assert errors == []
    assert settings
    return SdpPitot.open(settings, clock)


def _read(pitot: SdpPitot, clock: FakeClock) -> WindSample | HardwareError:
    """One read, a sampling period after the last."""
    clock.advance(STEP_S)
    try:
        return pitot.read(clock.monotonic())
    except HardwareError as error:
        return error


def _measuring(pitot: SdpPitot, clock: FakeClock, reads: int = 4) -> WindSample:
    """The first sample, which comes within so many reads; until then there are faults only."""
    for _ in range(reads):
        seen = _read(pitot, clock)
        if isinstance(seen, WindSample):
            return seen
    raise AssertionError(f"no sample in {reads} reads, but {seen}")


def test_the_checksum_is_sensirions() -> None:
    """0xBEEF has 0x92, and a dead bus's words are wrong."""
    assert crc8(b"\xbe\xef") == 0x92
    assert crc8(b"\x00\x00") != 0x00
    assert crc8(b"\xff\xff") != 0xFF


@given(st.binary(min_size=2, max_size=2))
def test_the_checksum_is_the_polynomials_remainder(word: bytes) -> None:
    """The driver's checksum agrees with the chip's, which is reckoned another way."""
    assert crc8(word) == sdp_crc(word)


def test_the_density_of_air() -> None:
    """The standard atmosphere has 1.225 kg/m³ at sea level, 1.112 at 1000 m."""
    assert air_density(15.0, 1013.25) == pytest.approx(1.225, abs=1e-4)
    assert air_density(8.5, 898.75) == pytest.approx(1.1117, abs=1e-3)


def test_a_frame_becomes_a_speed(chip: SdpChip, clock: FakeClock) -> None:
    """3675 counts at 60 a pascal are 61.25 Pa, and that is 10 m/s at 1.225 kg/m³."""
    chip.pressure, chip.temperature = 3675, 5000
    pitot = _pitot(clock)
    sample = _measuring(pitot, clock)
    assert chip.read(9).hex(" ") == "0e 5b 78 13 88 01 00 3c 39"
    assert sample.speed_mps == pytest.approx(10.0, abs=1e-4)
    assert sample.raw == {"pascal": 61.25, "celsius": 25.0}
    assert sample.time_s == clock.monotonic()


@pytest.mark.parametrize("scale", [20, 60, 240])
def test_the_scale_is_the_sensors_own(chip: SdpChip, clock: FakeClock, scale: int) -> None:
    """Each range of the family tells its scale, which is believed."""
    chip.scale, chip.pressure = scale, 50 * scale
    assert _measuring(_pitot(clock), clock).raw["pascal"] == 50.0


@pytest.mark.parametrize("scale", [0, -60, 1001])
def test_a_scale_that_cannot_be_is_a_fault(chip: SdpChip, clock: FakeClock, scale: int) -> None:
    """No division by zero, no negative speed: a strange scale is a fault."""
    pitot = _pitot(clock)
    _measuring(pitot, clock)
    chip.scale = scale
    assert f"scale {scale} " in str(_read(pitot, clock))


def test_the_density_is_in_the_speed_and_in_the_calibration(chip: SdpChip, clock: FakeClock) -> None:
    """Thin air blows faster at the same pressure, and the density that was reckoned with is told."""
    assert _pitot(clock).calibration == "pitot-rho-1.225"
    chip.pressure = 3675
    high = _pitot(clock, temperature_c=-5.0, pressure_hpa=700.0)
    assert high.calibration == "pitot-rho-0.9094"
    assert _measuring(high, clock).speed_mps == pytest.approx(math.sqrt(2 * 61.25 / 0.9094), abs=1e-3)


@pytest.mark.parametrize("pressure", [0, -1, -60])
def test_noise_about_zero_is_a_calm(chip: SdpChip, clock: FakeClock, pressure: int) -> None:
    """Down to −1 Pa the speed is 0."""
    chip.pressure = pressure
    assert _measuring(_pitot(clock), clock).speed_mps == 0.0


@pytest.mark.parametrize("pressure", [-61, -3675, -32768])
def test_suction_is_a_fault(chip: SdpChip, clock: FakeClock, pressure: int) -> None:
    """Below −1 Pa the hoses are swapped; the measurement goes on, and the next good value is taken."""
    pitot = _pitot(clock)
    _measuring(pitot, clock)
    chip.pressure = pressure
    assert "hoses swapped" in str(_read(pitot, clock))
    chip.pressure = 3675
    sample = _read(pitot, clock)
    assert isinstance(sample, WindSample)
    assert chip.starts == 1


def test_beyond_its_range_there_is_no_value(chip: SdpChip, clock: FakeClock) -> None:
    """A word at its end is a fault, not the highest speed."""
    pitot = _pitot(clock)
    chip.pressure = 32766
    assert _measuring(pitot, clock).speed_mps == pytest.approx(29.86, abs=0.01)
    chip.pressure = 32767
    assert "546 Pa or more" in str(_read(pitot, clock))


def test_open_does_not_touch_the_bus_and_the_first_read_starts_the_measurement(
    fake: i2c.FakeI2C, chip: SdpChip, clock: FakeClock
) -> None:
    """Stop, start, value: three reads, the first two of them faults that say so, and none waits."""
    pitot = _pitot(clock)
    assert fake.transfers == []
    for _ in range(2):
        with pytest.raises(BadSample, match="just started"):
            pitot.read(clock.monotonic())
        clock.advance(STEP_S)
    assert pitot.read(clock.monotonic()).speed_mps == 0.0
    assert [sent for _, _, ((_, sent),) in fake.transfers[:2]] == [b"\x3f\xf9", b"\x36\x15"]


def test_it_is_given_its_20_ms(fake: i2c.FakeI2C, chip: SdpChip, clock: FakeClock) -> None:
    """Read in haste, it says that it was just started, and the first value is an accurate one."""
    chip.pressure = 3675
    pitot = _pitot(clock)
    seen: list[WindSample | str] = []
    for _ in range(30):
        clock.advance(0.005)
        try:
            seen.append(pitot.read(clock.monotonic()))
        except BadSample as error:
            seen.append(str(error))
    samples = [sample for sample in seen if isinstance(sample, WindSample)]
    assert len(samples) > 10
    assert {sample.raw["pascal"] for sample in samples} == {61.25}
    assert all("just started" in text for text in seen if isinstance(text, str))


def test_the_20_ms_begin_when_the_bus_has_been_written_to(
    fake: i2c.FakeI2C, chip: SdpChip, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that waits for another chip's transfer is not taken for one of the step's beginning."""
    chip.pressure = 3675
    pitot = _pitot(clock)
    _read(pitot, clock)
    ioctl = fake.ioctl

    def contended(*arguments: Any) -> int:
        clock.advance(0.2)
        return ioctl(*arguments)

    clock.advance(STEP_S)
    monkeypatch.setattr(smbus2, "ioctl", contended)
    with pytest.raises(BadSample, match="just started"):
        pitot.read(clock.monotonic())
    monkeypatch.setattr(smbus2, "ioctl", ioctl)
    clock.advance(0.012)  # the step after is overdue, and begins at once
    with pytest.raises(BadSample, match="it needs 20 ms"):
        pitot.read(clock.monotonic())
    assert _measuring(pitot, clock, reads=1).raw["pascal"] == 61.25


@pytest.mark.parametrize("stops_idle", [True, False])
def test_a_sensor_that_was_left_measuring_or_idle_is_started(
    chip: SdpChip, clock: FakeClock, stops_idle: bool
) -> None:
    """After a restart of ours it may measure or not, and may or may not acknowledge a stop: it gets going."""
    chip.stops_idle = stops_idle
    _measuring(_pitot(clock), clock)
    _measuring(_pitot(clock), clock)  # while it measures
    assert chip.starts == 2


@pytest.mark.parametrize("byte", [2, 5, 8, 0])
def test_a_wrong_checksum_is_no_value(chip: SdpChip, clock: FakeClock, byte: int) -> None:
    """One wrong bit in any word is a fault, and the next read has a value: noise does not stop the sensor."""
    pitot = _pitot(clock)
    chip.pressure = 3675
    _measuring(pitot, clock)
    for _ in range(3):
        chip.noise = bytes(0x04 if k == byte else 0 for k in range(9))
        assert "checksum" in str(_read(pitot, clock))
        chip.noise = bytes(9)
        assert _measuring(pitot, clock, reads=1).speed_mps == pytest.approx(10.0, abs=1e-4)
    assert chip.starts == 1


def test_two_wrong_checksums_in_a_row_start_the_measurement_again(chip: SdpChip, clock: FakeClock) -> None:
    """What answers may not be a measurement; values follow."""
    pitot = _pitot(clock)
    _measuring(pitot, clock)
    chip.noise = bytes([0, 0, 1, 0, 0, 0, 0, 0, 0])
    for _ in range(2):
        assert "checksum" in str(_read(pitot, clock))
    chip.noise = bytes(9)
    _measuring(pitot, clock, reads=3)
    assert chip.starts == 2


@pytest.mark.parametrize("stops_idle", [True, False])
def test_a_sensor_that_lost_power_is_started_again(chip: SdpChip, clock: FakeClock, stops_idle: bool) -> None:
    """It has forgotten that it was measuring; only faults until it measures again."""
    chip.stops_idle = stops_idle
    pitot = _pitot(clock)
    chip.pressure = 3675
    _measuring(pitot, clock)
    chip.power_cycle()
    chip.pressure = 4 * 3675
    assert isinstance(_read(pitot, clock), DeviceUnavailable)
    assert _measuring(pitot, clock, reads=3).speed_mps == pytest.approx(20.0, abs=1e-3)


def test_a_sensor_that_goes_is_missed_and_found_again(
    fake: i2c.FakeI2C, chip: SdpChip, clock: FakeClock
) -> None:
    """An absent sensor is named at every read, and comes back by itself."""
    pitot = _pitot(clock)
    _measuring(pitot, clock)
    del fake.chips[1][0x25]
    for _ in range(5):
        assert "no answer from 0x25 on /dev/i2c-1" in str(_read(pitot, clock))
    fake.chips[1][0x25] = chip
    chip.power_cycle()
    _measuring(pitot, clock)


def test_a_stuck_bus_is_a_fault_until_it_is_free(fake: i2c.FakeI2C, chip: SdpChip, clock: FakeClock) -> None:
    """Transfers that time out give no speed, one at a read; when the bus is free values follow."""
    pitot = _pitot(clock)
    _measuring(pitot, clock)
    fake.errors[0] = errno.ETIMEDOUT
    for _ in range(3):
        assert "stuck" in str(_read(pitot, clock))
    del fake.errors[0]
    _measuring(pitot, clock)


@pytest.mark.parametrize("level", [0x00, 0xFF])
def test_a_dead_bus_is_no_calm(fake: i2c.FakeI2C, clock: FakeClock, level: int) -> None:
    """All zeros and all ones fail the checksum."""
    fake.chips[1][0x25] = Level(level)
    pitot = _pitot(clock)
    seen = [_read(pitot, clock) for _ in range(9)]
    assert all(isinstance(fault, BadSample) for fault in seen)
    assert sum("checksum" in str(fault) for fault in seen) == 4


def test_a_closed_sensor_reads_nothing(fake: i2c.FakeI2C, chip: SdpChip, clock: FakeClock) -> None:
    """After close, which may be called twice, read raises, also within the 20 ms; the adapter is let go."""
    pitot = _pitot(clock)
    with pytest.raises(BadSample):
        pitot.read(clock.monotonic())
    pitot.close()
    pitot.close()
    with pytest.raises(DeviceUnavailable, match="closed"):
        pitot.read(clock.monotonic())
    assert fake.open_fds == 0


def test_the_address_is_one_of_the_familys() -> None:
    """0x24 belongs to none of them."""
    assert "0x26" in str(parse(SdpPitot.Settings, {"address": 0x24})[1][0])
    assert parse(SdpPitot.Settings, {"address": 0x21})[1] == []
