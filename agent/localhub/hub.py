"""A local IoT Hub: what a device connects to, and what its owner asks of it in-process."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path

from .c2d import DEFAULT_TTL_S
from .ca import server_files
from .faults import Fault, Faults
from .listener import Listener, is_taken
from .methods import CallLog, check_call
from .notices import NoticeBoard, Subscription
from .records import (
    Ack,
    C2dMessage,
    Device,
    DeviceOffline,
    HubUnavailable,
    MethodCall,
    MethodResult,
    MethodState,
)
from .store import Store

MQTT_PORT = 8883
"""The SDK's, which knows no other."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """A device and how it is: ``waiting`` is the number of messages to it that are not delivered yet."""

    device: Device
    connected: bool
    waiting: int


class LocalHub:
    """Azure IoT Hub's device side over MQTT 3.1.1 and TLS, on loopback, its state in ``data_dir``.

    ``host``: the address to bind; None for 127.0.0.1, or the next 127.0.0.N whose port is free.
    ``faults``: how it misbehaves from the start; ``hub.faults`` changes that at any time (see faults.py).
    After ``start``: ``host`` is the name that connection strings use, ``address`` what is bound,
    ``ca_file`` the certificate (PEM) that clients must trust, ``store`` all that is kept.

    Thread safety: ``start``, ``stop``, ``subscribe`` and ``call_method`` belong to one event loop (other
    threads: ``HubThread.run``). All else may be called from any thread and may wait for the disk, so
    coroutines call it by ``asyncio.to_thread``.
    """

    def __init__(
        self, data_dir: Path, host: str | None = None, port: int = MQTT_PORT, faults: Iterable[Fault] = ()
    ) -> None:
        self.host = ""
        self.address = ""
        self.port = port
        self._addresses = tuple(_addresses(host))
        self._directory = data_dir
        self._board = NoticeBoard()
        self._calls = CallLog(self._board, self._now)
        self.faults = Faults(faults)

    async def start(self) -> None:
        """Listen. Raises HubUnavailable if the data directory or every port is taken."""
        self._loop = asyncio.get_running_loop()
        self.store = await asyncio.to_thread(Store, self._directory, self._now)
        self._listener = Listener(self.store, self._board, self.faults, self._now)
        try:
            await asyncio.to_thread(self.faults.attach, self._perform, self._faults_changed)
            await self._listen()
        except BaseException:
            self.faults.detach()
            self.store.close()
            raise

    async def _listen(self) -> None:
        for address in self._addresses:
            try:
                files = await asyncio.to_thread(server_files, self._directory / "tls", address)
                self.port = await self._listener.start(address, self.port, files)
            except OSError as error:
                if not is_taken(error):
                    reason = f"cannot listen on {address}:{self.port}: {error.strerror}"
                    raise HubUnavailable(reason) from error
                continue
            self.ca_file, self.address = files.ca, str(address)
            self.host = "localhost" if self.address == "127.0.0.1" else self.address
            return
        taken = " to ".join(dict.fromkeys(map(str, (self._addresses[0], self._addresses[-1]))))
        raise HubUnavailable(f"port {self.port} is taken on {taken}")

    async def stop(self) -> None:
        """Close every connection and the store; what has arrived is stored."""
        self.faults.detach()
        await self._listener.stop()
        await asyncio.to_thread(self.store.close)

    def subscribe(self, capacity: int = 1000) -> Subscription:
        """What happens from now on (see notices.py). The hub's event loop only."""
        return self._board.subscribe(capacity)

    @property
    def service_connection_string(self) -> str:
        """For the operator's tools: may do everything."""
        key = self.store.registry.policy_key("iothubowner")
        return f"HostName={self.host};SharedAccessKeyName=iothubowner;SharedAccessKey={key}"

    def device_connection_string(self, device_id: str) -> str:
        """For a device. Raises UnknownDevice."""
        device = self.store.registry.get(device_id)
        return f"HostName={self.host};DeviceId={device_id};SharedAccessKey={device.primary_key}"

    def create_device(self, device_id: str) -> Device:
        """Raises InvalidRequest, DeviceExists."""
        return self.store.registry.create(device_id)

    def ensure_device(self, device_id: str) -> Device:
        """The device, created if missing. Raises InvalidRequest."""
        return self.store.registry.ensure(device_id)

    def set_device_enabled(self, device_id: str, enabled: bool) -> None:
        """Let the device connect or not; disabled it is cut off at once. Raises UnknownDevice."""
        self.store.registry.set_enabled(device_id, enabled)
        if not enabled:
            self._loop.call_soon_threadsafe(self._listener.drop, device_id, "disabled")

    def connected(self) -> frozenset[str]:
        """The ids of the devices that are connected now."""
        return self._listener.connected()

    def devices(self) -> list[DeviceStatus]:
        """Every device, by id."""
        connected = self.connected()
        return [
            DeviceStatus(device, device.device_id in connected, self.store.c2d.pending(device.device_id))
            for device in self.store.registry.all()
        ]

    def send_c2d(
        self,
        device_id: str,
        body: bytes,
        *,
        message_id: str | None = None,
        correlation_id: str | None = None,
        expires_in_s: float = DEFAULT_TTL_S,
        ack: Ack = "none",
        properties: Mapping[str, str] | None = None,
    ) -> C2dMessage:
        """Queue a message for the device, connected or not. Raises UnknownDevice, InvalidRequest, QueueFull.

        Body and properties hold at most 65,536 bytes; 50 messages may wait. What becomes of it is told by
        ``store.c2d.get(sequence)`` and by ``C2dChanged`` notices.
        """
        message = self.store.c2d.add(
            device_id,
            body,
            message_id=message_id,
            correlation_id=correlation_id,
            expires_in_s=expires_in_s,
            ack=ack,
            properties=properties,
        )
        self._loop.call_soon_threadsafe(self._listener.queued, message)
        return message

    async def call_method(
        self, device_id: str, name: str, payload: bytes = b"null", *, timeout_s: float = 30.0
    ) -> MethodResult:
        """Call a direct method and wait for its answer. The hub's event loop only.

        ``payload``: JSON of at most 131,072 bytes; ``timeout_s``: 5 to 300. Raises UnknownDevice,
        InvalidRequest, DeviceOffline, MethodTimeout, and nothing for the status of an answer. What becomes of
        a call is told by ``method_calls`` and by ``MethodChanged`` notices, too.
        """
        check_call(name, payload, timeout_s)
        await asyncio.to_thread(self.store.registry.get, device_id)
        number = self._calls.begin(device_id, name, payload)
        state: MethodState = "no-answer"
        result: MethodResult | None = None
        try:
            result = await self._listener.call(device_id, name, payload, timeout_s)
            state = "answered"
        except DeviceOffline:
            state = "offline"
            raise
        finally:
            self._calls.settle(number, state, result)
        return result

    def method_calls(self, device_id: str) -> list[MethodCall]:
        """The last calls of direct methods since the start of the hub, oldest first; never waits."""
        return self._calls.latest(device_id)

    def _now(self) -> float:
        """The hub's clock, which a fault can put ahead or behind."""
        skew = self.faults.peek("clock-skew")
        return time.time() + (skew.value if skew and isinstance(skew.value, int | float) else 0.0)

    def _perform(self, fault: Fault) -> None:
        """Do what is done once. What a loss leaves is on the disk before connections end, so that whoever
        comes back finds nothing."""
        logger.warning("fault: %s", fault)
        if fault.name == "lost-state":
            self.store.registry.forget_sessions(fault.device)
            self.store.c2d.forget(fault.device)
        self._loop.call_soon_threadsafe(self._listener.drop, fault.device, f"fault: {fault}")

    def _faults_changed(self, cleared: frozenset[str]) -> None:
        active = self.faults.active()
        logger.warning("faults: %s", "; ".join(map(str, active)) if active else "none any more")
        self._loop.call_soon_threadsafe(self._listener.faults_changed, cleared)


def _addresses(host: str | None) -> Iterator[IPv4Address]:
    if host is None:
        yield from (IPv4Address(f"127.0.0.{n}") for n in range(1, 255))
        return
    try:
        address = IPv4Address("127.0.0.1" if host == "localhost" else host)
    except AddressValueError:
        raise HubUnavailable(f"host {host!r}: expected localhost or an address 127.x.y.z") from None
    if not address.is_loopback:
        raise HubUnavailable(f"host {host!r}: only loopback addresses (127.x.y.z) are served")
    yield address
