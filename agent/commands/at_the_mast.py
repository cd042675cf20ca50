"""What a person at the mast asks of the guard, by the control socket: the same guard as a command's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from hw.clock import Clock
from hw.errors import HardwareError

from .actuation import LOCAL, Refusal
from .asking import Asked, result
from .guard import Guard
from .memory import GuardMemory

T = TypeVar("T")
Request = Mapping[str, Any]
Answer = Mapping[str, Any]


class AtTheMast:
    """Each operation takes a request's keys, and raises ValueError that says why it is not done.

    Thread safety: any thread but the guard's.
    """

    def __init__(self, guard: Guard, memory: GuardMemory, clock: Clock) -> None:
        self._guard = guard
        self._memory = memory
        self._clock = clock

    @property
    def operations(self) -> dict[str, Callable[[Request], Answer]]:
        """By the names that the control socket has for them."""
        return {"actuate": self.actuate, "hold": self.hold, "release": self.release}

    def actuate(self, request: Request) -> Answer:
        """``actuator``, ``value``, ``for`` in seconds or None."""
        name = str(request.get("actuator"))
        for_s = _seconds(request.get("for"))
        value = _asked(self._guard.drive(name, request.get("value"), for_s, LOCAL))
        return {"actuator": name, "value": value}

    def hold(self, request: Request) -> Answer:
        """``for`` in seconds or None. The answer: for how long it holds, and whether a restart knows it."""
        hold = _asked(self._guard.hold(_seconds(request.get("for")), LOCAL))
        left = None if hold.until_boot_s is None else round(hold.until_boot_s - self._clock.monotonic(), 1)
        return {"durable": self._saved(), "secondsLeft": left}

    def release(self, _: Request) -> Answer:
        """Ends every hold."""
        _asked(self._guard.release(LOCAL))
        return {"durable": self._saved()}

    def _saved(self) -> bool:
        return self._memory.save(lambda: self._guard.remembered)


def _seconds(value: Any) -> float | None:
    """Raises ValueError."""
    try:
        if isinstance(value, bool):
            raise TypeError("got true or false")
        seconds = None if value is None else float(value)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"for: expected a number of seconds ({error})") from error
    if seconds is not None and not 0 < seconds < math.inf:
        raise ValueError(f"bad-for: expected a number of seconds greater than 0, got {seconds}")
    return seconds


def _asked(future: Asked[T]) -> T:
    """Raises ValueError with the reason if the guard does not do it."""
    try:
        return result(future)
    except (Refusal, HardwareError) as error:
        raise ValueError(str(error)) from error
