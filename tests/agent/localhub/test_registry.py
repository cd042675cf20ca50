"""Devices: what may be said of one, and what changing or deleting it does."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.localhub.device_settings import DeviceSettings
from agent.localhub.records import DeviceExists, InvalidRequest, PreconditionFailed, UnknownDevice
from agent.localhub.registry import Statistics
from agent.localhub.store import Store
from tests.clock import FakeClock

KEYS = [base64.b64encode(bytes([n]) * size).decode() for n, size in ((1, 16), (2, 64))]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    store = Store(tmp_path / "hub", clock.wall)
    yield store
    store.close()


def test_a_device_may_bring_its_keys(store: Store) -> None:
    """Both, one, or none: what is missing is made, 32 random bytes each."""
    own = store.registry.create("a", DeviceSettings(*KEYS))
    half = store.registry.create("b", DeviceSettings(primary_key=KEYS[0]))
    made = store.registry.create("c")
    assert (own.primary_key, own.secondary_key) == tuple(KEYS)
    assert half.primary_key == KEYS[0] != half.secondary_key
    assert [len(base64.b64decode(key)) for key in (made.primary_key, made.secondary_key)] == [32, 32]
    assert made.primary_key != made.secondary_key
    assert [store.registry.get(d.device_id) for d in (own, half, made)] == [own, half, made]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("primary_key", "", "primary key"),
        ("primary_key", base64.b64encode(b"x" * 15).decode(), "16 to 64 bytes"),
        ("secondary_key", base64.b64encode(b"x" * 65).decode(), "secondary key"),
        ("primary_key", "not base64 at all", "not base64"),
        ("primary_key", KEYS[0] + "\n", "not base64"),
        ("secondary_key", "ü" * 24, "not base64"),
        ("primary_thumbprint", "", "primary thumbprint"),
        ("primary_thumbprint", "a" * 41, "40 or 64 hexadecimal digits"),
        ("secondary_thumbprint", "g" * 40, "secondary thumbprint"),
        ("secondary_thumbprint", "A" * 64 + "\n", "secondary thumbprint"),
        ("status_reason", "x" * 129, "129 characters, at most 128"),
    ],
)
def test_settings_that_azure_would_refuse_are_refused(field: str, value: str, words: str) -> None:
    """Keys, thumbprints and reasons out of their bounds; the message never tells a key."""
    with pytest.raises(InvalidRequest, match=words) as refused:
        DeviceSettings(**{field: value})  # type: ignore[arg-type]
    assert "key" not in field or not value or value not in str(refused.value)


def test_thumbprints_are_kept_in_capitals(store: Store) -> None:
    """SHA-1 or SHA-256, whatever case they come in."""
    device = store.registry.create(
        "a", DeviceSettings(primary_thumbprint="ab" * 20, secondary_thumbprint="Cd" * 32)
    )
    assert (device.primary_thumbprint, device.secondary_thumbprint) == ("AB" * 20, "CD" * 32)
    assert store.registry.get("a") == device


def test_an_update_says_what_it_changes(store: Store, clock: FakeClock) -> None:
    """The whole of the settings, but keys that are not given; the rest of the device stays."""
    created = store.registry.create("a", DeviceSettings(*KEYS))
    clock.advance(60)
    before, after = store.registry.update("a", DeviceSettings(enabled=False, status_reason="lost"))
    assert before == created
    assert after == replace(
        created, enabled=False, status_reason="lost", status_s=clock.wall(), etag=after.etag
    )
    assert store.registry.get("a") == after
    clock.advance(60)
    again = store.registry.update("a", DeviceSettings(KEYS[1], enabled=False))[1]
    assert (again.primary_key, again.secondary_key, again.status_reason) == (KEYS[1], KEYS[1], None)
    assert again.status_s == after.status_s


def test_every_state_has_an_etag_of_its_own(store: Store) -> None:
    """Also when nothing is changed by a change, and when a device is made anew."""
    etags = [store.registry.create("a").etag]
    etags += [store.registry.update("a", DeviceSettings(), etags[-1])[1].etag]
    store.registry.set_enabled("a", True)
    etags += [store.registry.get("a").etag]
    store.registry.delete("a", etags[-1])
    etags += [store.registry.create("a").etag]
    assert len(set(etags)) == 4


def test_another_etag_changes_nothing(store: Store) -> None:
    """Neither an update nor a deletion."""
    device = store.registry.create("a")
    with pytest.raises(PreconditionFailed, match="'a' has another ETag"):
        store.registry.update("a", DeviceSettings(enabled=False), "other")
    with pytest.raises(PreconditionFailed):
        store.registry.delete("a", "other")
    assert store.registry.get("a") == device


def test_who_is_not_there_cannot_be_changed(store: Store) -> None:
    """Whatever is to be done with it."""
    for change in (
        lambda: store.registry.update("a", DeviceSettings()),
        lambda: store.registry.delete("a"),
        lambda: store.registry.set_enabled("a", False),
        lambda: store.registry.begin_session("a", False),
    ):
        with pytest.raises(UnknownDevice, match="no device 'a'"):
            change()


def test_a_deleted_device_leaves_what_it_sent_only(store: Store) -> None:
    """Its session, twin and waiting messages are gone, and do not come back with a device of its id."""
    first = store.registry.create("a")
    store.registry.begin_session("a", False)
    store.registry.subscribe("a", {"x": 1})
    store.twins.update("a", tags={"place": "ridge"})
    waiting = store.c2d.add("a", b"x")
    store.registry.delete("a")
    with pytest.raises(UnknownDevice):
        store.twins.get("a")
    assert store.c2d.get(waiting.sequence).state == "purged"  # type: ignore[union-attr]
    second = store.registry.create("a")
    assert second.generation_id != first.generation_id
    assert store.registry.begin_session("a", False) is None
    assert (store.twins.get("a").tags, store.c2d.take("a", 10)) == ({}, [])
    with pytest.raises(DeviceExists):
        store.registry.create("a")


def test_devices_are_listed_in_pages(store: Store) -> None:
    """By id, so many, from behind an id on."""
    for name in ("b", "c", "a"):
        store.registry.create(name)

    def ids(limit: int | None = None, after: str = "") -> list[str]:
        return [device.device_id for device in store.registry.all(limit, after)]

    assert (ids(), ids(2), ids(2, "b"), ids(1, "bb"), ids(5, "c")) == (
        ["a", "b", "c"],
        ["a", "b"],
        ["c"],
        ["c"],
        [],
    )


def test_devices_are_counted(store: Store) -> None:
    """In all, and those that may connect."""
    assert store.registry.statistics() == Statistics(0, 0)
    for name in ("a", "b", "c"):
        store.registry.create(name, DeviceSettings(enabled=name != "b"))
    assert store.registry.statistics() == Statistics(3, 2)


def test_nobody_begins_a_session_who_would_be_refused_now(store: Store) -> None:
    """A device that was disabled or changed while it was being let in; one that stayed as it was is in."""
    device = store.registry.create("a")
    assert store.registry.begin_session("a", False, device.etag) is None
    with pytest.raises(PreconditionFailed, match="changed meanwhile"):
        store.registry.begin_session("a", False, "other")
    store.registry.set_enabled("a", False)
    with pytest.raises(PreconditionFailed, match="'a' is disabled"):
        store.registry.begin_session("a", False)
