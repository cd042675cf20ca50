"""What a cloud-to-device message or a direct method must look like to be a command. Pure.

Checked here: the form. Whether the actuator exists, the value fits and the time is right is the executor's.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hw.actuator import Value
from hw.settings import did_you_mean

MAX_BODY_BYTES = 65536  # IoT Hub's limit for cloud-to-device messages
MAX_NAME = 128  # characters of an id, as IoT Hub limits message_id, and of an actuator's name
PULSE_S = 1.0
"""How long a pulse is that does not say."""

_COMMON = {"command", "id", "expires"}
_KEYS = {
    "set": {"actuator", "value", "for"},
    "pulse": {"actuator", "value", "for"},
    "stop": {"actuator"},
    "stop-all": set(),
    "hold": {"for"},
    "release": set(),
    "ping": set(),
}
"""What each command takes, beside what they have in common."""

_ALWAYS = ("stop", "stop-all")  # obeyed whatever else stands there

METHOD = "command"
"""The direct method whose payload names the command itself."""

STATUS = "status"
"""The direct method that is no command."""

UNKNOWN_METHOD = "unknown-method"


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
    """A command in order; what it does not have is None.

    ``digest`` is equal for bodies that say the same. ``expires_s``: Unix time from the body. ``flaw``: what
    is wrong with its id or its expiry, which what goes towards safe has no need of.
    """

    name: str
    digest: str
    actuator: str | None = None
    value: Value | None = None
    for_s: float | None = None
    command_id: str | None = None
    expires_s: float | None = None
    flaw: str | None = None


def parse(body: bytes) -> Command:
    """The command in ``body``. Raises BadCommand, and nothing else, whatever the bytes are."""
    document = _document(body)
    command_id = as_name(document.get("id"))
    try:
        return _command(document, command_id)
    except BadCommand as bad:
        bad.command_id = command_id
        raise


def method_body(name: str, payload: bytes) -> bytes:
    """The body of the message that says what direct method ``name`` does. Raises BadCommand."""
    unknown = name not in (METHOD, *_KEYS)
    try:
        document = {} if payload.strip() in (b"", b"null") else _document(payload)
    except BadCommand:
        if not unknown:
            raise
        document = {}
    command_id = as_name(document.get("id"))
    if unknown:
        close = did_you_mean(name, [*_KEYS, METHOD, STATUS])
        raise BadCommand(f"{UNKNOWN_METHOD}: {_short(name)}{close}", command_id)
    # nothing of a command is nested: what is, however deep, is judged as an empty array is
    document = {key: [] if isinstance(value, (dict, list)) else value for key, value in document.items()}
    if name != METHOD and (other := document.setdefault("command", name)) != name:
        wrong = f"bad-command: the method is {name!r}, and its payload says {_shown(other)}"
        raise BadCommand(wrong, command_id)
    return json.dumps(document).encode()


def _command(document: Mapping[str, Any], command_id: str | None) -> Command:
    if "command" not in document:
        raise BadCommand('not-a-command: expected {"command": "set", "actuator": …, "value": …}')
    name = document["command"]
    if not isinstance(name, str) or name not in _KEYS:
        close = did_you_mean(name, _KEYS) if isinstance(name, str) else f" (known: {', '.join(_KEYS)})"
        raise BadCommand(f"unknown-command: {_shown(name)}{close}")
    keys = _KEYS[name] | _COMMON
    if name in _ALWAYS:
        document = {key: document[key] for key in document.keys() & keys}
    for key in document:
        if key not in keys:
            raise BadCommand(f"unknown-key: {_short(key)}{did_you_mean(key, keys)}")
    actuator = as_name(document.get("actuator"))
    if "actuator" in keys and actuator is None:
        raise BadCommand("bad-actuator: expected the name of an actuator")
    value = document.get("value")
    if not isinstance(value, (bool, float)) and (name == "set" or value is not None):
        raise BadCommand("bad-value: expected true, false or a number")
    for_s = document.get("for")
    if for_s is not None and not (isinstance(for_s, float) and for_s > 0):
        raise BadCommand("bad-for: expected a number of seconds greater than 0")
    if name == "pulse" and for_s is None:
        for_s = PULSE_S
    raw_id, expires, flaw = document.get("id"), document.get("expires"), None
    expires_s = parse_time(expires) if isinstance(expires, str) else None
    if raw_id is not None and command_id is None:
        flaw = f"bad-id: expected a text of 1 to {MAX_NAME} printable characters"
    elif expires is not None and expires_s is None:
        flaw = "bad-expires: expected a time in UTC, such as 2026-11-20T17:34:00Z"
    flat = {key: value for key, value in document.items() if not isinstance(value, (dict, list))}
    return Command(name, digest(flat), actuator, value, for_s, command_id, expires_s, flaw)


def digest(document: Mapping[str, Any] | bytes) -> str:
    """Names a body: of JSON what it says, not how it is spelt; of anything else its bytes."""
    if not isinstance(document, bytes):
        document = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(document).hexdigest()[:32]


def parse_time(text: str) -> float | None:
    """ISO 8601 as Unix time, or None. Without an offset it is UTC, as the hub writes it."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _document(body: bytes) -> dict[str, Any]:
    """The JSON object in ``body``, its numbers all floats. Raises BadCommand."""
    document = _json(body)
    if not isinstance(document, dict):
        raise BadCommand("not-a-command: expected a JSON object")
    return document


def _json(body: bytes) -> Any:
    if len(body) > MAX_BODY_BYTES:
        raise BadCommand(f"too-large: {len(body)} bytes, expected at most {MAX_BODY_BYTES}")
    try:
        return json.loads(
            body.decode(),
            object_pairs_hook=_object,
            parse_int=_number,
            parse_float=_number,
            parse_constant=_constant,
        )
    except UnicodeDecodeError as error:
        raise BadCommand(f"not-utf-8: byte {error.start}") from error
    except RecursionError as error:
        raise BadCommand("too-deep: expected a flat JSON object") from error
    except ValueError as error:
        raise BadCommand(f"not-json: {error}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for name, value in pairs:
        if name in document:
            raise BadCommand(f"duplicate-key: {_short(name)}")
        document[name] = value
    return document


def _number(digits: str) -> float:
    """As float, however many digits: 1 and 1.0 say the same, and so do 0 and -0."""
    number = float(digits) + 0.0
    if not math.isfinite(number):
        raise BadCommand("number-too-large: expected at most 1.8e308")
    return number


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def as_name(value: object) -> str | None:
    """``value`` if it can be stored, logged and sent as a name, else None."""
    return value if isinstance(value, str) and 0 < len(value) <= MAX_NAME and value.isprintable() else None


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")


def _shown(value: object) -> str:
    return _short(value) if isinstance(value, str) else "what is no text"
