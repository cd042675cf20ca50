"""What its limits still allow an actuator: rest in its safe state, and how often it moves."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from ..config_tables import ActuatorLimits
from .actuation import ActuatorStatus, Holder

_MINUTE_S = 60.0


class Allowance:
    """The history of one actuator as far as its limits need it. Thread safety: one thread, the guard's."""

    def __init__(self, limits: ActuatorLimits, now: float) -> None:
        """``now``: of the start, for nobody knows what was just before."""
        self._limits = limits
        self._resting_since = now
        self._moves: deque[float] = deque(maxlen=limits.max_per_minute)

    def returned(self, now: float) -> None:
        """It went back to its safe state."""
        self._resting_since = now

    def moved(self, now: float) -> None:
        """It was driven away from its safe state, or from one such value to another."""
        self._moves.append(now)

    def rests_until(self, now: float) -> float | None:
        """When it has been in its safe state for long enough; None if it has."""
        rested = self._resting_since + self._limits.min_off_s
        return rested if now < rested else None

    def holders(self, now: float, status: ActuatorStatus) -> Iterator[Holder]:
        """What keeps it from moving now."""
        limits, away_since = self._limits, status.away_since_boot_s
        if away_since is not None and now >= away_since + limits.max_on_s:
            yield Holder("max-on-time", f"it is away from its safe state for {limits.max_on_s:g} s already")
        if not status.away and (rested := self.rests_until(now)) is not None:
            text = f"it rests for {limits.min_off_s:g} s in its safe state"
            yield Holder("min-off-time", text, rested)
        if len(self._moves) == self._moves.maxlen and now < self._moves[0] + _MINUTE_S:
            text = f"it was moved {limits.max_per_minute} times in a minute"
            yield Holder("rate", text, self._moves[0] + _MINUTE_S)
