"""Rows -> messages: one object each, or arrays that fill a metering unit and never exceed it.

IoT Hub meters messages by 4 KB begun (0.5 KB on the free tier), so arrays are what makes a backlog cheap, and
fast on a slow link: a window of arrays carries ten times the readings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

from .reading import Message, Row, build_message
from .timekeeping import BootClock

Batching = Literal["object", "auto", "array"]

METERING_UNIT_BYTES = {"F1": 512, "S1": 4096, "S2": 4096, "S3": 4096}
"""By tier: https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-quotas-throttling"""

_MOST_ROWS = 32  # more do not fit into a unit


class Batcher:
    """Makes the next message of what waits. Thread safety: any thread (it keeps nothing)."""

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

    @property
    def most_rows(self) -> int:
        """How many rows to offer to ``build``."""
        return 1 if self._mode == "object" else _MOST_ROWS

    def build(
        self, rows: Sequence[Row], boot_clock: Callable[[str], BootClock]
    ) -> tuple[Message, list[Row], list[Row]]:
        """(the next message, the rows in it, the rows left over) of at least one row.

        An array holds rows of one run and type whose properties are equal. A row that exceeds a metering
        unit by itself goes alone, at its cost.
        """
        backlog = len(rows) >= self.most_rows
        if self._mode == "object" or (self._mode == "auto" and not backlog):
            return self._message(rows[0], boot_clock), [rows[0]], list(rows[1:])
        chosen = [*self._fitting(rows, boot_clock)]
        inside = [row for row, _ in chosen]
        ids = {row.object_id for row in inside}
        return _array([m for _, m in chosen]), inside, [row for row in rows if row.object_id not in ids]

    def _message(self, row: Row, boot_clock: Callable[[str], BootClock]) -> Message:
        return build_message(row, self._device_id, boot_clock(row.boot_id), self._properties)

    def _fitting(
        self, rows: Sequence[Row], boot_clock: Callable[[str], BootClock]
    ) -> Iterator[tuple[Row, Message]]:
        """The first row, and those after it that go with it into one unit."""
        first = self._message(rows[0], boot_clock)
        yield rows[0], first
        # the id of an array names its first and last row: no longer than two of the longest
        size = metered_bytes(first) + len("[]..") + max(len(row.object_id) for row in rows)
        for row in rows[1:]:
            message = self._message(row, boot_clock)
            alike = row.run == rows[0].run and (message.properties, message.correlation_id) == (
                first.properties,
                first.correlation_id,
            )
            if not alike:
                continue
            size += len(message.body) + 1
            if size > self._unit_bytes:
                return
            yield row, message


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


def _array(messages: Sequence[Message]) -> Message:
    first, last = messages[0], messages[-1]
    return Message(
        body=b"[" + b",".join(m.body for m in messages) + b"]",
        message_id=first.message_id if first is last else f"{first.message_id}..{last.message_id}",
        correlation_id=first.correlation_id,
        properties=first.properties,
    )
