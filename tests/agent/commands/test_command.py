"""The form of a command, and what every other body is refused with."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.commands.command import (
    MAX_BODY_BYTES,
    PULSE_S,
    BadCommand,
    Command,
    digest,
    method_body,
    parse,
    parse_time,
)

GOOD: dict[str, Any] = {"command": "set", "actuator": "heater", "value": True}


def refusal(body: bytes | dict[str, Any]) -> str:
    with pytest.raises(BadCommand) as refused:
        parse(body if isinstance(body, bytes) else json.dumps(body).encode())
    return refused.value.reason


def test_a_whole_command_is_understood() -> None:
    """Every field arrives with its type and unit."""
    body = {**GOOD, "value": 1, "for": 30, "id": "c-1", "expires": "2026-11-20T17:34:00Z"}
    command = parse(json.dumps(body).encode())
    assert command == Command("set", command.digest, "heater", 1.0, 30.0, "c-1", 1795196040.0)
    assert isinstance(command.value, float)


@pytest.mark.parametrize(
    ("body", "name", "others"),
    [
        ({"command": "pulse", "actuator": "siren"}, "pulse", ("siren", None, PULSE_S)),
        ({"command": "pulse", "actuator": "siren", "value": True}, "pulse", ("siren", True, PULSE_S)),
        ({"command": "pulse", "actuator": "siren", "value": None, "for": 5}, "pulse", ("siren", None, 5.0)),
        ({"command": "stop", "actuator": "siren"}, "stop", ("siren", None, None)),
        ({"command": "stop-all"}, "stop-all", (None, None, None)),
        ({"command": "hold"}, "hold", (None, None, None)),
        ({"command": "hold", "for": 60}, "hold", (None, None, 60.0)),
        ({"command": "release"}, "release", (None, None, None)),
        ({"command": "ping"}, "ping", (None, None, None)),
    ],
    ids=lambda value: str(value)[:60],
)
def test_each_command_has_its_keys(
    body: dict[str, Any], name: str, others: tuple[str | None, bool | None, float | None]
) -> None:
    """What it can do without, it has a default for; an id and an expiry fit all of them."""
    for common in ({}, {"id": "c-1", "expires": "2026-11-20T17:34:00Z"}, {"id": None, "expires": None}):
        command = parse(json.dumps({**body, **common}).encode())
        assert (command.name, command.actuator, command.value, command.for_s) == (name, *others)
        assert command.command_id == common.get("id")


@pytest.mark.parametrize("name", ["hold", "release", "ping"])
def test_a_key_of_another_command_is_refused(name: str) -> None:
    """A release for 30 s is a misunderstanding, and so is a ping to an actuator's value."""
    assert refusal({"command": name, "value": True}).startswith("unknown-key: 'value'")
    assert refusal({"command": name, "actuator": "siren"}).startswith("unknown-key: 'actuator'")
    if name != "hold":
        assert refusal({"command": name, "for": 30}).startswith("unknown-key: 'for'")


@pytest.mark.parametrize(
    "more", [{"value": True}, {"for": "ever"}, {"reason": "smoke"}, {"by": {"name": ["Ada"]}}, {"": 1}]
)
def test_a_stop_is_one_whatever_else_stands_there(more: dict[str, Any]) -> None:
    """Other keys are ignored, whatever their values, and make no other command; by a method as well."""
    for body in ({"command": "stop", "actuator": "siren"}, {"command": "stop-all"}):
        raw, stop = json.dumps({**body, **more}).encode(), parse(json.dumps(body).encode())
        assert parse(raw) == stop
        assert parse(method_body(body["command"], raw)) == parse(method_body("command", raw)) == stop
    assert parse(b'{"command": "stop-all", "actuator": 7}') == parse(b'{"command": "stop-all"}')


@pytest.mark.parametrize(
    ("more", "flaw"),
    [
        ({"id": ""}, "bad-id: expected a text of 1 to 128"),
        ({"id": 7}, "bad-id: "),
        ({"id": ["c-1"]}, "bad-id: "),
        ({"id": "x" * 129}, "bad-id: "),
        ({"id": "a\nb"}, "bad-id: "),
        ({"id": "\ud800"}, "bad-id: "),
        ({"expires": "soon"}, "bad-expires: expected a time in UTC"),
        ({"expires": 1795196040}, "bad-expires: "),
        ({"expires": {"at": "once"}}, "bad-expires: "),
        ({"expires": "\ud800"}, "bad-expires: "),
        ({"id": 7, "expires": "soon"}, "bad-id: "),
    ],
    ids=str,
)
@pytest.mark.parametrize("body", [GOOD, {"command": "stop", "actuator": "heater"}, {"command": "hold"}])
def test_a_flaw_of_id_or_expiry_is_told_and_the_command_is_one(
    body: dict[str, Any], more: dict[str, Any], flaw: str
) -> None:
    """What goes towards safe can do without both, so it is not for the form to refuse it."""
    command = parse(json.dumps({**body, **more}).encode())
    assert (command.name, command.actuator) == (body["command"], body.get("actuator"))
    assert command.flaw is not None
    assert command.flaw.startswith(flaw)
    assert command.command_id is None
    assert command.expires_s is None
    assert parse(json.dumps({**body, "id": "c-1"}).encode()).flaw is None


def test_a_switch_keeps_its_bool() -> None:
    """True stays true, and no number."""
    assert parse(json.dumps(GOOD).encode()).value is True


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\xff\xfe", "not-utf-8: byte 0"),
        (b"", "not-json: "),
        (b"on", "not-json: "),
        (b'{"value": NaN}', "not-json: NaN is no JSON"),
        (b'{"value": -Infinity}', "not-json: -Infinity is no JSON"),
        (b"[1]", "not-a-command: expected a JSON object"),
        (b'"set"', "not-a-command: expected a JSON object"),
        (b'{"service client sent a message": 14.2}', 'not-a-command: expected {"command": "set"'),
        (b"[" * 60_000, "too-deep: "),
        (b'["' + b"]" * 30_000 + b'",' + b"[" * 30_000, "too-deep: "),
        (b" " * (MAX_BODY_BYTES + 1), "too-large: 65537 bytes, expected at most 65536"),
        (b'{"value": 1e999}', "number-too-large: "),
        (b'{"value": ' + b"9" * 5000 + b"}", "number-too-large: "),
        (b'{"value": 1, "value": 2}', "duplicate-key: 'value'"),
        (b'{"a": {"b": 1, "b": 2}}', "duplicate-key: 'b'"),
        ({**GOOD, "command": "sett"}, "unknown-command: 'sett'"),
        ({**GOOD, "command": ["set"]}, "unknown-command: what is no text"),
        ({**GOOD, "vaule": 1}, "unknown-key: 'vaule', did you mean 'value'?"),
        ({**GOOD, "x" * 60_000: 1}, "unknown-key: 'xxx"),
        ({"command": "set", "value": True}, "bad-actuator: expected the name"),
        ({**GOOD, "actuator": 1}, "bad-actuator: "),
        ({**GOOD, "actuator": "\udfff"}, "bad-actuator: "),
        ({"command": "set", "actuator": "heater"}, "bad-value: expected true, false or a number"),
        ({**GOOD, "value": None}, "bad-value: "),
        ({**GOOD, "value": "on"}, "bad-value: "),
        ({**GOOD, "value": [True]}, "bad-value: "),
        ({**GOOD, "for": 0}, "bad-for: expected a number of seconds greater than 0"),
        ({**GOOD, "for": -1}, "bad-for: "),
        ({**GOOD, "for": True}, "bad-for: "),
        ({**GOOD, "for": "30"}, "bad-for: "),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_what_is_no_command_is_refused_with_the_reason(body: bytes | dict[str, Any], reason: str) -> None:
    """Each slip has a word of its own, and says what was expected."""
    assert refusal(body).startswith(reason)


def test_a_refusal_is_short_and_one_line() -> None:
    """Whatever the body, its refusal can be logged and sent."""
    for body in ({"\n" * 9000: 1, "command": "set"}, {**GOOD, "command": "\u2028" * 9000}):
        reason = refusal(body)
        assert len(reason) < 500
        assert reason.isprintable()


def test_a_refused_command_keeps_its_id() -> None:
    """The answer to a command with a slip in it still names the command."""
    with pytest.raises(BadCommand) as refused:
        parse(json.dumps({**GOOD, "id": "c-1", "value": "on"}).encode())
    assert refused.value.command_id == "c-1"


def test_many_keys_take_no_longer_than_few() -> None:
    """A body full of distinct keys with a late duplicate is refused without a quadratic search."""
    keys = ",".join(f'"{n}":0' for n in range(7000))
    assert refusal(f'{{{keys},"6999":1}}'.encode()) == "duplicate-key: '6999'"


@pytest.mark.parametrize("payload", [b"", b"null", b" null\n", b"{}", b'{"command": "ping"}'])
def test_the_methods_name_is_the_command(payload: bytes) -> None:
    """An empty payload says no more; one that says the same again agrees."""
    assert parse(method_body("ping", payload)) == parse(b'{"command": "ping"}')


def test_a_method_says_what_a_message_says() -> None:
    """By its own name or by ``command``, with the same digest: one id is one command on either way."""
    message = parse(json.dumps({**GOOD, "for": 30, "id": "c-1"}).encode())
    others = json.dumps({"actuator": "heater", "value": True, "for": 30, "id": "c-1"}).encode()
    assert parse(method_body("set", others)) == message
    assert parse(method_body("command", others[:-1] + b', "command": "set"}')) == message


@pytest.mark.parametrize(
    ("name", "payload", "reason"),
    [
        ("sett", b"null", "unknown-method: 'sett', did you mean 'set'?"),
        ("Status", b"null", "unknown-method: 'Status', did you mean 'status'?"),
        ("reboot", b"{}", "unknown-method: 'reboot' (known: command, hold, "),
        ("x" * 9000, b"", "unknown-method: 'xxx"),
        ("set", b'{"command": "stop"}', "bad-command: the method is 'set', and its payload says 'stop'"),
        ("set", b'{"command": null}', "bad-command: the method is 'set', and its payload says what is no"),
        ("ping", b"[]", "not-a-command: expected a JSON object"),
        ("ping", b'"ping"', "not-a-command: expected a JSON object"),
        ("ping", b"ping", "not-json: "),
        ("ping", b"\xff", "not-utf-8: byte 0"),
        ("ping", b'{"id": "a", "id": "b"}', "duplicate-key: 'id'"),
        ("ping", b"[" * 60_000, "too-deep: "),
        ("ping", b" " * (MAX_BODY_BYTES + 1) + b"{}", "too-large: 65539 bytes"),
        ("set", b'{"value": 1e999}', "number-too-large: "),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_method_is_refused_with_the_reason(name: str, payload: bytes, reason: str) -> None:
    """As a message is, in one short line; before that, its name must be one."""
    with pytest.raises(BadCommand) as refused:
        method_body(name, payload)
    assert refused.value.reason.startswith(reason)
    assert len(refused.value.reason) < 500
    assert refused.value.reason.isprintable()


@pytest.mark.parametrize("name", ["set", "sett"])
def test_a_refused_method_keeps_its_id(name: str) -> None:
    """The answer still names the command."""
    with pytest.raises(BadCommand) as refused:
        method_body(name, b'{"command": "stop", "id": "c-1"}')
    assert refused.value.command_id == "c-1"


@pytest.mark.parametrize(
    "nested",
    [
        {"command": "set", "actuator": "heater", "value": False, "id": []},
        {"command": "set", "actuator": "heater", "value": False, "expires": {"at": ["x"]}},
        {"command": "set", "actuator": "heater", "value": [[True]], "id": "c-1"},
        {"command": "hold", "for": 1, "id": {}},
        {"command": "stop", "actuator": "heater", "what": {"is": "this"}},
        {"command": "ping", "more": [1]},
    ],
)
def test_what_is_nested_is_judged_alike_both_ways(nested: dict[str, Any]) -> None:
    """A message and a method that say the same are the same command, or no command for the same reason."""

    def judged(body: bytes) -> object:
        try:
            return parse(body)
        except BadCommand as bad:
            return bad.reason, bad.command_id

    payload = {key: value for key, value in nested.items() if key != "command"}
    by_method = method_body(nested["command"], json.dumps(payload).encode())
    assert judged(by_method) == judged(json.dumps(nested).encode())


@pytest.mark.parametrize("payload", [b'"now"', b"[1]", b"nothing", b'{"id": 1, "id": 2}'])
def test_a_method_that_is_not_known_is_so_whatever_it_is_given(payload: bytes) -> None:
    """Its name is what is wrong first."""
    with pytest.raises(BadCommand, match="unknown-method: 'reboot'"):
        method_body("reboot", payload)


def test_zero_has_no_sign() -> None:
    """Bodies that say the same have the same digest."""
    plus, minus = (
        parse(b'{"command": "set", "actuator": "a", "value": %s}' % zero) for zero in (b"0", b"-0.0")
    )
    assert plus == minus
    assert str(minus.value) == "0.0"


def test_without_a_command_there_is_none() -> None:
    """The method ``command`` names none itself."""
    with pytest.raises(BadCommand, match="not-a-command"):
        parse(method_body("command", b"null"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
nearly = st.dictionaries(
    st.sampled_from(["command", "actuator", "value", "for", "id", "expires", "vaule"]),
    st.sampled_from(["set", True, 1, 1e308, 10**4000, "2026-11-20T17:34:00Z", "0001-01-01T00:00:00+23:59"])
    | json_values,
)


@given(st.binary() | nearly.map(lambda d: json.dumps({**GOOD, **d}).encode()))
@example(b'{"command":' + b"[" * 900 + b"]" * 900 + b"}")
@example(json.dumps({**GOOD, "expires": "9999-12-31T23:59:59-23:59"}).encode())
def test_any_bytes_are_a_command_or_refused(body: bytes) -> None:
    """There is no third way: a parsed command can be stored, logged and sent."""
    try:
        command = parse(body)
    except BadCommand as refused:
        json.dumps(refused.reason, allow_nan=False).encode()
    else:
        json.dumps(command.value, allow_nan=False)
        assert f"{command.command_id}{command.actuator}".encode().isascii() in (True, False)
        assert command.for_s is None or command.for_s > 0


@given(st.permutations(list({**GOOD, "value": 1, "for": 30}.items())), st.sampled_from(["1", "1.0", "10e-1"]))
def test_equal_digests_for_bodies_that_say_the_same(items: list[tuple[str, Any]], one: str) -> None:
    """Order, white space and the spelling of a number do not make another command."""
    spelt = json.dumps(dict(items), indent=1).replace('"value": 1', f'"value": {one}')
    assert parse(spelt.encode()).digest == parse(json.dumps({**GOOD, "value": 1, "for": 30}).encode()).digest


def test_other_digests_for_bodies_that_differ() -> None:
    """Another value, or true for 1, is another command."""
    digests = {parse(json.dumps({**GOOD, "value": v}).encode()).digest for v in (True, False, 0, 1, 1.5)}
    assert len(digests) == 5
    assert digest(b"{}") != digest(b"{ }")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-20T17:34:00Z", 1795196040.0),
        ("2026-11-20T17:34:00", 1795196040.0),
        ("2026-11-20T18:34:00+01:00", 1795196040.0),
        ("2026-11-20T17:34:00.5000000Z", 1795196040.5),
        ("yesterday", None),
        ("", None),
    ],
)
def test_times_are_utc_unless_they_say_otherwise(text: str, expected: float | None) -> None:
    """The hub's own spelling, with seven digits, is understood."""
    assert parse_time(text) == expected
