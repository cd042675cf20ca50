from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from agent.reading import Entry
from agent.sampler import Sampler
from hw.anemometer import WindSample
from hw.errors import BadSample, DeviceMisconfigured, DeviceUnavailable
from tests.clock import FakeClock


class Instrument:
    """An anemometer that says what a test tells it to."""

    simulated = False
    calibration: str | None = "cert-7"
    has_direction = True

    def __init__(self) -> None:
        self.speed: float | None = 5.0
        self.error: Exception | None = None
        self.vane_fault: str | None = None
        self.closed = False
        self.times: list[float] = []

    def read(self, now: float) -> WindSample:
        self.times.append(now)
        if self.error is not None:
            raise self.error
        return WindSample(now, self.speed, None if self.vane_fault else 90.0, self.vane_fault)

    def close(self) -> None:
        self.closed = True


class Rig:
    def __init__(self, interval_s: float = 10.0, opening: Callable[[], Instrument] | None = None) -> None:
        self.clock = FakeClock()
        self.instrument = Instrument()
        self.entries: list[Entry] = []
        self.sampler = Sampler(
            "top",
            opening or (lambda: self.instrument),
            rate_hz=4.0,
            report_interval_s=interval_s,
            put=self.entries.append,
            height_m=10.0,
        )

    def run(self, seconds: float) -> None:
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end - 1e-9:
            due = self.sampler.step(self.clock.monotonic())
            self.clock.advance(min(due, end) - self.clock.monotonic())

    def of(self, kind: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.kind == kind]


def test_a_reading_has_the_fields_of_the_wire_format() -> None:
    """One reading an interval, with means, gust, lull and direction of exactly its samples."""
    rig = Rig()
    rig.run(20.25)
    readings = rig.of("reading")
    assert [r.boot_time_s for r in readings] == [1010.0, 1020.0]
    assert dict(readings[0].body) == {
        "sensor": "top", "interval": 10, "height": 10, "windSpeed": 5.0, "windGust": 5.0, "windLull": 5.0,
        "windSpeedStdDev": 0.0, "windDirection": 90.0, "windVectorSpeed": 5.0, "quality": "good", "flags": [],
    }  # fmt: skip
    assert readings[0].calibration == "cert-7"
    assert rig.sampler.status.reported == 2


def test_samples_keep_their_rate_and_do_not_bunch_after_a_stall() -> None:
    """A late step takes one sample, on the schedule's next place, and never catches up in a burst."""
    rig = Rig()
    rig.run(2.0)
    rig.clock.advance(1.9)
    rig.run(2.1)
    gaps = [b - a for a, b in zip(rig.instrument.times, rig.instrument.times[1:], strict=False)]
    assert min(gaps) > 0.05
    assert sum(1 for gap in gaps if abs(gap - 0.25) > 1e-6) <= 2


def test_a_stall_longer_than_the_interval_is_one_longer_reading() -> None:
    """After a suspend the reading says how long it really covers, and that it is incomplete."""
    rig = Rig()
    rig.run(5.0)
    rig.clock.advance(38.0)
    rig.run(8.0)
    first = rig.of("reading")[0]
    assert first.body["interval"] == 40
    assert "incomplete" in first.body["flags"]


def test_a_fault_is_missing_with_a_flag_and_never_zero() -> None:
    """A sensor that fails for a whole interval yields nulls, each explained."""
    rig = Rig()
    rig.instrument.error = BadSample("checksum")
    rig.run(10.25)
    body = rig.of("reading")[0].body
    assert body["windSpeed"] is None
    assert body["windGust"] is None
    assert body["quality"] == "missing"
    assert body["flags"] == ["sensor-fault"]


def test_a_lost_sensor_is_said_once_and_its_return_once(caplog: pytest.LogCaptureFixture) -> None:
    """Five seconds without a value make an event and a log line; so does the first value after."""
    rig = Rig()
    rig.run(3.0)
    rig.instrument.error = DeviceUnavailable("no answer from 0x28")
    with caplog.at_level("INFO"):
        rig.run(60.0)
        rig.instrument.error = None
        rig.run(10.0)
    events = [dict(e.body) for e in rig.of("event")]
    assert [e["event"] for e in events] == ["sensor-lost", "sensor-back"]
    assert events[0]["reason"] == "no answer from 0x28"
    assert events[1]["lostSeconds"] == pytest.approx(60.0, abs=0.5)
    assert len(caplog.records) == 2


def test_a_lost_vane_is_said_once_and_its_return_once(caplog: pytest.LogCaptureFixture) -> None:
    """While the speed goes on; what happens to the speed meanwhile says nothing of the vane."""
    rig = Rig()
    rig.run(3.0)
    rig.instrument.vane_fault = "vane: no magnet"
    with caplog.at_level("INFO"):
        rig.run(20.0)
        rig.instrument.error = BadSample("checksum")
        rig.run(1.0)
        rig.instrument.error = None
        rig.run(9.0)
        rig.instrument.vane_fault = None
        rig.run(10.0)
    events = [dict(e.body) for e in rig.of("event")]
    assert [e["event"] for e in events] == ["vane-lost", "vane-back"]
    assert events[0]["reason"] == "vane: no magnet"
    assert events[1]["lostSeconds"] == pytest.approx(30.0, abs=0.5)
    assert len(caplog.records) == 2
    assert rig.of("reading")[1].body["flags"] == ["direction-missing"]


def test_short_faults_of_a_vane_around_a_long_one_of_the_sensor_are_no_event() -> None:
    """What the vane did while nobody could read it is not known."""
    rig = Rig()
    rig.instrument.vane_fault = "vane: no magnet"
    rig.run(0.5)
    rig.instrument.error = BadSample("checksum")
    rig.run(60.0)
    rig.instrument.error = None
    rig.run(0.5)
    rig.instrument.vane_fault = None
    rig.run(10.0)
    assert [e.body["event"] for e in rig.of("event")] == ["sensor-lost", "sensor-back"]


def test_a_short_gap_is_no_event() -> None:
    """What is shorter than five seconds is in the flags only."""
    rig = Rig()
    rig.instrument.error = BadSample("x")
    rig.run(4.0)
    rig.instrument.error = None
    rig.run(6.25)
    assert rig.of("event") == []
    assert "incomplete" in rig.of("reading")[0].body["flags"]


def test_a_sensor_that_is_not_there_yet_is_opened_later() -> None:
    """The sampler runs without it, asks again, and samples once it answers."""
    attempts = []
    rig = Rig()

    def opening() -> Instrument:
        attempts.append(rig.clock.monotonic())
        if len(attempts) < 3:
            raise DeviceUnavailable("no /dev/i2c-1")
        return rig.instrument

    rig = Rig(opening=opening)
    rig.sampler.open(rig.clock.monotonic())
    rig.run(30.0)
    assert len(attempts) == 3
    assert rig.sampler.status.sample is not None
    assert rig.sampler.status.sample.speed_mps == 5.0
    assert rig.of("reading")[0].body["flags"][-1] == "sensor-fault"


def test_a_misconfigured_sensor_is_for_a_person() -> None:
    """What no patience can mend is raised at the start."""

    def opening() -> Instrument:
        raise DeviceMisconfigured("pin 99 does not exist")

    with pytest.raises(DeviceMisconfigured, match="pin 99"):
        Rig(opening=opening).sampler.open(1000.0)


def test_impossible_values_are_rejected() -> None:
    """A value no wind has is counted as missing and flagged."""
    rig = Rig()
    rig.instrument.speed = 558.7
    rig.run(10.25)
    body = rig.of("reading")[0].body
    assert body["windSpeed"] is None
    assert body["quality"] == "fail"


def test_close_lets_go_of_the_sensor() -> None:
    """After close the instrument is closed; a second close does nothing."""
    rig = Rig()
    rig.run(1.0)
    rig.sampler.close()
    rig.sampler.close()
    assert rig.instrument.closed


@pytest.mark.parametrize(
    ("speed", "told"),
    [(5.0, 5.0), (30.0, 30.0), (30.1, 30.0), (558.7, 30.0), (math.inf, 30.0), (-1.0, None), (math.nan, None),
     (None, None)],
)  # fmt: skip
def test_the_guard_is_told_at_least_the_limit_of_a_wind_that_is_too_high(
    speed: float | None, told: float | None
) -> None:
    """What is rejected for a reading may be a storm all the same; below zero it is a fault."""
    rig, seen = Rig(), list[tuple[str, float, float | None]]()
    sampler = Sampler(
        "top", lambda: rig.instrument, rate_hz=4.0, report_interval_s=10.0, put=rig.entries.append,
        height_m=10.0, max_speed_mps=30.0, watch=lambda *sample: seen.append(sample),
    )  # fmt: skip
    rig.instrument.speed = speed
    sampler.step(rig.clock.monotonic())
    assert seen == [("top", rig.clock.monotonic(), told)]
    assert sampler.status.sample is not None
    assert (sampler.status.sample.speed_mps == speed) is (speed is None or told == speed)


def test_a_report_may_be_closed_early() -> None:
    """With what was measured since the last one and its true interval; without a sample there is none."""
    rig = Rig(interval_s=60.0)
    rig.sampler.report_early(rig.clock.monotonic())
    assert rig.of("reading") == []
    rig.run(65.5)
    rig.sampler.report_early(rig.clock.monotonic())
    rig.sampler.report_early(rig.clock.monotonic())
    whole, early = rig.of("reading")
    assert (whole.body["interval"], early.body["interval"]) == (60, 5.5)
    assert early.body["windSpeed"] == 5.0
    assert early.boot_time_s == rig.clock.monotonic()
