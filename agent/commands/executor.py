"""The executor: one arrival after the other, each judged, at most once executed, and answered.

The order of judgement is the safety argument, so it stands in one place, ``_judge``:

 1. what is no command is refused;
 2. what brings actuators to their safe state, or holds them there, is done, whatever its id, age or clock,
    journal or none;
 3. an id seen before is answered from the journal (same body) or refused (another body);
 4. what has no id, no expiry, or came too late is refused or expired;
 5. the rest is the guard's decision.

An answer to an id and a body that were answered before says so: ``"repeat": true``. A direct method is a
command whose caller waits: it is judged in the same order, and its answer is the outcome.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hw.actuator import Value
from hw.errors import HardwareError

from ..cloud import CloudMessage, MethodCall
from ..outbox_file import is_damaged
from ..reading import Entry
from ..service import event
from ..timekeeping import Timekeeper
from .actuation import Asker, Ending, Origin, Refusal
from .asking import Asked, result
from .command import (
    PULSE_S,
    STATUS,
    UNKNOWN_METHOD,
    BadCommand,
    Command,
    as_name,
    digest,
    method_body,
    parse,
)
from .guard import Guard
from .journal import Arrival, Journal
from .memory import GuardMemory
from .timeliness import CommandRules, Timeliness, Verdict

log = logging.getLogger(__name__)

_IDLE_S = 3600.0
_AGAIN_S = 10.0  # what a bad card has not taken is tried again
UNJOURNALLED = 0  # the number of an arrival that the disk would not take
_ONLY_SAFE = "only commands towards safe are obeyed"
_NOT_DURABLE = "not-durable: after a restart it is as it was before, the disk did not take it"
_NUMBERS = {"done": 200, "refused": 400, "expired": 408, "failed": 500, "interrupted": 503}
"""The status number of a direct method's answer."""

_UNKNOWN_METHOD_NUMBER = 404


@dataclass(frozen=True, slots=True)
class _Task:
    """An arrival, what it says, and who waits for the answer, if somebody does."""

    arrival: Arrival
    command: Command | BadCommand
    call: MethodCall | None = None


class Executor:
    """Thread safety: ``receive``, ``call`` and ``received`` from any thread; the rest on the executor's."""

    name = "executor"
    step_bound_s = 60.0  # it writes the journal, and a bad card stalls

    def __init__(
        self,
        *,
        journal: Journal | None,
        guard: Guard,
        memory: GuardMemory,
        timekeeper: Timekeeper,
        rules: CommandRules,
        put: Callable[[Entry, Callable[[], None] | None], None],
        status: Callable[[], Mapping[str, Any]],
    ) -> None:
        """``journal`` is None where the disk has none to offer: then only the way to safe is open. ``memory``
        is kept as the guard wants it; ``status``: what the direct method of that name answers."""
        self._journal = journal
        self._guard = guard
        self._memory = memory
        self._timekeeper = timekeeper
        self._timeliness = Timeliness(rules, timekeeper)
        self._put = put
        self._status = status
        self.wake: Callable[[], None] = lambda: None
        self._receiving = threading.Lock()  # the journal's order is the queue's
        self._queue: deque[_Task] = deque()
        self._unwritten: dict[int, dict[str, Any]] = {}  # outcomes that the journal did not take
        self._received = 0
        self.journal_damaged = False
        self.last_received_boot_s: float | None = None

    # --- any thread

    def receive(self, message: CloudMessage) -> None:
        """Journal a message and queue it: all that happens on the hub client's thread."""
        try:
            command: Command | BadCommand = parse(message.body)
        except BadCommand as bad:
            command = bad
        self._enqueue(message, command, command.command_id or as_name(message.message_id))

    def call(self, call: MethodCall) -> None:
        """As ``receive``, for a direct method; ``status`` is answered at once."""
        if call.name == STATUS:
            call.answer(200, _json(self._status()))
            return
        # what is no command is journalled with its method's name, and stays none
        body = f"{call.name} ".encode(errors="replace") + call.payload
        try:
            body = method_body(call.name, call.payload)
            command: Command | BadCommand = parse(body)
        except BadCommand as bad:
            command = bad
        message = CloudMessage(body, call.received_boot_s)
        self._enqueue(message, command, command.command_id or str(uuid.uuid4()), call)

    @property
    def has_journal(self) -> bool:
        """Whether there is one that can be believed; without, ever only what is towards safe is obeyed."""
        return self._journal is not None and not self.journal_damaged

    @property
    def received(self) -> int:
        """Messages and calls since the start."""
        return self._received

    def _enqueue(
        self,
        message: CloudMessage,
        command: Command | BadCommand,
        command_id: str | None,
        call: MethodCall | None = None,
    ) -> None:
        named = digest(message.body) if isinstance(command, BadCommand) else command.digest
        with self._receiving:
            self._queue.append(_Task(self._journalled(command_id, named, message), command, call))
            self._received += 1
            self.last_received_boot_s = message.received_boot_s
        self.wake()

    def _journalled(self, command_id: str | None, named: str, message: CloudMessage) -> Arrival:
        try:
            if self._journal is None:
                raise sqlite3.OperationalError("there is none")
            return self._journal.add(command_id, named, message)
        except sqlite3.Error as error:
            self._note(error)
            log.error("the command journal cannot be written (%s): %s", error, _ONLY_SAFE)
            return Arrival(UNJOURNALLED, "", command_id, named, message, self._timekeeper.boot_id)

    # --- the executor's thread

    def recover(self) -> None:
        """Answer what an earlier process left: ``interrupted`` where it was cut off. Before anything else."""
        if self._journal is None:
            return
        try:
            unposted, unfinished = self._journal.unposted(), self._journal.unfinished()
        except sqlite3.Error as error:
            self._note(error)
            log.error("the command journal cannot be read (%s): earlier commands stay unanswered", error)
            return
        for arrival in unposted:
            self._post(arrival, dict(arrival.outcome or {}))
        for arrival in unfinished:
            outcome = self._cut_off(arrival)
            self._finish(arrival, outcome)
            self._post(arrival, outcome)

    def _cut_off(self, arrival: Arrival) -> dict[str, Any]:
        """The outcome of what an earlier process did not answer."""
        earlier, _ = self._earlier(arrival)
        same_body = earlier is not None and earlier.digest == arrival.digest
        repeat = {"repeat": True} if same_body else {}
        try:
            command = parse(arrival.message.body)
        except BadCommand as bad:
            return self._outcome(arrival, None, "refused", bad.reason) | repeat
        if earlier is not None and same_body and earlier.outcome and not self._is_towards_safe(command):
            return dict(earlier.outcome) | repeat
        log.warning("command %s was interrupted by the last stop", arrival.command_id)
        return self._outcome(arrival, command, "interrupted", "the agent stopped before its end") | repeat

    def step(self, now: float) -> float:
        """Deal with one arrival, by the time when its turn has come: asking the journal may take long."""
        saved = self._memory.save(lambda: self._guard.remembered)
        self._finish_again()
        try:
            task = self._queue.popleft()
        except IndexError:
            return now + (_IDLE_S if saved and not self._unwritten else _AGAIN_S)
        outcome = self._judge(task)
        reason = f" ({outcome['reason']})" if outcome["reason"] else ""
        told = task.arrival.command_id, outcome["status"], reason
        log.info("command %s: %s%s", *told, extra=event("command"))
        durable = self._memory.save(lambda: self._guard.remembered)
        if not durable and outcome["command"] in ("hold", "release") and outcome["status"] == "done":
            outcome["reason"] = _NOT_DURABLE
        self._finish(task.arrival, outcome)
        self._post(task.arrival, outcome)
        if task.call is not None:
            task.call.answer(_number(outcome), _json(outcome))
        return now

    def close(self, timeout_s: float = -1) -> None:
        """Let go of the journal (Journal.close)."""
        if self._journal is not None:
            self._finish_again()
            self._journal.close(timeout_s)

    def _judge(self, task: _Task) -> dict[str, Any]:
        arrival, command = task.arrival, task.command
        earlier, journal_works = self._earlier(arrival)
        same_body = earlier is not None and earlier.digest == arrival.digest
        repeat = {"repeat": True} if same_body else {}
        if isinstance(command, BadCommand):
            self._log_what_is_no_command(task)
            return self._outcome(arrival, None, "refused", command.reason) | repeat
        if self._is_towards_safe(command):
            return self._execute(arrival, command) | repeat
        if earlier is not None and same_body:
            unknown = self._outcome(arrival, command, "interrupted", "the disk did not take its outcome")
            return dict(earlier.outcome or unknown) | repeat
        if command.flaw is not None:
            refusal: Verdict | None = ("refused", command.flaw)
        elif earlier is not None:
            refusal = ("refused", "id-reused: another command had this id")
        elif not journal_works and command.name != "ping":
            refusal = ("refused", f"no-journal: {_ONLY_SAFE} while the disk fails")
        else:
            refusal = self._timeliness.refusal(arrival, command, live=task.call is not None)
        return self._outcome(arrival, command, *refusal) if refusal else self._execute(arrival, command)

    def _is_towards_safe(self, command: Command) -> bool:
        if command.name in ("set", "pulse"):
            return self._guard.is_safe(str(command.actuator), command.value)
        return command.name in ("stop", "stop-all", "hold")

    def _earlier(self, arrival: Arrival) -> tuple[Arrival | None, bool]:
        """(what had this id before, whether the journal could be asked)."""
        if self._journal is None or arrival.number == UNJOURNALLED:
            return None, False
        try:
            return self._journal.earlier(arrival), True
        except sqlite3.Error as error:
            self._note(error)
            log.error("the command journal cannot be read (%s): %s", error, _ONLY_SAFE)
            return None, False

    def _execute(self, arrival: Arrival, command: Command) -> dict[str, Any]:
        try:
            value = self._ask(command, Asker(Origin.CLOUD, arrival.command_id))
        except Refusal as refusal:
            cut_off = isinstance(refusal, Ending) and self._is_towards_safe(command)  # which nobody refuses
            return self._outcome(arrival, command, "interrupted" if cut_off else "refused", str(refusal))
        except HardwareError as error:
            return self._outcome(arrival, command, "failed", str(error))
        still_held = command.name == "release" and self._guard.remembered.holds
        reason = "still held at the mast" if still_held else None
        return self._outcome(arrival, command, "done", reason) | {"value": value}

    def _ask(self, command: Command, by: Asker) -> Value | None:
        """The value taken, if there is one. Raises Refusal, HardwareError."""
        guard, name = self._guard, command.actuator or ""
        asks: dict[str, Callable[[], Asked[Any]]] = {
            "set": lambda: guard.drive(name, command.value, command.for_s, by),
            "pulse": lambda: guard.pulse(name, command.value, command.for_s or PULSE_S, by),
            "stop": lambda: guard.make_safe(name, by),
            "stop-all": lambda: guard.make_safe(None, by),
            "hold": lambda: guard.hold(command.for_s, by),
            "release": lambda: guard.release(by),
        }
        if command.name not in asks:  # a ping
            return None
        taken = result(asks[command.name]())
        return taken if command.name in ("set", "pulse", "stop") else None

    def _log_what_is_no_command(self, task: _Task) -> None:
        message = task.arrival.message
        what = "message" if task.call is None else f"direct method {task.call.name[:40]!r},"
        log.info("%s %d from the cloud is no command: %r, %d bytes, properties %s",
                 what, self._received, message.body[:200], len(message.body), message.properties)  # fmt: skip

    def _outcome(
        self, arrival: Arrival, command: Command | None, status: str, reason: str | None
    ) -> dict[str, Any]:
        head = {
            "commandId": arrival.command_id,
            "command": command.name if command else None,
            "actuator": command.actuator if command else None,
        }
        return {**head, "status": status, "reason": reason, "value": None}

    def _finish(self, arrival: Arrival, outcome: dict[str, Any]) -> None:
        if self._journal is None or arrival.number == UNJOURNALLED:
            return
        try:
            self._journal.finish(arrival.number, outcome)
        except sqlite3.Error as error:
            self._note(error)
            self._unwritten[arrival.number] = outcome
            log.error("the outcome of command %s could not be journalled: %s", arrival.command_id, error)

    def _finish_again(self) -> None:
        """Else the next process would call interrupted what was answered."""
        while self._unwritten and self._journal is not None:
            number, outcome = next(iter(self._unwritten.items()))
            try:
                self._journal.finish(number, outcome)
            except sqlite3.Error:
                return
            del self._unwritten[number]

    def _post(self, arrival: Arrival, outcome: dict[str, Any]) -> None:
        """Into the outbox; its key makes a second posting after a crash the same entry."""
        journalled = arrival.number != UNJOURNALLED
        entry = Entry(
            "outcome",
            self._timekeeper.clock.monotonic(),
            outcome,
            simulated=self._guard.simulated(str(outcome.get("actuator"))),
            correlation_id=arrival.command_id,
            key=f"outcome:{arrival.token}" if journalled else None,
            urgent=True,
        )
        self._put(entry, (lambda: self._posted(arrival.number)) if journalled else None)

    def _posted(self, number: int) -> None:
        assert self._journal is not None  # noqa: S101  (only journalled arrivals get here)
        try:
            self._journal.mark_posted(number)
        except sqlite3.Error as error:
            self._note(error)
            log.error("the journal cannot be written: %s", error)

    def _note(self, error: Exception) -> None:
        """A damaged journal stays so, unlike a full card: whoever runs us sets it aside."""
        self.journal_damaged |= is_damaged(error)


def _number(outcome: Mapping[str, Any]) -> int:
    if str(outcome["reason"]).startswith(UNKNOWN_METHOD):
        return _UNKNOWN_METHOD_NUMBER
    return _NUMBERS[outcome["status"]]


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, default=str).encode()
