"""The journal's invariants, by name (agent/commands/journal.py)."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.cloud import CloudMessage
from agent.commands import journal as journal_module
from agent.commands.journal import Journal

OUTCOME = {"status": "done"}


def message(body: bytes = b"{}") -> CloudMessage:
    return CloudMessage(body, 12.5, "m-1", expires="2026-11-20T17:34:00Z")


@pytest.fixture
def opened() -> Iterator[list[Journal]]:
    journals: list[Journal] = []
    yield journals
    for journal in journals:
        journal.close()


@pytest.fixture
def journal(tmp_path: Path, opened: list[Journal]) -> Journal:
    opened.append(Journal(tmp_path / "commands.db", "boot-1"))
    return opened[0]


@pytest.fixture
def crashed(tmp_path: Path, opened: list[Journal]) -> Callable[[], Journal]:
    """The journal as the next process finds it, had this one died now: its files, copied while open."""

    def copied() -> Journal:
        copy = tmp_path / "after"
        copy.mkdir()
        for file in tmp_path.glob("commands.db*"):
            shutil.copy(file, copy)
        opened.append(Journal(copy / "commands.db", "boot-1"))
        return opened[-1]

    return copied


def test_journalled(journal: Journal, crashed: Callable[[], Journal]) -> None:
    """What ``add`` returned is there after a crash, word for word."""
    arrival = journal.add("c-1", "d", message(b'{"x": 1}'))
    assert crashed().unfinished() == [arrival]


def test_once(journal: Journal, crashed: Callable[[], Journal]) -> None:
    """An id that came before is known, also after a crash; the same body goes before another one."""
    first = journal.add("c-1", "one", message())
    journal.finish(first.number, OUTCOME)
    other = journal.add("c-1", "two", message())
    again = journal.add("c-1", "two", message())
    journal = crashed()
    assert journal.earlier(first) is None
    for arrival, expected in ((other, first), (again, other)):
        found = journal.earlier(arrival)
        assert found is not None
        assert found.number == expected.number
    found = journal.earlier(other)
    assert found is not None
    assert found.outcome == OUTCOME
    assert journal.earlier(journal.add("c-2", "one", message())) is None


def test_answered(journal: Journal, crashed: Callable[[], Journal]) -> None:
    """An outcome is listed until it is in the outbox, and is never replaced."""
    arrival = journal.add("c-1", "d", message())
    assert journal.unposted() == []
    journal.finish(arrival.number, OUTCOME)
    journal.finish(arrival.number, {"status": "failed"})
    journal = crashed()
    assert [a.outcome for a in journal.unposted()] == [OUTCOME]
    assert [a.token for a in journal.unposted()] == [arrival.token]
    journal.mark_posted(arrival.number)
    assert journal.unposted() == []
    assert journal.unfinished() == []


def test_interrupted(journal: Journal, crashed: Callable[[], Journal]) -> None:
    """An arrival between ``add`` and ``finish`` is listed after a crash, in order."""
    arrivals = [journal.add(f"c-{n}", "d", message()) for n in range(3)]
    journal.finish(arrivals[1].number, OUTCOME)
    assert crashed().unfinished() == [arrivals[0], arrivals[2]]


def test_bounded(tmp_path: Path, opened: list[Journal], monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest are kept by count; what is not answered yet is kept for longer."""
    monkeypatch.setattr(journal_module, "_TRIM_EVERY", 10)
    journal = Journal(tmp_path / "commands.db", "boot-1", keep=20)
    opened.append(journal)
    open_one = journal.add("open", "d", message())
    arrivals = [journal.add(f"c-{n}", "d", message()) for n in range(48)]
    for arrival in arrivals:
        journal.finish(arrival.number, OUTCOME)
        journal.mark_posted(arrival.number)
    arrivals.append(journal.add("c-last", "d", message()))
    probe = journal.add("probe", "d", message())

    def known(command_id: str | None) -> bool:
        return journal.earlier(replace(probe, command_id=command_id)) is not None

    assert all(known(a.command_id) for a in arrivals[-20:])
    assert not known(arrivals[0].command_id)
    assert open_one in journal.unfinished()


def test_a_full_disk_leaves_no_half_arrival(journal: Journal, crashed: Callable[[], Journal]) -> None:
    """An arrival that the disk did not take is not there at the next start either."""
    journal._db.execute("PRAGMA max_page_count = 1")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        journal.add("c-1", "d", message(b"x" * 65536))
    journal._db.execute("PRAGMA max_page_count = 100000")
    kept = journal.add("c-2", "d", message())
    assert crashed().unfinished() == [kept]


def test_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    """A journal of a newer masthead is not opened."""
    Journal(tmp_path / "commands.db", "boot-1").close()
    database = sqlite3.connect(tmp_path / "commands.db")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(sqlite3.DatabaseError, match="newer masthead"):
        Journal(tmp_path / "commands.db", "boot-1")


def test_close_may_be_called_twice(journal: Journal) -> None:
    """And what comes after is an error of SQLite's, not silence."""
    journal.close()
    journal.close()
    with pytest.raises(sqlite3.Error):
        journal.add("c-1", "d", message())
