"""Composite types: a dataclass for each, read from and written as a described list (part 1, section 1.4).

Fields are checked against the type that the standard gives them. They are always all written: there are
clients that take the fifth field of a list without asking whether there are five.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from .encode import EncodeError, append_bytes, append_compound, append_unsigned, encoded, symbol_bytes
from .node import Described, Symbol, Timestamp
from .wire import DecodeError

_UINT_MAX = 0xFFFF_FFFF


class Composite:
    """The base of all. ``CODE`` and ``NAME``: its descriptor, in either form."""

    __slots__ = ()
    CODE: ClassVar[int]
    NAME: ClassVar[str]


_KNOWN: dict[str | int, type[Composite]] = {}
_Class = TypeVar("_Class", bound=type[Composite])


def described_by(code: int, name: str) -> Callable[[_Class], _Class]:
    """Make a dataclass known by this descriptor."""

    def register(cls: _Class) -> _Class:
        cls.CODE, cls.NAME = code, name
        _KNOWN[code] = _KNOWN[name] = cls
        return cls

    return register


def of(kind: str, default: Any = dataclasses.MISSING) -> Any:
    """A field of that AMQP type; one without a default is mandatory."""
    return dataclasses.field(default=default, metadata={"kind": kind})


def composed(value: Any) -> Any:
    """The composite of a described list; anything else as it is. Raises DecodeError."""
    if not isinstance(value, Described) or value.descriptor not in _KNOWN:
        return value
    cls = _KNOWN[value.descriptor]
    if not isinstance(value.value, list):
        raise DecodeError(f"{cls.NAME} is no list")
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    if len(value.value) > len(fields):
        raise DecodeError(f"{cls.NAME} has {len(value.value)} fields")
    given: dict[str, Any] = {}
    for field, item in zip(fields, value.value + [None] * (len(fields) - len(value.value)), strict=True):
        if item is None:
            if field.default is dataclasses.MISSING:
                raise DecodeError(f"{cls.NAME} lacks {field.name}")
            continue
        read = _READ[field.metadata["kind"]]
        given[field.name] = read(item, f"{cls.NAME}, {field.name}")
    return cls(**given)


def composite_bytes(value: Composite) -> bytes:
    """The described list, with all its fields. Raises EncodeError."""
    content, count = bytearray(), 0
    for field in dataclasses.fields(value):  # type: ignore[arg-type]
        count += 1
        item = getattr(value, field.name)
        if item is None:
            content.append(0x40)
            continue
        try:
            _WRITE[field.metadata["kind"]](content, item)
        except (TypeError, AttributeError, ValueError, struct.error) as error:
            raise EncodeError(f"{value.NAME}, {field.name}: {item!r:.100}: {error}") from None
    out = bytearray((0, 0x53, value.CODE))
    append_compound(out, 0xC0, count, content)
    return bytes(out)


def _is(*kinds: type) -> Callable[[Any, str], Any]:
    def read(value: Any, where: str) -> Any:
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise DecodeError(f"{where}: {type(value).__name__}")
        return value

    return read


def _unsigned(bits: int) -> Callable[[Any, str], int]:
    def read(value: Any, where: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << bits:
            raise DecodeError(f"{where}: expected a number of {bits} bits")
        return value

    return read


def _symbol(value: Any, where: str) -> Symbol:
    if not isinstance(value, str) or not value.isascii():
        raise DecodeError(f"{where}: expected a symbol")
    return Symbol(value)


def _symbols(value: Any, where: str) -> tuple[Symbol, ...]:
    return tuple(_symbol(item, where) for item in (value if isinstance(value, list) else [value]))


def _map(value: Any, where: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise DecodeError(f"{where}: expected a map")
    return {_symbol(key, where) if isinstance(key, str) else key: item for key, item in value.items()}


def _composite(value: Any, where: str) -> Any:
    if not isinstance(value, Described):
        raise DecodeError(f"{where}: not described")
    return composed(value)


def _known_composite(value: Any, where: str) -> Any:
    result = _composite(value, where)
    if not isinstance(result, Composite):
        raise DecodeError(f"{where}: {value.descriptor!r:.64} is unknown")
    return result


def _any(value: Any, _where: str) -> Any:
    return value


_READ: dict[str, Callable[[Any, str], Any]] = {
    "any": _any,
    "boolean": _is(bool),
    "ubyte": _unsigned(8),
    "ushort": _unsigned(16),
    "uint": _unsigned(32),
    "ulong": _unsigned(64),
    "string": _is(str),
    "symbol": _symbol,
    "symbols": _symbols,
    "binary": _is(bytes),
    "timestamp": _is(Timestamp),
    "map": _map,
    "message-id": _is(int, str, bytes, UUID),
    "terminus": _composite,
    "composite": _known_composite,
}


def _fixed(code: int, layout: str) -> Callable[[bytearray, Any], None]:
    return lambda out, value: out.extend(struct.pack(f">B{layout}", code, value))


def _uint_out(out: bytearray, value: int) -> None:
    if value > _UINT_MAX:
        raise EncodeError("more than 32 bits")
    append_unsigned(out, value, 0x43, 0x52, "I")


def _ulong_out(out: bytearray, value: int) -> None:
    append_unsigned(out, value, 0x44, 0x53, "Q")


def _any_out(out: bytearray, value: Any) -> None:
    out += composite_bytes(value) if isinstance(value, Composite) else encoded(value)


def _map_out(out: bytearray, value: dict[str, Any]) -> None:
    out += encoded({Symbol(key) if isinstance(key, str) else key: item for key, item in value.items()})


def _id_out(out: bytearray, value: Any) -> None:
    if isinstance(value, int) and not isinstance(value, bool):
        _ulong_out(out, value)
    else:
        out += encoded(value)


_WRITE: dict[str, Callable[[bytearray, Any], None]] = {
    "any": _any_out,
    "boolean": lambda out, value: out.append(0x41 if value else 0x42),
    "ubyte": _fixed(0x50, "B"),
    "ushort": _fixed(0x60, "H"),
    "uint": _uint_out,
    "ulong": _ulong_out,
    "string": lambda out, value: append_bytes(out, 0xA1, value.encode()),
    "symbol": lambda out, value: append_bytes(out, 0xA3, symbol_bytes(value)),
    "symbols": lambda out, value: out.extend(encoded(tuple(Symbol(item) for item in value))),
    "binary": lambda out, value: append_bytes(out, 0xA0, bytes(value)),
    "timestamp": _fixed(0x83, "q"),
    "map": _map_out,
    "message-id": _id_out,
    "terminus": _any_out,
    "composite": _any_out,
}
