"""Whatever is commanded, blown, held, broken, cut off and killed: no actuator does harm.

The invariants; where one was broken in any history, the test names it:

 1. maximum        none is away from safe for longer than its maximum, nor moved when that is over.
 2. held           one step after an interlock is in alarm or blind, or the wind stale, nothing is away; after
                   a hold or a lost link nothing is that the cloud has moved; and nothing leaves meanwhile.
 3. once           none is moved away from safe twice for one id, nor late, nor by what is no command, nor
                   by itself.
 4. one outcome    each arrival has exactly one, and each id and body has one that is no repeat.
 5. brought back   is everything one step after its time is up, a stop or a stop-all, at once what failed to
                   leave or whose asker has given up; what is broken is driven to safe each second.
 6. towards safe   is never refused.
 7. visible        what holds is shown, all of it and nothing else; a refusal's word is among it; without one
                   nothing is refused; what is away says why.
 8. exclusive      of a group one is away at most, and what is broken may be; the next one leaves when the
                   last has rested.
 9. rest           none leaves before it has rested, nor oftener than its rate, nor for too short a time.
10. kept           a hold at the mast outlasts crash and reboot, and the cloud never lifts it; none is
                   shortened by another of the same origin, and who releases is told of the other's.
11. alarmed        an alarm outlasts crash and reboot.
12. both ends      every actuator is driven safe at the start, also after a crash, and at the stop.

tests/agent/commands/mast.py keeps the account that they are held against.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from agent.cloud import CloudMessage, MethodCall
from agent.commands.actuation import LOCAL, Guarded, Origin
from agent.commands.executor import Executor
from agent.commands.guard import Guard
from agent.commands.journal import Arrival, Journal
from agent.commands.memory import GuardMemory, Remembered
from agent.commands.timeliness import CommandRules
from agent.config_tables import ActuatorLimits, InterlockConfig
from agent.outbox import Outbox
from agent.reading import Entry
from agent.timekeeping import Timekeeper
from hw.errors import HardwareError
from tests.clock import FakeClock

from .mast import BROKEN_BY, RETRY_S, SENSORS, Account, Load, Output, Permit

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # no card is worn out


def loads(*, interlocked: bool = True) -> list[Load]:
    """Every limit short somewhere and long elsewhere."""
    inf = math.inf
    both = gust = None
    if interlocked:
        both = InterlockConfig(trip_mps=10, trip_s=2, release_mps=8, release_s=6, sensors=SENSORS)
        gust = InterlockConfig(trip_mps=10, trip_s=0, release_s=3, sensors=("top",))
    return [
        Load("brake", False, ActuatorLimits(max_on_s=inf, stale_sensor_s=3, lost_link_s=20), both),
        Load("awning", 0.0, ActuatorLimits(max_on_s=10, stale_sensor_s=2, lost_link_s=inf), gust),
        Load("vent", 0.0, ActuatorLimits(max_on_s=20, max_per_minute=4, stale_sensor_s=inf, lost_link_s=inf)),
        Load("left", False, ActuatorLimits(min_off_s=5, exclusive="motor", stale_sensor_s=3, lost_link_s=5)),
        Load("right", False, ActuatorLimits(min_off_s=5, exclusive="motor", stale_sensor_s=inf, max_on_s=6)),
        Load("siren", True, ActuatorLimits(min_on_s=4, max_per_minute=2, stale_sensor_s=8, lost_link_s=900)),
    ]


NAMES = [load.name for load in loads()]
SWITCHES = [load.name for load in loads() if isinstance(load.safe, bool)]
NO_HOLDERS = ("unknown-", "bad-", "min-on-time")
"""What is refused because of what was asked for."""


class Cut(BaseException):
    """The power, in the middle of something."""


class Card:
    """A disk that fails, and a power that is cut just before something is written."""

    def __init__(self) -> None:
        self.failing = False
        self.cut_before: str | None = None

    def write(self, what: str, error: type[Exception]) -> None:
        if self.cut_before == what:
            raise Cut
        if self.failing:
            raise error("disk I/O error")


class CardJournal(Journal):
    """A journal on that card."""

    def __init__(self, path: Path, boot_id: str, card: Card) -> None:
        super().__init__(path, boot_id)
        self._card = card

    def add(self, command_id: str | None, digest: str, message: CloudMessage) -> Arrival:
        self._card.write("add", sqlite3.OperationalError)
        return super().add(command_id, digest, message)

    def earlier(self, arrival: Arrival) -> Arrival | None:
        self._card.write("earlier", sqlite3.OperationalError)
        return super().earlier(arrival)

    def finish(self, number: int, outcome: Mapping[str, Any]) -> None:
        self._card.write("finish", sqlite3.OperationalError)
        super().finish(number, outcome)

    def mark_posted(self, number: int) -> None:
        self._card.write("mark_posted", sqlite3.OperationalError)
        super().mark_posted(number)


class CardMemory(GuardMemory):
    """The guard's memory on that card."""

    def __init__(self, folder: Path, boot_id: str, card: Card) -> None:
        super().__init__(folder, boot_id)
        self._card = card

    def _write(self, remembered: Remembered) -> None:
        self._card.write("save", OSError)
        super()._write(remembered)


class Sent:
    """Something from the cloud: a message, or a direct method."""

    def __init__(self, body: dict[str, Any] | bytes, message_id: str | None, *, method: bool) -> None:
        self.body = body
        self.method = method and isinstance(body, dict)
        self.message_id = None if self.method else message_id
        self.expires_in_s: float | None = 60.0
        if self.method and isinstance(body, dict) and message_id is not None and "id" not in body:
            self.body = {**body, "id": message_id}

    @property
    def document(self) -> dict[str, Any]:
        return self.body if isinstance(self.body, dict) else {}

    @property
    def command_id(self) -> str | None:
        named = self.document.get("id")
        return named if isinstance(named, str) and named else self.message_id

    @property
    def flawed(self) -> bool:
        """In its id or its expiry, which what goes towards safe can do without."""
        named, body = self.document.get("id", "c"), self.document
        return not (isinstance(named, str) and named) or "expires" in body

    @property
    def key(self) -> str:
        return json.dumps(self.body, sort_keys=True) if isinstance(self.body, dict) else repr(self.body)

    @property
    def well_formed(self) -> bool:
        body = self.document
        if body.get("command") in ("stop", "stop-all"):
            return True
        good_value = isinstance(body.get("value", True), (bool, float))
        return bool(body) and good_value and body.get("for", 1) > 0 and body["command"] != "explode"

    def towards_safe(self, loads: Mapping[str, Load]) -> bool:
        """In order, and nothing but a return to safe, or a hold."""
        body = self.document
        load = loads.get(body.get("actuator", ""))
        if not self.well_formed or body["command"] in ("pulse", "release", "ping"):
            return False
        if body["command"] == "set":
            same = load is not None and isinstance(body["value"], bool) is isinstance(load.safe, bool)
            return same and load is not None and body["value"] == load.safe
        return load is not None or body["command"] != "stop"


def _bodies() -> list[dict[str, Any] | bytes]:
    def of(command: str, name: str | None = None, **more: Any) -> dict[str, Any]:
        return {"command": command, **({} if name is None else {"actuator": name}), **more}

    levels = [name for name in NAMES if name not in SWITCHES]
    bodies: list[dict[str, Any] | bytes] = []
    for name in NAMES:
        values = [True, False] if name in SWITCHES else [0.0, 30.0, 100.0]
        bodies += [of("set", name, value=value) for value in values]
        away = [value for value in values if value is not (name == "siren")]
        bodies += [of("set", name, value=value, **{"for": for_s}) for value in away for for_s in (5.0, 40.0)]
        bodies += [of("pulse", name, value=values[-1]), of("pulse", name, **{"for": 4.0}), of("stop", name)]
    bodies += 3 * [of("stop-all"), of("hold"), of("hold", **{"for": 10.0}), of("release"), of("release")]
    bodies += [
        of("ping"),
        of("explode"),
        of("set", "ghost", value=True),
        of("stop", "ghost"),
        b"\xff",
        b"[1]",
    ]
    bodies += [of("set", name, value=value) for name in levels for value in (150.0, True, "on")]
    bodies += [of("set", "left", value=1.0), of("set", "siren", value=False, **{"for": 0.0})]
    bodies += [of("stop", "siren", value="x"), of("stop-all", "ghost", **{"for": "ever"}, because=["smoke"])]
    for flaw in ({"id": 7}, {"id": ""}, {"expires": "soon"}):
        bodies += [of("set", "left", value=on, **flaw) for on in (True, False)]
        bodies += [of("stop", "right", **flaw), of("hold", **{"for": 10.0}, **flaw)]
    return bodies


BODIES = _bodies()
AWAY = [b for b in BODIES if isinstance(b, dict) and b["command"] in ("set", "pulse")]
AWAY += [{"command": "release"}, {"command": "hold"}]
commands = st.sampled_from(BODIES)
often = st.sampled_from([*NAMES, *len(NAMES) * [None]])
winds = st.sampled_from([2.0, 2.0, 2.0, 2.0, 9.0, 12.0, None, "silent"])


class NoHarm(RuleBasedStateMachine):
    """Any history of commands, time, wind, link and crashes."""

    @initialize(
        calm=st.sampled_from([True, True, True, False]),
        linked=st.sampled_from([True, True, True, False]),
        interlocked=st.sampled_from([True, True, True, False]),
        favourite=st.sampled_from(NAMES),
    )
    def begin(self, calm: bool, linked: bool, interlocked: bool, favourite: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="no-harm-", dir=MEMORY))
        self.clock = FakeClock(1000.0)
        self.card = Card()
        self.synchronised = True
        self.favourite = favourite
        self.account = Account(loads(interlocked=interlocked), self.now, self.wall)
        self.weather: dict[str, float | str | None] = dict.fromkeys(SENSORS, 2.0 if calm else 9.0)
        self.sent: list[Sent] = []
        self.waiting: list[tuple[Sent, bool]] = []
        self.due_outcomes: list[Sent] = []
        self.tainted: set[str] = set()
        self.boots = self.runs = self.ids = 0
        self.start(reboot=False)
        self.link(linked)
        self.wait(8.0)

    def now(self) -> float:
        return self.clock.monotonic()

    def wall(self) -> float:
        return self.clock.wall()

    def start(self, *, reboot: bool) -> None:
        self.boots += reboot
        self.runs += 1
        boot, now = f"boot-{self.boots}", self.now()
        account = self.account
        self.outputs = {name: Output(load, account) for name, load in account.loads.items()}
        guarded = {
            name: Guarded(self.outputs[name], load.limits, load.interlock)
            for name, load in account.loads.items()
        }
        self.journal = (
            None if self.card.failing else CardJournal(self.folder / "commands.db", boot, self.card)
        )
        run = f"run{self.runs:05}"
        self.outbox = Outbox(self.folder / "outbox.db", run=run, boot_id=boot, max_bytes=8 << 20)
        self.posted: list[Mapping[str, Any]] = []
        self.guard = Guard(guarded, self.tell, SENSORS)
        self.guard.remember = self.call_to_save
        self.memory = CardMemory(self.folder, boot, self.card)
        self.executor = Executor(
            journal=self.journal,
            guard=self.guard,
            memory=self.memory,
            timekeeper=Timekeeper(self.clock, boot, lambda: self.synchronised),
            rules=CommandRules(),
            put=self.post,
            status=dict,
        )
        self.asleep = self.called_to_save = False
        self.seen: object = ({}, set())
        account.start(self.boots)
        self.guard.start(now, self.memory.load(now))
        account.look()
        self.guard.wake = self.step_guard
        for load in account.loads.values():
            self.expect(load.safe_at[-1:] == [now], f"12. both ends: {load.name} was not driven safe")
        self.executor.recover()
        self.step_guard()

    # --- what the process does

    def step_guard(self) -> None:
        if not self.asleep:
            self.account.look()
            self.due = self.guard.step(self.now())
            self.expect(self.due > self.now(), "the guard wants to be called at once, for ever")

    def call_to_save(self) -> None:
        self.called_to_save = True

    def post(self, entry: Entry, when_durable: Callable[[], None] | None = None) -> None:
        if self.card.cut_before == "post":
            raise Cut
        self.outbox.append([entry])
        self.posted.append(entry.body)
        if when_durable is not None:
            when_durable()

    def tell(self, entry: Entry) -> None:
        self.expect(entry.urgent, f"{entry.body} does not leave first")
        self.outbox.append([entry])

    def work(self) -> None:
        """The executor deals with all that waits, one after the other, and saves what must be."""
        while self.waiting:
            self.work_once()
        self.executor.step(self.now())
        self.called_to_save, self.seen = False, self.account.to_remember
        self.saved()

    def work_once(self) -> None:
        sent, journalled = self.waiting.pop(0)
        if sent.command_id and (self.card.failing or not journalled):
            self.tainted.add(sent.command_id)
        body, loads = sent.document, self.account.loads
        self.account.permit = Permit(
            Origin.CLOUD,
            sent.command_id,
            sent.well_formed and not sent.flawed and bool(sent.command_id or sent.method) and journalled,
            body.get("for", 1.0) if body.get("command") == "pulse" else body.get("for"),
            sent.expires_at if self.synchronised else math.inf,
        )
        moved = {name: len(load.moves) for name, load in loads.items()}
        mast = Origin.MAST in self.account.standing
        answered = len(self.posted)
        self.saved()
        try:
            self.executor.step(self.now())
        finally:
            self.account.permit = None
            if journalled or len(self.posted) > answered:
                self.due_outcomes.append(sent)
        outcome = self.posted[-1]
        status, reason, done = outcome["status"], outcome["reason"], outcome["status"] == "done"
        fresh = done and not (outcome.get("repeat") and not sent.towards_safe(loads))
        command, name = body.get("command"), body.get("actuator")
        if sent.towards_safe(loads):
            self.expect(status in ("done", "failed"), f"6. towards safe: {sent.key} was {status}, {reason}")
            for each in loads.values():
                if command == "stop-all" or (name == each.name and command != "hold"):
                    well = not each.away if done else True
                    self.expect(well, f"5. brought back: {each.name} is not, after {command}")
        if fresh and command == "hold":
            self.account.hold(Origin.CLOUD, body.get("for", math.inf))
        if fresh and command == "release":
            self.account.holds.pop(Origin.CLOUD, None)
            self.expect(
                not mast or Origin.MAST in self.guard.remembered.holds, "10. kept: lifted from the cloud"
            )
        if fresh and command in ("hold", "release"):
            durable = not str(reason).startswith("not-durable")
            kept = not durable or self.on_card()[1] == self.account.to_remember[0]
            self.expect(kept, "10. kept: told before it was")
            self.expect(durable or self.card.failing, "10. kept: not on a card that works")
            other = "still held at the mast" if command == "release" and mast else None
            self.expect(not durable or reason == other, f"10. kept: told {reason}, and should be {other}")
        tries = sum(len(load.moves) - moved[n] for n, load in loads.items())
        self.expect(tries <= 1, f"3. once: {tries} moves for {sent.key}")
        self.expect(tries == 0 or status in ("done", "failed"), f"3. once: moved, and {status}")
        self.expect(not outcome.get("repeat") or tries == 0, "3. once: moved by a repeat")
        if status == "refused" and command in ("set", "pulse") and not outcome.get("repeat"):
            self.refused(name, reason, Origin.CLOUD)
        self.saved()

    def refused(self, name: Any, reason: str, origin: Origin) -> None:
        word = reason.partition(":")[0]
        by_executor = word in ("id-missing", "id-reused", "no-journal", "clock-untrusted", "expiry-missing")
        if by_executor or word.startswith(NO_HOLDERS) or name not in self.account.loads:
            return
        shown = {holder.word for holder in self.guard.holders[name]}
        self.expect(word in shown, f"7. visible: {name} was refused for {word}, and shows {shown}")
        keeping = self.account.keeping(self.account.loads[name], origin)
        self.expect(bool(keeping), f"7. visible: {name} was refused for {reason}, and nothing keeps it")

    def saved(self) -> None:
        if not self.card.failing:
            self.account.save()

    def expect(self, well: bool, what: str) -> None:
        if not well:
            self.account.harm.append(what)

    # --- time, wind and link

    @rule(seconds=st.sampled_from([0.25, 1.0, 2.0, 5.0]))
    def wait_a_moment(self, seconds: float) -> None:
        """After which the executor has saved what the guard wants remembered."""
        self.wait(seconds)
        if self.called_to_save:
            self.work()

    @rule(seconds=st.sampled_from([3.0, 4.75, 8.0, 21.0]))
    def wait(self, seconds: float) -> None:
        """With a sample a second from each sensor, and the guard called when it wants to be."""
        end = self.now() + seconds
        while (now := self.now()) < end:
            sample = math.floor(now) + 1.0
            following = min(end, sample, self.due)
            self.clock.advance(following - now)
            if following >= self.due:
                self.step_guard()
                self.check()
            if following == sample:
                for sensor, speed in self.weather.items():
                    if speed != "silent":
                        self.sample(sensor, speed)

    @rule(
        seconds=st.sampled_from([1.5, 7.0, 25.0, 100.0, 4000.0]),
        asks=st.sampled_from(["", "", "asks", "gives up"]),
        name=st.sampled_from(NAMES),
    )
    def oversleep(self, seconds: float, asks: str, name: str) -> None:
        """The guard is called late: the processor was busy, or the lid closed."""
        self.asleep = True
        self.clock.advance(seconds)
        load = self.account.loads[name]
        moves = len(load.moves)
        if asks:  # refused maybe for what is over with this very step
            asked = self.guard.drive(name, self.not_safe(name), None, LOCAL)
            if asks == "gives up":
                asked.abandon()
            self.account.permit = Permit(Origin.MAST)
        self.asleep = False
        self.step_guard()
        self.account.permit = None
        if asks == "gives up" and len(load.moves) > moves:
            back = load.broken is not None or not load.away
            self.expect(back, f"5. brought back: {name} is not, and its asker was told that it failed")

    @rule(sensors=st.sampled_from([SENSORS, SENSORS, ("top",), ("low",)]), wind=winds)
    def weather_changes(self, sensors: tuple[str, ...], wind: float | str | None) -> None:
        self.weather |= dict.fromkeys(sensors, wind)

    @rule(sensor=st.sampled_from(SENSORS), speed=st.sampled_from([2.0, 9.0, 19.0, 35.0]))
    def sample(self, sensor: str, speed: float | None) -> None:
        """Between two others as well: sensors are not in step."""
        self.account.blow(sensor, speed)
        self.guard.wind(sensor, self.now(), speed)

    @rule(up=st.sampled_from([True, True, False]))
    def link(self, up: bool) -> None:
        self.account.link(up)
        self.guard.link(up, self.now())

    @rule(synchronised=st.sampled_from([True, True, False]))
    def clock_is(self, synchronised: bool) -> None:
        self.synchronised = synchronised

    # --- commands

    @rule(
        body=commands,
        name=st.sampled_from(["new", "new", "new", "new", "new", "new", "old", None]),
        method=st.booleans(),
        expires=st.sampled_from([60.0, 60.0, 60.0, 2.0, -5.0, None]),
        at_once=st.sampled_from([True, True, True, False]),
    )
    def command(
        self, body: Any, name: str | None, method: bool, expires: float | None, at_once: bool
    ) -> None:
        self.ids += name == "new"
        sent = Sent(body, f"c-{self.ids}" if name else None, method=method and name is not None)
        sent.expires_in_s = expires
        self.send(sent, at_once)

    @rule(
        number=st.integers(0, 30),
        method=st.booleans(),
        expires=st.sampled_from([60.0, 60.0, 60.0, -5.0]),
        other=st.booleans(),
    )
    def good_command(self, number: int, method: bool, expires: float, other: bool) -> None:
        """For what is much used in this history, and maybe another one with its id."""
        bodies = [body for body in AWAY if body.get("actuator", self.favourite) == self.favourite]
        self.command(bodies[number % len(bodies)], "new", method, expires, at_once=True)
        if other:
            self.command(bodies[(number + 1) % len(bodies)], "old", method, expires, at_once=True)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), at_once=st.booleans())
    def again(self, data: st.DataObject, at_once: bool) -> None:
        """The hub delivers at least once."""
        self.send(data.draw(st.sampled_from(self.sent[-6:])), at_once)

    def send(self, sent: Sent, at_once: bool) -> None:
        self.sent.append(sent)
        now, wall = self.now(), self.clock.wall()
        body = sent.body if isinstance(sent.body, bytes) else json.dumps(sent.body).encode()
        if sent.method:
            document = {key: value for key, value in sent.document.items() if key != "command"}
            name, payload = sent.document["command"], json.dumps(document).encode()
            sent.expires_at = math.inf
            self.executor.call(MethodCall(name, payload, now, lambda number, answer: None))
        else:
            expires = None
            if sent.expires_in_s is not None:
                moment = datetime.fromtimestamp(wall + sent.expires_in_s, UTC)
                expires = moment.strftime("%Y-%m-%dT%H:%M:%S.%f0Z")
            sent.expires_at = wall + (math.inf if sent.expires_in_s is None else sent.expires_in_s)
            self.executor.receive(CloudMessage(body, now, sent.message_id, expires=expires))
        self.waiting.append((sent, self.journal is not None and not self.card.failing))
        if at_once:
            self.work()

    @rule()
    def deal_with_what_waits(self) -> None:
        self.work()

    @rule(
        name=often,
        for_s=st.sampled_from([None, None, 5.0, 2.0]),
        level=st.booleans(),
        times=st.sampled_from([1, 1, 1, 1, 5]),
    )
    def move_here(self, name: str | None, for_s: float | None, level: bool, times: int) -> None:
        """Somebody at the mast, who may insist."""
        name = name or self.favourite
        value = 50.0 if level and name in ("vent", "awning") else self.not_safe(name)
        for again in range(times):
            if again:
                self.wait(3.0)
            self.account.permit = Permit(Origin.MAST, for_s=for_s)
            self.settled(name, self.guard.drive(name, value, for_s, LOCAL))

    @rule(name=st.sampled_from([*NAMES, None]))
    def stop_here(self, name: str | None) -> None:
        future = self.guard.make_safe(name, LOCAL)
        asked = [load for load in self.account.loads.values() if name in (None, load.name)]
        broken = any(load.broken for load in asked)
        error = future.exception(0)
        self.expect(error is None or broken, f"6. towards safe: {error!r}")
        self.expect(
            error is not None or not any(load.away for load in asked), "5. brought back: not after a stop"
        )

    @rule(for_s=st.sampled_from([5.0, 30.0, math.inf, None, None]))
    def hold_here(self, for_s: float | None) -> None:
        """Or release, where there is nothing to wait for."""
        if for_s is None:
            self.guard.release(LOCAL).result(0)
            self.account.holds.clear()
        else:
            self.guard.hold(None if math.isinf(for_s) else for_s, LOCAL).result(0)
            self.account.hold(Origin.MAST, for_s)
        durable = self.memory.save(lambda: self.guard.remembered)
        self.expect(durable or self.card.failing, "10. kept: not on a card that works")
        self.saved()
        kept = self.account.saved_holds.get(Origin.MAST) == self.account.holds.get(Origin.MAST)
        self.expect(kept or not durable, "10. kept: told that it is")

    def not_safe(self, name: str) -> Any:
        safe = self.account.loads[name].safe
        return not safe if isinstance(safe, bool) else 100.0

    def settled(self, name: str, future: Future[Any]) -> None:
        self.account.permit = None
        error = future.exception(0)
        if isinstance(error, HardwareError):
            broken = self.account.loads[name].broken is not None
            self.expect(broken, f"{name} failed and is not broken: {error}")
        elif error is not None:
            self.refused(name, str(error), Origin.MAST)

    # --- what goes wrong

    @rule(name=often, how=st.sampled_from(["deaf", "lying", None]))
    def actuator_breaks(self, name: str | None, how: str | None) -> None:
        """Or all are mended."""
        for load in self.account.loads.values():
            load.broken = (
                None if how is None else how if load.name == (name or self.favourite) else load.broken
            )

    @rule(failing=st.sampled_from([True, False, False, False]))
    def card_is(self, failing: bool) -> None:
        self.card.failing = failing

    @rule(
        at=st.sampled_from(["save", "earlier", "finish", "post", "mark_posted", None]),
        reboot=st.booleans(),
        off_s=st.sampled_from([0.0, 3.0, 50.0]),
    )
    def crash(self, at: str | None, reboot: bool, off_s: float) -> None:
        """At any time, and between any two steps of a command's life."""
        if at is not None and self.waiting and not self.card.failing:
            self.card.cut_before = at
            with suppress(Cut):
                self.work()
            self.card.cut_before = None
            self.account.saved_boot, self.account.saved_holds, self.account.saved_alarms = self.on_card()
        self.restart(reboot=reboot, off_s=off_s)

    @rule(reboot=st.booleans())
    def stop_and_start(self, reboot: bool) -> None:
        """A clean stop: what waits is interrupted."""
        self.guard.stop(self.now())
        self.executor.close()
        for load in self.account.loads.values():
            well = load.broken is not None or load.value == load.safe
            self.expect(well, f"12. both ends: {load.name} is at {load.value}")
        self.restart(reboot=reboot, off_s=0.0)

    def restart(self, *, reboot: bool, off_s: float) -> None:
        """The process is gone, and with it what it had not written; what it drove stays driven."""
        self.due_outcomes += [sent for sent, journalled in self.waiting if journalled]
        self.waiting = []
        if self.journal is not None:
            self.journal.close()
        self.outbox._rows.db.close()
        if reboot:
            self.clock = FakeClock(5.0, self.clock.wall() + off_s)
        else:
            self.clock.advance(off_s)
        self.start(reboot=reboot)
        self.count_outcomes()

    def on_card(self) -> tuple[int, dict[Origin, tuple[float, float]], set[str]]:
        """Where the cut came just before the file was written, which of both it has is for it to say."""
        try:
            document = json.loads((self.folder / "guard.json").read_text())
        except FileNotFoundError:
            return 0, {}, set()
        holds = {
            Origin[name]: (hold["since"], math.inf if hold["for"] is None else hold["for"])
            for name, hold in document["holds"].items()
        }
        return int(document["boot"].partition("-")[2]), holds, set(document["alarms"])

    # --- what must be at any time

    @invariant()
    def check(self) -> None:
        if not hasattr(self, "guard"):
            return
        now = self.now()
        status, shown = self.guard.status, self.guard.holders
        held, standing = set(self.guard.remembered.holds), self.account.standing
        called = self.called_to_save or self.seen == self.account.to_remember
        self.expect(called, "10, 11: nobody was called to save what must outlast a crash")
        alarms = {name for name, weather in self.account.weather.items() if weather.alarm}
        self.expect(self.guard.remembered.alarms == alarms, f"11. alarmed: not {alarms}")
        self.expect(held == standing, f"10. kept: held {held}, and should be {standing}")
        groups: Counter[str] = Counter()
        for name, load in self.account.loads.items():
            forced = self.account.forced(load)
            if load.faulty:
                self.expect(
                    now < load.tried_at + RETRY_S, f"5. brought back: {name} was not tried for a second"
                )
                self.expect(not load.halfway, f"5. brought back: {name} failed to leave, and was left there")
            elif load.away:
                harm = [f"{BROKEN_BY[word]}: {name} is away, against {word}" for word in forced]
                self.account.harm.extend(harm)
                groups[load.limits.exclusive or name] += 1
            words = {h.word for h in shown[name] if h.until_boot_s is None or h.until_boot_s > now}
            expected = {word for word, _ in self.account.holders(load)}
            self.expect(words == expected, f"7. visible: {name} shows {words}, held by {expected}")
            self.expect(status[name].away == load.away, f"7. visible: {name} is shown {status[name]}")
            self.expect(bool(status[name].why), f"7. visible: {name} does not say why")
        self.expect(max(groups.values(), default=0) <= 1, f"8. exclusive: {groups}")
        assert not self.account.harm, self.account.harm

    def count_outcomes(self) -> None:
        """Once the journal could be read, after a restart or at the end."""
        if self.journal is None:
            return
        rows = [row.entry for row in self.outbox.unsent(1000) if row.entry.kind == "outcome"]
        self.expect(
            len(rows) == len(self.due_outcomes), f"4. one outcome: {len(rows)} rows, {len(self.due_outcomes)}"
        )
        expected = Counter(sent.command_id for sent in self.due_outcomes if sent.command_id)
        found = Counter(row.correlation_id for row in rows if row.correlation_id in expected)
        self.expect(found == expected, f"4. one outcome: {found}, expected {expected}")
        bodies: dict[str, set[str]] = {}
        for sent in self.due_outcomes:
            bodies.setdefault(sent.command_id or "", set()).add(sent.key)
        for command_id in expected.keys() - self.tainted:
            firsts = [
                dict(r.body) for r in rows if r.correlation_id == command_id and not r.body.get("repeat")
            ]
            well = len(firsts) == len(bodies[command_id])
            self.expect(well, f"4. one outcome: {command_id} has {firsts} for {bodies[command_id]}")

    def teardown(self) -> None:
        if not hasattr(self, "guard"):
            return
        try:
            self.card.failing = False
            self.restart(reboot=False, off_s=0.0)
            self.check()
        finally:
            self.executor.close()
            self.outbox.close()
            shutil.rmtree(self.folder)


def run(examples: int) -> None:
    run_state_machine_as_test(
        NoHarm,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            phases=(Phase.explicit, Phase.reuse, Phase.generate),
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_no_harm_in_any_history() -> None:
    """Every invariant holds after any sequence of commands, time, wind, link and crashes."""
    run(250)


@pytest.mark.long
def test_no_harm_in_very_many_histories() -> None:
    """As above, for as long as a cup of tea."""
    run(3000)
