"""What the page needs of the hub."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..faults import Faults
from ..identities import Identities
from ..notices import Subscription
from ..records import C2dMessage, Device, MethodCall, MethodResult
from ..store import Store


class DeviceStatus(Protocol):
    """A device and how it is."""

    @property
    def device(self) -> Device: ...

    @property
    def connected(self) -> bool: ...


class Hub(Protocol):
    """Thread safety: ``subscribe`` and ``call_method`` belong to the event loop, which the page shares; all
    else may wait for the disk and is called in a thread."""

    store: Store
    faults: Faults
    identities: Identities
    host: str

    def devices(self) -> Sequence[DeviceStatus]:
        """Every device, by id."""
        ...

    def subscribe(self, capacity: int = 1000) -> Subscription:
        """A bounded stream of what happens from now on."""
        ...

    def send_c2d(
        self, device_id: str, body: bytes, *, message_id: str | None = None, expires_in_s: float = 3600.0
    ) -> C2dMessage:
        """Queue a message for a device. Raises UnknownDevice, InvalidRequest, QueueFull."""
        ...

    def device_connection_string(self, device_id: str) -> str:
        """With the device's key. Raises UnknownDevice."""
        ...

    async def call_method(
        self,
        device_id: str,
        name: str,
        payload: bytes = b"null",
        *,
        timeout_s: float = 30.0,
        connect_within_s: float = 0.0,
    ) -> MethodResult:
        """Call a direct method. Raises UnknownDevice, InvalidRequest, DeviceOffline, MethodTimeout."""
        ...

    def method_calls(self, device_id: str) -> Sequence[MethodCall]:
        """The last calls to the device, oldest first."""
        ...
