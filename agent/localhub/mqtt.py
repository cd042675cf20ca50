"""MQTT 3.1.1 packets, as strict as the standard: the only user of amqtt's packet codec.

The codec is lenient: it takes broken UTF-8, missing fields and trailing bytes. Here a packet counts only
if encoding what was understood gives the very bytes that came; what is left (flags, QoS, ids, names) is
checked by hand. Numbers in brackets are the standard's:
http://docs.oasis-open.org/mqtt/mqtt/v3.1.1/os/mqtt-v3.1.1-os.html
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Protocol

from amqtt.adapters import BufferReader
from amqtt.errors import AMQTTError, CodecError, MQTTError, NoDataError
from amqtt.mqtt import packet_dict
from amqtt.mqtt.connack import ConnackPacket
from amqtt.mqtt.packet import (
    CONNECT,
    DISCONNECT,
    PINGREQ,
    PUBACK,
    PUBLISH,
    SUBSCRIBE,
    UNSUBSCRIBE,
    MQTTFixedHeader,
)
from amqtt.mqtt.pingresp import PingRespPacket
from amqtt.mqtt.puback import PubackPacket
from amqtt.mqtt.publish import PublishPacket
from amqtt.mqtt.suback import SubackPacket
from amqtt.mqtt.unsuback import UnsubackPacket

ACCEPTED, BAD_PROTOCOL, BAD_CREDENTIALS, NOT_AUTHORIZED = 0, 1, 4, 5
"""Return codes of a CONNACK."""

SUBSCRIPTION_REFUSED = 0x80
"""Return code of a SUBACK."""

MAX_CONTROL_BYTES = 16_384
"""Of all packets but a PUBLISH: decoding takes the event loop, and nobody needs longer ones."""

_FLAGS = {CONNECT: 0, PUBACK: 0, SUBSCRIBE: 2, UNSUBSCRIBE: 2, PINGREQ: 0, DISCONNECT: 0}
_UNDECODABLE = (AMQTTError, CodecError, MQTTError, NoDataError, struct.error, ValueError, IndexError)


class ProtocolError(Exception):
    """The peer broke the protocol: close its connection."""


class UnknownProtocol(ProtocolError):
    """A CONNECT of another version of MQTT: refuse with BAD_PROTOCOL, then close."""


@dataclass(frozen=True, slots=True)
class Connect:
    """``keep_alive_s``: 0 for none. A will is understood and dropped: IoT Hub has no use for it here."""

    client_id: str
    username: str | None
    password: str | None
    keep_alive_s: int
    clean_session: bool


@dataclass(frozen=True, slots=True)
class Publish:
    """``packet_id`` is None with QoS 0."""

    topic: str
    body: bytes
    packet_id: int | None
    retain: bool


@dataclass(frozen=True, slots=True)
class Puback:
    """The peer has what we published."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class Subscribe:
    """``filters``: topic filter and the QoS asked for, in order."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Filters to forget."""

    packet_id: int
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pingreq:
    """The peer is alive, and asks whether we are."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The peer takes its leave."""


class Reader(Protocol):
    """What a packet is read from: asyncio's StreamReader, or something that reads one."""

    async def readexactly(self, n: int, /) -> bytes:
        """So many bytes. Raises IncompleteReadError if the stream ends before."""
        ...


Packet = Connect | Publish | Puback | Subscribe | Unsubscribe | Pingreq | Disconnect


async def read_packet(reader: Reader, max_length: int) -> Packet:
    """The next packet, of at most ``max_length`` bytes after its fixed header; all but a PUBLISH are short.

    Raises ProtocolError, and IncompleteReadError if the stream ends.
    """
    first = (await reader.readexactly(1))[0]
    kind, flags = first >> 4, first & 0x0F
    if kind != PUBLISH and _FLAGS.get(kind) != flags:  # [2.2.2]; the packets of QoS 2 are not for IoT Hub
        raise ProtocolError(f"packet type {kind} with flags {flags}")
    length = await _remaining_length(reader)
    most = max_length if kind == PUBLISH else min(max_length, MAX_CONTROL_BYTES)
    if length > most:
        raise ProtocolError(f"packet of {length} bytes, at most {most} are taken here")
    return await decode(kind, flags, await reader.readexactly(length))


async def _remaining_length(reader: Reader) -> int:
    value = 0
    for shift in (0, 7, 14, 21):
        byte = (await reader.readexactly(1))[0]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
    raise ProtocolError("remaining length of more than four bytes")  # [2.2.3]


async def decode(kind: int, flags: int, body: bytes) -> Packet:
    """The packet with these parts of a fixed header and this body. Never suspends. Raises ProtocolError."""
    header = MQTTFixedHeader(kind, flags, len(body))
    try:
        packet: Any = await packet_dict[kind].from_stream(BufferReader(body), fixed_header=header)
        faithful = packet.to_bytes() == MQTTFixedHeader(kind, flags, len(body)).to_bytes() + body
    except _UNDECODABLE as error:
        raise ProtocolError(f"malformed packet of type {kind}") from error
    if kind == CONNECT and (packet.proto_name, packet.proto_level) != ("MQTT", 4):
        raise UnknownProtocol(f"protocol {packet.proto_name!r} level {packet.proto_level}, not MQTT 3.1.1")
    if not faithful:
        raise ProtocolError(f"malformed packet of type {kind}")
    built: Packet = _BUILD[kind](packet)
    return built


def _connect(packet: Any) -> Connect:
    header, payload = packet.variable_header, packet.payload
    will = (header.will_flag, header.will_qos, header.will_retain_flag)
    if header.reserved_flag or (not header.will_flag and will != (False, 0, False)) or header.will_qos == 3:
        raise ProtocolError(f"CONNECT with flags {header.flags:#04x}")  # [3.1.2]
    if header.password_flag and not header.username_flag:
        raise ProtocolError("CONNECT with a password and no user name")  # [MQTT-3.1.2-22]
    asked = ((header.will_flag, payload.will_message), (header.username_flag, payload.username))
    if any(flag and value is None for flag, value in (*asked, (header.password_flag, payload.password))):
        raise ProtocolError("CONNECT lacks a field that its flags announce")
    client_id, clean = _text(payload.client_id), header.clean_session_flag
    return Connect(client_id, payload.username, payload.password, header.keep_alive, clean)


def _publish(packet: Any) -> Publish:
    if packet.qos > 1:
        raise ProtocolError(f"PUBLISH with QoS {packet.qos}, which IoT Hub does not take")
    if packet.dup_flag and packet.qos == 0:
        raise ProtocolError("PUBLISH with DUP and QoS 0")  # [MQTT-3.3.1-2]
    packet_id = _packet_id(packet) if packet.qos else None
    return Publish(_text(packet.topic_name), packet.data or b"", packet_id, packet.retain_flag)


def _subscribe(packet: Any) -> Subscribe:
    filters = tuple((_text(topic), qos) for topic, qos in packet.payload.topics)
    if not filters or any(qos > 2 for _, qos in filters):
        raise ProtocolError("SUBSCRIBE without a filter or with QoS 3")  # [MQTT-3.8.3-3, -4]
    return Subscribe(_packet_id(packet), filters)


def _unsubscribe(packet: Any) -> Unsubscribe:
    filters = tuple(_text(topic) for topic in packet.payload.topics)
    if not filters:
        raise ProtocolError("UNSUBSCRIBE without a filter")  # [MQTT-3.10.3-2]
    return Unsubscribe(_packet_id(packet), filters)


def _packet_id(packet: Any) -> int:
    packet_id = int(packet.variable_header.packet_id)
    if packet_id == 0:
        raise ProtocolError("packet id 0")  # [MQTT-2.3.1-1]
    return packet_id


def _text(value: Any) -> str:
    text = str(value)
    if not text or "\0" in text:
        raise ProtocolError("a name that is empty or holds U+0000")  # [MQTT-1.5.3-2, 4.7.3-1]
    return text


_BUILD: dict[int, Any] = {
    CONNECT: _connect,
    PUBLISH: _publish,
    PUBACK: lambda packet: Puback(_packet_id(packet)),
    SUBSCRIBE: _subscribe,
    UNSUBSCRIBE: _unsubscribe,
    PINGREQ: lambda _packet: Pingreq(),
    DISCONNECT: lambda _packet: Disconnect(),
}


def connack(return_code: int, session_present: bool = False) -> bytes:
    """The answer to a CONNECT."""
    return bytes(ConnackPacket.build(int(session_present), return_code).to_bytes())


def publish(topic: str, body: bytes, packet_id: int | None = None, duplicate: bool = False) -> bytes:
    """A message, with QoS 1 if it has a packet id."""
    qos = 0 if packet_id is None else 1
    return bytes(PublishPacket.build(topic, body, packet_id, duplicate, qos, False).to_bytes())


def repeated(packet: bytes) -> bytes:
    """The same packet once more: a PUBLISH of QoS 1 then says so [MQTT-3.3.1-1]."""
    first = packet[0]
    return bytes([first | 8]) + packet[1:] if first >> 4 == PUBLISH and first & 6 else packet


def puback(packet_id: int) -> bytes:
    """The answer to a PUBLISH with QoS 1."""
    return bytes(PubackPacket.build(packet_id).to_bytes())


def suback(packet_id: int, return_codes: list[int]) -> bytes:
    """The answer to a SUBSCRIBE."""
    return bytes(SubackPacket.build(packet_id, return_codes).to_bytes())


def unsuback(packet_id: int) -> bytes:
    """The answer to an UNSUBSCRIBE."""
    return bytes(UnsubackPacket.build(packet_id).to_bytes())


def pingresp() -> bytes:
    """The answer to a PINGREQ."""
    return bytes(PingRespPacket.build().to_bytes())
