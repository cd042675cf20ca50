"""The AS5048B vane: the angle, its diagnostics, and what is left when the chip is not."""

from __future__ import annotations

import errno

import pytest

from hw.errors import BadSample, DeviceUnavailable
from hw.i2c.as5048b import As5048b
from hw.settings import parse
from tests import i2c
from tests.clock import FakeClock
from tests.hw.chips import As5048bChip, Level

NOW = 1000.0


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> i2c.FakeI2C:
    return i2c.install(monkeypatch)


@pytest.fixture
def chip(fake: i2c.FakeI2C) -> As5048bChip:
    fake.chips[1][0x40] = chip = As5048bChip()
    return chip


def _vane(**table: object) -> As5048b:
    settings, errors = parse(As5048b.Settings, table)
    assert errors == []
    assert settings
    return As5048b.open(settings, FakeClock())


@pytest.mark.parametrize(
    ("high", "low", "degrees"),
    [(0x00, 0x00, 0.0), (0x40, 0x00, 90.0), (0x00, 0x01, 0.02197), (0xFF, 0x3F, 359.97803)],
)
def test_two_bytes_become_degrees(chip: As5048bChip, high: int, low: int, degrees: float) -> None:
    """The high byte has bits 13 to 6, the low one 5 to 0, of a turn's 16384."""
    chip.angle = high * 64 + low
    sample = _vane().read(NOW)
    assert sample.direction_deg == pytest.approx(degrees, abs=1e-5)
    assert sample.raw == {"counts": high * 64 + low, "agc": 128, "magnitude": 4000}


def test_spare_bits_mean_nothing(chip: As5048bChip) -> None:
    """The upper two bits of the low bytes are not of the number."""
    chip.angle, chip.spare = 0x1001, 0b11
    assert _vane().read(NOW).raw == {"counts": 0x1001, "agc": 128, "magnitude": 4000}


def test_a_reading_is_one_transfer(fake: i2c.FakeI2C, chip: As5048bChip) -> None:
    """Diagnostics and both bytes of the angle belong to one instant."""
    _vane().read(NOW)
    assert len(fake.transfers) == 1


def test_the_mounting_turns_and_mirrors(chip: As5048bChip) -> None:
    """The offset is where the vane points at 0, and the angle may fall as it turns clockwise."""
    chip.angle = 0x1000
    assert _vane(north_offset_deg=300).read(NOW).direction_deg == 30.0
    assert _vane(clockwise=False).read(NOW).direction_deg == 270.0


def test_an_emulation_may_have_the_angle_alone(fake: i2c.FakeI2C) -> None:
    """Such as the kernel's i2c-stub: no diagnostics is no fault there, but nothing at all is a dead bus."""
    fake.chips[1][0x40] = i2c.Registers({0xFE: 0x40, 0xFF: 0x00})
    assert _vane().read(NOW).direction_deg == 90.0
    fake.chips[1][0x40] = i2c.Registers()
    with pytest.raises(BadSample, match="not ready"):
        _vane().read(NOW)


@pytest.mark.parametrize(
    ("diagnostics", "words"),
    [
        (0x00, "not ready.*power"),
        (0x03, "centred"),
        (0x09, "missing or too weak.*closer"),
        (0x05, "too strong.*away"),
    ],
)
def test_a_bad_angle_is_no_direction(chip: As5048bChip, diagnostics: int, words: str) -> None:
    """Each diagnostic bit is a fault with a remedy; when it is gone, so is the fault."""
    vane = _vane()
    chip.diagnostics = diagnostics
    with pytest.raises(BadSample, match=words):
        vane.read(NOW)
    chip.diagnostics = 0x01
    assert vane.read(NOW).direction_deg == 0.0


@pytest.mark.parametrize("level", [0x00, 0xFF])
def test_a_dead_bus_is_no_direction(fake: i2c.FakeI2C, level: int) -> None:
    """All bits 0 or all bits 1 are faults."""
    fake.chips[1][0x40] = Level(level)
    with pytest.raises(BadSample):
        _vane().read(NOW)


def test_a_chip_that_goes_is_missed_and_found_again(fake: i2c.FakeI2C, chip: As5048bChip) -> None:
    """An absent chip is a fault of each read, not of open, and ends by itself."""
    del fake.chips[1][0x40]
    vane = _vane()
    for _ in range(2):
        with pytest.raises(DeviceUnavailable, match="no answer from 0x40"):
            vane.read(NOW)
    fake.chips[1][0x40] = chip
    chip.angle = 0x2000
    assert vane.read(NOW).direction_deg == 180.0


def test_a_stuck_bus_is_a_fault_until_it_is_free(fake: i2c.FakeI2C, chip: As5048bChip) -> None:
    """A transfer that times out gives no direction; the next that does not, does."""
    vane = _vane()
    vane.read(NOW)
    fake.errors[0] = errno.ETIMEDOUT
    with pytest.raises(DeviceUnavailable, match="stuck"):
        vane.read(NOW)
    del fake.errors[0]
    assert vane.read(NOW).direction_deg == 0.0


def test_a_closed_vane_reads_nothing(fake: i2c.FakeI2C, chip: As5048bChip) -> None:
    """After close, which may be called twice, read raises and the adapter is let go."""
    vane = _vane()
    vane.read(NOW)
    vane.close()
    vane.close()
    with pytest.raises(DeviceUnavailable, match="closed"):
        vane.read(NOW)
    assert fake.open_fds == 0


def test_the_address_is_one_the_pins_can_make(fake: i2c.FakeI2C) -> None:
    """0x40 to 0x43; open itself sends nothing."""
    assert "0x43" in str(parse(As5048b.Settings, {"address": 0x44})[1][0])
    fake.chips[1][0x43] = As5048bChip(0x1000)
    vane = _vane(address=0x43)
    assert fake.transfers == []
    assert vane.read(NOW).direction_deg == 90.0
