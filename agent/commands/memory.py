"""What the guard must know after a restart: who holds, and which interlocks are in alarm.

Invariants, each with a test of its name in tests/agent/commands/test_memory.py:

 1. durable    what ``save`` returned True for is there after a power cut.
 2. whole      a cut in the middle leaves what was there before.
 3. cautious   a file that cannot be read holds everything: at the mast, and every interlock.

It is a file of its own, so that a damaged journal or outbox lifts nobody's hold.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .actuation import Origin
from .holds import Hold, Holds

log = logging.getLogger(__name__)

FILE_NAME = "guard.json"
_VERSION = 1


@dataclass(frozen=True)
class Remembered:
    """``alarms``: the actuators whose interlock is in alarm. ``doubt``: why nothing certain is known, or
    None: then every interlock counts as in alarm."""

    holds: Holds = field(default_factory=dict)
    alarms: frozenset[str] = frozenset()
    doubt: str | None = None


class GuardMemory:
    """Thread safety: any thread (one lock)."""

    def __init__(self, state_directory: Path, boot_id: str) -> None:
        self._path = state_directory / FILE_NAME
        self._boot_id = boot_id
        self._lock = threading.Lock()
        self._saved: Remembered | None = None
        self._failed = False

    def load(self, now: float) -> Remembered:
        """What was remembered last. A hold with a time of its own that was made in another boot begins anew:
        nobody knows how long the machine was off."""
        with self._lock:
            try:
                return self._read(now)
            except FileNotFoundError:
                return Remembered()
            except Exception as error:  # noqa: BLE001  (whatever is wrong with it, nobody is released by that)
                doubt = f"{self._path} cannot be read ({error})"
                log.error("%s: held until `masthead release`, interlocks as in alarm", doubt)
                return Remembered({Origin.MAST: Hold(now)}, doubt=doubt)

    def save(self, picture: Callable[[], Remembered]) -> bool:
        """Keep what ``picture`` gives, unless it is kept already; whether it is on disk now. It is asked in
        its turn, so that nobody's older one is written last."""
        with self._lock:
            remembered = picture()
            if remembered == self._saved:
                return True
            try:
                self._write(remembered)
            except OSError as error:
                if not self._failed:
                    log.error("holds and alarms would not survive a restart: %s: %s", self._path, error)
                self._failed = True
                return False
            if self._failed:
                log.info("holds and alarms are kept again: %s", self._path)
            self._saved, self._failed = remembered, False
            return True

    def _read(self, now: float) -> Remembered:
        document = json.loads(self._path.read_bytes())
        if document["version"] != _VERSION:
            raise ValueError(f"version {document['version']}, and this masthead knows {_VERSION}")
        same_boot = document["boot"] == self._boot_id
        holds: Holds = {}
        for name, kept in document["holds"].items():
            for_s = None if kept["for"] is None else _finite(kept["for"])
            since_boot_s = _finite(kept["since"])
            holds[Origin[name]] = Hold(since_boot_s if same_boot else now, for_s)
        alarms = document["alarms"]
        if not isinstance(alarms, list):
            raise ValueError(f"alarms are {alarms!r}")
        remembered = Remembered(holds, frozenset(str(name) for name in alarms))
        if same_boot:
            self._saved = remembered
        return remembered

    def _write(self, remembered: Remembered) -> None:
        document: dict[str, Any] = {
            "version": _VERSION,
            "boot": self._boot_id,
            "holds": {
                origin.name: {"since": hold.since_boot_s, "for": hold.for_s}
                for origin, hold in remembered.holds.items()
            },
            "alarms": sorted(remembered.alarms),
        }
        new = self._path.with_suffix(".new")
        new.unlink(missing_ok=True)  # what root left there half done is no file that the agent may write
        # whoever holds may be root, the agent is not and must read it; nothing is written through a link
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(os.open(new, flags, 0o644), "w", encoding="utf-8") as file:  # noqa: PTH123  (of a descriptor)
            os.fchmod(file.fileno(), 0o644)
            json.dump(document, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        with contextlib.suppress(OSError):  # a file system that cannot do it has nothing better
            _sync_folder(self._path.parent)


def _finite(value: Any) -> float:
    """Raises ValueError and others for what is no number of seconds."""
    seconds = float(value)
    if not math.isfinite(seconds):
        raise ValueError(f"{value!r} is no number of seconds")
    return seconds


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
