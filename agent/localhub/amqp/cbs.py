"""``$cbs``: where a client shows its shared access signature, before it attaches the links that need one.

https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-protocol-guide#claims-based-authorization
"""

from __future__ import annotations

import asyncio

from ..auth import BadCredentials, NotAuthorized
from ..records import StoreFailed
from ..service_auth import ServiceAuthenticator
from . import replies
from .node import Message, Peer

_TOKEN_TYPE = "servicebus.windows.net:sastoken"  # noqa: S105  (a name, not a token)


class Cbs:
    """Thread safety: the hub's event loop only; the disk is waited for in threads."""

    def __init__(self, authenticator: ServiceAuthenticator) -> None:
        self._authenticator = authenticator

    async def answer(self, request: Message, peer: Peer) -> Message:
        """Take a token: the peer is of its policy until it expires, for the resource that the request names,
        which must be in the token's scope. A bad one changes nothing."""
        asked = request.application_properties
        if asked.get("operation") != "put-token":
            return replies.reply(400, f"operation {asked.get('operation')!r:.80}: expected 'put-token'")
        if asked.get("type") != _TOKEN_TYPE:
            return replies.reply(400, f"token type {asked.get('type')!r:.80}: expected {_TOKEN_TYPE!r}")
        name = asked.get("name")
        if not isinstance(name, str) or not name:
            return replies.reply(400, f"name {name!r:.80}: expected the resource that the token is for")
        try:
            path = self._authenticator.path_of(name)
            proof = await asyncio.to_thread(self._authenticator.admit, text(request), resource=path)
        except (NotAuthorized, BadCredentials) as error:
            return replies.reply(401, str(error))
        except StoreFailed as error:
            return replies.reply(503, str(error))
        peer.policy, peer.policy_until_s, peer.policy_path = proof.policy, proof.until_s, path
        return replies.reply(200, "OK")


def text(request: Message) -> str:
    """The token in a request's body. Raises BadCredentials."""
    value = request.body if request.value is None else request.value
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str) or not value:
        raise BadCredentials(f"the body is no token but {type(value).__name__}")
    return value
