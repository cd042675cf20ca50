"""What a cloud-to-device message must look like to be a command. Pure.

Checked here: the form. Whether the actuator exists, the value fits and the time is right is the executor's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hw.actuator import Value
from hw.settings import did_you_mean

MAX_BODY_BYTES = 65536  # IoT Hub's limit for cloud-to-device messages
_MAX_DEPTH = 8
_MAX_ID = 128
_KEYS = {"command", "actuator", "value", "for", "id", "expires"}


class BadCommand(Exception):
    """This is no command. ``reason``: a word for programs, then what was expected for people.

    ``command_id``: the id it names, if it is that far in order.
    """

    def __init__(self, reason: str, command_id: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.command_id = command_id


@dataclass(frozen=True, slots=True)
class Command:
    """``set`` an actuator to a value, for ``for_s`` seconds if given.

    ``digest`` is equal for bodies that say the same. ``expires_s``: Unix time from the body, or None.
    """

    name: str
    actuator: str
    value: Value
    digest: str
    for_s: float | None = None
    command_id: str | None = None
    expires_s: float | None = None


def parse(body: bytes) -> Command:
    """The command in ``body``. Raises BadCommand."""
    document = _document(body)
    raw_id = document.get("id")
    command_id = raw_id if isinstance(raw_id, str) and 0 < len(raw_id) <= _MAX_ID else None

    def refuse(reason: str) -> BadCommand:
        return BadCommand(reason, command_id)

    if "command" not in document:
        raise refuse('not-a-command: expected {"command": "set", "actuator": …, "value": …}')
    if raw_id is not None and command_id is None:
        raise refuse(f"bad-id: expected a text of 1 to {_MAX_ID} characters")
    name = document["command"]
    if name != "set":
        raise refuse(f"unknown-command: {_short(name)}{did_you_mean(str(name), ['set'])}")
    for key in document:
        if key not in _KEYS:
            raise refuse(f"unknown-key: {_short(key)}{did_you_mean(key, _KEYS)}")
    actuator = document.get("actuator")
    if not isinstance(actuator, str):
        raise refuse("bad-actuator: expected the name of an actuator")
    value = document.get("value")
    if not isinstance(value, (bool, int, float)):
        raise refuse("bad-value: expected true, false or a number")
    for_s = document.get("for")
    if for_s is not None and (isinstance(for_s, bool) or not isinstance(for_s, (int, float)) or not for_s > 0):
        raise refuse("bad-for: expected a number of seconds greater than 0")
    expires = document.get("expires")
    if expires is not None and (not isinstance(expires, str) or parse_time(expires) is None):
        raise refuse("bad-expires: expected a time in UTC, such as 2026-11-20T17:34:00Z")
    return Command(
        name=name,
        actuator=actuator,
        value=value if isinstance(value, bool) else float(value),
        digest=digest(document),
        for_s=None if for_s is None else float(for_s),
        command_id=command_id,
        expires_s=None if expires is None else parse_time(expires),
    )


def digest(document: Mapping[str, Any] | bytes) -> str:
    """Names a body: of JSON what it says, not how it is spelt; of anything else its bytes."""
    if not isinstance(document, bytes):
        document = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(document).hexdigest()[:32]


def parse_time(text: str) -> float | None:
    """ISO 8601 as Unix time, or None. Without an offset it is UTC, as the hub writes it."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _document(body: bytes) -> dict[str, Any]:
    if len(body) > MAX_BODY_BYTES:
        raise BadCommand(f"too-large: {len(body)} bytes, expected at most {MAX_BODY_BYTES}")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise BadCommand(f"not-utf-8: byte {error.start}") from error
    if _depth(text) > _MAX_DEPTH:
        raise BadCommand(f"too-deep: expected at most {_MAX_DEPTH} levels")
    try:
        document = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except ValueError as error:
        reason = str(error)
        raise BadCommand(reason if reason.startswith("duplicate-key") else f"not-json: {reason}") from error
    if not isinstance(document, dict):
        raise BadCommand("not-a-command: expected a JSON object")
    return document


def _depth(text: str) -> int:
    """At least the nesting of ``text`` (brackets in strings count, which does no harm at this limit)."""
    depth = deepest = 0
    for character in text:
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"duplicate-key: {next(n for n in names if names.count(n) > 1)!r}")
    return document


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "…'"
