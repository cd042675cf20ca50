"""Twins: the invariants at the head of twins.py, and the rules of IoT Hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.localhub.records import InvalidRequest, PreconditionFailed, UnknownDevice
from agent.localhub.store import Store
from agent.localhub.twin_rules import MAX_TAGS_BYTES, merged
from agent.localhub.twins import iso_time
from tests.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    store = Store(tmp_path / "hub", clock.wall)
    store.registry.create("a")
    yield store
    store.close()


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"x": value}
    return value


def test_a_new_device_has_an_empty_twin(store: Store, clock: FakeClock) -> None:
    """Version 1 of everything, the same each time that it is read, and none of an earlier device's ETags."""
    created = clock.wall()
    first = store.twins.get("a")
    clock.advance(60)
    assert store.twins.get("a") == first
    assert (first.version, first.tags, first.desired.values, first.reported.values) == (1, {}, {}, {})
    assert first.desired.for_service == {"$metadata": {"$lastUpdated": iso_time(created)}, "$version": 1}
    store.registry.delete("a")
    store.registry.create("a")
    assert store.twins.get("a").etag != first.etag
    with pytest.raises(UnknownDevice):
        store.twins.get("b")


def test_a_change_is_on_the_disk_with_its_version(tmp_path: Path) -> None:
    """Invariant 1: another start of the hub sees it; the versions of the two sides are counted apart."""
    store = Store(tmp_path / "hub")
    store.registry.create("a")
    store.twins.report("a", {"wind": 3})
    store.twins.report("a", {"wind": 4})
    store.twins.update("a", desired={"interval": 60})
    before = store.twins.get("a")
    store.close()
    store = Store(tmp_path / "hub")
    assert store.twins.get("a") == before
    assert before.reported.for_device == {"wind": 4, "$version": 3}
    assert before.desired.for_device == {"interval": 60, "$version": 2}
    store.close()


def test_a_refused_change_changes_nothing(store: Store) -> None:
    """Invariant 1: neither the good half of it."""
    before = store.twins.get("a")
    for change in (
        {"tags": {"good": 1}, "desired": {"bad name": 1}},
        {"tags": {"good": 1}, "desired": {"x": "y" * 4096, "z": ["y" * 4096] * 8}},
    ):
        with pytest.raises(InvalidRequest):
            store.twins.update("a", **change)  # type: ignore[arg-type]
    assert store.twins.get("a") == before


def test_each_side_is_its_owners(store: Store) -> None:
    """Invariant 2: a report leaves ETag, tags and desired properties; an update leaves the reported ones."""
    first = store.twins.get("a")
    store.twins.report("a", {"wind": 3})
    reported = store.twins.get("a")
    assert (reported.etag, reported.version, reported.desired) == (first.etag, first.version, first.desired)
    updated = store.twins.update("a", tags={"place": "ridge"})
    assert (updated.reported, updated.desired) == (reported.reported, first.desired)
    assert (updated.version, updated.etag != first.etag) == (2, True)


def test_merging(store: Store) -> None:
    """An object merges, null removes, anything else replaces; a replacement begins with nothing."""
    store.twins.update("a", desired={"x": {"y": 1, "z": 2}, "gone": 1, "list": [1, 2]})
    patched = store.twins.update("a", desired={"x": {"y": None, "w": 3}, "gone": None, "list": [3]})
    assert patched.desired.values == {"x": {"z": 2, "w": 3}, "list": [3]}
    replaced = store.twins.update("a", desired={"x": {"y": {"deep": None, "kept": True}}}, replace=True)
    assert replaced.desired.for_device == {"x": {"y": {"kept": True}}, "$version": 4}
    assert store.twins.update("a", desired={"x": 5}).desired.values == {"x": 5}
    assert store.twins.update("a", desired={"x": {"y": 6}}).desired.values == {"x": {"y": 6}}


def test_metadata_tells_when_each_value_was_written(store: Store, clock: FakeClock) -> None:
    """In the shape of the values, with the version that wrote it."""
    first_s = clock.wall()
    store.twins.update("a", desired={"x": {"y": 1}, "z": 1})
    clock.advance(60)
    metadata = store.twins.update("a", desired={"x": {"w": 2}}).desired.for_service["$metadata"]
    old = {"$lastUpdated": iso_time(first_s), "$lastUpdatedVersion": 2}
    new = {"$lastUpdated": iso_time(clock.wall()), "$lastUpdatedVersion": 3}
    assert metadata == {**new, "x": {**new, "y": old, "w": new}, "z": old}
    removed = store.twins.update("a", desired={"x": None}).desired.for_service["$metadata"]
    assert "x" not in removed


def test_another_etag_changes_nothing(store: Store) -> None:
    """The update whose ETag is over is refused, that with the newest is done."""
    first = store.twins.get("a")
    second = store.twins.update("a", tags={"x": 1}, if_match=first.etag)
    with pytest.raises(PreconditionFailed, match="another ETag"):
        store.twins.update("a", tags={"x": 2}, if_match=first.etag)
    assert store.twins.get("a") == second


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ([], "expected a JSON object"),
        ("x", "expected a JSON object"),
        ({"": 1}, "is no name"),
        ({"a.b": 1}, "is no name"),
        ({"$a": 1}, "is no name"),
        ({"x": {"a b": 1}}, "is no name"),
        ({"x": [{"a\n": 1}]}, "is no name"),
        ({"\ud800": 1}, "is no name"),
        ({"n" * 1025: 1}, "is no name"),
        (nested(11), "deeper than 10 levels"),
        ({"x": [[[[[[[[[[1]]]]]]]]]]}, "deeper than 10 levels"),
        ({"x": "y" * 4097}, "more than 4096 bytes"),
        ({"x": 2**52 + 1}, r"beyond 2\*\*52"),
        ({"x": float("nan")}, "not JSON"),
        ({"x": [float("inf")]}, "not JSON"),
        ({f"n{i}": "y" * 4096 for i in range(9)}, "at most"),
    ],
)
def test_what_azure_would_refuse_is_refused(store: Store, bad: Any, words: str) -> None:
    """Invariant 3, on every side of the twin."""
    for change in (
        lambda: store.twins.report("a", bad),
        lambda: store.twins.update("a", tags=bad),
        lambda: store.twins.update("a", desired=bad),
    ):
        with pytest.raises(InvalidRequest, match=words):
            change()


def test_what_azure_takes_is_taken(store: Store) -> None:
    """Ten levels, long texts, every kind of value; version and metadata are passed over."""
    good = {"x": nested(9), "text": "y" * 4096, "all": [1, 2.5, True, "½", {"in": "list"}], "n": -(2**52)}
    assert store.twins.update("a", desired=good).desired.values == good
    again = store.twins.get("a").desired.for_service
    assert store.twins.update("a", desired=again, replace=True).desired.values == good
    assert store.twins.report("a", {"$version": 7, "x": 1}).for_device == {"x": 1, "$version": 2}


@pytest.mark.parametrize("character", ["y", "ü", "日", "😀", "\ud800"])
def test_sizes_are_those_of_utf_8(store: Store, character: str) -> None:
    """A twin may be as large in any script, to the byte; a lone surrogate has three."""
    size = len(character.encode(errors="surrogatepass"))
    full, rest = divmod(MAX_TAGS_BYTES - len('{"a":"","b":"","c":""}'), size)
    texts = [character * (full // 3), character * (full // 3), character * (full - 2 * (full // 3))]
    tags = dict(zip("abc", texts, strict=True))
    tags["a"] += "." * rest
    assert store.twins.update("a", tags=tags).tags == tags
    tags["b"] += "."
    with pytest.raises(InvalidRequest, match=f"tags are {MAX_TAGS_BYTES + 1} bytes, at most"):
        store.twins.update("a", tags=tags)
    desired = {f"n{i}": character * (4096 // size) for i in range(7)}
    assert store.twins.update("a", desired=desired).desired.values == desired
    assert store.twins.report("a", desired).values == desired
    with pytest.raises(InvalidRequest, match="more than 4096 bytes"):
        store.twins.update("a", desired={"x": character * (4096 // size + 1)})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)


def has_null(value: Any) -> bool:
    return isinstance(value, dict) and any(v is None or has_null(v) for v in value.values())


@given(OBJECTS, OBJECTS)
def test_a_merge_leaves_no_null_and_repeats_without_effect(before: Any, changes: Any) -> None:
    """Whatever is merged into what was merged before."""
    start = merged({}, before)
    after = merged(start, changes)
    assert not has_null(after)
    assert merged(after, changes) == after
    assert merged(start, {}) == start
