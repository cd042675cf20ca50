"""What the hub keeps on disk."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from agent.localhub.records import (
    Arrival,
    DeviceExists,
    HubUnavailable,
    InvalidRequest,
    StoreFailed,
    UnknownDevice,
)
from agent.localhub.store import Store


def test_files_are_private(tmp_path: Path) -> None:
    """The folder is 0700 and its files, which hold keys, are 0600."""
    store = Store(tmp_path / "deep" / "hub")
    modes = {p.name: oct(p.stat().st_mode & 0o777) for p in (tmp_path / "deep" / "hub").iterdir()}
    assert set(modes.values()) == {"0o600"}
    assert (tmp_path / "deep" / "hub").stat().st_mode & 0o777 == 0o700
    store.close()


def test_a_folder_belongs_to_one_store(tmp_path: Path) -> None:
    """A second one is refused until the first is closed."""
    store = Store(tmp_path)
    with pytest.raises(HubUnavailable, match="another hub uses"):
        Store(tmp_path)
    store.close()
    Store(tmp_path).close()


def test_a_file_that_is_no_database_is_not_touched(tmp_path: Path) -> None:
    """The hub says so and leaves the file and the lock alone."""
    (tmp_path / "hub.db").write_bytes(b"not a database, but somebody's " * 100)
    for _ in range(2):
        with pytest.raises(HubUnavailable, match=r"hub\.db: the store failed: file is not a database"):
            Store(tmp_path)
    assert (tmp_path / "hub.db").read_bytes().startswith(b"not a database")


def test_a_failed_write_changes_nothing_and_is_named(tmp_path: Path) -> None:
    """A batch is stored whole or not at all, and the caller hears of it."""
    store = Store(tmp_path)
    bad = Arrival("mast-1", {}, {}, memoryview)  # type: ignore[arg-type]
    with pytest.raises(StoreFailed, match="the store failed"):
        store.events.append([Arrival("mast-1", {}, {}, b"x"), bad])
    assert store.events.after() == []
    store.close()


def test_events_are_numbered_and_found(tmp_path: Path) -> None:
    """By device, from a number on, or the newest; oldest first."""
    store = Store(tmp_path)
    for device in ("a", "b", "a"):
        store.events.append([Arrival(device, {"s": device}, {"p": "q"}, device.encode())] * 2)
    assert [e.sequence for e in store.events.after(2)] == [3, 4, 5, 6]
    assert [e.sequence for e in store.events.after(device_id="a", limit=3)] == [1, 2, 5]
    assert [e.sequence for e in store.events.latest("a", 2)] == [5, 6]
    assert [e.body for e in store.events.latest(limit=3)] == [b"b", b"a", b"a"]
    assert (store.events.latest()[0].system, store.events.latest()[0].properties) == ({"s": "a"}, {"p": "q"})
    store.close()


def test_object_ids_are_found_in_objects_and_arrays(tmp_path: Path) -> None:
    """What is no JSON, or has no id, is passed over."""
    store = Store(tmp_path)
    bodies = [
        b'{"run": "r", "sequence": 1}',
        b'[{"run": "r", "sequence": 2}, {"run": "s", "sequence": 1}, 3, {"run": "r"}]',
        b'{"run": "r", "sequence": 1}',
        b"\xff",
        b"[" * 100_000,
        b'"text"',
    ]
    store.events.append([Arrival("mast-1", {}, {}, body) for body in bodies])
    assert store.events.object_ids("mast-1") == {"r-1", "r-2", "s-1"}
    assert store.events.object_ids("mast-1", run="r") == {"r-1", "r-2"}
    assert store.events.object_ids("mast-2") == set()
    store.close()


def test_devices_keep_their_keys(tmp_path: Path) -> None:
    """Across a restart, and policies too; creating twice is an error, ensuring is not."""
    store = Store(tmp_path)
    device, key = store.registry.create("mast-1"), store.registry.policy_key("iothubowner")
    with pytest.raises(DeviceExists, match="mast-1"):
        store.registry.create("mast-1")
    store.close()
    store = Store(tmp_path)
    assert store.registry.ensure("mast-1") == device
    assert store.registry.policy_key("iothubowner") == key
    assert store.registry.policy_key("nobody") is None
    with pytest.raises(UnknownDevice):
        store.registry.set_enabled("mast-2", True)
    assert [d.device_id for d in store.registry.all()] == ["mast-1"]
    store.close()


@pytest.mark.parametrize("device_id", ["", "a/b", "a b", "é", "a\n", "x" * 129])
def test_ids_that_azure_would_refuse_are_refused(tmp_path: Path, device_id: str) -> None:
    """1 to 128 ASCII characters of a known set."""
    store = Store(tmp_path)
    with pytest.raises(InvalidRequest, match="device id"):
        store.registry.create(device_id)
    store.registry.create("Az09-:.+%_#*?!(),=@$'")
    store.close()


def test_the_database_syncs_every_commit(tmp_path: Path) -> None:
    """WAL with synchronous=FULL, on the connection that writes."""
    store = Store(tmp_path)
    with store._database.write() as db:
        assert db.execute("PRAGMA synchronous").fetchone()[0] == 2
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert isinstance(db, sqlite3.Connection)
    store.close()
