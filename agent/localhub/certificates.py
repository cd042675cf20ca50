"""What a client is shown in the TLS handshake (the hub's certificate, or by a fault one to refuse), and what
it may show.

A device's certificate is self-signed or of an authority that the hub has never heard of; whether it is the
device's is known only after the handshake, by its fingerprint (auth.py). So TLS has to take every certificate
whose key the client has, which Python's ssl offers no way to say: each connection gets a context of its own,
which trusts the client's certificate as soon as it has come. That moment is told by ``_msg_callback``, which
Python has for debugging since 3.8.
"""

from __future__ import annotations

import contextlib
import logging
import ssl
from ipaddress import IPv4Address

from .ca import ServerFiles, bad_files
from .faults import Faults
from .records import HubUnavailable

_NAMES = ("other-certificate", "expired-certificate", "future-certificate")
_HANDSHAKE, _CERTIFICATE = 22, 11  # RFC 5246, 6.2.1 and 7.4

logger = logging.getLogger(__name__)


def server_context(
    files: ServerFiles, address: IPv4Address, faults: Faults, *, ask_for_certificate: bool = False
) -> ssl.SSLContext:
    """The context of a server at ``address`` with these files, which asks the faults at every handshake.

    ``ask_for_certificate``: the client may show any one whose key it has, ``getpeercert(True)`` then says
    which; only its dates are checked.
    """
    bad: dict[str, ssl.SSLContext] = {}

    def choose(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> int | None:
        name = next((name for name in _NAMES if faults.take(name)), None)
        if name is None:
            if ask_for_certificate:
                connection.context = _asking(_context_of(files))
            return None
        try:
            if name not in bad:
                bad[name] = _context_of(bad_files(files.ca.parent, address, name))
        except (HubUnavailable, OSError) as error:
            logger.error("no certificate for the fault %s: %s", name, error)
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        connection.context = bad[name]
        return None

    context = _asking(_context_of(files)) if ask_for_certificate else _context_of(files)
    context.sni_callback = choose
    return context


def _context_of(files: ServerFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(files.certificate, files.key)
    return context


def _asking(context: ssl.SSLContext) -> ssl.SSLContext:
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context._msg_callback = _trust_what_comes  # type: ignore[attr-defined]
    return context


def _trust_what_comes(  # noqa: PLR0917  (as ssl calls it)
    connection: ssl.SSLObject, direction: str, version: object, content: object, kind: object, message: bytes
) -> None:
    """A message of the handshake, before OpenSSL looks at it (RFC 5246, 7.4.2; RFC 8446, 4.4.2)."""
    if (direction, content, kind) != ("read", _HANDSHAKE, _CERTIFICATE):
        return
    start = 4  # after type and length
    if version == ssl.TLSVersion.TLSv1_3:
        start += 1 + int.from_bytes(message[start : start + 1], "big")
    length = int.from_bytes(message[start + 3 : start + 6], "big")
    first = message[start + 6 : start + 6 + length]
    if first:
        with contextlib.suppress(ssl.SSLError, ValueError):  # what is no certificate ends the handshake
            connection.context.load_verify_locations(cadata=first)
