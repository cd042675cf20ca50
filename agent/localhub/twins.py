"""Device twins: what the back end wants of a device, what the device reports, and tags.

Rules: https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-device-twins
JSON merge as there: an object merges, null removes, anything else replaces.

Invariants:
1. A change is on the disk, with its version one higher, when its method returns; or nothing of it.
2. Desired properties are the back end's, reported ones the device's; each has a version of its own, and the
   twin has a version and an ETag.
3. No twin is larger, deeper or stranger than IoT Hub takes.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import secrets
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from .database import Database
from .records import PreconditionFailed, UnknownDevice
from .twin_rules import (
    MAX_PROPERTIES_BYTES,
    MAX_TAGS_BYTES,
    Json,
    bounded,
    checked,
    merged,
    merged_metadata,
)


@dataclass(frozen=True, slots=True)
class Properties:
    """One side of a twin. ``metadata``: when each value was last written, in the shape of ``values``."""

    values: Json
    metadata: Json
    version: int = 1

    @property
    def for_device(self) -> Json:
        """As a device is given it."""
        return {**self.values, "$version": self.version}

    @property
    def for_service(self) -> Json:
        """As the back end is given it."""
        return {**self.values, "$metadata": self.metadata, "$version": self.version}


@dataclass(frozen=True, slots=True)
class Twin:
    """A device's twin. ``version`` counts changes of tags and desired properties."""

    device_id: str
    etag: str
    version: int
    tags: Json
    desired: Properties
    reported: Properties


class TwinStore:
    """Thread safety: any thread. Every change is on the disk when its method returns."""

    def __init__(self, database: Database, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = now

    def get(self, device_id: str) -> Twin:
        """Raises UnknownDevice."""
        with self._database.read() as db:
            return _twin(db, device_id)

    def report(self, device_id: str, patch: object) -> Properties:
        """Merge what the device reports. Raises UnknownDevice, InvalidRequest."""
        changes = checked(patch, "reported properties")
        with self._database.write() as db:
            twin = _twin(db, device_id)
            reported = self._merged(twin.reported, changes)
            bounded(reported.values, MAX_PROPERTIES_BYTES, "reported properties")
            _save(db, dataclasses.replace(twin, reported=reported))
        return reported

    def update(
        self,
        device_id: str,
        *,
        tags: object = None,
        desired: object = None,
        replace: bool = False,
        if_match: str | None = None,
    ) -> Twin:
        """Merge tags and desired properties (or ``replace`` them), as far as given.

        ``if_match``: an ETag, or None for whatever it is. Raises UnknownDevice, InvalidRequest,
        PreconditionFailed.
        """
        new_tags = None if tags is None else checked(tags, "tags")
        new_desired = None if desired is None else checked(desired, "desired properties")
        with self._database.write() as db:
            twin = _twin(db, device_id)
            if if_match not in (None, twin.etag):
                raise PreconditionFailed(
                    f"the twin of {device_id!r} has another ETag: it was changed meanwhile"
                )
            if new_tags is not None:
                new_tags = merged({} if replace else twin.tags, new_tags)
                bounded(new_tags, MAX_TAGS_BYTES, "tags")
                twin = dataclasses.replace(twin, tags=new_tags)
            if new_desired is not None:
                before = Properties({}, {}, twin.desired.version) if replace else twin.desired
                kept = self._merged(before, new_desired)
                bounded(kept.values, MAX_PROPERTIES_BYTES, "desired properties")
                twin = dataclasses.replace(twin, desired=kept)
            twin = dataclasses.replace(twin, etag=new_etag(), version=twin.version + 1)
            _save(db, twin)
        return twin

    def _merged(self, properties: Properties, changes: Json) -> Properties:
        version = properties.version + 1
        stamp = {"$lastUpdated": iso_time(self._now()), "$lastUpdatedVersion": version}
        return Properties(
            merged(properties.values, changes),
            merged_metadata(properties.metadata, changes, stamp),
            version,
        )


def _twin(db: sqlite3.Connection, device_id: str) -> Twin:
    """Raises UnknownDevice."""
    row = db.execute("SELECT * FROM twin WHERE device_id = ?", (device_id,)).fetchone()
    if row is not None:
        return Twin(
            device_id,
            row["etag"],
            row["version"],
            json.loads(row["tags"]),
            Properties(**json.loads(row["desired"])),
            Properties(**json.loads(row["reported"])),
        )
    device = db.execute(
        "SELECT generation_id, created_s FROM device WHERE device_id = ?", (device_id,)
    ).fetchone()
    if device is None:
        raise UnknownDevice(f"no device {device_id!r}")
    etag = base64.b64encode(device["generation_id"].encode()).decode()
    empty = Properties({}, {"$lastUpdated": iso_time(device["created_s"])})
    return Twin(device_id, etag, 1, {}, empty, empty)


def _save(db: sqlite3.Connection, twin: Twin) -> None:
    db.execute(
        "INSERT OR REPLACE INTO twin VALUES (?, ?, ?, ?, ?, ?)",
        (
            twin.device_id,
            twin.etag,
            twin.version,
            json.dumps(twin.tags),
            _stored(twin.desired),
            _stored(twin.reported),
        ),
    )


def _stored(properties: Properties) -> str:
    return json.dumps(
        {"values": properties.values, "metadata": properties.metadata, "version": properties.version}
    )


def new_etag() -> str:
    """An ETag that no other state has had: base64, as IoT Hub's are."""
    return secrets.token_urlsafe(9)


def iso_time(seconds: float) -> str:
    """Unix seconds as IoT Hub writes a time, with seven digits."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S.%f}0Z"
