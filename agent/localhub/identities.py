"""Devices as the back end handles them: what it changes holds for connections that stand, too, and is told
to whoever listens (see notices.py)."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass

from .device_settings import DeviceSettings
from .listener import Listener
from .notices import C2dChanged, DeviceChanged, Notice, TwinChanged
from .records import Device
from .registry import NEW
from .store import Store
from .twin_rules import Json, checked
from .twins import Twin


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """A device and how it is: ``waiting`` is the number of messages to it that are not delivered yet;
    ``since_s``: since when it is connected or not, None if that was before the hub's start."""

    device: Device
    connected: bool
    waiting: int
    since_s: float | None = None


class Identities:
    """Thread safety: any thread; every method may wait for the disk, so coroutines call it in a thread.

    ``if_match`` is an ETag, or None for whatever it is.
    """

    def __init__(self, store: Store, listener: Listener, loop: asyncio.AbstractEventLoop) -> None:
        self._store = store
        self._listener = listener
        self._loop = loop
        self._updating = threading.Lock()

    def create(self, device_id: str, settings: DeviceSettings = NEW) -> DeviceStatus:
        """A new device. Raises InvalidRequest, DeviceExists."""
        created = self._store.registry.create(device_id, settings)
        self._tell(DeviceChanged(device_id))
        return self._status(created)

    def update(self, device_id: str, settings: DeviceSettings, if_match: str | None = None) -> DeviceStatus:
        """Change a device; disabled, or with other credentials, it is cut off. Raises UnknownDevice,
        PreconditionFailed."""
        before, after = self._store.registry.update(device_id, settings, if_match)
        if not after.enabled:
            self._soon(device_id, "disabled")
        elif credentials(before) != credentials(after):
            self._soon(device_id, "its credentials were changed")
        self._tell(DeviceChanged(device_id))
        return self._status(after)

    def set_enabled(self, device_id: str, enabled: bool) -> None:
        """Let the device connect or not; disabled it is cut off at once. Raises UnknownDevice."""
        self._store.registry.set_enabled(device_id, enabled)
        if not enabled:
            self._soon(device_id, "disabled")
        self._tell(DeviceChanged(device_id))

    def delete(self, device_id: str, if_match: str | None = None) -> None:
        """End a device with all that is kept for it, and cut it off. Raises UnknownDevice,
        PreconditionFailed."""
        purged = self._store.registry.delete(device_id, if_match)
        self._soon(device_id, "deleted")
        for message in map(self._store.c2d.get, purged):
            if message is not None:
                self._tell(C2dChanged(message))
        self._tell(DeviceChanged(device_id))

    def purge(self, device_id: str) -> int:
        """Take out of the queue what waits for the device; returns how many messages that were. Raises
        UnknownDevice."""
        self._store.registry.get(device_id)
        purged = self._store.c2d.purge(device_id)
        for message in purged:
            self._tell(C2dChanged(message))
        return len(purged)

    def status(self, device_id: str) -> DeviceStatus:
        """Raises UnknownDevice."""
        return self._status(self._store.registry.get(device_id))

    def statuses(self, limit: int | None = None, after: str = "") -> list[DeviceStatus]:
        """The first ``limit`` devices with a greater id, or all of them; by id."""
        return [self._status(device) for device in self._store.registry.all(limit, after)]

    def update_twin(
        self,
        device_id: str,
        *,
        tags: object = None,
        desired: object = None,
        replace: bool = False,
        if_match: str | None = None,
    ) -> Twin:
        """As ``TwinStore.update``, the same errors included; the device is told if it is connected."""
        with self._updating:  # it is told in the order of versions
            before = self._store.twins.get(device_id).desired.values if replace else None
            twin = self._store.twins.update(
                device_id, tags=tags, desired=desired, replace=replace, if_match=if_match
            )
            if desired is not None:
                changes = checked(desired, "desired properties")
                told = changes if before is None else _replacing(before, changes)
                self._loop.call_soon_threadsafe(
                    self._listener.desired_changed, device_id, told, twin.desired.version
                )
        self._tell(TwinChanged(device_id))
        return twin

    def _status(self, device: Device) -> DeviceStatus:
        device_id = device.device_id
        connected = device_id in self._listener.connected()
        since_s = self._listener.since_s(device_id)
        if since_s is not None and since_s < device.created_s:  # another's of that id
            since_s = None
        return DeviceStatus(device, connected, self._store.c2d.pending(device_id), since_s)

    def _tell(self, notice: Notice) -> None:
        self._loop.call_soon_threadsafe(self._listener.board.post, notice)

    def _soon(self, device_id: str, reason: str) -> None:
        self._loop.call_soon_threadsafe(self._listener.drop, device_id, reason)


def credentials(device: Device) -> tuple[str | None, str | None]:
    """What the device proves its identity by: thumbprints if it has any, else keys."""
    if device.primary_thumbprint or device.secondary_thumbprint:
        return device.primary_thumbprint, device.secondary_thumbprint
    return device.primary_key, device.secondary_key


def _replacing(before: Json, after: Json) -> Json:
    """The changes that make ``after`` of ``before``: what is gone is null."""
    changes: Json = {name: None for name in before if name not in after}
    for name, value in after.items():
        inner = before.get(name)
        changes[name] = (
            _replacing(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
        )
    return changes
