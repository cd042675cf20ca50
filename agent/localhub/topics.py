"""What the topics of IoT Hub's MQTT interface say, both ways.

https://learn.microsoft.com/azure/iot/iot-mqtt-connect-to-iot-hub
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from urllib.parse import quote, unquote

from .records import C2dMessage

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
            "$iothub/methods/POST/#",
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


def _unquoted(entry: str) -> tuple[str, str]:
    name, _, value = entry.partition("=")
    return unquote(name), unquote(value)


def _quoted(bag: Iterable[tuple[str, str | None]]) -> str:
    return "&".join(f"{quote(n, safe='')}={quote(v, safe='')}" for n, v in bag if v is not None)
