"""What the analogue-to-digital converters have in common, and what an instrument behind one sees of them."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T")

pause: Callable[[float], None] = time.sleep
"""How the seconds of a conversion are waited for; a test puts its own here."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a converter said: its ``code`` with sign, and the ``volts`` at its input that this means."""

    code: int
    volts: float


class Adc(Protocol):
    """One input of a converter. Thread safety: any thread, also where other inputs of the chip are in use."""

    @property
    def name(self) -> str:
        """Which input of which chip, for people."""
        ...

    def convert(self) -> Conversion:
        """The voltage now, after waiting for one conversion.

        Raises DeviceUnavailable if the chip does not answer or does not finish, BadSample if the voltage is
        beyond what it can tell or if the chip is not as it was configured.
        """
        ...

    def close(self) -> None:
        """Let go of the chip. May be called twice."""
        ...


class AdcSettings(ABC):
    """What the settings of every converter can tell, beside their fields."""

    def __post_init__(self) -> None:  # noqa: B027  (most have nothing to check)
        """Raises ValueError if keys do not go together."""

    @property
    @abstractmethod
    def range_v(self) -> float:
        """The largest voltage at the input that can be told, in volts."""

    @property
    @abstractmethod
    def wider(self) -> str:
        """What to change for a larger one."""

    @property
    @abstractmethod
    def conversion_s(self) -> float:
        """Seconds that one reading takes, nominally, during which the chip has no time for its other inputs.

        Oscillators are good for 10 or 20 %, and the transfers add a few milliseconds.
        """


def poll(ready: Callable[[], T | None], step_s: float, timeout_s: float) -> T | None:
    """What ``ready`` returns as soon as that is not None, asked every ``step_s`` seconds.

    None if it never was within ``timeout_s`` seconds, or a little more: pauses are counted, not timed.
    """
    for _ in range(math.ceil(timeout_s / step_s)):
        found = ready()
        if found is not None:
            return found
        pause(step_s)
    return ready()


def over_range(name: str, volts: float, wider: str) -> str:
    """What to say of a converter at the end of its scale."""
    beyond = "or more" if volts > 0 else "or less"
    return f"{name}: over-range, {volts:.4g} V {beyond}: {wider}, or is the wire shorted to a supply?"
