"""Files that an older masthead wrote."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from agent.localhub import database
from agent.localhub.database import partition_of
from agent.localhub.records import Arrival, HubUnavailable
from agent.localhub.store import Store

DEVICES = ("a", "b", "c", "a", "b", "a")


def _file_of_version_1(folder: Path) -> None:
    folder.mkdir()
    with sqlite3.connect(folder / "hub.db") as db:
        db.executescript(database._SCHEMA)
        for device in sorted(set(DEVICES)):
            db.execute("INSERT INTO device VALUES (?, 'AAAA', 'AAAA', 1, '5', 1.0, NULL)", (device,))
        for n, device in enumerate(DEVICES):
            db.execute(
                "INSERT INTO event (device_id, enqueued_s, system, properties, body)"
                " VALUES (?, ?, '{}', '{}', x'00')",
                (device, float(n)),
            )
        db.execute(
            "INSERT INTO c2d VALUES (1, 'a', 'm', NULL, '{}', x'01', 'full', 1.0, 9e9, 0, 'queued', 1.0)"
        )
    db.close()


def test_an_older_file_is_brought_up_to_date(tmp_path: Path) -> None:
    """Events are numbered within their partitions, from 0, and go on from there; messages still wait."""
    _file_of_version_1(tmp_path / "hub")
    store = Store(tmp_path / "hub")
    store.events.append([Arrival("a", {}, {}, b"new")])
    for partition in {partition_of(device) for device in DEVICES}:
        events = store.events.read(partition, 0)
        assert [event.number for event in events] == list(range(len(events)))
        assert {partition_of(event.device_id) for event in events} == {partition}
    assert len(store.events.after()) == len(DEVICES) + 1
    [message] = store.c2d.take("a", 1)
    assert (message.message_id, message.user_id, message.content_type) == ("m", None, None)
    store.c2d.delivered(message.sequence)
    batch = store.feedback.take()
    assert batch is not None
    assert b'"deviceGenerationId": "5"' in batch.body
    store.close()


def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    """The hub does not start, and says why."""
    Store(tmp_path / "hub").close()
    with sqlite3.connect(tmp_path / "hub" / "hub.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(HubUnavailable, match="written by a newer masthead"):
        Store(tmp_path / "hub")
