"""One device's MQTT connection, from CONNECT to the end.

Invariants:
1. What the device sends is handled in the order in which it came (and confirmed in it: intake.py).
2. Nothing the peer does costs anyone else more than a line in the log, or more memory than a bound.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from . import mqtt, topics
from .auth import Admission, Authenticator, BadCredentials, NotAuthorized
from .delivery import Delivery
from .faults import Faults
from .intake import MAX_PACKET_BYTES, Intake
from .limits import Limits
from .line import Line
from .methods import Methods
from .notices import NoticeBoard
from .records import HubError, MethodResult, PreconditionFailed, StoreFailed, UnknownDevice
from .store import Store
from .storing import Storing
from .twin_link import TwinLink

_CONNECT_WITHIN_S = 10.0
_MAX_UNREAD_BYTES = 1_048_576
_MAX_KEEP_ALIVE_S = 1177  # what IoT Hub makes of a longer one, or none

logger = logging.getLogger(__name__)


class Server(Protocol):
    """What a connection needs of the hub around it."""

    store: Store
    storing: Storing
    board: NoticeBoard
    authenticator: Authenticator
    faults: Faults
    limits: Limits

    def now(self) -> float:
        """The hub's clock, Unix seconds."""
        ...

    async def enter(self, connection: Connection) -> None:
        """Make this the one connection of its device; an older one is over when this returns. Raises
        ConnectionAbortedError if a newer one came meanwhile."""
        ...

    def leave(self, connection: Connection) -> None:
        """It is over."""
        ...


class Connection:
    """Thread safety: the hub's event loop only; the disk is waited for in threads."""

    def __init__(self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.device_id = ""
        self.reason = "the link broke"
        self.finished = asyncio.Event()
        self._server = server
        self._writer = writer
        self._line = Line(reader, writer, server.faults, self.close)
        self._persistent = False
        self._watch: Callable[[], None] = _nothing

    async def run(self) -> None:
        """Serve the peer until either side has enough. Never raises for what a peer or a disk does."""
        try:
            await self._serve(*await self._begin())
        except (mqtt.ProtocolError, NotAuthorized, BadCredentials, StoreFailed) as error:
            logger.warning("refused a connection: %.300s", error)
        except (OSError, EOFError):  # the connection went; IncompleteReadError is an EOFError
            self._writer.transport.abort()
        finally:
            self._line.stop()
            self._writer.close()
            self.finished.set()

    def close(self, reason: str) -> None:
        """Cut the connection. ``run`` ends soon after."""
        self.reason = reason
        self._writer.transport.abort()

    def faults_changed(self, cleared: frozenset[str]) -> None:
        """Faults were set, or those of these names were cleared."""
        self._line.reconsider(cleared)
        self._watch()

    def wake(self) -> None:
        """A message for the device was queued."""
        self._delivery.wake()

    async def call(self, name: str, payload: bytes, timeout_s: float) -> MethodResult:
        """Call a direct method of the device. Raises DeviceOffline, MethodTimeout."""
        return await self._methods.call(name, payload, timeout_s)

    def desired_changed(self, changes: Mapping[str, Any], version: int) -> None:
        """The back end has made these changes of the device's desired properties."""
        if self._writer.transport.get_write_buffer_size() > _MAX_UNREAD_BYTES:
            self.close("it does not read what it is told")
            return
        self._twin.changed(changes, version)

    async def _begin(self) -> tuple[mqtt.Connect, Admission]:
        """Read the CONNECT and answer it. Raises what ends the connection."""
        try:
            connect = await self._first()
            if (fault := self._server.faults.take("refuse", connect.client_id)) is not None:
                await self._refuse(int(fault.value or mqtt.NOT_AUTHORIZED))
                raise mqtt.ProtocolError(f"{connect.client_id}, fault: {fault}")
            tls: ssl.SSLObject | None = self._writer.get_extra_info("ssl_object")
            admission = await asyncio.to_thread(
                self._server.authenticator.admit,
                connect.client_id,
                connect.username,
                connect.password,
                None if tls is None else tls.getpeercert(True),
            )
        except mqtt.UnknownProtocol:
            await self._refuse(mqtt.BAD_PROTOCOL)
            raise
        except BadCredentials:
            await self._refuse(mqtt.BAD_CREDENTIALS)
            raise
        except NotAuthorized:
            await self._refuse(mqtt.NOT_AUTHORIZED)
            raise
        self.device_id = admission.device.device_id
        return connect, admission

    async def _first(self) -> mqtt.Connect:
        try:
            async with asyncio.timeout(_CONNECT_WITHIN_S):
                connect = await self._line.receive(mqtt.MAX_CONTROL_BYTES)
        except TimeoutError:
            await self._line.stand_still()
            raise mqtt.ProtocolError(f"no CONNECT within {_CONNECT_WITHIN_S:g} s") from None
        if not isinstance(connect, mqtt.Connect):
            raise mqtt.ProtocolError(f"{type(connect).__name__} before CONNECT")
        return connect

    async def _refuse(self, return_code: int) -> None:
        self._line.send("connack", mqtt.connack(return_code))
        await self._line.drain()

    async def _serve(self, connect: mqtt.Connect, admission: Admission) -> None:
        server, store = self._server, self._server.store
        self._delivery = Delivery(store.c2d, server.board, self.device_id, self._line, server.faults)
        self._methods = Methods(self.device_id, self._line)
        self._twin = TwinLink(store.twins, server.board, self.device_id, self._line)
        self._intake = Intake(admission, server.storing, server.limits, self._line, self.close)
        await server.enter(self)
        sending = asyncio.create_task(self._send())
        try:
            clean = connect.clean_session
            session = await self._session(clean, admission)
            self._persistent = not clean
            self._line.send("connack", mqtt.connack(mqtt.ACCEPTED, session is not None))
            self._line.accepted()
            if session is not None:
                self._subscribed(session)
            await self._receive(connect.keep_alive_s, admission.expires_s)
        except (mqtt.ProtocolError, HubError) as error:
            self.close(str(error))
        finally:
            self._watch = _nothing
            self._writer.transport.abort()
            self._methods.end()
            self._delivery.stop()
            await sending
            try:
                await self._delivery.release()
            finally:
                server.leave(self)

    async def _session(self, clean: bool, admission: Admission) -> Mapping[str, int] | None:
        """Begin it, unless the device was changed since it was let in. Raises HubError."""
        begin = self._server.store.registry.begin_session
        try:
            return await asyncio.to_thread(begin, self.device_id, clean, admission.device.etag)
        except (UnknownDevice, PreconditionFailed):
            await self._refuse(mqtt.NOT_AUTHORIZED)
            raise

    async def _send(self) -> None:
        try:
            await self._delivery.run()
        except (OSError, StoreFailed) as error:
            self.close(str(error))

    async def _receive(self, keep_alive_s: int, expires_s: float) -> None:
        """Handle packet after packet, until the device takes its leave."""
        silence_s = 1.5 * min(keep_alive_s or _MAX_KEEP_ALIVE_S, _MAX_KEEP_ALIVE_S)
        try:
            async with asyncio.timeout(None) as deadline:
                self._watch = partial(self._reschedule, deadline, silence_s, expires_s)
                while True:
                    self._watch()
                    packet = await self._line.receive(MAX_PACKET_BYTES)
                    if isinstance(packet, mqtt.Disconnect):
                        self.reason = "closed by the device"
                        return
                    await self._handle(packet)
                    await self._line.drain()
        except TimeoutError:
            self._watch = _nothing
            await self._line.stand_still()
            expired = self._server.now() >= expires_s
            self.close("its token expired" if expired else f"silent for {silence_s:g} s")

    def _reschedule(self, deadline: asyncio.Timeout, silence_s: float, expires_s: float) -> None:
        if deadline.expired():
            return
        left_s = max(expires_s - self._server.now(), 0.0)
        deadline.reschedule(asyncio.get_running_loop().time() + min(silence_s, left_s))

    async def _handle(self, packet: mqtt.Packet) -> None:
        match packet:
            case mqtt.Publish(topic) if topic.startswith(topics.METHOD_ANSWERS):
                self._methods.answered(topic, packet.body)
                await self._intake.confirm(packet)
            case mqtt.Publish(topic) if topic.startswith(topics.TWINS):
                await self._twin.asked(topic, packet.body)
                await self._intake.confirm(packet)
            case mqtt.Publish():
                await self._intake.store(packet)
            case mqtt.Puback(packet_id):
                await self._delivery.acknowledged(packet_id)
            case mqtt.Subscribe(packet_id, filters):
                await self._subscribe(packet_id, filters)
            case mqtt.Unsubscribe(packet_id, filters):
                await self._unsubscribe(packet_id, filters)
            case mqtt.Pingreq():
                self._line.send("pingresp", mqtt.pingresp())
            case _:
                raise mqtt.ProtocolError("a second CONNECT")

    async def _subscribe(self, packet_id: int, filters: tuple[tuple[str, int], ...]) -> None:
        allowed = topics.subscribable(self.device_id)
        granted = {topic: min(qos, 1) for topic, qos in filters if topic in allowed}
        if self._server.faults.take("refuse-subscription", self.device_id):
            granted = {}
        if self._persistent:
            await asyncio.to_thread(self._server.store.registry.subscribe, self.device_id, granted)
        self._subscribed(granted)
        codes = [granted.get(topic, mqtt.SUBSCRIPTION_REFUSED) for topic, _ in filters]
        self._line.send("suback", mqtt.suback(packet_id, codes))

    def _subscribed(self, granted: Mapping[str, int]) -> None:
        if (qos := granted.get(topics.c2d_filter(self.device_id))) is not None:
            self._delivery.subscribed(qos)
        if topics.METHODS_FILTER in granted:
            self._methods.subscribed(True)
        self._twin.subscribed(granted)

    async def _unsubscribe(self, packet_id: int, filters: tuple[str, ...]) -> None:
        if self._persistent:
            await asyncio.to_thread(self._server.store.registry.unsubscribe, self.device_id, filters)
        if topics.c2d_filter(self.device_id) in filters:
            self._delivery.subscribed(None)
        if topics.METHODS_FILTER in filters:
            self._methods.subscribed(False)
        self._twin.unsubscribed(filters)
        self._line.send("unsuback", mqtt.unsuback(packet_id))


def _nothing() -> None:
    return
