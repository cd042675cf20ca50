"""ADS1115 and ADS1015: bits and volts, one conversion at a time, and what is left when the chip is not."""

from __future__ import annotations

import errno
import threading
from typing import Any

import pytest

from hw.errors import BadSample, DeviceUnavailable, HardwareError
from hw.i2c import ads1x15, bus
from hw.i2c.ads1x15 import Ads1015Anemometer, Ads1015Vane, Ads1115Anemometer, Ads1115Vane
from hw.settings import parse
from tests import i2c
from tests.clock import FakeClock
from tests.hw.adc_chips import SLOW, Ads1x15Chip, Waiting, waiting
from tests.hw.chips import Level

NOW = 1000.0
LINE = {"input": 0, "slope": 1.0}  # m/s are volts


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> i2c.FakeI2C:
    return i2c.install(monkeypatch)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waiting:
    return waiting(monkeypatch)


@pytest.fixture
def chip(fake: i2c.FakeI2C, waits: Waiting) -> Ads1x15Chip:
    fake.chips[1][0x48] = chip = Ads1x15Chip(waits, {0: 1.0})
    return chip


def _opened(driver: Any, **table: object) -> Any:
    settings, errors = parse(driver.Settings, table)
    assert errors == []
    return driver.open(settings, FakeClock())


def _volts(**table: object) -> float:
    volts: float = _opened(Ads1115Anemometer, **{**LINE, **table}).read(NOW).raw["volts"]
    return volts


# --- bits


@pytest.mark.parametrize(
    ("channel", "full_scale_v", "rate_code", "word"),
    [("0", 2.048, 4, 0xC583), ("0", 4.096, 4, 0xC383), (1, 4.096, 7, 0xD3E3), ("0-1", 2.048, 4, 0x8583)],
)
def test_the_config_word_is_the_data_sheets(
    channel: int | str, full_scale_v: float, rate_code: int, word: int
) -> None:
    """Input, gain, single shot, data rate, comparator off."""
    assert ads1x15.config_word(channel, full_scale_v, rate_code) == word


@pytest.mark.parametrize(
    ("word", "code", "volts"),
    [
        (0x0000, 0, 0.0),
        (0x1900, 6400, 0.4),
        (0x3E80, 16000, 1.0),
        (0x7D00, 32000, 2.0),
        (0x8000, -32768, -2.048),
    ],
)
def test_an_ads1115_has_16_bits(word: int, code: int, volts: float) -> None:
    """Two's complement, full scale at 2^15."""
    seen = ads1x15.conversion(word, 2.048, 16)
    assert seen.code == code
    assert seen.volts == pytest.approx(volts, abs=1e-12)


@pytest.mark.parametrize(
    ("word", "code", "volts"), [(0x0000, 0, 0.0), (0x1900, 400, 0.4), (0xFFF0, -1, -0.001)]
)
def test_an_ads1015_has_12_bits(word: int, code: int, volts: float) -> None:
    """Left-justified, with sign."""
    seen = ads1x15.conversion(word, 2.048, 12)
    assert seen.code == code
    assert seen.volts == pytest.approx(volts, abs=1e-12)


@pytest.mark.parametrize(
    ("table", "word"),
    [
        ({}, 0xC383),
        ({"input": "3", "full_scale_v": 6.144, "data_rate_sps": 8}, 0xF103),
        ({"input": "1-3", "full_scale_v": 0.256, "data_rate_sps": 475}, 0xABC3),
    ],
)
def test_settings_reach_the_config_register(chip: Ads1x15Chip, table: dict[str, Any], word: int) -> None:
    """By default ±4.096 V and 128 conversions a second."""
    chip.volts = {0: 0.1, 1: 0.1, 2: 0.1, 3: 0.05}
    _volts(**table)
    assert chip.written == [word]


def test_each_input_is_read(chip: Ads1x15Chip) -> None:
    """A number or its text is an input against ground, a pair is a difference."""
    chip.volts = {0: 1.75, 1: 1.25, 2: 1.5, 3: 0.5}
    read = [_volts(input=which) for which in (0, 1, 2, "3", "0-1", "0-3", "1-3", "2-3")]
    assert read == pytest.approx([1.75, 1.25, 1.5, 0.5, 0.5, 1.25, 0.75, 1.0])


def test_an_ads1015_is_driven_by_its_own_rates(fake: i2c.FakeI2C, waits: Waiting) -> None:
    """1600 conversions a second have the code that means 128 on an ADS1115."""
    fake.chips[1][0x49] = chip = Ads1x15Chip(waits, {1: 1.25}, bits=12)
    sample = _opened(Ads1015Anemometer, address=0x49, input=1, slope=2.0, data_rate_sps=1600).read(NOW)
    assert chip.written == [0xD383]
    assert sample.speed_mps == pytest.approx(2.5)
    assert sample.raw == {"code": 625, "volts": pytest.approx(1.25)}


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"input": 4}, 'input must be 0 to 3, "0-1", "0-3", "1-3" or "2-3", got 4'),
        ({"input": "0-2"}, "got '0-2'"),
        ({"input": True}, "got true"),
        ({"input": 0, "address": 0x4C}, "expected one of 0x48, 0x49, 0x4a, 0x4b, got 0x4c"),
        ({"input": 0, "full_scale_v": 3.3}, "expected one of 6.144, 4.096"),
        ({"input": 0, "data_rate_sps": 1600}, "expected one of 8, 16"),
    ],
)
def test_what_the_chip_has_not_is_refused(table: dict[str, Any], words: str) -> None:
    """No such input, address, scale or rate."""
    for driver, what in ((Ads1115Anemometer, {"slope": 1.0}), (Ads1115Vane, {"model": "davis-6410"})):
        settings, errors = parse(driver.Settings, {**what, **table})
        assert settings is None
        assert len(errors) == 1
        assert words in str(errors[0])


def test_an_input_must_be_named() -> None:
    """An anemometer and a vane on one chip do not both read input 0 for want of a key."""
    for driver, table in ((Ads1115Anemometer, {"slope": 1.0}), (Ads1115Vane, {"model": "sen-15901"})):
        _, errors = parse(driver.Settings, table)
        assert [error.key for error in errors] == ["input"]


@pytest.mark.parametrize(
    ("driver", "rate", "seconds"),
    [(Ads1115Anemometer, 8, 0.125), (Ads1115Vane, 128, 1 / 128), (Ads1015Anemometer, 250, 0.004)],
)
def test_the_settings_tell_what_a_reading_takes(driver: Any, rate: int, seconds: float) -> None:
    """One conversion, so that those of a chip can be added up."""
    what = {"model": "davis-6410"} if driver is Ads1115Vane else {"slope": 1.0}
    settings, _ = parse(driver.Settings, {"input": 0, "data_rate_sps": rate, **what})
    assert settings
    assert settings.conversion_s == pytest.approx(seconds)


# --- conversions


@pytest.mark.parametrize("rate", [8, 16, 32, 64, 128, 250, 475, 860])
def test_a_reading_waits_for_its_conversion(chip: Ads1x15Chip, waits: Waiting, rate: int) -> None:
    """The value is of now, not of the reading before, at every rate, and is not waited for much longer."""
    anemometer = _opened(Ads1115Anemometer, **LINE, data_rate_sps=rate)
    for volts in (1.0, 2.0, 3.0):
        chip.volts = {0: volts}
        assert anemometer.read(NOW).speed_mps == pytest.approx(volts)
    assert SLOW / rate <= waits.passed_s / 3 <= 1.15 * SLOW / rate + 0.0005


@pytest.mark.parametrize(("volts", "words"), [(9.0, "4.096 V or more"), (-9.0, "-4.096 V or less")])
def test_the_ends_of_the_scale_are_no_values(chip: Ads1x15Chip, volts: float, words: str) -> None:
    """Over-range, with what to check."""
    chip.volts = {0: volts}
    with pytest.raises(BadSample, match=f"input 0 of 0x48 on /dev/i2c-1: over-range, {words}.*full_scale_v"):
        _volts()


def test_the_ends_of_an_ads1015s_scale_are_no_values(fake: i2c.FakeI2C, waits: Waiting) -> None:
    """Its largest code is 0x7FF0; the one below is a value."""
    fake.chips[1][0x48] = chip = Ads1x15Chip(waits, {0: 4.0945}, bits=12)
    anemometer = _opened(Ads1015Anemometer, **LINE)
    with pytest.raises(BadSample, match="over-range"):
        anemometer.read(NOW)
    chip.volts = {0: 4.092}
    assert anemometer.read(NOW).raw["code"] == 2046


def test_the_widest_scale_names_no_wider_one(chip: Ads1x15Chip) -> None:
    """At ±6.144 V the remedy is less voltage."""
    chip.volts = {0: 9.0}
    with pytest.raises(BadSample, match="give it less voltage"):
        _volts(full_scale_v=6.144)


def test_a_conversion_that_does_not_end_is_a_fault(chip: Ads1x15Chip, waits: Waiting) -> None:
    """After a bounded wait, and the next reading works again."""
    anemometer = _opened(Ads1115Anemometer, **LINE)
    chip.hangs = True
    with pytest.raises(DeviceUnavailable, match=r"does not finish a conversion \(config 0x4383\)"):
        anemometer.read(NOW)
    assert waits.passed_s < 0.1
    chip.hangs = False
    assert anemometer.read(NOW).speed_mps == pytest.approx(1.0)


def test_an_ads1115_that_is_called_an_ads1015_is_found_out(chip: Ads1x15Chip) -> None:
    """It takes the code of 128 conversions a second for 8, and is late."""
    with pytest.raises(DeviceUnavailable, match="is it an ADS1015"):
        _opened(Ads1015Anemometer, **LINE).read(NOW)


def test_a_chip_that_is_configured_by_somebody_else_is_a_fault(
    chip: Ads1x15Chip, fake: i2c.FakeI2C, waits: Waiting
) -> None:
    """What is read back is not what was written: the value may be of another input."""
    anemometer = _opened(Ads1115Anemometer, **LINE)
    waits.during = chip.reset
    with pytest.raises(BadSample, match="configured 0x8583, not 0xc383 as written: another program"):
        anemometer.read(NOW)
    assert anemometer.read(NOW).speed_mps == pytest.approx(1.0)
    for byte in (0x00, 0xFF):
        fake.chips[1][0x48] = Level(byte)
        with pytest.raises(HardwareError):
            anemometer.read(NOW)


def test_a_conversion_that_broke_off_is_not_taken_for_the_next(
    chip: Ads1x15Chip, fake: i2c.FakeI2C, waits: Waiting
) -> None:
    """A chip ignores a start while it converts, so that conversion is waited for, wanted or not."""
    chip.volts = {0: 1.0, 1: 2.0}
    one = _opened(Ads1115Anemometer, **LINE, data_rate_sps=8)
    other = _opened(Ads1115Anemometer, **{**LINE, "input": 1}, data_rate_sps=8)
    chip.hangs = True
    waits.during = lambda: fake.errors.update({0x48: errno.EIO})
    with pytest.raises(DeviceUnavailable, match="broke off"):
        one.read(NOW)
    fake.errors.clear()
    chip.hangs = False
    assert other.read(NOW).speed_mps == pytest.approx(2.0)


# --- gone and back


@pytest.mark.parametrize(
    ("code", "words"), [(errno.EREMOTEIO, "no answer from 0x48"), (errno.ETIMEDOUT, "stuck")]
)
def test_a_chip_that_is_gone_is_a_fault_and_comes_back(
    chip: Ads1x15Chip, fake: i2c.FakeI2C, code: int, words: str
) -> None:
    """At the start and later; configured anew, as it was switched off."""
    anemometer = _opened(Ads1115Anemometer, **LINE)
    for _ in range(2):
        fake.errors[0x48] = code
        for _ in range(3):
            with pytest.raises(DeviceUnavailable, match=words):
                anemometer.read(NOW)
        chip.reset()
        fake.errors.clear()
        assert anemometer.read(NOW).speed_mps == pytest.approx(1.0)


def test_opening_touches_no_bus(fake: i2c.FakeI2C) -> None:
    """A chip that is absent is a fault of the reading, and so is a bus."""
    fake.chips.clear()
    anemometer = _opened(Ads1115Anemometer, **LINE)
    assert fake.open_fds == 0
    with pytest.raises(DeviceUnavailable, match="there is no /dev/i2c-1"):
        anemometer.read(NOW)


@pytest.mark.parametrize("driver", [Ads1115Anemometer, Ads1015Anemometer, Ads1115Vane, Ads1015Vane])
def test_a_closed_driver_reads_nothing(fake: i2c.FakeI2C, waits: Waiting, driver: Any) -> None:
    """Closing twice does nothing more, and the bus is free."""
    bits = 16 if driver in (Ads1115Anemometer, Ads1115Vane) else 12
    fake.chips[1][0x48] = Ads1x15Chip(waits, {0: 1.0}, bits)
    what = {"model": "davis-6410"} if driver in (Ads1115Vane, Ads1015Vane) else {"slope": 1.0}
    opened = _opened(driver, input=0, **what)
    opened.read(NOW)
    opened.close()
    opened.close()
    assert fake.open_fds == 0
    with pytest.raises(DeviceUnavailable, match="is closed"):
        opened.read(NOW)


# --- two drivers, two threads


class _Gate:
    """A chip's lock that tells when the thread called "other" wants it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.wanted = threading.Event()

    def __enter__(self) -> None:
        if threading.current_thread().name == "other":
            self.wanted.set()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_two_drivers_on_one_chip_never_mix_their_inputs(
    chip: Ads1x15Chip, waits: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A vane that is read while the anemometer's conversion goes on waits for its turn; each gets its own."""
    gate = _Gate()
    monkeypatch.setattr(bus._Bus, "chip_lock", lambda self, address: gate)
    chip.volts = {0: 1.0, 1: 3.3 * 0.25}
    anemometer = _opened(Ads1115Anemometer, **LINE)
    vane = _opened(Ads1115Vane, model="davis-6410", input=1)
    directions: list[float] = []
    other = threading.Thread(target=lambda: directions.append(vane.read(NOW).direction_deg), name="other")

    def meanwhile() -> None:
        other.start()
        assert gate.wanted.wait(10), "the vane went ahead in the middle of a conversion"

    waits.during = meanwhile
    assert anemometer.read(NOW).speed_mps == pytest.approx(1.0)
    other.join(10)
    assert directions == [pytest.approx(90.0, abs=0.1)]
    assert [word >> 12 & 7 for word in chip.written] == [4, 5]
