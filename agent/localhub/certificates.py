"""What a client is shown in the TLS handshake: the hub's certificate, or by a fault one to refuse."""

from __future__ import annotations

import logging
import ssl
from ipaddress import IPv4Address

from .ca import ServerFiles, bad_files
from .faults import Faults
from .records import HubUnavailable

_NAMES = ("other-certificate", "expired-certificate", "future-certificate")

logger = logging.getLogger(__name__)


def server_context(files: ServerFiles, address: IPv4Address, faults: Faults) -> ssl.SSLContext:
    """The context of a server at ``address`` with these files, which asks the faults at every handshake."""
    bad: dict[str, ssl.SSLContext] = {}

    def choose(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> int | None:
        name = next((name for name in _NAMES if faults.take(name)), None)
        if name is None:
            return None
        try:
            if name not in bad:
                bad[name] = _context_of(bad_files(files.ca.parent, address, name))
        except (HubUnavailable, OSError) as error:
            logger.error("no certificate for the fault %s: %s", name, error)
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        connection.context = bad[name]
        return None

    context = _context_of(files)
    context.sni_callback = choose
    return context


def _context_of(files: ServerFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(files.certificate, files.key)
    return context
