"""The guard: the only one who drives actuators, and the one who brings them back.

Invariants, tested by their names in tests/agent/commands/test_no_harm.py:

 1. both ends      every actuator is driven safe at the start and at the stop, whoever asks.
 2. maximum        none is away from safe for longer than ``max_on_s``, however often it is asked for.
 3. held           one step after something that forces it back (an interlock in alarm, no wind known; where
                   the cloud has moved it also a hold or a lost link) none is away from safe.
 4. towards safe   is never refused.
 5. visible        what holds an actuator is in ``holders``, and why it is as it is in ``status``.

What cannot be driven is driven to safe, again and again, until it can. What was brought back does not move
again by itself. All times are CLOCK_BOOTTIME. It runs on its own thread, which touches neither disk nor
network, so that neither can delay a return to safe.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from hw.actuator import Value
from hw.errors import HardwareError

from ..reading import Entry
from .actuation import LOCAL, ActuatorStatus, Asker, Guarded, Holder, Refusal
from .allowance import Allowance
from .asking import Asked, Requests
from .causes import Causes
from .holds import Hold
from .memory import Remembered
from .outputs import RETRY_S, Outputs

log = logging.getLogger(__name__)

_IDLE_S = 3600.0
T = TypeVar("T")


class Guard:
    """Thread safety: what stands under "any thread" below; the rest on the guard's."""

    name = "guard"
    step_bound_s = 2.0

    def __init__(
        self, guarded: Mapping[str, Guarded], put: Callable[[Entry], None], sensors: Sequence[str] = ()
    ) -> None:
        """``sensors``: the ids of those that ``wind`` will tell of."""
        self.wake: Callable[[], None] = lambda: None
        self.remember: Callable[[], None] = lambda: None
        """Called on the guard's thread when ``remembered`` is another."""
        self._outputs = Outputs(guarded, put)
        self._causes = Causes(dict(guarded), sensors, self._outputs.tell, put)
        self._requests = Requests()
        self._allowances: dict[str, Allowance] = {}
        self._lock = threading.Lock()  # guards the two below
        self._holders: dict[str, tuple[Holder, ...]] = {}
        self._remembered = Remembered()

    # --- any thread: asking

    def drive(self, name: str, value: object, for_s: float | None, by: Asker) -> Asked[Value]:
        """Have an actuator driven, for ``for_s`` seconds if given; the future has the value taken.

        The future fails with Refusal if that is not allowed, with HardwareError if it did not work.
        """

        def work(now: float) -> Value:
            return self._drive(name, value, for_s, by, now)

        return self._ask(work, partial(self._undo, name), towards_safe=self.is_safe(name, value))

    def pulse(self, name: str, value: object, for_s: float, by: Asker) -> Asked[Value]:
        """As ``drive``; where ``value`` is None a switch takes the one that is not safe."""

        def work(now: float) -> Value:
            safe = self._outputs[name].actuator.safe
            if value is None and not isinstance(safe, bool):
                raise Refusal("bad-value: a level has no other side, give the pulse a value")
            return self._drive(name, not safe if value is None else value, for_s, by, now)

        return self._ask(work, partial(self._undo, name), towards_safe=self.is_safe(name, value))

    def make_safe(self, name: str | None, by: Asker) -> Asked[Value | None]:
        """Have an actuator, or all of them (None), driven to safe; the future has its safe value, and fails
        as ``drive``'s does."""
        return self._ask(lambda now: self._make_safe(name, by, now), towards_safe=True)

    def hold(self, for_s: float | None, by: Asker) -> Asked[Hold]:
        """Manual mode, for ``for_s`` seconds or until released: what the cloud has moved goes to safe, and it
        moves nothing away from there. The future has the hold that counts: one that stands is not shortened.
        """

        def work(now: float) -> Hold:
            hold = self._causes.hold(for_s, by, now)
            self._enforce(now)  # whoever is told can rely on it
            return hold

        return self._ask(work, towards_safe=True)

    def release(self, by: Asker) -> Asked[None]:
        """End manual mode; from the cloud only its own, and where there is another the future fails with
        Refusal."""

        def work(now: float) -> None:
            self._causes.release(by, now)
            self._enforce(now)

        return self._ask(work, towards_safe=False)

    def _ask(
        self, work: Callable[[float], T], undo: Callable[[float], None] | None = None, *, towards_safe: bool
    ) -> Asked[T]:
        future = self._requests.add(work, undo, towards_safe=towards_safe)
        self.wake()
        return future

    # --- any thread: telling and looking

    def wind(self, sensor: str, time_s: float, speed_mps: float | None) -> None:
        """A sample of a sensor; None is a fault."""
        if self._causes.wind(sensor, time_s, speed_mps):
            self.wake()

    def link(self, up: bool, now: float) -> None:
        """Whether commands from the cloud can come."""
        self._causes.link(up, now)
        self.wake()

    def is_safe(self, name: str, value: object) -> bool:
        """Whether ``value`` is the safe value of an actuator that exists."""
        return self._outputs.is_safe(name, value)

    def simulated(self, name: str) -> bool:
        """Whether nothing moves behind this name."""
        return self._outputs.simulated(name)

    @property
    def status(self) -> Mapping[str, ActuatorStatus]:
        """Every actuator as of now."""
        return self._outputs.status

    @property
    def holders(self) -> Mapping[str, tuple[Holder, ...]]:
        """What keeps each actuator in its safe state, as of the last step."""
        with self._lock:
            return self._holders

    @property
    def remembered(self) -> Remembered:
        """What has to be known after a restart."""
        with self._lock:
            return self._remembered

    # --- the guard's thread

    def start(self, now: float, remembered: Remembered | None = None) -> None:
        """Drive everything to its safe state, before anything else happens; then begin where the process
        before has ended."""
        for name in self._outputs:
            self._outputs.bring_back(name, now, "start")
            self._allowances[name] = Allowance(self._outputs[name].limits, now)
        self._causes.start(now, remembered or Remembered())
        self._look(now)

    def step(self, now: float) -> float:
        """Look at wind, link and holds, answer requests in the order they came, and bring back what is due,
        held or out of order."""
        self._causes.step(now)
        for request in self._requests.take():
            request.answer(now)
        self._enforce(now)
        return min(due for due in self._dues(now) if due > now)

    def stop(self, now: float) -> None:
        """Drive everything to its safe state and let go, in three seconds whatever hangs. After the thread
        has ended, or instead of it."""
        self._requests.end()
        self._outputs.stop(now)

    def _enforce(self, now: float) -> None:
        """Bring back what is due, held or out of order, and make visible how things are."""
        for name, status in self.status.items():
            if status.away and (reason := self._way_back(name, status, now)) is not None:
                self._bring_back(name, now, reason)
        self._look(now)

    def _drive(self, name: str, value: object, for_s: float | None, by: Asker, now: float) -> Value:
        """The value that was taken. Raises Refusal, HardwareError."""
        actuator = self._outputs[name].actuator
        if for_s is not None and not 0 < for_s < math.inf:
            raise Refusal(f"bad-for: expected a number of seconds greater than 0, got {for_s}")
        try:
            taken = actuator.check(value)
        except ValueError as error:
            raise Refusal(f"bad-value: {error}") from error
        if taken == actuator.safe:
            self._make_safe(name, by, now)
            return taken
        self._allow(name, for_s, by, now)
        self._allowances[name].moved(now)  # if it fails too: maybe it has moved
        try:
            self._outputs.leave(name, taken, for_s, by, now)
        except HardwareError:
            self._bring_back(name, now, "fault")  # it may have moved half-way
            raise
        return taken

    def _undo(self, name: str, now: float) -> None:
        if self.status[name].away:
            self._bring_back(name, now, "unanswered")

    def _allow(self, name: str, for_s: float | None, by: Asker, now: float) -> None:
        """Raises Refusal unless the actuator may leave its safe state now."""
        limits = self._outputs[name].limits
        if for_s is not None and for_s < limits.min_on_s:
            raise Refusal(f"min-on-time: expected for of at least {limits.min_on_s:g} s, got {for_s:g}")
        for holder in self._held(name, now):
            if holder.keeps(by.origin):
                left = "" if holder.until_boot_s is None else f" ({holder.until_boot_s - now:.0f} s more)"
                raise Refusal(f"{holder.word}: {holder.text}{left}")

    def _make_safe(self, name: str | None, by: Asker, now: float) -> Value | None:
        faults = []
        safe = None if name is None else self._outputs[name].actuator.safe
        for each in self._outputs if name is None else [name]:
            self._bring_back(each, now, str(by), by)
            if (fault := self.status[each].fault) is not None:
                faults.append(fault if name is not None else f"{each}: {fault}")
        if faults:
            raise HardwareError("; ".join(faults))
        return safe

    def _bring_back(self, name: str, now: float, why: str, by: Asker | None = None) -> None:
        was_away = self.status[name].away
        self._outputs.bring_back(name, now, why, by)
        if was_away and not self.status[name].away:
            self._allowances[name].returned(now)

    def _way_back(self, name: str, status: ActuatorStatus, now: float) -> str | None:
        """Why an actuator that is away from safe goes back there now, or None."""
        if status.fault is not None:
            return status.why if now >= status.since_boot_s + RETRY_S else None
        origin = (status.by or LOCAL).origin
        for holder in self._causes.holders(name, now):
            if holder.keeps(origin):
                return holder.word
        if status.until_boot_s is not None and now >= status.until_boot_s:
            return status.limit
        return None

    def _held(self, name: str, now: float) -> list[Holder]:
        """What keeps an actuator in its safe state now, or from moving again, the strongest first."""
        statuses, group = self.status, self._outputs[name].limits.exclusive
        held = [
            *self._causes.holders(name, now),
            *self._allowances[name].holders(now, statuses[name]),
        ]
        for other in self._outputs if group is not None else ():
            if other == name or self._outputs[other].limits.exclusive != group:
                continue
            if statuses[other].away:
                held.append(Holder("exclusive", f"{other} is not in its safe state"))
            elif (rested := self._allowances[other].rests_until(now)) is not None:
                held.append(Holder("exclusive", f"{other} has not yet rested in its safe state", rested))
        return held

    def _dues(self, now: float) -> list[float]:
        """When to look again if nobody calls; some may be over."""
        dues = [now + _IDLE_S, *self._causes.dues()]
        for status in self.status.values():
            if status.fault is not None:
                dues.append(status.since_boot_s + RETRY_S)
            elif status.until_boot_s is not None:
                dues.append(status.until_boot_s)
        return dues

    def _look(self, now: float) -> None:
        """Make visible what holds, and have remembered what must be."""
        holders = {name: tuple(self._held(name, now)) for name in self._outputs}
        remembered = self._causes.remembered
        with self._lock:
            changed = remembered != self._remembered
            self._holders, self._remembered = holders, remembered
        if changed:
            self.remember()
