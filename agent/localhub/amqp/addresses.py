"""The hub's addresses over AMQP, and who may use which.

    $cbs                                            tokens
    /messages/devicebound                           messages to devices
    /messages/servicebound/feedback                 what became of them
    /messages/events, and all below                 the way to the event hub: a redirect
    masthead/ConsumerGroups/{group}/Partitions/{n}  events
    $management, masthead/$management               what its partitions hold

All but the first want the right ServiceConnect: of the peer when it attaches, at ``$management`` of the token
in each request. An address may stand behind ``amqps://host/``, and begins with a slash or not; case does not
matter.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from urllib.parse import unquote

from ..notices import NoticeBoard
from ..service_auth import LacksRight, Right, ServiceAuthenticator, demand, is_below
from ..store import Store
from . import replies
from .cbs import Cbs
from .devicebound import DeviceboundSink, SendC2d
from .event_node import ENTITY, EventNode
from .feedback_node import FeedbackSpring
from .management import Management
from .node import Attach, LinkError, Peer, Sink, Spring

_CBS = "$cbs"
_MANAGEMENT = "$management"
_DEVICEBOUND = "messages/devicebound"
_FEEDBACK = "messages/servicebound/feedback"
_EVENTS = "messages/events"

_AUTHORITY = re.compile(r"(?:amqps?|sb|https)://[^/]*", re.IGNORECASE)


class HubAddresses:
    """Addresses of node.py. Thread safety: the hub's event loop only; the disk is waited for in threads."""

    def __init__(
        self,
        *,
        store: Store,
        board: NoticeBoard,
        authenticator: ServiceAuthenticator,
        send: SendC2d,
        where: Callable[[], tuple[str, int]],
        now: Callable[[], float] = time.time,
    ) -> None:
        """``send``: what queues a message to a device and wakes that; ``where``: the name and port by which
        clients reach this hub, asked for when there is one; ``now``: the hub's clock, Unix seconds."""
        self._store = store
        self._send = send
        self._where = where
        self._now = now
        self._cbs = Cbs(authenticator)
        self._management = Management(store.events, authenticator, now)
        self._events = EventNode(store.events, board)

    async def sink(self, attach: Attach, peer: Peer) -> Sink:
        """Addresses: where a client wants to send."""
        path = _path(attach.address)
        match [part.lower() for part in path]:
            case ["$cbs"]:
                return replies.sink(_CBS, self._cbs.answer, peer)
            case ["$management"] | [_, "$management"] if _is_entity(path[:-1]):
                return replies.sink(_MANAGEMENT, self._management.answer, peer)
            case ["messages", "devicebound"]:
                self._demand(peer, path)
                return DeviceboundSink(self._send, self._now)
            case ["messages", "events", *_]:
                raise self._redirect(path, peer)
        raise _not_found(attach.address, "send to", _CBS, _DEVICEBOUND, _MANAGEMENT)

    async def spring(self, attach: Attach, peer: Peer) -> Spring:
        """Addresses: where a client wants to receive from."""
        path = _path(attach.address)
        match [part.lower() for part in path]:
            case ["$cbs"]:
                return replies.spring(_CBS, attach, peer)
            case ["$management"] | [_, "$management"] if _is_entity(path[:-1]):
                return replies.spring(_MANAGEMENT, attach, peer)
            case ["messages", "servicebound", "feedback"]:
                self._demand(peer, path)
                return FeedbackSpring(self._store.feedback, self._where()[0])
            case ["messages", "events", *_]:
                raise self._redirect(path, peer)
            case [_, "consumergroups", _, "partitions", _] if _is_entity(path[:1]):
                self._demand(peer, path)
                return await self._events.spring(path[2], path[4], attach)
        groups = f"{ENTITY}/ConsumerGroups/{{group}}/Partitions/{{n}}"
        raise _not_found(attach.address, "receive from", _FEEDBACK, _EVENTS, groups, _MANAGEMENT)

    def _demand(self, peer: Peer, path: list[str]) -> None:
        if peer.policy is None:
            description = "no token: put one to $cbs, or sign in by SASL PLAIN as policy@sas.root.hub"
        elif peer.policy_until_s <= self._now():
            description = f"the token of policy {peer.policy!r} has expired"
        elif not is_below(resource := "/".join(path), peer.policy_path):
            description = f"the token is for {peer.policy_path[:120]!r}, and not for {resource[:120]!r}"
        else:
            try:
                demand(peer.policy, Right.SERVICE_CONNECT)
                return
            except LacksRight as error:
                description = str(error)
        raise LinkError("amqp:unauthorized-access", description)

    def _redirect(self, path: list[str], peer: Peer) -> LinkError:
        """What follows messages/events in the address follows the entity in the one to go to."""
        self._demand(peer, path)
        host, port = self._where()
        address = "/".join((f"amqps://{host}:{port}", ENTITY, *path[2:]))
        return LinkError(
            "amqp:link:redirect",
            f"events are read at {address}",
            {"hostname": host, "network-host": host, "port": port, "address": address},
        )


def _path(address: str) -> list[str]:
    """The parts of an address, decoded, without what says where the hub is."""
    return [unquote(part) for part in _AUTHORITY.sub("", address, count=1).removeprefix("/").split("/")]


def _is_entity(before: list[str]) -> bool:
    """Whether a path begins at the event hub, or says nothing of it."""
    return [part.lower() for part in before] in ([], [ENTITY])


def _not_found(address: str, purpose: str, *known: str) -> LinkError:
    return LinkError(
        "amqp:not-found", f"no address {address[:200]!r} to {purpose}: there are {', '.join(known)}"
    )
