"""Clock trust: what time it was, and whether to believe it.

Rows are stamped with the boot they were made in and the seconds since that boot; what wall time that was
is one offset a boot, corrected whenever the kernel's clock is, so a correction never touches a row.
"""

from __future__ import annotations

import ctypes
import functools
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hw.clock import Clock

_STA_UNSYNC = 0x0040  # linux/timex.h


@dataclass(frozen=True, slots=True)
class BootClock:
    """Wall time of one boot: Unix seconds = ``offset_s`` + seconds since boot."""

    offset_s: float
    synchronised: bool

    def time_text(self, boot_time_s: float) -> str:
        """ISO 8601 in UTC with milliseconds, as on the wire. What no calendar holds is shown as 1970."""
        try:
            moment = datetime.fromtimestamp(round(self.offset_s + boot_time_s, 3), UTC)
        except (ValueError, OverflowError, OSError):
            moment = datetime.fromtimestamp(0, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    @property
    def quality(self) -> str:
        return "synchronised" if self.synchronised else "unsynchronised"


@functools.cache
def _adjtimex() -> Any:
    try:
        return ctypes.CDLL(None).adjtimex
    except (OSError, AttributeError, TypeError):
        return None  # no such system


def kernel_synchronised() -> bool:
    """Whether the kernel says its clock is disciplined (adjtimex(2), STA_UNSYNC clear)."""
    adjtimex = _adjtimex()
    buffer = (ctypes.c_ubyte * 512)()  # struct timex is 208 bytes at most; modes = 0 only reads
    if adjtimex is None or adjtimex(ctypes.byref(buffer)) < 0:
        return False
    word = ctypes.sizeof(ctypes.c_long)  # modes, offset, freq, maxerror, esterror, status
    status = ctypes.c_int.from_buffer(buffer, 5 * word)
    return not status.value & _STA_UNSYNC


def read_boot_id(path: Path = Path("/proc/sys/kernel/random/boot_id")) -> str:
    """Names this boot. Where the kernel does not say, every start of the process counts as one."""
    try:
        return path.read_text().strip()
    except OSError:
        return str(uuid.uuid4())


class Timekeeper:
    """This boot's id and its clock, as trusted as the kernel makes it.

    Once the kernel's clock was synchronised in this boot the offset follows only a synchronised clock,
    so a lost time source leaves the last good offset standing. Thread safety: any thread.
    """

    def __init__(
        self,
        clock: Clock,
        boot_id: str,
        synchronised: Callable[[], bool] = kernel_synchronised,
    ) -> None:
        self.clock = clock
        self.boot_id = boot_id
        self._synchronised = synchronised
        self._trusted: BootClock | None = None

    def read(self) -> BootClock:
        """The offset of this boot now, and whether the kernel vouched for it at any time in this boot."""
        before = self.clock.monotonic()
        wall = self.clock.wall()
        offset_s = wall - (before + self.clock.monotonic()) / 2  # a thread may be interrupted between the two
        if self._synchronised():
            self._trusted = BootClock(offset_s, True)
        return self._trusted or BootClock(offset_s, False)
