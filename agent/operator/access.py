"""Which hub, with which right: what the environment says, and the signatures made with it.

https://learn.microsoft.com/azure/iot-hub/authenticate-authorize-sas
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from .errors import BadAccess

CONNECTION_STRING = "IOTHUB_CONNECTION_STRING"
CA_FILE = "MASTHEAD_CA_FILE"
HTTPS_PORT = "MASTHEAD_HTTPS_PORT"
TOKEN_LIFE_S = 3600

_PARTS = ("HostName", "SharedAccessKeyName", "SharedAccessKey")
_SHAPE = "HostName=…;SharedAccessKeyName=…;SharedAccessKey=…"
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?\Z")


@dataclass(frozen=True, slots=True)
class Access:
    """A hub and a shared access policy of it. ``ca_file``: PEM of a private CA, None: well-known ones."""

    host: str
    policy: str
    key: str = field(repr=False)
    ca_file: str | None = None
    https_port: int = 443

    @property
    def hub_name(self) -> str:
        """The first part of the host name; an address as a whole."""
        return self.host if self.is_address else self.host.partition(".")[0]

    @property
    def is_address(self) -> bool:
        """Whether ``host`` is an IP address."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True

    @property
    def is_local(self) -> bool:
        """Whether the hub is on this machine."""
        return self.host == "localhost" or (self.is_address and ipaddress.ip_address(self.host).is_loopback)

    def token(self, now_s: float) -> str:
        """A shared access signature for the whole hub, good for an hour from ``now_s`` (Unix seconds)."""
        scope, expires = quote(self.host, safe=""), int(now_s) + TOKEN_LIFE_S
        signature = hmac.digest(base64.b64decode(self.key), f"{scope}\n{expires}".encode(), "sha256")
        signed = quote(base64.b64encode(signature), safe="")
        return f"SharedAccessSignature sr={scope}&sig={signed}&se={expires}&skn={quote(self.policy, safe='')}"

    def device_string(self, device_id: str, key: str | None) -> str:
        """What a device connects with; without a ``key`` it has a certificate."""
        credential = "x509=true" if key is None else f"SharedAccessKey={key}"
        return f"HostName={self.host};DeviceId={device_id};{credential}"


def from_environment(environment: Mapping[str, str]) -> Access:
    """Raises BadAccess, which says which variable and which part of it."""
    text = environment.get(CONNECTION_STRING, "").strip()
    if not text:
        raise BadAccess(
            f"{CONNECTION_STRING} is not set: export it as {_SHAPE} "
            "(Azure: az iot hub connection-string show; here: masthead hub prints it)"
        )
    host, policy, key = _parsed(text)
    return Access(host, policy, key, _ca_file(environment), _https_port(environment))


def _parsed(text: str) -> tuple[str, str, str]:
    parts: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.strip("\"'").split(";"))):
        name, equals, value = part.partition("=")
        if not equals:
            raise BadAccess(f"{CONNECTION_STRING}: a part has no '=' in it: expected {_SHAPE}")
        if name.lower() in parts:
            raise BadAccess(f"{CONNECTION_STRING} has {name}= twice: expected {_SHAPE}")
        parts[name.lower()] = value.strip()
    if "deviceid" in parts:
        raise BadAccess(
            f"{CONNECTION_STRING} is a device's (it has DeviceId=): these tools need the hub's, {_SHAPE}"
        )
    for name in _PARTS:
        if not parts.get(name.lower()):
            raise BadAccess(f"{CONNECTION_STRING} has no {name}=: expected {_SHAPE}")
    host, policy, key = (parts[name.lower()] for name in _PARTS)
    if not _HOST.match(host):
        raise BadAccess(f"{CONNECTION_STRING}: HostName={host} is no host name (no scheme, port or path)")
    try:
        base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        raise BadAccess(
            f"{CONNECTION_STRING}: SharedAccessKey is not base64: was it cut? Quote the whole string"
        ) from None
    return host.lower(), policy, key


def _ca_file(environment: Mapping[str, str]) -> str | None:
    name = environment.get(CA_FILE, "")
    if not name:
        return None
    try:
        ssl.create_default_context(cafile=str(Path(name)))
    except ssl.SSLError:
        raise BadAccess(f"{CA_FILE}={name}: no certificates in it: expected a PEM file") from None
    except OSError as error:
        raise BadAccess(f"{CA_FILE}={name}: {error.strerror or error}") from None
    return name


def _https_port(environment: Mapping[str, str]) -> int:
    text = environment.get(HTTPS_PORT, "") or "443"
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 65536):
        raise BadAccess(f"{HTTPS_PORT}={text}: expected a port, 1 to 65535")
    return int(text)
