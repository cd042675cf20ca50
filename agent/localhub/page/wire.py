"""What the page is told: the hub's records as objects for JSON.

Times are Unix milliseconds, as browsers count.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..records import C2dMessage, Device, Event, MethodCall

Item = dict[str, Any]

READINGS_PER_SENSOR = 300
OTHERS_PER_DEVICE = 60
MESSAGES_PER_KIND = 60
"""Of a device: so many readings, and so many others."""

_SENSORS_PER_DEVICE = 16
_SHOWN_CHARACTERS = 4000
_BEGINNING = 200
_REMEMBERED_IDS = 20_000


def device_of(device: Device, connected: bool) -> Item:
    """A device as the page lists it; nothing of it is secret. ``proof``: what it proves its identity by."""
    by_certificate = device.primary_thumbprint or device.secondary_thumbprint
    return {
        "id": device.device_id,
        "connected": connected,
        "enabled": device.enabled,
        "proof": "certificate" if by_certificate else "key",
    }


def command_of(message: C2dMessage) -> Item:
    """A message to a device with what became of it. ``settled``: when it got its final state, else null."""
    body, text = _object(message.body)
    return {
        "way": "message",
        "key": f"message-{message.sequence}",
        "id": message.message_id,
        "device": message.device_id,
        "name": None,
        "body": body,
        "text": text,
        "sent": milliseconds(message.enqueued_s),
        "expires": milliseconds(message.expires_s),
        "deliveries": message.delivery_count,
        "state": message.state,
        "settled": None if message.state == "queued" else milliseconds(message.state_s),
        "status": None,
        "answer": None,
    }


def call_of(call: MethodCall) -> Item:
    """A direct method in the form of ``command_of``. ``status``, ``answer``: the device's, if any."""
    body, text = _object(call.payload)
    return {
        "way": "method",
        "key": f"method-{call.called_s:.6f}-{call.number}",
        "id": None,
        "device": call.device_id,
        "name": call.name,
        "body": body,
        "text": text,
        "sent": milliseconds(call.called_s),
        "expires": None,
        "deliveries": None,
        "state": call.state,
        "settled": None if call.state == "called" else milliseconds(call.state_s),
        "status": None if call.result is None else call.result.status,
        "answer": None if call.result is None else _object(call.result.payload)[0],
    }


def message_of(event: Event, items: Sequence[Item]) -> Item:
    """A device's message by its beginning; ``items``: what it carries."""
    return {
        "sequence": event.sequence,
        "device": event.device_id,
        "type": items[0]["type"] if items else "other",
        "received": milliseconds(event.enqueued_s),
        "messageId": _short(event.system.get("message-id")),
        "size": len(event.body),
        "beginning": event.body[: 4 * _BEGINNING].decode("utf-8", "replace")[:_BEGINNING],
    }


def items_of(event: Event) -> list[Item]:
    """The objects that a device's message carries, one by one; a body that is no object, or long, is null."""
    body, _ = _shown(event.body)
    objects = body if isinstance(body, list) and all(isinstance(o, dict) for o in body) else [body]
    return [_item(event, o if isinstance(o, dict) else None) for o in objects]


def _item(event: Event, body: dict[str, Any] | None) -> Item:
    if body is not None and len(json.dumps(body, ensure_ascii=False)) > _SHOWN_CHARACTERS:
        body = None
    return {
        "sequence": event.sequence,
        "device": event.device_id,
        "type": _type(event.properties, body),
        "received": milliseconds(event.enqueued_s),
        "correlationId": _short(event.system.get("correlation-id")),
        "simulated": event.properties.get("simulated") == "true",
        "body": body,
    }


def _type(properties: Mapping[str, str], body: dict[str, Any] | None) -> str:
    """As the sender says; a wind speed without a type (the tutorials' programs) is a reading, too."""
    if body is None:
        return "other"
    named = properties.get("type")
    if named in ("reading", "outcome", "event"):
        return named
    return "reading" if named is None and "windSpeed" in body else "other"


class Deduplicator:
    """Knows the objects of a stream by (device, run, sequence): a device may send one twice."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, str], None] = {}

    def fresh(self, items: Iterable[Item]) -> list[Item]:
        """Those that were not here before; objects without an id always are."""
        return [item for item in items if self._is_new(item)]

    def _is_new(self, item: Item) -> bool:
        body = item["body"]
        if body is None or "run" not in body or "sequence" not in body:
            return True
        key = (item["device"], str(body["run"]), str(body["sequence"]))
        if key in self._seen:
            return False
        self._seen[key] = None
        if len(self._seen) > _REMEMBERED_IDS:
            del self._seen[next(iter(self._seen))]
        return True


def newest(items: Iterable[Item]) -> list[Item]:
    """Of one device's items, oldest first, the last ones: so many readings a sensor, so many others."""
    readings: dict[str, deque[Item]] = {}
    others: deque[Item] = deque(maxlen=OTHERS_PER_DEVICE)
    for item in items:
        if item["type"] != "reading":
            others.append(item)
            continue
        sensor = str(item["body"].get("sensor"))
        if sensor not in readings and len(readings) >= _SENSORS_PER_DEVICE:
            del readings[next(iter(readings))]
        readings.setdefault(sensor, deque(maxlen=READINGS_PER_SENSOR)).append(item)
    kept = [item for series in (*readings.values(), others) for item in series]
    return sorted(kept, key=lambda item: int(item["sequence"]))


def newest_messages(messages: Iterable[Item]) -> list[Item]:
    """Of one device's messages, oldest first, the last ones: so many readings, so many others."""
    kinds: dict[bool, deque[Item]] = {
        is_reading: deque(maxlen=MESSAGES_PER_KIND) for is_reading in (True, False)
    }
    for message in messages:
        kinds[message["type"] == "reading"].append(message)
    return sorted((*kinds[True], *kinds[False]), key=lambda message: int(message["sequence"]))


def _object(content: bytes) -> tuple[Item | None, str]:
    """The JSON object that it is, None if it is none or too long to be shown; and its text."""
    body, text = _shown(content)
    return (body if isinstance(body, dict) and len(content) <= _SHOWN_CHARACTERS else None), text


def _shown(body: bytes) -> tuple[Any, str]:
    text = body.decode("utf-8", "replace")
    try:
        content = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        content = None
    short = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}… ({len(body)} bytes)"
    return content, short


def _short(text: str | None) -> str | None:
    return None if text is None else text[:_BEGINNING]


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _refuse(digits)  # 1e999 would be written as Infinity


def milliseconds(seconds: float) -> int:
    """Unix seconds as browsers count."""
    return round(seconds * 1000)
