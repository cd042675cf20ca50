"""Whatever a client sends to an address, it gets an outcome and the hub lives."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.localhub.amqp.message import message_bytes
from agent.localhub.amqp.node import Described, Int, LinkError, Message, Symbol, Timestamp

from .service import FakePeer, Service, attach, finish

TEXTS = st.sampled_from(
    [
        "/devices/mast-1/messages/devicebound",
        "put-token",
        "READ",
        "masthead",
        "com.microsoft:partition",
        "com.microsoft:eventhub",
        "servicebus.windows.net:sastoken",
        "SharedAccessSignature sr=%ff&sig=AAAA&se=9999999999&skn=service",
        "0",
        "full",
    ]
) | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SIMPLE = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | TEXTS
    | st.binary(max_size=20)
    | st.uuids()
    | st.integers(-(2**63), 2**63 - 1).map(Timestamp)
    | st.integers(-(2**31), 2**31 - 1).map(Int)
    | st.just(Symbol("a"))
)
VALUES = st.recursive(
    SIMPLE,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | inner.map(lambda value: Described("x", value))
    ),
    max_leaves=5,
)
IDS = TEXTS | st.integers(0, 2**64 - 1) | st.uuids() | st.binary(max_size=20)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "message-id": IDS,
        "correlation-id": IDS,
        "user-id": st.binary(max_size=20),
        "to": TEXTS,
        "reply-to": TEXTS,
        "content-type": TEXTS,
        "absolute-expiry-time": st.integers(-(2**63), 2**63 - 1).map(Timestamp),
    },
)
ASKED = st.dictionaries(st.text(max_size=5), SIMPLE, max_size=3) | st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("operation", "type", "name", "partition", "security_token", "iothub-ack"), SIMPLE
    ),
)
MESSAGES = st.builds(
    Message,
    body=st.binary(max_size=20),
    value=VALUES,
    properties=PROPERTIES,
    application_properties=ASKED,
    header=st.fixed_dictionaries({}, optional={"ttl": st.integers(0, 2**32 - 1)}),
)


@contextmanager
def _service() -> Iterator[Service]:
    with tempfile.TemporaryDirectory() as folder, Service(Path(folder)) as service:
        yield service


@pytest.mark.parametrize("address", ["$cbs", "$management", "/messages/devicebound"])
@settings(max_examples=60, deadline=None, database=None)
@given(st.lists(MESSAGES, min_size=1, max_size=8))
def test_any_message_has_an_outcome(address: str, messages: list[Message]) -> None:
    """Accepted or rejected with a condition, and every reply can be written."""

    async def run() -> None:
        with _service() as service:
            peer = FakePeer("service")
            sink = await service.sink(address, peer)
            spring = None if "devicebound" in address else await service.spring(address, peer)
            for message in messages:
                outcome = await sink.take(message)
                assert outcome.state == "accepted" or (outcome.state, bool(outcome.condition)) == (
                    "rejected",
                    True,
                )
                await sink.after(message)
                if spring is not None:
                    reply = (await spring.next()).message
                    assert reply.application_properties["status-code"] in (200, 400, 401, 404)
                    message_bytes(reply)
            assert peer.policy == "service"
            assert [m.state for m in service.sent] == ["queued"] * len(service.sent)

    finish(run())


PARTS = st.sampled_from(
    [
        "messages",
        "events",
        "masthead",
        "ConsumerGroups",
        "$Default",
        "Partitions",
        "0",
        "$management",
        "$cbs",
        "devicebound",
        "servicebound",
        "feedback",
        "amqps:",
        "%24cbs",
        "%",
        "devices",
    ]
) | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@settings(max_examples=40, deadline=None, database=None)
@given(
    st.lists(
        st.tuples(
            st.lists(PARTS, max_size=6).map("/".join),
            st.dictionaries(st.just("apache.org:selector-filter:string") | TEXTS, VALUES, max_size=2),
            st.dictionaries(st.just("com.microsoft:epoch"), VALUES, max_size=1),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_any_link_is_made_or_refused(links: list[tuple[str, dict[str, Any], dict[str, Any]]]) -> None:
    """In either direction, with a condition and a text that is not too long for a frame."""

    async def run() -> None:
        refusals = []
        with _service() as service:
            for address, filters, properties in links:
                wanted = attach(address, filters=filters, properties=properties)
                for make in (service.addresses.sink, service.addresses.spring):
                    try:
                        (await make(wanted, service.peer)).close()
                    except LinkError as error:
                        refusals.append(error)
        assert all(error.condition and len(error.description) < 2000 for error in refusals)

    finish(run())
