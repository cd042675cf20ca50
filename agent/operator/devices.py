"""Device identities: create, look, enable, disable, delete.

https://learn.microsoft.com/rest/api/iothub/service/devices
"""

from __future__ import annotations

import base64
import binascii
import secrets
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from .access import Access
from .errors import BadMessage, HubUnavailable
from .rest import Rest

LIST_LIMIT = 1000
"""As many as a hub's registry lists; a query finds all."""

NEVER = "0001-01-01T00:00:00Z"
"""How Azure writes the time of what has not happened."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A device as the hub describes it. Without keys it is known by a certificate."""

    device_id: str
    primary_key: str | None
    secondary_key: str | None
    connection_string: str
    status: str
    connection_state: str
    last_activity_time: str
    cloud_to_device_message_count: int
    is_managed: bool
    auth_method: str

    def as_json(self, *, keys: bool = True) -> dict[str, Any]:
        """By Azure's names; ``keys``: with them and the connection string."""
        kept = {
            "primaryKey": self.primary_key,
            "secondaryKey": self.secondary_key,
            "connectionString": self.connection_string,
        }
        return {
            "deviceId": self.device_id,
            **(kept if keys else {}),
            "status": self.status,
            "connectionState": self.connection_state,
            "lastActivityTime": self.last_activity_time,
            "cloudToDeviceMessageCount": self.cloud_to_device_message_count,
            "isManaged": self.is_managed,
            "authMethod": self.auth_method,
        }


@dataclass(frozen=True, slots=True)
class Credential:
    """What a new device is known by; where all are None the hub makes keys."""

    primary_key: str | None = None
    secondary_key: str | None = None
    primary_thumbprint: str | None = None
    secondary_thumbprint: str | None = None

    def as_json(self) -> dict[str, Any]:
        if self.primary_thumbprint is not None:
            prints = {
                "primaryThumbprint": self.primary_thumbprint,
                "secondaryThumbprint": self.secondary_thumbprint,
            }
            return {"type": "selfSigned", "x509Thumbprint": prints}
        keys = {"primaryKey": self.primary_key, "secondaryKey": self.secondary_key}
        return {"type": "sas", "symmetricKey": keys}


class Devices:
    """The identity registry of a hub. All raise HubRejected, HubUnavailable. Thread safety: one thread."""

    def __init__(self, access: Access, rest: Rest) -> None:
        self._access = access
        self._rest = rest

    def create(self, device_id: str, credential: Credential) -> Identity:
        """A new device, enabled."""
        body = {"deviceId": device_id, "status": "enabled", "authentication": credential.as_json()}
        path = _path(device_id)
        reply = self._rest.call("PUT", path, right="RegistryWrite", device_id=device_id, body=body)
        return self._identity(reply.body)

    def get(self, device_id: str) -> Identity:
        return self._identity(self._raw(device_id))

    def listed(self) -> list[Identity]:
        """By id; where there are more than ``LIST_LIMIT``, so many of them."""
        reply = self._rest.call("GET", "/devices", right="RegistryRead", query={"top": str(LIST_LIMIT)})
        return sorted(self._identities(reply.body), key=lambda item: item.device_id)

    def found(self) -> list[Identity]:
        """All of them, by id, without their keys; those that are new may be missing in Azure's index."""
        pages: list[Identity] = []
        continuation: str | None = None
        while True:
            reply = self._rest.call(
                "POST",
                "/devices/query",
                right="ServiceConnect",
                body={"query": "SELECT * FROM devices"},
                continuation=continuation,
            )
            pages += self._identities(reply.body)
            last, continuation = continuation, reply.headers.get("x-ms-continuation")
            if not continuation:
                return sorted(pages, key=lambda item: item.device_id)
            if continuation == last:
                raise HubUnavailable(f"{self._access.host} gives the same page again: is it an IoT Hub?")

    def set_enabled(self, device_id: str, enabled: bool) -> Identity:
        """Disabled it is cut off. Whoever changed it in between is not overwritten."""
        device = self._raw(device_id)
        device["status"] = "enabled" if enabled else "disabled"
        etag = f'"{device["etag"]}"' if device.get("etag") else "*"
        reply = self._rest.call(
            "PUT", _path(device_id), right="RegistryWrite", device_id=device_id, body=device, if_match=etag
        )
        return self._identity(reply.body)

    def delete(self, device_id: str) -> None:
        """With its keys, its twin, and what waits for it."""
        self._rest.call("DELETE", _path(device_id), right="RegistryWrite", device_id=device_id, if_match="*")

    def _raw(self, device_id: str) -> dict[str, Any]:
        reply = self._rest.call("GET", _path(device_id), right="RegistryRead", device_id=device_id)
        if not isinstance(reply.body, dict):
            raise HubUnavailable(f"{self._access.host} describes no device: is it an IoT Hub?")
        return reply.body

    def _identities(self, body: Any) -> list[Identity]:
        if not isinstance(body, list):
            raise HubUnavailable(f"{self._access.host} lists no devices: is it an IoT Hub?")
        return [self._identity(item) for item in body]

    def _identity(self, body: Any) -> Identity:
        """Of the registry's description, or of a twin, which has no keys."""
        try:
            device_id = str(body["deviceId"])
            authentication = body.get("authentication") or {}
            keys = authentication.get("symmetricKey") or {}
            kind = str(authentication.get("type") or body.get("authenticationType") or "sas")
            primary = keys.get("primaryKey") if kind == "sas" else None
            return Identity(
                device_id,
                primary,
                keys.get("secondaryKey") if kind == "sas" else None,
                self._access.device_string(device_id, primary),
                str(body["status"]),
                str(body.get("connectionState") or "Disconnected"),
                str(body.get("lastActivityTime") or NEVER),
                int(body.get("cloudToDeviceMessageCount") or 0),
                bool(body.get("isManaged")),
                kind,
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise HubUnavailable(f"{self._access.host} describes no device: is it an IoT Hub?") from error


def new_key() -> str:
    """A symmetric key as Azure makes them: 32 random bytes in base64."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


def key_of(text: str) -> str:
    """A symmetric key as a file has it. Raises BadMessage, without the key."""
    key = text.strip()
    try:
        size = len(base64.b64decode(key, validate=True))
    except (binascii.Error, ValueError):
        raise BadMessage("a key is base64 of 16 to 64 bytes: head -c 32 /dev/urandom | base64") from None
    if not 16 <= size <= 64:
        raise BadMessage(f"a key is base64 of 16 to 64 bytes, this one of {size}")
    return key


def thumbprint_of(text: str) -> str:
    """SHA-1 or SHA-256 of a certificate in hexadecimal, as openssl prints it or without colons."""
    plain = text.replace(":", "").strip().upper()
    if len(plain) not in (40, 64) or any(c not in "0123456789ABCDEF" for c in plain):
        raise BadMessage(
            "a thumbprint is 40 or 64 hexadecimal digits: openssl x509 -noout -fingerprint -in CERTIFICATE"
        )
    return plain


def _path(device_id: str) -> str:
    return f"/devices/{quote(device_id, safe='')}"
