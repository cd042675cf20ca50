"""What the Azure SDK raised, as what to do next: one line that names the remedy.

The SDK wraps the cause of a failure up to four times; the innermost one is the truth.
"""

from __future__ import annotations

import errno
import ssl

from . import NO_REASON, Failure, HubError
from .credentials import Credential

_NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL}
_NOT_YET_VALID, _EXPIRED = 9, 10  # X509_V_ERR_CERT_NOT_YET_VALID, _HAS_EXPIRED (openssl/x509_vfy.h)


def explain(error: BaseException, credential: Credential, *, clock_trusted: bool = True) -> HubError:
    """``clock_trusted``: whether this machine's time can be believed; else it is what is suspected first."""
    if isinstance(error, HubError):
        return error
    chain = _chain(error)
    host = credential.address
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _untrusted(cause, host, clock_trusted)
        if isinstance(cause, OSError):
            return _unreachable(cause, host)
    return _refused_or_lost(chain, credential, clock_trusted)


def _refused_or_lost(chain: list[BaseException], credential: Credential, clock_trusted: bool) -> HubError:
    """What the hub said, or that it said nothing. The SDK's classes tell it, and paho's texts within them."""
    host = credential.address
    names = {type(cause).__name__ for cause in chain}
    said = " ".join(str(cause) for cause in chain).lower()
    if names & {"CredentialError", "UnauthorizedError"}:
        return _refused(credential, clock_trusted)
    if "ConnectionFailedError" in names and "unavailable" in said:
        return HubError(Failure.UNAVAILABLE, f"{host} says that it is unavailable: nothing to do but wait")
    if "OperationTimeout" in names:
        return HubError(Failure.SILENT, f"{host} takes the connection and does not answer")
    if "keepalive interval" in said:
        return HubError(Failure.DEAD, f"{host} no longer answers: the link is dead (no reply to a ping)")
    if names & {"ConnectionDroppedError", "OperationCancelled", "NoConnectionError"}:
        return HubError(Failure.LOST, NO_REASON)
    innermost = chain[-1]
    return HubError(Failure.LOST, f"connection to {host} lost ({type(innermost).__name__}: {innermost})")


def _refused(credential: Credential, clock_trusted: bool) -> HubError:
    text = f"{credential.address} refused device {credential.device_id!r}: "
    if not clock_trusted:
        text += (
            "this machine's clock is not synchronised, and its token carries the clock (timedatectl); else: "
        )
    return HubError(Failure.REFUSED, text + "wrong key, unknown or disabled device, or an expired token")


def _untrusted(cause: ssl.SSLCertVerificationError, host: str, clock_trusted: bool) -> HubError:
    if cause.verify_code in (_NOT_YET_VALID, _EXPIRED):
        state = "not yet valid" if cause.verify_code == _NOT_YET_VALID else "no longer valid"
        clock = "this machine's clock" + (
            "" if clock_trusted else ", which is not synchronised (timedatectl)"
        )
        return HubError(
            Failure.CERTIFICATE_TIME,
            f"the certificate of {host} is {state}: check {clock}; else it is the hub's",
        )
    return HubError(
        Failure.UNTRUSTED,
        f"{host} is not trusted: {cause.verify_message}; for a private CA set device.ca_file "
        "(or MASTHEAD_CA_FILE); else somebody is in between, or this machine's clock is wrong",
    )


def _unreachable(cause: OSError, host: str) -> HubError:
    if type(cause).__name__ == "gaierror":
        failure, text = (
            Failure.NAME,
            (f"the name {host} cannot be resolved: check the network, its DNS and the host name"),
        )
    elif isinstance(cause, ConnectionRefusedError):
        failure, text = (
            Failure.CLOSED,
            (f"nobody listens at {host}:8883: is the hub running, is the port open?"),
        )
    elif isinstance(cause, ConnectionResetError | BrokenPipeError):
        failure, text = Failure.LOST, f"{host} ended the connection while it was made"
    elif isinstance(cause, TimeoutError):
        failure, text = (
            Failure.SILENT,
            (f"{host}:8883 does not answer: is the network up, does a firewall drop the port?"),
        )
    elif isinstance(cause, ssl.SSLError):
        failure, text = (
            Failure.LOST,
            (f"{host} does not speak TLS as expected ({cause.reason or cause}): is it the hub?"),
        )
    elif cause.errno in _NO_ROUTE:
        failure, text = (
            Failure.ROUTE,
            (f"no way to {host} ({cause.strerror}): is the network up, has it a default route?"),
        )
    else:
        failure, text = Failure.ROUTE, f"{host} cannot be reached: {cause.strerror or cause}"
    return HubError(failure, text)


def _chain(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain
