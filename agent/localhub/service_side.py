"""What the back end connects to: HTTPS and AMQP, beside the devices' MQTT."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from ipaddress import IPv4Address

from .amqp.addresses import HubAddresses
from .amqp.devicebound import SendC2d
from .amqp.listener import AmqpListener
from .ca import ServerFiles
from .certificates import server_context
from .faults import Faults
from .listener import is_taken
from .notices import NoticeBoard
from .ports import listen_https
from .rest import RestServer
from .rest.source import Hub
from .service_auth import ServiceAuthenticator
from .websocket import Bridge

AMQP_PORT = 5671
"""Its clients know no other."""

logger = logging.getLogger(__name__)


class ServiceSide:
    """Thread safety: the hub's event loop only."""

    def __init__(
        self,
        hub: Hub,
        board: NoticeBoard,
        bridge: Bridge,
        *,
        names: tuple[str, str],
        send: SendC2d,
        now: Callable[[], float],
    ) -> None:
        """``names``: the one that connection strings have, and the address that is bound."""
        host, address = names
        self._address = IPv4Address(address)
        authenticator = ServiceAuthenticator(hub.store.registry, {"localhost", address}, now)
        self._rest = RestServer(hub, authenticator, bridge)
        self._addresses = HubAddresses(
            store=hub.store,
            board=board,
            authenticator=authenticator,
            send=send,
            where=lambda: (host, self.amqp_port),
            now=now,
        )
        self._amqp = AmqpListener(self._addresses, authenticator, now)
        self.https_port = self.amqp_port = 0

    async def start(self, files: ServerFiles, faults: Faults, https_port: int | None) -> None:
        """Listen. ``https_port``: None for 443, or where that may not be bound the next free one from 8443.

        Raises HubUnavailable, OSError.
        """
        self.amqp_port = await self._listen_amqp(server_context(files, self._address, faults))
        try:
            listening = listen_https(self._address, https_port)
            self.https_port = listening.getsockname()[1]
            # on a WebSocket there may be a device that is known by its certificate
            context = server_context(files, self._address, faults, ask_for_certificate=True)
            await self._rest.start(listening, context)
        except BaseException:
            await self._amqp.stop()
            raise

    async def _listen_amqp(self, context: ssl.SSLContext) -> int:
        address = str(self._address)
        try:
            return await self._amqp.start(address, AMQP_PORT, context)
        except OSError as error:
            if not is_taken(error):
                raise
        port = await self._amqp.start(address, 0, context)
        logger.warning(
            "port %d is taken on %s: AMQP is on %d, which no client knows", AMQP_PORT, address, port
        )
        return port

    async def stop(self) -> None:
        """Close every connection."""
        await self._rest.stop()
        await self._amqp.stop()
