"""The invariants at the head of agent/commands/interlock.py, by their names, with the wind of EN 13561.

An awning of class 2: safe above 10.7 m/s for 3 s, released below 7.9 m/s for 10 min.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from agent.commands.interlock import Interlock
from agent.config_tables import InterlockConfig

RULE = InterlockConfig(trip_mps=10.7, trip_s=3.0, release_mps=7.9, release_s=600.0, sensors=("top",))
LOST_S = 10.0
BEGAN = 1000.0
SLOW = pytest.mark.parametrize("rate_hz", [1.0, 4.0])
RATES = pytest.mark.parametrize("rate_hz", [1.0, 4.0, 20.0])


class Bench:
    """An interlock in the wind: sampled, and looked at after each sample and whenever it is due."""

    def __init__(
        self,
        rate_hz: float = 4.0,
        rule: InterlockConfig = RULE,
        *,
        tripped: bool = False,
        calm: bool = True,
    ) -> None:
        self.interlock = Interlock(rule, LOST_S, BEGAN, tripped=tripped)
        self.sensors = rule.sensors
        self.period_s = 1 / rate_hz
        self.samples = 0
        self.changes: list[tuple[float, bool]] = []
        if calm:
            self.blow(rule.trip_s, 5.0)
            self.blow(self.period_s, 5.0)

    @property
    def now(self) -> float:
        return BEGAN + self.samples * self.period_s

    def blow(self, seconds: float, speed: float | Callable[[float], float] | None, *sensors: str) -> None:
        """Samples for so long, of all sensors or of these; None is a fault."""
        began = self.now
        for _ in range(round(seconds / self.period_s)):
            self.samples += 1
            mps = speed(self.now - began) if callable(speed) else speed
            for sensor in sensors or self.sensors:
                self.interlock.observe(sensor, self.now, mps)
            self.look(self.now)

    def look(self, at: float) -> None:
        if self.interlock.step(at):
            self.changes.append((at, self.interlock.alarm is not None))

    @property
    def alarm(self) -> bool:
        return self.interlock.alarm is not None

    def alarm_after(self, began: float) -> float:
        """Seconds until the alarm; there must be one."""
        at, alarm = self.changes[-1]
        assert alarm
        return at - began


# --- trips


@RATES
def test_trips_when_three_seconds_were_above_the_limit(rate_hz: float) -> None:
    """A wind just above trips within the 3 s that EN 13561 allows, and not in the first half of them."""
    bench = Bench(rate_hz)
    bench.blow(60, 7.0)
    began = bench.now
    bench.blow(3, 10.8)
    assert 1.5 < bench.alarm_after(began) <= 3.0
    alarm = bench.interlock.alarm
    assert alarm is not None
    assert alarm.sensor == "top"
    assert alarm.wind_mps is not None
    assert 10.7 < alarm.wind_mps <= 10.8
    assert alarm.reason.endswith("m/s at top, above 10.7")


@RATES
def test_trips_not_at_the_limit_itself(rate_hz: float) -> None:
    """10.7 m/s for an hour are not above 10.7 m/s."""
    bench = Bench(rate_hz)
    bench.blow(3600 if rate_hz < 20 else 60, 10.7)
    assert bench.changes == []


@RATES
def test_trips_by_a_squall_that_is_shorter_and_stronger_by_as_much(rate_hz: float) -> None:
    """1 s of 30 m/s in 5 m/s is a mean of 13.3 m/s over 3 s; 1 s of 15 m/s is one of 8.3."""
    bench = Bench(rate_hz)
    began = bench.now
    bench.blow(1, 30.0)
    assert bench.alarm_after(began) <= 1.0
    mild = Bench(rate_hz)
    mild.blow(1, 15.0)
    mild.blow(10, 5.0)
    assert mild.changes == []


@RATES
def test_trips_in_spite_of_dips(rate_hz: float) -> None:
    """2 s of 14 m/s and 1 s of 5 m/s in turn are 11 m/s, and no lull hides it."""
    bench = Bench(rate_hz)
    began = bench.now
    bench.blow(3, lambda t: 5.0 if 2 < t <= 3 else 14.0)
    assert bench.alarm_after(began) <= 3.0


def test_trips_at_every_sample_where_the_span_is_zero() -> None:
    """``trip_s = 0``: one gust, and nothing has to be known for longer."""
    bench = Bench(1.0, replace(RULE, trip_s=0.0), calm=False)
    bench.blow(1, 5.0)
    assert bench.interlock.holds is None
    bench.blow(1, 10.8)
    assert bench.alarm_after(bench.now) == 0.0


def test_trips_by_a_gust_between_two_looks() -> None:
    """A guard that is late sees what was, and not only what is."""
    bench = Bench(20.0)
    for n in range(1, 201):  # ten seconds, the first half of them a storm
        bench.interlock.observe("top", bench.now + n / 20, 20.0 if n <= 100 else 2.0)
    bench.look(bench.now + 10)
    assert bench.alarm


def test_trips_by_the_worst_of_several_sensors() -> None:
    """One in the lee hides nothing, and the alarm names the other."""
    bench = Bench(4.0, replace(RULE, sensors=("top", "low")))
    for _ in range(12):
        bench.samples += 1
        bench.interlock.observe("low", bench.now, 2.0)
        bench.interlock.observe("top", bench.now, 11.0)
        bench.interlock.observe("other", bench.now, 50.0)
        bench.look(bench.now)
    assert bench.interlock.alarm is not None
    assert bench.interlock.alarm.sensor == "top"


def test_trips_not_by_a_sensor_that_is_none_of_its_business() -> None:
    """What blows elsewhere moves nothing here."""
    bench = Bench()
    for n in range(400):
        bench.interlock.observe("elsewhere", bench.now + n / 4, 50.0)
    bench.look(bench.now)
    assert not bench.alarm


@pytest.mark.parametrize("seed", range(20))
def test_trips_whenever_the_mean_of_three_seconds_is_above(seed: int) -> None:
    """Any wind, any jitter: the alarm comes with the first sample whose mean is above, worked out by hand."""
    rng = random.Random(seed)
    interlock = Interlock(RULE, LOST_S, BEGAN)
    samples: list[tuple[float, float]] = []
    at, mean = BEGAN, rng.uniform(6, 10)
    for _ in range(2000):
        at += rng.uniform(0.05, 1.2)
        samples.append((at, max(0.0, rng.gauss(mean, 1.5))))
        interlock.observe("top", *samples[-1])
        interlock.step(at)
        recent = [speed for time_s, speed in samples if at - 3.0 < time_s]
        above = at - samples[0][0] >= 3.0 and sum(recent) / len(recent) > 10.7
        assert (interlock.alarm is not None) is above
        if above:
            break


# --- blind


def test_blind_a_sensor_that_is_lost_is_an_alarm() -> None:
    """After ``lost_after_s`` without a valid value, to the moment, and it says when to look."""
    bench = Bench()
    last = bench.now
    bench.blow(9.75, None)
    assert not bench.alarm
    assert bench.interlock.due == last + LOST_S
    bench.look(last + LOST_S)
    alarm = bench.interlock.alarm
    assert alarm is not None
    assert (alarm.sensor, alarm.wind_mps, alarm.reason) == ("top", None, "no wind is known from top")


def test_blind_a_sensor_that_never_came_is_an_alarm() -> None:
    """Counted from the start."""
    bench = Bench(calm=False)
    bench.look(BEGAN + 9.9)
    assert not bench.alarm
    assert bench.interlock.due == BEGAN + LOST_S
    bench.look(BEGAN + LOST_S)
    assert bench.alarm


def test_blind_one_of_several_is_enough() -> None:
    """Where the other has no wind to tell of, nobody knows of it."""
    bench = Bench(4.0, replace(RULE, sensors=("top", "low")))
    bench.blow(11, 3.0, "low")
    alarm = bench.interlock.alarm
    assert alarm is not None
    assert alarm.sensor == "top"


@RATES
def test_blind_it_holds_until_measured_for_the_span(rate_hz: float) -> None:
    """At the start it is no alarm, and nothing moves either."""
    bench = Bench(rate_hz, calm=False)
    assert bench.interlock.holds == "the wind is not known yet at top"
    bench.blow(3, 2.0)
    assert bench.interlock.holds is not None
    bench.blow(1 / rate_hz, 2.0)
    assert bench.interlock.holds is None
    assert bench.changes == []


def test_blind_a_storm_at_the_start_is_an_alarm_as_soon_as_it_is_known() -> None:
    """Until then it holds."""
    bench = Bench(calm=False)
    bench.blow(3.25, 20.0)
    assert bench.alarm
    assert bench.changes == [(bench.now, True)]


def test_blind_a_short_gap_is_none() -> None:
    """Faults for less than ``lost_after_s`` neither trip nor hold."""
    bench = Bench()
    bench.blow(9, None)
    assert bench.interlock.holds is None
    bench.blow(1, 2.0)
    assert bench.changes == []


def test_blind_after_a_gap_the_span_is_measured_anew() -> None:
    """What blew before says nothing of what blows now."""
    bench = Bench(4.0, replace(RULE, release_s=1.0))
    bench.blow(20, None)
    back = bench.now
    bench.blow(10, 2.0)
    assert bench.changes[-1] == (back + 4.25, False)


# --- releases


@RATES
def test_releases_after_ten_minutes_below_and_not_before(rate_hz: float) -> None:
    """Counted from when the mean of 3 s was below; until then it says when it will be."""
    bench = Bench(rate_hz)
    bench.blow(5, 12.0)
    assert bench.interlock.release_at is None
    calm = bench.now
    bench.blow(599, 3.0)
    assert bench.alarm
    release_at = bench.interlock.release_at
    assert release_at is not None
    assert calm + 600 < release_at <= calm + 603
    assert bench.interlock.due <= release_at
    bench.blow(4, 3.0)
    assert bench.changes[-1] == (pytest.approx(release_at, abs=1e-6), False)
    assert bench.interlock.holds is None


@SLOW
def test_releases_not_while_the_wind_is_between_the_limits(rate_hz: float) -> None:
    """8 m/s trip nothing, and release nothing."""
    bench = Bench(rate_hz)
    bench.blow(5, 12.0)
    bench.blow(900, 8.0)
    assert bench.alarm
    assert bench.interlock.release_at is None


def test_releases_not_at_the_limit_itself() -> None:
    """7.9 m/s are not below 7.9 m/s."""
    bench = Bench(1.0, replace(RULE, trip_s=0.0))
    bench.blow(5, 12.0)
    bench.blow(3600, 7.9)
    assert bench.alarm


@SLOW
def test_releases_counts_anew_after_each_gust(rate_hz: float) -> None:
    """Nine minutes of calm before it are worth nothing."""
    bench = Bench(rate_hz)
    bench.blow(5, 12.0)
    bench.blow(540, 3.0)
    bench.blow(3, 8.5)
    gust = bench.now
    bench.blow(598, 3.0)
    assert bench.alarm
    bench.blow(6, 3.0)
    assert not bench.alarm
    assert bench.changes[-1][0] >= gust + 600


def test_releases_counts_anew_after_a_gust_between_two_looks() -> None:
    """A guard that is late misses none."""
    bench = Bench(1.0)
    bench.blow(5, 12.0)
    bench.blow(590, 3.0)
    for n in range(1, 21):
        bench.interlock.observe("top", bench.now + n, 9.0 if n < 8 else 3.0)
    bench.look(bench.now + 20)
    assert bench.alarm


def test_releases_counts_anew_after_the_sensor_was_lost() -> None:
    """A calm that nobody measured is none."""
    bench = Bench(1.0)
    bench.blow(5, 12.0)
    bench.blow(590, 3.0)
    bench.blow(11, None)
    bench.blow(600, 3.0)
    assert bench.alarm
    bench.blow(5, 3.0)
    assert not bench.alarm


def test_releases_counts_anew_after_a_gap_that_nobody_looked_into() -> None:
    """The guard slept through it with the sensor."""
    bench = Bench(1.0)
    bench.blow(5, 12.0)
    bench.blow(590, 3.0)
    bench.samples += 11
    bench.blow(600, 3.0)
    assert bench.alarm
    bench.blow(5, 3.0)
    assert not bench.alarm


def test_releases_only_when_every_sensor_is_low() -> None:
    """Calm below, and a breeze at the top."""
    bench = Bench(1.0, replace(RULE, sensors=("top", "low")))
    bench.blow(5, 12.0)
    for _ in range(900):
        bench.samples += 1
        bench.interlock.observe("low", bench.now, 1.0)
        bench.interlock.observe("top", bench.now, 8.5)
        bench.look(bench.now)
    assert bench.alarm
    bench.blow(610, 1.0)
    assert not bench.alarm


def test_releases_an_alarm_of_before_the_restart_as_any_other() -> None:
    """Ten minutes of calm from the start on, whatever was before."""
    bench = Bench(tripped=True, calm=False)
    assert bench.interlock.holds is not None
    assert "as before the restart" in bench.interlock.holds
    bench.blow(603, 3.0)
    assert bench.alarm
    bench.blow(1, 3.0)
    assert bench.changes == [(BEGAN + 603.25, False)]


def test_releases_at_three_quarters_where_nothing_is_said() -> None:
    """Without ``release_mps`` it is 0.75 of ``trip_mps``."""
    bench = Bench(1.0, replace(RULE, release_mps=None))
    bench.blow(5, 12.0)
    bench.blow(700, 8.03)
    assert bench.alarm
    bench.blow(700, 8.02)
    assert not bench.alarm


def test_releases_in_no_other_way() -> None:
    """Faults, silence and storms for a day release nothing."""
    bench = Bench(1.0)
    bench.blow(5, 12.0)
    for _ in range(20):
        bench.blow(300, None)
        bench.blow(300, 3.0)
        bench.blow(30, 20.0)
    assert bench.changes == [(bench.changes[0][0], True)]


# --- names


BOTH = replace(RULE, sensors=("top", "low"))


def test_names_the_wind_that_comes_after_a_silence() -> None:
    """It is the same alarm, with another cause, and that is told."""
    bench = Bench()
    bench.blow(20, None)
    bench.blow(60, 20.0)
    alarm = bench.interlock.alarm
    assert alarm is not None
    assert (alarm.sensor, alarm.wind_mps, alarm.reason) == ("top", 20.0, "20.0 m/s at top, above 10.7")
    (lost_at, _), _ = bench.changes
    assert (alarm.since_boot_s, len(bench.changes)) == (lost_at, 2)


def test_names_the_wind_that_comes_after_a_restart() -> None:
    """As soon as it is known; or that nobody knows of any."""
    bench = Bench(tripped=True, calm=False)
    bench.blow(30, 25.0)
    assert bench.interlock.holds == "25.0 m/s at top, above 10.7; released when below 7.9 m/s for 600 s"
    assert bench.changes == [(BEGAN + 3.25, True)]
    silent = Bench(tripped=True, calm=False)
    silent.look(BEGAN + LOST_S)
    assert "no wind is known from top" in str(silent.interlock.holds)
    assert silent.changes == []


def test_names_the_sensor_where_it_blows_now() -> None:
    """Another than before, but none while the first still has it; nobody is told again."""
    bench = Bench(rule=BOTH)
    for top, low, named in ((20.0, 5.0, "top"), (20.0, 20.0, "top"), (5.0, 20.0, "low"), (20.0, 20.0, "low")):
        for n in range(60):
            bench.samples += 1
            for sensor, mps in (("top", top), ("low", low)):  # looked at after each, as samplers wake a guard
                bench.interlock.observe(sensor, bench.now, mps)
                bench.look(bench.now)
                if n > 20:
                    assert f" m/s at {named}, " in str(bench.interlock.holds)
    assert len(bench.changes) == 1


def test_names_the_sensor_that_is_lost_in_an_alarm() -> None:
    """It says when to look, and that it is back; a wind above the limit elsewhere is named before it."""
    bench = Bench(rule=BOTH)
    bench.blow(5, 12.0)
    bench.blow(5, 2.0)
    last = bench.now
    bench.blow(9.75, 2.0, "low")
    assert bench.interlock.due == last + LOST_S
    bench.blow(1, 2.0, "low")
    assert "no wind is known from top; released when" in str(bench.interlock.holds)
    bench.blow(5, 20.0, "low")
    assert " m/s at low" in str(bench.interlock.holds)
    bench.blow(5, 2.0, "low")
    assert "no wind is known from top; released when" in str(bench.interlock.holds)
    bench.blow(5, 9.0)
    assert "no wind was known from top; released when" in str(bench.interlock.holds)
    assert len(bench.changes) == 1


def test_names_the_first_wind_of_each_alarm_once() -> None:
    """However often it comes and goes, and the sensor with it; the next alarm tells anew."""
    bench = Bench(1.0, replace(RULE, release_s=60.0))
    for _ in range(2):
        bench.changes.clear()
        for _ in range(50):
            bench.blow(20, None)
            bench.blow(10, 20.0)
        bench.blow(100, 3.0)
        assert [alarm for _, alarm in bench.changes] == [True, True, False]
