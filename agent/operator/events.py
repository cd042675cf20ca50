"""What devices sent (D2C), as the hub hands it on, and from where on to read it."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

Start = Literal["start", "now"] | datetime
"""Everything the hub still has; what comes from now on; what was enqueued after a time."""


@dataclass(frozen=True, slots=True)
class Event:
    """``sequence`` rises within ``partition``. ``system``: properties of the message and the hub's
    annotations, by their AMQP names; ``properties``: the sender's own. ``enqueued``: when the hub took it."""

    device_id: str
    partition: str
    sequence: int
    offset: str
    enqueued: datetime | None
    body: bytes
    system: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """``body`` is JSON where it is JSON, else text, else ``bodyBase64``."""
        found = {
            "deviceId": self.device_id,
            "enqueuedTime": _iso(self.enqueued),
            "partition": self.partition,
            "sequenceNumber": self.sequence,
            "offset": self.offset,
            **_body(self.body),
        }
        return {
            **found,
            "properties": {str(name): _plain(value) for name, value in self.properties.items()},
            "systemProperties": {str(name): _plain(value) for name, value in self.system.items()},
        }

    def as_text(self, *, props: bool = False) -> str:
        """One line, with ``props`` one more for each property; nothing in it commands a terminal."""
        body = _body(self.body).get("bodyBase64")
        text = f"<{len(self.body)} bytes> {body}" if body is not None else self.body.decode()
        lines = [f"{_iso(self.enqueued) or '-':24}  {self.device_id}  {text}"]
        if props:
            lines += [f"    {name} = {_plain(value)}" for name, value in self.properties.items()]
            lines += [f"    [{name}] = {_plain(value)}" for name, value in sorted(self.system.items())]
        return "\n".join(printable(line) for line in lines)


def event_of(partition: str, raw: Any) -> Event:
    """``raw``: an EventData; its names and texts may be bytes."""
    system = {_word(name): _word(value) for name, value in raw.system_properties.items()}
    own = {_word(name): _word(value) for name, value in (raw.properties or {}).items()}
    return Event(
        str(system.get("iothub-connection-device-id", "")),
        partition,
        int(raw.sequence_number or 0),
        str(_word(raw.offset or "")),
        raw.enqueued_time,
        data_of(raw.body),
        system,
        own,
    )


def data_of(data: Any) -> bytes:
    """The data sections of a message in one; of a message with a value of AMQP's, that as text."""
    if isinstance(data, bytes):
        return data
    try:
        return b"".join(data or ())
    except TypeError:
        return str(data).encode()


def start_of(text: str, now: datetime) -> Start:
    """``now``, ``start``, seconds ago, or a time in ISO 8601 (UTC if it does not say). Raises ValueError."""
    if text == "start":
        return "start"
    if text == "now":
        return "now"
    try:
        seconds = float(text)
    except ValueError:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    if not (math.isfinite(seconds) and 0 <= seconds <= 7 * 86_400):
        raise ValueError("seconds ago: 0 to 604800 (a hub keeps seven days at most)")
    return now - timedelta(seconds=seconds)


def printable(text: str) -> str:
    """``text`` without control characters: what a device sends must not command a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _body(body: bytes) -> dict[str, Any]:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return {"bodyBase64": base64.b64encode(body).decode()}
    try:
        return {"body": json.loads(text, parse_constant=_refused)}
    except (ValueError, RecursionError):
        return {"body": text}


def _refused(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _plain(value: Any) -> Any:
    """Something that JSON has."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, datetime):
        return _iso(value)
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def _iso(time: datetime | None) -> str | None:
    if time is None:
        return None
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _word(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
