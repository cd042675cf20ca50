"""Who may connect: devices, shared access policies, and the sessions that outlive a connection."""

from __future__ import annotations

import base64
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping

from .database import Database
from .records import Device, DeviceExists, UnknownDevice, check_device_id

POLICIES = ("iothubowner", "service", "device", "registryRead", "registryReadWrite")
"""The policies that every IoT Hub is created with."""


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

    def create(self, device_id: str) -> Device:
        """A new device with random keys. Raises InvalidRequest, DeviceExists."""
        check_device_id(device_id)
        device = Device(device_id, new_key(), new_key(), True, str(secrets.randbits(59)), self._now(), None)
        with self._database.write() as db:
            if db.execute("SELECT 1 FROM device WHERE device_id = ?", (device_id,)).fetchone():
                raise DeviceExists(f"device {device_id!r} exists")
            db.execute(
                "INSERT INTO device VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    device_id,
                    device.primary_key,
                    device.secondary_key,
                    device.enabled,
                    device.generation_id,
                    device.created_s,
                    device.last_activity_s,
                ),
            )
        return device

    def ensure(self, device_id: str) -> Device:
        """The device of that id, created if missing. Raises InvalidRequest."""
        try:
            return self.create(device_id)
        except DeviceExists:
            return self.get(device_id)

    def get(self, device_id: str) -> Device:
        """The device of that id. Raises UnknownDevice."""
        with self._database.read() as db:
            row = db.execute("SELECT * FROM device WHERE device_id = ?", (device_id,)).fetchone()
        if row is None:
            raise UnknownDevice(f"no device {device_id!r}")
        return _device(row)

    def all(self) -> list[Device]:
        """Every device, by id."""
        with self._database.read() as db:
            return [_device(row) for row in db.execute("SELECT * FROM device ORDER BY device_id")]

    def set_enabled(self, device_id: str, enabled: bool) -> None:
        """Let the device connect, or not. Raises UnknownDevice."""
        with self._database.write() as db:
            changed = db.execute("UPDATE device SET enabled = ? WHERE device_id = ?", (enabled, device_id))
            if not changed.rowcount:
                raise UnknownDevice(f"no device {device_id!r}")

    def begin_session(self, device_id: str, clean: bool) -> dict[str, int] | None:
        """The device has connected: the subscriptions (filter -> QoS) to go on with, None if there are none.

        ``clean``: forget what there was and keep nothing (MQTT 3.1.1, 3.1.2.4).
        """
        with self._database.write() as db:
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


def _device(row: sqlite3.Row) -> Device:
    return Device(
        row["device_id"],
        row["primary_key"],
        row["secondary_key"],
        bool(row["enabled"]),
        row["generation_id"],
        row["created_s"],
        row["last_activity_s"],
    )
