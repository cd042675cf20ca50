"""What the page's form may send, checked by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..records import InvalidRequest

_MAX_NAME = 64
_MAX_NUMBER = 1e9


@dataclass(frozen=True, slots=True)
class _Form:
    """The keys that a command must and may have beside its name."""

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


_COMMANDS: Mapping[str, _Form] = {
    "set": _Form(("actuator", "value"), ("for",)),
    "pulse": _Form(("actuator", "for")),
    "stop": _Form(("actuator",)),
    "stop-all": _Form(),
    "hold": _Form(optional=("for",)),
    "release": _Form(),
    "ping": _Form(),
}


def command_body(content: bytes) -> bytes:
    """The body of the message to the device, from a JSON object with ``command`` (``set`` if there is none)
    and what belongs to that command: ``actuator``, ``value``, ``for``.

    ``value``: true, false or a number; ``for``: seconds, or null for "until told otherwise". Whether the
    device knows the actuator and allows the value is its own business. Raises InvalidRequest.
    """
    try:
        form = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("the body is not JSON") from error
    if not isinstance(form, dict):
        raise InvalidRequest("expected a JSON object")
    name = form.pop("command", "set")
    if not isinstance(name, str) or name not in _COMMANDS:
        raise InvalidRequest(f"command: expected one of {', '.join(_COMMANDS)}")
    keys = _COMMANDS[name]
    given = {key: value for key, value in form.items() if value is not None or key not in keys.optional}
    allowed = keys.required + keys.optional
    if unknown := sorted(given.keys() - set(allowed)):
        raise InvalidRequest(f"unknown key {unknown[0][:60]!r}; {name} has {', '.join(allowed) or 'none'}")
    if missing := sorted(set(keys.required) - given.keys()):
        raise InvalidRequest(f"{missing[0]} is missing")
    command = {"command": name} | {key: _CHECKS[key](given[key]) for key in allowed if key in given}
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


_CHECKS: Mapping[str, Callable[[Any], object]] = {"actuator": _actuator, "value": _value, "for": _seconds}
