"""Shared access signatures and certificates of devices, checked as IoT Hub checks them.

https://learn.microsoft.com/azure/iot-hub/authenticate-authorize-sas
https://learn.microsoft.com/azure/iot-hub/authenticate-authorize-x509
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

from .records import Device, UnknownDevice
from .registry import Registry

_MAY_CONNECT_DEVICES = frozenset({"iothubowner", "device"})


class NotAuthorized(Exception):
    """The credentials are well-formed and wrong."""


class BadCredentials(Exception):
    """User name or password are nothing that IoT Hub could read."""


@dataclass(frozen=True, slots=True)
class Token:
    """A shared access signature taken apart. ``scope`` as signed, still percent-encoded."""

    scope: str
    signature: bytes
    expires: str
    policy: str | None

    @classmethod
    def parse(cls, text: str) -> Token:
        """Raises BadCredentials."""
        scheme, _, rest = text.partition(" ")
        fields = dict(pair.partition("=")[::2] for pair in rest.split("&"))
        try:
            expires = fields["se"]
            if not (expires.isascii() and expires.isdigit() and len(expires) <= 12):
                raise ValueError(expires)
            signature = base64.b64decode(unquote(fields["sig"]), validate=True)
            if scheme != "SharedAccessSignature":
                raise ValueError(scheme)
            return cls(fields["sr"], signature, expires, fields.get("skn") or None)
        except (KeyError, ValueError) as error:
            raise BadCredentials("the password is no shared access signature") from error

    @property
    def expires_s(self) -> int:
        """Unix seconds at which the token ends."""
        return int(self.expires)

    def is_signed_with(self, key: str) -> bool:
        """Whether ``key`` (base64) made the signature, in constant time."""
        try:
            secret = base64.b64decode(key)
        except binascii.Error:
            return False
        expected = hmac.digest(secret, f"{self.scope}\n{self.expires}".encode(), "sha256")
        return hmac.compare_digest(expected, self.signature)

    def covers(self, host_names: Collection[str], path: str) -> bool:
        """Whether the scope is ``path`` at one of the hosts, or something above it."""
        host, _, rest = unquote(self.scope).partition("/")
        return host.lower() in host_names and f"{path}/".startswith(f"{rest}/" if rest else "")


@dataclass(frozen=True, slots=True)
class Admission:
    """Who has connected, by what, and until when (Unix seconds) that lets it stay. ``scope``: of a token, the
    device's own or a hub policy's."""

    device: Device
    expires_s: float
    scope: Literal["device", "hub"] = "device"
    type: Literal["sas", "x509"] = "sas"

    @property
    def system(self) -> dict[str, str]:
        """What the hub itself stamps on the device's messages, by the names that IoT Hub gives them."""
        issuer = "iothub" if self.type == "sas" else "external"
        method = {"scope": self.scope, "type": self.type, "issuer": issuer, "acceptingIpFilterRule": None}
        return {
            "iothub-connection-device-id": self.device.device_id,
            "iothub-connection-auth-method": json.dumps(method),
            "iothub-connection-auth-generation-id": self.device.generation_id,
            "iothub-message-source": "Telemetry",
        }


class Authenticator:
    """Thread safety: any thread; may wait for the disk."""

    def __init__(
        self, registry: Registry, host_names: Collection[str], now: Callable[[], float] = time.time
    ) -> None:
        self._registry = registry
        self._host_names = host_names
        self._now = now

    def admit(
        self, client_id: str, username: str | None, password: str | None, certificate: bytes | None = None
    ) -> Admission:
        """The device of an MQTT CONNECT. Raises NotAuthorized or BadCredentials, with the reason.

        ``certificate``: the one (DER) whose key the client has proved to have; what counts if there is no
        password.
        """
        device_id = self._device_id(username)
        token = None if certificate is not None and not password else Token.parse(password or "")
        if client_id != device_id:
            raise NotAuthorized(f"client id {client_id!r} is not the device id {device_id!r}")
        try:
            device = self._registry.get(device_id)
        except UnknownDevice as error:
            raise NotAuthorized(str(error)) from error
        if not device.enabled:
            raise NotAuthorized(f"{device_id!r} is disabled")
        if token is not None:
            return self._by_token(device, token)
        if certificate is None or not _is_of(device, certificate):
            raise NotAuthorized(f"{device_id!r}: the certificate is another one")
        return Admission(device, math.inf, type="x509")

    def _by_token(self, device: Device, token: Token) -> Admission:
        device_id = device.device_id
        if not token.covers(self._host_names, f"devices/{device_id}"):
            raise NotAuthorized(f"{device_id!r}: the token's scope is {unquote(token.scope)!r}")
        if not any(token.is_signed_with(key) for key in self._keys(device, token)):
            raise NotAuthorized(f"{device_id!r}: the token is signed with another key")
        overdue_s = self._now() - token.expires_s
        if overdue_s >= 0:
            raise NotAuthorized(f"{device_id!r}: the token expired {overdue_s:.0f} s ago")
        return Admission(device, token.expires_s, "device" if token.policy is None else "hub")

    def _device_id(self, username: str | None) -> str:
        host, _, rest = (username or "").partition("/")
        device_id, _, query = rest.partition("/")
        if not device_id or "api-version=" not in query:
            raise BadCredentials(f"user name {username!r}: expected host/device/?api-version=…")
        if host.lower() not in self._host_names:
            raise NotAuthorized(f"user name {username!r} is for another hub")
        return device_id

    def _keys(self, device: Device, token: Token) -> tuple[str, ...]:
        if token.policy is None:
            return () if _thumbprints(device) else (device.primary_key, device.secondary_key)
        key = self._registry.policy_key(token.policy) if token.policy in _MAY_CONNECT_DEVICES else None
        return () if key is None else (key,)


def _thumbprints(device: Device) -> set[str]:
    return {t for t in (device.primary_thumbprint, device.secondary_thumbprint) if t is not None}


def _is_of(device: Device, certificate: bytes) -> bool:
    sha1 = hashlib.sha1(certificate, usedforsecurity=False)  # as IoT Hub takes it, beside SHA-256
    fingerprints = {sha1.hexdigest().upper(), hashlib.sha256(certificate).hexdigest().upper()}
    return bool(fingerprints & _thumbprints(device))
