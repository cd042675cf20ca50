"""Storage: what happens to rows when a real disk is full, read-only, damaged, replaced or gone, and back."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from agent.outbox import Outbox, anything
from agent.outbox_file import StoreDamaged
from agent.reading import Entry, Row
from agent.storage import Storage
from agent.timekeeping import BootClock
from tests.agent.test_outbox import SCHEMA_1

RUN = "9f3c01ab"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB of its own."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def reading(number: int, size: int = 200) -> Entry:
    return Entry("reading", float(number), {"n": number, "pad": "x" * size})


def opened(path: Path, run: str = RUN) -> Storage:
    box = Storage(
        path, lambda p: Outbox(p, run=run, boot_id="boot", max_bytes=8 << 20), run, "boot", simulated=True
    )
    box.open(0.0)
    return box


def everything(box: Storage) -> list[Row]:
    return sorted(box.unsent(10_000, (), 0.0), key=lambda row: row.sequence)


def events(box: Storage) -> list[str]:
    return [row.entry.body["event"] for row in everything(box) if row.entry.kind == "event"]


def numbers(box: Storage) -> list[int]:
    """Of the readings, as they were made."""
    return [row.entry.body["n"] for row in everything(box) if row.entry.kind == "reading"]


def gapless(box: Storage) -> bool:
    sequences = [row.sequence for row in everything(box)]
    return sequences == list(range(1, len(sequences) + 1))


def test_a_new_store_announces_itself_once(tmp_path: Path) -> None:
    """The first row of a store says so, and no later start does."""
    box = opened(tmp_path / "outbox.db")
    assert box.announcements
    box.append([reading(0)], anything, 0.0)
    box.append([reading(1)], anything, 0.0)
    box.close(0.0)
    box = opened(tmp_path / "outbox.db")
    assert not box.announcements
    assert events(box) == ["store-created"]
    assert everything(box)[0].entry.simulated
    box.close(0.0)


def test_a_full_disk_and_back(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    """On a full file system rows stand in memory; with room again they move to disk; both are said once."""
    box = opened(small_disk / "outbox.db")
    n = 0
    while box.degraded is None:
        box.append([reading(n, 3000)], anything, 0.0)
        n += 1
        assert n < 1000
    assert box.in_memory == 2, "the reading that did not fit, and the announcement"
    for _ in range(5):
        box.append([reading(n)], anything, 1.0)
        n += 1
    box.maintain(31.0)
    assert box.due == 61.0
    assert box.degraded is not None
    assert numbers(box) == list(range(n))
    box.confirm([row for row in everything(box) if row.sequence < 100], 1.79e9)
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    box.maintain(61.0)
    assert box.degraded is None
    assert box.in_memory == 0
    rows = box.append([reading(n)], anything, 62.0)
    assert rows[0].sequence == everything(box)[-1].sequence
    assert events(box) == ["storage-lost", "storage-back"]
    box.close(63.0)
    again = opened(small_disk / "outbox.db", run="00000002")
    left = [row.sequence for row in everything(again)]
    assert left == list(range(100, rows[0].sequence + 1))
    again.close(64.0)
    assert len([r for r in caplog.records if r.levelno >= logging.ERROR]) == 1


def test_a_read_only_disk_and_back(small_disk: Path) -> None:
    """An agent that starts on a read-only disk works from memory, and has all it had once it can write."""
    box = opened(small_disk / "outbox.db")
    box.append([reading(0), reading(1)], anything, 0.0)
    box.close(0.0)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    box = opened(small_disk / "outbox.db", run="00000002")
    box.append([reading(2)], anything, 0.0)
    assert box.degraded is not None
    assert box.in_memory == 2
    box.maintain(31.0)
    assert box.degraded is not None
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    box.maintain(62.0)
    assert box.degraded is None
    box.append([reading(3)], anything, 63.0)
    assert sorted(numbers(box)) == [0, 1, 2, 3]
    assert events(box).count("storage-lost") == 1
    assert len({row.object_id for row in everything(box)}) == len(everything(box))
    box.close(64.0)


@pytest.mark.parametrize("end", ["closed", "crashed"])
def test_what_a_read_only_card_has_is_sent(
    small_disk: Path, caplog: pytest.LogCaptureFixture, end: str
) -> None:
    """However the last run ended; new rows number on from it, and what was confirmed meanwhile stays so when
    the card can be written again."""
    path = small_disk / "outbox.db"
    first_run = small_disk / "first" / "outbox.db"
    first_run.parent.mkdir()
    before = opened(first_run)
    before.append([reading(0), reading(1)], anything, 0.0)
    if end == "closed":
        before.close(0.0)
    for part in first_run.parent.iterdir():
        shutil.copy(part, small_disk / part.name)
    before.close(0.0)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    box = opened(path, run="00000002")
    assert "read-only" in (box.degraded or "")
    assert numbers(box) == [0, 1]
    box.append([reading(2)], anything, 1.0)
    assert gapless(box)
    first = next(row for row in everything(box) if row.entry.body.get("n") == 0)
    box.confirm([first], 1000.0)
    assert numbers(box) == [1, 2]
    disk = box._disk
    box.maintain(31.0)
    assert box._disk is disk, "opened again for nothing"
    assert numbers(box) == [1, 2]
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    box.maintain(62.0)
    assert box.degraded is None
    assert numbers(box) == [1, 2]
    box.append([reading(3)], anything, 63.0)
    box.close(64.0)
    again = opened(path, run="00000003")
    assert numbers(again) == [1, 2, 3]
    assert events(again).count("store-created") == 1
    assert events(again).count("storage-lost") == 1
    again.close(65.0)
    assert len([r for r in caplog.records if r.levelno >= logging.ERROR]) == 1


def test_a_file_size_limit_is_a_full_disk(tmp_path: Path) -> None:
    """Where the process may write no larger files (RLIMIT_FSIZE) nothing is lost either."""
    script = f"""
import resource, signal, sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from typing import Any
from tests.agent.test_storage import opened, reading, numbers, gapless, anything
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
box = opened(Path({str(tmp_path)!r}) / "outbox.db")
box.append([reading(0)], anything, 0.0)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
n = 1
while box.degraded is None:
    box.append([reading(n, 3000)], anything, 0.0)
    n += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
box.maintain(31.0)
assert box.degraded is None, box.degraded
assert numbers(box) == list(range(n)) and gapless(box)
box.close(32.0)
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("confirmed", [False, True])
def test_an_old_store_on_a_full_disk_is_sent_and_upgraded_when_there_is_room(
    small_disk: Path, confirmed: bool
) -> None:
    """What an older version has left is not out of reach until somebody frees the card."""
    path = small_disk / "outbox.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(SCHEMA_1)
        with suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(b"x" * 4096)
        box = opened(path)
        box.append([reading(7)], anything, 0.0)
    assert box.degraded is not None
    (old,) = [row for row in everything(box) if row.run != RUN]
    assert (old.sequence, old.entry.body) == (5, {"n": 5})
    assert (numbers(box), box.rejected(9, 0.0), box.stats(0.0).rejected) == ([7], [], 0)
    if confirmed:
        box.confirm([old], 1.79e9)
    box.maintain(31.0)
    assert box.degraded is not None
    assert box.reject([old], "poison", anything, 32.0) is None
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    box.maintain(61.0)
    assert (box.degraded, box.in_memory) == (None, 0)
    assert (old in everything(box)) != confirmed
    said = box.reject(everything(box)[:1], "poison", anything, 62.0)
    assert said is not None
    assert len(said) == len(box.rejected(9, 62.0)) == 1
    box.close(63.0)


@pytest.mark.parametrize("where", ["start", "middle"])
def test_a_damaged_store_is_set_aside_and_a_new_one_begun(tmp_path: Path, where: str) -> None:
    """Garbage is noticed at the start or on the way; what is new is stored, and the old file kept."""
    path = tmp_path / "outbox.db"
    box = opened(path)
    box.append([reading(n, 3000) for n in range(100)], anything, 0.0)
    box.close(0.0)
    with path.open("r+b") as file:
        file.seek(0 if where == "start" else 20 * 4096)
        file.write(os.urandom(4096 * (1 if where == "start" else 60)))
    garbage = path.read_bytes()
    box = opened(path, run="00000002")
    box.unsent(400, (), 1.0)
    (new,) = box.append([reading(100)], anything, 2.0)[-1:]
    assert new.entry.body["n"] == 100
    assert events(box) == ["store-created", "store-damaged"]
    assert numbers(box) == [100]
    assert box.degraded is None
    assert (tmp_path / "outbox-damaged-1.db").read_bytes()[20 * 4096 :] == garbage[20 * 4096 :]
    box.close(3.0)


def test_numbers_go_on_where_a_damaged_store_ended(tmp_path: Path) -> None:
    """Within a run no number is given twice, though the rows that had them are out of reach."""
    box = opened(tmp_path / "outbox.db")
    last = box.append([reading(n) for n in range(20)], anything, 0.0)[-1].sequence
    assert box._disk is not None
    box._disk._rows.db.execute("UPDATE rows SET body = 'no JSON'")
    assert box.unsent(400, (), 1.0) == []
    rows = box.append([reading(20)], anything, 2.0)
    assert min(row.sequence for row in rows) == last + 1
    box.close(3.0)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_store_whose_file_vanishes_is_written_anew(tmp_path: Path, replaced: bool) -> None:
    """What was unsent is stored again, or declared where an older copy's numbers are in the way."""
    path = tmp_path / "outbox.db"
    if replaced:
        other = opened(tmp_path / "other.db", run="00000001")
        other.append([reading(-1), reading(-2)], anything, 0.0)
        other.close(0.0)
    box = opened(path)
    box.append([reading(n) for n in range(100)], anything, 0.0)
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink()
    if replaced:
        (tmp_path / "other.db").rename(path)
    rows = box.append([reading(100)], anything, 1.0)
    assert all(row.entry.body["durable"] is False for row in rows)
    box.maintain(1.0)
    assert box.degraded is None
    box.append([reading(101)], anything, 2.0)
    box.close(2.0)
    again = opened(path, run="00000003")
    if replaced:
        assert numbers(again) == [-1, -2, *range(2, 102)]
        (lost,) = [row.entry.body for row in everything(again) if row.entry.body.get("event") == "dropped"]
        assert lost["ranges"] == [[1, 3, "store-vanished"]]
    else:
        assert numbers(again) == list(range(102))
    assert again.degraded is None
    again.close(3.0)


def test_a_disk_that_comes_late_brings_its_own_numbers(tmp_path: Path) -> None:
    """Rows of memory and of an older store that have the same number are confirmed apart."""
    path = tmp_path / "card" / "outbox.db"
    path.parent.mkdir()
    box = opened(path, run="00000001")
    box.append([reading(n) for n in range(5)], anything, 0.0)
    box.close(0.0)
    path.parent.rename(tmp_path / "away")
    box = opened(path)
    assert box.degraded is not None
    held = box.append([reading(n) for n in range(10, 13)], anything, 1.0)
    (tmp_path / "away").rename(path.parent)
    box.maintain(31.0)
    assert box.degraded is None
    assert len({row.object_id for row in everything(box)}) == len(everything(box)) == 11
    box.confirm(held, 1.79e9)
    box.flush(anything, 32.0)
    assert numbers(box) == [0, 1, 2, 3, 4]
    assert box.in_memory == 0
    box.close(33.0)


def test_what_memory_lost_is_declared_on_disk(tmp_path: Path) -> None:
    """A ring that overflowed while the disk was away says so when it is back."""
    box = opened(tmp_path / "missing" / "outbox.db")
    box._memory._max_rows = 10
    for n in range(30):
        box.append([reading(n)], anything, 0.0)
    (tmp_path / "missing").mkdir()
    box.maintain(31.0)
    assert box.in_memory == 0
    rows = everything(box)
    (lost,) = [row.entry.body for row in rows if row.entry.body.get("event") == "dropped"]
    gone = {s for first, last, _ in lost["ranges"] for s in range(first, last + 1)}
    assert gone | {row.sequence for row in rows} == set(range(1, rows[-1].sequence + 1))
    assert not gone & {row.sequence for row in rows}
    box.close(32.0)


def test_a_clock_is_kept_with_the_store(tmp_path: Path) -> None:
    """The offset of a boot is known to the next process."""
    box = opened(tmp_path / "outbox.db")
    box.note_clock("boot", BootClock(1.79e9, True), 0.0)
    box.close(0.0)
    box = opened(tmp_path / "outbox.db")
    assert box.clocks == {"boot": BootClock(1.79e9, True)}
    box.close(0.0)


def test_a_store_that_is_damaged_again_at_once_gives_no_number_twice(tmp_path: Path) -> None:
    """Two damaged stores in one append: rows are held in memory under new numbers, and move to the third."""
    damages = 0

    class Fragile(Outbox):
        def _insert(self, boot_id: str, entry: Entry) -> list[Row]:
            nonlocal damages
            if damages:
                damages -= 1
                raise StoreDamaged("garbage")
            return super()._insert(boot_id, entry)

    path = tmp_path / "outbox.db"
    box = Storage(path, lambda p: Fragile(p, run=RUN, boot_id="boot", max_bytes=8 << 20), RUN, "boot")
    box.open(0.0)
    ids = [row.object_id for n in range(5) for row in box.append([reading(n)], anything, float(n))]
    damages = 2
    ids += [row.object_id for row in box.append([reading(5)], anything, 5.0)]
    assert box.degraded is not None
    box.maintain(100.0)
    assert box.degraded is None
    ids += [row.object_id for row in box.append([reading(6)], anything, 101.0)]
    assert len(set(ids)) == len(ids)
    assert box.in_memory == 0
    assert {5, 6} <= set(numbers(box))
    box.close(102.0)
