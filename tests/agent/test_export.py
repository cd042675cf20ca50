"""Readings as a table, from a store that somebody else is writing, that is damaged, or older."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent import export
from agent.export import COLUMNS, PAGE_ROWS, ExportError
from agent.outbox import Outbox, StoreUnreadable
from agent.outbox_file import SCHEMA_VERSION
from agent.reading import Entry
from agent.timekeeping import BootClock

MIB = 1 << 20
NOW_S = 1_790_000_000.0


def reading(number: int, **body: Any) -> Entry:
    return Entry("reading", 60.0 * number, {"sensor": "top", "windSpeed": number / 100, "flags": [], **body})


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def outbox(store: Path) -> Iterator[Outbox]:
    """A store that stays open, as the agent's does."""
    outbox = Outbox(store, run="0badcafe", boot_id="boot", max_bytes=8 * MIB)
    outbox.set_clock("boot", BootClock(NOW_S, synchronised=True))
    yield outbox
    outbox.close()


def exported(store: Path) -> list[dict[str, Any]]:
    records = export.pages(partial(export.page, store))
    return [dict(zip(COLUMNS, record, strict=True)) for record in records]


def test_a_reading_has_the_names_and_values_of_the_wire(store: Path, outbox: Outbox) -> None:
    """And when the hub took it."""
    body = {"height": 10, "interval": 60, "windGust": 9.5, "windDirection": None, "flags": ["a", "b"]}
    rows = outbox.append([reading(1, **body), reading(2)])
    outbox.confirm(rows[:1], NOW_S + 100)
    outbox.flush()
    first, second = exported(store)
    assert first == {
        "time": "2026-09-21T14:14:20.000Z", "timeQuality": "synchronised", "sensor": "top", "interval": 60,
        "height": 10, "windSpeed": 0.01, "windGust": 9.5, "windLull": None, "windSpeedStdDev": None,
        "windDirection": None, "windVectorSpeed": None, "quality": None, "flags": "a b", "simulated": "false",
        "calibration": None, "run": "0badcafe", "sequence": 1, "confirmed": "2026-09-21T14:15:00.000Z",
    }  # fmt: skip
    assert (second["sequence"], second["confirmed"]) == (2, None)


def test_all_of_them_in_order_and_nothing_else(store: Path, outbox: Outbox) -> None:
    """Over several pages, while the writer goes on; events and outcomes are no readings."""
    count = 2 * PAGE_ROWS + 7
    for start in range(0, count, 50):
        outbox.append([reading(n) for n in range(start, min(start + 50, count))])
    outbox.append([Entry("event", 1.0, {"event": "started"})])

    def read(after: int) -> list[export.Record]:
        if after < count:
            outbox.append([reading(count + after)])
        return export.page(store, after)

    sequences = [record[COLUMNS.index("sequence")] for record in export.pages(read)]
    event = count + 1
    assert sequences == [n for n in range(1, outbox.next_sequence) if n != event]


def test_a_row_that_stays_for_its_number_was_not_confirmed(store: Path, outbox: Outbox) -> None:
    """The newest, dropped: the store keeps it for the count, as sent at 0."""
    outbox.append([reading(1)])
    with closing(sqlite3.connect(store)) as db, db:
        db.execute("UPDATE rows SET sent_at_s = 0")
    assert [row["confirmed"] for row in exported(store)] == [None]


def test_a_boot_without_a_clock_is_told_as_it_is_sent(store: Path) -> None:
    """1970, unsynchronised."""
    with closing(Outbox(store, run="r", boot_id="b", max_bytes=8 * MIB)) as outbox:
        outbox.append([reading(1)])
        (row,) = exported(store)
    assert (row["time"], row["timeQuality"]) == ("1970-01-01T00:01:00.000Z", "unsynchronised")


def test_what_a_killed_agent_left_is_all_there(store: Path, tmp_path: Path) -> None:
    """Its log too, and the store is not changed by it."""
    outbox = Outbox(store, run="r", boot_id="b", max_bytes=8 * MIB)
    outbox.append([reading(1)])
    left = tmp_path / "left"
    left.mkdir()
    for name in ("outbox.db", "outbox.db-wal"):
        (left / name).write_bytes(store.with_name(name).read_bytes())
    outbox.close()
    before = {name: (left / name).read_bytes() for name in ("outbox.db", "outbox.db-wal")}
    assert [row["sequence"] for row in exported(left / "outbox.db")] == [1]
    assert {name: (left / name).read_bytes() for name in before} == before


def test_an_older_store_is_read_as_it_is(store: Path, outbox: Outbox) -> None:
    """Nothing is migrated."""
    outbox.append([reading(1)])
    outbox.close()
    with closing(sqlite3.connect(store)) as db:
        db.executescript("DROP TABLE rejected; PRAGMA user_version = 1")
    assert len(exported(store)) == 1
    with closing(sqlite3.connect(store)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)


def test_a_newer_store_is_refused(store: Path, outbox: Outbox) -> None:
    """With the way out."""
    outbox.close()
    with closing(sqlite3.connect(store)) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(StoreUnreadable, match="install that version again"):
        export.page(store)


def test_a_body_that_is_no_json_costs_its_values_alone(store: Path, outbox: Outbox) -> None:
    """The row is there and says so, and so does the end of the export."""
    outbox.append([reading(1), reading(2)])
    with closing(sqlite3.connect(store)) as db, db:
        db.execute("UPDATE rows SET body = '{' WHERE sequence = 1")
    broken, sound = (dict(zip(COLUMNS, record, strict=True)) for record in export.page(store))
    with pytest.raises(ExportError, match=r"1 of these readings cannot be read in full, .* number 1 "):
        exported(store)
    assert (broken["sequence"], broken["windSpeed"], broken["flags"]) == (1, None, "unreadable")
    assert sound["windSpeed"] == 0.02


def test_a_damaged_store_gives_what_stands_before_the_damage(store: Path, outbox: Outbox) -> None:
    """And says how far that was."""
    for start in range(0, 2 * PAGE_ROWS, 50):
        outbox.append([reading(n, pad="x" * 200) for n in range(start, start + 50)])
    outbox.close()
    with store.open("r+b") as file:
        file.seek(store.stat().st_size // 2 // 4096 * 4096)
        file.write(b"\xff" * 16 * 4096)
    got: list[int] = []

    def note_all() -> None:
        for record in export.pages(partial(export.page, store)):
            got.append(record[COLUMNS.index("sequence")])

    with pytest.raises(ExportError, match=r"outbox\.db cannot be read beyond number \d+: ") as said:
        note_all()
    assert got == list(range(1, len(got) + 1))
    assert 10 < len(got) < 2 * PAGE_ROWS
    assert f"beyond number {len(got)}:" in str(said.value)


@pytest.mark.parametrize("content", [b"", b"no store at all" * 100])
def test_a_file_that_is_none_is_said(tmp_path: Path, content: bytes) -> None:
    """One line."""
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ExportError, match="file cannot be read: "):
        export.page(path)


def test_a_store_that_is_not_there_is_said(store: Path) -> None:
    """And none is made."""
    with pytest.raises(ExportError, match="no store there: has the agent run"):
        export.page(store)
    assert not store.exists()
