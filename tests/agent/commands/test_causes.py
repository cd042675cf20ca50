"""Wind, link and manual mode: what they hold, whom they hold, and what is told of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from agent.commands.actuation import LOCAL, Asker, Guarded, Origin, Refusal
from agent.commands.causes import Causes
from agent.commands.holds import Hold
from agent.commands.memory import Remembered
from agent.config_tables import ActuatorLimits, InterlockConfig
from agent.reading import Entry
from hw.simulated.pins import SimulatedActuator

BEGAN = 1000.0
CLOUD = Asker(Origin.CLOUD, "c-1")
RULE = InterlockConfig(trip_mps=10.0, trip_s=1.0, release_s=5.0, sensors=("top",))


class Bench:
    """An awning with an interlock, a lamp that needs the wind for 20 s and the link for 30 s, and a bell."""

    def __init__(self, remembered: Remembered | None = None, *, interlock: bool = True) -> None:
        relay = SimulatedActuator(SimulatedActuator.Settings())
        self.told: list[tuple[str, str, Mapping[str, Any]]] = []
        self.put: list[Entry] = []
        guarded = {
            "awning": Guarded(relay, ActuatorLimits(stale_sensor_s=10), RULE if interlock else None),
            "lamp": Guarded(relay, ActuatorLimits(stale_sensor_s=20, lost_link_s=30)),
            "bell": Guarded(relay, ActuatorLimits(stale_sensor_s=math.inf, lost_link_s=math.inf)),
        }
        self.causes = Causes(
            guarded,
            ["top", "low"],
            lambda event, now, name, **details: self.told.append((event, name, details)),
            self.put.append,
        )
        self.causes.start(BEGAN, remembered or Remembered())

    def blow(self, first: int, last: int, speed: float, *sensors: str) -> None:
        for at in range(first, last + 1):
            for sensor in sensors or ("top", "low"):
                self.causes.wind(sensor, BEGAN + at, speed)
            self.causes.step(BEGAN + at)

    def holders(self, name: str, after_s: float) -> dict[str, str]:
        return {holder.word: holder.text for holder in self.causes.holders(name, BEGAN + after_s)}

    @property
    def events(self) -> list[Mapping[str, Any]]:
        return [entry.body for entry in self.put]


# --- wind


def test_a_storm_holds_what_has_an_interlock_and_is_told_once() -> None:
    """The event says how much, where and why; its end says for how long."""
    bench = Bench()
    bench.blow(0, 4, 15.0)
    assert bench.holders("awning", 4).keys() == {"interlock"}
    assert bench.holders("lamp", 4) == bench.holders("bell", 4) == {}
    bench.blow(5, 20, 3.0)
    assert bench.holders("awning", 20) == {}
    (alarm, name, details), over = bench.told
    assert (alarm, name) == ("wind-alarm", "awning")
    assert (details["sensor"], details["windSpeed"]) == ("top", 15.0)
    assert over == ("wind-alarm-over", "awning", {"alarmSeconds": 9.0})


def test_a_storm_after_a_silence_is_told_with_its_speed() -> None:
    """Once; its end counts from when the sensor was lost."""
    bench = Bench()
    bench.blow(0, 4, 3.0)
    for first in (20, 40):
        bench.causes.step(BEGAN + first)
        bench.blow(first, first + 4, 15.0)
    assert "15.0 m/s at top" in bench.holders("awning", 44)["interlock"]
    bench.blow(45, 60, 3.0)
    assert [event for event, _, _ in bench.told] == ["wind-alarm", "wind-alarm", "wind-alarm-over"]
    (_, _, silence), (_, _, storm), (_, _, over) = bench.told
    assert (silence["sensor"], silence["windSpeed"]) == ("top", None)
    assert (storm["sensor"], storm["windSpeed"], storm["reason"]) == (
        "top",
        15.0,
        "15.0 m/s at top, above 10",
    )
    assert over == {"alarmSeconds": 30.0}


def test_sensors_that_are_all_silent_hold_each_after_its_own_time() -> None:
    """One that is heard is enough to see by; a fault is silence; it names which."""
    bench = Bench(interlock=False)
    bench.blow(0, 5, 3.0, "top")
    bench.causes.wind("low", BEGAN + 9, None)
    assert bench.holders("awning", 14.9) == {}
    assert bench.holders("awning", 15) == {"stale-sensor": "no wind is known from top, low"}
    assert bench.holders("lamp", 24.9) == {}
    assert bench.holders("lamp", 25).keys() == {"stale-sensor"}
    assert bench.holders("bell", 1e6) == {}


@pytest.mark.parametrize("speed", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_hides_no_storm(speed: float) -> None:
    """It is a fault, as None is: the sensor becomes stale by it, and a mean is made without it."""
    bench = Bench()
    for at in range(6):
        bench.causes.wind("top", BEGAN + at + 0.5, speed)
        bench.blow(at, at, 30.0, "top")
    assert bench.told[0][0] == "wind-alarm"
    silent = Bench(interlock=False)
    for at in range(11):
        silent.causes.wind("top", BEGAN + at, speed)
    assert silent.holders("awning", 10).keys() == {"stale-sensor"}


def test_an_interlock_answers_for_its_own_sensors() -> None:
    """The other one may be silent."""
    bench = Bench()
    bench.blow(0, 30, 3.0, "top")
    assert bench.holders("awning", 30) == {}
    assert bench.holders("lamp", 30).keys() == {"lost-link"}


def test_the_guard_is_called_for_wind_that_may_change_something() -> None:
    """With an interlock each sample; without one only the first after the sensor was stale."""
    assert Bench().causes.wind("top", BEGAN + 1, 3.0)
    bench = Bench(interlock=False)
    assert not bench.causes.wind("top", BEGAN + 9.9, 3.0)
    assert bench.causes.wind("top", BEGAN + 19.9, 3.0)
    assert not bench.causes.wind("top", BEGAN + 20, 3.0)
    assert not bench.causes.wind("top", BEGAN + 60, None)


def test_without_actuators_wind_changes_nothing() -> None:
    """Nobody is called."""
    causes = Causes({}, ["top"], lambda *_: None, lambda entry: None)
    causes.start(BEGAN, Remembered())
    assert not causes.wind("top", BEGAN + 1e6, 3.0)


# --- link


def test_a_lost_link_holds_what_the_cloud_has_moved() -> None:
    """After ``lost_link_s`` from when it went, not from when it went again."""
    bench = Bench()
    bench.causes.link(True, BEGAN + 5)
    bench.blow(0, 100, 3.0)
    bench.causes.link(False, BEGAN + 50)
    bench.causes.link(False, BEGAN + 70)
    assert bench.holders("lamp", 79.9) == {}
    assert bench.holders("lamp", 80) == {"lost-link": "no link for 30 s"}
    (holder,) = bench.causes.holders("lamp", BEGAN + 80)
    assert holder.keeps(Origin.CLOUD)
    assert not holder.keeps(Origin.MAST)
    assert bench.holders("bell", 1e6) == {}
    bench.causes.link(True, BEGAN + 90)
    assert bench.holders("lamp", 100) == {}


def test_before_the_first_link_it_is_lost_since_the_start() -> None:
    """A mast that never comes up is as one that went."""
    bench = Bench()
    bench.blow(0, 31, 3.0)
    assert bench.holders("lamp", 29.9) == {}
    assert bench.holders("lamp", 30).keys() == {"lost-link"}


# --- manual mode


def test_a_hold_keeps_the_cloud_and_nobody_at_the_mast() -> None:
    """Everything, whatever its limits; and it is told with who made it."""
    bench = Bench()
    bench.causes.hold(None, LOCAL, BEGAN)
    bench.causes.hold(60.0, CLOUD, BEGAN)
    holders = list(bench.causes.holders("bell", BEGAN))
    assert [holder.text for holder in holders] == ["held at the mast", "held from the cloud"]
    assert [holder.until_boot_s for holder in holders] == [None, BEGAN + 60]
    assert all(holder.keeps(Origin.CLOUD) and not holder.keeps(Origin.MAST) for holder in holders)
    assert bench.events == [{"event": "held", "by": "mast"}, {"event": "held", "by": "cloud", "for": 60.0}]
    assert all(entry.urgent for entry in bench.put)


def test_the_cloud_lifts_no_hold_at_the_mast() -> None:
    """It is refused, and where both hold its own one goes."""
    bench = Bench()
    bench.causes.hold(None, LOCAL, BEGAN)
    with pytest.raises(Refusal, match="held-at-the-mast: lifted only there, by `masthead release`"):
        bench.causes.release(CLOUD, BEGAN)
    bench.causes.hold(None, CLOUD, BEGAN)
    bench.causes.release(CLOUD, BEGAN)
    assert bench.holders("bell", 0) == {"hold": "held at the mast"}
    bench.causes.release(LOCAL, BEGAN)
    assert bench.holders("bell", 0) == {}


def test_releasing_what_nobody_holds_is_done_and_no_event() -> None:
    """Whoever asks."""
    bench = Bench()
    bench.causes.release(CLOUD, BEGAN)
    bench.causes.release(LOCAL, BEGAN)
    assert bench.events == []


def test_a_hold_whose_time_is_up_is_over_and_told() -> None:
    """With the reason, once."""
    bench = Bench()
    bench.causes.hold(30.0, LOCAL, BEGAN)
    for after_s in (29.9, 30.0, 31.0):
        bench.causes.step(BEGAN + after_s)
    assert bench.events[1:] == [{"event": "released", "by": "mast", "reason": "time-up"}]
    assert bench.causes.remembered == Remembered(alarms=frozenset({"awning"}))  # nobody measured meanwhile


# --- over a restart


def test_holds_and_alarms_of_the_process_before_stand() -> None:
    """What it remembered is what this one remembers."""
    remembered = Remembered({Origin.MAST: Hold(BEGAN - 100)}, frozenset({"awning"}))
    bench = Bench(remembered)
    assert bench.causes.remembered == remembered
    assert bench.holders("awning", 0).keys() == {"interlock", "hold"}
    bench.blow(0, 4, 3.0)
    assert bench.holders("awning", 4).keys() == {"interlock", "hold"}


def test_a_hold_that_ended_meanwhile_stands_no_more() -> None:
    """In the same boot its end is known."""
    bench = Bench(Remembered({Origin.MAST: Hold(BEGAN - 100, 60.0)}))
    assert bench.holders("bell", 0) == {}


def test_in_doubt_every_interlock_is_in_alarm() -> None:
    """And one that is no more is in none."""
    bench = Bench(Remembered(doubt="guard.json cannot be read"))
    assert "as before the restart" in bench.holders("awning", 0)["interlock"]
    gone = Bench(Remembered(alarms=frozenset({"awning", "gone"})), interlock=False)
    assert gone.causes.remembered == Remembered()


# --- when to look


def test_it_says_when_something_may_change_though_nobody_calls() -> None:
    """Ends of holds, sensors that become stale, links that become lost."""
    bench = Bench(interlock=False)
    bench.causes.hold(7.0, LOCAL, BEGAN)
    bench.causes.wind("top", BEGAN + 3, 3.0)
    finite = {due - BEGAN for due in bench.causes.dues() if due < math.inf}
    assert finite == {7.0, 10.0, 13.0, 20.0, 23.0, 30.0, 900.0}
