"""Rows -> messages: one object each, or arrays that fill a metering unit and never exceed it.

IoT Hub meters messages by 4 KB begun (0.5 KB on the free tier), so arrays are what makes a backlog cheap, and
fast on a slow link: a window of arrays carries ten times the readings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from .reading import Message, Row, build_body, build_message
from .timekeeping import BootClock

Batching = Literal["object", "auto", "array"]

METERING_UNIT_BYTES = {"F1": 512, "S1": 4096, "S2": 4096, "S3": 4096}
"""By tier: https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-quotas-throttling"""

_MOST_ROWS = 32  # more do not fit into a unit

Sendable = tuple[Message, list[Row]]
"""A message and the rows in it."""


class Batcher:
    """Makes the next messages of what waits. Thread safety: one thread at a time."""

    def __init__(
        self,
        mode: Batching,
        unit_bytes: int,
        device_id: str,
        properties: Mapping[str, str],
    ) -> None:
        """``mode``: "object", one row a message; "array", as many as fit; "auto", arrays for a backlog."""
        self._mode = mode
        self._unit_bytes = unit_bytes
        self._device_id = device_id
        self._properties = dict(properties)
        self._offer = _MOST_ROWS

    def most_rows(self, messages: int) -> int:
        """How many rows to offer to ``build`` where so many messages may be sent."""
        return messages if self._mode == "object" else self._offer

    def build(
        self, rows: Sequence[Row], messages: int, boot_clock: Callable[[str], BootClock]
    ) -> tuple[list[Sendable], list[Row]]:
        """(up to so many next messages, the rows left over) of at least one row.

        An array holds rows of one run and type whose properties are equal. A row that exceeds a metering
        unit by itself goes alone, at its cost.
        """
        backlog = len(rows) >= self._offer
        if self._mode == "object" or (self._mode == "auto" and not backlog):
            return [self.alone(row, boot_clock) for row in rows[:messages]], [*rows[messages:]]
        array, inside, looked_at = self._array(rows, boot_clock)
        if backlog:  # next time it is offered what fitted, and one or two more: little is left over
            self._offer = min(looked_at + (1 if looked_at < len(rows) else 2), _MOST_ROWS)
        ids = {row.object_id for row in inside}
        return [(array, inside)], [row for row in rows if row.object_id not in ids]

    def alone(self, row: Row, boot_clock: Callable[[str], BootClock]) -> Sendable:
        """A row as a message of its own."""
        return self._message(row, boot_clock), [row]

    def _message(self, row: Row, boot_clock: Callable[[str], BootClock]) -> Message:
        return build_message(row, self._device_id, boot_clock(row.boot_id), self._properties)

    def _array(
        self, rows: Sequence[Row], boot_clock: Callable[[str], BootClock]
    ) -> tuple[Message, list[Row], int]:
        """An array of the first row and those that go into one unit with it, and how many were looked at."""
        first = self._message(rows[0], boot_clock)
        inside, bodies, kind = [rows[0]], [first.body], _kind(rows[0])
        # the id of an array names its first and last row: no longer than two of the longest
        size = metered_bytes(first) + len("[]..") + max(len(row.object_id) for row in rows)
        looked_at = 1
        for row in rows[1:]:
            if _kind(row) == kind:
                body = build_body(row, self._device_id, boot_clock(row.boot_id))
                size += len(body) + 1
                if size > self._unit_bytes:
                    break
                inside.append(row)
                bodies.append(body)
            looked_at += 1
        if len(inside) == 1 and metered_bytes(first) <= self._unit_bytes < metered_bytes(first) + len("[]"):
            return first, inside, looked_at  # the brackets would be billed as a message
        last = inside[-1].object_id
        array = replace(
            first,
            body=b"[" + b",".join(bodies) + b"]",
            message_id=first.message_id if len(inside) == 1 else f"{first.message_id}..{last}",
        )
        return array, inside, looked_at


def _kind(row: Row) -> tuple[object, ...]:
    """What is equal in all rows of an array: they share a message's properties."""
    entry = row.entry
    return row.run, entry.kind, entry.simulated, entry.calibration, entry.correlation_id


def metered_bytes(message: Message) -> int:
    """What the hub meters: the body, and names and values of all properties, the system's too."""
    system = {
        "$.mid": message.message_id,
        "$.cid": message.correlation_id,
        "$.ct": message.content_type,
        "$.ce": message.content_encoding,
    }
    named = {**message.properties, **{name: value for name, value in system.items() if value is not None}}
    return len(message.body) + sum(len(name.encode()) + len(value.encode()) for name, value in named.items())
