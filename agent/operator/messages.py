"""A message to a device (C2D), what became of it, and when to stop waiting for that.

https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-messages-c2d
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from .errors import BadMessage
from .events import Event

MAX_BYTES = 65_536
MAX_EXPIRY_S = 2 * 86_400.0
SUCCESS = "Success"

Ack = Literal["none", "positive", "negative", "full"]


@dataclass(frozen=True, slots=True)
class C2dMessage:
    """``expires_s``: from its sending; ``ack``: which feedback the hub is asked for."""

    device_id: str
    body: bytes
    message_id: str
    correlation_id: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    expires_s: float = 60.0
    ack: Ack = "none"

    def __post_init__(self) -> None:
        """Raises BadMessage for what a hub would not take."""
        for what, value in (("message id", self.message_id), ("correlation id", self.correlation_id)):
            if value is not None and not (0 < len(value) <= 128 and value.isascii() and value.isprintable()):
                raise BadMessage(f"{what} {value!r}: expected 1 to 128 printable ASCII characters")
        if not 0 < self.expires_s <= MAX_EXPIRY_S:
            raise BadMessage(f"expiry {self.expires_s:g} s: expected above 0, at most {MAX_EXPIRY_S:g}")
        words = [self.message_id, self.correlation_id or "", *self.properties, *self.properties.values()]
        size = len(self.body) + sum(len(word.encode()) for word in words)
        if size > MAX_BYTES:
            raise BadMessage(f"body and properties are {size} bytes, at most {MAX_BYTES}")

    @property
    def command_ids(self) -> tuple[str, ...]:
        """By one of which the device's outcome calls it: the message id, where the body or its ``id`` will
        not do, else that ``id``. Only the device knows which."""
        content = _json(self.body)
        given = content.get("id") if isinstance(content, dict) else None
        if not isinstance(given, str) or given in ("", self.message_id):
            return (self.message_id,)
        return (self.message_id, given)


@dataclass(frozen=True, slots=True)
class FeedbackRecord:
    """What the hub says became of a message. ``status_code`` as Azure spells it: Success, Expired,
    DeliveryCountExceeded, Rejected, Purged."""

    message_id: str
    device_id: str
    status_code: str
    description: str
    enqueued_time: str
    generation_id: str

    def is_of(self, message: C2dMessage) -> bool:
        return (self.message_id, self.device_id) == (message.message_id, message.device_id)

    def as_json(self) -> dict[str, Any]:
        """By Azure's names."""
        return {
            "originalMessageId": self.message_id,
            "deviceId": self.device_id,
            "statusCode": self.status_code,
            "description": self.description,
            "enqueuedTimeUtc": self.enqueued_time,
            "deviceGenerationId": self.generation_id,
        }


@dataclass(frozen=True, slots=True)
class Feedback:
    """A feedback message: up to 64 records, settled together by what its link calls it."""

    records: tuple[FeedbackRecord, ...]
    delivery_id: int
    tag: bytes


def feedback_records(body: bytes) -> list[FeedbackRecord]:
    """The records of a feedback message; what is none is left out."""
    content = _json(body)
    return [
        FeedbackRecord(
            _text(item, "originalMessageId"),
            _text(item, "deviceId"),
            _text(item, "statusCode") or _text(item, "description"),
            _text(item, "description"),
            _text(item, "enqueuedTimeUtc"),
            _text(item, "deviceGenerationId"),
        )
        for item in (content if isinstance(content, list) else [content])
        if isinstance(item, dict)
    ]


def outcome_in(event: Event, device_id: str, command_ids: Sequence[str]) -> dict[str, Any] | None:
    """The outcome of that command, if ``event`` has it: by its ``commandId``, else by the correlation id.
    Of several the one with the first of these ids."""
    if event.device_id != device_id:
        return None
    content = _json(event.body)
    objects = [o for o in (content if isinstance(content, list) else [content]) if isinstance(o, dict)]
    for command_id in command_ids:
        for item in objects:
            if item.get("commandId") == command_id and "status" in item:
                return item
    if len(objects) == 1 and "commandId" not in objects[0] and "status" in objects[0]:
        return objects[0] if event.system.get("correlation-id") in command_ids else None
    return None


@dataclass(frozen=True, slots=True)
class Fate:
    """The three stages of a message: taken by the hub, delivered, done by the device; None while unknown."""

    taken: bool = False
    feedback: FeedbackRecord | None = None
    outcome: Mapping[str, Any] | None = None

    def with_feedback(self, record: FeedbackRecord, message: C2dMessage) -> Fate:
        return replace(self, feedback=record) if self.feedback is None and record.is_of(message) else self

    def with_event(self, event: Event, message: C2dMessage) -> Fate:
        found = outcome_in(event, message.device_id, message.command_ids) if self.outcome is None else None
        return self if found is None else replace(self, outcome=found)

    @property
    def settled(self) -> bool:
        """Nothing more will come: all is known, or it was not delivered."""
        if self.feedback is None:
            return False
        return self.outcome is not None or self.feedback.status_code != SUCCESS

    @property
    def good(self) -> bool:
        """Taken, delivered and done."""
        return (
            self.taken
            and self.feedback is not None
            and self.feedback.status_code == SUCCESS
            and self.outcome is not None
            and self.outcome.get("status") == "done"
        )

    @property
    def missing(self) -> str:
        """What has not come yet, in words."""
        waits = []
        if self.feedback is None:
            waits.append("the hub's feedback")
        if self.outcome is None:
            waits.append("the device's outcome")
        return " and ".join(waits)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _text(item: Mapping[str, Any], name: str) -> str:
    value = item.get(name)
    return "" if value is None else str(value)
