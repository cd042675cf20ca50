"""AMQP 1.0 values from their bytes (OASIS AMQP 1.0 part 1, "Types"; encode.py is the other way).

http://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-types-v1.0-os.html

Invariants:
1. Nothing is allocated for what a size or a count claims, only for bytes that are there.
2. Decoding costs at most ``MOST_VALUES`` values and ``DEEPEST`` levels, whatever the bytes say; values
   without width, of which an array may claim billions, count like others.
3. Bytes that are no value raise DecodeError and nothing else.
4. Whatever can be decoded can be encoded.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any
from uuid import UUID

from .node import Described, Int, Symbol, Timestamp

MOST_VALUES = 4096
DEEPEST = 16


class DecodeError(ValueError):
    """These bytes are no AMQP value, or more of one than is allowed."""


def _boolean(octet: bytes) -> bool:
    if octet not in (b"\x00", b"\x01"):
        raise DecodeError(f"a boolean of {octet.hex()}")
    return octet == b"\x01"


def _char(octets: bytes) -> str:
    return octets.decode("utf-32-be")


def _number(layout: str, kind: type = int) -> Callable[[bytes], Any]:
    unpack = struct.Struct(f">{layout}").unpack
    return lambda octets: kind(unpack(octets)[0])


_FIXED: dict[int, tuple[int, Callable[[bytes], Any]]] = {
    0x40: (0, lambda _: None),
    0x41: (0, lambda _: True),
    0x42: (0, lambda _: False),
    0x43: (0, lambda _: 0),
    0x44: (0, lambda _: 0),
    0x45: (0, lambda _: []),
    0x50: (1, _number("B")),
    0x51: (1, _number("b")),
    0x52: (1, _number("B")),
    0x53: (1, _number("B")),
    0x54: (1, _number("b", Int)),
    0x55: (1, _number("b")),
    0x56: (1, _boolean),
    0x60: (2, _number("H")),
    0x61: (2, _number("h")),
    0x70: (4, _number("I")),
    0x71: (4, _number("i", Int)),
    0x72: (4, _number("f", float)),
    0x73: (4, _char),
    0x80: (8, _number("Q")),
    0x81: (8, _number("q")),
    0x82: (8, _number("d", float)),
    0x83: (8, _number("q", Timestamp)),
    0x98: (16, lambda octets: UUID(bytes=octets)),
}
_VARIABLE: dict[int, tuple[int, Callable[[bytes], Any]]] = {
    0xA0: (1, bytes),
    0xA1: (1, lambda octets: octets.decode()),
    0xA3: (1, lambda octets: Symbol(octets.decode("ascii"))),
    0xB0: (4, bytes),
    0xB1: (4, lambda octets: octets.decode()),
    0xB3: (4, lambda octets: Symbol(octets.decode("ascii"))),
}
_LISTS = {0xC0: 1, 0xD0: 4}
_MAPS = {0xC1: 1, 0xD1: 4}
_ARRAYS = {0xE0: 1, 0xF0: 4}


class Decoder:
    """Takes values from the front of some bytes. Lists and arrays become lists, numbers ints but for int,
    timestamp and floats; decimals are refused."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._position = 0
        self._end = len(content)
        self._values_left = MOST_VALUES

    @property
    def at_end(self) -> bool:
        """Whether nothing is left."""
        return self._position == self._end

    def rest(self) -> bytes:
        """What follows the values taken so far."""
        return self._content[self._position :]

    def value(self) -> Any:
        """The next value. Raises DecodeError."""
        try:
            return self._value(0)
        except UnicodeDecodeError as error:
            raise DecodeError(f"a text that is none: {error.reason}") from None

    def _value(self, depth: int) -> Any:
        code = self._take(1)[0]
        if code:
            return self._of(code, depth)
        self._check_depth(depth)
        descriptor = self._descriptor(depth + 1)
        return Described(descriptor, self._value(depth + 1))

    def _check_depth(self, depth: int) -> None:
        if depth > DEEPEST:
            raise DecodeError(f"values nested deeper than {DEEPEST}")

    def _descriptor(self, depth: int) -> str | int:
        descriptor = self._value(depth)
        if isinstance(descriptor, Symbol) or (type(descriptor) is int and descriptor >= 0):
            return descriptor
        raise DecodeError("a descriptor that is neither symbol nor number")

    def _of(self, code: int, depth: int) -> Any:
        """A value without its constructor."""
        self._check_depth(depth)
        self._values_left -= 1
        if self._values_left < 0:
            raise DecodeError(f"more than {MOST_VALUES} values")
        if code in _FIXED:
            width, make = _FIXED[code]
            return make(self._take(width))
        if code in _VARIABLE:
            width, make = _VARIABLE[code]
            return make(self._take(self._length(width)))
        if code in _LISTS:
            return self._compound(_LISTS[code], lambda count: self._list(count, depth + 1))
        if code in _MAPS:
            return self._compound(_MAPS[code], lambda count: self._map(count, depth + 1))
        if code in _ARRAYS:
            return self._compound(_ARRAYS[code], lambda count: self._array(count, depth + 1))
        raise DecodeError(f"a constructor 0x{code:02x}, which is unknown")

    def _take(self, count: int) -> bytes:
        start = self._position
        if count > self._end - start:
            raise DecodeError(f"{count} bytes announced, {self._end - start} there")
        self._position = start + count
        return self._content[start : self._position]

    def _length(self, width: int) -> int:
        return int.from_bytes(self._take(width), "big")

    def _compound(self, width: int, read: Callable[[int], Any]) -> Any:
        size = self._length(width)
        if size > self._end - self._position or size < width:
            raise DecodeError(f"a size of {size}, with {self._end - self._position} bytes there")
        outer, self._end = self._end, self._position + size
        value = read(self._length(width))
        if not self.at_end:
            raise DecodeError(f"{self._end - self._position} bytes too many in a list, map or array")
        self._end = outer
        return value

    def _list(self, count: int, depth: int) -> list[Any]:
        return [self._value(depth) for _ in range(count)]

    def _map(self, count: int, depth: int) -> dict[Any, Any]:
        entries: dict[Any, Any] = {}
        for _ in range(count // 2):
            key = self._value(depth)
            if not isinstance(key, str | int | bytes | UUID) or key in entries:
                raise DecodeError("a key of a map that is no key, or is there twice")
            entries[key] = self._value(depth)
        if count % 2:
            raise DecodeError("a map with a key without a value")
        return entries

    def _array(self, count: int, depth: int) -> list[Any]:
        if not count:
            self._position = self._end
            return []
        code = self._take(1)[0]
        if code:
            return [self._of(code, depth) for _ in range(count)]
        descriptor = self._descriptor(depth)
        code = self._take(1)[0]
        return [Described(descriptor, self._of(code, depth)) for _ in range(count)]
