"""Commands from the message to the outbox, on one thread and a clock moved by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.cloud import CloudMessage, MethodCall
from agent.commands.actuation import Guarded
from agent.commands.executor import Executor
from agent.commands.guard import Guard
from agent.commands.journal import Journal
from agent.commands.memory import GuardMemory
from agent.commands.timeliness import CommandRules
from agent.config_tables import ActuatorLimits
from agent.outbox import Outbox
from agent.reading import Entry
from agent.timekeeping import Timekeeper
from hw.actuator import Value
from hw.errors import DeviceUnavailable
from hw.simulated.pins import SimulatedActuator
from tests.clock import FakeClock

BOOT = "boot-1"


class Beacon(SimulatedActuator):
    """A simulated actuator that remembers what it was driven to, and can be out of order."""

    def __init__(self, settings: SimulatedActuator.Settings | None = None) -> None:
        super().__init__(settings or SimulatedActuator.Settings())
        self.driven: list[Value] = []
        self.broken = False

    def drive(self, value: Value) -> None:
        if self.broken:
            raise DeviceUnavailable("the relay does not answer")
        super().drive(value)
        self.driven.append(value)


class Rig:
    """``start`` begins a process on the same files; ``crash`` forgets it without a word."""

    def __init__(self, folder: Path, *, journal: bool = True, rules: CommandRules | None = None) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.synchronised = True
        self.beacon = Beacon()
        self.vent = Beacon(SimulatedActuator.Settings(safe=0.0, maximum=100.0))
        self.events: list[Mapping[str, Any]] = []
        self.answers: list[tuple[int, Any]] = []
        self._journalled = journal
        self._rules = rules or CommandRules()
        self.start()

    def start(self, run: str = "run00001") -> None:
        timekeeper = Timekeeper(self.clock, BOOT, lambda: self.synchronised)
        self.journal = Journal(self.folder / "commands.db", BOOT) if self._journalled else None
        self.outbox = Outbox(self.folder / "outbox.db", run=run, boot_id=BOOT, max_bytes=8 << 20)
        guarded = {"beacon": Guarded(self.beacon), "vent": Guarded(self.vent, ActuatorLimits(max_on_s=60))}
        self.guard = Guard(guarded, lambda entry: self.events.append(entry.body))
        self.guard.wake = self._step_guard
        self.memory = GuardMemory(self.folder, BOOT)
        self.executor = Executor(
            journal=self.journal,
            guard=self.guard,
            memory=self.memory,
            timekeeper=timekeeper,
            rules=self._rules,
            put=self._put,
            status=lambda: {"version": "1"},
        )
        now = self.clock.monotonic()
        self.guard.start(now, self.memory.load(now))
        self.executor.recover()
        self.beacon.driven.clear()

    def crash(self) -> None:
        if self.journal is not None:
            self.journal.close()
        self.outbox.close()

    def receive(
        self,
        body: Mapping[str, Any] | bytes,
        message_id: str | None = None,
        expires_in_s: float | None = 60.0,
        expires: str | None = None,
    ) -> None:
        """A message arrives. ``expires_in_s``: the hub's own expiry, from now."""
        if expires_in_s is not None and expires is None:
            moment = datetime.fromtimestamp(self.clock.wall() + expires_in_s, UTC)
            expires = moment.strftime("%Y-%m-%dT%H:%M:%S.0000000Z")
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.executor.receive(CloudMessage(raw, self.clock.monotonic(), message_id, expires=expires))

    def answer(self, *args: Any, **kwargs: Any) -> Mapping[str, Any]:
        """The outcome of a message that arrives now."""
        self.receive(*args, **kwargs)
        return self.settle()[-1]

    def call(self, name: str, payload: Mapping[str, Any] | bytes = b"null") -> None:
        """A direct method arrives; its answer will be in ``answers``: its number and its JSON."""
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()

        def answer(number: int, body: bytes) -> None:
            self.answers.append((number, json.loads(body)))

        self.executor.call(MethodCall(name, raw, self.clock.monotonic(), answer))

    def called(self, name: str, payload: Mapping[str, Any] | bytes = b"null") -> tuple[int, Any]:
        """The answer to a direct method that arrives now."""
        self.call(name, payload)
        self.settle()
        return self.answers[-1]

    def settle(self) -> list[Mapping[str, Any]]:
        """Deal with all arrivals; every outcome in the outbox, oldest first."""
        now = self.clock.monotonic()
        while self.executor.step(now) <= now:
            pass
        return self.outcomes

    @property
    def outcomes(self) -> list[Mapping[str, Any]]:
        rows = sorted(self.outbox.unsent(1000), key=lambda row: row.sequence)
        return [row.entry.body for row in rows if row.entry.kind == "outcome"]

    @property
    def correlation_ids(self) -> list[str | None]:
        rows = sorted(self.outbox.unsent(1000), key=lambda row: row.sequence)
        return [row.entry.correlation_id for row in rows if row.entry.kind == "outcome"]

    def _step_guard(self) -> None:
        self.guard.step(self.clock.monotonic())

    def _put(self, entry: Entry, when_durable: Any = None) -> None:
        self.outbox.append([entry])
        if when_durable is not None:
            when_durable()


def on(**more: Any) -> dict[str, Any]:
    """A command that switches the beacon on."""
    return {"command": "set", "actuator": "beacon", "value": True, **more}


def off(**more: Any) -> dict[str, Any]:
    """A command that switches the beacon off, which is safe."""
    return {**on(**more), "value": False}
