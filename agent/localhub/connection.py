"""One device's MQTT connection, from CONNECT to the end.

Invariants:
1. A PUBACK goes out only after its message is on the disk (an answer to a method: after it was handed over;
   a request to the twin: after it was answered), in the order in which messages came.
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
from .limits import Limits
from .line import Line
from .methods import Methods
from .notices import NoticeBoard
from .records import Arrival, HubError, MethodResult, PreconditionFailed, StoreFailed, UnknownDevice
from .store import Store
from .storing import Storing, Ticket
from .twin_link import TwinLink

_CONNECT_WITHIN_S = 10.0
_MAX_CONNECT_BYTES = 16_384
_MAX_MESSAGE_BYTES = 262_144
_MAX_PACKET_BYTES = _MAX_MESSAGE_BYTES + 65_535 + 4  # with topic and packet id
_MAX_UNSTORED_BYTES = 1_048_576
_TICKET_BYTES = 500  # what a message takes here beside its content
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
        """Make this the one connection of its device; an older one is over when this returns."""
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
        self._unstored_bytes = 0
        self._storing_went_on = asyncio.Event()
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

    def stored(self, tickets: list[Ticket]) -> None:
        """Storing.Sender: confirm."""
        self._went_on(tickets)
        self._line.confirm([(mqtt.puback(t.packet_id), t.due) for t in tickets if t.packet_id is not None])

    def not_stored(self, tickets: list[Ticket], reason: str) -> None:
        """Storing.Sender: an unconfirmed message must be sent again, and only a new connection does that."""
        self._went_on(tickets)
        self.close(reason)

    def _went_on(self, tickets: list[Ticket]) -> None:
        self._unstored_bytes -= sum(t.size_bytes for t in tickets)
        self._storing_went_on.set()

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
                connect = await self._line.receive(_MAX_CONNECT_BYTES)
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
        store = self._server.store
        self._delivery = Delivery(store.c2d, self._server.board, self.device_id, self._line)
        self._methods = Methods(self.device_id, self._line)
        self._twin = TwinLink(store.twins, self.device_id, self._line)
        await self._server.enter(self)
        sending = asyncio.create_task(self._send())
        try:
            clean = connect.clean_session
            session = await self._session(clean, admission)
            self._persistent = not clean
            self._line.send("connack", mqtt.connack(mqtt.ACCEPTED, session is not None))
            self._line.accepted()
            if session is not None:
                self._subscribed(session)
            await self._receive(connect.keep_alive_s, admission)
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
                self._server.leave(self)

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

    async def _receive(self, keep_alive_s: int, admission: Admission) -> None:
        """Handle packet after packet, until the device takes its leave."""
        silence_s = 1.5 * min(keep_alive_s or _MAX_KEEP_ALIVE_S, _MAX_KEEP_ALIVE_S)
        try:
            async with asyncio.timeout(None) as deadline:
                self._watch = partial(self._reschedule, deadline, silence_s, admission.expires_s)
                while True:
                    self._watch()
                    packet = await self._line.receive(_MAX_PACKET_BYTES)
                    if isinstance(packet, mqtt.Disconnect):
                        self.reason = "closed by the device"
                        return
                    await self._handle(packet, admission)
                    await self._line.drain()
        except TimeoutError:
            self._watch = _nothing
            await self._line.stand_still()
            expired = self._server.now() >= admission.expires_s
            self.close("its token expired" if expired else f"silent for {silence_s:g} s")

    def _reschedule(self, deadline: asyncio.Timeout, silence_s: float, expires_s: float) -> None:
        if deadline.expired():
            return
        left_s = max(expires_s - self._server.now(), 0.0)
        deadline.reschedule(asyncio.get_running_loop().time() + min(silence_s, left_s))

    async def _handle(self, packet: mqtt.Packet, admission: Admission) -> None:
        match packet:
            case mqtt.Publish(topic) if topic.startswith(topics.METHOD_ANSWERS):
                await self._answered(packet)
            case mqtt.Publish(topic) if topic.startswith(topics.TWINS):
                await self._twin.asked(topic, packet.body)
                await self._confirm(packet)
            case mqtt.Publish():
                await self._store(packet, admission)
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

    async def _store(self, packet: mqtt.Publish, admission: Admission) -> None:
        bag = topics.telemetry(self.device_id, packet.topic)
        if bag is None:
            raise mqtt.ProtocolError(f"PUBLISH to {packet.topic[:200]!r}, which is not for this device")
        system, properties = bag
        size_bytes = len(packet.body) + sum(
            len(text.encode()) for text in (*system.values(), *properties, *properties.values())
        )
        if size_bytes > _MAX_MESSAGE_BYTES:
            raise mqtt.ProtocolError(f"a message of {size_bytes} bytes, at most {_MAX_MESSAGE_BYTES}")
        if packet.retain:
            properties["mqtt-retain"] = "true"
        system |= admission.system
        await self._room()
        if not self._server.limits.within_quota(self.device_id, size_bytes):
            self.close("fault: the quota is used up")
            return
        wait_s = self._server.limits.wait_s(self.device_id)
        if wait_s is None:
            self.close("fault: throttled, and the queue is full")
            return
        due = asyncio.get_running_loop().time() + wait_s if wait_s else 0.0
        arrival = Arrival(self.device_id, system, properties, packet.body)
        self._put(arrival, Ticket(packet.packet_id, size_bytes + _TICKET_BYTES, due))

    async def _answered(self, packet: mqtt.Publish) -> None:
        """Hand over the answer to a method."""
        self._methods.answered(packet.topic, packet.body)
        await self._confirm(packet)

    async def _confirm(self, packet: mqtt.Publish) -> None:
        """There is nothing to store of it, and its PUBACK waits for those before it."""
        await self._room()
        self._put(None, Ticket(packet.packet_id, _TICKET_BYTES))

    async def _room(self) -> None:
        while self._unstored_bytes > _MAX_UNSTORED_BYTES:
            self._storing_went_on.clear()
            await self._storing_went_on.wait()

    def _put(self, arrival: Arrival | None, ticket: Ticket) -> None:
        self._unstored_bytes += ticket.size_bytes
        self._server.storing.put(arrival, self, ticket)

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
