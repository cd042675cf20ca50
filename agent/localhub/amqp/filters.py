"""Where a reader of events wants to begin, as its selector says.

amqp.annotation.x-opt-offset > '-1'                      every event
amqp.annotation.x-opt-offset > '@latest'                 what is stored from now on
amqp.annotation.x-opt-sequence-number >= '12'
amqp.annotation.x-opt-enqueued-time > '1763746800000'    milliseconds since 1970, UTC
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .node import Described, LinkError

_SELECTOR = "apache.org:selector-filter:string"
_SELECTOR_CODE = 0x0000468C_00000004

_EXPRESSION = re.compile(
    r"\s*amqp\.annotation\.(x-opt-[a-z-]{1,30})\s*(>=?)\s*(?:'([^']{0,40})'|(-?[0-9]{1,20}))\s*"
)
_KINDS: dict[str, Literal["number", "time"]] = {
    "x-opt-offset": "number",
    "x-opt-sequence-number": "number",
    "x-opt-enqueued-time": "time",
    "x-opt-enqueuedtimeutc": "time",  # what clients before Event Hubs' version 5 say
}
_NUMBER = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Start:
    """``number``: the first event to read is of that number; ``time``: it is the first that was stored later
    than so many milliseconds since 1970; ``latest``: what is stored from now on (``value`` means nothing)."""

    kind: Literal["number", "time", "latest"]
    value: int = 0


def start(filters: Mapping[str, Any]) -> Start:
    """Where to begin; at the beginning if no selector says otherwise. Raises LinkError."""
    selectors = [value for name, value in filters.items() if _is_selector(name, value)]
    if not selectors:
        return Start("number")
    if len(selectors) > 1:
        raise _invalid("there are two selectors")
    text = selectors[0].value if isinstance(selectors[0], Described) else selectors[0]
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    if not isinstance(text, str):
        raise _invalid(f"the selector is a {type(text).__name__}, not a string")
    return _parsed(text)


def _parsed(text: str) -> Start:
    match = _EXPRESSION.fullmatch(text)
    if match is None or match[1] not in _KINDS:
        raise _invalid(
            f"selector {text[:120]!r}: expected amqp.annotation.x-opt-offset, x-opt-sequence-number or"
            " x-opt-enqueued-time, > or >=, and a value in quotation marks"
        )
    kind, operator, value = _KINDS[match[1]], match[2], match[3] if match[4] is None else match[4]
    if match[1] == "x-opt-offset" and value == "@latest":
        return Start("latest")
    if not _NUMBER.fullmatch(value):
        raise _invalid(f"selector {text[:120]!r}: {value!r} is not a whole number")
    number = int(value)
    if kind == "time":
        return Start("time", number - (operator == ">="))
    return Start("number", max(number + (operator == ">"), 0))


def _is_selector(name: str, value: Any) -> bool:
    descriptor = value.descriptor if isinstance(value, Described) else None
    return name == _SELECTOR or descriptor in (_SELECTOR, _SELECTOR_CODE)


def _invalid(description: str) -> LinkError:
    return LinkError("amqp:invalid-field", description)
