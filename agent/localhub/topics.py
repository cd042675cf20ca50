"""What the topics of IoT Hub's MQTT interface say, both ways.

https://learn.microsoft.com/azure/iot/iot-mqtt-connect-to-iot-hub
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import quote, unquote

from .records import C2dMessage

METHODS_FILTER = "$iothub/methods/POST/#"
"""The topic filter for calls of direct methods."""

METHOD_ANSWERS = "$iothub/methods/res/"
"""What the topics of their answers begin with."""

TWINS = "$iothub/twin/"
"""What all topics of twins begin with."""

TWIN_ANSWERS_FILTER = "$iothub/twin/res/#"
"""The topic filter for answers to a device's requests to its twin."""

TWIN_CHANGES_FILTER = "$iothub/twin/PATCH/properties/desired/#"
"""The topic filter for changes of desired properties."""

_TWIN_REQUEST = re.compile(
    r"\$iothub/twin/(?:(GET)|PATCH/properties/reported)/\?\$rid=([^/?&=]{1,200})(?:&[^/]{0,200})?"
)
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
            TWIN_ANSWERS_FILTER,
            TWIN_CHANGES_FILTER,
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
        "$.uid": message.user_id,
        "$.ct": message.content_type,
        "$.ce": message.content_encoding,
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


def twin_request(topic: str) -> tuple[Literal["get", "report"], str] | None:
    """What a device asks of its twin, and the request id as it came; None if it is no such request."""
    match = _TWIN_REQUEST.fullmatch(topic)
    return None if match is None else ("get" if match[1] else "report", match[2])


def twin_answer(status: int, request_id: str, version: int | None = None) -> str:
    """The topic that answers such a request. ``version``: of the reported properties, where they changed."""
    changed = "" if version is None else f"&$version={version}"
    return f"$iothub/twin/res/{status}/?$rid={request_id}{changed}"


def twin_change(version: int) -> str:
    """The topic that tells a device of a change of its desired properties."""
    return f"$iothub/twin/PATCH/properties/desired/?$version={version}"


def _unquoted(entry: str) -> tuple[str, str]:
    name, _, value = entry.partition("=")
    return unquote(name), unquote(value)


def _quoted(bag: Iterable[tuple[str, str | None]]) -> str:
    return "&".join(f"{quote(n, safe='')}={quote(v, safe='')}" for n, v in bag if v is not None)
