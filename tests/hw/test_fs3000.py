"""The FS3000 air-speed sensor: its frames, and the faults that must not become speeds."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.errors import BadSample, DeviceUnavailable
from hw.i2c.fs3000 import HIGHEST_COUNT, LOWEST_COUNT, Fs3000
from hw.settings import parse
from tests import i2c
from tests.clock import FakeClock
from tests.hw.chips import Fs3000Chip, Level

NOW = 1000.0


class _Frame:
    """A chip that says just this."""

    def __init__(self, text: str) -> None:
        self.frame = bytes.fromhex(text)

    def write(self, data: bytes) -> None:
        raise AssertionError(data)

    def read(self, length: int) -> bytes:
        return self.frame[:length]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> i2c.FakeI2C:
    return i2c.install(monkeypatch)


@pytest.fixture
def chip(fake: i2c.FakeI2C) -> Fs3000Chip:
    fake.chips[1][0x28] = chip = Fs3000Chip()
    return chip


def _sensor(model: str = "fs3000-1015", **table: object) -> Fs3000:
    settings, errors = parse(Fs3000.Settings, {"model": model, **table})
    assert errors == []
    assert settings
    return Fs3000.open(settings, FakeClock())


@pytest.mark.parametrize(
    ("counts", "frame", "v1005", "v1015"),
    [
        (409, "65 01 99 00 01", 0, 0),
        (915, "69 03 93 00 01", 1.07, 1.2746),
        (2048, "f7 08 00 00 01", 2.9672, 4.5018),
        (3686, "8b 0e 66 00 01", 7.23, 15),
    ],
)
def test_a_frame_becomes_a_speed(
    fake: i2c.FakeI2C, counts: int, frame: str, v1005: float, v1015: float
) -> None:
    """Known frames give the speed of each variant's table, linear between its points."""
    fake.chips[1][0x28] = _Frame(frame)
    for model, speed in (("fs3000-1005", v1005), ("fs3000-1015", v1015)):
        sample = _sensor(model).read(NOW)
        assert sample.speed_mps == pytest.approx(speed, abs=5e-5)
        assert sample.time_s == NOW
        assert sample.raw == {"counts": counts}


def test_the_count_has_12_bits(fake: i2c.FakeI2C) -> None:
    """The upper four bits of its first byte are not of the number."""
    fake.chips[1][0x28] = _Frame("07 f8 00 00 01")
    assert _sensor().read(NOW).raw == {"counts": 2048}


def test_the_variant_is_the_calibration(fake: i2c.FakeI2C) -> None:
    """Which table made the values travels with them, and has to be chosen."""
    assert _sensor("fs3000-1005").calibration == "fs3000-1005"
    assert _sensor("fs3000-1015").calibration == "fs3000-1015"
    assert "model" in str(parse(Fs3000.Settings, {})[1][0])
    assert "did you mean" in str(parse(Fs3000.Settings, {"model": "fs3000-1051"})[1][0])


def test_the_fake_makes_the_known_frames(chip: Fs3000Chip) -> None:
    """The chip of these tests speaks as the known frames do."""
    chip.counts = 2048
    assert chip.read(5).hex(" ") == "f7 08 00 00 01"


def test_the_ends_of_the_table_hold(chip: Fs3000Chip) -> None:
    """A little below the calm count is a calm, a little above the last is full scale."""
    sensor = _sensor("fs3000-1005")
    chip.counts = LOWEST_COUNT
    assert sensor.read(NOW).speed_mps == 0
    chip.counts = HIGHEST_COUNT
    assert sensor.read(NOW).speed_mps == pytest.approx(7.23)


@pytest.mark.parametrize("counts", [0, 1, LOWEST_COUNT - 1, HIGHEST_COUNT + 1, 4095])
def test_counts_that_no_air_makes_are_a_fault(chip: Fs3000Chip, counts: int) -> None:
    """Far below the calm count is no calm, far above full scale no storm, though the checksum is right."""
    chip.counts = counts
    with pytest.raises(BadSample, match=f"^{counts} counts from 0x28 on /dev/i2c-1"):
        _sensor().read(NOW)


@pytest.mark.parametrize("level", [0x00, 0xFF])
def test_a_dead_bus_is_no_calm(fake: i2c.FakeI2C, level: int) -> None:
    """All zeros pass the checksum, and are a fault all the same; so are all ones."""
    fake.chips[1][0x28] = Level(level)
    with pytest.raises(BadSample):
        _sensor().read(NOW)


def test_a_wrong_checksum_is_no_value(chip: Fs3000Chip) -> None:
    """Noise on the wires is a fault that tells both sums, and the next frame is good again."""
    sensor = _sensor()
    chip.counts, chip.noise = 2048, 0x10
    with pytest.raises(BadSample, match="checksum 0xf7 from 0x28 on /dev/i2c-1, expected 0xe7"):
        sensor.read(NOW)
    chip.noise = 0
    assert sensor.read(NOW).speed_mps == pytest.approx(4.5018, abs=5e-5)


@given(counts=st.integers(0, 4095), position=st.integers(0, 39))
def test_no_flipped_bit_passes(counts: int, position: int) -> None:
    """One wrong bit anywhere in the frame is always seen."""
    frame = int.from_bytes(Fs3000Chip(counts).read(5), "big") ^ 1 << position
    with pytest.MonkeyPatch.context() as patch:
        fake = i2c.install(patch)
        fake.chips[1][0x28] = _Frame(frame.to_bytes(5, "big").hex())
        sensor = _sensor()
        with pytest.raises(BadSample, match="checksum"):
            sensor.read(NOW)
        sensor.close()


def test_a_chip_that_goes_is_missed_and_found_again(fake: i2c.FakeI2C, chip: Fs3000Chip) -> None:
    """An absent chip is a fault of each read, not of open, and ends by itself."""
    del fake.chips[1][0x28]
    sensor = _sensor()
    for _ in range(2):
        with pytest.raises(DeviceUnavailable, match="no answer from 0x28"):
            sensor.read(NOW)
    fake.chips[1][0x28] = chip
    chip.counts = 3686
    assert sensor.read(NOW).speed_mps == pytest.approx(15)


def test_a_stuck_bus_is_a_fault_until_it_is_free(fake: i2c.FakeI2C, chip: Fs3000Chip) -> None:
    """A transfer that times out gives no speed; the next that does not, does."""
    sensor = _sensor()
    sensor.read(NOW)
    fake.errors[0] = errno.ETIMEDOUT
    with pytest.raises(DeviceUnavailable, match="stuck"):
        sensor.read(NOW)
    del fake.errors[0]
    assert sensor.read(NOW).speed_mps == 0


def test_a_closed_sensor_reads_nothing(fake: i2c.FakeI2C, chip: Fs3000Chip) -> None:
    """Open sends nothing; after close, which may be called twice, read raises and the adapter is let go."""
    sensor = _sensor()
    assert fake.transfers == []
    sensor.read(NOW)
    sensor.close()
    sensor.close()
    with pytest.raises(DeviceUnavailable, match="closed"):
        sensor.read(NOW)
    assert fake.open_fds == 0
