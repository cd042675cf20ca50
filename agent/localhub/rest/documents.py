"""The hub's records as IoT Hub's JSON, and settings of a device from it.

https://learn.microsoft.com/rest/api/iothub/service/devices
"""

from __future__ import annotations

from typing import Any

from ..device_settings import DeviceSettings
from ..identities import DeviceStatus
from ..records import Device, InvalidRequest
from ..twins import Twin, iso_time
from .requests import Json, field

NEVER = "0001-01-01T00:00:00Z"

_CAPABILITIES = {"iotEdge": False}
_TYPES = ("sas", "selfSigned")


def device(status: DeviceStatus) -> Json:
    """An identity."""
    identity = status.device
    by_keys = _type(identity) == "sas"
    return {
        "deviceId": identity.device_id,
        "generationId": identity.generation_id,
        "etag": identity.etag,
        "connectionState": _connection_state(status),
        "status": _status(identity),
        "statusReason": identity.status_reason,
        "connectionStateUpdatedTime": _time(status.since_s),
        "statusUpdatedTime": _time(identity.status_s),
        "lastActivityTime": _time(identity.last_activity_s),
        "cloudToDeviceMessageCount": status.waiting,
        "authentication": {
            "symmetricKey": {
                "primaryKey": identity.primary_key if by_keys else None,
                "secondaryKey": identity.secondary_key if by_keys else None,
            },
            "x509Thumbprint": _thumbprints(identity),
            "type": _type(identity),
        },
        "capabilities": _CAPABILITIES,
    }


def twin(status: DeviceStatus, content: Twin) -> Json:
    """A twin with what it tells of its device."""
    identity = status.device
    return {
        "deviceId": identity.device_id,
        "etag": content.etag,
        "deviceEtag": identity.etag,
        "status": _status(identity),
        "statusReason": identity.status_reason,
        "statusUpdateTime": _time(identity.status_s),
        "connectionState": _connection_state(status),
        "lastActivityTime": _time(identity.last_activity_s),
        "cloudToDeviceMessageCount": status.waiting,
        "authenticationType": _type(identity),
        "x509Thumbprint": _thumbprints(identity),
        "capabilities": _CAPABILITIES,
        "version": content.version,
        "tags": content.tags,
        "properties": {
            "desired": content.desired.for_service,
            "reported": content.reported.for_service,
        },
    }


def settings(form: Json, device_id: str) -> DeviceSettings:
    """What the body of a PUT asks for; what only the hub decides is passed over. Raises InvalidRequest."""
    if form.get("deviceId", device_id) != device_id:
        raise InvalidRequest(f"deviceId: expected {device_id!r} as in the address, or none")
    state = field(form, "status", str, '"enabled" or "disabled"')
    if state not in (None, "enabled", "disabled"):
        raise InvalidRequest(f'status is {state[:60]!r}: expected "enabled" or "disabled"')
    if (field(form, "capabilities", dict, "an object") or {}).get("iotEdge"):
        raise InvalidRequest("capabilities: this hub has no IoT Edge devices")
    proof = field(form, "authentication", dict, "an object") or {}
    keys = _texts(proof, "symmetricKey", "primaryKey", "secondaryKey")
    thumbprints = _texts(proof, "x509Thumbprint", "primaryThumbprint", "secondaryThumbprint")
    by_thumbprint = any(thumbprints)
    kind = field(proof, "type", str, "a text") or _TYPES[by_thumbprint]
    if kind not in _TYPES:
        raise InvalidRequest(f"authentication.type is {kind[:60]!r}: this hub knows {' and '.join(_TYPES)}")
    if by_thumbprint != (kind == "selfSigned") or (by_thumbprint and any(keys)):
        raise InvalidRequest("authentication: expected keys with type sas, thumbprints with type selfSigned")
    return DeviceSettings(
        *keys,
        state != "disabled",
        field(form, "statusReason", str, "a text"),
        *thumbprints,
    )


def _texts(form: Json, name: str, first: str, second: str) -> tuple[str | None, str | None]:
    inner = field(form, name, dict, "an object") or {}
    # an empty text is what some clients send for none
    return field(inner, first, str, "a text") or None, field(inner, second, str, "a text") or None


def _type(identity: Device) -> str:
    return _TYPES[bool(identity.primary_thumbprint or identity.secondary_thumbprint)]


def _thumbprints(identity: Device) -> dict[str, Any]:
    return {
        "primaryThumbprint": identity.primary_thumbprint,
        "secondaryThumbprint": identity.secondary_thumbprint,
    }


def _status(identity: Device) -> str:
    return "enabled" if identity.enabled else "disabled"


def _connection_state(status: DeviceStatus) -> str:
    return "Connected" if status.connected else "Disconnected"


def _time(seconds: float | None) -> str:
    return iso_time(seconds) if seconds else NEVER
