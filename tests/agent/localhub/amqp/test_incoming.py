"""Links by which a client sends, frame by frame; and how links begin."""

from __future__ import annotations

from typing import Any

import pytest

from agent.localhub.amqp import room
from agent.localhub.amqp.message import message_bytes
from agent.localhub.amqp.node import Attach, Described, Message
from agent.localhub.amqp.performatives import (
    Accepted,
    Detach,
    Disposition,
    Error,
    Flow,
    Rejected,
    Source,
    Target,
    Transfer,
)
from agent.localhub.amqp.performatives import Attach as AttachFrame

from .raw import Raw, attach, flow
from .toy import Server


def _bodies(server: Server) -> list[bytes]:
    return [message.body for message in server.toy.taken]


def test_what_is_attached(server: Server, client: Raw) -> None:
    """The address learns who asks for what, and the client gets back what it said."""
    selector = Described("apache.org:selector-filter:string", "amqp.annotation.x-opt-offset > '5'")
    source = Source(address="a/b", filter={"apache.org:selector-filter:string": selector})
    answer = client.receiver(
        "", 3, source=source, properties={"p": "v"}, rcv_settle_mode=1, snd_settle_mode=0
    )
    assert (answer.source, answer.target) == (source, Target(address="mine"))
    assert (answer.role, answer.handle, answer.initial_delivery_count) == (False, 3, 0)
    assert (answer.snd_settle_mode, answer.rcv_settle_mode) == (2, 1)
    answer = client.sender("echo", 4, rcv_settle_mode=1, snd_settle_mode=1)
    assert (answer.snd_settle_mode, answer.rcv_settle_mode, answer.max_message_size) == (1, 0, 262_144)
    assert server.toy.attached == [
        Attach("a/b", "mine", {"apache.org:selector-filter:string": selector}, {"p": "v"}),
        Attach("echo", "mine", {}, {}),
    ]


@pytest.mark.parametrize("role", [True, False])
@pytest.mark.parametrize(
    ("address", "condition"),
    [("nowhere", "amqp:not-found"), ("moved", "amqp:link:redirect"), ("failing", "amqp:internal-error")],
)
def test_refused_links(server: Server, client: Raw, role: bool, address: str, condition: str) -> None:
    """The hub's terminus is missing in the answer, and the detach says why; the handle can be used again."""
    client.send(attach(address, 0, role=role))
    answer = client.get(AttachFrame)
    assert (answer.source is None, answer.target is None) == (role, not role)
    detach = client.get(Detach)
    assert (detach.handle, detach.closed, detach.error.condition) == (0, True, condition)
    if address == "moved":
        assert detach.error.info["port"] == 5671
        assert detach.error.info["address"] == "amqps://other/x"
    client.send(flow(0, 5), Detach(handle=0, closed=True))
    client.sender("echo", 0)
    client.send(attach(address, 1, role=role))
    client.get(AttachFrame)
    client.get(Detach)
    client.sender("echo", 1)


@pytest.mark.parametrize(
    "fields",
    [
        {"target": None},
        {"target": Target()},
        {"target": Target(address=5)},
        {"target": Target(dynamic=True)},
        {"target": Described("amqp:coordinator:list", [])},
        {"target": Accepted()},
    ],
)
def test_links_to_nothing(server: Server, client: Raw, fields: dict[str, Any]) -> None:
    """No address, one to be made up, or a coordinator of transactions: not here."""
    client.send(AttachFrame(**{**{"name": "n", "handle": 0, "role": False, "source": Source()}, **fields}))
    client.get(AttachFrame)
    assert client.get(Detach).error.condition == "amqp:not-implemented"


def test_disposition_comes_first(server: Server, client: Raw) -> None:
    """The client knows what became of its message before there can be a reply to it."""
    client.receiver("answers", 0, credit=5)
    client.sender("ask", 1)
    for delivery_id in range(3):
        client.put(1, delivery_id, b"%d" % delivery_id)
        disposition = client.get(Disposition)
        assert (disposition.role, disposition.first, disposition.last) == (True, delivery_id, delivery_id)
        assert (disposition.settled, disposition.state) == (True, Accepted())
        assert client.message()[1].body == b"%d" % delivery_id


def test_settled_messages(server: Server, client: Raw) -> None:
    """What the client does not ask for it is not told."""
    client.sender("reject")
    client.put(0, 0, b"a", settled=True)
    client.put(0, 1, b"b")
    assert client.get(Disposition).first == 1
    assert _bodies(server) == [b"a", b"b"]


def test_rejected_messages(server: Server, client: Raw) -> None:
    """With the reason; the link stays."""
    client.sender("reject")
    for delivery_id in range(2):
        client.put(0, delivery_id)
        error = Error(condition="amqp:not-found", description="no such device", info={})
        assert client.get(Disposition).state == Rejected(error=error)


def test_messages_that_are_none(server: Server, client: Raw) -> None:
    """They are rejected and reach no address."""
    client.sender("echo")
    client.send(Transfer(handle=0, delivery_id=0), payload=b"garbage")
    assert client.get(Disposition).state.error.condition == "amqp:decode-error"
    assert server.toy.did == []


def test_messages_in_parts(server: Server, client: Raw) -> None:
    """Parts of several links may be mixed; an aborted message never was."""
    client.sender("echo", 0)
    client.sender("echo", 1)
    content = message_bytes(Message(body=b"x" * 1000))
    for start in range(0, len(content), 100):
        more = start + 100 < len(content)
        for handle in (0, 1):
            part = Transfer(handle=handle, delivery_id=handle if start == 0 else None, more=more)
            client.send(part, payload=content[start : start + 100])
    assert {client.get(Disposition).first for _ in range(2)} == {0, 1}
    client.send(Transfer(handle=0, delivery_id=2, more=True), payload=content[:500])
    client.send(Transfer(handle=0, delivery_id=2, more=True), payload=b"")
    client.send(Transfer(handle=0, delivery_id=2, aborted=True), payload=b"?")
    client.put(0, 3, b"y")
    assert client.get(Disposition).first == 3
    assert _bodies(server) == [b"x" * 1000, b"x" * 1000, b"y"]


def test_a_message_that_is_too_large(server: Server, client: Raw) -> None:
    """Its link ends at once; what else comes for it is ignored, and others go on."""
    client.sender("echo", 0)
    client.sender("echo", 1)
    for _ in range(5):
        client.send(Transfer(handle=0, delivery_id=0, more=True), payload=bytes(60_000))
    assert client.get(Detach).error.condition == "amqp:link:message-size-exceeded"
    client.put(1, 1)
    assert client.get(Disposition).first == 1


def test_too_many_unfinished_messages(server: Server, client: Raw) -> None:
    """All links of a connection together hold no more than one large message's parts."""
    for handle in range(3):
        client.sender("echo", handle)
    for handle in range(2):
        for _ in range(2):
            client.send(Transfer(handle=handle, delivery_id=handle, more=True), payload=bytes(60_000))
    client.send(Transfer(handle=2, delivery_id=2, more=True), payload=bytes(60_000))
    detach = client.get(Detach)
    assert (detach.handle, detach.error.condition) == (2, "amqp:resource-limit-exceeded")
    client.send(Transfer(handle=0, delivery_id=0, aborted=True), Detach(handle=1, closed=True))
    assert client.get(Detach).handle == 1
    client.sender("echo", 3)
    for _ in range(4):
        client.send(Transfer(handle=3, delivery_id=3, more=True), payload=bytes(60_000))
    assert client.quiet()


def test_messages_of_nobody(server: Server) -> None:
    """Before a policy is proved, messages are small."""
    with server.connect() as client:
        client.open("ANONYMOUS", b"")
        client.begin()
        client.sender("$cbs")
        client.put(0, 0, bytes(room.MAX_UNPROVED_BYTES))
        assert client.get(Detach).error.condition == "amqp:link:message-size-exceeded"


def test_a_strange_format(server: Server, client: Raw) -> None:
    """Batches of another vendor's making are refused."""
    client.sender("echo")
    client.put(0, 0, message_format=0x80013700)
    assert client.get(Detach).error.condition == "amqp:not-implemented"


def test_one_in_the_middle_of_another(server: Server, client: Raw) -> None:
    """A second delivery on a link before the first is complete is against the rules."""
    client.sender("echo")
    client.send(Transfer(handle=0, delivery_id=0, more=True))
    client.put(0, 1)
    assert "in the middle" in client.frame().performative.error.description  # type: ignore[union-attr]


def test_credit_is_renewed(server: Server, client: Raw) -> None:
    """A client that keeps to its credit can go on for ever."""
    client.sender("echo")
    credit, count = 100, 0
    for delivery_id in range(260):
        assert credit > 0
        client.put(0, delivery_id, settled=True)
        count, credit = count + 1, credit - 1
        if count % 50 == 0:
            told = client.get(Flow)
            assert (told.handle, told.delivery_count, told.link_credit) == (0, count, 100)
            assert told.next_incoming_id == count
            credit = 100


def test_the_window_is_renewed(server: Server, client: Raw) -> None:
    """And so can one that keeps to its session's window, in whatever number of frames."""
    client.sender("echo")
    client.send(*(Transfer(handle=0, delivery_id=0, more=True) for _ in range(1024)))
    told = client.get(Flow)
    assert (told.handle, told.next_incoming_id, told.incoming_window) == (None, 1024, 2048)


@pytest.mark.parametrize(
    ("address", "condition"), [("unlink", "amqp:link:detach-forced"), ("bug", "amqp:internal-error")]
)
def test_a_sink_that_fails(server: Server, client: Raw, address: str, condition: str) -> None:
    """Its link ends, and what comes late for it is ignored."""
    client.sender(address)
    client.put(0, 0)
    assert client.get(Detach).error.condition == condition
    client.put(0, 1)
    client.send(Detach(handle=0, closed=True))
    client.sender("echo", 0)
    client.put(0, 2)
    assert client.get(Disposition).first == 2
    assert len(server.toy.taken) == 2


def test_echo(server: Server, client: Raw) -> None:
    """A flow that asks is answered, of the session or of a link."""
    client.send(flow(None, echo=True))
    assert client.get(Flow).handle is None
    client.sender("echo", 0)
    client.send(flow(0, None, 7, echo=True))
    told = client.get(Flow)
    assert (told.handle, told.delivery_count, told.link_credit) == (0, 7, 100)
    client.receiver("empty", 1, credit=5)
    client.send(flow(1, 5, 0, echo=True))
    told = client.get(Flow)
    assert (told.handle, told.delivery_count, told.link_credit, told.drain) == (1, 0, 5, False)
