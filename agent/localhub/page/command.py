"""What the page's form may send, checked by hand."""

from __future__ import annotations

import json
from typing import Any

from ..records import InvalidRequest

_MAX_NAME = 64
_MAX_NUMBER = 1e9
_KEYS = {"actuator", "value", "for"}


def command_body(content: bytes) -> bytes:
    """The body of the message to the device, from a JSON object with ``actuator``, ``value`` and ``for``.

    ``value``: true, false or a number; ``for``: seconds, or null for "until told otherwise". Whether the
    device knows the actuator and allows the value is its own business. Raises InvalidRequest.
    """
    try:
        form = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("the body is not JSON") from error
    if not isinstance(form, dict):
        raise InvalidRequest("expected a JSON object")
    if unknown := sorted(form.keys() - _KEYS):
        raise InvalidRequest(f"unknown key {unknown[0]!r}; expected actuator, value, for")
    if missing := sorted({"actuator", "value"} - form.keys()):
        raise InvalidRequest(f"{missing[0]} is missing")
    command = {"command": "set", "actuator": _actuator(form["actuator"]), "value": _value(form["value"])}
    if (seconds := form.get("for")) is not None:
        command["for"] = _seconds(seconds)
    return json.dumps(command, ensure_ascii=False).encode()


def _actuator(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_NAME or not value.isprintable():
        raise InvalidRequest(f"actuator: expected a name of 1 to {_MAX_NAME} printable characters")
    return value


def _value(value: Any) -> bool | float:
    if isinstance(value, bool):
        return value
    if not _is_number(value):
        raise InvalidRequest("value: expected true, false or a number")
    return float(value) if isinstance(value, float) else int(value)


def _seconds(value: Any) -> float:
    if not _is_number(value) or value <= 0:
        raise InvalidRequest("for: expected a number of seconds greater than 0, or null")
    return float(value) if isinstance(value, float) else int(value)


def _is_number(value: Any) -> bool:
    # the comparison also refuses NaN, Infinity and integers of a thousand digits
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _MAX_NUMBER
