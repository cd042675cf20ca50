"""Links by which a client receives, frame by frame."""

from __future__ import annotations

import asyncio

import pytest

from agent.localhub.amqp import deliveries, room
from agent.localhub.amqp.node import Message
from agent.localhub.amqp.performatives import (
    Accepted,
    Detach,
    Disposition,
    Error,
    Flow,
    Modified,
    Received,
    Rejected,
    Released,
    Transfer,
)

from ..client import eventually
from .raw import Raw, flow
from .toy import Server


def _fill(server: Server, address: str, count: int, size: int = 1) -> None:
    server.toy.queue(address).extend(Message(body=b"%d" % n * size) for n in range(count))


def test_credit_is_respected(server: Server, client: Raw) -> None:
    """A spring is asked for so many, and not before it is wanted."""
    _fill(server, "numbers", 10)
    client.receiver("numbers")
    assert client.quiet()
    assert server.toy.asked == 0
    client.send(flow(0, 2, 0))
    assert [client.message()[1].body for _ in range(2)] == [b"0", b"1"]
    assert client.quiet()
    assert len(server.toy.queue("numbers")) == 8
    client.send(flow(0, 1, 2))
    assert client.message()[1].body == b"2"
    client.send(flow(0, 2, 0))  # said before it saw the others
    assert client.quiet()


def test_credit_taken_back(server: Server, client: Raw) -> None:
    """A spring is asked no longer, and nothing is lost by that."""
    client.receiver("numbers", credit=5)
    eventually(lambda: server.toy.asked == 1)
    for credit in (0, 5) * 20:
        client.send(flow(0, credit, 0))
    client.send(flow(0, 0, 0))
    eventually(lambda: server.toy.asked == 0)
    _fill(server, "numbers", 3)
    assert client.quiet()
    client.send(flow(0, 5, 0))
    assert [client.message()[1].body for _ in range(3)] == [b"0", b"1", b"2"]


def test_the_window_is_respected(server: Server, client: Raw) -> None:
    """Nothing is asked for, and no part of a message sent, that the session does not let through."""
    client.send(flow(None, incoming_window=2))
    _fill(server, "numbers", 3, size=100_000)
    client.receiver("numbers")
    client.send(flow(0, 10, 0, next_incoming_id=0, incoming_window=2))
    first = [client.transfer()[0] for _ in range(2)]
    assert [(part.delivery_id, part.more) for part in first] == [(0, True), (0, False)]
    assert client.quiet()
    assert len(server.toy.queue("numbers")) == 2
    client.send(flow(None, next_incoming_id=2, incoming_window=1))
    assert client.transfer()[0].more
    assert client.quiet()
    client.send(flow(None, next_incoming_id=1, incoming_window=2))  # said before it saw the last two
    assert client.quiet()
    client.send(flow(None, next_incoming_id=3, incoming_window=3))
    rest = [client.transfer()[0] for _ in range(3)]
    assert [(part.delivery_id, part.more) for part in rest] == [(1, False), (2, True), (2, False)]


@pytest.mark.parametrize("max_frame", [512, 4096, 1 << 20])
def test_frames_are_as_small_as_wanted(server: Server, max_frame: int) -> None:
    """A client says how large they may be; the hub makes none larger than it takes itself."""
    with server.connect() as client:
        client.open(max_frame_size=max_frame)
        client.begin(incoming_window=5000)
        _fill(server, "numbers", 1, size=200_000)
        client.receiver("numbers")
        client.send(flow(0, 1, 0, incoming_window=5000))
        body = b""
        more = True
        while more:
            head = client.exactly(8)
            size = int.from_bytes(head[:4], "big")
            assert size <= min(max_frame, room.MAX_FRAME_BYTES)
            frame_body = client.exactly(size - 8)
            more = b"\x41\x40\x40\x42\x42\x42" in frame_body[:60]
            body += frame_body
        assert body.count(b"0") >= 200_000


def test_drain(server: Server, client: Raw) -> None:
    """The client gets what there is, and then is told that all credit is used."""
    _fill(server, "numbers", 3)
    client.receiver("numbers")
    client.send(flow(0, 10, 0, drain=True))
    assert [client.message()[1].body for _ in range(3)] == [b"0", b"1", b"2"]
    told = client.get(Flow)
    assert (told.handle, told.delivery_count, told.link_credit, told.drain) == (0, 10, 0, True)
    _fill(server, "numbers", 1)
    assert client.quiet()
    client.send(flow(0, 0, 10, drain=True))
    assert client.get(Flow).delivery_count == 10
    client.send(flow(0, 1, 10))
    assert client.message()[1].body == b"0"


def test_verdicts(server: Server, client: Raw) -> None:
    """Each delivery's outcome reaches its spring once, whatever the ranges, and what is open is confirmed."""
    _fill(server, "numbers", 8)
    client.receiver("numbers", credit=8)
    ids = [client.message()[0].delivery_id for _ in range(8)]
    assert ids == list(range(8))
    error = Error(condition="amqp:x", description="why")
    client.send(
        Disposition(role=True, first=0, last=2, settled=True, state=Accepted()),
        Disposition(role=True, first=0, last=1, settled=True, state=Released()),
        Disposition(role=True, first=3, settled=True, state=Rejected(error=error)),
        Disposition(role=True, first=4, settled=False, state=Received(section_number=0, section_offset=0)),
        Disposition(role=True, first=5, last=6, settled=False, state=Accepted()),
    )
    confirmed = client.get(Disposition)
    assert (confirmed.role, confirmed.first, confirmed.last, confirmed.settled) == (False, 5, 6, True)
    assert confirmed.state == Accepted()
    assert [what for _, what in server.toy.did] == ["accepted"] * 3 + ["rejected"] + ["accepted"] * 2
    assert server.toy.rejected[0].description == "why"
    client.send(
        Disposition(role=False, first=4, settled=True),
        Disposition(role=True, first=4, settled=True),
        Disposition(role=True, first=7, settled=False, state=Modified()),
        Disposition(role=True, first=0, last=(1 << 31) - 1, settled=True, state=Accepted()),
    )
    assert client.get(Disposition).first == 7
    assert [what for _, what in server.toy.did[6:]] == ["released", "modified"]


@pytest.mark.parametrize("closed", [True, False])
def test_what_is_not_settled_goes_back(server: Server, client: Raw, closed: bool) -> None:
    """When its link ends, another reader gets it."""
    _fill(server, "numbers", 3)
    client.receiver("numbers", credit=2)
    client.message()
    client.message()
    client.send(
        Disposition(role=True, first=0, settled=True, state=Accepted()), Detach(handle=0, closed=closed)
    )
    assert client.get(Detach) == Detach(handle=0, closed=closed)
    client.send(Disposition(role=True, first=1, settled=True, state=Accepted()))
    client.receiver("numbers", 1, credit=5)
    assert [client.message()[1].body for _ in range(2)] == [b"1", b"2"]
    assert server.toy.did == [("settled", "accepted"), ("close", "numbers")]


def test_settled_deliveries(server: Server, client: Raw) -> None:
    """By the spring, or by the client's wish, when the spring is told that they are accepted."""
    _fill(server, "settled", 1)
    _fill(server, "numbers", 1)
    client.receiver("settled", 0, credit=1, snd_settle_mode=0)
    assert client.message()[0].settled
    assert client.receiver("numbers", 1, credit=1, snd_settle_mode=1).snd_settle_mode == 1
    assert client.message()[0].settled
    client.send(Detach(handle=1))
    client.get(Detach)
    assert server.toy.did == [("settled", "accepted"), ("close", "numbers")]


@pytest.mark.parametrize(
    ("address", "condition"), [("unlink", "amqp:link:detach-forced"), ("bug", "amqp:internal-error")]
)
def test_a_spring_that_fails(server: Server, client: Raw, address: str, condition: str) -> None:
    """Its link ends; others go on."""
    _fill(server, address, 1)
    client.receiver(address, 0, credit=1)
    assert client.get(Detach).error.condition == condition
    client.send(Detach(handle=0, closed=True))
    _fill(server, "numbers", 1)
    client.receiver("numbers", 0, credit=1)
    client.message()


def test_a_message_that_cannot_be_written(server: Server, client: Raw) -> None:
    """An address that makes one has a bug, which costs its link."""
    server.toy.queue("numbers").append(Message(properties={"colour": "red"}))
    client.receiver("numbers", 0, credit=1)
    assert client.get(Detach).error.condition == "amqp:internal-error"


def test_unsettled_deliveries_are_bounded(
    server: Server, client: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that settles nothing gets no more after some time, and more when it does."""
    monkeypatch.setattr(deliveries, "MAX_UNSETTLED", 3)
    _fill(server, "numbers", 5)
    client.receiver("numbers", credit=1000)
    for _ in range(3):
        client.message()
    assert client.quiet()
    client.send(Disposition(role=True, first=0, last=1, settled=True, state=Accepted()))
    assert [client.message()[1].body for _ in range(2)] == [b"3", b"4"]


def test_a_slow_reader(server: Server, client: Raw) -> None:
    """For a client that has credit and does not read, no more is fetched than fits into its socket."""
    _fill(server, "settled", 1000, size=100_000)
    client.send(flow(None, incoming_window=100_000))
    for handle in range(5):
        client.receiver("settled", handle)
    client.send(*(flow(handle, 1000, 0, incoming_window=100_000) for handle in range(5)))
    before = -1
    while before != len(server.toy.queue("settled")):
        before = len(server.toy.queue("settled"))
        server.run(asyncio.sleep(0.3))
    assert before > 900
    client.send(*(flow(handle, 0, 0, incoming_window=100_000) for handle in range(5)))


def test_several_links(server: Server, client: Raw) -> None:
    """Messages of several links come side by side, each whole, with ids that are the session's."""
    for handle, address in enumerate(("numbers", "others")):
        _fill(server, address, 20, size=30_000)
        client.receiver(address, handle)
    client.send(flow(0, 20, 0), flow(1, 20, 0))
    parts: dict[int, list[Transfer]] = {0: [], 1: []}
    while sum(not part.more for group in parts.values() for part in group) < 40:
        part, _ = client.transfer()
        parts[part.handle].append(part)
        client.send(flow(None, next_incoming_id=sum(map(len, parts.values()))))
    ids = sorted(part.delivery_id for group in parts.values() for part in group if not part.more)
    assert ids == list(range(40))
