"""The guard: the only one who drives actuators, and the one who brings them back.

Safe at the start and at the stop, whoever asks; never away from safe for longer than allowed. It runs on its
own thread, which touches neither disk nor network, so that neither can delay a return to safe.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from hw.actuator import Actuator, Value
from hw.clock import Clock
from hw.errors import HardwareError

from ..reading import Entry

log = logging.getLogger(__name__)

_IDLE_S = 3600.0


class Refusal(Exception):
    """The guard does not do that. The text is a word for programs, then the reason for people."""


@dataclass(frozen=True, slots=True)
class Guarded:
    """An actuator and how far commands may go with it. ``max_on_s``: longest time away from safe, or None."""

    actuator: Actuator
    max_on_s: float | None = None


@dataclass(frozen=True, slots=True)
class ActuatorStatus:
    """``value`` is None if the actuator could not be driven. ``until_boot_s``: when it goes back to safe."""

    value: Value | None
    safe: Value
    since_boot_s: float
    why: str
    simulated: bool
    until_boot_s: float | None = None
    fault: str | None = None


@dataclass(slots=True)
class _Request:
    name: str
    value: object
    for_s: float | None
    source: str
    future: Future[Value]


class Guard:
    """Thread safety: ``request``, ``status``, ``knows``, ``is_safe`` from any thread; the rest on the guard's."""

    name = "guard"
    step_bound_s = 2.0

    def __init__(self, guarded: Mapping[str, Guarded], clock: Clock, put: Callable[[Entry], None]) -> None:
        self._guarded = dict(guarded)
        self._clock = clock
        self._put = put
        self.wake: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._requests: list[_Request] = []
        self._status: dict[str, ActuatorStatus] = {}
        self._ended = False

    # --- any thread

    def request(self, name: str, value: object, for_s: float | None, source: str) -> Future[Value]:
        """Ask for an actuator to be driven; the future has the value taken.

        It fails with Refusal if that is not allowed, with HardwareError if it did not work. Cancelling it
        before the guard has looked withdraws the request.
        """
        future: Future[Value] = Future()
        with self._lock:
            if self._ended:
                future.set_exception(Refusal("stopping: the agent is ending"))
                return future
            self._requests.append(_Request(name, value, for_s, source, future))
        self.wake()
        return future

    def is_safe(self, name: str, value: object) -> bool:
        """Whether ``value`` is the safe value of an actuator that exists."""
        guarded = self._guarded.get(name)
        try:
            return guarded is not None and guarded.actuator.check(value) == guarded.actuator.safe
        except ValueError:
            return False

    def simulated(self, name: str) -> bool:
        """Whether nothing moves behind this name."""
        guarded = self._guarded.get(name)
        return guarded is not None and guarded.actuator.simulated

    @property
    def status(self) -> Mapping[str, ActuatorStatus]:
        with self._lock:
            return dict(self._status)

    # --- the guard's thread

    def start(self, now: float) -> None:
        """Drive everything to its safe state, before anything else happens."""
        for name in self._guarded:
            self._to_safe(name, now, "start")

    def step(self, now: float) -> float:
        """Answer requests, in the order they came, and bring back what is due."""
        with self._lock:
            requests, self._requests = self._requests, []
        for request in requests:
            self._answer(request, now)
        for name, status in self.status.items():
            if status.until_boot_s is not None and now >= status.until_boot_s:
                self._return(name, now, status.why.partition(", ")[2] or "for")
            elif status.fault is not None and status.value is None:
                self._to_safe(name, now, status.why)
        dues = [s.until_boot_s for s in self.status.values() if s.until_boot_s is not None]
        if any(s.fault for s in self.status.values()):
            dues.append(now + 1.0)
        return min(dues, default=now + _IDLE_S)

    def stop(self, now: float) -> None:
        """Drive everything to its safe state and let go. After the thread has ended, or instead of it."""
        with self._lock:
            self._ended = True
            requests, self._requests = self._requests, []
        for request in requests:
            request.future.set_exception(Refusal("stopping: the agent is ending"))
        for name, guarded in self._guarded.items():
            status = self._status.get(name)
            if status is not None and status.value != status.safe and status.fault is None:
                self._return(name, now, "stop")
            try:
                guarded.actuator.close()
            except HardwareError as error:
                log.error("%s could not be let go of safely: %s", name, error)

    def _answer(self, request: _Request, now: float) -> None:
        if not request.future.set_running_or_notify_cancel():
            return  # whoever asked has given up: late is not obeyed
        guarded = self._guarded.get(request.name)
        if guarded is None:
            known = ", ".join(self._guarded) or "none"
            request.future.set_exception(Refusal(f"unknown-actuator: {request.name!r} (known: {known})"))
            return
        try:
            value = guarded.actuator.check(request.value)
        except ValueError as error:
            request.future.set_exception(Refusal(f"bad-value: {error}"))
            return
        until, why = None, request.source
        if value != guarded.actuator.safe:
            limits = [(s, w) for s, w in ((request.for_s, "for"), (guarded.max_on_s, "max-on-time")) if s is not None]
            if limits:
                seconds, limit = min(limits)
                until, why = now + seconds, f"{request.source}, {limit}"
        try:
            guarded.actuator.drive(value)
        except HardwareError as error:
            log.error("%s cannot be driven: %s", request.name, error)
            self._set(request.name, None, now, "fault", fault=str(error))
            request.future.set_exception(error)
            return
        log.info("%s set to %s (%s)", request.name, _shown(value), request.source)
        self._set(request.name, value, now, why, until=until)
        request.future.set_result(value)

    def _return(self, name: str, now: float, reason: str) -> None:
        """Back to safe by our own doing: an event, because no command's outcome will tell."""
        self._to_safe(name, now, reason)
        guarded = self._guarded[name]
        self._put(
            Entry(
                "event",
                now,
                {"event": "actuator-safe", "actuator": name, "value": guarded.actuator.safe, "reason": reason},
                simulated=guarded.actuator.simulated,
                urgent=True,
            )
        )

    def _to_safe(self, name: str, now: float, why: str) -> None:
        actuator = self._guarded[name].actuator
        before = self._status.get(name)
        try:
            actuator.drive(actuator.safe)
        except HardwareError as error:
            if before is None or before.fault is None:
                log.error("%s cannot be driven to its safe state: %s", name, error)
            self._set(name, None, now, why, fault=str(error))
            return
        if before is not None:
            log.info("%s back to %s (%s)", name, _shown(actuator.safe), why)
        self._set(name, actuator.safe, now, why)

    def _set(
        self, name: str, value: Value | None, now: float, why: str, *, until: float | None = None, fault: str | None = None
    ) -> None:
        actuator = self._guarded[name].actuator
        with self._lock:
            self._status[name] = ActuatorStatus(value, actuator.safe, now, why, actuator.simulated, until, fault)


def _shown(value: Value) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else f"{value:g}"
