"""What links of both directions have in common: what they need of a session, and how they fail."""

from __future__ import annotations

import logging
from typing import Any, Protocol

from ..records import StoreFailed
from .composite import Composite
from .node import ACCEPTED, RELEASED, LinkError, Outcome, Peer
from .performatives import Accepted, Error, Flow, Modified, Rejected, Released
from .room import Room

MODULUS = 1 << 32
"""Of delivery counts, transfer ids and delivery ids, which are serial numbers (RFC 1982)."""

logger = logging.getLogger(__name__)


class SessionError(Exception):
    """The session is over, for a reason that the peer is told."""

    def __init__(self, condition: str, description: str) -> None:
        super().__init__(f"{condition}: {description}")
        self.condition = condition
        self.description = description


class Link(Protocol):
    """One end of a link, as its session has it."""

    handle: int
    guarded: bool
    """Whether it ends with the proof of a policy."""

    async def flow(self, flow: Flow) -> None:
        """What the client says of the link."""
        ...

    def wake(self) -> None:
        """The session may let more through than before."""
        ...

    async def close(self) -> None:
        """The link is over; may be called again."""
        ...


class Carrier(Protocol):
    """A session, as its links have it. All raise OSError when the connection is gone."""

    room: Room
    peer: Peer

    @property
    def is_open(self) -> bool:
        """Whether something may be delivered to the client now."""
        ...

    async def send(self, performative: Composite) -> None:
        """Send a frame."""
        ...

    async def tell(self, **fields: Any) -> None:
        """Tell the state of the session, and that of a link with the fields given."""
        ...

    async def deliver(self, link: Link, payload: bytes, key: int | None) -> None:
        """Send a message, in as many frames as it needs and when the client lets them come. With a ``key``
        it is unsettled, and the link's ``settled`` is called when it is."""
        ...

    async def detach(self, link: Link, error: LinkError) -> None:
        """End the link for that reason."""
        ...


def error_of(error: LinkError | SessionError) -> Error:
    """As it is told to the peer."""
    info = error.info if isinstance(error, LinkError) else {}
    return Error(condition=error.condition, description=error.description, info=info)


def link_error(error: Exception) -> LinkError:
    """Why a link ends when an address fails so; what is the hub's own fault is logged. Raises an OSError
    again, which is the connection's."""
    if isinstance(error, OSError):
        raise error
    if isinstance(error, LinkError):
        return error
    if isinstance(error, StoreFailed):
        logger.error("%s", error)
    else:
        logger.error("an address failed", exc_info=error)
    return LinkError("amqp:internal-error", f"the hub failed: {error}")


def state_of(outcome: Outcome) -> Composite:
    """The delivery state that tells an outcome."""
    match outcome.state:
        case "accepted":
            return Accepted()
        case "released":
            return Released()
        case "modified":
            return Modified(delivery_failed=True)
        case "rejected":
            condition = outcome.condition or "amqp:not-allowed"
            return Rejected(error=Error(condition=condition, description=outcome.description, info={}))


def outcome_of(state: Any) -> Outcome | None:
    """The outcome that a delivery state tells; None for one that is not final."""
    match state:
        case Accepted():
            return ACCEPTED
        case Released():
            return RELEASED
        case Modified():
            return Outcome("modified")
        case Rejected(error=Error(condition=condition, description=description)):
            return Outcome("rejected", condition, description)
        case Rejected():
            return Outcome("rejected")
    return None
