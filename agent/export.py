"""The readings in a store as a table: those that wait for the hub and those that it has, oldest first.

They are read beside the running agent, by a connection that writes nothing, a page at a time: none keeps the
agent's log from being moved into its file. Thread safety: none needed, nothing is kept here.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from .outbox_file import open_to_read
from .timekeeping import BootClock

COLUMNS = (
    "time", "timeQuality", "sensor", "interval", "height",
    "windSpeed", "windGust", "windLull", "windSpeedStdDev", "windDirection", "windVectorSpeed",
    "quality", "flags", "simulated", "calibration", "run", "sequence", "confirmed",
)  # fmt: skip
"""The names on the wire, m/s, degrees and seconds; ``confirmed``: when the hub took it, empty until then."""

PAGE_ROWS = 500
_SEQUENCE = COLUMNS.index("sequence")
_NO_CLOCK = BootClock(0.0, False)  # of a boot whose clock was never read: 1970, as it is sent

Record = list[Any]
"""Values in the order of ``COLUMNS``; None where there is none."""


class ExportError(LookupError):
    """The store cannot be read, or no further. The text says why, and what to do."""


def page(store: Path, after: int = 0) -> list[Record]:
    """The next readings with numbers above ``after``, ``PAGE_ROWS`` at most; none if there are no more.

    Raises ExportError where there is nothing more that can be read, and StoreUnreadable.
    """
    records: list[Record] = []
    try:
        with closing(open_to_read(store)) as db:
            records.extend(_records(db, after))
    except FileNotFoundError as error:
        raise ExportError(f"{store}: no store there: has the agent run?") from error
    except PermissionError as error:
        raise ExportError(f"{store} may not be read: use sudo") from error
    except (sqlite3.Error, OSError) as error:
        if not records:
            raise ExportError(_why(store, after, error)) from error
    return records


def pages(read: Callable[[int], list[Record]]) -> Iterator[Record]:
    """All records, ``read`` page by page: a function of the last sequence number."""
    after = 0
    while records := read(after):
        yield from records
        after = records[-1][_SEQUENCE]


def _records(db: sqlite3.Connection, after: int) -> Iterator[Record]:
    clocks = {
        boot: BootClock(offset, bool(synchronised))
        for boot, offset, synchronised in db.execute("SELECT boot_id, offset_s, synchronised FROM clocks")
    }
    found = db.execute(
        "SELECT sequence, run, boot_id, boot_time_s, body, json_valid(body), simulated, calibration, "
        "sent_at_s FROM rows WHERE kind = 'reading' AND sequence > ? ORDER BY sequence LIMIT ?",
        (after, PAGE_ROWS),
    )
    for sequence, run, boot_id, boot_time_s, text, is_json, simulated, calibration, sent_at_s in found:
        body = json.loads(text) if is_json else {"flags": ["unreadable"]}
        clock = clocks.get(boot_id, _NO_CLOCK)
        told = {
            **body,
            "time": clock.time_text(boot_time_s),
            "timeQuality": clock.quality,
            "flags": " ".join(body.get("flags", ())),
            "simulated": "true" if simulated else "false",
            "calibration": calibration,
            "run": run,
            "sequence": sequence,
            "confirmed": BootClock(sent_at_s, synchronised=True).time_text(0.0) if sent_at_s > 0 else None,
        }
        yield [told.get(name) for name in COLUMNS]


def _why(store: Path, after: int, error: Exception) -> str:
    if after:
        return f"{store} cannot be read beyond number {after}: {error}"
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CANTOPEN:  # it has a log and no index
        return f"{store}: its folder cannot be written: copy it with its -wal to one that can"
    return f"{store} cannot be read: {error}"
