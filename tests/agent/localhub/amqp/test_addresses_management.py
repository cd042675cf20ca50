"""Asking what there is of events, at the event hub's address."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.localhub.amqp.node import Int, Message, Timestamp
from agent.localhub.database import partition_of

from .service import FakePeer, Service, ask, finish

PARTITION = partition_of("mast-1")


async def _managed(service: Service, peer: FakePeer | None = None, **asked: Any) -> Message:
    spring = await service.spring("$management", peer, reply_address="$management")
    sink = await service.sink("masthead/$management", peer)
    request = {"operation": "READ", "type": "com.microsoft:eventhub", "name": "masthead"} | asked
    return await ask(sink, spring, Message(properties={"message-id": "1"}, application_properties=request))


def test_the_event_hub_says_what_it_is(tmp_path: Path) -> None:
    """Its partitions are an array of strings; the request's token is enough."""

    async def run() -> None:
        with Service(tmp_path) as service:
            reply = await _managed(service, FakePeer(), security_token=service.token())
            assert reply.application_properties["status-code"] == 200
            assert isinstance(reply.application_properties["status-code"], Int)
            assert reply.properties["correlation-id"] == "1"
            assert reply.value == {
                "name": "masthead",
                "type": "com.microsoft:eventhub",
                "created_at": Timestamp(service.clock.wall() * 1000),
                "partition_count": 4,
                "partition_ids": ("0", "1", "2", "3"),
            }

    finish(run())


def test_a_partition_says_what_it_holds(tmp_path: Path) -> None:
    """Empty or not."""

    async def run() -> None:
        with Service(tmp_path) as service:
            asked = {"type": "com.microsoft:partition", "partition": str(PARTITION), "name": "Masthead"}
            empty = (await _managed(service, **asked)).value
            assert empty == {
                "name": "masthead",
                "type": "com.microsoft:partition",
                "partition": str(PARTITION),
                "begin_sequence_number": 0,
                "last_enqueued_sequence_number": -1,
                "last_enqueued_offset": "-1",
                "last_enqueued_time_utc": Timestamp(0),
                "is_partition_empty": True,
            }
            for _ in range(3):
                service.arrive(b"x")
            assert (await _managed(service, **asked)).value == empty | {
                "last_enqueued_sequence_number": 2,
                "last_enqueued_offset": "2",
                "last_enqueued_time_utc": Timestamp(service.clock.wall() * 1000),
                "is_partition_empty": False,
            }

    finish(run())


def _token(policy: str, scope: str = "localhost") -> Callable[[Service], dict[str, Any]]:
    return lambda service: {"security_token": service.token(policy, scope=scope)}


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ({"operation": "CREATE"}, 400, "operation 'CREATE'"),
        ({"operation": None}, 400, "operation None"),
        ({"name": "other"}, 404, "no event hub 'other': there is 'masthead'"),
        ({"name": None}, 404, "no event hub None"),
        ({"type": "com.microsoft:topic"}, 404, "type 'com.microsoft:topic'"),
        ({"type": "com.microsoft:partition", "partition": "4"}, 404, "no partition '4': there are 0 to 3"),
        ({"type": "com.microsoft:partition", "partition": 1}, 404, "no partition 1"),
        ({"type": "com.microsoft:partition"}, 404, "no partition None"),
        ({"security_token": "x"}, 401, "no shared access signature"),
        ({"security_token": b"\xff"}, 401, "no shared access signature"),
        (_token("device"), 401, "policy 'device' lacks the right ServiceConnect"),
        (_token("service", "localhost/messages"), 401, "which is not for 'masthead'"),
    ],
)
def test_what_management_cannot_say_it_says(tmp_path: Path, asked: Any, status: int, said: str) -> None:
    """The status is an int, and the description names what was asked for."""

    async def run() -> None:
        with Service(tmp_path) as service:
            reply = await _managed(service, **(asked(service) if callable(asked) else asked))
            assert reply.application_properties["status-code"] == status
            assert said in reply.application_properties["status-description"]

    finish(run())


def test_management_wants_a_token_from_whom_has_shown_none(tmp_path: Path) -> None:
    """Without one it says nothing but that."""

    async def run() -> None:
        with Service(tmp_path) as service:
            for peer in (FakePeer(), FakePeer("service", policy_path="messages")):
                reply = await _managed(service, peer)
                assert (reply.application_properties["status-code"], reply.value) == (401, None)

    finish(run())
