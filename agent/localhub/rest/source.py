"""What the service side needs of the hub."""

from __future__ import annotations

from typing import Protocol

from ..identities import Identities
from ..records import MethodResult
from ..store import Store


class Hub(Protocol):
    """Thread safety: ``call_method`` and ``connected`` belong to the event loop and never make it wait; all
    else is called in a thread."""

    store: Store
    identities: Identities

    def connected(self) -> frozenset[str]:
        """The ids of the devices that are connected now."""
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
