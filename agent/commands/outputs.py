"""The actuators as the guard drives them: where each is, since when, why and until when."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from hw.actuator import Value
from hw.errors import HardwareError
from hw.settings import did_you_mean

from ..reading import Entry
from ..service import event
from .actuation import ActuatorStatus, Asker, Guarded, Refusal

log = logging.getLogger(__name__)

_STOP_S = 1.2  # a servo travels for a second at most
RETRY_S = 1.0
"""A faulty actuator is driven to safe again after so long."""


class Outputs:
    """Thread safety: one thread, the guard's, but for ``status``, ``is_safe`` and ``simulated``: any.
    ``stop`` after that thread has ended, or hangs."""

    def __init__(self, guarded: Mapping[str, Guarded], put: Callable[[Entry], None]) -> None:
        self._guarded = dict(guarded)
        self._put = put
        self._lock = threading.Lock()
        self._status: dict[str, ActuatorStatus] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._guarded)

    def __getitem__(self, name: str) -> Guarded:
        """Raises Refusal where there is none of that name."""
        guarded = self._guarded.get(name)
        if guarded is None:
            known = did_you_mean(name, self._guarded) or " (there is none here)"
            raise Refusal(f"unknown-actuator: {name!r}{known}")
        return guarded

    @property
    def status(self) -> Mapping[str, ActuatorStatus]:
        """Every actuator as of now."""
        with self._lock:
            return dict(self._status)

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

    def leave(self, name: str, value: Value, for_s: float | None, by: Asker, now: float) -> None:
        """Drive away from safe, for ``for_s`` seconds or the longest time allowed. Raises HardwareError."""
        guarded, before = self._guarded[name], self._status.get(name)
        away_since = now if before is None or before.away_since_boot_s is None else before.away_since_boot_s
        until, limit = now + (math.inf if for_s is None else for_s), "time-up"
        if away_since + guarded.limits.max_on_s < until:
            until, limit = away_since + guarded.limits.max_on_s, "max-on-time"
        try:
            guarded.actuator.drive(value)
        except HardwareError as error:
            self._fault(name, now, "fault", error, by=by, away_since=away_since)
            raise
        end = {} if math.isinf(until) else {"until_boot_s": until, "limit": limit}
        self._note(name, value, now, str(by), by=by, away_since_boot_s=away_since, **end)

    def bring_back(self, name: str, now: float, why: str, by: Asker | None = None) -> None:
        """Drive to safe, for ``by`` or for a cause (None). An event tells of it where no answer does."""
        actuator, before = self._guarded[name].actuator, self._status.get(name)
        try:
            actuator.drive(actuator.safe)
        except HardwareError as error:
            moved_by, away_since = (None, None) if before is None else (before.by, before.away_since_boot_s)
            self._fault(name, now, why, error, by=moved_by, away_since=away_since)
            return
        self._note(name, actuator.safe, now, why)
        if before is None or not before.away:
            return
        moved_by = before.by
        if before.fault is not None:
            self.tell("actuator-safe", now, name, value=actuator.safe, reason=why)
        elif (
            before.until_boot_s is not None or by is None or moved_by is None or by.origin != moved_by.origin
        ):
            command = {"commandId": moved_by.command_id} if moved_by and moved_by.command_id else {}
            self.tell("actuator-safe", now, name, **command, value=actuator.safe, reason=why)

    def stop(self, now: float) -> None:
        """Drive those that are away from safe there, then let go of all, each on a thread of its own: a
        driver that hangs, or breaks its contract, keeps no other driven."""
        away = [name for name, status in self.status.items() if status.away]
        _together("could not be made safe", {n: partial(self.bring_back, n, now, "stop") for n in away})
        # after all are safe: a motor may take its time to get there
        closing = {name: guarded.actuator.close for name, guarded in self._guarded.items()}
        _together("could not be let go of safely", closing)

    def tell(self, event: str, now: float, name: str, **details: object) -> None:
        """An event about an actuator, which leaves before what waits."""
        body = {"event": event, "actuator": name, **details}
        self._put(Entry("event", now, body, simulated=self.simulated(name), urgent=True))

    def _fault(
        self,
        name: str,
        now: float,
        why: str,
        error: HardwareError,
        *,
        by: Asker | None,
        away_since: float | None,
    ) -> None:
        before = self._status.get(name)
        self._note(name, None, now, why, by=by, away_since_boot_s=away_since, fault=str(error))
        if before is None or before.fault is None:
            text = "%s cannot be driven (%s): its safe state is tried until it works"
            log.error(text, name, error, extra=event("actuator-fault"))
            self.tell("actuator-fault", now, name, reason=str(error))

    def _note(self, name: str, value: Value | None, now: float, why: str, **more: object) -> None:
        actuator, before = self._guarded[name].actuator, self._status.get(name)
        status = ActuatorStatus(value, actuator.safe, now, why, actuator.simulated, **more)  # type: ignore[arg-type]  # as of its fields
        with self._lock:
            self._status[name] = status
        if before is not None and value not in (None, before.value):
            log.info("%s set to %s (%s)", name, _shown(value), why, extra=event("actuator"))


def _together(complaint: str, works: Mapping[str, Callable[[], None]]) -> None:
    """Do all of them at once, in ``_STOP_S`` seconds; what is not done by then is left behind."""

    def run(name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  (whatever a driver raises)
            log.error("%s %s: %r", name, complaint, error)

    threads = {
        name: threading.Thread(target=run, args=(name, work), name=f"stop-{name}", daemon=True)
        for name, work in works.items()
    }
    for thread in threads.values():
        thread.start()
    deadline = time.monotonic() + _STOP_S
    for name, thread in threads.items():
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            log.error("%s %s: its driver hangs", name, complaint)


def _shown(value: Value) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}"
