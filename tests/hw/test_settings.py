"""Tables become dataclasses, or all that is wrong with them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.settings import SettingError, did_you_mean, parse, setting, toml_text


@dataclass(frozen=True)
class Inner:
    depth: int = setting(1, doc="how deep", minimum=0)


@dataclass(frozen=True)
class Sample:
    pin: int = setting(doc="which pin", minimum=0, maximum=27, example=17)
    level: float = setting(0.5, doc="how much", minimum=0, maximum=1)
    name: str = setting("vane", doc="what it is called")
    mode: str = setting("slow", doc="how fast", choices=("slow", "fast"))
    gain: int = setting(1, doc="how strong", choices=(1, 2, 4))
    active: bool = setting(True, doc="whether")
    safe: bool | float = setting(False, doc="what does no harm")
    limit: float | None = setting(None, doc="at most", maximum=10)
    tags: tuple[str, ...] = setting((), doc="labels")
    properties: Mapping[str, str] = setting({}, doc="more labels")
    inner: Inner = dataclasses.field(default_factory=Inner)


@dataclass(frozen=True)
class Range:
    low: int = setting(doc="from")
    high: int = setting(doc="to")

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low must not exceed high")


def _errors(table: Mapping[str, Any], path: str = "sensor.top") -> list[str]:
    value, errors = parse(Sample, table, path)
    assert (value is None) == bool(errors)
    return [str(error) for error in errors]


def test_a_table_becomes_an_instance_with_defaults() -> None:
    """What is given is taken, what is not has its default."""
    value, errors = parse(Sample, {"pin": 4, "level": 1, "tags": ["a", "b"], "inner": {"depth": 3}})
    assert errors == []
    assert value == Sample(pin=4, level=1.0, tags=("a", "b"), inner=Inner(3))
    assert isinstance(value.level, float)


def test_defaults_are_not_shared() -> None:
    """Two instances have two dictionaries."""
    assert Sample(pin=1).properties is not Sample(pin=1).properties


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "pin: is missing: a whole number from 0 to 27 (which pin)"),
        ({"pin": 28}, "pin: expected a whole number from 0 to 27, got 28"),
        ({"pin": "4"}, "pin: expected a whole number from 0 to 27, got '4'"),
        ({"pin": 4.0}, "pin: expected a whole number from 0 to 27, got 4.0"),
        ({"pin": True}, "pin: expected a whole number from 0 to 27, got true"),
        ({"pin": 4, "level": True}, "level: expected a number from 0 to 1, got true"),
        ({"pin": 4, "level": math.nan}, "level: expected a number from 0 to 1, got nan"),
        ({"pin": 4, "limit": -math.inf}, "limit: expected a number, at most 10, got -inf"),
        ({"pin": 4, "limit": 11}, "limit: expected a number, at most 10, got 11"),
        ({"pin": 4, "name": 4}, "name: expected a text, got 4"),
        ({"pin": 4, "active": 1}, "active: expected true or false, got 1"),
        ({"pin": 4, "safe": "off"}, "safe: expected true or false or a number, got 'off'"),
        ({"pin": 4, "mode": "fst"}, "mode: expected one of 'slow', 'fast', got 'fst', did you mean 'fast'?"),
        ({"pin": 4, "mode": "x"}, "mode: expected one of 'slow', 'fast', got 'x'"),
        ({"pin": 4, "gain": 3}, "gain: expected one of 1, 2, 4, got 3"),
        ({"pin": 4, "tags": "a"}, "tags: expected a list of texts, got 'a'"),
        ({"pin": 4, "tags": ["a", 1]}, "tags: expected a list of texts, got ['a', 1]"),
        ({"pin": 4, "properties": {"a": 1}}, "properties: expected a table of texts, got {'a': 1}"),
        ({"pin": 4, "inner": 1}, "inner: expected a table [sensor.top.inner], got 1"),
        ({"pin": 4, "inner": {"depth": -1}}, "inner.depth: expected a whole number, at least 0, got -1"),
        ({"pin": 4, "inner": {"dpth": 1}}, "inner.dpth: unknown key, did you mean 'depth'?"),
        ({"pin": 4, "lvl": 1}, "lvl: unknown key, did you mean 'level'?"),
    ],
)
def test_each_error_names_key_expectation_and_value(table: Mapping[str, Any], message: str) -> None:
    """One line says where, what was expected and what was found."""
    assert _errors(table) == [f"sensor.top.{message}"]


def test_all_errors_are_told_at_once() -> None:
    """A table with five mistakes yields five lines."""
    table = {"level": 2, "nme": "x", "active": "yes", "inner": {"depth": "a"}}
    keys = [error.split(":")[0] for error in _errors(table, "")]
    assert sorted(keys) == ["active", "inner.depth", "level", "nme", "pin"]


def test_an_empty_text_is_no_text() -> None:
    """A key that is left empty is pointed out."""
    assert _errors({"pin": 1, "name": ""}, "") == ["name: expected a text, got ''"]


def test_a_dataclass_may_check_its_fields_against_each_other() -> None:
    """A ValueError of its own becomes an error at the table's place."""
    wrong = "low must not exceed high"
    assert parse(Range, {"low": 2, "high": 1}, "x") == (None, [SettingError("x", wrong)])
    assert parse(Range, {"low": 2, "high": 1}) == (None, [SettingError("(top level)", wrong)])


@dataclass(frozen=True)
class Chip:
    """Numbers written in base 16, and a table of figures."""

    address: int = setting(0x48, doc="I2C address", choices=(0x48, 0x49), hexadecimal=True)
    register: int = setting(1, doc="register", minimum=0, maximum=0x7F, hexadecimal=True)
    points: tuple[tuple[float, float], ...] | None = setting(None, doc="table", example=((0.4, 0),))


def test_a_list_of_lists_becomes_tuples() -> None:
    """Whole numbers in it become numbers."""
    assert parse(Chip, {"points": [[0.4, 0], [2, 32.4]]})[0] == Chip(points=((0.4, 0.0), (2.0, 32.4)))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"address": 0x50}, "address: expected one of 0x48, 0x49, got 0x50"),
        ({"register": 0x80}, "register: expected a whole number from 0x00 to 0x7f, got 0x80"),
        ({"points": [0.4, 2]}, "points: expected a list of lists of numbers, got [0.4, 2]"),
        ({"points": [[0.4, "x"]]}, "points: expected a list of lists of numbers, got [[0.4, 'x']]"),
    ],
)
def test_errors_are_written_as_people_write_them(table: dict[str, Any], message: str) -> None:
    """Addresses in base 16, lists by what is in them."""
    assert [str(error) for error in parse(Chip, table)[1]] == [message]


@pytest.mark.parametrize(
    ("value", "meta", "text"),
    [
        (0x48, {"hexadecimal": True}, "0x48"),
        (72, {}, "72"),
        (True, {"hexadecimal": True}, "true"),
        (((0.4, 0.0), (2.0, 32.4)), {}, "[[0.4, 0.0], [2.0, 32.4]]"),
        ({"site name": "ä"}, {}, '{"site name" = "ä"}'),
    ],
)
def test_a_value_is_shown_as_it_is_written_in_the_file(value: object, meta: Any, text: str) -> None:
    """So that it can be copied."""
    assert toml_text(value, meta) == text


def test_the_nearest_word_is_offered_or_else_all() -> None:
    """Near words by name; otherwise the list; nothing where nothing is known."""
    assert did_you_mean("relai", ["relay", "servo"]) == ", did you mean 'relay'?"
    assert did_you_mean("zzz", ["servo", "relay"]) == " (known: relay, servo)"
    assert did_you_mean("zzz", []) == ""


# what tomllib yields, whole numbers of any length included
TOML = st.recursive(
    st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
KEYS = st.sampled_from([field.name for field in dataclasses.fields(Sample)]) | st.text()


@given(st.dictionaries(KEYS, TOML, max_size=6))
def test_no_table_raises(table: dict[str, Any]) -> None:
    """Whatever TOML can hold is taken or refused; if taken, each limit holds."""
    value, errors = parse(Sample, table)
    assert (value is None) == bool(errors)
    assert all(str(error) for error in errors)
    if value is not None:
        assert 0 <= value.pin <= 27
        assert 0 <= value.level <= 1
        assert math.isfinite(value.safe)
        assert value.limit is None or value.limit <= 10
