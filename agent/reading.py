"""What leaves the agent: entries before they are stored, rows once they are, messages as they travel.

The wire format is one JSON object a row: a head (deviceId, sensor, run, sequence, time, timeQuality) and
the row's own body. ``time`` is computed when the message is built, because the clock may have been
corrected since the row was stored.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from .timekeeping import BootClock

SCHEMA = "1"
_HEAD = frozenset({"deviceId", "run", "sequence", "time", "timeQuality"})
_SENSOR = re.compile(r'\{"sensor":"(?:[^"\\]|\\.)*",')
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
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
    object_id: str = field(init=False, compare=False, repr=False)
    """Unique over everything a device ever sends; consumers drop duplicates by it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "object_id", object_id(self.run, self.sequence))  # asked for often


@dataclass(frozen=True, slots=True)
class Message:
    """A device-to-cloud message: UTF-8 JSON and its properties."""

    body: bytes
    message_id: str
    correlation_id: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    content_encoding: str = "utf-8"


class StoredBody(Mapping[str, Any]):
    """A body that stands in a store: JSON text, sent as it is, and parsed only when it is looked into."""

    __slots__ = ("_parsed", "text")

    def __init__(self, text: str) -> None:
        """``text``: of a JSON object, made by ``json_text``."""
        self.text = text
        self._parsed: dict[str, Any] | None = None

    def __getitem__(self, name: str) -> Any:
        if self._parsed is None:
            self._parsed = json.loads(self.text)
        return self._parsed[name]

    def __iter__(self) -> Iterator[str]:
        return iter(json.loads(self.text))

    def __len__(self) -> int:
        return len(json.loads(self.text))


def build_message(row: Row, device_id: str, boot_clock: BootClock, properties: Mapping[str, str]) -> Message:
    """``row`` as it goes over the wire. ``properties`` are the user's; the agent's own names win."""
    return Message(
        body=build_body(row, device_id, boot_clock),
        message_id=row.object_id,
        correlation_id=sound(row.entry.correlation_id),
        properties=message_properties(row.entry, properties),
    )


def build_body(row: Row, device_id: str, boot_clock: BootClock) -> bytes:
    """The JSON object of ``row``: the head leads, and its names cannot be taken."""
    rest = json_text(row.entry.body)
    start = f'{{"deviceId":{_quoted(device_id)},'
    if (sensor := _SENSOR.match(rest)) is not None:
        start, rest = start + rest[1 : sensor.end()], "{" + rest[sensor.end() :]
    head = (
        f'"run":{_quoted(row.run)},"sequence":{row.sequence},'
        f'"time":"{boot_clock.time_text(row.entry.boot_time_s)}","timeQuality":"{boot_clock.quality}"'
    )
    return (start + head + ("}" if rest == "{}" else "," + rest[1:])).encode()


@lru_cache(maxsize=64)
def _quoted(text: str) -> str:
    return _sound(_encode(text))


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

    A number that JSON does not know (NaN, infinity) is null; half a surrogate pair is a question mark; the
    names of the head are left out, for it has them.
    """
    if isinstance(body, StoredBody):
        return body.text
    own = {name: value for name, value in body.items() if name not in _HEAD}
    try:
        text = _encode(own)
    except ValueError:
        text = _encode(_finite(own))
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
