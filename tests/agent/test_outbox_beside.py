"""What else is done to the file of the store: it is looked at while the agent writes, and set aside."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from agent.outbox import Outbox, StoreUnreadable
from agent.outbox_file import open_to_read, set_aside
from agent.reading import Entry

LOOK = """
import sqlite3, sys
from contextlib import closing
with closing(sqlite3.connect(sys.argv[1])) as db:
    print(db.execute("SELECT COUNT(*) FROM rows").fetchone()[0])
"""


def seen_by_another_program(path: Path) -> int:
    """How many rows another process finds; the last one to close a store removes its log."""
    return int(subprocess.check_output([sys.executable, "-c", LOOK, str(path)], text=True))


def test_who_looks_from_within_leaves_the_writer_its_locks(tmp_path: Path) -> None:
    """Else the next program that looks from outside would take away the log, and what is written later."""
    path = tmp_path / "outbox.db"
    outbox = Outbox(path, run="run00001", boot_id="boot-1", max_bytes=1 << 24)
    outbox.append([Entry("reading", 1.0, {"n": 1})])
    with closing(open_to_read(path)) as db:
        assert db.execute("SELECT COUNT(*) FROM rows").fetchone() == (1,)
    assert seen_by_another_program(path) == 1
    outbox.append([Entry("reading", 2.0, {"n": 2})])
    assert seen_by_another_program(path) == 2
    outbox.close()


def test_who_looks_changes_nothing(tmp_path: Path) -> None:
    """Nor can it; a store of a newer version is not looked into, and one that is missing is not made."""
    path = tmp_path / "outbox.db"
    with pytest.raises(FileNotFoundError):
        open_to_read(path)
    assert not path.exists()
    Outbox(path, run="run00001", boot_id="boot-1", max_bytes=1 << 24).close()
    with closing(open_to_read(path)) as db, pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("DELETE FROM rows")
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreUnreadable, match="newer"):
        open_to_read(path)


def test_a_card_that_fails_again_and_again_is_not_filled(tmp_path: Path) -> None:
    """The first damaged stores are kept, and the last, without the log of the one before it."""
    path, log = tmp_path / "outbox.db", tmp_path / "outbox.db-wal"
    for number in range(9):
        path.write_text(str(number))
        if number < 8:
            log.write_text(str(number))
        aside = set_aside(path)
        assert aside.read_text() == str(number)
        assert not path.exists()
        assert not log.exists()
    kept = {file.name: file.read_text() for file in tmp_path.glob("*.db")}
    assert kept == {f"outbox-damaged-{name}.db": text for name, text in zip("1234", "0128", strict=True)}
    assert not (tmp_path / "outbox-damaged-4.db-wal").exists()
