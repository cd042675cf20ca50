"""The faults ``throttle`` and ``quota``: what a hub does to a device that sends too much.

Known of IoT Hub: sends past the limit are first taken, then queued and done at the rate of the limit, and
refused when the queue is full; the quota counts messages in units of 4 KB (0.5 KB on the free tier) and
begins anew with each UTC day (https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-quotas-throttling).
MQTT 3.1.1 has no words for a refusal, so the hub ends the connection
(https://github.com/MicrosoftDocs/azure-docs/issues/107838 for the throttle,
https://github.com/Azure/azure-iot-sdk-python/issues/735 for the quota); with its quota used up it still
accepts connections (https://github.com/Azure/azure-iot-sdk-java/issues/377).

Assumed, since nobody tells: a burst of one second's messages (at least one) goes through at once, where
Azure lets minutes pass; ten more may wait; a message that waits is stored already, and only its PUBACK comes
late; a quota stops messages from devices only, and counts from when the fault is set.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TypeVar

from .faults import Fault, Faults

UNIT_BYTES = 4096
MOST_WAITING = 10

_DAY_S = 86_400

_Meter = TypeVar("_Meter", "Throttle", "Quota")


class Throttle:
    """A queue that is worked off at ``rate`` messages a second."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._burst_s = max(1.0, 1 / rate)
        self._free_at = -math.inf

    def wait_s(self, now: float) -> float | None:
        """How long a message that came at ``now`` waits for its confirmation; None if the queue is full."""
        done_at = max(self._free_at, now - self._burst_s) + 1 / self._rate
        wait_s = max(0.0, done_at - now)
        if wait_s * self._rate > MOST_WAITING + 1e-6:
            return None
        self._free_at = done_at
        return wait_s


class Quota:
    """So many units of 4 KB a UTC day."""

    def __init__(self, units: float) -> None:
        self._units = units
        self._used = 0
        self._day = -1

    def spend(self, size_bytes: int, wall_s: float) -> bool:
        """Count a message that came at ``wall_s`` (Unix seconds). False if the day's units do not suffice."""
        day = int(wall_s // _DAY_S)
        if day != self._day:
            self._day, self._used = day, 0
        units = max(1, -(-size_bytes // UNIT_BYTES))
        if self._used + units > self._units:
            return False
        self._used += units
        return True


class Limits:
    """What the faults allow now, counted for the hub or the device that each is for.

    ``wall``: the hub's clock. Thread safety: the hub's event loop only.
    """

    def __init__(
        self,
        faults: Faults,
        wall: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._faults = faults
        self._wall = wall
        self._monotonic = monotonic
        self._meters: dict[tuple[str, str | None], tuple[Fault, Throttle | Quota]] = {}

    def within_quota(self, device_id: str, size_bytes: int) -> bool:
        """Whether a message of that size may be stored; it is counted."""
        fault = self._faults.peek("quota", device_id)
        return fault is None or self._meter(fault, Quota).spend(size_bytes, self._wall())

    def wait_s(self, device_id: str) -> float | None:
        """How long the confirmation of a message that has come must wait; None: too many wait already."""
        fault = self._faults.peek("throttle", device_id)
        return 0.0 if fault is None else self._meter(fault, Throttle).wait_s(self._monotonic())

    def _meter(self, fault: Fault, new: Callable[[float], _Meter]) -> _Meter:
        """What counts for this very fault: one that was set again begins anew."""
        key = (fault.name, fault.device)
        known, meter = self._meters.get(key, (None, None))
        if known is not fault:
            assert isinstance(fault.value, int | float)  # noqa: S101  (the table says so; for the type checker)
            meter = new(fault.value)
            self._meters[key] = (fault, meter)
        return meter  # type: ignore[return-value]
