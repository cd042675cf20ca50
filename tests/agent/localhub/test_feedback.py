"""What senders are told of their messages to devices, by a clock that the test moves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from agent.localhub.c2d import MAX_DELIVERIES as MAX_SENT
from agent.localhub.database import Database
from agent.localhub.feedback import LOCK_S, MAX_DELIVERIES, MAX_RECORDS, TTL_S, FeedbackBatch, FeedbackQueue
from agent.localhub.records import Ack, StoreFailed
from agent.localhub.store import Store
from tests.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    store = Store(tmp_path / "hub", clock.wall)
    store.registry.ensure("mast-1")
    yield store
    store.close()


End = Literal["delivered", "expired", "given up", "rejected", "purged"]


def _end(store: Store, clock: FakeClock, end: End, ack: Ack = "full", message_id: str | None = "m") -> None:
    """A message that gets this final state."""
    message = store.c2d.add("mast-1", b"x", message_id=message_id, ack=ack, expires_in_s=10)
    match end:
        case "delivered":
            store.c2d.take("mast-1", 1)
            store.c2d.delivered(message.sequence)
        case "expired":
            clock.advance(15)
            store.c2d.settle_overdue()
        case "given up":
            for _ in range(MAX_SENT):
                store.c2d.take("mast-1", 1)
                store.c2d.release("mast-1")
            store.c2d.settle_overdue()
        case "rejected":
            store.c2d.take("mast-1", 1)
            store.c2d.rejected(message.sequence)
        case "purged":
            assert len(store.c2d.purge("mast-1")) == 1


def _take(store: Store) -> FeedbackBatch:
    batch = store.feedback.take()
    assert batch is not None
    return batch


def _records(batch: FeedbackBatch | None) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = [] if batch is None else json.loads(batch.body)
    assert len(records) == (0 if batch is None else batch.count)
    return records


@pytest.mark.parametrize(
    ("end", "status", "acks"),
    [
        ("delivered", "Success", {"positive", "full"}),
        ("expired", "Expired", {"negative", "full"}),
        ("given up", "DeliveryCountExceeded", {"negative", "full"}),
        ("rejected", "Rejected", {"negative", "full"}),
        ("purged", "Purged", {"negative", "full"}),
    ],
)
@pytest.mark.parametrize("ack", ["none", "positive", "negative", "full"])
def test_a_sender_hears_what_it_asked_for(
    store: Store, clock: FakeClock, end: End, status: str, acks: set[str], ack: Ack
) -> None:
    """With the status that IoT Hub gives each end, and nothing it did not ask for."""
    _end(store, clock, end, ack)
    records = _records(store.feedback.take())
    assert [record["statusCode"] for record in records] == ([status] if ack in acks else [])


def test_a_record_says_which_message_when_and_what(store: Store, clock: FakeClock) -> None:
    """Under the names that IoT Hub gives them; the time is that of the end."""
    clock.set_wall(1_790_000_000.25)
    _end(store, clock, "expired")
    assert _records(store.feedback.take()) == [
        {
            "originalMessageId": "m",
            "description": "Expired",
            "statusCode": "Expired",
            "deviceId": "mast-1",
            "deviceGenerationId": store.registry.get("mast-1").generation_id,
            "enqueuedTimeUtc": "2026-09-21T14:13:30.2500000Z",
        }
    ]


def test_the_record_and_the_end_are_one_commit(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the one cannot be stored, the other is not, either."""

    def fail(*_: object) -> None:
        raise StoreFailed("the store failed: disk I/O error")

    message = store.c2d.add("mast-1", b"x", ack="full", message_id="m")
    store.c2d.take("mast-1", 1)
    monkeypatch.setattr(store.feedback, "put", fail)
    with pytest.raises(StoreFailed):
        store.c2d.delivered(message.sequence)
    now = store.c2d.get(message.sequence)
    assert now is not None
    assert now.state == "queued"


def test_a_message_without_an_id_has_a_record_without_one(store: Store, clock: FakeClock) -> None:
    """The record names the device at least."""
    _end(store, clock, "delivered", message_id=None)
    assert _records(store.feedback.take())[0]["originalMessageId"] == ""


def test_a_batch_has_at_most_sixty_four_oldest_first(store: Store, clock: FakeClock) -> None:
    """The rest is in the next one."""
    for n in range(MAX_RECORDS + 2):
        _end(store, clock, "delivered", message_id=f"m{n}")
    first, second = _take(store), _take(store)
    assert [r["originalMessageId"] for r in _records(first)] == [f"m{n}" for n in range(MAX_RECORDS)]
    assert [r["originalMessageId"] for r in _records(second)] == ["m64", "m65"]
    assert store.feedback.take() is None


def test_a_record_is_one_readers_until_it_gives_it_back(store: Store, clock: FakeClock) -> None:
    """Completed it is gone for good; abandoned it comes again, counted, and before younger ones."""
    _end(store, clock, "delivered", message_id="m1")
    first = _take(store)
    assert (first.delivery_count, store.feedback.take()) == (1, None)
    _end(store, clock, "delivered", message_id="m2")
    assert store.feedback.abandon(first.token)
    again = _take(store)
    assert ([r["originalMessageId"] for r in _records(again)], again.delivery_count) == (["m1", "m2"], 2)
    assert not store.feedback.complete(first.token)
    assert store.feedback.complete(again.token)
    assert not store.feedback.complete(again.token)
    assert not store.feedback.abandon(again.token)
    assert store.feedback.take() is None


def test_a_lock_ends(store: Store, clock: FakeClock) -> None:
    """Afterwards the records are whose who asks, and its token opens nothing."""
    _end(store, clock, "delivered")
    late = _take(store)
    clock.advance(LOCK_S - 1)
    assert store.feedback.take() is None
    clock.advance(1)
    assert not store.feedback.complete(late.token)
    assert not store.feedback.abandon(late.token)
    again = _take(store)
    assert again.delivery_count == 2
    assert not store.feedback.complete(late.token)
    assert store.feedback.complete(again.token)


def test_a_record_is_given_out_ten_times_and_then_dropped(store: Store, clock: FakeClock) -> None:
    """A reader that never settles cannot hold up the others for ever."""
    _end(store, clock, "delivered")
    for _ in range(MAX_DELIVERIES):
        store.feedback.abandon(_take(store).token)
    assert store.feedback.take() is None


def test_a_record_that_nobody_reads_ends_after_an_hour(
    store: Store, clock: FakeClock, tmp_path: Path
) -> None:
    """Neither is it given out afterwards nor does it stay on the disk."""
    _end(store, clock, "delivered", message_id="old")
    clock.advance(TTL_S)
    assert store.feedback.take() is None
    _end(store, clock, "delivered", message_id="older")
    clock.advance(TTL_S)
    _end(store, clock, "delivered", message_id="new")
    with store._database.read() as db:
        assert db.execute("SELECT count(*) FROM feedback").fetchone()[0] == 1
    assert [r["originalMessageId"] for r in _records(store.feedback.take())] == ["new"]


def test_a_restart_gives_back_what_was_not_completed(store: Store, clock: FakeClock, tmp_path: Path) -> None:
    """With its count."""
    _end(store, clock, "delivered")
    _take(store)
    store.close()
    again = Store(tmp_path / "hub", clock.wall)
    assert _take(again).delivery_count == 2
    again.close()


def test_readers_are_told_when_there_may_be_something(store: Store, clock: FakeClock) -> None:
    """After the commit of a record, and when one is given back."""
    seen: list[FeedbackBatch | None] = []

    def told() -> None:
        seen.append(store.feedback.take())

    store.feedback.subscribe(told)
    _end(store, clock, "delivered")
    assert seen[-1] is not None
    store.feedback.unsubscribe(told)
    store.feedback.abandon(seen[-1].token)
    assert len(_records(store.feedback.take())) == 1


def test_what_is_not_counted_is_not_locked(tmp_path: Path, store: Store, clock: FakeClock) -> None:
    """A batch that could not be taken for want of a disk is there for the next who asks."""
    _end(store, clock, "delivered")

    class Failing(Database):
        failing = True

        def write(self) -> Any:
            if self.failing:
                raise StoreFailed("the store failed: disk I/O error")
            return super().write()

    database = Failing(tmp_path / "hub" / "hub.db")
    queue = FeedbackQueue(database, clock.wall)
    with pytest.raises(StoreFailed):
        queue.take()
    Failing.failing = False
    assert len(_records(queue.take())) == 1
    database.close()


def test_a_purge_takes_what_waits_and_what_is_in_flight(store: Store, clock: FakeClock) -> None:
    """Of that device only; an acknowledgement that comes later changes nothing."""
    store.registry.ensure("mast-2")
    sent = store.c2d.add("mast-1", b"x")
    store.c2d.take("mast-1", 1)
    store.c2d.add("mast-1", b"x")
    other = store.c2d.add("mast-2", b"x")
    assert len(store.c2d.purge("mast-1")) == 2
    assert store.c2d.delivered(sent.sequence) is None
    assert [m.state for m in store.c2d.latest("mast-1")] == ["purged", "purged"]
    assert store.c2d.get(other.sequence) == other
    assert len(store.c2d.purge("mast-1")) == 0
