"""The MCP3421: bits and volts, only new results, and what is left when the chip is not."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from hw.errors import BadSample, DeviceUnavailable
from hw.i2c import mcp3421
from hw.i2c.mcp3421 import Mcp3421Anemometer, Mcp3421Vane
from hw.settings import parse
from tests import i2c
from tests.clock import FakeClock
from tests.hw.adc_chips import SLOW, Mcp3421Chip, Waiting, waiting
from tests.hw.chips import Level

NOW = 1000.0
PERIOD_S = {12: SLOW / 240, 14: SLOW / 60, 16: SLOW / 15, 18: SLOW / 3.75}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> i2c.FakeI2C:
    return i2c.install(monkeypatch)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waiting:
    return waiting(monkeypatch)


@pytest.fixture
def chip(fake: i2c.FakeI2C, waits: Waiting) -> Mcp3421Chip:
    fake.chips[1][0x68] = chip = Mcp3421Chip(waits, 1.0)
    return chip


def _opened(driver: Any, **table: object) -> Any:
    settings, errors = parse(driver.Settings, table)
    assert errors == []
    return driver.open(settings, FakeClock())


def _anemometer(**table: object) -> Mcp3421Anemometer:
    anemometer: Mcp3421Anemometer = _opened(Mcp3421Anemometer, slope=1.0, **table)
    return anemometer


@pytest.mark.parametrize(
    ("bits", "gain", "data", "volts"),
    [
        (18, 1, "01 FF FF", 2.047984375),
        (18, 1, "FF FF FF", -1.5625e-05),
        (16, 1, "19 00", 0.4),
        (16, 8, "19 00", 0.05),
        (14, 1, "E0 00", -2.048),
        (12, 1, "07 FF", 2.047),
        (12, 2, "FF FF", -0.0005),
    ],
)
def test_a_result_has_a_sign_and_a_gain(bits: int, gain: int, data: str, volts: float) -> None:
    """Two's complement of so many bits; the smallest step is 1 mV to 15.625 µV, divided by the gain."""
    assert mcp3421.conversion(bytes.fromhex(data), bits, gain).volts == pytest.approx(volts, abs=1e-12)


@pytest.mark.parametrize(
    ("bits", "gain", "byte"), [(12, 1, 0x10), (14, 2, 0x15), (16, 4, 0x1A), (18, 1, 0x1C), (18, 8, 0x1F)]
)
def test_the_configuration_is_the_data_sheets(bits: int, gain: int, byte: int) -> None:
    """Continuous, resolution, gain."""
    assert mcp3421.config_byte(bits, gain) == byte


@pytest.mark.parametrize("bits", [12, 14, 16, 18])
@pytest.mark.parametrize("gain", [1, 2, 4, 8])
def test_every_resolution_and_gain_reads_the_same_volts(chip: Mcp3421Chip, bits: int, gain: int) -> None:
    """Within one step."""
    chip.volts = 0.2
    sample = _anemometer(bits=bits, gain=gain).read(NOW)
    assert sample.raw["volts"] == pytest.approx(0.2, abs=2.048 / (1 << (bits - 1)))
    assert chip.written == [mcp3421.config_byte(bits, gain)]


@pytest.mark.parametrize(("bits", "milliseconds"), [(12, 4), (14, 17), (16, 67), (18, 267)])
def test_the_settings_tell_what_a_reading_takes(bits: int, milliseconds: int) -> None:
    """One conversion."""
    settings, _ = parse(Mcp3421Anemometer.Settings, {"slope": 1.0, "bits": bits})
    assert settings
    assert round(settings.conversion_s * 1000) == milliseconds


@pytest.mark.parametrize("bits", [12, 14, 16, 18])
def test_every_reading_is_a_new_conversion(chip: Mcp3421Chip, waits: Waiting, bits: int) -> None:
    """No result is given out twice: where there is no new one, it is waited for."""
    anemometer = _anemometer(bits=bits)
    anemometer.read(NOW)
    before_s = waits.passed_s
    for volts in (0.25, 0.5, 0.75):
        chip.volts = volts
        assert anemometer.read(NOW).speed_mps == pytest.approx(volts, abs=0.0011)
    assert len(chip.written) == 1
    assert waits.passed_s - before_s <= 3.5 * PERIOD_S[bits]


def test_a_result_that_is_there_is_not_waited_for(chip: Mcp3421Chip, waits: Waiting) -> None:
    """At 16 bits and four readings a second each finds a new one."""
    anemometer = _anemometer()
    anemometer.read(NOW)
    before_s = waits.passed_s
    for _ in range(10):
        waits.passed_s += 0.25
        anemometer.read(NOW)
    assert waits.passed_s - before_s == pytest.approx(2.5)


def test_a_result_from_before_the_configuration_is_not_used(chip: Mcp3421Chip, waits: Waiting) -> None:
    """What the chip made before, with whatever gain, is thrown away."""
    chip.volts = 0.5
    waits.passed_s += 10.0
    chip.convert()
    chip.volts = 1.0
    assert _anemometer(bits=12).read(NOW).speed_mps == pytest.approx(1.0)


def test_a_chip_that_stops_converting_is_a_fault(chip: Mcp3421Chip, waits: Waiting) -> None:
    """After a bounded wait; the old value is not repeated; it is configured anew and goes on."""
    anemometer = _anemometer()
    anemometer.read(NOW)
    chip.hangs = True
    before_s = waits.passed_s
    for attempt in range(1, 4):
        with pytest.raises(DeviceUnavailable, match=r"no new value after 0\.12 s"):
            anemometer.read(NOW)
        assert waits.passed_s - before_s < 0.15 * attempt
    chip.hangs = False
    assert anemometer.read(NOW).speed_mps == pytest.approx(1.0)


@pytest.mark.parametrize("bits", [12, 18])
@pytest.mark.parametrize(("volts", "words"), [(5.0, "V or more"), (-5.0, "-2.048 V or less")])
def test_the_ends_of_the_scale_are_no_values(chip: Mcp3421Chip, bits: int, volts: float, words: str) -> None:
    """Over-range, with what to check."""
    chip.volts = volts
    with pytest.raises(BadSample, match=f"0x68 on /dev/i2c-1: over-range, .*{words}: give it less voltage"):
        _anemometer(bits=bits).read(NOW)


def test_over_range_behind_a_gain_asks_for_less_gain(chip: Mcp3421Chip) -> None:
    """At a gain of 4 the end is 0.512 V."""
    with pytest.raises(BadSample, match=r"0\.512 V or more: choose a smaller gain"):
        _anemometer(gain=4).read(NOW)


def test_a_chip_that_was_reset_is_a_fault_and_then_configured(chip: Mcp3421Chip, waits: Waiting) -> None:
    """After a dip of its supply it has 12 bits, and a result of other size."""
    anemometer = _anemometer(bits=18)
    anemometer.read(NOW)
    chip.reset()
    waits.passed_s += 1.0
    with pytest.raises(BadSample, match="configured 0x10, not 0x1c as written"):
        anemometer.read(NOW)
    assert anemometer.read(NOW).speed_mps == pytest.approx(1.0)
    assert chip.written == [0x1C, 0x1C]


@pytest.mark.parametrize("byte", [0x00, 0xFF])
def test_a_wire_without_a_chip_is_a_fault(fake: i2c.FakeI2C, waits: Waiting, byte: int) -> None:
    """All zeros or all ones are no result."""
    fake.chips[1][0x68] = Level(byte)
    with pytest.raises(BadSample, match="another chip answers there"):
        _anemometer().read(NOW)


@pytest.mark.parametrize(
    ("code", "words"), [(errno.EREMOTEIO, "no answer from 0x68"), (errno.ETIMEDOUT, "stuck")]
)
def test_a_chip_that_is_gone_is_a_fault_and_comes_back(
    chip: Mcp3421Chip, fake: i2c.FakeI2C, code: int, words: str
) -> None:
    """At the start and later; configured anew, as it was switched off."""
    anemometer = _anemometer()
    for count in (1, 2):
        fake.errors[0x68] = code
        for _ in range(3):
            with pytest.raises(DeviceUnavailable, match=words):
                anemometer.read(NOW)
        chip.reset()
        fake.errors.clear()
        assert anemometer.read(NOW).speed_mps == pytest.approx(1.0)
        assert chip.written == [0x18] * count


def test_it_is_read_as_it_is_without_naming_a_register(chip: Mcp3421Chip, fake: i2c.FakeI2C) -> None:
    """A byte written to it would configure it: one write, then reads alone."""
    _anemometer().read(NOW)
    kinds = ["".join(kind for kind, _ in messages) for _, _, messages in fake.transfers]
    assert kinds[0] == "w"
    assert set(kinds[1:]) == {"r"}


def test_a_vane_reads_through_it(chip: Mcp3421Chip) -> None:
    """Fed with 2.0 V, half of it is half a turn."""
    vane = _opened(Mcp3421Vane, model="davis-6410", supply_v=2.0)
    assert vane.read(NOW).direction_deg == pytest.approx(180.0, abs=0.1)


def test_a_vane_says_what_feeds_it() -> None:
    """The usual 3.3 V are beyond the chip: there is no default, and without a divider they are refused."""
    _, errors = parse(Mcp3421Vane.Settings, {"model": "sen-15901"})
    assert [error.key for error in errors] == ["supply_v"]
    _, errors = parse(Mcp3421Vane.Settings, {"model": "sen-15901", "supply_v": 3.3})
    assert "the input takes 2.048 V: give it less voltage, or use a divider" in str(errors[0])
    assert parse(Mcp3421Vane.Settings, {"model": "sen-15901", "supply_v": 3.3, "ratio": 2})[1] == []


@pytest.mark.parametrize(
    ("driver", "table"),
    [(Mcp3421Anemometer, {"slope": 1.0}), (Mcp3421Vane, {"model": "davis-6410", "supply_v": 2})],
)
def test_a_closed_driver_reads_nothing(
    chip: Mcp3421Chip, fake: i2c.FakeI2C, driver: Any, table: dict[str, Any]
) -> None:
    """Closing twice does nothing more, and the bus is free."""
    opened = _opened(driver, **table)
    opened.read(NOW)
    opened.close()
    opened.close()
    assert fake.open_fds == 0
    with pytest.raises(DeviceUnavailable, match="is closed"):
        opened.read(NOW)
