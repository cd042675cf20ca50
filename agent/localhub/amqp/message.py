"""Messages: their sections to bytes and back (OASIS AMQP 1.0 part 3, section 3.2).

http://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-messaging-v1.0-os.html#section-message-format
"""
# ruff: noqa: RUF009  (``of`` makes a field, not a default)

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from .composite import Composite, composed, composite_bytes, described_by, of
from .encode import EncodeError, encoded
from .node import Described, Message, Symbol
from .wire import DecodeError, Decoder


@described_by(0x70, "amqp:header:list")
@dataclass(frozen=True, slots=True, kw_only=True)
class Header(Composite):
    durable: bool | None = of("boolean", None)
    priority: int | None = of("ubyte", None)
    ttl: int | None = of("uint", None)
    first_acquirer: bool | None = of("boolean", None)
    delivery_count: int | None = of("uint", None)


@described_by(0x73, "amqp:properties:list")
@dataclass(frozen=True, slots=True, kw_only=True)
class Properties(Composite):
    message_id: Any = of("message-id", None)
    user_id: bytes | None = of("binary", None)
    to: str | None = of("string", None)
    subject: str | None = of("string", None)
    reply_to: str | None = of("string", None)
    correlation_id: Any = of("message-id", None)
    content_type: str | None = of("symbol", None)
    content_encoding: str | None = of("symbol", None)
    absolute_expiry_time: int | None = of("timestamp", None)
    creation_time: int | None = of("timestamp", None)
    group_id: str | None = of("string", None)
    group_sequence: int | None = of("uint", None)
    reply_to_group_id: str | None = of("string", None)


_SECTIONS: dict[str | int, str] = {
    0x71: "delivery-annotations",
    0x72: "annotations",
    0x74: "application-properties",
    0x75: "data",
    0x76: "sequence",
    0x77: "value",
    0x78: "footer",
    "amqp:delivery-annotations:map": "delivery-annotations",
    "amqp:message-annotations:map": "annotations",
    "amqp:application-properties:map": "application-properties",
    "amqp:data:binary": "data",
    "amqp:amqp-sequence:list": "sequence",
    "amqp:amqp-value:*": "value",
    "amqp:footer:map": "footer",
}
_SIMPLE = (type(None), bool, int, float, str, bytes, UUID)


def message_of(content: bytes) -> Message:
    """The message that these bytes are. Raises DecodeError.

    Sections may come in any order, since there are clients that send the delivery annotations last. Sequences
    become one list, the message's value; delivery annotations and the footer are dropped.
    """
    decoder = Decoder(content)
    message, data, sequence = Message(), [], []
    seen: set[str] = set()
    while not decoder.at_end:
        section = composed(decoder.value())
        name = _name(section)
        if name in seen and name not in ("data", "sequence"):
            raise DecodeError(f"the section {name} twice")
        seen.add(name)
        match name:
            case "header":
                message.header = _given(section)
            case "properties":
                message.properties = _given(section)
            case "annotations":
                message.annotations = _map(name, section.value)
            case "application-properties":
                message.application_properties = _application_properties(section.value)
            case "data":
                data.append(_typed(name, section.value, bytes))
            case "sequence":
                sequence += _typed(name, section.value, list)
                message.value = sequence
            case "value":
                message.value = section.value
            case _:
                _map(name, section.value)
    if len(seen & {"data", "sequence", "value"}) > 1:
        raise DecodeError("a body of more than one kind")
    message.body = b"".join(data)
    return message


def message_bytes(message: Message) -> bytes:
    """A message with its body as one section of data, or its value. Raises EncodeError."""
    out = bytearray()
    if message.header:
        out += composite_bytes(_composite(Header, message.header))
    if message.annotations:
        entries = {Symbol(key): item for key, item in message.annotations.items()}
        out += encoded(Described(0x72, entries))
    if message.properties:
        out += composite_bytes(_composite(Properties, message.properties))
    if message.application_properties:
        out += encoded(Described(0x74, message.application_properties))
    if message.value is None:
        out += encoded(Described(0x75, message.body))
    else:
        out += encoded(Described(0x77, message.value))
    return bytes(out)


def _name(section: Any) -> str:
    if isinstance(section, Header):
        return "header"
    if isinstance(section, Properties):
        return "properties"
    if isinstance(section, Described) and section.descriptor in _SECTIONS:
        return _SECTIONS[section.descriptor]
    raise DecodeError("something between the sections of a message")


def _given(section: Any) -> dict[str, Any]:
    items = ((field.name, getattr(section, field.name)) for field in dataclasses.fields(section))
    return {name.replace("_", "-"): item for name, item in items if item is not None}


def _typed(name: str, value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise DecodeError(f"the section {name} is {type(value).__name__}")
    return value


def _map(name: str, value: Any) -> dict[str, Any]:
    """Those entries whose keys are texts: numbers are reserved in annotations."""
    return {str(key): item for key, item in _typed(name, value, dict).items() if isinstance(key, str)}


def _application_properties(value: Any) -> dict[str, Any]:
    entries = _typed("application-properties", value, dict)
    for key, item in entries.items():
        if not isinstance(key, str) or not isinstance(item, _SIMPLE):
            raise DecodeError("an application property that is no simple value")
    return {str(key): item for key, item in entries.items()}


def _composite(cls: type[Composite], values: dict[str, Any]) -> Composite:
    try:
        return cls(**{name.replace("-", "_"): value for name, value in values.items()})
    except TypeError:
        raise EncodeError(f"{cls.NAME} has not all of {', '.join(values)}") from None
