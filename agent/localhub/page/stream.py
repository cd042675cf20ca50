"""The push stream: one JSON object a line, first a snapshot, then what happens.

Kinds of lines: ``snapshot`` {devices, messages, items, commands, faults}, ``devices`` {devices} (also every
15 s, as a sign of life), ``message`` {message}, ``item`` {item} (what a message carries), ``twin`` {device}
(it is another now: ask for it), ``command`` {command}, ``faults`` {faults} (those that are on, in words).

Invariants:
1. Nothing that is stored after the snapshot was taken is left out, and nothing is told twice: a message once,
   an object once though it may come in two messages.
2. No key and no connection string is ever told.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

from ..notices import C2dChanged, EventStored, FaultsChanged, MethodChanged, Missed, TwinChanged
from .source import Hub
from .wire import (
    Deduplicator,
    Item,
    call_of,
    command_of,
    device_of,
    items_of,
    message_of,
    newest,
    newest_messages,
)

BEAT_S = 15.0
_CAPACITY = 1000
_EVENTS_PER_DEVICE = 2000
_EVENTS = 20_000
_COMMANDS_PER_DEVICE = 30


async def lines(hub: Hub, beat_s: float = BEAT_S) -> AsyncGenerator[bytes, None]:
    """The lines for one reader. Ends when the reader was too slow: it then asks again and gets a snapshot."""
    subscription = hub.subscribe(_CAPACITY)
    once = Deduplicator()
    try:
        snapshot, last = await asyncio.to_thread(_snapshot, hub, once)
        yield _line(snapshot)
        while True:
            try:
                async with asyncio.timeout(beat_s):
                    notice = await subscription.get()
            except TimeoutError:
                notice = None
            if isinstance(notice, Missed):
                return
            if isinstance(notice, EventStored):
                event = notice.event
                if event.sequence > last.get(event.device_id, 0):
                    items = items_of(event)
                    yield _line({"kind": "message", "message": message_of(event, items)})
                    for item in once.fresh(items):
                        yield _line({"kind": "item", "item": item})
            elif isinstance(notice, C2dChanged):
                yield _line({"kind": "command", "command": command_of(notice.message)})
            elif isinstance(notice, MethodChanged):
                yield _line({"kind": "command", "command": call_of(notice.call)})
            elif isinstance(notice, TwinChanged):
                yield _line({"kind": "twin", "device": notice.device_id})
            elif isinstance(notice, FaultsChanged):
                yield _line({"kind": "faults", "faults": _faults(hub)})
            else:
                yield _line({"kind": "devices", "devices": await asyncio.to_thread(_devices, hub)})
    finally:
        subscription.close()


def _devices(hub: Hub) -> list[Item]:
    return [device_of(status.device, status.connected) for status in hub.devices()]


def _faults(hub: Hub) -> list[str]:
    return [str(fault) for fault in hub.faults.active()]


def _snapshot(hub: Hub, once: Deduplicator) -> tuple[dict[str, Any], dict[str, int]]:
    """The first line, and the sequence number of the last event of each device in it."""
    devices = _devices(hub)
    limit = min(_EVENTS_PER_DEVICE, _EVENTS // max(1, len(devices)))
    last: dict[str, int] = {}
    items: list[Item] = []
    received: list[Item] = []
    commands: list[Item] = []
    for device_id in (str(device["id"]) for device in devices):
        messages = hub.store.c2d.latest(device_id, _COMMANDS_PER_DEVICE)
        events = hub.store.events.latest(device_id, limit)
        carried = [items_of(event) for event in events]
        items += newest(once.fresh(item for found in carried for item in found))
        received += newest_messages(map(message_of, events, carried))
        if events:
            last[device_id] = events[-1].sequence
        # the outcomes of older commands are not at hand, and "no outcome" would be wrong
        since_s = events[0].enqueued_s if len(events) == limit else 0.0
        commands += [command_of(m) for m in messages if m.enqueued_s >= since_s or m.state == "queued"]
        commands += [call_of(call) for call in hub.method_calls(device_id)[-_COMMANDS_PER_DEVICE:]]
    snapshot = {
        "devices": devices,
        "messages": received,
        "items": items,
        "commands": commands,
        "faults": _faults(hub),
    }
    return {"kind": "snapshot"} | snapshot, last


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"
