"""What differs between two looks at a twin."""

from __future__ import annotations

from typing import Any

import pytest

from agent.operator.twins import changes, parts


def twin(reported: object, **rest: object) -> dict[str, Any]:
    return {"properties": {"reported": reported, "desired": {}}, **rest}


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"a": 1}, {"a": 2}, ["reported.a: 1 -> 2"]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, ["reported.a.c: 2 -> 3"]),
        ({}, {"a": "x"}, ['reported.a: null -> "x"']),
        ({"a": {"b": 1}}, {}, ['reported.a: {"b": 1} -> null']),
        ({"a": 1}, {"a": True}, ["reported.a: 1 -> true"]),
        ({"$version": 1, "$metadata": {"a": 1}}, {"$version": 2, "$metadata": {"a": 2}}, []),
        ({"a": [1]}, {"a": [1]}, []),
    ],
)
def test_each_value_that_changed_is_told(before: object, after: object, told: list[str]) -> None:
    """By its path; versions and metadata are none of it."""
    assert [str(change) for change in changes(twin(before), twin(after))] == told


def test_tags_belong_to_it() -> None:
    """And a twin may lack any part."""
    assert [str(c) for c in changes({}, twin({}, tags={"site": "n"}))] == ['tags.site: null -> "n"']
    assert changes({}, {}) == []


def test_what_the_hub_adds_is_left_out() -> None:
    """Metadata, not the version."""
    shown = parts(twin({"a": 1, "$metadata": {}, "$version": 3}))
    assert shown == {"tags": {}, "desired": {}, "reported": {"a": 1, "$version": 3}}
