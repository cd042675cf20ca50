"""A device's twin, as the page shows and edits it.

    GET /api/devices/DEVICE/twin    {"etag", "version", "tags", "desired", "reported"}
    PUT /api/devices/DEVICE/twin    {"tags": {…}, "desired": {…}}, with the ETag that was edited as If-Match

In the answer to both, ``tags``, ``desired`` and ``reported`` are {"text", "version"}: JSON as text, because a
browser's numbers would change some. A PUT says how tags and desired properties (as far as given) are to be;
only what differs is changed, and the device is told of that. An error is one line: 400 what is wrong, 404
unknown device, 412 the twin was changed since that ETag.
"""

from __future__ import annotations

import asyncio
import json

from aiohttp import web

from ..records import InvalidRequest, PreconditionFailed
from ..twin_rules import Json, checked
from ..twins import Twin
from .calls import Form, answered, form
from .source import Hub


def install(app: web.Application, hub: Hub) -> None:
    """Serve the twins of ``hub``."""

    async def show(request: web.Request) -> web.Response:
        return _answer(await asyncio.to_thread(hub.store.twins.get, request.match_info["device"]))

    async def edit(request: web.Request) -> web.Response:
        etag = request.headers.get("If-Match", "").strip().strip('"')
        if not etag:
            raise InvalidRequest(
                "the header If-Match is missing: expected the ETag of the twin that was edited"
            )
        wanted = form(await request.read(), ("tags", "desired"))
        return _answer(await asyncio.to_thread(_edit, hub, request.match_info["device"], etag, wanted))

    app.router.add_get("/api/devices/{device}/twin", answered(show))
    app.router.add_put("/api/devices/{device}/twin", answered(edit))


def changes(before: Json, after: Json) -> Json | None:
    """The least patch that makes ``after`` of ``before`` (null removes), None if they are the same.

    A null in ``after`` stands for what is not there.
    """
    wanted = {name: value for name, value in after.items() if value is not None}
    patch: Json = {name: None for name in before if name not in wanted}
    for name, value in wanted.items():
        old = before.get(name)
        if isinstance(old, dict) and isinstance(value, dict):
            inner = changes(old, value)
            if inner is not None:
                patch[name] = inner
        elif name not in before or _text(old) != _text(value):
            patch[name] = value
    return patch or None


def _edit(hub: Hub, device_id: str, etag: str, wanted: Form) -> Twin:
    twin = hub.store.twins.get(device_id)
    if etag != twin.etag:
        raise PreconditionFailed(f"the twin of {device_id!r} was changed meanwhile")
    tags = _patch(twin.tags, wanted.get("tags"), "tags")
    desired = _patch(twin.desired.values, wanted.get("desired"), "desired properties")
    if tags is None and desired is None:
        return twin
    return hub.identities.update_twin(device_id, tags=tags, desired=desired, if_match=etag)


def _patch(before: Json, after: object, what: str) -> Json | None:
    return None if after is None else changes(before, checked(after, what))


def _answer(twin: Twin) -> web.Response:
    content = {
        "etag": twin.etag,
        "version": twin.version,
        "tags": {"text": _text(twin.tags, 2), "version": None},
        "desired": {"text": _text(twin.desired.values, 2), "version": twin.desired.version},
        "reported": {"text": _text(twin.reported.values, 2), "version": twin.reported.version},
    }
    return web.json_response(content, headers={"ETag": f'"{twin.etag}"'})


def _text(value: object, indent: int | None = None) -> str:
    return json.dumps(value, indent=indent, sort_keys=indent is None, ensure_ascii=False)
