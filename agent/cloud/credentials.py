"""The device's connection string: where it comes from, and what it says.

systemd's credential, a file or the environment; never the command line, where every user could read it.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hw.settings import did_you_mean

VARIABLE = "IOTHUB_DEVICE_CONNECTION_STRING"
_CREDENTIAL = "connection-string"

_KNOWN = ("HostName", "DeviceId", "SharedAccessKey", "SharedAccessKeyName", "GatewayHostName", "ModuleId")
_EXPECTED = "expected HostName=…;DeviceId=…;SharedAccessKey=…"
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}")
_DEVICE = re.compile(r"[A-Za-z0-9.+%_#*?!(),:=@$'-]{1,128}")  # Azure IoT Hub, identity registry

CREDENTIAL_STORE = Path("/etc/credstore/masthead.connection-string")
"""Where deploy/masthead.service has systemd look; readable for root alone."""


class CredentialError(Exception):
    """No usable credential. The text says where it was looked for and what to do; never the secret."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A device's identity at its hub. The key is in no ``repr``."""

    host_name: str
    device_id: str
    connection_string: str = field(repr=False)
    source: str = ""
    gateway_host_name: str | None = None

    @property
    def address(self) -> str:
        """The host name that is connected to."""
        return self.gateway_host_name or self.host_name


def find(file: str | None, environment: Mapping[str, str] = os.environ) -> Credential:
    """The connection string from the environment, systemd's credential, ``file``, else systemd's store.

    Raises CredentialError.
    """
    if text := environment.get(VARIABLE):
        return parse(text, f"${VARIABLE}")
    if folder := environment.get("CREDENTIALS_DIRECTORY"):
        path = Path(folder) / _CREDENTIAL
        if path.is_file():
            return parse(_read(path), f"systemd credential {_CREDENTIAL}")
    if file is None and os.access(CREDENTIAL_STORE, os.R_OK):
        return parse(_read(CREDENTIAL_STORE), str(CREDENTIAL_STORE))
    if file is None:
        raise CredentialError(
            f"no connection string: set {VARIABLE}, or device.connection_string_file, "
            f"or give systemd the credential {_CREDENTIAL!r} ({CREDENTIAL_STORE}, for root alone)"
        )
    path = Path(file).expanduser()
    text = _read(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise CredentialError(f"{path} can be read by others: chmod 600 {path}")
    return parse(text, str(path))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise CredentialError(f"{path}: the connection string cannot be read: {reason}") from None


def parse(text: str, source: str) -> Credential:
    """``HostName=…;DeviceId=…;SharedAccessKey=…`` as a credential. Raises CredentialError."""
    text = text.strip("\ufeff \t\r\n")  # some editors begin a file with a byte order mark
    parts = _parts(text, source)
    if "SharedAccessKeyName" in parts:
        raise CredentialError(
            f"{source}: this is a service connection string (SharedAccessKeyName); "
            "the device's own has DeviceId in its place"
        )
    if "ModuleId" in parts:
        raise CredentialError(
            f"{source}: this is a module's connection string (ModuleId), a device's is needed"
        )
    for name in ("HostName", "DeviceId", "SharedAccessKey"):
        if not parts.get(name):
            raise CredentialError(f"{source}: no {name} in it; {_EXPECTED}")
    for name in ("HostName", "GatewayHostName"):
        if not _HOST.fullmatch(parts.get(name) or "none"):
            raise CredentialError(f"{source}: what {name} says is no host's name")
    if not _DEVICE.fullmatch(parts["DeviceId"]):
        raise CredentialError(f"{source}: what DeviceId says can be no device's id")
    if set("+#") & set(parts["DeviceId"]):
        raise CredentialError(
            f"{source}: device id {parts['DeviceId']!r}: MQTT cannot carry + or # in it; create a device "
            "with another id"
        )
    try:
        base64.b64decode(parts["SharedAccessKey"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise CredentialError(f"{source}: SharedAccessKey is not base64: was it cut when copied?") from error
    as_the_sdk_takes_it = ";".join(f"{name}={value}" for name, value in parts.items() if value)
    return Credential(
        parts["HostName"],
        parts["DeviceId"],
        as_the_sdk_takes_it,
        source,
        parts.get("GatewayHostName") or None,
    )


def _parts(text: str, source: str) -> dict[str, str]:
    """Value by name. Raises CredentialError."""
    parts: dict[str, str] = {}
    for part in text.split(";"):
        name, equals, value = (word.strip() for word in part.partition("="))
        if name.startswith("SharedAccessSignature"):
            raise CredentialError(f"{source}: a SAS token ends, and has to be made anew; {_EXPECTED}")
        if equals and name not in _KNOWN:
            near = did_you_mean(name, _KNOWN, "")  # a name that is near none may be the key, cut off or alone
            wrong = f"{name} is unknown{near}" if near else f"no connection string; {_EXPECTED}"
            raise CredentialError(f"{source}: {wrong}")
        if name in parts:
            raise CredentialError(f"{source}: {name} stands in it twice: one connection string is needed")
        if equals:
            parts[name] = value
    return parts
