"""What a twin may hold, and how a change is merged into it.

Rules: https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-device-twins
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from .records import InvalidRequest

MAX_PROPERTIES_BYTES = 32_768
MAX_TAGS_BYTES = 8_192
MAX_DEPTH = 10
MAX_TEXT_BYTES = 4_096
MAX_NAME_BYTES = 1_024
MAX_INTEGER = 4_503_599_627_370_496  # 2**52

Json = dict[str, Any]


def merged(before: Json, changes: Json) -> Json:
    """``before`` with ``changes`` merged into it."""
    after = dict(before)
    for name, value in changes.items():
        if value is None:
            after.pop(name, None)
        elif isinstance(value, dict):
            inner = after.get(name)
            after[name] = merged(inner if isinstance(inner, dict) else {}, value)
        else:
            after[name] = value
    return after


def merged_metadata(before: Json, changes: Json, stamp: Json) -> Json:
    """When each value was last written, after ``changes`` that are to have ``stamp``."""
    after = {**before, **stamp}
    for name, value in changes.items():
        if value is None:
            after.pop(name, None)
        elif isinstance(value, dict):
            inner = after.get(name)
            after[name] = merged_metadata(inner if isinstance(inner, dict) else {}, value, stamp)
        else:
            after[name] = dict(stamp)
    return after


def checked(changes: object, what: str) -> Json:
    """``changes`` without the version and metadata that were read with it. Raises InvalidRequest."""
    if not isinstance(changes, Mapping):
        raise InvalidRequest(f"{what}: expected a JSON object")
    plain = {name: value for name, value in changes.items() if name not in ("$version", "$metadata")}
    _check(plain, what, 1)
    return plain


def _check(value: object, what: str, depth: int) -> None:
    if isinstance(value, Mapping | list) and depth > MAX_DEPTH:
        raise InvalidRequest(f"{what}: deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if not _is_name(name):
                raise InvalidRequest(
                    f"{what}: {name[:40]!r} is no name (no '.', '$', space or control character)"
                )
            _check(inner, what, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, what, depth + 1)
    elif isinstance(value, str):
        if _size(value) > MAX_TEXT_BYTES:
            raise InvalidRequest(f"{what}: a text of more than {MAX_TEXT_BYTES} bytes")
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) > MAX_INTEGER:
        raise InvalidRequest(f"{what}: a whole number beyond 2**52")
    elif isinstance(value, float) and not math.isfinite(value):
        raise InvalidRequest(f"{what}: {value} is not JSON")


def _is_name(name: str) -> bool:
    return 0 < _size(name) <= MAX_NAME_BYTES and not any(
        character in ".$ " or not character.isprintable() for character in name
    )


def bounded(values: Json, limit: int, what: str) -> None:
    """Raises InvalidRequest for more than so many bytes of JSON in UTF-8."""
    size = _size(json.dumps(values, separators=(",", ":"), ensure_ascii=False))
    if size > limit:
        raise InvalidRequest(f"{what} are {size} bytes, at most {limit}")


def _size(text: str) -> int:
    """Bytes of UTF-8, in which JSON's lone surrogates have three as well."""
    return len(text.encode(errors="surrogatepass"))
