"""The AS5600 vane: the angle, the magnet's state, and what is left when the chip is not."""

from __future__ import annotations

import errno

import pytest

from hw.errors import BadSample, DeviceUnavailable
from hw.i2c.as5600 import As5600
from hw.settings import parse
from tests import i2c
from tests.clock import FakeClock
from tests.hw.chips import As5600Chip, Level

NOW = 1000.0


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> i2c.FakeI2C:
    return i2c.install(monkeypatch)


@pytest.fixture
def chip(fake: i2c.FakeI2C) -> As5600Chip:
    fake.chips[1][0x36] = chip = As5600Chip()
    return chip


def _vane(**table: object) -> As5600:
    settings, errors = parse(As5600.Settings, table)
    assert errors == []
    assert settings
    return As5600.open(settings, FakeClock())


@pytest.mark.parametrize(("counts", "degrees"), [(0x000, 0.0), (0x400, 90.0), (0xFFF, 359.9121)])
def test_counts_become_degrees(chip: As5600Chip, counts: int, degrees: float) -> None:
    """A turn has 4096 counts."""
    chip.angle = counts
    sample = _vane().read(NOW)
    assert sample.direction_deg == pytest.approx(degrees, abs=1e-4)
    assert sample.raw == {"counts": counts, "agc": 128}


def test_a_programmed_range_does_not_stretch_the_circle(chip: As5600Chip) -> None:
    """A chip whose ANGLE was programmed to a quarter turn still tells the whole circle."""
    chip.start, chip.stop, chip.angle = 0x100, 0x500, 0xC00
    assert _vane().read(NOW).direction_deg == 270.0


def test_the_mounting_turns_and_mirrors(chip: As5600Chip) -> None:
    """The offset is where the vane points at 0, and the angle may fall as it turns clockwise."""
    chip.angle = 0x400
    assert _vane(north_offset_deg=-100).read(NOW).direction_deg == 350.0
    assert _vane(north_offset_deg=10, clockwise=False).read(NOW).direction_deg == 280.0


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0x00, "no magnet.*0x36 on /dev/i2c-1"),
        (0x10, "no magnet"),
        (0x30, "too weak.*closer"),
        (0x28, "too strong.*away"),
        (0x38, "weak and strong"),
    ],
)
def test_without_a_good_magnet_there_is_no_direction(chip: As5600Chip, status: int, words: str) -> None:
    """No magnet, a weak or a strong one are faults with a remedy; when it is good again, so is the vane."""
    vane = _vane()
    chip.status = status
    with pytest.raises(BadSample, match=words):
        vane.read(NOW)
    chip.status = 0x20
    assert vane.read(NOW).direction_deg == 0.0


@pytest.mark.parametrize("status", [0x20, 0x27, 0xE0])
def test_other_bits_of_the_status_mean_nothing(chip: As5600Chip, status: int) -> None:
    """Only detected, weak and strong count."""
    chip.status = status
    assert _vane().read(NOW).direction_deg == 0.0


@pytest.mark.parametrize("level", [0x00, 0xFF])
def test_a_dead_bus_is_no_direction(fake: i2c.FakeI2C, level: int) -> None:
    """All bits 0 or all bits 1 are faults."""
    fake.chips[1][0x36] = Level(level)
    with pytest.raises(BadSample):
        _vane().read(NOW)


def test_a_chip_that_goes_is_missed_and_found_again(fake: i2c.FakeI2C, chip: As5600Chip) -> None:
    """An absent chip is a fault of each read, not of open, and ends by itself."""
    del fake.chips[1][0x36]
    vane = _vane()
    for _ in range(2):
        with pytest.raises(DeviceUnavailable, match="no answer from 0x36"):
            vane.read(NOW)
    fake.chips[1][0x36] = chip
    chip.angle = 0x800
    assert vane.read(NOW).direction_deg == 180.0


def test_a_stuck_bus_is_a_fault_until_it_is_free(fake: i2c.FakeI2C, chip: As5600Chip) -> None:
    """A transfer that times out gives no direction; the next that does not, does."""
    vane = _vane()
    vane.read(NOW)
    fake.errors[0] = errno.ETIMEDOUT
    with pytest.raises(DeviceUnavailable, match="stuck"):
        vane.read(NOW)
    del fake.errors[0]
    assert vane.read(NOW).direction_deg == 0.0


def test_open_does_not_touch_the_bus(fake: i2c.FakeI2C, chip: As5600Chip) -> None:
    """Nothing is opened or sent before the first read."""
    _vane()
    assert fake.open_fds == 0
    assert fake.transfers == []


def test_a_closed_vane_reads_nothing(fake: i2c.FakeI2C, chip: As5600Chip) -> None:
    """After close, which may be called twice, read raises and the adapter is let go."""
    vane = _vane()
    vane.read(NOW)
    vane.close()
    vane.close()
    with pytest.raises(DeviceUnavailable, match="closed"):
        vane.read(NOW)
    assert fake.open_fds == 0


def test_settings_are_checked() -> None:
    """Offsets beyond a turn are refused; the address may be the AS5600L's."""
    assert str(parse(As5600.Settings, {"north_offset_deg": 361})[1][0]).startswith("north_offset_deg")
    assert parse(As5600.Settings, {"address": 0x40})[1] == []
