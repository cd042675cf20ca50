"""The guard: the only one who drives actuators, and the one who brings them back.

Safe at the start and at the stop, whoever asks; never away from safe for longer than allowed, however often
it is asked for. What cannot be driven is driven to safe, again and again, until it can. It runs on its own
thread, which touches neither disk nor network, so that neither can delay a return to safe.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass

from hw.actuator import Actuator, Value
from hw.errors import HardwareError
from hw.settings import did_you_mean

from ..reading import Entry

log = logging.getLogger(__name__)

_IDLE_S = 3600.0
_ANSWER_S = 1.5
_RETRY_S = 1.0  # a faulty actuator is driven to safe again after so long


class Refusal(Exception):
    """The guard does not do that. The text is a word for programs, then the reason for people."""


@dataclass(frozen=True, slots=True)
class Guarded:
    """An actuator and how far commands may go with it. ``max_on_s``: longest time away from safe."""

    actuator: Actuator
    max_on_s: float | None = None


@dataclass(frozen=True, slots=True)
class ActuatorStatus:
    """``value`` is None if the actuator could not be driven: ``fault`` says why, and it is tried again.

    ``why``: who or what made it so; ``command_id``: by which command, or None.
    ``away_since_boot_s``: when it left its safe state, or None.
    ``until_boot_s``: when it goes back, because of ``limit`` ("time-up" or "max-on-time"), or None.
    """

    value: Value | None
    safe: Value
    since_boot_s: float
    why: str
    simulated: bool
    away_since_boot_s: float | None = None
    until_boot_s: float | None = None
    limit: str | None = None
    fault: str | None = None
    command_id: str | None = None


@dataclass(slots=True)
class _Request:
    name: str
    value: object
    for_s: float | None
    command_id: str | None
    future: Future[Value]

    @property
    def source(self) -> str:
        return "local" if self.command_id is None else f"command {self.command_id}"


class Guard:
    """Thread safety: what stands under "any thread" below; the rest on the guard's."""

    name = "guard"
    step_bound_s = 2.0

    def __init__(self, guarded: Mapping[str, Guarded], put: Callable[[Entry], None]) -> None:
        self._guarded = dict(guarded)
        self._put = put
        self.wake: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._requests: list[_Request] = []
        self._status: dict[str, ActuatorStatus] = {}
        self._ended = False

    # --- any thread

    def ask(self, name: str, value: object, for_s: float | None, command_id: str | None = None) -> Value:
        """Have an actuator driven, and wait for it; the value taken.

        Raises Refusal if that is not allowed, HardwareError if it did not work or the guard did not answer:
        the request is then withdrawn.
        """
        future = self.request(name, value, for_s, command_id)
        try:
            return future.result(_ANSWER_S)
        except FutureTimeout:
            if future.cancel():
                raise HardwareError("the guard did not answer in time") from None
        try:
            return future.result(_ANSWER_S)  # it was looking at the request just then
        except FutureTimeout:
            raise HardwareError("the guard hangs in the driver") from None

    def request(
        self, name: str, value: object, for_s: float | None, command_id: str | None = None
    ) -> Future[Value]:
        """Ask for an actuator to be driven; the future has the value taken.

        ``command_id``: the command that asks; None for a person at the mast. The future fails with Refusal
        if that is not allowed, with HardwareError if it did not work. Cancelling it before the guard has
        looked withdraws the request.
        """
        future: Future[Value] = Future()
        with self._lock:
            if self._ended:
                future.set_exception(Refusal("stopping: the agent is ending"))
                return future
            self._requests.append(_Request(name, value, for_s, command_id, future))
        self.wake()
        return future

    def is_safe(self, name: str, value: object) -> bool:
        """Whether ``value`` is the safe value of an actuator that exists."""
        guarded = self._guarded.get(name)
        try:
            return guarded is not None and guarded.actuator.check(value) == guarded.actuator.safe
        except (ValueError, HardwareError):
            return False

    def simulated(self, name: str) -> bool:
        """Whether nothing moves behind this name."""
        guarded = self._guarded.get(name)
        return guarded is not None and guarded.actuator.simulated

    @property
    def status(self) -> Mapping[str, ActuatorStatus]:
        """Every actuator as of now."""
        with self._lock:
            return dict(self._status)

    # --- the guard's thread

    def start(self, now: float) -> None:
        """Drive everything to its safe state, before anything else happens."""
        for name in self._guarded:
            self._return(name, now, "start")

    def step(self, now: float) -> float:
        """Answer requests, in the order they came, and bring back what is due or out of order."""
        with self._lock:
            requests, self._requests = self._requests, []
        for request in requests:
            self._answer(request, now)
        dues = [now + _IDLE_S]
        for name, status in self.status.items():
            if status.fault is not None and now >= status.since_boot_s + _RETRY_S:
                self._return(name, now, status.why)
            elif status.until_boot_s is not None and now >= status.until_boot_s:
                self._return(name, now, status.limit or "time-up")
        for status in self.status.values():
            if status.fault is not None:
                dues.append(status.since_boot_s + _RETRY_S)
            elif status.until_boot_s is not None:
                dues.append(status.until_boot_s)
        return min(dues)

    def stop(self, now: float) -> None:
        """Drive everything to its safe state and let go. After the thread has ended, or instead of it."""
        with self._lock:
            self._ended = True
            requests, self._requests = self._requests, []
        for request in requests:
            if request.future.set_running_or_notify_cancel():
                request.future.set_exception(Refusal("stopping: the agent is ending"))
        for name, status in self.status.items():
            try:
                if status.value != status.safe:
                    self._return(name, now, "stop")
            except Exception as error:  # noqa: BLE001  (a driver that breaks its contract keeps no other driven)
                log.error("%s could not be made safe: %r", name, error)
        for (
            name,
            guarded,
        ) in self._guarded.items():  # after all are safe: a motor may take its time to get there
            try:
                guarded.actuator.close()
            except Exception as error:  # noqa: BLE001
                log.error("%s could not be let go of safely: %r", name, error)

    def _answer(self, request: _Request, now: float) -> None:
        if not request.future.set_running_or_notify_cancel():
            return  # whoever asked has given up: late is not obeyed
        try:
            request.future.set_result(self._obey(request, now))
        except (Refusal, HardwareError) as error:
            request.future.set_exception(error)
        except BaseException as error:  # whoever waits is not left waiting while the process goes down
            request.future.set_exception(HardwareError(f"the guard failed: {error!r}"))
            raise

    def _obey(self, request: _Request, now: float) -> Value:
        """The value that was taken. Raises Refusal, HardwareError."""
        name, source, guarded = request.name, request.source, self._guarded.get(request.name)
        if guarded is None:
            known = did_you_mean(name, self._guarded) or " (there is none here)"
            raise Refusal(f"unknown-actuator: {name!r}{known}")
        if request.for_s is not None and not 0 < request.for_s < math.inf:
            raise Refusal(f"bad-for: expected a number of seconds greater than 0, got {request.for_s}")
        try:
            value = guarded.actuator.check(request.value)
        except ValueError as error:
            raise Refusal(f"bad-value: {error}") from error
        if value == guarded.actuator.safe:
            self._return(name, now, source)
            if (fault := self.status[name].fault) is not None:
                raise HardwareError(fault)
            return value
        before = self.status.get(name)
        away_since = now if before is None or before.away_since_boot_s is None else before.away_since_boot_s
        until, limit = None if request.for_s is None else now + request.for_s, "time-up"
        if guarded.max_on_s is not None and (until is None or away_since + guarded.max_on_s < until):
            until, limit = away_since + guarded.max_on_s, "max-on-time"
        try:
            guarded.actuator.drive(value)
        except HardwareError as error:
            self._fault(name, now, "fault", error)
            raise
        self._set(
            name,
            value,
            now,
            source,
            away_since=away_since,
            until=until,
            limit=limit,
            command_id=request.command_id,
        )
        return value

    def _return(self, name: str, now: float, reason: str) -> None:
        """Drive to safe. An event tells of it where no command's outcome does: what was to end by itself has
        ended, in time or cut short, or what was out of order obeys again."""
        actuator, before = self._guarded[name].actuator, self.status.get(name)
        try:
            actuator.drive(actuator.safe)
        except HardwareError as error:
            self._fault(name, now, reason, error)
            return
        self._set(name, actuator.safe, now, reason)
        if before is None:
            return
        if before.fault is not None:
            self._event(name, now, "actuator-safe", value=actuator.safe, reason=reason)
        elif before.until_boot_s is not None or reason == "stop":
            command = {} if before.command_id is None else {"commandId": before.command_id}
            self._event(name, now, "actuator-safe", **command, value=actuator.safe, reason=reason)

    def _fault(self, name: str, now: float, why: str, error: HardwareError) -> None:
        before = self.status.get(name)
        away_since = before.away_since_boot_s if before is not None else None
        self._set(name, None, now, why, away_since=away_since, fault=str(error))
        if before is None or before.fault is None:
            self._event(name, now, "actuator-fault", reason=str(error))

    def _event(self, name: str, now: float, event: str, **details: object) -> None:
        body = {"event": event, "actuator": name, **details}
        self._put(Entry("event", now, body, simulated=self.simulated(name), urgent=True))

    def _set(
        self,
        name: str,
        value: Value | None,
        now: float,
        why: str,
        *,
        away_since: float | None = None,
        until: float | None = None,
        limit: str | None = None,
        fault: str | None = None,
        command_id: str | None = None,
    ) -> None:
        actuator, before = self._guarded[name].actuator, self._status.get(name)
        limit = None if until is None else limit
        status = ActuatorStatus(
            value, actuator.safe, now, why, actuator.simulated, away_since, until, limit, fault, command_id
        )
        with self._lock:
            self._status[name] = status
        if fault is None:
            if before is not None:
                log.info("%s set to %s (%s)", name, _shown(status), why)
        elif before is None or before.fault is None:
            log.error("%s cannot be driven (%s): its safe state is tried until it works", name, fault)


def _shown(status: ActuatorStatus) -> str:
    if isinstance(status.value, bool):
        return "on" if status.value else "off"
    return f"{status.value:g}"
