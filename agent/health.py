"""How the agent and its machine fare, as one event a day: link, disk, temperature, power, starts, memory.

The first comes a few minutes after the start, the next a day later each, by the clock that no correction
moves; starts that follow each other within a boot do not bring it more often. Temperature and power are
looked at all the time, so that a hot noon and a dip are in the event of the evening. What a machine has not
is null. Starts are counted in a file of the state directory; where that cannot be written they are null too.
A reload is no start.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .machine import Machine
from .reading import Entry
from .timekeeping import BootClock
from .writer_status import WriterStatus

_FIRST_S = 300.0
_DAY_S = 86_400.0
_LOOK_S = 10.0  # a file each, that costs nothing
_FILE = "health.json"


@dataclass(frozen=True, slots=True)
class Starts:
    """What is remembered over restarts.

    ``starts``, ``boots``: of the agent and of the machine, since the last event. ``said_boot_s``: when that
    was, in seconds of the boot ``boot_id``; None if it was in another.
    """

    boot_id: str
    starts: int = 0
    boots: int = 0
    said_boot_s: float | None = None

    def begun(self, boot_id: str) -> Starts:
        """One more start, in ``boot_id``."""
        if boot_id == self.boot_id:
            return replace(self, starts=self.starts + 1)
        return Starts(boot_id, self.starts + 1, self.boots + 1)


class LinkTally:
    """How long the link was up, and how often it came. Thread safety: any thread."""

    def __init__(self, now: float) -> None:
        self._lock = threading.Lock()
        self._up = False
        self._since = self._began = now
        self._up_s = 0.0
        self._came = 0

    def note(self, up: bool, now: float) -> None:
        """The link is up, or it is not (Uplink's ``on_link``)."""
        with self._lock:
            self._count(now)
            if up and not self._up:
                self._came += 1
            self._up = up

    def take(self, now: float) -> tuple[float | None, int]:
        """(fraction of the time that it was up, how often it came up) since this was last asked."""
        with self._lock:
            self._count(now)
            passed = now - self._began
            told = (self._up_s / passed if passed > 0 else None, self._came)
            self._began, self._up_s, self._came = now, 0.0, 0
            return told

    def _count(self, now: float) -> None:
        if self._up:
            self._up_s += now - self._since
        self._since = now


class Health:
    """The worker. Thread safety: ``step`` on one thread; ``link`` from any."""

    name = "health"
    step_bound_s = 60.0  # it looks at the disk, and a bad card stalls

    def __init__(
        self,
        put: Callable[[Entry], None],
        now: float,
        *,
        state_directory: Path,
        boot_id: str,
        outbox: Callable[[], WriterStatus],
        clock: Callable[[], BootClock],
        machine: Machine | None = None,
        simulated: bool = False,
        follows: bool = False,
    ) -> None:
        """``now``: when the agent starts, CLOCK_BOOTTIME seconds; ``simulated``: stamped on the events;
        ``follows``: whether this process had a run before."""
        self._put = put
        self._directory = state_directory
        self._boot_id = boot_id
        self._outbox = outbox
        self._clock = clock
        self._machine = machine or Machine()
        self._simulated = simulated
        self._follows = follows
        self._link = LinkTally(now)
        self._starts: Starts | None = None  # until the first step
        self._remembered = False
        self._due = now + _FIRST_S
        self._confirmed = 0
        self._temperature: float | None = None
        self._hottest: float | None = None
        self._under_voltage: bool | None = None

    def link(self, up: bool, now: float) -> None:
        """Whether the hub is connected, from ``now`` on."""
        self._link.note(up, now)

    def step(self, now: float) -> float:
        """Look at the machine, and say how it fares where that is due."""
        if self._starts is None:
            left = self._load()
            self._starts = left if self._follows else left.begun(self._boot_id)
            if (said := self._starts.said_boot_s) is not None:
                self._due = max(self._due, min(said, now) + _DAY_S)
            self._save(self._starts)
        self._look()
        if now >= self._due:
            self._due = now + _DAY_S
            self._put(Entry("event", now, self._body(now, self._starts), simulated=self._simulated))
            self._starts = Starts(self._boot_id, said_boot_s=now)
            self._hottest = self._under_voltage = None
            self._save(self._starts)
        return min(now + _LOOK_S, self._due)

    def _look(self) -> None:
        self._temperature, low = self._machine.temperature_c(), self._machine.under_voltage()
        told = [t for t in (self._hottest, self._temperature) if t is not None]
        self._hottest = max(told, default=None)
        if low is not None:
            self._under_voltage = low or bool(self._under_voltage)

    def _body(self, now: float, starts: Starts) -> dict[str, Any]:
        outbox = self._outbox()
        connected, came = self._link.take(now)
        confirmed, self._confirmed = outbox.confirmed - self._confirmed, outbox.confirmed
        return {
            "event": "health",
            "link": {
                "connected": None if connected is None else round(connected, 4),
                "connections": came,
                "confirmed": confirmed,
                "backlog": outbox.backlog,
            },
            "disk": {
                "free": self._free(),
                "store": outbox.stats.used_bytes,
                "dropped": outbox.dropped,
                "rejected": outbox.stats.rejected,
                "fault": outbox.degraded,
            },
            "temperature": self._temperature,
            "hottest": self._hottest,
            "underVoltage": self._under_voltage,
            "starts": starts.starts if self._remembered else None,
            "boots": starts.boots if self._remembered else None,
            "uptime": round(now),
            "clock": self._clock().quality,
            "memory": self._machine.memory_bytes(),
        }

    def _free(self) -> int | None:
        try:
            return shutil.disk_usage(self._directory).free
        except OSError:
            return None

    def _load(self) -> Starts:
        """What the last process left; nothing, if that cannot be read."""
        with suppress(OSError, ValueError, TypeError, LookupError, OverflowError, RecursionError):
            found = json.loads((self._directory / _FILE).read_text())
            said = found["said_boot_s"]
            said_boot_s = None if said is None else float(said)
            return Starts(str(found["boot_id"]), int(found["starts"]), int(found["boots"]), said_boot_s)
        return Starts("")

    def _save(self, starts: Starts) -> None:
        """A power cut costs the count of a day at most."""
        path = self._directory / _FILE
        self._remembered = False
        with suppress(OSError):
            new = path.with_suffix(".new")
            new.write_text(json.dumps(asdict(starts)))
            new.replace(path)
            self._remembered = True
