"""From what a library raised, or a hub answered, to one line that says what to do.

Nothing here is a vendor's: AMQP's errors are known by their ``condition``, TLS and sockets by Python's
classes, found anywhere in the chain of causes. What REST answers: replies.py.
"""

from __future__ import annotations

import errno
import socket
import ssl
from http.client import BadStatusLine, LineTooLong, UnknownProtocol

from agent.redact import redact

from .access import CA_FILE, CONNECTION_STRING, HTTPS_PORT, Access
from .errors import HubRejected, HubUnavailable, NoDevice, OperatorError

POLICIES = {
    "RegistryRead": "registryRead, registryReadWrite or iothubowner",
    "RegistryWrite": "registryReadWrite or iothubowner",
    "ServiceConnect": "service or iothubowner",
}
"""Which of the policies that every hub is created with have a right.
https://learn.microsoft.com/azure/iot-hub/authenticate-authorize-sas"""

_NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL}
_NOT_YET_VALID, _EXPIRED, _WRONG_HOST, _WRONG_ADDRESS = 9, 10, 62, 64  # X509_V_ERR_… (openssl/x509_vfy.h)


def explain(error: BaseException, access: Access, port: int, device_id: str | None = None) -> OperatorError:
    """What a library raised while it talked to ``access.host``."""
    chain = _chain(error)
    for cause in chain:
        if isinstance(cause, OperatorError):
            return cause
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return HubRejected(_untrusted(cause, access))
        if isinstance(cause, OSError) and not _is_wrapper(cause):
            return HubUnavailable(_unreachable(cause, access.host, port))
    for cause in chain:
        condition = getattr(cause, "condition", None)
        if isinstance(condition, bytes) and not hasattr(cause, "status_code"):
            said = _text(getattr(cause, "description", None))
            return explain_condition(condition.decode(errors="replace"), said, access, device_id)
    where = f"{access.host}:{port}"
    said = one_line(" ".join(str(cause) for cause in chain))
    if any(isinstance(cause, BadStatusLine | LineTooLong | UnknownProtocol) for cause in chain):
        text = f"no HTTPS answers at {where}: is {HTTPS_PORT}={port} right?"
    elif "SASL" in said or any(hasattr(cause, "status_code") for cause in chain):
        return HubRejected(_bad_token(access, said))
    else:
        text = f"the connection to {where} failed: {type(error).__name__}: {one_line(str(error))}"
    return HubUnavailable(text)


def explain_condition(condition: str, said: str, access: Access, device_id: str | None) -> OperatorError:
    """An AMQP error of the hub: ``condition`` is a symbol such as ``amqp:not-found``."""
    host, again = access.host, False
    match condition:
        case "amqp:not-found" if device_id is not None:
            return NoDevice(f"{host} has no device {device_id!r} (masthead device list)")
        case "amqp:not-found":
            text = f"{host} has no such address, partition or consumer group"
        case "amqp:unauthorized-access" | "com.microsoft:auth-failed":
            text = lacking(access, "ServiceConnect")
        case "amqp:resource-limit-exceeded" if device_id is not None and "quota" not in said.lower():
            again, text = True, f"too many messages wait for {device_id!r} (a hub keeps 50): let it connect"
        case "amqp:resource-limit-exceeded":
            again, text = True, f"{host}: a limit of the hub is reached; wait, or raise it"
        case "amqp:link:stolen":
            text = f"another program reads these events of {host} alone: take another --consumer-group"
        case "amqp:link:message-size-exceeded":
            text = f"the message is too large for {host}"
        case "com.microsoft:server-busy" | "com.microsoft:device-container-throttled":
            again, text = True, f"{host} is busy; try again later"
        case "com.microsoft:argument-error" | "com.microsoft:argument-out-of-range":
            text = f"{host} takes no such request"
        case "amqp:invalid-field" | "amqp:not-allowed" | "amqp:not-implemented" | "amqp:decode-error":
            text = f"{host} takes no such request"
        case _:
            again, text = True, f"{host} ended it ({condition})"
    return (HubUnavailable if again else HubRejected)(f"{text}: {said}" if said else text)


def lacking(access: Access, right: str) -> str:
    """What is said to whoever is refused: hubs do not tell a missing right from a wrong key."""
    return (
        f"{access.host} refused policy {access.policy!r}: this needs the right {right} ({POLICIES[right]} "
        "has it), that policy's key, and a clock that is right"
    )


def _bad_token(access: Access, said: str) -> str:
    return (
        f"{access.host} refused policy {access.policy!r}: wrong or regenerated key in {CONNECTION_STRING}, "
        f"no such policy, or this machine's clock is wrong (timedatectl): {said}"
    )


def _untrusted(cause: ssl.SSLCertVerificationError, access: Access) -> str:
    code, host = getattr(cause, "verify_code", 0), access.host
    if code in (_NOT_YET_VALID, _EXPIRED):
        state = "not yet valid" if code == _NOT_YET_VALID else "no longer valid"
        return f"the certificate of {host} is {state}: check this machine's clock; else it is the hub's"
    said = one_line(getattr(cause, "verify_message", "") or str(cause))
    if code in (_WRONG_HOST, _WRONG_ADDRESS) or "ostname mismatch" in said:
        return f"the certificate is another's: {said}: is HostName={host} right?"
    if access.ca_file is None:
        return f"{host} is not trusted: {said}: for a private CA set {CA_FILE}"
    return f"{host} is not trusted: {said}: its CA is not the one in {CA_FILE}={access.ca_file}"


def _unreachable(cause: OSError, host: str, port: int) -> str:
    where = f"{host}:{port}"
    if isinstance(cause, socket.gaierror):
        return f"the name {host} cannot be resolved: check {CONNECTION_STRING}, the network and its DNS"
    for kind, text in (
        (ConnectionRefusedError, f"nobody listens at {where}: is the hub running, is the port open?"),
        (TimeoutError, silent(where)),
        (ConnectionError, f"{where} ended the connection"),
        (ssl.SSLError, f"{where} does not speak TLS as expected ({one_line(str(cause))}): is it the hub?"),
    ):
        if isinstance(cause, kind):
            return text
    if cause.errno in _NO_ROUTE:
        return f"no way to {host} ({cause.strerror}): is the network up, has it a default route?"
    return f"{where} cannot be reached: {cause.strerror or one_line(str(cause))}"


def silent(where: str) -> str:
    """What is said of a host that takes packets and gives none."""
    return f"{where} does not answer: is the network up, does a firewall drop the port?"


def _chain(error: BaseException | None) -> list[BaseException]:
    """The error and what led to it, also where a library keeps that in an attribute."""
    found: list[BaseException] = []
    waiting = [error]
    while waiting:
        cause = waiting.pop(0)
        if not isinstance(cause, BaseException) or any(cause is known for known in found):
            continue
        found.append(cause)
        kept = [getattr(cause, name, None) for name in ("reason", "inner_error", "details")]
        waiting += [cause.__cause__ or cause.__context__, *kept, *cause.args]
    return found


def _is_wrapper(error: OSError) -> bool:
    """requests' errors are OSErrors, and say nothing that their causes do not say better."""
    return type(error).__module__.partition(".")[0] in ("requests", "urllib3")


def _text(value: object) -> str:
    return one_line(value.decode(errors="replace") if isinstance(value, bytes) else str(value or ""))


def one_line(text: str) -> str:
    """Short, printable, and without secrets."""
    return redact(" ".join("".join(c if c.isprintable() else " " for c in text).split()))[:300]
