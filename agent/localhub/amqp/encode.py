"""AMQP 1.0 values to their bytes (OASIS AMQP 1.0 part 1, "Types"), in the shortest form of each."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

from .node import Described, Int, Symbol, Timestamp

_ULONG = 1 << 64
_LONG = 1 << 63


class EncodeError(ValueError):
    """This value has no place in AMQP, or not in this field."""


def encoded(value: Any) -> bytes:
    """A value as its Python type says: Symbol, Timestamp and Int as such, str as string, bytes as binary, int
    as long (or ulong, where only that holds it), float as double, list as list, dict as map, a tuple of
    strings or symbols as an array. Raises EncodeError."""
    out = bytearray()
    _append(out, value)
    return bytes(out)


def _append(out: bytearray, value: Any) -> None:
    for kind, append in _BY_TYPE:
        if isinstance(value, kind):
            append(out, value)
            return
    raise EncodeError(f"a value of type {type(value).__name__}")


def append_bytes(out: bytearray, code: int, content: bytes | bytearray) -> None:
    """A value of variable width; ``code``: of its short form, 0xa0, 0xa1 or 0xa3."""
    if len(content) < 256:
        out += bytes((code, len(content)))
    else:
        out += struct.pack(">BI", code + 0x10, len(content))
    out += content


def append_compound(out: bytearray, code: int, count: int, content: bytes | bytearray) -> None:
    """A list, map or array; ``code``: of its short form, 0xc0, 0xc1 or 0xe0."""
    if len(content) < 255 and count < 256:
        out += bytes((code, len(content) + 1, count))
    else:
        out += struct.pack(">BII", code + 0x10, len(content) + 4, count)
    out += content


def append_unsigned(out: bytearray, value: int, zero: int, small: int, large: str) -> None:
    """A uint or ulong in its shortest form, by the codes of these; ``large``: code and layout."""
    if value == 0:
        out.append(zero)
    elif value < 256:
        out += bytes((small, value))
    else:
        out += struct.pack(f">B{large}", 0x70 if large == "I" else 0x80, value)


def _number_out(out: bytearray, value: int) -> None:
    if -128 <= value < 128:
        out += struct.pack(">Bb", 0x55, value)
    elif -_LONG <= value < _LONG:
        out += struct.pack(">Bq", 0x81, value)
    elif 0 < value < _ULONG:
        out += struct.pack(">BQ", 0x80, value)
    else:
        raise EncodeError("a number of more than 64 bits")


def _packed(code: int, layout: str) -> Callable[[bytearray, Any], None]:
    packer = struct.Struct(f">B{layout}")

    def append(out: bytearray, value: Any) -> None:
        try:
            out += packer.pack(code, value)
        except struct.error:
            raise EncodeError(f"{value} does not fit its type") from None

    return append


def symbol_bytes(value: str) -> bytes:
    """Raises EncodeError for what is not ASCII."""
    try:
        return value.encode("ascii")
    except UnicodeEncodeError:
        raise EncodeError(f"a symbol that is not ASCII: {value[:64]!r}") from None


def append_list(out: bytearray, values: Iterable[Any]) -> None:
    """A list."""
    content, count = bytearray(), 0
    for count, value in enumerate(values, 1):  # noqa: B007  (the last one counts)
        _append(content, value)
    append_compound(out, 0xC0, count, content)


def _map_out(out: bytearray, value: dict[Any, Any]) -> None:
    content = bytearray()
    for key, item in value.items():
        _append(content, key)
        _append(content, item)
    append_compound(out, 0xC1, 2 * len(value), content)


def _array_out(out: bytearray, value: tuple[Any, ...]) -> None:
    symbols = all(isinstance(item, Symbol) for item in value)
    if not all(isinstance(item, str) for item in value):
        raise EncodeError("an array of something else than strings or symbols")
    octets = [symbol_bytes(item) if symbols else _utf8(item) for item in value]
    content = b"".join(struct.pack(">I", len(item)) + item for item in octets)
    append_compound(out, 0xE0, len(value), bytes((0xB3 if symbols else 0xB1,)) + content)


def _described_out(out: bytearray, value: Described) -> None:
    out.append(0)
    if isinstance(value.descriptor, str):
        append_bytes(out, 0xA3, symbol_bytes(value.descriptor))
    else:
        append_unsigned(out, value.descriptor, 0x44, 0x53, "Q")
    _append(out, value.value)


def _utf8(value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise EncodeError("a string with half a character") from None


_BY_TYPE: tuple[tuple[type | tuple[type, ...], Callable[[bytearray, Any], None]], ...] = (
    (type(None), lambda out, _: out.append(0x40)),
    (bool, lambda out, value: out.append(0x41 if value else 0x42)),
    (Symbol, lambda out, value: append_bytes(out, 0xA3, symbol_bytes(value))),
    (str, lambda out, value: append_bytes(out, 0xA1, _utf8(value))),
    ((bytes, bytearray), lambda out, value: append_bytes(out, 0xA0, value)),
    (Timestamp, _packed(0x83, "q")),
    (Int, _packed(0x71, "i")),
    (int, _number_out),
    (float, _packed(0x82, "d")),
    (UUID, lambda out, value: out.extend(b"\x98" + value.bytes)),
    (list, append_list),
    (dict, _map_out),
    (tuple, _array_out),
    (Described, _described_out),
)
