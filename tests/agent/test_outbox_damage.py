"""A store that is damaged, by one bit or by a person: it is used or set aside, and the agent goes on."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent import export
from agent.export import COLUMNS, UNREADABLE, ExportError
from agent.outbox import Outbox, StoreUnreadable, anything
from agent.outbox_file import PAGE_BYTES, StoreDamaged, is_damaged
from agent.reading import Entry, build_message
from agent.storage import Storage
from agent.timekeeping import BootClock
from agent.wiring import open_journal

NOW_S = 1_790_000_000.0
UNKNOWN = BootClock(0.0, synchronised=False)


def reading(number: int) -> Entry:
    return Entry("reading", 60.0 * number, {"sensor": "top", "windSpeed": number / 100, "flags": []})


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Of a run before: 60 readings of which 20 were sent, one that was rejected, and an outcome."""
    path = tmp_path / "outbox.db"
    with closing(Outbox(path, run="0badcafe", boot_id="before", max_bytes=8 << 20)) as outbox:
        outbox.set_clock("before", BootClock(NOW_S, synchronised=True))
        rows = [row for first in range(0, 60, 30) for row in outbox.append(list(map(reading, range(30))))]
        outbox.confirm(rows[:20], NOW_S)
        outbox.flush()
        outbox.reject(rows[20:21], "why", 1.0)
        outbox.append([Entry("outcome", 1.0, {"status": "done"}, key="outcome:1", urgent=True)])
    return path


def change(path: Path, statement: str) -> None:
    """As a bit would that was flipped: columns take values of any type."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        tables = db.execute("SELECT sql, name FROM sqlite_master WHERE type = 'table'").fetchall()
        set_sql = "UPDATE sqlite_master SET sql = ? WHERE name = ?"
        db.execute("PRAGMA writable_schema = ON")
        for sql, name in tables:
            loose = sql.replace(" NOT NULL", "").replace(" TEXT", "").replace(" REAL", "")
            db.execute(set_sql, (loose.replace(" INTEGER,", ",").replace(" INTEGER)", ")"), name))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(statement)
        db.execute("PRAGMA writable_schema = ON")
        db.executemany(set_sql, tables)


def use(path: Path, run: str) -> str | None:
    """All that the agent does with a store, from its start to its stop; what is said of damage."""
    box = Storage(path, lambda p: Outbox(p, run=run, boot_id="now", max_bytes=8 << 20), run, "now")
    box.open(0.0)
    try:
        box.note_clock("now", BootClock(NOW_S, synchronised=True), 0.0)
        box.append([reading(1), Entry("outcome", 1.0, {"status": "done"}, key=run)], anything, 1.0)
        box.stats(1.0)
        box.rejected(20, 1.0)
        said = None
        for _ in range(50):
            rows = box.unsent(20, (), 2.0)
            for row in rows:
                build_message(row, "mast", box.clocks.get(row.boot_id, UNKNOWN), {})
                if row.run == run and row.entry.body.get("event") == "store-damaged":
                    said = row.entry.body["setAside"]
            box.confirm(rows, NOW_S)
            while box.unwritten_confirmations:
                box.flush(anything, 2.0)
            if not rows and not box.announcements:
                break
            box.append([], anything, 2.0)
        else:
            pytest.fail("the same rows are sent for ever")
        box.expire(NOW_S + 1e4, 1e6, 1e6, anything, 3.0)
        box.append([reading(2)], anything, 3.0)
        box.reject(box.unsent(1, (), 4.0), "why", anything, 4.0)
        box.rejected(20, 4.0)
        assert box.degraded is None
    finally:
        box.close(5.0)
    assert box.in_memory == 0
    return said


def export_all(path: Path) -> tuple[list[dict[str, Any]], str]:
    """What is exported, and the error at the end of it."""
    records: list[dict[str, Any]] = []
    try:
        for record in export.pages(partial(export.page, path)):
            records.append(dict(zip(COLUMNS, record, strict=True)))
    except ExportError as error:
        return records, str(error)
    return records, ""


ODD_VALUES = [
    "boot_time_s = 'abc'", "boot_time_s = NULL", "body = 7", "body = NULL", "body = '[1,2]'", "body = '{'",
    "body = x'7b7d'", "sent_at_s = NULL", "sent_at_s = 'abc'", "run = 7", "run = CAST(x'39b5' AS TEXT)",
    "boot_id = 7", "calibration = 7", "simulated = 'x'",
]  # fmt: skip


@pytest.mark.parametrize("odd", [*ODD_VALUES, "kind = NULL", "key = 7"])
def test_a_row_of_other_types_has_the_store_set_aside(store: Path, odd: str) -> None:
    """Also one without a number for a time, or whose run no confirmation could name."""
    change(store, f"UPDATE rows SET {odd} WHERE sequence = 40")
    assert use(store, "11111111") == "outbox-damaged-1.db"
    assert use(store, "22222222") is None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE rows SET sent_at_s = 'abc' WHERE sequence = 3",
        "UPDATE rows SET sequence = 9223372036854775807 WHERE sequence = 40",
        "UPDATE clocks SET offset_s = 'abc'",
        "INSERT INTO drops VALUES ('abc', 7, 'full')",
        "INSERT INTO drops VALUES (NULL, NULL, 'full')",
        "UPDATE rejected SET rejected_boot_time_s = 'abc'",
        "UPDATE rejected SET body = NULL",
    ],
)
def test_an_odd_value_that_is_no_row_to_send_has_the_store_set_aside(store: Path, statement: str) -> None:
    """When it is opened."""
    change(store, statement)
    assert use(store, "11111111") == "outbox-damaged-1.db"
    assert use(store, "22222222") is None


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE rows",
        "DROP TABLE clocks",
        "DROP TABLE drops",
        "DROP TABLE rejected",
        "ALTER TABLE rows DROP COLUMN body",
        "ALTER TABLE clocks RENAME COLUMN offset_s TO offset_t",
        "DROP INDEX keyed",
        "DROP INDEX unsent",
        "PRAGMA user_version = 0",
        "PRAGMA user_version = 1",
    ],
)
def test_a_store_that_is_not_what_its_schema_says_is_set_aside(store: Path, statement: str) -> None:
    """Whatever SQLite calls it."""
    with closing(sqlite3.connect(store)) as db, db:
        db.execute(statement)
    assert use(store, "11111111") == "outbox-damaged-1.db"
    assert use(store, "22222222") is None


def test_an_index_that_tells_of_other_rows_is_damage(store: Path) -> None:
    """Else the same rows would be sent for ever."""
    with closing(sqlite3.connect(store)) as db:
        (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'unsent'").fetchone()
    content = bytearray(store.read_bytes())
    start = (page - 1) * PAGE_BYTES
    last = start + 8 + 2 * (int.from_bytes(content[start + 3 : start + 5]) - 1)
    cell = start + int.from_bytes(content[last : last + 2])
    number = cell + content[cell]  # the last byte of the last entry (sqlite.org/fileformat2.html, 1.6)
    assert content[number] == 60
    content[number] = 28
    store.write_bytes(content)
    assert use(store, "11111111") == "outbox-damaged-1.db"


def test_a_number_that_is_given_twice_is_damage_and_no_reading_is_lost(store: Path) -> None:
    """A garbled leaf hides the newest rows, so their numbers are given again."""
    box = Storage(store, lambda p: Outbox(p, run="1", boot_id="now", max_bytes=8 << 20), "1", "now")
    box.open(0.0)
    assert box._disk is not None
    box._disk._rows.next_sequence = 40
    box.append([reading(7)], anything, 1.0)
    assert box.degraded is None
    assert (store.parent / "outbox-damaged-1.db").exists()
    box.close(2.0)
    assert box.in_memory == 0


def test_damage_that_is_found_at_the_stop_loses_no_reading(store: Path) -> None:
    """What stood in memory goes to the new store."""
    box = Storage(store, lambda p: Outbox(p, run="1", boot_id="now", max_bytes=8 << 20), "1", "now")
    box.open(0.0)
    box._degrade(sqlite3.OperationalError("disk I/O error"), 0.0)
    box.append([reading(7)], anything, 1.0)
    assert box._disk is not None
    box._disk._rows.db.execute("DROP TABLE rows")
    box.close(2.0)
    assert box.in_memory == 0
    with closing(Outbox(store, run="2", boot_id="now", max_bytes=8 << 20)) as outbox:
        assert [row.entry.body["windSpeed"] for row in outbox.unsent(9) if row.entry.kind == "reading"] == [
            0.07
        ]


def test_what_is_no_damage() -> None:
    """Values of our own that are missing, and a SQLite that cannot do what is asked."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT NOT NULL, c UNIQUE)")
        db.execute("INSERT INTO t VALUES (1, 'b', 'c')")
        for statement, damaged in [
            ("INSERT INTO t VALUES (2, NULL, 'd')", False),
            ("SELECT no_such_function(a) FROM t", False),
            ("SELECT", False),
            ("INSERT INTO t VALUES (1, 'b', 'd')", True),
            ("INSERT INTO t VALUES (2, 'b', 'c')", True),
            ("SELECT d FROM t", True),
            ("SELECT * FROM u", True),
            ("INSERT INTO t VALUES (2, 'b')", True),
        ]:
            with pytest.raises(sqlite3.Error) as error:
                db.execute(statement)
            assert is_damaged(error.value) is damaged, statement
    assert is_damaged(StoreDamaged("x"))
    assert not is_damaged(OSError("x"))


def test_a_journal_that_is_not_what_its_schema_says_is_set_aside(tmp_path: Path) -> None:
    """At the start, or when the agent stops: the executor notes it."""
    path = tmp_path / "commands.db"
    for statement in ("PRAGMA user_version = 0", "DROP TABLE arrivals"):
        opened = open_journal(path, "boot", expected=False)
        assert opened.journal is not None
        opened.journal.close()
        with closing(sqlite3.connect(path)) as db, db:
            db.execute(statement)
    opened = open_journal(path, "boot", expected=True)
    assert opened.journal is not None
    assert (tmp_path / "commands-damaged-1.db").exists()
    with pytest.raises(sqlite3.Error) as error:
        opened.journal.unfinished()
    assert is_damaged(error.value)
    opened.journal.close()


@pytest.mark.parametrize("odd", [*ODD_VALUES, "body = '{\"flags\": 7}'"])
def test_a_damaged_reading_costs_what_cannot_be_read_of_it(store: Path, odd: str) -> None:
    """In the export: all others are there, and one line says so in the end."""
    change(store, f"UPDATE rows SET {odd} WHERE sequence = 40")
    records, error = export_all(store)
    assert [record["sequence"] for record in records] == [n for n in range(1, 61) if n != 21]
    (odd_one,) = [record for record in records if record["flags"]]
    assert (odd_one["sequence"], odd_one["flags"]) == (40, UNREADABLE)
    assert odd_one["windSpeed"] == (None if odd.startswith("body = ") else 0.09)
    assert "1 of these readings cannot be read in full, the first is number 40" in error
    assert "\n" not in error


def test_a_damaged_clock_costs_the_time(store: Path) -> None:
    """Of each reading of its boot."""
    change(store, "UPDATE clocks SET offset_s = 'abc'")
    records, error = export_all(store)
    assert {(record["time"], record["flags"]) for record in records} == {(None, UNREADABLE)}
    assert records[9]["windSpeed"] == 0.09
    assert "59 of these readings" in error


def test_any_one_bit_is_borne(store: Path, tmp_path: Path) -> None:
    """Each bit may be flipped: the store is used or set aside, nothing is lost at the stop, and the export
    ends. A schema's number that is a newer one's is left untouched, as that of a newer version."""
    content = store.read_bytes()
    bits = random.Random(5)
    flips = [(bits.randrange(len(content)), bits.randrange(8)) for _ in range(60)]
    flips += [(page + at, 0) for page in range(PAGE_BYTES, len(content), PAGE_BYTES) for at in (0, 3, 4)]
    flips += [(content.index(b"CREATE TABLE rows") + at, 7) for at in (0, 14)]  # what is no text
    flips += [(18, 2), (19, 2), (47, 3), (59, 1), (60, 0), (63, 0), (63, 1)]
    newer = 0
    for number, (at, bit) in enumerate(flips):
        path = tmp_path / str(number) / "outbox.db"
        path.parent.mkdir()
        garbled = bytearray(content)
        garbled[at] ^= 1 << bit
        path.write_bytes(garbled)
        try:
            export_all(path)
            use(path, "11111111")
        except StoreUnreadable:
            newer += 1
            assert path.read_bytes() == garbled
        else:
            assert use(path, "22222222") is None
    assert newer == 2
