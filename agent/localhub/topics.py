"""What the topics of IoT Hub's MQTT interface say, both ways.

https://learn.microsoft.com/azure/iot/iot-mqtt-connect-to-iot-hub
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from urllib.parse import quote, unquote

from .records import C2dMessage

METHODS_FILTER = "$iothub/methods/POST/#"
"""The topic filter for calls of direct methods."""

METHOD_ANSWERS = "$iothub/methods/res/"
"""What the topics of their answers begin with."""

_METHOD_ANSWER = re.compile(re.escape(METHOD_ANSWERS) + r"(-?[0-9]{1,9})/\?\$rid=([^/?&=]{1,200})")

_SYSTEM_NAMES = {
    "$.mid": "message-id",
    "$.cid": "correlation-id",
    "$.uid": "user-id",
    "$.ct": "content-type",
    "$.ce": "content-encoding",
    "$.exp": "absolute-expiry-time",
    "$.ctime": "iothub-creation-time-utc",
    "$.on": "iothub-output-name",
    "$.ifid": "iothub-interface-id",
    "$.sub": "dt-subject",
}


def subscribable(device_id: str) -> frozenset[str]:
    """The topic filters that a device may subscribe to."""
    return frozenset(
        {
            c2d_filter(device_id),
            METHODS_FILTER,
            "$iothub/twin/res/#",
            "$iothub/twin/PATCH/properties/desired/#",
        }
    )


def c2d_filter(device_id: str) -> str:
    """The topic filter for messages to the device."""
    return f"devices/{device_id}/messages/devicebound/#"


def telemetry(device_id: str, topic: str) -> tuple[dict[str, str], dict[str, str]] | None:
    """System properties by AMQP name and the sender's own, None if the device may not publish there."""
    base = f"devices/{device_id}/messages/events"
    if topic != base and not topic.startswith(f"{base}/"):
        return None
    pairs = [_unquoted(entry) for entry in topic[len(base) + 1 :].rstrip("/").split("&") if entry]
    system = {_SYSTEM_NAMES[name]: value for name, value in pairs if name in _SYSTEM_NAMES}
    return system, {name: value for name, value in pairs if name not in _SYSTEM_NAMES}


def c2d(message: C2dMessage) -> str:
    """The topic that carries a message's properties to its device, every name and value percent-encoded."""
    expires = datetime.fromtimestamp(message.expires_s, UTC)
    bag = {
        "$.mid": message.message_id,
        "$.cid": message.correlation_id,
        "$.to": f"/devices/{message.device_id}/messages/deviceBound",
        "$.exp": f"{expires:%Y-%m-%dT%H:%M:%S.%f}0Z",  # seven digits, as .NET prints a time
        "iothub-ack": message.ack,
        **message.properties,
    }
    return f"devices/{message.device_id}/messages/devicebound/{_quoted(bag.items())}"


def method(name: str, request_id: str) -> str:
    """The topic that calls a direct method."""
    return f"$iothub/methods/POST/{quote(name, safe='')}/?$rid={request_id}"


def method_answer(topic: str) -> tuple[int, str] | None:
    """Status and request id of a direct method's answer, None if the topic is not of that form."""
    match = _METHOD_ANSWER.fullmatch(topic)
    return None if match is None else (int(match[1]), unquote(match[2]))


def _unquoted(entry: str) -> tuple[str, str]:
    name, _, value = entry.partition("=")
    return unquote(name), unquote(value)


def _quoted(bag: Iterable[tuple[str, str | None]]) -> str:
    return "&".join(f"{quote(n, safe='')}={quote(v, safe='')}" for n, v in bag if v is not None)
