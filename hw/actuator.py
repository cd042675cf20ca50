"""What an actuator is to the rest of the program."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Protocol

Value = bool | float
"""A relay's state, or a level within the actuator's range."""


def shown(value: object) -> str:
    """``value`` as whoever sent it wrote it: true, not True."""
    return json.dumps(value, default=repr, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class SafeLine:
    """A line of a gpiochip that an actuator drives, and its level that does no harm while no program runs.

    A driver names them by a class method beside ``open``,

        safe_lines(settings: Settings) -> tuple[SafeLine, ...]

    which claims nothing and raises HardwareError where a line cannot be found. One without it drives no such
    line. ``path``: of the chip, "/dev/gpiochip0"; ``offset``: of the line on it; ``level``: True is high.
    """

    path: str
    offset: int
    level: bool


class Actuator(Protocol):
    """Something at the mast that can be driven, with a state in which it does no harm.

    Thread safety: one thread, the guard's; ``safe``, ``simulated`` and ``check`` may be asked from any.
    """

    simulated: bool
    """True if no hardware moves."""

    safe: Value
    """The value that does no harm."""

    def check(self, value: object) -> Value:
        """``value`` as this actuator takes it. Raises ValueError that says what would be accepted."""
        ...

    def drive(self, value: Value) -> None:
        """Take this value now and hold it. Raises HardwareError if that cannot be done."""
        ...

    def close(self) -> None:
        """Drive the safe value, then let go of the pin. May be called twice."""
        ...
