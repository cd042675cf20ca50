"""Reading events at the event hub's addresses."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agent.localhub.amqp import filters
from agent.localhub.amqp.filters import Start
from agent.localhub.amqp.node import ACCEPTED, Described, LinkError, Symbol, Timestamp
from agent.localhub.auth import Admission
from agent.localhub.database import partition_of
from agent.localhub.notices import DeviceConnected
from agent.localhub.records import StoreFailed

from .service import Service, finish

PARTITION = partition_of("mast-1")
READ = f"masthead/ConsumerGroups/$Default/Partitions/{PARTITION}"
NAME = "apache.org:selector-filter:string"


def _from(selector: str) -> dict[str, Any]:
    return {NAME: Described(Symbol(NAME), selector)}


def _other_device(same_partition: bool) -> str:
    names = (f"mast-{n}" for n in range(2, 100))
    return next(name for name in names if (partition_of(name) == PARTITION) == same_partition)


async def _bodies(
    service: Service, count: int, selector: str | None = None, address: str = READ
) -> list[bytes]:
    spring = await service.spring(address, filters=None if selector is None else _from(selector))
    bodies = [(await spring.next()).message.body for _ in range(count)]
    spring.close()
    return bodies


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("amqp.annotation.x-opt-offset > '-1'", Start("number", 0)),
        ("amqp.annotation.x-opt-offset >= '-1'", Start("number", 0)),
        ("amqp.annotation.x-opt-offset > '7'", Start("number", 8)),
        ("  amqp.annotation.x-opt-offset >= '7' ", Start("number", 7)),
        ("amqp.annotation.x-opt-offset > '@latest'", Start("latest")),
        ("amqp.annotation.x-opt-offset >= '@latest'", Start("latest")),
        ("amqp.annotation.x-opt-sequence-number > '7'", Start("number", 8)),
        ("amqp.annotation.x-opt-sequence-number>=7", Start("number", 7)),
        ("amqp.annotation.x-opt-enqueued-time > '1763746800000'", Start("time", 1763746800000)),
        ("amqp.annotation.x-opt-enqueued-time >= '1763746800000'", Start("time", 1763746799999)),
        ("amqp.annotation.x-opt-enqueuedtimeutc > 1763746800000", Start("time", 1763746800000)),
        ("amqp.annotation.x-opt-enqueued-time > '-62135596800000'", Start("time", -62135596800000)),
    ],
)
def test_selectors_say_where_to_begin(selector: str, expected: Start) -> None:
    """By offset, sequence number or time, inclusive or not, as current and older SDKs write it."""
    assert filters.start(_from(selector)) == expected
    assert filters.start({"any": Described(0x468C00000004, selector.encode())}) == expected
    assert filters.start({NAME: selector}) == expected


def test_without_a_selector_reading_begins_at_the_beginning() -> None:
    """Other filters are not the hub's business."""
    assert filters.start({}) == filters.start({"other": Described("x", 1)}) == Start("number", 0)


@pytest.mark.parametrize(
    "selector",
    [
        "",
        "x-opt-offset > '1'",
        "amqp.annotation.x-opt-offset < '1'",
        "amqp.annotation.x-opt-offset > '1' OR 1",
        "amqp.annotation.x-opt-offset > ''",
        "amqp.annotation.x-opt-offset > 'one'",
        "amqp.annotation.x-opt-offset > '1.5'",
        "amqp.annotation.x-opt-partition > '1'",
        "amqp.annotation.x-opt-sequence-number > '@latest'",
        "amqp.annotation.x-opt-enqueued-time > '2026-01-01'",
        "amqp.annotation.x-opt-sequence-number > '9999999999999999999'",
        "amqp.annotation.x-opt-offset > '\u0661'",
        "x" * 100_000,
        5,
        None,
    ],
)
def test_a_selector_that_says_nothing_is_refused(selector: Any) -> None:
    """The link is refused and the reason quotes it."""
    with pytest.raises(LinkError, match="selector") as error:
        filters.start(_from(selector))
    assert error.value.condition == "amqp:invalid-field"
    assert len(error.value.description) < 500


def test_two_selectors_are_refused() -> None:
    """Nobody could say which counts."""
    two = {**_from("amqp.annotation.x-opt-offset > '1'"), "x": Described(NAME, "y")}
    with pytest.raises(LinkError, match="two selectors"):
        filters.start(two)


def test_an_event_carries_what_iot_hub_says_of_it(tmp_path: Path) -> None:
    """System properties as annotations and properties, under the names of the service."""

    async def run() -> None:
        with Service(tmp_path) as service:
            system = Admission(service.store.registry.get("mast-1"), 0, "device").system
            system |= {
                "message-id": "m1",
                "correlation-id": "ä",
                "user-id": "ann",
                "content-type": "application/json; ä",
                "content-encoding": "utf-8",
                "absolute-expiry-time": "2026-01-01T00:00:00.1234567Z",
                "iothub-creation-time-utc": "2026-01-01",
                "dt-subject": "top",
            }
            service.clock.set_wall(1_790_000_000.123)
            service.arrive(b"first")
            event = service.arrive(b"hello", **system)
            spring = await service.spring(READ, filters=_from("amqp.annotation.x-opt-sequence-number > '0'"))
            delivery = await spring.next()
            assert delivery.settled
            message = delivery.message
            assert message.body == b"hello"
            assert message.application_properties == {"own": "ä"}
            assert message.properties == {
                "to": "/devices/mast-1/messages/events",
                "message-id": "m1",
                "correlation-id": "ä",
                "user-id": b"ann",
                "content-type": "application/json; ?",
                "content-encoding": "utf-8",
                "absolute-expiry-time": Timestamp(1_767_225_600_123),
            }
            assert isinstance(message.properties["content-type"], Symbol)
            assert isinstance(message.properties["absolute-expiry-time"], Timestamp)
            assert message.annotations == {
                "iothub-connection-device-id": "mast-1",
                "iothub-connection-auth-method": system["iothub-connection-auth-method"],
                "iothub-connection-auth-generation-id": system["iothub-connection-auth-generation-id"],
                "iothub-message-source": "Telemetry",
                "iothub-enqueuedtime": Timestamp(1_790_000_000_123),
                "iothub-creation-time-utc": "2026-01-01",
                "dt-subject": "top",
                "x-opt-sequence-number": event.number,
                "x-opt-offset": "1",
                "x-opt-enqueued-time": Timestamp(1_790_000_000_123),
            }
            assert isinstance(message.annotations["x-opt-enqueued-time"], Timestamp)
            await spring.settled(delivery.key, ACCEPTED)
            spring.close()

    finish(run())


@pytest.mark.parametrize(
    "expiry", ["", "soon", "9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00+14:00", "2026"]
)
def test_no_expiry_of_a_device_stops_a_reader(tmp_path: Path, expiry: str) -> None:
    """What is no time is left out."""

    async def run() -> None:
        with Service(tmp_path) as service:
            service.arrive(b"x", absolute_expiry_time=expiry)
            assert await _bodies(service, 1) == [b"x"]

    finish(run())


@pytest.mark.parametrize(
    ("selector", "first"),
    [
        (None, 0),
        ("amqp.annotation.x-opt-offset > '-1'", 0),
        ("amqp.annotation.x-opt-offset > '1'", 2),
        ("amqp.annotation.x-opt-offset >= '1'", 1),
        ("amqp.annotation.x-opt-sequence-number > '3'", 4),
        ("amqp.annotation.x-opt-sequence-number > '4'", 5),
        ("amqp.annotation.x-opt-enqueued-time > '1790000001001'", 2),
        ("amqp.annotation.x-opt-enqueued-time >= '1790000001001'", 1),
        ("amqp.annotation.x-opt-enqueued-time > '1790000001000'", 1),
        ("amqp.annotation.x-opt-enqueued-time > '-5'", 0),
        ("amqp.annotation.x-opt-enqueued-time > '1790000004001'", 5),
        ("amqp.annotation.x-opt-enqueued-time > '999999999999999999'", 5),
        ("amqp.annotation.x-opt-offset > '@latest'", 5),
    ],
)
def test_reading_begins_where_the_selector_says(tmp_path: Path, selector: str | None, first: int) -> None:
    """Stored events from there on, and then what arrives, in their order and each once."""

    async def run() -> None:
        with Service(tmp_path) as service:
            for n in range(5):
                service.clock.set_wall(1_790_000_000.001 + n)
                service.arrive(b"%d" % n)
            spring = await service.spring(READ, filters=None if selector is None else _from(selector))
            service.arrive(b"5")
            service.arrive(b"6")
            bodies = [(await spring.next()).message.body for _ in range(7 - first)]
            assert bodies == [b"%d" % n for n in range(first, 7)]
            spring.close()

    finish(run())


@pytest.mark.parametrize("kind", ["offset", "sequence-number"])
def test_a_position_that_is_not_there_yet_is_refused(tmp_path: Path, kind: str) -> None:
    """It comes from another hub's events: to wait for it would be to lose all before it."""

    async def run() -> None:
        with Service(tmp_path) as service:
            service.arrive(b"0")
            await _bodies(service, 0, f"amqp.annotation.x-opt-{kind} > '0'")
            with pytest.raises(LinkError, match=r"offset 5 .* its last is 0") as error:
                await _bodies(service, 0, f"amqp.annotation.x-opt-{kind} > '5'")
            assert error.value.condition == "com.microsoft:argument-error"

    finish(run())


def test_a_partition_has_its_devices_only_and_each_group_all_of_it(tmp_path: Path) -> None:
    """Numbers rise without gaps within a partition; the group's name may be written in any case."""

    async def run() -> None:
        with Service(tmp_path) as service:
            near, far = _other_device(True), _other_device(False)
            for n, device in enumerate(["mast-1", far, near, "mast-1"]):
                service.arrive(b"%d" % n, device)
            for group in ("$Default", "$default", "%24default", "masthead", "MASTHEAD"):
                address = f"amqps://localhost/masthead/consumergroups/{group}/partitions/{PARTITION}"
                assert await _bodies(service, 3, address=address) == [b"0", b"2", b"3"]
            spring = await service.spring(READ)
            numbers = [(await spring.next()).message.annotations["x-opt-sequence-number"] for _ in range(3)]
            assert numbers == [0, 1, 2]

    finish(run())


def test_a_reader_that_waits_is_woken(tmp_path: Path) -> None:
    """By an event of its partition, however much else happens; cancelled, it loses nothing."""

    async def run() -> None:
        with Service(tmp_path) as service:
            spring = await service.spring(READ)
            for n in range(20):
                waiting = asyncio.ensure_future(spring.next())
                await asyncio.sleep(0.005)
                service.arrive(b"x", _other_device(False))
                service.board.post(DeviceConnected("mast-1"))
                await asyncio.sleep(0)
                if n % 2:
                    waiting.cancel()
                    waiting = asyncio.ensure_future(spring.next())
                service.arrive(b"%d" % n)
                assert (await waiting).message.body == b"%d" % n
            spring.close()

    finish(run())


def test_many_large_events_are_not_read_at_once(tmp_path: Path) -> None:
    """A reader that takes one event has no more in memory than a bound, and gets all in the end."""

    async def run() -> None:
        with Service(tmp_path) as service:
            for n in range(6):
                service.arrive(bytes([n]) * 200_000)
            assert len(service.store.events.read(PARTITION, 0)) == 2
            assert [body[0] for body in await _bodies(service, 6)] == [0, 1, 2, 3, 4, 5]

    finish(run())


def test_a_time_means_what_was_stored_later(tmp_path: Path) -> None:
    """Of several events, the first; none if there is none."""

    async def run() -> None:
        with Service(tmp_path) as service:
            at_s = service.clock.wall()
            service.arrive(b"0")
            service.clock.advance(1)
            service.arrive(b"1")
            service.arrive(b"2")
            since = service.store.events.number_since
            found = [since(PARTITION, at_s + after_s) for after_s in (-1, 0, 0.5, 1)]
            assert found == [0, 1, 1, None]

    finish(run())


def test_reading_uses_indexes(tmp_path: Path) -> None:
    """However many events there are, a reader looks at its own only."""
    plans = []

    async def run() -> None:
        with Service(tmp_path) as service:
            service.arrive(b"x")
            connection = service.store._database._reader
            statements: list[str] = []
            connection.set_trace_callback(statements.append)
            service.store.events.read(0, 0)
            service.store.events.span(0)
            service.store.events.number_since(0, 0.0)
            connection.set_trace_callback(None)
            for statement in statements:
                plans.extend(row["detail"] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}"))

    finish(run())
    assert len(plans) == 4
    assert all(plan.startswith("SEARCH event USING") for plan in plans), plans


def _epoch(value: Any) -> dict[str, Any]:
    return {"com.microsoft:epoch": value}


@pytest.mark.parametrize(("old", "new"), [(None, 0), (0, 0), (1, 5)])
def test_a_reader_with_an_epoch_takes_the_place_of_others(tmp_path: Path, old: int | None, new: int) -> None:
    """Those of its group and partition end, also while they wait; other groups read on."""

    async def run() -> None:
        with Service(tmp_path) as service:
            elsewhere = await service.spring(READ.replace("$Default", "masthead"), properties=_epoch(0))
            first = await service.spring(READ, properties={} if old is None else _epoch(old))
            waiting = asyncio.ensure_future(first.next())
            await asyncio.sleep(0.01)
            second = await service.spring(READ, properties=_epoch(new))
            with pytest.raises(LinkError, match=f"came with epoch {new}") as error:
                await waiting
            assert error.value.condition == "amqp:link:stolen"
            with pytest.raises(LinkError):
                await first.next()
            first.close()
            service.arrive(b"x")
            assert [(await s.next()).message.body for s in (second, elsewhere)] == [b"x", b"x"]
            second.close()
            (await service.spring(READ)).close()

    finish(run())


@pytest.mark.parametrize("new", [None, 4])
def test_a_reader_with_less_is_refused(tmp_path: Path, new: int | None) -> None:
    """Its link ends, and the one with the higher epoch reads on."""

    async def run() -> None:
        with Service(tmp_path) as service:
            first = await service.spring(READ, properties=_epoch(5))
            with pytest.raises(LinkError, match=r"has epoch 5, not (none|4)") as error:
                await service.spring(READ, properties={} if new is None else _epoch(new))
            assert error.value.condition == "amqp:link:stolen"
            service.arrive(b"x")
            assert (await first.next()).message.body == b"x"

    finish(run())


@pytest.mark.parametrize("value", [-1, True, "1", b"1", 1.5])
def test_an_epoch_is_a_number(tmp_path: Path, value: Any) -> None:
    """Anything else is refused."""

    async def run() -> None:
        with Service(tmp_path) as service:
            wanted = service.spring(READ, properties=_epoch(value))
            with pytest.raises(LinkError, match="expected a whole number from 0"):
                await wanted

    finish(run())


def test_five_readers_share_a_partition(tmp_path: Path) -> None:
    """The sixth is told what to do, and comes in when one has gone; another group has five of its own."""

    async def run() -> None:
        with Service(tmp_path) as service:
            readers = [await service.spring(READ) for _ in range(5)]
            with pytest.raises(LinkError, match="read with another group") as error:
                await service.spring(READ)
            assert error.value.condition == "amqp:resource-limit-exceeded"
            await service.spring(READ.replace("$Default", "masthead"))
            readers[0].close()
            await service.spring(READ)

    finish(run())


def test_a_store_that_fails_ends_the_link_and_not_the_hub(tmp_path: Path) -> None:
    """The reader is told what failed, at once or later."""

    def fail(*_: object) -> None:
        raise StoreFailed("the store failed: disk I/O error")

    async def run() -> None:
        with Service(tmp_path) as service:
            spring = await service.spring(READ)
            service.store.events.read = service.store.events.span = fail  # type: ignore[method-assign, assignment]
            for attempt in (spring.next(), service.spring(READ)):
                with pytest.raises(LinkError, match="disk I/O error") as error:
                    await attempt
                assert error.value.condition == "amqp:internal-error"

    finish(run())
