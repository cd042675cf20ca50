"""An actuator whose hardware was not there at the start: the agent measures on without it, and asks again."""

from __future__ import annotations

import math
from collections.abc import Callable

from hw.actuator import Actuator, Value
from hw.clock import Clock
from hw.errors import DeviceUnavailable, HardwareError

_REOPEN_S = 10.0


class LateActuator:
    """Satisfies Actuator. Until it is there every drive is a fault, and only its safe value passes ``check``.

    Thread safety: as of Actuator.
    """

    simulated = False

    def __init__(
        self, opening: Callable[[], Actuator], safe: Value, fault: HardwareError, clock: Clock
    ) -> None:
        """``fault``: why ``opening`` has just failed; it is asked again when the actuator is driven."""
        self.safe = safe
        self._opening = opening
        self._clock = clock
        self._fault = str(fault)
        self._reopen_at = clock.monotonic() + _REOPEN_S
        self._actuator: Actuator | None = None

    def check(self, value: object) -> Value:
        """As of the actuator itself. Raises DeviceUnavailable, too, while that cannot be asked."""
        if self._actuator is not None:
            return self._actuator.check(value)
        if value == self.safe and isinstance(value, bool) is isinstance(self.safe, bool):
            return self.safe
        raise DeviceUnavailable(self._fault)

    def drive(self, value: Value) -> None:
        """Raises HardwareError while it is not there."""
        if self._actuator is None:
            self._open()
        assert self._actuator is not None  # noqa: S101  (opened, or raised)
        self._actuator.drive(value)

    def _open(self) -> None:
        now = self._clock.monotonic()
        if now < self._reopen_at:
            raise DeviceUnavailable(self._fault)
        self._reopen_at = now + _REOPEN_S
        try:
            self._actuator = self._opening()
        except HardwareError as error:
            self._fault = str(error)
            raise

    def close(self) -> None:
        """Close it if it ever came; it does not come any more."""
        self._reopen_at, self._fault = math.inf, "closed"
        if self._actuator is not None:
            self._actuator.close()
