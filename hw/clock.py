"""Time as an argument: the one clock everything else is given.

Durations are measured on CLOCK_BOOTTIME, which counts through a suspend and is never set;
the wall clock is only ever read to say what time it was.
"""

from __future__ import annotations

import time
from typing import Protocol

_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", None)


class Clock(Protocol):
    """Thread safety: any thread."""

    def monotonic(self) -> float:
        """Seconds since this machine started, suspends included. Never goes back within a boot."""
        ...

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC as this machine believes. May be wrong, and may jump."""
        ...


class SystemClock:
    """The real clock. Where the kernel has no CLOCK_BOOTTIME, the monotonic clock serves."""

    def monotonic(self) -> float:
        """Seconds since boot (CLOCK_BOOTTIME, clock_gettime(2))."""
        return time.monotonic() if _BOOTTIME is None else time.clock_gettime(_BOOTTIME)

    def wall(self) -> float:
        """Unix time in seconds."""
        return time.time()
