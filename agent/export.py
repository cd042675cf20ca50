"""The readings in a store as a table: those that wait for the hub and those that it has, oldest first.

They are read beside the running agent, by a connection that writes nothing, a page at a time: none keeps the
agent's log from being moved into its file. Thread safety: none needed, nothing is kept here.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from .outbox_file import StoreDamaged, garbled_is_damaged, open_to_read
from .outbox_rows import COLUMNS as ROW_COLUMNS
from .outbox_rows import READ, READ_CLOCKS, clock_of, parsed, row_of

COLUMNS = (
    "time", "timeQuality", "sensor", "interval", "height",
    "windSpeed", "windGust", "windLull", "windSpeedStdDev", "windDirection", "windVectorSpeed",
    "quality", "flags", "simulated", "calibration", "run", "sequence", "confirmed",
)  # fmt: skip
"""The names on the wire, m/s, degrees and seconds; ``confirmed``: when the hub took it, empty until then."""

PAGE_ROWS = 500
UNREADABLE = "unreadable"
"""The flag of a reading that is damaged: what cannot be read of it is empty."""

_SEQUENCE, _FLAGS = COLUMNS.index("sequence"), COLUMNS.index("flags")
_BODY = ROW_COLUMNS.split(", ").index("body")
_NO_CLOCK = (0.0, False)  # of a boot whose clock was never read: 1970, as it is sent

Record = list[Any]
"""Values in the order of ``COLUMNS``; None where there is none."""


class ExportError(LookupError):
    """The store cannot be read, or no further. The text says why, and what to do."""


def page(store: Path, after: int = 0) -> list[Record]:
    """The next readings with numbers above ``after``, ``PAGE_ROWS`` at most; none if there are no more.

    One that is damaged has what can be read of it, and the flag ``UNREADABLE``.
    Raises ExportError where there is nothing more that can be read, and StoreUnreadable.
    """
    records: list[Record] = []
    try:
        with garbled_is_damaged(), closing(open_to_read(store)) as db:
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
    """All records, ``read`` page by page: a function of the last sequence number.

    Raises ExportError as ``read`` does, and at the end if any of them is damaged.
    """
    after = 0
    damaged: list[int] = []
    while records := read(after):
        damaged += [record[_SEQUENCE] for record in records if record[_FLAGS] == UNREADABLE]
        yield from records
        after = records[-1][_SEQUENCE]
    if damaged:
        raise ExportError(
            f"the store is damaged: {len(damaged)} of these readings cannot be read in full, the first is "
            f"number {damaged[0]} (they have the flag {UNREADABLE})"
        )


def _records(db: sqlite3.Connection, after: int) -> Iterator[Record]:
    clocks = {boot: (offset_s, synchronised) for boot, offset_s, synchronised in db.execute(READ_CLOCKS)}
    found = db.execute(
        f"SELECT {READ}, sent_at_s FROM rows "  # noqa: S608  (constant)
        "WHERE kind = 'reading' AND sequence > ? ORDER BY sequence LIMIT ?",
        (after, PAGE_ROWS),
    )
    for *values, is_json, sent_at_s in found:
        sequence = values[0]
        if not (isinstance(sequence, int) and sequence > after):
            raise StoreDamaged(f"number {sequence!r:.60} follows number {after}")
        after = sequence
        told = {**_body(values[_BODY], is_json), **_head(values, sent_at_s, clocks), "sequence": sequence}
        yield [told.get(name) for name in COLUMNS]


def _body(text: Any, is_json: int) -> dict[str, Any]:
    """What a reading says, as much as can be read."""
    body: dict[str, Any] = {}
    try:
        body = json.loads(parsed(text, is_json).text)
        return {**body, "flags": " ".join(body.get("flags", ()))}
    except (StoreDamaged, ValueError, TypeError, RecursionError):
        return {**body, "flags": UNREADABLE}


def _head(values: Sequence[Any], sent_at_s: Any, clocks: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    """What the store knows of a reading; all or nothing."""
    try:
        row = row_of([*values[:_BODY], "{}", *values[_BODY + 1 :], True])
        clock = clock_of(*clocks.get(row.boot_id, _NO_CLOCK))
        confirmed = clock_of(sent_at_s, True)
    except StoreDamaged:
        return {"flags": UNREADABLE}
    return {
        "time": clock.time_text(row.entry.boot_time_s),
        "timeQuality": clock.quality,
        "simulated": "true" if row.entry.simulated else "false",
        "calibration": row.entry.calibration,
        "run": row.run,
        "confirmed": confirmed.time_text(0.0) if confirmed.offset_s > 0 else None,
    }


def _why(store: Path, after: int, error: Exception) -> str:
    if after:
        return f"{store} cannot be read beyond number {after}: {error}"
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CANTOPEN:  # it has a log and no index
        return f"{store}: its folder cannot be written: copy it with its -wal to one that can"
    return f"{store} cannot be read: {error}"
