"""Messages, alone and against other implementations."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from azure.eventhub._pyamqp import message as theirs
from azure.eventhub._pyamqp._decode import decode_payload
from azure.eventhub._pyamqp._encode import encode_payload
from hypothesis import given
from hypothesis import strategies as st

from agent.localhub.amqp.encode import EncodeError, encoded
from agent.localhub.amqp.message import message_bytes, message_of
from agent.localhub.amqp.node import Described, Int, Message, Timestamp
from agent.localhub.amqp.wire import DecodeError

TEXTS = st.text(max_size=50)
ASCII = st.text(st.characters(max_codepoint=127), max_size=50)
IDS = TEXTS | st.integers(0, (1 << 64) - 1) | st.uuids() | st.binary(max_size=50)
TIMES = st.integers(0, 1 << 50).map(Timestamp)
SIMPLE = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.uuids()
    | st.binary(max_size=50)
    | TEXTS
)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "message-id": IDS,
        "user-id": st.binary(max_size=50),
        "to": TEXTS,
        "subject": TEXTS,
        "reply-to": TEXTS,
        "correlation-id": IDS,
        "content-type": ASCII,
        "content-encoding": ASCII,
        "absolute-expiry-time": TIMES,
        "creation-time": TIMES,
        "group-id": TEXTS,
        "group-sequence": st.integers(0, (1 << 32) - 1),
        "reply-to-group-id": TEXTS,
    },
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "durable": st.booleans(),
        "priority": st.integers(0, 255),
        "ttl": st.integers(0, (1 << 32) - 1),
        "first-acquirer": st.booleans(),
        "delivery-count": st.integers(0, (1 << 32) - 1),
    },
)
MESSAGES = st.builds(
    Message,
    body=st.binary(max_size=500),
    properties=PROPERTIES,
    application_properties=st.dictionaries(TEXTS, SIMPLE, max_size=5),
    annotations=st.dictionaries(ASCII, SIMPLE | st.lists(SIMPLE, max_size=3), max_size=5),
    header=HEADERS,
) | st.builds(Message, value=st.integers(0, 9) | TEXTS | st.lists(TEXTS, max_size=3))


@given(MESSAGES)
def test_round_trip(message: Message) -> None:
    """All of a message comes back."""
    assert message_of(message_bytes(message)) == message


@given(MESSAGES)
def test_another_reads_what_is_written(message: Message) -> None:
    """Microsoft's decoder finds everything in its place."""
    read = decode_payload(memoryview(message_bytes(message)))
    if message.value is None:
        assert b"".join(read.data) == message.body
    else:
        assert read.value == _bare(message.value)
    for name, value in message.properties.items():
        assert getattr(read.properties, name.replace("-", "_")) == _bare(value)
    for name, value in message.header.items():
        assert getattr(read.header, name.replace("-", "_")) == value
    assert (read.application_properties or {}) == _bare(message.application_properties)
    assert (read.message_annotations or {}) == _bare(message.annotations)


def _bare(value: Any) -> Any:
    match value:
        case dict():
            return {_bare(key): _bare(item) for key, item in value.items()}
        case list():
            return [_bare(item) for item in value]
        case str():
            return value.encode()
    return value


@given(
    PROPERTIES, st.dictionaries(TEXTS, TEXTS | st.booleans() | st.uuids(), max_size=5), st.lists(st.binary())
)
def test_what_another_writes_is_read(
    properties: dict[str, Any], application: dict[str, Any], data: list[bytes]
) -> None:
    """Microsoft's encoder, which sends delivery annotations last, is understood."""
    names = {name.replace("-", "_"): value for name, value in properties.items()}
    written = theirs.Message(
        properties=theirs.Properties(**names),
        application_properties=application,
        data=data,
        header=theirs.Header(durable=True, priority=4),
        message_annotations={"iothub-ack": "full"},
        delivery_annotations={"x": 1},
        footer={"y": 2},
    )
    out = bytearray()
    encode_payload(out, written)
    assert message_of(bytes(out)) == Message(
        body=b"".join(data),
        properties=properties,
        application_properties=application,
        annotations={"iothub-ack": "full"},
        header={"durable": True, "priority": 4},
    )


def test_values_of_another() -> None:
    """A value, and sequences, which become one list."""
    for content, value in (
        ({"value": {"a": ["b", 5]}}, {"a": ["b", Int(5)]}),
        ({"sequence": [["a"], [True, "b"]]}, ["a", True, "b"]),
    ):
        out = bytearray()
        encode_payload(out, theirs.Message(**content))
        assert message_of(bytes(out)).value == value


def test_uamqp() -> None:
    """The C implementation reads and is read."""
    uamqp = pytest.importorskip("uamqp")
    written = uamqp.Message(
        b"body",
        properties=uamqp.message.MessageProperties(
            message_id="m", to="/devices/x", correlation_id=UUID(int=5), content_type="text/plain"
        ),
        application_properties={"a": "b", "n": 5, "f": True},
        annotations={"x-opt": "y"},
    )
    read = message_of(bytes(written.encode_message()))
    assert read.body == b"body"
    assert read.properties == {
        "message-id": "m",
        "to": "/devices/x",
        "correlation-id": UUID(int=5),
        "content-type": "text/plain",
    }
    assert read.application_properties == {"a": "b", "n": 5, "f": True}
    assert read.annotations == {"x-opt": "y"}
    ours = Message(
        body=b"x" * 1000,
        properties={"message-id": "ä", "absolute-expiry-time": Timestamp(5000), "group-sequence": 7},
        application_properties={"k": "v", "i": Int(5), "l": 1 << 40, "d": 1.5, "none": None},
        annotations={"x-opt-offset": "5", "x-opt-sequence-number": 6},
        header={"durable": True, "delivery-count": 3},
    )
    theirs_read = uamqp.Message.decode_from_bytes(message_bytes(ours))
    assert b"".join(theirs_read.get_data()) == ours.body
    assert theirs_read.properties.message_id == "ä".encode()
    assert theirs_read.properties.absolute_expiry_time == 5000
    assert theirs_read.properties.group_sequence == 7
    assert theirs_read.application_properties == _bare(ours.application_properties)
    assert theirs_read.annotations == _bare(ours.annotations)
    assert theirs_read.header.delivery_count == 3
    value = uamqp.Message.decode_from_bytes(message_bytes(Message(value={"a": ("b", "c")})))
    assert value.get_data() == {b"a": [b"b", b"c"]}


@pytest.mark.parametrize(
    "sections",
    [
        [5],
        [Described(0x99, 5)],
        [Described(0x75, "text")],
        [Described(0x76, 5)],
        [Described(0x72, [])],
        [Described(0x71, [])],
        [Described(0x74, {"a": []})],
        [Described(0x74, {5: "a"})],
        [Described(0x73, {})],
        [Described(0x73, [1.5])],
        [Described(0x73, [True])],
        [Described(0x73, [None] * 14)],
        [Described(0x70, [5])],
        [Described(0x10, ["an open"])],
        [Described(0x75, b""), Described(0x77, 1)],
        [Described(0x77, 1), Described(0x77, 1)],
        [Described(0x73, []), Described(0x73, [])],
    ],
)
def test_what_is_no_message(sections: list[Any]) -> None:
    """Sections are what they are by the standard, and once."""
    with pytest.raises(DecodeError):
        message_of(b"".join(encoded(section) for section in sections))


def test_what_is_dropped() -> None:
    """Keys of annotations that are numbers are reserved; a message may be nothing."""
    assert message_of(b"") == Message()
    assert message_of(encoded(Described(0x72, {5: "a", "b": 1}))).annotations == {"b": 1}


@pytest.mark.parametrize(
    "message",
    [
        Message(properties={"colour": "red"}),
        Message(properties={"to": 5}),
        Message(header={"ttl": -1}),
        Message(annotations={"ä": 1}),
        Message(value=object()),
    ],
)
def test_what_cannot_be_written(message: Message) -> None:
    """An address that makes such a message has a bug."""
    with pytest.raises(EncodeError):
        message_bytes(message)
