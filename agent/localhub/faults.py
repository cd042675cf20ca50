"""How a hub can be told to misbehave, so that devices can be tried against it.

Invariants:
1. A fault is for the devices it names (one, or all); others see a sound hub.
2. A fault that has its number of times left takes effect exactly so often, whichever threads ask.
3. Faults live in memory only: a hub that is started again is well, unless it is told otherwise again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from .fault_table import TABLE, FaultValue, Kind, kind_of
from .records import InvalidRequest


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault to set; what is wrong with it raises InvalidRequest.

    ``value``: as the table says, its default if None. ``device``: None for every device. ``times``: how often
    it takes effect; None: until it is cleared.
    """

    name: str
    value: FaultValue = None
    device: str | None = None
    times: int | None = None

    def __post_init__(self) -> None:
        kind = kind_of(self.name)
        object.__setattr__(self, "value", _value(kind, self.value))
        if self.device is not None and kind.whole_hub:
            raise InvalidRequest(
                f"{self.name} is the same for every device: leave out device {self.device!r}"
            )
        if self.times is None:
            return
        if type(self.times) is not int or self.times < 1:
            raise InvalidRequest(f"times {self.times!r}: expected a whole number from 1, or none")
        if kind.counted is None or self.is_action:
            raise InvalidRequest(f"{self.name} is not done a number of times: leave out times {self.times}")

    @classmethod
    def parse(cls, text: str) -> Fault:
        """From ``name`` or ``name=value``. Raises InvalidRequest."""
        name, equals, value = text.partition("=")
        if equals and not value:
            raise InvalidRequest(f"{text!r}: a value is missing after the =")
        return cls(name, value or None)

    @property
    def is_action(self) -> bool:
        """Whether it is done once, when it is set."""
        return TABLE[self.name].action and self.value is None

    def __str__(self) -> str:
        text = self.name if self.value is None else f"{self.name}={self.value}"
        to = "" if self.device is None else f" for {self.device}"
        return (
            text
            + to
            + ("" if self.times is None else f", {self.times} times" if self.times > 1 else ", once")
        )


def _value(kind: Kind, given: object) -> FaultValue:
    if kind.value is None:
        if given is not None:
            raise InvalidRequest(f"{kind.name} takes no value: leave out {given!r}")
        return None
    if given is None and not kind.must_have_value:
        default = kind.value.default
        return None if default is None else kind.value.read(default)
    try:
        return kind.value.read(given)
    except (ValueError, OverflowError):
        shown = "nothing" if given is None else f"{given!r:.60}"
        raise InvalidRequest(f"{kind.name}: expected {kind.value}, got {shown}") from None


Key = tuple[str, str | None, FaultValue]


class Faults:
    """The faults that are on. Thread safety: any thread.

    ``set`` may wait for the disk while the hub runs (``lost-state``), so coroutines call it in a thread.
    """

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._lock = threading.Lock()
        self._on: dict[Key, Fault] = {}
        self._actions: list[Fault] = []
        self._perform: Callable[[Fault], None] | None = None
        self._changed: Callable[[frozenset[str]], None] = _nobody
        for fault in faults:
            self.set(fault)

    def attach(self, perform: Callable[[Fault], None], changed: Callable[[frozenset[str]], None]) -> None:
        """Have actions done by ``perform``, also those asked for before, and tell ``changed`` of all else:
        with the names that were cleared, or none if a fault was set or its times are over."""
        with self._lock:
            self._perform, self._changed = perform, changed
            actions, self._actions = self._actions, []
        for action in actions:
            perform(action)

    def detach(self) -> None:
        """The hub is over: from now on nothing is done nor told."""
        with self._lock:
            self._perform, self._changed = None, _nobody

    def set(self, fault: Fault) -> None:
        """Turn it on; it takes the place of one of the same name for the same device (a ``reset`` only of
        one at the same packet). An action is done now. Raises StoreFailed."""
        with self._lock:
            perform, changed = self._perform, self._changed
            if not fault.is_action:
                self._on = self._on | {_key(fault): replace(fault)}  # a copy: set again is counted anew
            elif perform is None:
                self._actions.append(fault)
        if not fault.is_action:
            changed(frozenset())
        elif perform is not None:
            perform(fault)

    def clear(self, name: str | None = None) -> None:
        """Turn off all of that name, or all. Raises UnknownFault."""
        cleared = frozenset(TABLE) if name is None else frozenset({kind_of(name).name})
        with self._lock:
            self._on = {key: fault for key, fault in self._on.items() if fault.name not in cleared}
            changed = self._changed
        changed(cleared)

    def active(self) -> list[Fault]:
        """Those that are on, in the order of setting; ``times`` is what is left."""
        return list(self._on.values())

    def __bool__(self) -> bool:
        """Whether any is on."""
        return bool(self._on)

    def peek(self, name: str, device_id: str = "", value: FaultValue = None) -> Fault | None:
        """The fault of that name that is on for the device, if any: its own before everyone's. ``value``:
        only one with that value. An empty ``device_id``: a device that is not known yet."""
        on = self._on  # never changed in place, so that nobody waits for the lock here
        return self._find(on, name, device_id, value) if on else None

    def take(self, name: str, device_id: str = "", value: FaultValue = None) -> Fault | None:
        """As ``peek``, for what takes effect now: one of its times is over."""
        if not self._on:
            return None
        with self._lock:
            fault = self._find(self._on, name, device_id, value)
            if fault is None or fault.times is None:
                return fault
            left = {} if fault.times == 1 else {_key(fault): replace(fault, times=fault.times - 1)}
            self._on = {k: left.get(k, f) for k, f in self._on.items() if f is not fault or left}
            changed = self._changed
        if not left:
            changed(frozenset())
        return fault

    def _find(self, on: dict[Key, Fault], name: str, device_id: str, value: FaultValue) -> Fault | None:
        return on.get((name, device_id, value)) or on.get((name, None, value))


def _key(fault: Fault) -> Key:
    """A ``reset`` is told from another by its packet; of anything else one is enough."""
    return fault.name, fault.device, fault.value if TABLE[fault.name].must_have_value else None


def _nobody(_cleared: frozenset[str]) -> None:
    return
