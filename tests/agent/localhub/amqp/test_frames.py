"""Frames and performatives, alone and against another implementation."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest
from azure.eventhub._pyamqp import performatives as theirs
from azure.eventhub._pyamqp._decode import decode_frame
from azure.eventhub._pyamqp._encode import encode_frame
from azure.eventhub._pyamqp.endpoints import Source as TheirSource
from azure.eventhub._pyamqp.endpoints import Target as TheirTarget
from azure.eventhub._pyamqp.error import AMQPError
from azure.eventhub._pyamqp.outcomes import Rejected as TheirRejected
from hypothesis import given
from hypothesis import strategies as st

from agent.localhub.amqp.composite import Composite, composed, composite_bytes
from agent.localhub.amqp.encode import EncodeError, encoded
from agent.localhub.amqp.frames import (
    AMQP,
    EMPTY_FRAME,
    SASL,
    AmqpError,
    Frame,
    body_length,
    frame_bytes,
    frame_of,
)
from agent.localhub.amqp.node import Described, Symbol
from agent.localhub.amqp.performatives import (
    Accepted,
    Attach,
    Begin,
    Close,
    Detach,
    Disposition,
    End,
    Error,
    Flow,
    Modified,
    Open,
    Received,
    Rejected,
    Released,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    Source,
    Target,
    Transfer,
)
from agent.localhub.amqp.wire import DecodeError

UINT = st.integers(0, (1 << 32) - 1)
SYMBOLS = st.text(st.characters(max_codepoint=127), max_size=20).map(Symbol)
MAPS = st.dictionaries(SYMBOLS, st.booleans() | st.text(max_size=10), max_size=3)
STATES = st.sampled_from(
    [
        Accepted(),
        Released(),
        Modified(delivery_failed=True),
        Received(section_number=1, section_offset=1 << 40),
        Rejected(error=Error(condition="amqp:not-found", description="ä", info={"a": 1})),
    ]
)
KINDS: dict[str, st.SearchStrategy[Any]] = {
    "any": st.none() | st.text(max_size=20),
    "boolean": st.booleans(),
    "ubyte": st.integers(0, 255),
    "ushort": st.integers(0, 65535),
    "uint": UINT,
    "ulong": st.integers(0, (1 << 64) - 1),
    "string": st.text(max_size=300),
    "symbol": SYMBOLS,
    "symbols": st.lists(SYMBOLS, min_size=1, max_size=3).map(tuple),
    "binary": st.binary(max_size=300),
    "map": MAPS,
    "terminus": st.sampled_from(
        [
            Source(address="a", filter={"f": Described("apache.org:selector-filter:string", "x > 1")}),
            Target(address="ä", capabilities=("a", "b")),
        ]
    ),
    "composite": STATES,
}


def _any_of(cls: Any) -> st.SearchStrategy[Any]:
    fields = {}
    for field in dataclasses.fields(cls):
        values = KINDS[field.metadata["kind"]]
        fields[field.name] = (
            values if field.default is dataclasses.MISSING else values | st.just(field.default)
        )
    return st.builds(cls, **fields)


ANY = st.one_of(
    *(
        _any_of(cls)
        for cls in (
            Open,
            Begin,
            Attach,
            Flow,
            Transfer,
            Disposition,
            Detach,
            End,
            Close,
            SaslMechanisms,
            SaslInit,
            SaslOutcome,
        )
    )
)


def _read(content: bytes, kind: int = AMQP, most: int = 1 << 20) -> Frame:
    assert body_length(content[:8], kind, most) == len(content) - 8
    return frame_of(content[:8], content[8:])


@given(ANY, st.integers(0, 65535), st.binary(max_size=20))
def test_round_trip(performative: Composite, channel: int, payload: bytes) -> None:
    """Every performative comes back, with the channel and what follows."""
    assert _read(frame_bytes(performative, channel, payload)) == Frame(channel, performative, payload)


@given(ANY)
def test_every_field_is_written(performative: Composite) -> None:
    """Microsoft's decoder, which asks for no count, finds all fields where they should be."""
    content = frame_bytes(performative, kind=SASL)
    code, fields = decode_frame(memoryview(content)[8:])
    assert code == performative.CODE
    names = [field.name for field in dataclasses.fields(performative)]  # type: ignore[arg-type]
    assert len(fields) == len(names) + isinstance(performative, Transfer)
    for name, value in zip(names, fields, strict=False):
        ours = getattr(performative, name)
        if ours is None or type(ours) in (bool, int, bytes):
            assert value == ours
        elif isinstance(ours, str):
            assert value == ours.encode()


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (
            theirs.OpenFrame("c", "h", 65536, 7, 5000, None, None, [b"x"], None, {"a": 1}),
            Open(
                container_id="c",
                hostname="h",
                max_frame_size=65536,
                channel_max=7,
                idle_time_out=5000,
                offered_capabilities=("x",),
                properties={"a": 1},
            ),
        ),
        (
            theirs.BeginFrame(None, 0, 300, 400, 255, None, None, None),
            Begin(next_outgoing_id=0, incoming_window=300, outgoing_window=400, handle_max=255),
        ),
        (
            theirs.AttachFrame(
                "n",
                1,
                True,
                0,
                1,
                TheirSource("a", 0, None, 0, False, None, None, None, None, None, None),
                TheirTarget("b", 0, None, 0, False, None, None),
                None,
                None,
                None,
                1000,
                None,
                None,
                {"p": "v"},
            ),
            Attach(
                name="n",
                handle=1,
                role=True,
                snd_settle_mode=0,
                rcv_settle_mode=1,
                source=Source(address="a"),
                target=Target(address="b"),
                max_message_size=1000,
                properties={"p": "v"},
            ),
        ),
        (
            theirs.FlowFrame(1, 2, 3, 4, 5, 6, 7, None, True, True, None),
            Flow(
                next_incoming_id=1,
                incoming_window=2,
                next_outgoing_id=3,
                outgoing_window=4,
                handle=5,
                delivery_count=6,
                link_credit=7,
                drain=True,
                echo=True,
            ),
        ),
        (
            theirs.DispositionFrame(True, 1, 2, True, TheirRejected(AMQPError(b"amqp:x", "why", None)), None),
            Disposition(
                role=True,
                first=1,
                last=2,
                settled=True,
                state=Rejected(error=Error(condition="amqp:x", description="why")),
            ),
        ),
        (theirs.DetachFrame(3, True, None), Detach(handle=3, closed=True)),
        (theirs.EndFrame(AMQPError(b"amqp:x", None, None)), End(error=Error(condition="amqp:x"))),
        (theirs.CloseFrame(None), Close()),
        (
            theirs.SASLInit(b"PLAIN", b"\0a\0b", "h"),
            SaslInit(mechanism="PLAIN", initial_response=b"\0a\0b", hostname="h"),
        ),
    ],
)
def test_what_another_writes(written: Any, read: Composite) -> None:
    """Microsoft's encoder is understood."""
    head, body = encode_frame(written)
    assert frame_of(head + b"\0\0", body).performative == read


def test_transfer_of_another() -> None:
    """The payload is what follows the performative."""
    frame = theirs.TransferFrame(1, 2, b"t", 0, False, True, None, None, None, None, None, b"payload")
    head, body = encode_frame(frame)
    expected = Transfer(
        handle=1, delivery_id=2, delivery_tag=b"t", message_format=0, settled=False, more=True
    )
    assert frame_of(head + b"\0\1", body) == Frame(1, expected, b"payload")


def test_descriptors_by_name() -> None:
    """A descriptor may be the symbol, and fields at the end may be missing."""
    assert composed(Described("amqp:end:list", [])) == End()
    assert composed(Described(0x11, [None, 1, 2, 3])) == Begin(
        next_outgoing_id=1, incoming_window=2, outgoing_window=3
    )
    assert composed(Described(0x99, [])) == Described(0x99, [])
    unknown = Described("com.microsoft:x", {"a": [1]})
    frame = _read(frame_bytes(Attach(name="n", handle=0, role=True, source=unknown)))
    assert frame.performative == Attach(name="n", handle=0, role=True, source=unknown)


@pytest.mark.parametrize(
    "value",
    [
        Described(0x10, []),
        Described(0x10, {}),
        Described(0x10, ["c"] + [None] * 10),
        Described(0x10, [5]),
        Described(0x10, ["c", None, -1]),
        Described(0x10, ["c", None, 1 << 32]),
        Described(0x10, ["c", None, True]),
        Described(0x10, ["c", None, None, 65536]),
        Described(0x10, ["c", None, None, None, None, [5]]),
        Described(0x10, ["c", None, None, None, None, Symbol("a"), None, None, None, []]),
        Described(0x10, ["c", None, None, None, None, None, None, None, None, {"ä": 1}]),
        Described(0x11, [None, 1, 2]),
        Described(0x12, ["n", 1, 1]),
        Described(0x12, ["n", 1, True, None, None, "source"]),
        Described(0x12, ["n", 1, True, None, None, Described(0x28, [None, None, "ä"])]),
        Described(0x14, [0, 0, "tag"]),
        Described(0x15, [True, 0, 0, True, Described(0x99, [])]),
        Described(0x15, [True, 0, 0, True, 5]),
    ],
)
def test_wrong_fields(value: Described) -> None:
    """Fields are of the type that the standard says, and mandatory ones are there."""
    with pytest.raises(DecodeError):
        composed(value)
    content = encoded(value)
    head = (8 + len(content)).to_bytes(4, "big") + bytes(4)
    with pytest.raises(AmqpError, match="amqp:decode-error"):
        frame_of(head[:4] + b"\2\0\0\0", content)


@pytest.mark.parametrize(
    "value",
    [
        Open(container_id=5),
        Begin(next_outgoing_id=1 << 32, incoming_window=0, outgoing_window=0),
        Begin(next_outgoing_id=-1, incoming_window=0, outgoing_window=0),
        Error(condition="ä"),
        Error(condition="x", info={"a": object()}),
    ],
)
def test_wrong_values(value: Composite) -> None:
    """What does not fit its field is the caller's mistake."""
    with pytest.raises(EncodeError):
        composite_bytes(value)


@pytest.mark.parametrize(
    "head",
    [
        "0000000702000000",
        "0000000002000000",
        "0000000801000000",
        "0000000800000000",
        "0000000803000000",
        "0000000b03000000",
        "0000000802010000",
        "0000100102000000",
        "ffffffff02000000",
        "47455420" + "2f204854",
    ],
)
def test_wrong_heads(head: str) -> None:
    """A frame's size, offset and type are checked before anything is read."""
    with pytest.raises(AmqpError, match="framing-error"):
        body_length(bytes.fromhex(head), AMQP, 4096)


def test_extended_head() -> None:
    """What stands between head and body is skipped; a frame may be empty."""
    body = frame_bytes(End())[8:]
    assert frame_of(bytes.fromhex("0000000003000005"), b"four" + body) == Frame(5, End())
    assert _read(EMPTY_FRAME) == Frame(0, None)
    assert frame_of(bytes.fromhex("0000000c03000000"), b"four") == Frame(0, None)
    with pytest.raises(AmqpError):
        frame_of(bytes.fromhex("0000000902000000"), b"\x40")


def test_garbage() -> None:
    """40,000 mutated frames: each is a frame, which can be written again, or an AmqpError."""
    rng = random.Random(1652)
    seeds = [
        frame_bytes(Open(container_id="c", properties={"a": 1}, offered_capabilities=("a", "b"))),
        frame_bytes(
            Attach(
                name="n", handle=0, role=True, source=Source(address="a", filter={"f": Described("d", "x")})
            )
        ),
        frame_bytes(Disposition(role=True, first=0, last=5, state=Rejected(error=Error(condition="x")))),
        frame_bytes(Transfer(handle=0, delivery_id=1, delivery_tag=b"t"), payload=b"\0Suxyz"),
        frame_bytes(flow := Flow(incoming_window=1, next_outgoing_id=2, outgoing_window=3)),
    ]
    assert _read(seeds[-1]).performative == flow
    frames = 0
    for _ in range(40_000):
        content = bytearray(rng.choice(seeds))
        for _ in range(rng.randrange(1, 4)):
            content[rng.randrange(4, len(content))] = rng.choice((rng.randrange(256), 0xFF, 0x40, 0xF0, 0))
        try:
            frame = _read(bytes(content))
        except AmqpError:
            continue
        if frame.performative is not None:
            frame_bytes(frame.performative, frame.channel, frame.payload)
        frames += 1
    assert 1000 < frames < 39_000
