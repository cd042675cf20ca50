"""The operator's commands before they reach a hub: arguments, surroundings, help."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import agent.operator
from agent.operator.messages import C2dMessage, Fate, FeedbackRecord
from tests.e2e.harness import free_host

from .conftest import Masthead

KEY = "MDEyMzQ1Njc4OWFiY2RlZg=="
GOOD = f"SharedAccessKeyName=iothubowner;SharedAccessKey={KEY}"

GROUPS = {
    "device": ["create", "show", "list", "enable", "disable", "delete"],
    "twin": ["show", "set", "watch"],
}
CALLS = [
    ["device", "create", "x"],
    ["device", "list"],
    ["device", "show", "x"],
    ["device", "enable", "x"],
    ["device", "disable", "x"],
    ["device", "delete", "x"],
    ["send", "x", "body"],
    ["send", "x", "body", "--wait"],
    ["feedback"],
    ["monitor"],
    ["monitor", "x"],
    ["method", "x", "ping"],
    ["twin", "show", "x"],
    ["twin", "set", "x", "{}"],
    ["twin", "watch", "x"],
]


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch) -> str:
    """An address where nobody listens."""
    host = free_host()
    monkeypatch.setenv("IOTHUB_CONNECTION_STRING", f"HostName={host};{GOOD}")
    monkeypatch.setenv("MASTHEAD_HTTPS_PORT", "8444")
    return host


@pytest.mark.parametrize("words", [[group, name] for group, names in GROUPS.items() for name in names])
def test_every_command_of_a_group_has_help_with_an_example(masthead: Masthead, words: list[str]) -> None:
    """The example begins with the command itself."""
    result = masthead(*words, "--help")
    assert (result.code, f"Example:\n    masthead {' '.join(words)}" in result.out) == (0, True)


@pytest.mark.parametrize("call", CALLS)
def test_without_a_hub_one_line_says_what_to_do(
    masthead: Masthead, monkeypatch: pytest.MonkeyPatch, call: list[str], hub: str
) -> None:
    """Where nobody listens, and where no hub is named at all."""
    result = masthead(*call)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(f"Error: nobody listens at {hub}:")
    assert result.err.count("\n") == 1
    monkeypatch.delenv("IOTHUB_CONNECTION_STRING")
    result = masthead(*call)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("Error: IOTHUB_CONNECTION_STRING is not set: ")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("missing", ["requests", "azure.eventhub"])
def test_without_the_extra_one_line_says_how_to_get_it(
    masthead: Masthead, monkeypatch: pytest.MonkeyPatch, call: list[str], missing: str
) -> None:
    """For whatever needs it."""
    for name in ("rest", "amqp"):
        monkeypatch.delitem(sys.modules, f"agent.operator.{name}", raising=False)
        monkeypatch.delattr(agent.operator, name, raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    result = masthead(*call)
    needs_rest = call[0] in ("device", "method", "twin") or call[:2] == ["monitor", "x"]
    if needs_rest == (missing == "requests") or call[:2] == ["monitor", "x"]:
        assert (result.code, result.err) == (
            1,
            f"Error: {missing} is missing: in a clone, pip install '.[operator]'\n",
        )
    else:
        assert result.err.startswith("Error: nobody listens")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (["send", "x"], "give BODY or --file FILE"),
        (["send", "x", "b", "--file", "f"], "BODY or --file, not both"),
        (["send", "x", "b", "--wait", "--ack", "none"], "--wait needs --ack full"),
        (["send", "x", "b", "--timeout", "5"], "--timeout is for --wait"),
        (["send", "x", "b", "--property", "novalue"], "'novalue': expected KEY=VALUE"),
        (["send", "x", "b", "--property", "=v"], "'=v': expected KEY=VALUE"),
        (["send", "x", "b", "--property", "k=1", "--property", "k=2"], "k is given twice"),
        (["send", "x", "b", "--expires", "0"], "0.0 is not in the range"),
        (["send", "x", "b", "--expires", "0.001"], "'--expires': 0.001 is not in the range 1<=x<=172800"),
        (["send", "x", "b", "--message-id", ""], "--message-id is empty"),
        (["send", "x", "b", "--expires", "nan"], "expected a number of seconds"),
        (["send", "x", "b", "--ack", "maybe"], "'maybe' is not one of"),
        (["monitor", "--from", "yesterday"], "expected now, start, seconds ago"),
        (["monitor", "--count", "0"], "0 is not in the range"),
        (["method", "x", "ping", "on"], "PAYLOAD is no JSON"),
        (["method", "x", "ping", "NaN"], "PAYLOAD is no JSON: it has no NaN"),
        (["method", "x", "ping", '{"a": -Infinity}'], "PAYLOAD is no JSON: it has no -Infinity"),
        (["twin", "set", "x", '{"a": 1e400}'], "DESIRED is no JSON: 1e400 is too large"),
        (["method", "x", "ping", "--timeout", "4"], "4 is not in the range"),
        (["twin", "set", "x", "[1]"], "desired properties are a JSON object"),
        (["twin", "set", "x", "{"], "DESIRED is no JSON"),
        (
            ["device", "create", "x", "--x509-thumbprint", "a", "--primary-key-file", "f"],
            "leave one of both out",
        ),
        (["device", "create", "x", *["--x509-thumbprint", "a"] * 3], "two thumbprints at most"),
        (["device", "create", "x", "--secondary-key-file", "f"], "needs --primary-key-file"),
        (["device"], "Usage: masthead device [OPTIONS] COMMAND"),
        (["completion", "tcsh"], "'tcsh' is not one of"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_done(masthead: Masthead, call: list[str], words: str) -> None:
    """Exit 2."""
    result = masthead(*call)
    assert (result.code, words in result.err + result.out) == (2, True), result.err


@pytest.mark.parametrize("call", [call for call in CALLS if "x" in call])
@pytest.mark.parametrize("name", [".", "..", ""])
def test_what_no_url_has_as_a_part_is_no_id(masthead: Masthead, call: list[str], name: str) -> None:
    """It would be asked for something else."""
    result = masthead(*(name if word == "x" else word for word in call))
    assert (result.code, f"{name!r} cannot be a device's id" in result.err) == (2, True), result.err


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (["send", "x", "@/no/such/file"], "/no/such/file: No such file or directory"),
        (["send", "x", "--file", "/no/such/file"], "/no/such/file: No such file or directory"),
        (["send", "x", "b", "--message-id", "ä"], "expected 1 to 128 printable ASCII characters"),
        (["send", "x", "b" * 65_537], "at most 65536"),
        (["device", "create", "x", "--primary-key-file", "/no/such/file"], "No such file or directory"),
        (["device", "create", "x", "--x509-thumbprint", "zz"], "a thumbprint is 40 or 64 hexadecimal digits"),
    ],
)
def test_what_cannot_be_sent_is_told_in_one_line(masthead: Masthead, call: list[str], words: str) -> None:
    """Exit 1."""
    result = masthead(*call)
    assert (result.code, words in result.err, result.err.count("\n")) == (1, True, 1), result.err


def test_a_key_that_is_none_is_not_shown(masthead: Masthead, tmp_path: Path) -> None:
    """Its file is."""
    file = tmp_path / "key"
    file.write_text("hunter2!")
    result = masthead("device", "create", "x", "--primary-key-file", file)
    assert result.err.startswith(f"Error: {file}: a key is base64 of 16 to 64 bytes")
    assert "hunter2" not in result.err


class FakeSender:
    sent: C2dMessage

    def __init__(self, _access: object) -> None:
        pass

    def open(self) -> None:
        pass

    def send(self, message: C2dMessage) -> None:
        FakeSender.sent = message

    def close(self) -> None:
        pass


@pytest.fixture
def sender(monkeypatch: pytest.MonkeyPatch) -> type[FakeSender]:
    monkeypatch.setattr("agent.operator.amqp.Sender", FakeSender)
    return FakeSender


def test_a_body_comes_from_the_argument_a_file_or_standard_input(
    masthead: Masthead, sender: type[FakeSender], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte by byte."""
    file = tmp_path / "body"
    file.write_bytes(b"\xff\x00\n")
    for words, body in (
        (["ä"], "ä".encode()),
        ([f"@{file}"], b"\xff\x00\n"),
        (["--file", str(file)], b"\xff\x00\n"),
        (["-"], b"from stdin\xfe"),
        (["--", "-1"], b"-1"),
        ([""], b""),
    ):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from stdin\xfe")))
        assert masthead("send", "mast-1", *words).code == 0
        assert sender.sent.body == body


def test_what_is_sent_unless_it_is_said_otherwise(masthead: Masthead, sender: type[FakeSender]) -> None:
    """An id of its own, a minute to live, no feedback."""
    result = masthead("send", "mast-1", "x")
    assert result.out == f"taken by the hub  {sender.sent.message_id}\n"
    assert (sender.sent.expires_s, sender.sent.ack, sender.sent.correlation_id) == (60.0, "none", None)
    first = sender.sent.message_id
    options = "--correlation-id c --expires 90 --ack negative --property a=b=c --property d= --json"
    result = masthead("send", "mast-1", "x", *options.split())
    assert sender.sent.message_id != first
    assert (sender.sent.expires_s, sender.sent.ack) == (90.0, "negative")
    assert sender.sent.properties == {"a": "b=c", "d": ""}
    assert json.loads(result.out) == {
        "messageId": sender.sent.message_id,
        "correlationId": "c",
        "taken": True,
    }


def fate(status_code: str | None, outcome: dict[str, Any] | None) -> Fate:
    record = None if status_code is None else FeedbackRecord("m", "x", status_code, "", "", "")
    return Fate(True, record, outcome)


@pytest.mark.parametrize(
    ("known", "code", "lines", "error"),
    [
        (fate("Success", {"status": "done", "value": True}), 0, ["delivered", "outcome"], ""),
        (
            fate("Expired", None),
            1,
            ["delivered"],
            "not delivered to x: Expired: it was not connected in time",
        ),
        (fate("Purged", None), 1, ["delivered"], "not delivered to x: Purged"),
        (
            fate("Success", {"status": "refused", "reason": "interlock"}),
            1,
            ["delivered", "outcome"],
            "delivered, and x says refused: interlock",
        ),
        (
            fate("Success", None),
            1,
            ["delivered"],
            "time-out: missing after 90 s: the device's outcome: does an agent run there?",
        ),
        (
            fate(None, None),
            1,
            [],
            "time-out: missing after 90 s: the hub's feedback and the device's outcome: "
            "is it connected (masthead device show x)?",
        ),
        (
            fate(None, {"status": "done"}),
            1,
            ["outcome"],
            "time-out: missing after 90 s: the hub's feedback: is it connected (masthead device show x)?",
        ),
    ],
)
def test_three_stages_are_shown_apart(
    masthead: Masthead, monkeypatch: pytest.MonkeyPatch, known: Fate, code: int, lines: list[str], error: str
) -> None:
    """All three good, or exit 1 with what is not."""

    class FakeDelivery:
        def __init__(self, _hub: object, changed: Any, _notice: object) -> None:
            self._changed = changed

        def run(self, message: C2dMessage, timeout_s: float) -> Fate:
            assert (message.ack, timeout_s) == ("full", 90.0)
            self._changed(Fate(True))
            self._changed(known)
            return known

    monkeypatch.setattr("agent.operator.delivery.Delivery", FakeDelivery)
    result = masthead("send", "x", "b", "--wait", "--message-id", "m")
    assert result.code == code
    assert [line.split()[0] for line in result.out.splitlines()] == ["taken", *lines]
    assert result.err == (f"Error: {error}\n" if error else "")
    as_json = masthead("send", "x", "b", "--wait", "--message-id", "m", "--json")
    assert as_json.code == code
    told = json.loads(as_json.out)
    assert (told["taken"], told["delivered"]) == (True, known.feedback and known.feedback.status_code)
    assert told["outcome"] == (known.outcome and known.outcome["status"])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(masthead: Masthead, shell: str) -> None:
    """For that shell, without asking it anything."""
    result = masthead("completion", shell)
    assert result.code == 0
    assert f"_MASTHEAD_COMPLETE={shell}_complete" in result.out


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("masthead de", ["demo", "device"]),
        ("masthead device ", ["create", "delete", "disable", "enable", "list", "show"]),
        ("masthead send --a", ["--ack"]),
        ("masthead --ver", ["--version"]),
    ],
)
def test_a_shell_is_told_what_may_follow(words: str, found: list[str]) -> None:
    """Commands, their commands, and options."""
    done = subprocess.run(
        [sys.executable, "-c", "from agent.cli import main; main()"],
        env={
            **os.environ,
            "_MASTHEAD_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert [line.partition(",")[2] for line in done.stdout.splitlines()] == found
