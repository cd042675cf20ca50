"""A mast full of actuators, and a plain account of what may be done to them.

Nothing here asks the guard: the account is kept from what was driven, blown, held and lost, and when, so that
it can disagree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from agent.commands.actuation import Origin
from agent.config_tables import ActuatorLimits, InterlockConfig
from hw.actuator import Value
from hw.errors import DeviceUnavailable

RETRY_S = 1.0
BROKEN_BY = {
    "max-on-time": "1. maximum",
    "interlock": "2. held",
    "stale-sensor": "2. held",
    "hold": "2. held",
    "lost-link": "2. held",
    "time-up": "5. brought back",
    "exclusive": "8. exclusive",
    "min-off-time": "9. rest",
    "rate": "9. rest",
}
"""The invariant, by number and name, of each reason to be safe."""

SENSORS = ("top", "low")


@dataclass
class Permit:
    """Who is being obeyed now, what it may do, and until when it wants it."""

    origin: Origin
    command_id: str | None = None
    valid: bool = True
    for_s: float | None = None
    deadline_s: float = math.inf


@dataclass
class Load:
    """What hangs on one output: it stays as it was driven, whichever process did it."""

    name: str
    safe: Value
    limits: ActuatorLimits
    interlock: InterlockConfig | None = None
    value: Value = field(init=False)
    broken: str | None = None
    """None, "deaf" (does not move) or "lying" (moves, and says that it did not)."""
    faulty: bool = False
    halfway: bool = False
    """It failed to leave, and nobody has tried to bring it back since."""
    tried_at: float = -math.inf
    left_at: float | None = None
    rests_from: float = -math.inf
    until: float = math.inf
    moved_by: Origin | None = None
    moves: list[float] = field(default_factory=list)
    safe_at: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.value = self.safe

    @property
    def away(self) -> bool:
        """As far as anybody can know without looking."""
        return self.faulty or self.value != self.safe


class Output:
    """Satisfies Actuator: one process's hand on a load. Every drive is put down in the account."""

    simulated = True

    def __init__(self, load: Load, account: Account) -> None:
        self.safe = load.safe
        self.closed = False
        self._load = load
        self._account = account

    def check(self, value: object) -> Value:
        if isinstance(self.safe, bool) and isinstance(value, bool):
            return value
        if not isinstance(self.safe, bool) and isinstance(value, float) and 0 <= value <= 100:
            return value
        raise ValueError("expected another value")

    def drive(self, value: Value) -> None:
        assert not self.closed
        load, was_away = self._load, self._load.away
        if value == load.safe:
            load.safe_at.append(self._account.now())
        else:
            self._account.leaves(load)
        load.tried_at = self._account.now()
        if load.broken is None or load.broken == "lying":
            load.value = value
        load.faulty = load.broken is not None
        load.halfway = load.faulty and value != load.safe
        if load.faulty:
            raise DeviceUnavailable("it does not answer")
        if value == load.safe:
            self._account.is_safe(load, was_away=was_away)

    def close(self) -> None:
        if not self.closed and self._load.broken is None:
            self.drive(self.safe)
        self.closed = True


class Weather:
    """One interlock, worked out from the list of all samples since the start."""

    def __init__(self, rule: InterlockConfig, lost_after_s: float, began: float, alarm: bool) -> None:
        self.rule = rule
        self.lost_after_s = lost_after_s
        self.began = began
        self.alarm = alarm
        self.low_since: float | None = None
        self.samples: dict[str, list[tuple[float, float]]] = {sensor: [] for sensor in rule.sensors}
        self.over = self.high = False

    def blow(self, sensor: str, at: float, speed_mps: float) -> None:
        if sensor not in self.samples:
            return
        self.samples[sensor].append((at, speed_mps))
        mean = self.mean(sensor)
        if mean is not None:
            self.over |= mean > self.rule.trip_mps
            self.high |= mean >= self.rule.release_below_mps

    def mean(self, sensor: str) -> float | None:
        run = self.samples[sensor]
        gaps = [n for n in range(1, len(run)) if run[n][0] - run[n - 1][0] > self.lost_after_s]
        run = run[gaps[-1] :] if gaps else run
        if not run or run[-1][0] - run[0][0] < self.rule.trip_s:
            return None
        recent = [speed for at, speed in run[:-1] if at > run[-1][0] - self.rule.trip_s] + [run[-1][1]]
        return sum(recent) / len(recent)

    @property
    def blind(self) -> bool:
        return any(self.mean(sensor) is None for sensor in self.samples)

    def look(self, now: float) -> None:
        last = [run[-1][0] if run else self.began for run in self.samples.values()]
        lost = any(now >= at + self.lost_after_s for at in last)
        trouble = self.over or lost
        if trouble or self.high or self.blind:
            self.low_since = None
        elif all((self.mean(s) or 0) < self.rule.release_below_mps for s in self.samples):
            self.low_since = now if self.low_since is None else self.low_since
            if now >= self.low_since + self.rule.release_s:
                self.alarm = False
        if trouble and not self.alarm:
            self.alarm, self.low_since = True, None
        self.over = self.high = False


class Account:
    """What stands, and what of it was done wrong: ``harm`` is to stay empty."""

    def __init__(self, loads: list[Load], now: Callable[[], float], wall: Callable[[], float]) -> None:
        self.now = now
        self.wall = wall
        self.loads = {load.name: load for load in loads}
        self.harm: list[str] = []
        self.permit: Permit | None = None
        self.moved_ids: set[str] = set()
        self.holds: dict[Origin, tuple[float, float]] = {}
        self.saved_holds: dict[Origin, tuple[float, float]] = {}
        self.saved_alarms: set[str] = set()
        self.boot = self.saved_boot = 0
        self.weather: dict[str, Weather] = {}
        self.valid_at: dict[str, float] = {}
        self.link_lost_at: float | None = None

    # --- what happens

    def start(self, boot: int) -> None:
        """Another process begins with what was saved; nobody knows how long the machine was off."""
        now, self.boot = self.now(), boot
        self.holds = {
            origin: (since if boot == self.saved_boot else now, for_s)
            for origin, (since, for_s) in self.saved_holds.items()
        }
        self.valid_at = dict.fromkeys(SENSORS, now)
        self.link_lost_at = now
        for load in self.loads.values():
            load.rests_from, load.moves = now, []
            load.left_at, load.until, load.moved_by = None, math.inf, None
            load.halfway = False
            if load.interlock is not None:
                alarm = load.name in self.saved_alarms
                self.weather[load.name] = Weather(load.interlock, load.limits.stale_sensor_s, now, alarm)

    def save(self) -> None:
        self.saved_boot, self.saved_holds = self.boot, {o: self.holds[o] for o in self.standing}
        self.saved_alarms = {name for name, weather in self.weather.items() if weather.alarm}

    def blow(self, sensor: str, speed_mps: float | None) -> None:
        if speed_mps is not None:
            self.valid_at[sensor] = self.now()
            for weather in self.weather.values():
                weather.blow(sensor, self.now(), speed_mps)

    def look(self) -> None:
        """As often as the guard does."""
        for weather in self.weather.values():
            weather.look(self.now())

    def hold(self, origin: Origin, for_s: float) -> None:
        """One that ends later stays: nobody is surprised by an actuator that moves earlier than was said."""
        now = self.now()
        since, for_before = self.holds.get(origin, (-math.inf, 0.0))
        if since + for_before < now + for_s:
            self.holds[origin] = now, for_s

    def link(self, up: bool) -> None:
        if up:
            self.link_lost_at = None
        elif self.link_lost_at is None:
            self.link_lost_at = self.now()

    # --- what is driven

    def leaves(self, load: Load) -> None:
        """An attempt to move away from safe: everything that speaks against it is harm."""
        now, permit = self.now(), self.permit
        if permit is None:
            self.harm.append(f"3. once: {load.name} moved by itself")
            return
        if not permit.valid:
            self.harm.append(f"3. once: {load.name} moved by what is no command")
        if permit.command_id is not None:
            if permit.command_id in self.moved_ids:
                self.harm.append(f"3. once: {load.name} moved twice for {permit.command_id}")
            self.moved_ids.add(permit.command_id)
        if permit.for_s is not None and permit.for_s < load.limits.min_on_s:
            self.harm.append(f"9. rest: {load.name} moved for {permit.for_s} s")
        if self.wall() > permit.deadline_s:
            self.harm.append(f"3. once: {load.name} moved late")
        for word in self.keeping(load, permit.origin):
            self.harm.append(f"{BROKEN_BY[word]}: {load.name} moved, against {word}")
        if load.left_at is None:
            load.left_at = now
        load.moves.append(now)
        load.moved_by = permit.origin
        load.until = math.inf if permit.for_s is None else now + permit.for_s

    def is_safe(self, load: Load, *, was_away: bool) -> None:
        if was_away:
            load.rests_from = self.now()
        load.left_at, load.until, load.moved_by = None, math.inf, None

    # --- what stands

    @property
    def to_remember(self) -> tuple[dict[Origin, tuple[float, float]], set[str]]:
        """What must outlast a crash."""
        alarms = {name for name, weather in self.weather.items() if weather.alarm}
        return {origin: self.holds[origin] for origin in self.standing}, alarms

    @property
    def standing(self) -> set[Origin]:
        return {origin for origin, (since, for_s) in self.holds.items() if self.now() < since + for_s}

    def back(self, load: Load) -> Iterator[tuple[str, bool]]:
        """(the word of what forces it back, whether only where the cloud has moved it)."""
        now, limits = self.now(), load.limits
        if load.interlock is None:
            if all(now >= at + limits.stale_sensor_s for at in self.valid_at.values()):
                yield "stale-sensor", False
        elif self.weather[load.name].alarm or self.weather[load.name].blind:
            yield "interlock", False
        if self.standing:
            yield "hold", True
        if self.link_lost_at is not None and now >= self.link_lost_at + limits.lost_link_s:
            yield "lost-link", True

    def holders(self, load: Load) -> Iterator[tuple[str, bool]]:
        """What keeps it from moving."""
        now, limits = self.now(), load.limits
        yield from self.back(load)
        if not load.away and now < load.rests_from + limits.min_off_s:
            yield "min-off-time", False
        if sum(at > now - 60 for at in load.moves) >= limits.max_per_minute:
            yield "rate", False
        if load.left_at is not None and now >= load.left_at + limits.max_on_s:
            yield "max-on-time", False
        for other in self.loads.values():
            same_group = limits.exclusive is not None and other.limits.exclusive == limits.exclusive
            rests = self.now() < other.rests_from + other.limits.min_off_s
            if same_group and other is not load and (other.away or rests):
                yield "exclusive", False

    def keeping(self, load: Load, origin: Origin) -> set[str]:
        return {word for word, cloud in self.holders(load) if origin is Origin.CLOUD or not cloud}

    def forced(self, load: Load) -> set[str]:
        """Why it should be safe by now, if it is not."""
        words = {w for w, cloud in self.back(load) if load.moved_by is not Origin.MAST or not cloud}
        if self.now() >= load.until:
            words.add("time-up")
        if load.left_at is not None and self.now() >= load.left_at + load.limits.max_on_s:
            words.add("max-on-time")
        return words
