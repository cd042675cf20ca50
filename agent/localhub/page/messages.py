"""One message of a device, as the hub received it.

    GET /api/devices/DEVICE/messages/SEQUENCE

answers {"sequence", "received", "size", "system", "properties", "text", "hex"}: ``size`` of the body in
bytes, ``system`` and ``properties`` the system's and the sender's own. A body that is text (UTF-8 without
control characters other than line ends and tabs) is in ``text``, any other in ``hex``; the other of the two
is null.
404: there is no such device or message.
"""

from __future__ import annotations

import asyncio
import re

from aiohttp import web

from ..records import Event
from .calls import answered
from .source import Hub
from .wire import milliseconds

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def install(app: web.Application, hub: Hub) -> None:
    """Serve the messages of ``hub``."""

    async def show(request: web.Request) -> web.Response:
        device_id, sequence = request.match_info["device"], int(request.match_info["sequence"])
        event = await asyncio.to_thread(_event, hub, device_id, sequence)
        if event is None:
            raise web.HTTPNotFound(text=f"no message {sequence} of {device_id!r}")
        return web.json_response(_raw(event))

    app.router.add_get(r"/api/devices/{device}/messages/{sequence:[0-9]{1,18}}", answered(show))


def _event(hub: Hub, device_id: str, sequence: int) -> Event | None:
    hub.store.registry.get(device_id)
    found = hub.store.events.after(sequence - 1, device_id, 1)
    return found[0] if found and found[0].sequence == sequence else None


def _raw(event: Event) -> dict[str, object]:
    text = _readable(event.body)
    return {
        "sequence": event.sequence,
        "received": milliseconds(event.enqueued_s),
        "size": len(event.body),
        "system": dict(event.system),
        "properties": dict(event.properties),
        "text": text,
        "hex": event.body.hex() if text is None else None,
    }


def _readable(body: bytes) -> str | None:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return None if _CONTROL.search(text) else text
