"""Where a hub listens: on loopback only, and HTTPS not on its own port where that may not be bound."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address

from .records import HubUnavailable

HTTPS_PORT = 443
FIRST_OTHER = 8443
_OTHERS = 100

logger = logging.getLogger(__name__)


def loopback_addresses(host: str | None) -> Iterator[IPv4Address]:
    """The addresses to try, in order: of ``host``, or any. Raises HubUnavailable if it is not of loopback."""
    if host is None:
        yield from (IPv4Address(f"127.0.0.{n}") for n in range(1, 255))
        return
    try:
        address = IPv4Address("127.0.0.1" if host == "localhost" else host)
    except AddressValueError:
        raise HubUnavailable(f"host {host!r}: expected localhost or an address 127.x.y.z") from None
    if not address.is_loopback:
        raise HubUnavailable(f"host {host!r}: only loopback addresses (127.x.y.z) are served")
    yield address


def listen_https(address: IPv4Address, port: int | None) -> socket.socket:
    """A listening socket on ``port`` (0: any); None: on 443, or the next free port from 8443.

    Raises HubUnavailable if there is none to be had.
    """
    if port is not None:
        return _listen(address, port)
    try:
        return _listen(address, HTTPS_PORT)
    except HubUnavailable as error:
        why = str(error)
    for other in range(FIRST_OTHER, FIRST_OTHER + _OTHERS):
        try:
            listening = _listen(address, other)
        except HubUnavailable:
            continue
        logger.info("%s: HTTPS is on port %d instead", why, other)
        return listening
    raise HubUnavailable(f"{why}; and none of {FIRST_OTHER} to {FIRST_OTHER + _OTHERS - 1} is free")


def _listen(address: IPv4Address, port: int) -> socket.socket:
    try:
        return socket.create_server((str(address), port))
    except OSError as error:
        raise HubUnavailable(f"cannot listen on {address}:{port}: {error.strerror}") from error
