"""What leaves the agent: entries before they are stored, rows once they are, messages as they travel.

The wire format is one JSON object a row: a head (deviceId, sensor, run, sequence, time, timeQuality) and
the row's own body. ``time`` is computed when the message is built, because the clock may have been
corrected since the row was stored.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .timekeeping import BootClock

SCHEMA = "1"
Kind = Literal["reading", "outcome", "event"]


@dataclass(frozen=True, slots=True)
class Entry:
    """Something to be stored and sent.

    ``boot_time_s``: when it happened, CLOCK_BOOTTIME seconds of this boot. ``body``: the fields after the
    head. ``key``: an entry whose key is stored already is the same entry and is not stored again.
    ``urgent``: leaves before what waits.
    """

    kind: Kind
    boot_time_s: float
    body: Mapping[str, Any]
    simulated: bool = False
    calibration: str | None = None
    correlation_id: str | None = None
    key: str | None = None
    urgent: bool = False


def object_id(run: str, sequence: int) -> str:
    """How a row is named to the outside: its run and its number."""
    return f"{run}-{sequence}"


@dataclass(frozen=True, slots=True)
class Row:
    """A stored entry, with the boot and the run of the process that made it."""

    sequence: int
    run: str
    boot_id: str
    entry: Entry

    @property
    def object_id(self) -> str:
        """Unique over everything a device ever sends; consumers drop duplicates by it."""
        return object_id(self.run, self.sequence)


@dataclass(frozen=True, slots=True)
class Message:
    """A device-to-cloud message: UTF-8 JSON and its properties."""

    body: bytes
    message_id: str
    correlation_id: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    content_encoding: str = "utf-8"


def build_message(row: Row, device_id: str, boot_clock: BootClock, properties: Mapping[str, str]) -> Message:
    """``row`` as it goes over the wire. ``properties`` are the user's; the agent's own names win."""
    entry = row.entry
    body = dict(entry.body)
    head: dict[str, Any] = {"deviceId": device_id}
    if "sensor" in body:
        head["sensor"] = body.pop("sensor")
    head |= {
        "run": row.run,
        "sequence": row.sequence,
        "time": boot_clock.time_text(entry.boot_time_s),
        "timeQuality": boot_clock.quality,
    }
    return Message(
        body=json_text(head | body | head).encode(),  # the head leads, and its names cannot be taken
        message_id=row.object_id,
        correlation_id=sound(entry.correlation_id),
        properties=message_properties(entry, properties),
    )


def message_properties(entry: Entry, properties: Mapping[str, str]) -> dict[str, str]:
    """The application properties of ``entry``'s message. ``properties`` are the user's; our names win."""
    own = {"schema": SCHEMA, "type": entry.kind}
    if entry.simulated:
        own["simulated"] = "true"
    if entry.calibration:
        own["calibration"] = entry.calibration
    return {**properties, **own}


def json_text(body: Mapping[str, Any]) -> str:
    """``body`` as JSON that can be stored and sent whatever is in it, so that no row ever blocks the queue.

    A number that JSON does not know (NaN, infinity) is null; half a surrogate pair is a question mark.
    """
    try:
        text = json.dumps(dict(body), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_finite(body), ensure_ascii=False, separators=(",", ":"))
    return _sound(text)


def sound(text: str | None) -> str | None:
    """``text`` as UTF-8 can carry it: half a surrogate pair is a question mark."""
    return None if text is None else _sound(text)


def _sound(text: str) -> str:
    return text.encode(errors="replace").decode()


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
