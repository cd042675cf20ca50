"""The guard: safe at both ends, and never away for longer than allowed."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from agent.commands import outputs
from agent.commands.actuation import LOCAL, Asker, Guarded, Origin, Refusal
from agent.commands.guard import Guard
from agent.config_tables import ActuatorLimits, InterlockConfig
from agent.sampler import Sampler
from hw.actuator import Value
from hw.anemometer import WindSample
from hw.errors import DeviceUnavailable, HardwareError
from hw.simulated.pins import SimulatedActuator
from tests.clock import FakeClock

from .rig import Beacon


class Bench:
    """A guard with a beacon (off is safe) and a heater that may be on for 60 s."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.beacon = Beacon()
        self.heater = Beacon()
        self.events: list[Mapping[str, Any]] = []
        self.guard = Guard(
            {
                "beacon": Guarded(self.beacon, ActuatorLimits(max_on_s=math.inf)),
                "heater": Guarded(self.heater, ActuatorLimits(max_on_s=60)),
            },
            lambda entry: self.events.append(entry.body),
        )

    def ask(
        self, value: object, for_s: float | None = None, name: str = "beacon", source: str = "local"
    ) -> Value:
        command = source.partition("command ")[2]
        by = Asker(Origin.CLOUD, command) if command else LOCAL
        future = self.guard.drive(name, value, for_s, by)
        self.step()
        return future.result(0)

    def step(self, seconds: float = 0.0) -> float:
        """Let time pass; in how many seconds the guard wants to be called again."""
        self.clock.advance(seconds)
        now = self.clock.monotonic()
        return self.guard.step(now) - now


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.guard.start(bench.clock.monotonic())
    bench.beacon.driven.clear()
    bench.heater.driven.clear()
    return bench


def test_start_drives_everything_safe() -> None:
    """Before anything is asked for, whatever the pins were at; it is no event."""
    bench = Bench()
    bench.beacon.drive(True)
    bench.guard.start(bench.clock.monotonic())
    assert bench.beacon.value is False
    assert bench.heater.driven == [False]
    assert bench.events == []
    assert {s.why for s in bench.guard.status.values()} == {"start"}


def test_a_request_is_driven_and_told(bench: Bench) -> None:
    """The future has the value taken, the status who asked; without a limit nothing is due."""
    assert bench.ask(True) is True
    status = bench.guard.status["beacon"]
    assert (status.value, status.why, status.until_boot_s, status.fault) == (True, "local", None, None)
    assert status.away_since_boot_s == bench.clock.monotonic()
    bench.step(86400)
    assert bench.beacon.value is True


def test_for_brings_it_back_in_time(bench: Bench) -> None:
    """Not earlier, not later, and an event with the reason."""
    bench.ask(True, 30, source="command c-1")
    assert bench.step(29.5) == 0.5
    assert bench.beacon.driven == [True]
    bench.step(0.5)
    assert bench.beacon.driven == [True, False]
    assert bench.events == [
        {
            "event": "actuator-safe",
            "actuator": "beacon",
            "value": False,
            "reason": "time-up",
            "commandId": "c-1",
        }
    ]
    assert bench.guard.status["beacon"].value is False


def test_max_on_time_cuts_for_short(bench: Bench) -> None:
    """A longer ``for`` ends at the limit, and the event says which limit it was."""
    bench.ask(True, 600, name="heater")
    assert bench.step() == 60
    bench.step(60)
    assert bench.heater.value is False
    assert bench.events[-1]["reason"] == "max-on-time"


def test_a_shorter_for_goes_before_max_on_time(bench: Bench) -> None:
    """The nearer end counts."""
    bench.ask(True, 10, name="heater")
    bench.step(10)
    assert bench.events[-1]["reason"] == "time-up"


def test_asking_again_does_not_lengthen_max_on_time(bench: Bench) -> None:
    """The longest time away from safe counts from when it left, however often it is asked for."""
    bench.ask(True, name="heater")
    for _ in range(5):
        bench.step(10)
        bench.ask(True, name="heater")
    assert bench.step() == 10
    bench.step(10)
    assert bench.heater.value is False
    bench.ask(True, name="heater")
    assert bench.step() == 60


@pytest.mark.parametrize("source", ["command c-2", "local"])
def test_cut_short_by_somebody(bench: Bench, source: str) -> None:
    """Switching off what was to end by itself is an event that names who did it."""
    bench.ask(True, 30, source="command c-1")
    bench.ask(False, source=source)
    assert [(e["reason"], e["commandId"]) for e in bench.events] == [(source, "c-1")]
    bench.step(30)
    assert len(bench.events) == 1


def test_switching_off_what_had_no_end_is_no_event(bench: Bench) -> None:
    """Its own outcome tells."""
    bench.ask(True)
    bench.ask(False)
    assert bench.events == []


def test_a_later_request_moves_the_end(bench: Bench) -> None:
    """Asked for again, ``for`` counts from then; asked for without, it has no end."""
    bench.ask(True, 30)
    bench.step(20)
    bench.ask(True, 30)
    bench.step(20)
    assert bench.beacon.value is True
    bench.ask(True)
    bench.step(3600)
    assert bench.beacon.value is True
    assert bench.events == []


def test_stop_drives_everything_safe(bench: Bench) -> None:
    """What was away is an event; then the pins are let go of and nothing is obeyed any more."""
    bench.ask(True, 30)
    bench.guard.stop(bench.clock.monotonic())
    assert bench.beacon.driven == [True, False]
    assert [e["reason"] for e in bench.events] == ["stop"]
    with pytest.raises(Refusal, match="stopping"):
        bench.guard.drive("beacon", True, None, LOCAL).result(0)
    with pytest.raises(HardwareError, match="closed"):
        bench.beacon.drive(True)


def test_stop_refuses_what_waits(bench: Bench) -> None:
    """A request that nobody looked at fails, unless it was withdrawn before."""
    waiting = bench.guard.drive("beacon", True, None, LOCAL)
    withdrawn = bench.guard.drive("beacon", True, None, LOCAL)
    withdrawn.cancel()
    bench.guard.stop(bench.clock.monotonic())
    with pytest.raises(Refusal, match="stopping"):
        waiting.result(0)
    assert bench.beacon.driven == []


def test_a_cancelled_request_is_not_driven(bench: Bench) -> None:
    """Whoever gave up waiting is not obeyed later."""
    future = bench.guard.drive("beacon", True, None, LOCAL)
    assert future.cancel()
    bench.step()
    assert bench.beacon.driven == []


def test_requests_are_answered_in_order(bench: Bench) -> None:
    """All of them in one step, each of them driven."""
    futures = [bench.guard.drive("beacon", value, None, LOCAL) for value in (True, False, True)]
    bench.step()
    assert [f.result(0) for f in futures] == [True, False, True]
    assert bench.beacon.driven == [True, False, True]


@pytest.mark.parametrize(
    ("name", "value", "for_s", "reason"),
    [
        ("becon", True, None, "unknown-actuator: 'becon', did you mean 'beacon'?"),
        ("beacon", 1.0, None, "bad-value: expected true or false, got 1.0"),
        ("beacon", None, None, "bad-value: "),
        ("beacon", True, 0.0, "bad-for: expected a number of seconds greater than 0, got 0.0"),
        ("beacon", True, math.nan, "bad-for: "),
        ("beacon", True, math.inf, "bad-for: "),
    ],
)
def test_what_is_not_allowed_is_refused(
    bench: Bench, name: str, value: object, for_s: float | None, reason: str
) -> None:
    """Nothing moves, and the reason says what would be accepted."""
    with pytest.raises(Refusal) as refused:
        bench.ask(value, for_s, name)
    assert str(refused.value).startswith(reason)
    assert bench.beacon.driven == []


def test_without_actuators_every_name_is_unknown() -> None:
    """The refusal says that there are none."""
    guard = Guard({}, lambda entry: None)
    future = guard.drive("beacon", True, None, LOCAL)
    guard.step(0.0)
    with pytest.raises(Refusal, match="there is none here"):
        future.result(0)


def test_a_broken_actuator_fails_and_is_brought_to_safe_when_it_can(bench: Bench) -> None:
    """The request fails, the status says so, one event each way, and safe is tried every second."""
    bench.beacon.broken = True
    with pytest.raises(HardwareError, match="does not answer"):
        bench.ask(True)
    status = bench.guard.status["beacon"]
    assert (status.value, status.fault) == (None, "the relay does not answer")
    assert bench.step() == 1.0
    for _ in range(5):
        bench.step(1)
    assert [e["event"] for e in bench.events] == ["actuator-fault"]
    bench.beacon.broken = False
    bench.step(1)
    assert bench.beacon.driven == [False]
    assert [e["event"] for e in bench.events] == ["actuator-fault", "actuator-safe"]
    assert bench.guard.status["beacon"].fault is None


def test_a_return_that_fails_is_no_return(bench: Bench) -> None:
    """Until it worked no event says that the actuator is safe; then its reason is the first one."""
    bench.ask(True, 30)
    bench.beacon.broken = True
    bench.step(30)
    assert [e["event"] for e in bench.events] == ["actuator-fault"]
    bench.beacon.broken = False
    bench.step(1)
    assert (bench.events[-1]["event"], bench.events[-1]["reason"]) == ("actuator-safe", "time-up")


def test_a_command_to_safe_that_fails_says_so(bench: Bench) -> None:
    """It is not done before it worked."""
    bench.ask(True)
    bench.beacon.broken = True
    with pytest.raises(HardwareError):
        bench.ask(False)


def test_broken_at_the_start_and_at_the_stop() -> None:
    """The guard starts and stops all the same."""
    bench = Bench()
    bench.beacon.broken = True
    bench.guard.start(bench.clock.monotonic())
    assert bench.guard.status["beacon"].fault is not None
    bench.guard.stop(bench.clock.monotonic())
    assert [e["event"] for e in bench.events] == ["actuator-fault"]


def test_at_the_stop_all_are_safe_before_one_is_let_go_of(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A motor that takes its time to arrive keeps no other driven meanwhile."""
    bench.ask(True)
    bench.ask(True, name="heater")
    seen: list[Value] = []
    monkeypatch.setattr(bench.beacon, "close", lambda: seen.append(bench.heater.value))
    bench.guard.stop(bench.clock.monotonic())
    assert seen == [False]


def test_an_actuator_that_cannot_be_let_go_of_is_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are let go of all the same."""

    def stuck() -> None:
        raise DeviceUnavailable("the pin is gone")

    monkeypatch.setattr(bench.beacon, "close", stuck)
    bench.guard.stop(bench.clock.monotonic())
    assert "beacon could not be let go of safely: DeviceUnavailable('the pin is gone')" in caplog.text
    with pytest.raises(HardwareError, match="closed"):
        bench.heater.drive(False)


def test_is_safe_asks_the_actuator(bench: Bench) -> None:
    """The safe value of an actuator that exists, and of the right type."""
    assert bench.guard.is_safe("beacon", False)
    assert not bench.guard.is_safe("beacon", True)
    assert not bench.guard.is_safe("beacon", 0.0)
    assert not bench.guard.is_safe("other", False)
    vent = Guard({"v": Guarded(Beacon(SimulatedActuator.Settings(safe=0.0)))}, lambda entry: None)
    assert vent.is_safe("v", 0)
    assert vent.simulated("v")
    assert not vent.simulated("w")


def test_a_driver_that_breaks_its_contract_keeps_no_other_driven(bench: Bench) -> None:
    """At the stop every actuator is made safe and let go of, whatever another one raises."""
    bench.ask(True)
    bench.ask(True, name="heater")
    broken = bench.beacon

    def drive(value: Value) -> None:
        raise OSError("a bug in the driver")

    broken.drive = drive  # type: ignore[method-assign]
    bench.guard.stop(bench.clock.monotonic())
    assert bench.heater.driven[-1] is False


def test_whoever_waits_for_a_guard_that_dies_is_told(bench: Bench) -> None:
    """The step raises, which ends the process; the one who asked gets an error and does not wait for ever."""

    def drive(value: Value) -> None:
        raise OSError("a bug in the driver")

    bench.beacon.drive = drive  # type: ignore[method-assign]
    future = bench.guard.drive("beacon", True, None, LOCAL)
    with pytest.raises(OSError, match="a bug"):
        bench.step()
    with pytest.raises(HardwareError, match="the guard failed"):
        future.result(0)


def limited(sensors: tuple[str, ...] = (), **limits: Any) -> tuple[Bench, Beacon]:
    """A guard with one actuator of these limits, started."""
    bench, horn = Bench(), Beacon()
    put = lambda entry: bench.events.append(entry.body)  # noqa: E731
    bench.guard = Guard({"horn": Guarded(horn, ActuatorLimits(**limits))}, put, sensors)
    bench.guard.start(bench.clock.monotonic())
    horn.driven.clear()
    return bench, horn


def test_after_its_maximum_it_is_not_moved_once_more() -> None:
    """A guard that is late, by a suspend or a load, brings back, and obeys nobody for the last moment."""
    bench, horn = limited(max_on_s=60)
    bench.ask(True, name="horn")
    bench.clock.advance(60.5)
    with pytest.raises(Refusal, match="max-on-time: it is away from its safe state for 60 s already"):
        bench.ask(True, name="horn")
    assert horn.driven == [True, False]
    assert bench.guard.status["horn"].why == "max-on-time"


def test_out_of_order_past_its_maximum_it_goes_to_safe_before_anything_else() -> None:
    """When it can be driven again, whoever asks first; and what holds it is shown."""
    bench, horn = limited(max_on_s=60)
    horn.broken = True
    with pytest.raises(HardwareError):
        bench.ask(True, name="horn")
    for _ in range(60):
        bench.step(1)
    assert [holder.word for holder in bench.guard.holders["horn"]] == ["max-on-time"]
    horn.broken = False
    bench.clock.advance(0.5)
    with pytest.raises(Refusal, match="max-on-time"):
        bench.ask(True, name="horn")
    bench.step(0.5)
    assert horn.driven == [False]
    assert bench.ask(True, name="horn") is True


def test_a_move_that_failed_counts_for_the_rate() -> None:
    """Nobody knows whether it has moved."""
    bench, horn = limited(max_per_minute=2)
    horn.broken = True
    for _ in range(2):
        with pytest.raises(HardwareError):
            bench.ask(True, name="horn")
    horn.broken = False
    with pytest.raises(Refusal, match="rate: it was moved 2 times in a minute"):
        bench.ask(True, name="horn")
    bench.step(60)
    assert bench.ask(True, name="horn") is True


def test_a_shorter_for_than_the_shortest_is_refused() -> None:
    """And what would be accepted is said."""
    bench, _ = limited(min_on_s=5)
    with pytest.raises(Refusal, match="min-on-time: expected for of at least 5 s, got 4"):
        bench.ask(True, 4, "horn")
    assert bench.ask(True, 5, "horn") is True


def test_whoever_is_told_of_a_hold_can_rely_on_it(bench: Bench) -> None:
    """When the answer comes, it is in ``remembered``, and what the cloud had moved is safe."""
    bench.ask(True, source="command c-1")
    seen: list[tuple[bool, Value]] = []

    def look(_: object) -> None:
        seen.append((Origin.MAST in bench.guard.remembered.holds, bench.beacon.value))

    future = bench.guard.hold(None, LOCAL)
    future.add_done_callback(look)
    bench.step()
    future = bench.guard.release(LOCAL)
    future.add_done_callback(look)
    bench.step()
    assert seen == [(True, False), (False, False)]


def test_what_must_be_remembered_is_told_at_once_and_only_then(bench: Bench) -> None:
    """Once for each change, on the guard's thread."""
    told: list[None] = []
    bench.guard.remember = lambda: told.append(None)
    bench.guard.hold(None, LOCAL)
    bench.step()
    bench.step(100)
    assert len(told) == 1
    bench.guard.release(LOCAL)
    bench.step()
    assert len(told) == 2


def test_wind_that_comes_back_is_shown_at_once() -> None:
    """Where nothing else happens for an hour, the guard is called for it."""
    bench, _ = limited(("top",), stale_sensor_s=10)
    woken: list[None] = []
    bench.guard.wake = lambda: woken.append(None)
    bench.step(10)
    assert [holder.word for holder in bench.guard.holders["horn"]] == ["stale-sensor"]
    bench.guard.wind("top", bench.clock.monotonic(), None)
    assert woken == []
    bench.guard.wind("top", bench.clock.monotonic(), 3.0)
    assert len(woken) == 1
    bench.step()
    assert bench.guard.holders["horn"] == ()


def test_a_hold_that_ends_is_told_when_it_does(bench: Bench) -> None:
    """The guard wants to be called for it."""
    bench.guard.hold(30, LOCAL)
    assert bench.step() == 30
    bench.step(30)
    assert bench.events[-1] == {"event": "released", "by": "mast", "reason": "time-up"}


@pytest.mark.parametrize("hangs", ["at the stop", "in the guard's own thread"])
def test_a_driver_that_hangs_in_going_safe_keeps_no_other_driven(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, hangs: str
) -> None:
    """The stop comes to its end; every other actuator is safe and let go of, and the log names the one."""
    monkeypatch.setattr(outputs, "_STOP_S", 0.2)
    bench.ask(True, 30)
    bench.ask(True, name="heater")
    begun, go_on = threading.Event(), threading.Event()

    def hang(_: Value = False) -> None:
        begun.set()
        go_on.wait(60)

    monkeypatch.setattr(bench.beacon, "drive", hang)
    monkeypatch.setattr(bench.beacon, "close", hang)
    step = threading.Thread(target=bench.step, args=[30], daemon=True)
    stop = threading.Thread(target=bench.guard.stop, args=[bench.clock.monotonic()], daemon=True)
    try:
        if hangs != "at the stop":
            step.start()
            assert begun.wait(20)
        stop.start()
        stop.join(20)
        assert not stop.is_alive()
    finally:
        go_on.set()
    assert bench.heater.driven == [True, False]
    with pytest.raises(HardwareError, match="closed"):
        bench.heater.drive(False)
    assert "beacon could not be made safe: its driver hangs" in caplog.text
    assert "beacon could not be let go of safely: its driver hangs" in caplog.text
    assert "heater could not" not in caplog.text
    if hangs != "at the stop":
        step.join(20)


def test_what_failed_to_leave_is_brought_back_at_once(bench: Bench) -> None:
    """It may have moved half-way: nobody waits a second for that."""
    beacon = bench.beacon
    moved: list[Value] = []

    def drive(value: Value) -> None:
        moved.append(value)
        if value is True:
            raise DeviceUnavailable("the line is gone")

    beacon.drive = drive  # type: ignore[method-assign]
    with pytest.raises(HardwareError, match="the line is gone"):
        bench.ask(True, source="command c-1")
    assert moved == [True, False]
    status = bench.guard.status["beacon"]
    assert (status.value, status.fault, status.away) == (False, None, False)
    assert [(e["event"], e["reason"]) for e in bench.events] == [
        ("actuator-fault", "the line is gone"),
        ("actuator-safe", "fault"),
    ]


def motor(**limits: Any) -> tuple[Bench, Beacon, Beacon]:
    """A guard with the two directions of one motor, started and at rest."""
    bench, up, down = Bench(), Beacon(), Beacon()
    both = ActuatorLimits(exclusive="motor", max_on_s=math.inf, **limits)
    put = lambda entry: bench.events.append(entry.body)  # noqa: E731
    bench.guard = Guard({"up": Guarded(up, both), "down": Guarded(down, both)}, put)
    bench.guard.start(bench.clock.monotonic())
    return bench, up, down


def test_the_other_direction_waits_until_the_motor_stands() -> None:
    """Not only while the one is on, but for its whole rest afterwards; the refusal says how long that is."""
    bench, up, down = motor(min_off_s=5)
    bench.step(5)
    assert bench.ask(True, name="up") is True
    bench.step(2)
    with pytest.raises(Refusal, match=r"^exclusive: up is not in its safe state$"):
        bench.ask(True, name="down")
    bench.ask(False, name="up")
    bench.step(2)
    with pytest.raises(Refusal, match=r"^exclusive: up has not yet rested in its safe state \(3 s more\)$"):
        bench.ask(True, name="down")
    (holder,) = bench.guard.holders["down"]
    assert (holder.word, holder.until_boot_s) == ("exclusive", bench.clock.monotonic() + 3)
    bench.step(2.75)
    with pytest.raises(Refusal, match="exclusive"):
        bench.ask(True, name="down")
    assert True not in down.driven
    bench.step(0.25)
    assert bench.ask(True, name="down") is True
    assert up.value is False


def test_after_a_start_neither_direction_moves_before_both_have_rested() -> None:
    """Nobody knows which of them was on."""
    bench, _, _ = motor(min_off_s=5)
    bench.step(4)
    with pytest.raises(Refusal, match="min-off-time"):
        bench.ask(True, name="up")
    assert {holder.word for holder in bench.guard.holders["up"]} == {"min-off-time", "exclusive"}
    bench.step(1)
    assert bench.guard.holders["up"] == ()


@pytest.mark.parametrize("asks", ["drive", "pulse"])
def test_what_moves_when_its_asker_has_given_up_goes_back(bench: Bench, asks: str) -> None:
    """Who was told that it failed is not surprised by it; the event says why."""
    by = Asker(Origin.CLOUD, "c-1")
    future = getattr(bench.guard, asks)("beacon", True, 30.0, by)
    assert future.abandon()
    bench.step()
    assert bench.beacon.driven == [True, False]
    assert [(e["event"], e["reason"], e["commandId"]) for e in bench.events] == [
        ("actuator-safe", "unanswered", "c-1")
    ]
    assert bench.guard.status["beacon"].why == "unanswered"


@pytest.mark.parametrize("speed", [30.5, 60.0, math.inf])
def test_a_storm_that_is_too_high_to_be_true_trips_the_interlock(speed: float) -> None:
    """An anemometer that says more than it can measure is no reason to leave an awning out."""
    storm = [3.0]

    class Instrument:
        simulated = False
        calibration = None
        has_direction = False

        def read(self, now: float) -> WindSample:
            return WindSample(now, storm[0])

        def close(self) -> None:
            pass

    bench, awning = Bench(), Beacon()
    rule = InterlockConfig(trip_mps=20.0, trip_s=3.0, sensors=("top",))
    guarded = {"awning": Guarded(awning, ActuatorLimits(stale_sensor_s=60), rule)}
    bench.guard = Guard(guarded, lambda entry: bench.events.append(entry.body), ["top"])
    bench.guard.start(bench.clock.monotonic())
    sampler = Sampler(
        "top", Instrument, rate_hz=4.0, report_interval_s=60.0, put=lambda entry: None, height_m=None,
        max_speed_mps=30.0, watch=bench.guard.wind,
    )  # fmt: skip

    def blow(seconds: float) -> None:
        for _ in range(int(seconds * 4)):
            sampler.step(bench.clock.monotonic())
            bench.step(0.25)

    blow(5)
    assert bench.ask(True, name="awning") is True
    storm[0] = speed
    blow(4)
    assert awning.value is False
    alarm = next(e for e in bench.events if e["event"] == "wind-alarm")
    assert (alarm["sensor"], alarm["windSpeed"] > 20) == ("top", True)
