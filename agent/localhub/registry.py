"""Who may connect: devices, shared access policies, and the sessions that outlive a connection."""

from __future__ import annotations

import base64
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace

from .database import Database
from .device_settings import DeviceSettings
from .records import Device, DeviceExists, PreconditionFailed, UnknownDevice, check_device_id
from .twins import new_etag

POLICIES = ("iothubowner", "service", "device", "registryRead", "registryReadWrite")
"""The policies that every IoT Hub is created with."""

NEW = DeviceSettings()
"""Enabled, with random keys."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """How many devices there are, and how many of them may connect."""

    total: int
    enabled: int


class Registry:
    """Thread safety: any thread. Every method is on the disk when it returns."""

    def __init__(self, database: Database, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = now
        with database.write() as db:
            rows = [(name, new_key()) for name in POLICIES]
            db.executemany("INSERT OR IGNORE INTO policy VALUES (?, ?)", rows)

    def policy_key(self, name: str) -> str | None:
        """The key of a shared access policy (base64), or None."""
        with self._database.read() as db:
            row = db.execute("SELECT key FROM policy WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row["key"])

    def create(self, device_id: str, settings: DeviceSettings = NEW) -> Device:
        """A new device. Raises InvalidRequest, DeviceExists."""
        check_device_id(device_id)
        with self._database.write() as db:
            if _row(db, device_id) is not None:
                raise DeviceExists(f"device {device_id!r} exists")
            created = Device(
                device_id=device_id,
                primary_key=settings.primary_key or new_key(),
                secondary_key=settings.secondary_key or new_key(),
                enabled=settings.enabled,
                generation_id=str(secrets.randbits(59)),
                created_s=self._now(),
                last_activity_s=None,
                etag=new_etag(),
                status_reason=settings.status_reason,
                primary_thumbprint=settings.primary_thumbprint,
                secondary_thumbprint=settings.secondary_thumbprint,
            )
            columns = asdict(created)
            places = ", ".join("?" * len(columns))
            db.execute(
                f"INSERT INTO device ({', '.join(columns)}) VALUES ({places})",  # noqa: S608  (Device's fields)
                tuple(columns.values()),
            )
        return created

    def update(
        self, device_id: str, settings: DeviceSettings, if_match: str | None = None
    ) -> tuple[Device, Device]:
        """The device before and after the change.

        ``if_match``: an ETag, or None for whatever it is. Raises UnknownDevice, PreconditionFailed.
        """
        with self._database.write() as db:
            before = _known(db, device_id, if_match)
            after = replace(
                before,
                primary_key=settings.primary_key or before.primary_key,
                secondary_key=settings.secondary_key or before.secondary_key,
                enabled=settings.enabled,
                etag=new_etag(),
                status_reason=settings.status_reason,
                status_s=before.status_s if settings.enabled == before.enabled else self._now(),
                primary_thumbprint=settings.primary_thumbprint,
                secondary_thumbprint=settings.secondary_thumbprint,
            )
            db.execute(
                "UPDATE device SET primary_key = ?, secondary_key = ?, enabled = ?, etag = ?,"
                " status_reason = ?, status_s = ?, primary_thumbprint = ?, secondary_thumbprint = ?"
                " WHERE device_id = ?",
                (
                    after.primary_key,
                    after.secondary_key,
                    after.enabled,
                    after.etag,
                    after.status_reason,
                    after.status_s,
                    after.primary_thumbprint,
                    after.secondary_thumbprint,
                    device_id,
                ),
            )
        return before, after

    def delete(self, device_id: str, if_match: str | None = None) -> list[int]:
        """End the device, its session, its twin and what waits for it; what it has sent stays. Returns the
        sequence numbers of the messages that waited, which are purged now.

        ``if_match``: as for ``update``. Raises UnknownDevice, PreconditionFailed.
        """
        with self._database.write() as db:
            _known(db, device_id, if_match)
            db.execute("DELETE FROM device WHERE device_id = ?", (device_id,))
            purged = db.execute(
                "UPDATE c2d SET state = 'purged', state_s = ? WHERE device_id = ? AND state = 'queued'"
                " RETURNING sequence",
                (self._now(), device_id),
            ).fetchall()
        return sorted(int(row["sequence"]) for row in purged)

    def ensure(self, device_id: str) -> Device:
        """The device of that id, created if missing. Raises InvalidRequest."""
        try:
            return self.create(device_id)
        except DeviceExists:
            return self.get(device_id)

    def get(self, device_id: str) -> Device:
        """The device of that id. Raises UnknownDevice."""
        with self._database.read() as db:
            return _known(db, device_id)

    def all(self, limit: int | None = None, after: str = "") -> list[Device]:
        """The first ``limit`` devices with a greater id, or all of them; by id."""
        with self._database.read() as db:
            rows = db.execute(
                "SELECT * FROM device WHERE device_id > ? ORDER BY device_id LIMIT ?",
                (after, -1 if limit is None else limit),
            )
            return [_device(row) for row in rows]

    def statistics(self) -> Statistics:
        """How many devices there are."""
        with self._database.read() as db:
            row = db.execute("SELECT count(*), total(enabled) FROM device").fetchone()
        return Statistics(int(row[0]), int(row[1]))

    def set_enabled(self, device_id: str, enabled: bool) -> None:
        """Let the device connect, or not. Raises UnknownDevice."""
        with self._database.write() as db:
            before = _known(db, device_id)
            status_s = before.status_s if before.enabled == enabled else self._now()
            db.execute(
                "UPDATE device SET enabled = ?, etag = ?, status_s = ? WHERE device_id = ?",
                (enabled, new_etag(), status_s, device_id),
            )

    def begin_session(self, device_id: str, clean: bool, etag: str | None = None) -> dict[str, int] | None:
        """The device has connected: the subscriptions (filter -> QoS) to go on with, None if there are none.

        ``clean``: forget what there was and keep nothing (MQTT 3.1.1, 3.1.2.4). ``etag``: of the device that
        was let in. Raises UnknownDevice and PreconditionFailed if it would not be let in any more.
        """
        with self._database.write() as db:
            device = _known(db, device_id, etag)
            if not device.enabled:
                raise PreconditionFailed(f"{device_id!r} is disabled")
            db.execute("UPDATE device SET last_activity_s = ? WHERE device_id = ?", (self._now(), device_id))
            if clean:
                db.execute("DELETE FROM session WHERE device_id = ?", (device_id,))
                return None
            known = not db.execute("INSERT OR IGNORE INTO session VALUES (?)", (device_id,)).rowcount
            rows = db.execute("SELECT filter, qos FROM subscription WHERE device_id = ?", (device_id,))
            return {str(row["filter"]): int(row["qos"]) for row in rows} if known else None

    def subscribe(self, device_id: str, subscriptions: Mapping[str, int]) -> None:
        """Add to the device's persistent session."""
        rows = [(device_id, topic, qos) for topic, qos in subscriptions.items()]
        with self._database.write() as db:
            db.executemany("INSERT OR REPLACE INTO subscription VALUES (?, ?, ?)", rows)

    def unsubscribe(self, device_id: str, filters: Iterable[str]) -> None:
        """Take from the device's persistent session."""
        rows = [(device_id, topic) for topic in filters]
        with self._database.write() as db:
            db.executemany("DELETE FROM subscription WHERE device_id = ? AND filter = ?", rows)

    def forget_sessions(self, device_id: str | None = None) -> None:
        """End the persistent session of the device, or all of them, with their subscriptions."""
        with self._database.write() as db:
            db.execute("DELETE FROM session WHERE ?1 IS NULL OR device_id = ?1", (device_id,))


def new_key() -> str:
    """A symmetric key: 32 random bytes in base64, as Azure generates them."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


def _row(db: sqlite3.Connection, device_id: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = db.execute("SELECT * FROM device WHERE device_id = ?", (device_id,)).fetchone()
    return row


def _known(db: sqlite3.Connection, device_id: str, if_match: str | None = None) -> Device:
    """Raises UnknownDevice, PreconditionFailed."""
    row = _row(db, device_id)
    if row is None:
        raise UnknownDevice(f"no device {device_id!r}")
    if if_match not in (None, row["etag"]):
        raise PreconditionFailed(f"device {device_id!r} has another ETag: it was changed meanwhile")
    return _device(row)


def _device(row: sqlite3.Row) -> Device:
    return Device(**{**dict(row), "enabled": bool(row["enabled"])})
