"""Whether this device has a credential, and the way to its hub: name, port, certificate."""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from agent import timekeeping
from agent.cloud.credentials import CREDENTIAL_STORE, Credential, CredentialError, find, parse
from agent.cloud.explaining import explain
from agent.config import Config

from .finding import AS_ROOT, Finding, hidden, told_by, within

ENCRYPTED = Path("/etc/credstore.encrypted/masthead.connection-string")
"""Where systemd keeps credentials that it alone can decrypt (systemd.exec(5), LoadCredentialEncrypted=)."""

_CREDENTIAL_NAME = "connection-string"
_TIMEOUT_S = 5.0
_NAME_S = 15.0  # a resolver with two dead servers
_MQTT_PORT = 8883
_SOON_S = 30 * 86400.0


def findings(config: Config, status: Mapping[str, Any] | None, *, network: bool) -> Iterator[Finding]:
    """The credential, and with ``network`` the way to the hub. ``status``: the running agent's."""
    credential, finding = _credential(config, status)
    yield finding
    ca_file = os.environ.get("MASTHEAD_CA_FILE") or config.device.ca_file
    ca = Finding("ca", "ok", "the system's") if ca_file is None else _ca(ca_file)
    yield ca
    if credential is None or not network:
        return
    steps: list[tuple[str, float, Callable[[], Finding]]] = [
        ("name", _NAME_S, partial(_resolve, credential)),
        ("hub", _NAME_S + _TIMEOUT_S, partial(_reach, credential)),
        ("certificate", _NAME_S + 2 * _TIMEOUT_S, partial(_trust, credential, ca_file)),
    ]
    for name, seconds, step in steps if ca.state != "failed" else steps[:-1]:
        found = within(seconds, name, step)
        yield found
        if found.state == "failed":
            return
    yield _key(status)


def _credential(config: Config, status: Mapping[str, Any] | None) -> tuple[Credential | None, Finding]:
    try:
        credential = _find(config)
    except CredentialError as error:
        if status is not None and status["hub"] is not None:  # it has what this user may not see
            who = f"device {status['deviceId']} at {status['hub']}, as the running agent says"
            told = Credential(status["hub"], status["deviceId"], "")
            return told, Finding("credential", "ok", who)
        if _may_be_hidden(config):
            return None, Finding("credential", "warning", str(error), AS_ROOT)
        return None, Finding("credential", "failed", str(error), "`sudo masthead setup` stores it")
    who = f"device {credential.device_id} at {credential.address}, from {credential.source}"
    return credential, Finding("credential", "ok", f"{who}: a key, which does not expire")


def _find(config: Config) -> Credential:
    """The credential as the agent finds it, else as systemd would give it. Raises CredentialError."""
    try:
        return find(config.device.connection_string_file)
    except CredentialError:
        if config.device.connection_string_file is not None or not os.access(ENCRYPTED, os.R_OK):
            raise
    command = ["systemd-creds", "decrypt", f"--name={_CREDENTIAL_NAME}", str(ENCRYPTED), "-"]
    if (text := told_by(command)) is None:
        raise CredentialError(f"{ENCRYPTED}: cannot be decrypted on this machine: store it again")
    return parse(text, str(ENCRYPTED))


def _may_be_hidden(config: Config) -> bool:
    """Whether there may be a credential that this user cannot see: its own file, else the service's."""
    if os.geteuid() == 0:
        return False
    if config.device.connection_string_file is not None:
        path = Path(config.device.connection_string_file).expanduser()
        return hidden(path) or (path.exists() and not os.access(path, os.R_OK))
    stores = (ENCRYPTED.parent, CREDENTIAL_STORE.parent)
    closed = any(place.is_dir() and not os.access(place, os.R_OK | os.X_OK) for place in stores)
    return closed and config.path is not None and config.path.absolute().is_relative_to("/etc")


def _ca(ca_file: str) -> Finding:
    """When the last of a private CA's certificates ends: nobody renews them but their owner.

    Others may have expired before: old and new stand in one file while a hub changes over.
    """
    try:
        roots = ssl.create_default_context(cafile=str(Path(ca_file).expanduser())).get_ca_certs()
        ends = [ssl.cert_time_to_seconds(str(root["notAfter"])) for root in roots]
    except (OSError, ValueError, KeyError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        text = f"{ca_file} (device.ca_file or MASTHEAD_CA_FILE) is no readable PEM file ({reason})"
        return Finding("ca", "failed", text, "give the PEM file of the hub's CA")
    if not ends:
        text = f"{ca_file} holds no certificate of a CA"
        return Finding("ca", "warning", text, "give the PEM file of the hub's CA, not of the hub itself")
    state, until = _validity(max(ends))
    expired = sum(_validity(end)[0] == "failed" for end in ends)
    if 0 < expired < len(ends):
        until += f"; {expired} of its {len(ends)} certificates expired before"
    remedy = None if state == "ok" else "put the hub's new CA into it in time"
    return Finding("ca", state, f"{ca_file}, a private CA in place of the system's, {until}", remedy)


def _resolve(credential: Credential) -> Finding:
    host = credential.address
    try:
        found = socket.getaddrinfo(host, _MQTT_PORT, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        text = f"{host} cannot be resolved ({_reason(error)})"
        return Finding("name", "failed", text, "check the network, its DNS and the name")
    return Finding("name", "ok", f"{host} is {found[0][4][0]}")


def _reach(credential: Credential) -> Finding:
    host = credential.address
    try:
        with socket.create_connection((host, _MQTT_PORT), _TIMEOUT_S):
            return Finding("hub", "ok", f"port {_MQTT_PORT} answers")
    except OSError as error:
        text = f"{host}:{_MQTT_PORT} cannot be reached ({_reason(error)})"
        return Finding("hub", "failed", text, "is the hub running, the port open?")


def _trust(credential: Credential, ca_file: str | None) -> Finding:
    host = credential.address
    context = ssl.create_default_context(cafile=None if ca_file is None else str(Path(ca_file).expanduser()))
    try:
        with (
            socket.create_connection((host, _MQTT_PORT), _TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            version, certificate = secured.version(), secured.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        told = explain(error, credential, clock_trusted=timekeeping.kernel_synchronised())
        return Finding("certificate", "failed", str(told))
    except OSError as error:
        text = f"{host} does not speak TLS as expected ({_reason(error)})"
        return Finding("certificate", "failed", text, "is it the hub?")
    state, until = _validity(ssl.cert_time_to_seconds(str(certificate["notAfter"])))
    text = f"trusted by {ca_file or 'the system'}, {version}, issued by {_issuer(certificate)}, {until}"
    return Finding("certificate", "ok", text) if state != "failed" else Finding("certificate", state, text)


def _key(status: Mapping[str, Any] | None) -> Finding:
    if status is not None and status["link"]["state"] == "up":
        return Finding("key", "ok", "the hub takes it: the agent is connected")
    if status is not None and status["link"]["lastError"]:
        return Finding("key", "warning", f"the agent is not connected: {status['link']['lastError']}")
    return Finding("key", "ok", "not tried here: `masthead status` says whether the hub takes it")


def _issuer(certificate: Mapping[str, Any]) -> str:
    """The names of who signed it, organisation first."""
    names = {key: value for part in certificate.get("issuer", ()) for key, value in part}
    told = [names[key] for key in ("organizationName", "commonName") if key in names]
    return ", ".join(told) or "nobody named"


def _validity(ends: float) -> tuple[Any, str]:
    """(the state, in words until when)."""
    left = ends - time.time()
    day = time.strftime("%Y-%m-%d", time.gmtime(ends))
    if left < 0:
        return "failed", f"expired on {day}"
    return ("warning" if left < _SOON_S else "ok"), f"valid to {day} ({left / 86400:.0f} days)"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or getattr(error, "reason", None) or str(error)
