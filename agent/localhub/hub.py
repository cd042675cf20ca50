"""A local IoT Hub: what a device connects to, and what its owner asks of it in-process."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from .c2d import DEFAULT_TTL_S
from .ca import ServerFiles, server_files
from .faults import Fault, Faults
from .identities import DeviceStatus, Identities
from .listener import Listener, is_taken
from .methods import CallLog, check_call
from .notices import NoticeBoard, Subscription
from .ports import loopback_addresses
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
from .service_side import AMQP_PORT, ServiceSide
from .store import Store
from .websocket import Bridge

MQTT_PORT = 8883
"""The SDK's, which knows no other."""

logger = logging.getLogger(__name__)


class LocalHub:
    """Azure IoT Hub over TLS, on loopback, its state in ``data_dir``: MQTT 3.1.1 for devices, AMQP 1.0 and
    HTTPS for the back end (and for devices with WebSockets).

    ``host``: the address to bind; None for 127.0.0.1, or the next 127.0.0.N whose ``port`` (MQTT's) is free.
    ``https_port``: None for 443, or where that may not be bound the next free one from 8443.
    ``faults``: how it misbehaves from the start; ``hub.faults`` changes that at any time (see faults.py).
    After ``start``: ``host`` is the name that connection strings use, ``address`` what is bound,
    ``ca_file`` the certificate (PEM) that clients must trust, ``https_port`` and ``amqp_port`` are numbers,
    ``store`` all that is kept, ``identities`` the devices as the back end handles them.

    Thread safety: ``start``, ``stop``, ``subscribe`` and ``call_method`` belong to one event loop (other
    threads: ``HubThread.run``). All else may be called from any thread and may wait for the disk, so
    coroutines call it by ``asyncio.to_thread``.
    """

    def __init__(
        self,
        data_dir: Path,
        host: str | None = None,
        port: int = MQTT_PORT,
        faults: Iterable[Fault] = (),
        https_port: int | None = None,
    ) -> None:
        self.host = ""
        self.address = ""
        self.port = port
        self.https_port = https_port
        self.amqp_port = AMQP_PORT
        self._addresses = tuple(loopback_addresses(host))
        self._directory = data_dir
        self._board = NoticeBoard()
        self._calls = CallLog(self._board, self._now)
        self.faults = Faults(faults)

    async def start(self) -> None:
        """Listen. Raises HubUnavailable if the data directory or every port is taken."""
        self._loop = asyncio.get_running_loop()
        self.store = await asyncio.to_thread(Store, self._directory, self._now)
        self._listener = Listener(self.store, self._board, self.faults, self._now)
        self.identities = Identities(self.store, self._listener, self._loop)
        try:
            await asyncio.to_thread(self.faults.attach, self._perform, self._faults_changed)
            files = await self._listen()
            try:
                await self._serve_back_end(files)
            except BaseException:
                await self._listener.stop()
                raise
        except BaseException:
            self.faults.detach()
            self.store.close()
            raise

    async def _listen(self) -> ServerFiles:
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
            return files
        taken = " to ".join(dict.fromkeys(map(str, (self._addresses[0], self._addresses[-1]))))
        raise HubUnavailable(f"port {self.port} is taken on {taken}")

    async def _serve_back_end(self, files: ServerFiles) -> None:
        self._service = ServiceSide(
            self,
            self._board,
            Bridge(self._listener.serve, self._listener.strangers),
            names=(self.host, self.address),
            send=self.send_c2d,
            now=self._now,
        )
        await self._service.start(files, self.faults, self.https_port)
        self.https_port, self.amqp_port = self._service.https_port, self._service.amqp_port

    async def stop(self) -> None:
        """Close every connection and the store; what has arrived is stored."""
        self.faults.detach()
        await self._listener.stop()
        await self._service.stop()
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
        return self.identities.create(device_id).device

    def ensure_device(self, device_id: str) -> Device:
        """The device, created if missing. Raises InvalidRequest."""
        return self.store.registry.ensure(device_id)

    def set_device_enabled(self, device_id: str, enabled: bool) -> None:
        """Let the device connect or not; disabled it is cut off at once. Raises UnknownDevice."""
        self.identities.set_enabled(device_id, enabled)

    def connected(self) -> frozenset[str]:
        """The ids of the devices that are connected now."""
        return self._listener.connected()

    def devices(self) -> list[DeviceStatus]:
        """Every device, by id."""
        return self.identities.statuses()

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
        user_id: str | None = None,
        content_type: str | None = None,
        content_encoding: str | None = None,
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
            user_id=user_id,
            content_type=content_type,
            content_encoding=content_encoding,
        )
        self._loop.call_soon_threadsafe(self._listener.queued, message)
        return message

    async def call_method(
        self,
        device_id: str,
        name: str,
        payload: bytes = b"null",
        *,
        timeout_s: float = 30.0,
        connect_within_s: float = 0.0,
    ) -> MethodResult:
        """Call a direct method and wait for its answer. The hub's event loop only.

        ``payload``: JSON of at most 131,072 bytes; ``timeout_s``: 5 to 300; ``connect_within_s``: how long to
        wait for a device that is not connected. Raises UnknownDevice, InvalidRequest, DeviceOffline,
        MethodTimeout, and nothing for the status of an answer. What becomes of a call is told by
        ``method_calls`` and by ``MethodChanged`` notices, too.
        """
        check_call(name, payload, timeout_s)
        await asyncio.to_thread(self.store.registry.get, device_id)
        number = self._calls.begin(device_id, name, payload)
        state: MethodState = "no-answer"
        result: MethodResult | None = None
        try:
            result = await self._listener.call(device_id, name, payload, timeout_s, connect_within_s)
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
