"""The file under the outbox: its schema, how it is opened, and how it is told that it is no good.

Thread safety: none needed, nothing is kept here.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from operator import methodcaller
from pathlib import Path
from urllib.parse import quote

PAGE_BYTES = 4096
FRAME_BYTES = PAGE_BYTES + 24  # a page in the write-ahead log
LOG_PAGES = 64  # the write-ahead log is moved into the file at 256 KiB

# sent_at_s: Unix time of the confirmation, negative while there is none. Any time is as wide as NOT_SENT, so
# a confirmation rewrites a row in place and never makes the file grow.
NOT_SENT = -0.5
_FIRST_SCHEMA = """
CREATE TABLE rows (
    sequence INTEGER PRIMARY KEY,
    run TEXT NOT NULL, boot_id TEXT NOT NULL, boot_time_s REAL NOT NULL,
    kind TEXT NOT NULL, body TEXT NOT NULL, simulated INTEGER NOT NULL, calibration TEXT,
    correlation_id TEXT, key TEXT, urgent INTEGER NOT NULL,
    sent_at_s REAL NOT NULL
);
CREATE INDEX unsent ON rows (urgent DESC, sequence) WHERE sent_at_s < 0;
CREATE UNIQUE INDEX keyed ON rows (key) WHERE key IS NOT NULL;
CREATE TABLE clocks (boot_id TEXT PRIMARY KEY, offset_s REAL NOT NULL, synchronised INTEGER NOT NULL);
CREATE TABLE drops (first INTEGER NOT NULL, last INTEGER NOT NULL, reason TEXT NOT NULL);
"""
# number: in the order of rejection. rejected_boot_id, rejected_boot_time_s: when, in the boot it happened in.
_REJECTED = """
CREATE TABLE rejected (
    number INTEGER PRIMARY KEY,
    sequence INTEGER NOT NULL,
    run TEXT NOT NULL, boot_id TEXT NOT NULL, boot_time_s REAL NOT NULL,
    kind TEXT NOT NULL, body TEXT NOT NULL, simulated INTEGER NOT NULL, calibration TEXT,
    correlation_id TEXT, key TEXT, urgent INTEGER NOT NULL,
    reason TEXT NOT NULL, rejected_boot_id TEXT NOT NULL, rejected_boot_time_s REAL NOT NULL
);
"""
_SCHEMAS = (_FIRST_SCHEMA, _REJECTED)  # what each version adds to the one before
SCHEMA_VERSION = len(_SCHEMAS)

STORE_NAME = "outbox.db"
"""The store in the state directory."""

_MOST_ASIDE = 4

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_TOOBIG)
_GIVEN_TWICE = (
    sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID, sqlite3.SQLITE_CONSTRAINT_UNIQUE
)  # fmt: skip
# what SQLite says of statements that fit the schema (all share one code, also with a missing function)
_OTHER_SCHEMA = (
    "no such table", "no such column", "has no column named", "values were supplied", "already exists",
    "no such index", "no query solution", "ON CONFLICT clause does not match", "unsupported file format",
)  # fmt: skip

_MAGIC = b"SQLite format 3\x00"
_WRITE_FORMAT_AT, _WRITE_FORMAT = 18, 2  # SQLite writes no file with a higher number there
_VERSION_AT = 60  # user_version in the file's header (sqlite.org/fileformat2.html, 1.3)


class StoreUnreadable(Exception):
    """The store was written by a newer version of the agent: it is left untouched."""


class StoreDamaged(sqlite3.DatabaseError):
    """What SQLite read without complaint is no row of ours."""


class StoreVanished(sqlite3.OperationalError):
    """The open file is no longer the one at its path: what is written to it is lost with the process."""


@contextmanager
def garbled_is_damaged() -> Iterator[None]:
    """Python cannot tell what SQLite says of a schema whose names are no text any more."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise StoreDamaged("a name in the schema is garbled") from error


def connect(path: Path) -> sqlite3.Connection:
    """Open or create the store at ``path``: WAL, one fsync a commit. No thread is checked.

    One of an older version is as it was, see ``upgrade``; so is one on a read-only file system, which this
    connection can never write, also if it becomes writable.
    Raises StoreUnreadable (and not a byte has changed), sqlite3.Error and OSError.
    """
    version = _known_version(path)
    if version and is_read_only(path) and not _has_log(path):
        return _frozen(path)
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    try:
        db.text_factory = methodcaller("decode", "utf-8", "replace")  # a flipped bit costs a letter
        if version == 0:  # on a full disk these fail for a store that is there as well
            db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # so that a file can follow a lowered limit
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")  # each transaction says anew (agent/outbox_rows.py)
        db.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        db.execute(f"PRAGMA journal_size_limit = {LOG_PAGES * FRAME_BYTES}")
        if version == 0:
            db.execute("BEGIN IMMEDIATE")
            upgrade(db, 0)
            db.execute("COMMIT")
        with suppress(sqlite3.OperationalError):  # a full disk: the log can be read as it is
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # else it grows over crashes that follow each other
    except BaseException:
        db.close()
        raise
    return db


def open_to_read(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing, beside whoever writes, also in the same process.

    The file is left to SQLite: whoever closes it by other means takes from the whole process its locks on it
    (fcntl(2)), and the next program that looks at the store would remove its log under the writer
    (sqlite.org/howtocorrupt.html, 2.2).
    Raises StoreUnreadable, sqlite3.Error and OSError; FileNotFoundError if there is no store.
    """
    path.stat()
    if not os.access(path, os.R_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    if is_read_only(path) and not _has_log(path):
        db = _frozen(path)
    else:
        db = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=10)
        db.text_factory = methodcaller("decode", "utf-8", "replace")
    try:
        _check_version(path, int(db.execute("PRAGMA user_version").fetchone()[0]))
    except BaseException:
        db.close()
        raise
    return db


def upgrade(db: sqlite3.Connection, version: int) -> None:
    """Bring a store of an older ``version`` to this one, within a transaction. Raises sqlite3.Error."""
    for statement in "".join(_SCHEMAS[version:]).split(";"):
        db.execute(statement)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def is_read_only(path: Path) -> bool:
    """Whether the file system of the store at ``path`` is mounted read-only."""
    try:
        return bool(os.statvfs(path.parent).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def identity(path: Path) -> tuple[int, int] | None:
    """Which file stands at ``path``; None if there is none that can be seen."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def is_damaged(error: Exception) -> bool:
    """Whether the file is no sound store (and not merely out of reach).

    So are the signs of a table that is not what the schema's number says, and a number that is given twice:
    ours count up, and keys that may come again are stored by statements that say what then. A value that is
    missing (NOT NULL) is no such sign: it would be ours.
    """
    if isinstance(error, StoreDamaged):
        return True
    code = getattr(error, "sqlite_errorcode", 0)
    if code == sqlite3.SQLITE_ERROR:
        return any(sign in str(error) for sign in _OTHER_SCHEMA)
    return code & 0xFF in _DAMAGED or code in _GIVEN_TWICE


def set_aside(path: Path) -> Path:
    """Rename a damaged store and its log out of the way; the new name of the store. Raises OSError.

    The first few are kept, and the last: a card that fails again and again is not filled with them.
    """
    number = 1
    while (aside := _aside(path, number)).exists() and number < _MOST_ASIDE:
        number += 1
    for part in _parts(path):
        there = _beside(aside, part.name.removeprefix(path.name))
        there.unlink(missing_ok=True)
        if part.exists():
            part.rename(there)
    return aside


def _aside(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}-damaged-{number}{path.suffix}")


def _known_version(path: Path) -> int:
    """The schema's version; 0 if there is none. Raises StoreUnreadable, sqlite3.Error and OSError."""
    version = _stored_version(path)
    _check_version(path, version)
    return version


def _check_version(path: Path, version: int) -> None:
    """Raises StoreUnreadable."""
    if version > SCHEMA_VERSION:
        raise StoreUnreadable(
            f"{path}: written by a newer masthead (schema {version}, this one knows {SCHEMA_VERSION}): "
            "install that version again, or move the file away"
        )


def _stored_version(path: Path) -> int:
    """The schema's version; 0 if there is none.

    Read from the header, and where a log stands beside the file from both, by a connection that cannot
    write: any other would move the log into the file when it closes.
    """
    _, _, index = _parts(path)
    header = b""
    with suppress(FileNotFoundError), path.open("rb") as file:
        header = file.read(_VERSION_AT + 4)
    version = int.from_bytes(header[_VERSION_AT:]) if header.startswith(_MAGIC) else 0
    if version and header[_WRITE_FORMAT_AT] > _WRITE_FORMAT:
        raise StoreDamaged("the head of the file is garbled")
    if version > SCHEMA_VERSION or not header or not _has_log(path):
        return version
    had_index = index.exists()
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as db:
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if not had_index:
        index.unlink(missing_ok=True)
    return version


def _frozen(path: Path) -> sqlite3.Connection:
    """Open a store that was closed cleanly, where SQLite could not make its log anew."""
    uri = f"file:{quote(str(path))}?immutable=1"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    db.text_factory = methodcaller("decode", "utf-8", "replace")
    return db


def _has_log(path: Path) -> bool:
    """Whether there are commits that are not in the file itself."""
    _, log, _ = _parts(path)
    return log.exists() and log.stat().st_size > 0


def _parts(path: Path) -> tuple[Path, Path, Path]:
    return path, _beside(path, "-wal"), _beside(path, "-shm")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
