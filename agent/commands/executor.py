"""The executor: one arrival after the other, each judged, at most once executed, and answered.

The order of judgement is the safety argument, so it stands in one place, ``_judge``:

 1. what is no command is refused;
 2. what moves an actuator to its safe state is done, whatever its id, age or clock, journal or none;
 3. an id seen before is answered from the journal (same body) or refused (another body);
 4. what has no id, no expiry, or came too late is refused or expired;
 5. the rest is the guard's decision.

An answer to an id and a body that were answered before says so: ``"repeat": true``.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hw.errors import HardwareError

from ..cloud import CloudMessage
from ..reading import Entry
from ..timekeeping import Timekeeper
from .command import BadCommand, Command, digest, parse, parse_time
from .guard import Guard, Refusal
from .journal import Arrival, Journal

log = logging.getLogger(__name__)

_IDLE_S = 3600.0
UNJOURNALLED = 0  # the number of an arrival that the disk would not take
_ONLY_SAFE = "only commands towards safe are obeyed"


@dataclass(frozen=True, slots=True)
class CommandRules:
    """``[commands]`` of the configuration."""

    require_expiry: bool = True
    untrusted_clock_max_age_s: float = 10.0


class Executor:
    """Thread safety: ``receive`` and ``received`` from any thread; the rest on the executor's."""

    name = "executor"
    step_bound_s = 60.0  # it writes the journal, and a bad card stalls

    def __init__(
        self,
        journal: Journal | None,
        guard: Guard,
        timekeeper: Timekeeper,
        rules: CommandRules,
        put: Callable[[Entry, Callable[[], None] | None], None],
    ) -> None:
        """``journal`` is None where the disk has none to offer: then only the way to safe is open."""
        self._journal = journal
        self._guard = guard
        self._timekeeper = timekeeper
        self._rules = rules
        self._put = put
        self.wake: Callable[[], None] = lambda: None
        self._receiving = threading.Lock()  # the journal's order is the queue's
        self._queue: deque[Arrival] = deque()
        self._received = 0
        self.last_received_boot_s: float | None = None

    # --- any thread

    def receive(self, message: CloudMessage) -> None:
        """Journal a message and queue it: all that happens on the hub client's thread."""
        try:
            command = parse(message.body)
            command_id, named = command.command_id or message.message_id, command.digest
        except BadCommand as bad:
            command_id, named = bad.command_id or message.message_id, digest(message.body)
        with self._receiving:
            self._queue.append(self._journalled(command_id or None, named, message))
            self._received += 1
            self.last_received_boot_s = message.received_boot_s
        self.wake()

    @property
    def received(self) -> int:
        """Messages since the start."""
        return self._received

    def _journalled(self, command_id: str | None, named: str, message: CloudMessage) -> Arrival:
        try:
            if self._journal is None:
                raise sqlite3.OperationalError("there is none")
            return self._journal.add(command_id, named, message)
        except sqlite3.Error as error:
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
            log.error("the command journal cannot be read (%s): earlier commands stay unanswered", error)
            return
        for arrival in unposted:
            self._post(arrival, dict(arrival.outcome or {}))
        for arrival in unfinished:
            try:
                command = parse(arrival.message.body)
            except BadCommand as bad:
                outcome = self._outcome(arrival, None, "refused", bad.reason)
            else:
                outcome = self._outcome(arrival, command, "interrupted", "the agent stopped before its end")
                log.warning("command %s was interrupted by the last stop", arrival.command_id)
            self._finish(arrival, outcome)
            self._post(arrival, outcome)

    def step(self, now: float) -> float:
        """Deal with one arrival, by the time when its turn has come: asking the journal may take long."""
        try:
            arrival = self._queue.popleft()
        except IndexError:
            return now + _IDLE_S
        outcome = self._judge(arrival)
        reason = f" ({outcome['reason']})" if outcome["reason"] else ""
        log.info("command %s: %s%s", arrival.command_id, outcome["status"], reason)
        self._finish(arrival, outcome)
        self._post(arrival, outcome)
        return now

    def close(self, timeout_s: float = -1) -> None:
        """Let go of the journal (Journal.close)."""
        if self._journal is not None:
            self._journal.close(timeout_s)

    def _judge(self, arrival: Arrival) -> dict[str, Any]:
        message = arrival.message
        earlier, journal_works = self._earlier(arrival)
        same_body = earlier is not None and earlier.digest == arrival.digest
        repeat = {"repeat": True} if same_body else {}
        try:
            command = parse(message.body)
        except BadCommand as bad:
            log.info("message %d from the cloud is no command: %r, %d bytes, properties %s",
                     self._received, message.body[:200], len(message.body), message.properties)  # fmt: skip
            return self._outcome(arrival, None, "refused", bad.reason) | repeat
        if self._guard.is_safe(command.actuator, command.value):
            return self._drive(arrival, command) | repeat
        if earlier is not None and same_body:
            unknown = self._outcome(arrival, command, "interrupted", "the disk did not take its outcome")
            return dict(earlier.outcome or unknown) | repeat
        if earlier is not None:
            return self._outcome(arrival, command, "refused", "id-reused: another command had this id")
        if not journal_works:
            return self._outcome(
                arrival, command, "refused", f"no-journal: {_ONLY_SAFE} while the disk fails"
            )
        refusal = self._refusal(arrival, command, self._timekeeper.clock.monotonic())
        return self._outcome(arrival, command, *refusal) if refusal else self._drive(arrival, command)

    def _earlier(self, arrival: Arrival) -> tuple[Arrival | None, bool]:
        """(what had this id before, whether the journal could be asked)."""
        if self._journal is None or arrival.number == UNJOURNALLED:
            return None, False
        try:
            return self._journal.earlier(arrival), True
        except sqlite3.Error as error:
            log.error("the command journal cannot be read (%s): %s", error, _ONLY_SAFE)
            return None, False

    def _refusal(self, arrival: Arrival, command: Command, now: float) -> tuple[str, str] | None:
        """(status, reason) if this command may not be executed now."""
        if arrival.command_id is None:
            return "refused", "id-missing: give the body an id, or the message a message_id"
        hub_expiry = arrival.message.expires
        hub_expires_s = parse_time(hub_expiry) if hub_expiry else None
        if hub_expiry and hub_expires_s is None:
            return "refused", f"bad-expires: the message's expiry {hub_expiry!r} is no time"
        if hub_expires_s is None and command.expires_s is None and self._rules.require_expiry:
            return "refused", "expiry-missing: give the message an expiry, or the body expires"
        clock = self._timekeeper.read()
        if not clock.synchronised:
            return self._refusal_by_age(arrival, command, now)
        deadline_s = min(t for t in (hub_expires_s, command.expires_s, math.inf) if t is not None)
        return ("expired", "it came too late") if clock.offset_s + now > deadline_s else None

    def _refusal_by_age(self, arrival: Arrival, command: Command, now: float) -> tuple[str, str] | None:
        """While wall time means nothing: the hub kept to the message's expiry when it delivered, so a command
        is good for a moment after."""
        if command.expires_s is not None:
            return "refused", "clock-untrusted: expires cannot be judged yet, an expiry of the message can"
        age_s = now - arrival.message.received_boot_s
        if arrival.boot_id != self._timekeeper.boot_id or age_s > self._rules.untrusted_clock_max_age_s:
            return "refused", f"clock-untrusted: {age_s:.0f} s old, and the clock is not synchronised"
        return None

    def _drive(self, arrival: Arrival, command: Command) -> dict[str, Any]:
        try:
            value = self._guard.ask(
                command.actuator, command.value, command.for_s, arrival.command_id or "without an id"
            )
        except Refusal as refusal:
            return self._outcome(arrival, command, "refused", str(refusal))
        except HardwareError as error:
            return self._outcome(arrival, command, "failed", str(error))
        return self._outcome(arrival, command, "done", None) | {"value": value}

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
            log.error("the outcome of command %s could not be journalled: %s", arrival.command_id, error)

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
            log.error("the journal cannot be written: %s", error)
