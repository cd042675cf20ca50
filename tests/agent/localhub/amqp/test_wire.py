"""AMQP values, alone and against other implementations."""

from __future__ import annotations

import random
import struct
import tracemalloc
from typing import Any
from uuid import UUID

import pytest
from azure.eventhub._pyamqp import _decode as theirs_in
from azure.eventhub._pyamqp import _encode as theirs_out
from hypothesis import given
from hypothesis import strategies as st

from agent.localhub.amqp.encode import EncodeError, encoded
from agent.localhub.amqp.node import Described, Int, Symbol, Timestamp
from agent.localhub.amqp.wire import DEEPEST, MOST_VALUES, DecodeError, Decoder


def decoded(content: bytes) -> Any:
    decoder = Decoder(content)
    value = decoder.value()
    assert decoder.at_end
    return value


def _typed(value: Any) -> Any:
    """With the types of all parts, since Python takes 1 for True and Symbol('a') for 'a'."""
    match value:
        case list():
            return [_typed(item) for item in value]
        case dict():
            return [(_typed(key), _typed(item)) for key, item in value.items()]
        case Described():
            return (value.descriptor, _typed(value.value))
    return (type(value), value)


LONGS = st.integers(-(1 << 63), (1 << 64) - 1)
SYMBOLS = st.text(st.characters(max_codepoint=127), max_size=300).map(Symbol)
SIMPLE = (
    st.none()
    | st.booleans()
    | LONGS
    | st.integers(-(1 << 31), (1 << 31) - 1).map(Int)
    | st.integers(-(1 << 63), (1 << 63) - 1).map(Timestamp)
    | st.floats(allow_nan=False)
    | st.uuids()
    | st.binary(max_size=300)
    | st.text(max_size=300)
    | SYMBOLS
)
KEYS = st.text(max_size=20)
VALUES = st.recursive(
    SIMPLE,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(KEYS, inner, max_size=5)
        | st.builds(Described, SYMBOLS | st.integers(0, (1 << 64) - 1), inner)
    ),
    max_leaves=20,
)


@given(VALUES)
def test_round_trip(value: Any) -> None:
    """What is encoded comes back with its types."""
    assert _typed(decoded(encoded(value))) == _typed(value)


@given(st.lists(st.text(max_size=300), min_size=1) | st.lists(SYMBOLS, min_size=1))
def test_arrays(texts: list[str]) -> None:
    """A tuple of strings or symbols is an array of them."""
    content = encoded(tuple(texts))
    assert content[0] in (0xE0, 0xF0)
    assert _typed(decoded(content)) == _typed(list(texts))


def _bare(value: Any) -> Any:
    """As the other implementation shows it: no descriptors, symbols and strings as bytes."""
    match value:
        case list():
            return [_bare(item) for item in value]
        case dict():
            return {_bare(key): _bare(item) for key, item in value.items()}
        case Described():
            return _bare(value.value)
        case str():
            return value.encode()
    return value


@given(
    st.recursive(
        SIMPLE,
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=5),
        max_leaves=20,
    )
)
def test_another_reads_what_is_written(value: Any) -> None:
    """Microsoft's decoder reads the value."""
    content = encoded(value)
    rest, read = theirs_in._DECODE_BY_CONSTRUCTOR[content[0]](memoryview(content)[1:])
    assert not rest
    assert read == _bare(value)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(1 << 31), (1 << 31) - 1).map(Int)
        | st.floats(allow_nan=False)
        | st.uuids()
        | st.binary(max_size=300)
        | st.text(max_size=300),
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=5),
        max_leaves=20,
    )
)
def test_what_another_writes_is_read(value: Any) -> None:
    """Microsoft's encoder writes ints as int; all else comes back as it went."""
    out = bytearray()
    theirs_out.encode_value(out, value)
    assert _typed(decoded(bytes(out))) == _typed(value)


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ("40", None),
        ("41", True),
        ("42", False),
        ("5600", False),
        ("5601", True),
        ("43", 0),
        ("44", 0),
        ("50ff", 255),
        ("51ff", -1),
        ("52ff", 255),
        ("53ff", 255),
        ("54ff", Int(-1)),
        ("55ff", -1),
        ("60ffff", 65535),
        ("61ffff", -1),
        ("70ffffffff", 4294967295),
        ("71ffffffff", Int(-1)),
        ("723f800000", 1.0),
        ("730001f32c", "🌬"),
        ("80ffffffffffffffff", 18446744073709551615),
        ("81ffffffffffffffff", -1),
        ("823ff0000000000000", 1.0),
        ("83ffffffffffffffff", Timestamp(-1)),
        ("98" + "ab" * 16, UUID("ab" * 16)),
        ("a00161", b"a"),
        ("b00000000161", b"a"),
        ("a102c3a4", "ä"),
        ("b100000002c3a4", "ä"),
        ("a30161", Symbol("a")),
        ("b30000000161", Symbol("a")),
        ("45", []),
        ("c00100", []),
        ("c003024041", [None, True]),
        ("d0000000060000000240 41", [None, True]),
        ("c10100", {}),
        ("c10402520541", {5: True}),
        ("d100000007000000025205 41", {5: True}),
        ("e00100", []),
        ("e0020040", []),
        ("e0020341", [True] * 3),
        ("e004025001ff", [1, 255]),
        ("f0000000070000000250 01ff", [1, 255]),
        ("e0060200537050 01", DecodeError),
        ("e007020053705001ff", [Described(0x70, 1), Described(0x70, 255)]),
        ("00537045", Described(0x70, [])),
        ("00a3016145", Described("a", [])),
        ("", DecodeError),
        ("00", DecodeError),
        ("0040", DecodeError),
        ("00404040", DecodeError),
        ("005540", DecodeError),
        ("0055ff40", DecodeError),
        ("5602", DecodeError),
        ("01", DecodeError),
        ("74" + "00" * 4, DecodeError),
        ("a102c3", DecodeError),
        ("a101c3", DecodeError),
        ("a30180", DecodeError),
        ("730000d800", DecodeError),
        ("c0", DecodeError),
        ("c000", DecodeError),
        ("c00101", DecodeError),
        ("c0020040", DecodeError),
        ("c00502a00540", DecodeError),
        ("c1020140", DecodeError),
        ("c1050240404040", DecodeError),
        ("c1030240 40", DecodeError),
        ("c107045201405201 40", DecodeError),
        ("b0ffffffff61", DecodeError),
        ("d0ffffffffffffffff", DecodeError),
        ("d000000004ffffffff", DecodeError),
        ("f000000005ffffffff40", DecodeError),
        ("f000000006ffffffff0040", DecodeError),
    ],
)
def test_examples(content: str, value: Any) -> None:
    """Every encoding of the standard, and what is none."""
    octets = bytes.fromhex(content)
    if value is DecodeError:
        with pytest.raises(DecodeError):
            Decoder(octets).value()
    else:
        assert _typed(decoded(octets)) == _typed(value)


@pytest.mark.parametrize(
    "value",
    [1 << 64, -(1 << 63) - 1, Int(1 << 31), Timestamp(1 << 63), object(), ("a", 1), Symbol("ä"), "\ud800"],
)
def test_what_has_no_place(value: Any) -> None:
    """Such values are the caller's mistake."""
    with pytest.raises(EncodeError):
        encoded(value)


def _nested(depth: int) -> bytes:
    content = b"\x40"
    for _ in range(depth):
        content = b"\xd0" + struct.pack(">II", len(content) + 4, 1) + content
    return content


def test_depth() -> None:
    """Lists in lists in lists, up to the limit."""
    assert decoded(_nested(DEEPEST)) is not None
    for content in (_nested(DEEPEST + 1), _nested(3000), b"\x00" * 60_000, b"\x00\x53\x01" * 20_000):
        with pytest.raises(DecodeError):
            decoded(content)


def test_count() -> None:
    """So many values, and not one more, however they are arranged."""
    inner = b"\x40" * (MOST_VALUES - 1)
    assert len(decoded(b"\xd0" + struct.pack(">II", len(inner) + 4, len(inner)) + inner)) == len(inner)
    inner += b"\x40"
    with pytest.raises(DecodeError):
        decoded(b"\xd0" + struct.pack(">II", len(inner) + 4, len(inner)) + inner)


@pytest.mark.parametrize(
    "content",
    [
        b"\xf0\x00\x00\x00\x05\x80\x00\x00\x00\x40",
        b"\xf0\x00\x00\x00\x05\xff\xff\xff\xff\x45",
        b"\xf0\x00\x00\x00\x08\xff\xff\xff\xff\x00\x53\x70\x40",
        b"\xd0\x00\x00\x00\x05\xff\xff\xff\xff\x40",
        b"\xd1\x00\x00\x00\x05\xff\xff\xff\xfe\x40",
        b"\xb0\xff\xff\xff\xff\x40",
        b"\xd0\x00\x01\x00\x04\x00\x00\x40\x00" + b"\xe0\x02\xff\x40" * 0x4000,
    ],
)
def test_claims_cost_nothing(content: bytes) -> None:
    """Billions of nulls in a few bytes, or thousands of arrays of them: refused before there is room made."""
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            Decoder(content).value()
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def _mutated(rng: random.Random, seeds: list[bytes]) -> bytes:
    content = bytearray(rng.choice(seeds))
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(content) + 1)
        match rng.randrange(4):
            case 0 if at < len(content):
                content[at] = rng.randrange(256)
            case 1:
                content[at:at] = rng.randbytes(rng.randrange(1, 5))
            case 2:
                del content[at : at + rng.randrange(1, 5)]
            case _:
                content[at : at + 4] = b"\xff\xff\xff\xff"
    return bytes(content)


def test_garbage() -> None:
    """60,000 mutated values: each is a value, which can be written again, or a DecodeError."""
    rng = random.Random(5671)
    seeds = [
        encoded([1, "a", Symbol("b"), {"k": [b"x" * 300, 1.5, None]}, Described(0x70, [True, Timestamp(5)])]),
        encoded({Symbol("x"): Described("y", {"a": [Int(1), UUID(int=7)]}), 5: ("p", "q")}),
        bytes.fromhex("f0000000070000000250 01ff") + encoded(("a", "b")),
        bytes.fromhex("d10000000b00000002a10161e004025001ff"),
    ]
    values = 0
    for _ in range(60_000):
        try:
            value = Decoder(_mutated(rng, seeds)).value()
        except DecodeError:
            continue
        encoded(value)
        values += 1
    assert 1000 < values < 59_000
