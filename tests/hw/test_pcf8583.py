"""The pulse counters PCF8583 and PCF8593: counts over measured time, and resets that make no gusts."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.anemometer import WindSample
from hw.errors import BadSample, DeviceUnavailable, HardwareError
from hw.i2c.pcf8583 import PulseCounter
from hw.settings import parse
from tests import i2c
from tests.clock import FakeClock
from tests.hw.chips import Level, Pcf8583Chip

STEP_S = 0.25


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> i2c.FakeI2C:
    return i2c.install(monkeypatch)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def chip(fake: i2c.FakeI2C) -> Pcf8583Chip:
    fake.chips[1][0x50] = chip = Pcf8583Chip()
    return chip


def _counter(clock: FakeClock, **table: object) -> PulseCounter:
    settings, errors = parse(PulseCounter.Settings, table or {"slope": 0.5})
    assert errors == []
    assert settings
    return PulseCounter.open(settings, clock)


class Mast:
    """A counter read every 0.25 s while its anemometer gives pulses at ``hertz``, evenly."""

    def __init__(self, chip: Pcf8583Chip, clock: FakeClock, counter: PulseCounter) -> None:
        self.chip, self.clock, self.counter = chip, clock, counter
        self.hertz = 0.0
        self._due = 0.0

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self._due += self.hertz * seconds
        self.chip.pulses(int(self._due))
        self._due -= int(self._due)

    def read(self, after_s: float = STEP_S) -> WindSample | HardwareError:
        self.pass_time(after_s)
        try:
            return self.counter.read(self.clock.monotonic())
        except HardwareError as error:
            return error

    def reads(self, seconds: float) -> list[WindSample | HardwareError]:
        return [self.read() for _ in range(round(seconds / STEP_S))]

    def speed(self) -> float:
        seen = self.read()
        assert isinstance(seen, WindSample), seen
        assert seen.speed_mps is not None
        return seen.speed_mps


@pytest.fixture
def mast(chip: Pcf8583Chip, clock: FakeClock) -> Mast:
    """Running for 4 s at 100 Hz."""
    mast = Mast(chip, clock, _counter(clock))
    mast.hertz = 100.0
    mast.reads(4)
    return mast


def test_a_chip_that_is_a_clock_is_made_a_counter(chip: Pcf8583Chip, clock: FakeClock) -> None:
    """Fresh from power on it keeps time: the first read sets event mode, says so, and counts from 0."""
    counter = _counter(clock)
    assert chip.control == 0x00
    with pytest.raises(BadSample, match=r"not counting.*0x00.*begun"):
        counter.read(clock.monotonic())
    assert chip.control == 0x20
    assert chip.count == 0


def test_a_chip_that_counts_is_left_alone(fake: i2c.FakeI2C, chip: Pcf8583Chip, clock: FakeClock) -> None:
    """After a restart of ours its count is the base line, and nothing is written."""
    chip.registers[:4] = bytes.fromhex("20 34 12 00")
    mast = Mast(chip, clock, _counter(clock))
    assert "counting has begun" in str(mast.read())
    assert chip.count == 1234
    mast.hertz = 100.0
    assert mast.speed() == 50.0
    assert all(len(sent) == 1 for *_, messages in fake.transfers for kind, sent in messages if kind == "w")


def test_the_digits_are_decimal_least_significant_first(chip: Pcf8583Chip, clock: FakeClock) -> None:
    """34 12 00 is 1234."""
    chip.registers[:4] = bytes.fromhex("20 34 12 00")
    counter = _counter(clock)
    with pytest.raises(BadSample):
        counter.read(clock.monotonic())
    chip.registers[:4] = bytes.fromhex("20 50 12 00")
    clock.advance(1.0)
    assert counter.read(clock.monotonic()).raw == {"counts": 16, "hertz": 16.0}


def test_the_count_wraps(chip: Pcf8583Chip, clock: FakeClock) -> None:
    """From 999,998 to 3 are 5 counts, also when the chip flags the overflow."""
    chip.registers[0] = 0x20
    chip.count = 999_998
    counter = _counter(clock)
    with pytest.raises(BadSample):
        counter.read(clock.monotonic())
    clock.advance(3.0)
    chip.pulses(5)
    assert (chip.count, chip.control) == (3, 0x21)
    sample = counter.read(clock.monotonic())
    assert sample.raw["counts"] == 5
    assert sample.speed_mps == pytest.approx(0.5 * 5 / 3)


@given(start=st.integers(0, 999_999), counted=st.integers(0, 200))
def test_any_count_is_subtracted(start: int, counted: int) -> None:
    """Wherever the counter stands, the difference is what was counted."""
    clock, chip = FakeClock(), Pcf8583Chip()
    chip.registers[0] = 0x20
    chip.count = start
    with pytest.MonkeyPatch.context() as patch:
        i2c.install(patch).chips[1][0x50] = chip
        counter = _counter(clock)
        with pytest.raises(BadSample):
            counter.read(clock.monotonic())
        clock.advance(3.0)
        chip.pulses(counted)
        assert counter.read(clock.monotonic()).speed_mps == pytest.approx(0.5 * counted / 3)
        counter.close()


def test_pulses_during_the_transfer_do_not_tear_the_count(chip: Pcf8583Chip, clock: FakeClock) -> None:
    """The three bytes are of one instant, though a pulse comes between any two and carries all digits."""
    chip.registers[0] = 0x20
    chip.count = 9_999
    counter = _counter(clock)
    chip.storm = 1
    with pytest.raises(BadSample):
        counter.read(clock.monotonic())
    clock.advance(3.0)
    seen = counter.read(clock.monotonic())
    assert seen.raw["counts"] == 4  # three bytes and the control register


@pytest.mark.parametrize("hertz", [4.0, 20.0, 100.0, 222.0])
def test_steady_wind_reads_steady(chip: Pcf8583Chip, clock: FakeClock, hertz: float) -> None:
    """Every speed is within one count in its span of the truth, and their mean is the truth."""
    mast = Mast(chip, clock, _counter(clock))
    mast.hertz = hertz
    mast.reads(4)
    speeds = [mast.speed() for _ in range(400)]
    assert max(abs(speed - 0.5 * hertz) for speed in speeds) <= 0.5 * hertz * 0.1
    assert sum(speeds) / len(speeds) == pytest.approx(0.5 * hertz, rel=0.005)


def test_a_speed_is_of_the_shortest_span_that_tells(mast: Mast) -> None:
    """With counts enough in a quarter of a second, a gust is seen at the next read; a lull soon after."""
    assert mast.speed() == 50.0
    mast.hertz = 160.0
    assert mast.speed() == 80.0
    mast.hertz = 8.0
    mast.read()
    assert mast.speed() < 30.0
    mast.reads(2.75)
    assert mast.speed() == pytest.approx(4.0, rel=0.1)


def test_few_counts_are_taken_over_3_s(mast: Mast) -> None:
    """One pulse a second is that, not 4 Hz in one reading and 0 in three."""
    mast.hertz = 1.0
    mast.reads(5)
    assert {round(mast.speed(), 9) for _ in range(20)} == {0.5}


def test_standing_still_is_a_calm_only_after_3_s(mast: Mast) -> None:
    """Without counts the speed falls, and is 0 once 3 s hold none."""
    mast.hertz = 0.0
    speeds = [mast.speed() for _ in range(13)]
    assert speeds == sorted(speeds, reverse=True)
    assert speeds[10] > 0
    assert speeds[12] == 0.0


def test_there_is_no_value_before_there_is_a_span(chip: Pcf8583Chip, clock: FakeClock) -> None:
    """A calm at the start is told after 3 s, not at the second read; what is told until then is why."""
    mast = Mast(chip, clock, _counter(clock))
    mast.read()
    early = mast.reads(2.75)
    assert all("too few" in str(fault) for fault in early)
    assert mast.speed() == 0.0


def test_the_span_is_measured_beside_the_transfer(chip: Pcf8583Chip, clock: FakeClock) -> None:
    """Where the bus was busy with another chip, the counts of the wait are divided by it too."""
    mast = Mast(chip, clock, _counter(clock))
    mast.hertz = 40.0
    mast.reads(4)
    due = clock.monotonic() + STEP_S
    mast.pass_time(STEP_S + 0.2)
    sample = mast.counter.read(due)
    assert sample.time_s == due
    assert sample.speed_mps == pytest.approx(20.0)


def test_a_chip_that_lost_power_makes_no_gust(mast: Mast, chip: Pcf8583Chip) -> None:
    """It is set to count again, says so, and speeds follow from the new base line."""
    chip.power_cycle()
    assert "lost power" in str(mast.read())
    assert mast.speed() == 50.0


def test_a_chip_that_lost_power_makes_no_lull(mast: Mast, chip: Pcf8583Chip) -> None:
    """What came before is in no span after, for nobody knows what was not counted."""
    mast.hertz = 4.0
    mast.reads(4)
    chip.power_cycle()
    mast.read()
    assert all("too few" in str(fault) for fault in mast.reads(2))
    mast.reads(0.75)
    assert mast.speed() == pytest.approx(2.0, rel=0.1)


def test_a_count_that_was_reset_makes_no_gust(mast: Mast, chip: Pcf8583Chip) -> None:
    """A count that falls is a fault and a new base line, never a difference of nearly a million."""
    chip.count = 17
    assert "was reset" in str(mast.read())
    assert mast.speed() == 50.0


@pytest.mark.parametrize("jump", [500, 499_999, 500_001, 999_000])
def test_a_count_that_leaps_makes_no_gust(mast: Mast, chip: Pcf8583Chip, jump: int) -> None:
    """More counts than any wind makes (113.3 m/s) are a fault."""
    chip.count = (chip.count + jump) % 1_000_000
    assert isinstance(mast.read(), BadSample)
    assert mast.speed() == 50.0


def test_a_falling_count_is_seen_whatever_the_points_say(chip: Pcf8583Chip, clock: FakeClock) -> None:
    """Also with a table that ends level, so that no frequency is too fast for it."""
    mast = Mast(chip, clock, _counter(clock, points=[[0, 0.0], [100, 40.0], [200, 40.001]]))
    mast.hertz = 50.0
    mast.reads(4)
    chip.count = 3
    assert "was reset" in str(mast.read())
    assert mast.speed() == pytest.approx(20.0, rel=0.1)


def test_digits_that_are_none_are_a_fault(mast: Mast, chip: Pcf8583Chip) -> None:
    """A nibble above 9 is no count; the counter is set to 0, so that it cannot stay so."""
    chip.registers[2] = 0x1A
    with pytest.raises(BadSample, match="1a"):
        mast.counter.read(mast.clock.monotonic())
    assert chip.count == 0
    assert mast.speed() == 50.0


@pytest.mark.parametrize("control", [0xA0, 0x60, 0x00, 0x30])
def test_a_chip_that_somebody_stopped_is_set_to_count(mast: Mast, chip: Pcf8583Chip, control: int) -> None:
    """Stopped, held or in another mode, its count is no wind."""
    chip.registers[0] = control
    assert f"0x{control:02x}" in str(mast.read())
    assert chip.control == 0x20
    assert mast.speed() == 50.0


@pytest.mark.parametrize("level", [0x00, 0xFF])
def test_a_dead_bus_is_no_calm(fake: i2c.FakeI2C, clock: FakeClock, level: int) -> None:
    """All zeros are a chip in clock mode, all ones no digits: faults at every read."""
    fake.chips[1][0x50] = Level(level)
    counter = _counter(clock)
    for _ in range(20):
        clock.advance(STEP_S)
        with pytest.raises(BadSample, match="not counting"):
            counter.read(clock.monotonic())


def test_a_chip_that_is_gone_for_a_moment_loses_no_counts(
    fake: i2c.FakeI2C, mast: Mast, chip: Pcf8583Chip
) -> None:
    """It is missed at each read; it went on counting, and the time is known."""
    del fake.chips[1][0x50]
    for _ in range(4):
        assert "no answer from 0x50 on /dev/i2c-1" in str(mast.read())
    fake.chips[1][0x50] = chip
    assert mast.speed() == 50.0


def test_after_a_long_absence_counting_begins_anew(fake: i2c.FakeI2C, mast: Mast, chip: Pcf8583Chip) -> None:
    """The mean of a minute is no sample."""
    fake.errors[0x50] = errno.EREMOTEIO
    assert all(isinstance(fault, DeviceUnavailable) for fault in mast.reads(60))
    del fake.errors[0x50]
    assert "begun again" in str(mast.read())
    assert mast.speed() == 50.0


def test_a_stuck_bus_is_a_fault_until_it_is_free(fake: i2c.FakeI2C, mast: Mast) -> None:
    """Transfers that time out give no speed; when the bus is free the next does."""
    fake.errors[0] = errno.ETIMEDOUT
    assert "stuck" in str(mast.read())
    del fake.errors[0]
    assert mast.speed() == 50.0


def test_a_bus_that_fails_while_the_chip_is_set_up_leaves_no_wrong_count(
    fake: i2c.FakeI2C, mast: Mast, chip: Pcf8583Chip
) -> None:
    """Half set up it is not believed: the next read sets it up again."""

    class Breaking(Pcf8583Chip):
        def write(self, data: bytes) -> None:
            if data[0] == 0x01 and len(data) > 1:
                raise OSError(errno.EIO, "broke off")
            super().write(data)

    mast.chip = fake.chips[1][0x50] = breaking = Breaking()
    breaking.count = 42
    assert "broke off" in str(mast.read())
    assert breaking.control == 0xA0
    mast.chip = fake.chips[1][0x50] = chip
    chip.registers[:] = breaking.registers
    assert "not counting" in str(mast.read())
    assert mast.speed() == 50.0


def test_read_twice_at_one_instant(mast: Mast) -> None:
    """No time has passed: the speed is that of the spans before, not a division by zero."""
    assert mast.speed() == 50.0
    mast.chip.pulses(12)
    sample = mast.counter.read(mast.clock.monotonic())
    assert sample.speed_mps == pytest.approx(0.5 * (25 + 12) / 0.25)


def test_a_closed_counter_reads_nothing(fake: i2c.FakeI2C, mast: Mast) -> None:
    """After close, which may be called twice, read raises and the adapter is let go."""
    mast.counter.close()
    mast.counter.close()
    assert "closed" in str(mast.read())
    assert fake.open_fds == 0


def test_open_does_not_touch_the_bus(fake: i2c.FakeI2C, chip: Pcf8583Chip, clock: FakeClock) -> None:
    """Nothing is opened or sent before the first read."""
    _counter(clock)
    assert fake.open_fds == 0
    assert fake.transfers == []


@pytest.mark.parametrize(
    ("table", "name", "at_20_hz"),
    [
        ({"model": "davis-6410"}, "davis-6410", 20.1168),
        ({"model": "Thies First Class"}, "thies-first-class", 1.134),
        ({"slope": 0.62, "offset": 0.27}, "slope-0.62-offset-0.27", 12.67),
        ({"slope": 0.62, "offset": 0.27, "calibration": "DKD-1"}, "DKD-1", 12.67),
        ({"points": [[0, 0.5], [40, 20.5]], "calibration": "K-2"}, "K-2", 10.5),
        ({"model": "nrg-40c", "offset": 0.4}, "slope-0.765-offset-0.4", 15.7),
        ({"model": "nrg-40c", "slope": 0.76}, "slope-0.76-offset-0.35", 15.55),
    ],
)
def test_the_anemometer_is_a_model_a_line_or_points(
    chip: Pcf8583Chip, clock: FakeClock, table: dict[str, object], name: str, at_20_hz: float
) -> None:
    """Each makes the speed its own way, and its name travels with the data."""
    mast = Mast(chip, clock, _counter(clock, **table))
    assert mast.counter.calibration == name
    mast.hertz = 20.0
    mast.reads(4)
    assert mast.speed() == pytest.approx(at_20_hz)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, 'set model = "…"'),
        ({"offset": 0.2}, "offset goes with slope"),
        ({"points": [[0, 0.0], [9, 9.0]], "slope": 1.0}, "set either"),
        ({"model": "davis-6411"}, "did you mean 'davis-6410'"),
        ({"slope": -1.0}, "positive"),
        ({"points": [[0, 0.0]]}, "at least two"),
        ({"slope": 1.0, "address": 0x52}, "0x51"),
    ],
)
def test_settings_that_contradict_are_refused(table: dict[str, object], words: str) -> None:
    """As for the anemometer on a pin: too little, too much and what is unsound are named."""
    settings, errors = parse(PulseCounter.Settings, table)
    assert settings is None
    assert words in str(errors[0])
