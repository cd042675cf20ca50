"""From a client's attach to the link that it wants."""

from __future__ import annotations

from . import node
from .incoming import Incoming
from .link import Carrier
from .node import Addresses, LinkError
from .outgoing import Outgoing
from .performatives import SENDER, Attach, Source, Target
from .room import MAX_LINKS

_OPEN_TO_ALL = "$cbs"  # where a policy is proved, so that links to it do not end with one


async def open_link(attach: Attach, carrier: Carrier, addresses: Addresses) -> Incoming | Outgoing:
    """The hub's end of the link, not started yet. Raises LinkError, and what the addresses raise."""
    if carrier.room.links >= MAX_LINKS:
        raise LinkError("amqp:resource-limit-exceeded", f"more than {MAX_LINKS} links")
    ours, theirs = attach.source, attach.target
    if attach.role is SENDER:
        ours, theirs = theirs, ours
    if not isinstance(ours, Source | Target) or not isinstance(ours.address, str) or ours.dynamic:
        raise LinkError("amqp:not-implemented", "only links to a named address are served")
    address = theirs.address if isinstance(theirs, Source | Target) else None
    wanted = node.Attach(
        address=str(ours.address),
        reply_address=str(address) if isinstance(address, str) else None,
        filters=(ours.filter or {}) if isinstance(ours, Source) else {},
        properties=attach.properties or {},
    )
    guarded = wanted.address.rpartition("/")[2].lower() != _OPEN_TO_ALL
    if attach.role is SENDER:
        count = attach.initial_delivery_count or 0
        return Incoming(carrier, attach.handle, count, await addresses.sink(wanted, carrier.peer), guarded)
    spring = await addresses.spring(wanted, carrier.peer)
    return Outgoing(carrier, attach.handle, attach.snd_settle_mode, spring, guarded)
