"""Each arrival is judged in the order of design.md's section 5, executed at most once, and answered once."""

from __future__ import annotations

import errno
import shutil
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.commands.actuation import LOCAL, Origin
from agent.commands.journal import Arrival
from agent.commands.memory import Remembered
from agent.commands.timeliness import CommandRules

from .rig import Rig, off, on


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.crash()


def test_a_command_is_executed_and_answered(rig: Rig) -> None:
    """The outcome names the command and the value taken; its correlation id is the command's."""
    assert rig.answer(on(id="c-1")) == {
        "commandId": "c-1", "command": "set", "actuator": "beacon",
        "status": "done", "reason": None, "value": True,
    }  # fmt: skip
    assert rig.beacon.driven == [True]
    assert rig.correlation_ids == ["c-1"]


def test_the_messages_id_serves_where_the_body_has_none(rig: Rig) -> None:
    """The body's goes before it."""
    assert rig.answer(on(), "m-1")["commandId"] == "m-1"
    assert rig.answer(on(id="c-1"), "m-2")["commandId"] == "c-1"


def test_for_is_done_when_switched_on(rig: Rig) -> None:
    """Its end is an event and no second outcome."""
    assert rig.answer(on(**{"for": 30}), "m-1")["status"] == "done"
    rig.clock.advance(30)
    rig.guard.step(rig.clock.monotonic())
    assert [(e["event"], e["reason"], e["commandId"]) for e in rig.events] == [
        ("actuator-safe", "time-up", "m-1")
    ]
    assert len(rig.settle()) == 1


def test_what_is_no_command_is_refused(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """The tutorials' message is logged with data, size and total, and answered."""
    with caplog.at_level("INFO"):
        outcome = rig.answer(b'{"service client sent a message": 14.2}', "m-1", None)
    assert (outcome["status"], outcome["commandId"], outcome["command"]) == ("refused", "m-1", None)
    assert outcome["reason"].startswith("not-a-command")
    assert "message 1 from the cloud is no command: b'{\"service client sent" in caplog.text
    assert "39 bytes" in caplog.text


def test_the_same_id_and_body_is_answered_from_the_journal(rig: Rig) -> None:
    """Not executed again, stored status, marked as a repeat; over a restart too."""
    rig.answer(on(), "m-1")
    rig.answer(off(), "m-2")
    rig.beacon.driven.clear()
    expected = {**rig.outcomes[0], "repeat": True}
    assert rig.answer(on(), "m-1") == expected
    rig.crash()
    rig.start("run00002")
    assert rig.answer(on(), "m-1") == expected
    assert rig.beacon.driven == []


def test_a_refusal_is_repeated_too(rig: Rig) -> None:
    """Each id and body has one verdict, whatever it was."""
    for body, message_id in ((b"no command", "m-1"), (on(), "m-2"), (on(value=7), "m-2")):
        first = rig.answer(body, message_id, None)
        assert first["status"] == "refused"
        assert "repeat" not in first
        assert rig.answer(body, message_id, None) == {**first, "repeat": True}


def test_a_known_id_with_another_body_is_refused(rig: Rig) -> None:
    """An id names one command."""
    rig.answer(on(), "m-1")
    outcome = rig.answer(on(**{"for": 5}), "m-1")
    assert outcome["status"] == "refused"
    assert outcome["reason"].startswith("id-reused")
    assert "repeat" not in outcome
    assert rig.beacon.driven == [True]


@pytest.mark.parametrize("first", [on(), off()])
def test_towards_safe_is_driven_whatever_the_id(rig: Rig, first: dict[str, Any]) -> None:
    """Same body or another one: driven again and done."""
    rig.answer(first, "m-1")
    rig.answer(on(), "m-2")
    outcome = rig.answer(off(), "m-1")
    assert outcome["status"] == "done"
    assert outcome["value"] is False
    assert outcome.get("repeat", False) is (first == off())
    assert rig.beacon.value is False


@pytest.mark.parametrize("synchronised", [True, False])
def test_towards_safe_is_never_refused(rig: Rig, synchronised: bool) -> None:
    """No id, no expiry, long expired, an expiry that is no time, or an untrusted clock do not matter."""
    rig.synchronised = synchronised
    for kwargs in ({"expires_in_s": None}, {"expires_in_s": -3600}, {"expires": "never"}):
        rig.answer(on(), "m-1")
        assert rig.answer(off(), **kwargs)["status"] == "done"
    assert rig.answer(off(expires="2020-01-01T00:00:00Z"))["status"] == "done"
    rig.receive(off())
    rig.clock.advance(3600)
    assert rig.settle()[-1]["status"] == "done"


def test_away_from_safe_needs_an_id(rig: Rig) -> None:
    """Without one it could be executed twice."""
    for message_id in (None, "", "m\n1", "m" * 129):
        assert rig.answer(on(), message_id)["reason"].startswith("id-missing")
    assert rig.beacon.driven == []


def test_away_from_safe_needs_an_expiry(rig: Rig) -> None:
    """The message's or the body's."""
    assert rig.answer(on(), "m-1", None)["reason"].startswith("expiry-missing")
    assert rig.answer(on(expires="2100-01-01T00:00:00Z"), "m-2", None)["status"] == "done"


def test_the_expiry_can_be_waived(tmp_path: Path) -> None:
    """``require_expiry = false`` lets a command live for ever."""
    rig = Rig(tmp_path, rules=CommandRules(require_expiry=False))
    assert rig.answer(on(), "m-1", None)["status"] == "done"
    rig.crash()


@pytest.mark.parametrize("body_expires", [True, False])
def test_what_came_too_late_is_expired(rig: Rig, body_expires: bool) -> None:
    """Judged when it is looked at, by the earlier of the two expiries; at the very second it is in time."""
    body = on(expires="2026-09-21T14:14:00Z") if body_expires else on()
    rig.clock.set_wall(1790000020.0)
    rig.receive(body, "m-1", expires="2026-09-21T15:00:00Z" if body_expires else "2026-09-21T14:14:00Z")
    rig.receive(body, "m-2", expires="2026-09-21T15:00:00Z" if body_expires else "2026-09-21T14:14:00Z")
    rig.clock.advance(20)
    rig.executor.step(rig.clock.monotonic())
    rig.clock.advance(0.1)
    assert [o["status"] for o in rig.settle()] == ["done", "expired"]


def test_an_expiry_that_is_no_time_is_refused(rig: Rig) -> None:
    """It is not taken for none."""
    assert rig.answer(on(), "m-1", expires="tomorrow")["reason"].startswith("bad-expires")


def test_with_an_untrusted_clock_only_what_is_fresh_is_done(rig: Rig) -> None:
    """Ten seconds by CLOCK_BOOTTIME, whatever the wall clock shows."""
    rig.synchronised = False
    rig.clock.set_wall(0.0)
    for message_id, age_s, status in (("m-1", 10.0, "done"), ("m-2", 10.1, "refused")):
        rig.receive(on(), message_id, expires="2026-11-20T17:34:00Z")
        rig.clock.advance(age_s)
        assert rig.settle()[-1]["status"] == status
    assert rig.outcomes[-1]["reason"].startswith("clock-untrusted: 10 s old")


def test_with_an_untrusted_clock_the_bodys_expiry_cannot_be_judged(rig: Rig) -> None:
    """Refused, however fresh."""
    rig.synchronised = False
    outcome = rig.answer(on(expires="2100-01-01T00:00:00Z"), "m-1")
    assert outcome["reason"].startswith("clock-untrusted")


def test_the_guards_refusal_and_failure_are_told(rig: Rig) -> None:
    """Refused where it is not allowed, failed where it did not work."""
    assert rig.answer(on(actuator="becon"), "m-1")["reason"].startswith("unknown-actuator")
    assert rig.answer(on(value=2), "m-2")["reason"].startswith("bad-value")
    rig.beacon.broken = True
    outcome = rig.answer(on(), "m-3")
    assert (outcome["status"], outcome["reason"]) == ("failed", "the relay does not answer")


def test_a_guard_that_does_not_answer_is_a_failure(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request is withdrawn: it is not obeyed later."""
    monkeypatch.setattr("agent.commands.asking._ANSWER_S", 0.01)
    rig.guard.wake = lambda: None
    assert rig.answer(on(), "m-1")["status"] == "failed"
    rig.guard.step(rig.clock.monotonic())
    assert rig.beacon.driven == []


@pytest.mark.parametrize(
    ("body", "status"),
    [({"command": "stop", "actuator": "beacon"}, "interrupted"), (off(), "interrupted"), (on(), "refused")],
)
def test_what_comes_when_the_guard_has_ended(rig: Rig, body: dict[str, Any], status: str) -> None:
    """Nobody refuses what goes towards safe: it was cut off, and everything is brought to safe anyway."""
    rig.guard.stop(rig.clock.monotonic())
    outcome = rig.answer(body, "m-1")
    assert (outcome["status"], outcome["reason"]) == (status, "stopping: the agent is ending")


def test_a_pulse_ends_by_itself(rig: Rig) -> None:
    """A switch needs no value; one second unless it says otherwise, and its end is an event."""
    for more, length_s in (({}, 1.0), ({"for": 5}, 5.0), ({"value": True, "for": 0.5}, 0.5)):
        outcome = rig.answer({"command": "pulse", "actuator": "beacon", **more}, f"m-{length_s}")
        assert (outcome["status"], outcome["value"]) == ("done", True)
        rig.clock.advance(length_s - 0.01)
        rig.guard.step(rig.clock.monotonic())
        assert rig.beacon.value is True
        rig.clock.advance(0.02)
        rig.guard.step(rig.clock.monotonic())
        assert rig.beacon.value is False
    assert [e["reason"] for e in rig.events] == ["time-up"] * 3
    assert rig.beacon.driven == [True, False] * 3


def test_a_pulse_of_a_level_needs_its_value(rig: Rig) -> None:
    """A level has no other side."""
    refused = rig.answer({"command": "pulse", "actuator": "vent"}, "m-1")
    assert refused["reason"].startswith("bad-value: a level has no other side")
    assert rig.answer({"command": "pulse", "actuator": "vent", "value": 7}, "m-2")["value"] == 7.0


def test_a_pulse_to_safe_is_towards_safe(rig: Rig) -> None:
    """Whatever it is called, it needs no id and no expiry, and no hold refuses it."""
    rig.answer(on(), "m-1")
    to_safe = {"command": "pulse", "actuator": "beacon", "value": False}
    assert rig.answer(to_safe, None, None)["status"] == "done"
    assert rig.beacon.value is False


def test_stop_makes_one_safe(rig: Rig) -> None:
    """Without an id, an expiry or a clock; the others stay as they are."""
    rig.answer(on(), "m-1")
    rig.answer(on(actuator="vent", value=40), "m-2")
    rig.synchronised = False
    outcome = rig.answer({"command": "stop", "actuator": "beacon"}, None, None)
    assert (outcome["status"], outcome["actuator"], outcome["value"]) == ("done", "beacon", False)
    assert (rig.beacon.value, rig.vent.value) == (False, 40.0)
    unknown = rig.answer({"command": "stop", "actuator": "becon"}, None, None)
    assert unknown["reason"].startswith("unknown-actuator: 'becon', did you mean 'beacon'?")


def test_stop_all_makes_all_safe(rig: Rig) -> None:
    """Its value is none: there are several."""
    rig.answer(on(), "m-1")
    rig.answer(on(actuator="vent", value=40), "m-2")
    outcome = rig.answer({"command": "stop-all"}, None, None)
    assert (outcome["status"], outcome["actuator"], outcome["value"]) == ("done", None, None)
    assert (rig.beacon.value, rig.vent.value) == (False, 0.0)


def test_stop_all_names_the_one_that_fails(rig: Rig) -> None:
    """The others are safe all the same."""
    rig.answer(on(), "m-1")
    rig.answer(on(actuator="vent", value=40), "m-2")
    rig.beacon.broken = True
    outcome = rig.answer({"command": "stop-all"})
    assert (outcome["status"], outcome["reason"]) == ("failed", "beacon: the relay does not answer")
    assert rig.vent.value == 0.0


def test_a_hold_keeps_the_cloud_from_moving(rig: Rig) -> None:
    """What it has moved goes to safe, nothing leaves it, towards safe is done, and a release ends it."""
    rig.answer(on(), "m-1")
    assert rig.answer({"command": "hold"}, None, None)["status"] == "done"
    rig.guard.step(rig.clock.monotonic())
    assert rig.beacon.value is False
    assert rig.answer(on(), "m-2")["reason"].startswith("hold: held from the cloud")
    assert rig.answer(off(), "m-3")["status"] == "done"
    assert rig.answer({"command": "release"}, "m-4")["status"] == "done"
    assert rig.answer(on(), "m-5")["status"] == "done"


def test_a_hold_of_the_cloud_may_end_by_itself(rig: Rig) -> None:
    """With ``for`` it needs no release."""
    assert rig.answer({"command": "hold", "for": 60})["status"] == "done"
    assert rig.answer(on(), "m-1")["reason"].endswith("(60 s more)")
    rig.clock.advance(60)
    assert rig.answer(on(), "m-2")["status"] == "done"


def test_a_hold_made_at_the_mast_is_lifted_only_there(rig: Rig) -> None:
    """The cloud lifts its own, and is refused what is not; whoever is at the mast lifts both."""
    rig.guard.hold(None, LOCAL)
    assert rig.answer({"command": "release"}, "m-1")["reason"].startswith("held-at-the-mast")
    assert rig.answer({"command": "hold"})["status"] == "done"
    assert rig.answer({"command": "release"}, "m-2")["status"] == "done"
    assert rig.answer(on(), "m-3")["reason"].startswith("hold: held at the mast")
    assert rig.answer({"command": "release"}, "m-4")["reason"].startswith("held-at-the-mast")
    assert rig.answer({"command": "hold"})["status"] == "done"
    rig.guard.release(LOCAL)
    assert rig.answer(on(), "m-5")["status"] == "done"


def test_a_hold_is_remembered_before_it_is_answered(rig: Rig) -> None:
    """Whoever is told of it can rely on it: it is there after a crash at that very moment."""
    rig.guard.hold(None, LOCAL)
    rig.receive({"command": "hold", "for": 600})
    while not rig.outcomes:
        rig.executor.step(rig.clock.monotonic())
    rig.crash()
    rig.start("run00002")
    assert set(rig.guard.remembered.holds) == {Origin.MAST, Origin.CLOUD}
    assert rig.answer(on(), "m-1")["reason"].startswith("hold: ")


def test_a_ping_needs_nothing(rig: Rig) -> None:
    """No id, no expiry, no clock, no journal; where it is certainly late it says so."""
    assert rig.answer({"command": "ping"}, None, None) == {
        "commandId": None, "command": "ping", "actuator": None,
        "status": "done", "reason": None, "value": None,
    }  # fmt: skip
    assert rig.answer({"command": "ping"}, None, -1)["status"] == "expired"
    rig.synchronised = False
    rig.executor._timekeeper._trusted = None
    assert rig.answer({"command": "ping"}, None, -1)["status"] == "done"


def test_a_method_is_a_command_that_is_answered(rig: Rig) -> None:
    """By the command's name or by ``command``; what is answered is the outcome, and both say the same."""
    by_name = rig.called("set", {"actuator": "beacon", "value": True, "id": "c-1"})
    assert by_name == (200, {
        "commandId": "c-1", "command": "set", "actuator": "beacon",
        "status": "done", "reason": None, "value": True,
    })  # fmt: skip
    assert rig.outcomes == [by_name[1]]
    assert rig.correlation_ids == ["c-1"]
    agreeing = {"actuator": "vent", "value": 3, "command": "set"}
    assert rig.called("set", agreeing)[1]["value"] == 3.0
    assert rig.called("command", {**agreeing, "value": 4})[1]["value"] == 4.0
    for payload in (b"", b"null", b"{}"):
        assert rig.called("stop-all", payload)[0] == 200
    assert rig.vent.value == 0.0


def test_a_method_without_an_id_gets_one(rig: Rig) -> None:
    """Its outcome can be told from all others."""
    ids = [rig.called("pulse", {"actuator": "beacon"})[1]["commandId"] for _ in range(2)]
    assert len({uuid.UUID(command_id) for command_id in ids}) == 2
    assert rig.correlation_ids == ids


def test_status_is_answered_at_once(rig: Rig) -> None:
    """It is no command: nothing is journalled, and there is no outcome."""
    rig.call("status", b"whatever")
    assert rig.answers == [(200, {"version": "1"})]
    assert rig.settle() == []
    assert rig.executor.received == 0


@pytest.mark.parametrize(
    ("name", "payload", "number", "reason"),
    [
        ("reboot", b"null", 404, "unknown-method: 'reboot'"),
        ("reboot", b'"now"', 404, "unknown-method: 'reboot'"),
        ("sett", b'{"actuator": "beacon", "value": true}', 404, "unknown-method: 'sett', did you mean"),
        ("command", b"null", 400, "not-a-command"),
        ("command", b'{"command": "status"}', 400, "unknown-command: 'status'"),
        ("command", b'{"command": "unknown-method"}', 400, "unknown-command: "),
        ("set", b'{"actuator": "beacon", "value": true, "command": "stop"}', 400, "bad-command: "),
        ("set", b'{"actuator": "beacon", "value": "on"}', 400, "bad-value: expected true, false or a number"),
        ("set", b'{"actuator": "beacon", "value": 2}', 400, "bad-value: "),
        ("set", b'{"actuator": "vent", "value": 100.1}', 400, "bad-value: "),
        ("set", b'{"actuator": "becon", "value": true}', 400, "unknown-actuator"),
        ("set", b'{"value": 1, "value": 2}', 400, "duplicate-key: 'value'"),
        ("set", b"\xff", 400, "not-utf-8"),
        ("set", b"[" * 60_000, 400, "too-deep"),
        ("set", b"{}" + b" " * 70_000, 400, "too-large"),
    ],
)
def test_a_refused_method_says_so_by_its_number(
    rig: Rig, name: str, payload: bytes, number: int, reason: str
) -> None:
    """400 for what is not in order or not allowed, 404 for a method that there is not."""
    given, outcome = rig.called(name, payload)
    assert given == number
    assert outcome["status"] == "refused"
    assert outcome["reason"].startswith(reason)
    assert rig.outcomes == [outcome]
    assert rig.beacon.driven == []


def test_the_number_of_an_answer_is_of_its_status(rig: Rig) -> None:
    """408 where it came too late, 500 where it did not work."""
    expired = rig.called("set", {"actuator": "beacon", "value": True, "expires": "2020-01-01T00:00:00Z"})
    assert (expired[0], expired[1]["status"]) == (408, "expired")
    rig.beacon.broken = True
    failed = rig.called("set", {"actuator": "beacon", "value": True})
    assert (failed[0], failed[1]["status"]) == (500, "failed")


def test_a_call_cut_off_is_interrupted_and_503_when_repeated(rig: Rig) -> None:
    """Its outcome is in the outbox after the restart, whoever called is gone; nothing moved."""
    named = {"actuator": "beacon", "value": True, "id": "c-1"}
    rig.call("set", named)
    rig.call("reboot", b'{"command": "set", "actuator": "beacon", "value": true}')
    rig.crash()
    rig.start("run00002")
    assert [(o["commandId"] == "c-1", o["status"]) for o in rig.outcomes] == [
        (True, "interrupted"),
        (False, "refused"),
    ]
    assert rig.answers == []
    number, outcome = rig.called("set", named)
    assert number == 503
    assert outcome == {**rig.outcomes[0], "repeat": True}
    assert rig.beacon.driven == []


def test_one_id_is_one_command_by_message_and_by_method(rig: Rig) -> None:
    """The second is answered as the first was, whichever came first, and executes nothing."""
    first = rig.answer(on(id="c-1"))
    assert rig.called("set", {"actuator": "beacon", "value": True, "id": "c-1"}) == (
        200, {**first, "repeat": True},
    )  # fmt: skip
    _, second = rig.called("command", on(id="c-2"))
    assert rig.answer(on(id="c-2")) == {**second, "repeat": True}
    assert rig.called("set", {"actuator": "vent", "value": 1, "id": "c-1"})[1]["reason"].startswith(
        "id-reused"
    )
    assert rig.beacon.driven == [True, True]


def test_a_repeat_that_is_cut_off_is_answered_as_a_repeat(rig: Rig) -> None:
    """One outcome for an id and a body, wherever the crash was: what came after it is marked."""
    first = rig.answer(on(), "m-1")
    rig.receive(on(), "m-1")
    rig.receive(b"no command", "m-2")
    rig.receive(b"no command", "m-2")
    rig.receive(on(), "m-3")
    rig.receive(on(), "m-3")
    rig.receive(off(), "m-4")
    rig.receive(off(), "m-4")
    rig.crash()
    rig.start("run00002")
    outcomes = rig.outcomes
    assert outcomes[:2] == [first, {**first, "repeat": True}]
    assert [o["status"] for o in outcomes[2:]] == ["refused"] * 2 + ["interrupted"] * 4
    for first, again in zip(outcomes[2::2], outcomes[3::2], strict=True):
        assert again == {**first, "repeat": True}
    assert rig.beacon.driven == []


def test_the_order_of_arrival_is_kept(rig: Rig) -> None:
    """One after the other, as they came."""
    for n, value in enumerate((10, 20, 5)):
        rig.receive(on(actuator="vent", value=value), f"m-{n}")
    assert [o["value"] for o in rig.settle()] == [10.0, 20.0, 5.0]
    assert rig.vent.driven[-3:] == [10.0, 20.0, 5.0]
    assert rig.executor.received == 3
    assert rig.executor.last_received_boot_s == rig.clock.monotonic()


def test_interrupted_after_a_restart(rig: Rig) -> None:
    """What was journalled and had no outcome is answered once, and not executed; its repeat says the same."""
    rig.receive(on(), "m-1")
    rig.receive(b"no command", "m-2")
    rig.crash()
    rig.start("run00002")
    assert [(o["commandId"], o["status"]) for o in rig.outcomes] == [
        ("m-1", "interrupted"),
        ("m-2", "refused"),
    ]
    assert rig.outcomes[0]["actuator"] == "beacon"
    assert rig.answer(on(), "m-1") == {**rig.outcomes[0], "repeat": True}
    rig.crash()
    rig.start("run00003")
    assert len(rig.outcomes) == 3
    assert rig.beacon.driven == []


@pytest.mark.parametrize("moment", ["journalled", "driven", "finished", "stored", "posted"])
def test_one_outcome_per_arrival_wherever_it_crashed(
    rig: Rig, moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files copied at any moment and reopened lead to exactly one outcome, and to no second execution."""
    copy = tmp_path / "after"
    assert rig.journal is not None
    places = {
        "driven": (rig.journal, "finish"),
        "finished": (rig.outbox, "append"),
        "stored": (rig.journal, "mark_posted"),
    }

    def snapshot() -> None:
        copy.mkdir()
        for file in tmp_path.glob("*.db*"):
            shutil.copy(file, copy)

    if moment in places:
        target, name = places[moment]
        original = getattr(target, name)

        def copying(*args: Any) -> Any:
            snapshot()
            return original(*args)

        monkeypatch.setattr(target, name, copying)
    rig.receive(on(), "m-1")
    if moment == "journalled":
        snapshot()
    rig.settle()
    if moment == "posted":
        snapshot()
    rig.crash()
    rig.folder = copy
    rig.start("run00002")
    assert len(rig.outcomes) == 1
    interrupted = moment in ("journalled", "driven")
    assert rig.outcomes[0]["status"] == ("interrupted" if interrupted else "done")
    assert rig.answer(on(), "m-1") == {**rig.outcomes[0], "repeat": True}
    assert rig.beacon.driven == []


def test_without_a_journal_only_the_way_to_safe_is_open(tmp_path: Path) -> None:
    """What could be executed twice is not executed at all."""
    rig = Rig(tmp_path, journal=False)
    assert rig.answer(on(), "m-1")["reason"].startswith("no-journal")
    assert rig.answer(off(), "m-2")["status"] == "done"
    assert rig.beacon.driven == [False]
    rig.crash()


@pytest.mark.parametrize("writes", [True, False])
def test_a_journal_that_fails_leaves_the_way_to_safe_open(rig: Rig, writes: bool) -> None:
    """A disk that does not write, or does not read, is no reason to leave a heater on."""
    assert rig.journal is not None
    rig.answer(on(), "m-0")
    if not writes:
        rig.journal._db.execute(
            "CREATE TRIGGER t BEFORE INSERT ON arrivals BEGIN SELECT RAISE(FAIL, 'disk I/O error'); END"
        )
    rig.receive(on(), "m-1")
    rig.receive(off(), "m-2")
    if writes:
        rig.journal._db.execute("ALTER TABLE arrivals RENAME COLUMN digest TO gone")
    refused, done = rig.settle()[-2:]
    assert refused["reason"].startswith("no-journal")
    assert done["status"] == "done"
    assert rig.beacon.value is False


def test_an_outcome_that_the_journal_does_not_take_is_sent_all_the_same(rig: Rig) -> None:
    """And the repeat of such a command is not executed."""
    assert rig.journal is not None
    rig.journal._db.execute(
        "CREATE TRIGGER t BEFORE UPDATE OF outcome ON arrivals BEGIN SELECT RAISE(FAIL, 'disk full'); END"
    )
    assert rig.answer(on(), "m-1")["status"] == "done"
    repeated = rig.answer(on(), "m-1")
    assert (repeated["status"], repeated["repeat"]) == ("interrupted", True)
    assert rig.beacon.driven == [True]


def test_a_journal_that_cannot_be_read_at_the_start_keeps_nobody_from_starting(rig: Rig) -> None:
    """Recovery gives up, and says so."""
    assert rig.journal is not None
    rig.receive(on(), "m-1")
    rig.journal.close()
    rig.executor.recover()
    assert rig.outcomes == []


def test_a_posted_mark_that_fails_is_only_logged(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """The outbox knows the outcome by its key, so a second posting is harmless."""
    assert rig.journal is not None
    rig.journal._db.execute(
        "CREATE TRIGGER t BEFORE UPDATE OF posted ON arrivals BEGIN SELECT RAISE(FAIL, 'disk full'); END"
    )
    rig.answer(on(), "m-1")
    assert "the journal cannot be written: disk full" in caplog.text
    rig.executor.recover()
    assert len(rig.outcomes) == 1


def test_the_journal_keeps_no_more_than_it_must(rig: Rig) -> None:
    """Bodies go when the outcome is known."""
    rig.answer(on(), "m-1")
    database = sqlite3.connect(rig.folder / "commands.db")
    assert database.execute("SELECT body, posted FROM arrivals").fetchall() == [(None, 1)]
    database.close()


def test_the_guard_is_asked_by_name_of_the_command(rig: Rig) -> None:
    """Status and events tell which command it was."""
    rig.answer(on(), "m-1")
    assert rig.guard.status["beacon"].why == "command m-1"
    rig.answer(off())
    assert rig.guard.status["beacon"].why == "command without an id"


def test_a_command_that_expires_while_the_journal_is_asked_is_not_obeyed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A card that stalls for 45 s makes no command late: the time that counts is when its turn has come."""
    assert rig.journal is not None
    earlier = rig.journal.earlier

    def stalled(arrival: Arrival) -> Arrival | None:
        rig.clock.advance(45.0)
        return earlier(arrival)

    monkeypatch.setattr(rig.journal, "earlier", stalled)
    assert rig.answer(on(), "m-1", expires_in_s=30.0)["status"] == "expired"
    rig.synchronised = False
    rig.executor._timekeeper._trusted = None
    assert "clock-untrusted" in rig.answer(on(), "m-2", expires_in_s=300.0)["reason"]
    assert True not in rig.beacon.driven


def test_a_stop_with_flaws_is_done(rig: Rig) -> None:
    """Its id, its expiry and its other keys are no reason to leave something driven; by a method as well."""
    flaws: list[dict[str, Any]] = [{"id": 7}, {"id": ""}, {"expires": "soon"}, {"why": ["smoke"]}, {"for": 0}]
    for number, flaw in enumerate(flaws):
        for stop in ({"command": "stop", "actuator": "beacon"}, {"command": "stop-all"}, off()):
            if stop["command"] == "set" and not {"id", "expires"} & flaw.keys():
                continue
            assert rig.answer(on(), f"m-{number}-{stop['command']}")["status"] == "done"
            assert rig.answer({**stop, **flaw})["status"] == "done"
            assert rig.beacon.value is False
    rig.answer(on(), "m-1")
    assert rig.called("stop", {"actuator": "beacon", "id": 7, "why": {"by": "smoke"}})[0] == 200
    assert rig.called("command", {"command": "stop-all", "why": ["smoke"]})[0] == 200
    assert rig.beacon.value is False


def test_away_from_safe_with_a_flaw_is_refused(rig: Rig) -> None:
    """An id that cannot be kept, or an expiry that cannot be judged; again, and over the message's own id."""
    for flaw, word in (({"id": 7}, "bad-id: "), ({"expires": "soon"}, "bad-expires: ")):
        first = rig.answer(on(**flaw), f"m-{word}")
        assert (first["status"], first["reason"].startswith(word)) == ("refused", True)
        assert first["command"] == "set"
        assert rig.answer(on(**flaw), f"m-{word}") == {**first, "repeat": True}
    assert rig.beacon.driven == []


def test_a_hold_that_comes_again_shortens_nothing(rig: Rig) -> None:
    """Not even over a duplicate of a shorter one, which is done as any hold is."""
    short = {"command": "hold", "for": 10, "id": "c-1"}
    rig.answer(short)
    rig.answer({"command": "hold", "id": "c-2"})
    repeated = rig.answer(short)
    assert (repeated["status"], repeated["repeat"]) == ("done", True)
    rig.clock.advance(3600)
    rig.guard.step(rig.clock.monotonic())
    assert rig.answer(on(), "m-1")["reason"] == "hold: held from the cloud"


def test_a_release_is_told_that_somebody_at_the_mast_holds_too(rig: Rig) -> None:
    """It is done, and nothing moves."""
    rig.answer({"command": "hold"}, "m-1")
    rig.guard.hold(None, LOCAL)
    released = rig.answer({"command": "release"}, "m-2")
    assert (released["status"], released["reason"]) == ("done", "still held at the mast")
    assert rig.answer(on(), "m-3")["reason"] == "hold: held at the mast"
    rig.guard.release(LOCAL)
    rig.answer({"command": "hold"}, "m-4")
    assert rig.answer({"command": "release"}, "m-5")["reason"] is None


def _full(_: Remembered) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_hold_that_the_disk_does_not_take_says_so(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is done and stands; so is the release. What is refused has its own reason."""
    write = rig.memory._write
    monkeypatch.setattr(rig.memory, "_write", _full)
    held = rig.answer({"command": "hold"}, "m-1")
    assert (held["status"], held["reason"].partition(":")[0]) == ("done", "not-durable")
    assert rig.answer(on(), "m-2")["reason"] == "hold: held from the cloud"
    monkeypatch.setattr(rig.memory, "_write", write)
    rig.settle()
    monkeypatch.setattr(rig.memory, "_write", _full)
    released = rig.answer({"command": "release"}, "m-3")
    assert (released["status"], released["reason"].partition(":")[0]) == ("done", "not-durable")
    rig.guard.hold(None, LOCAL)
    assert rig.answer({"command": "release"}, "m-4")["reason"].startswith("held-at-the-mast")


def test_what_the_disk_does_not_take_is_tried_again_after_ten_seconds(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nothing comes; when it is taken, the executor has nothing more to do."""
    write = rig.memory._write
    monkeypatch.setattr(rig.memory, "_write", _full)
    rig.answer({"command": "hold"}, "m-1")
    now = rig.clock.monotonic()
    assert rig.executor.step(now) == now + 10
    monkeypatch.setattr(rig.memory, "_write", write)
    rig.clock.advance(10)
    assert rig.executor.step(now + 10) == now + 10 + 3600
    rig.crash()
    rig.start("run00002")
    assert Origin.CLOUD in rig.guard.remembered.holds


@pytest.mark.parametrize("when", ["at the next step", "at the close"])
def test_an_outcome_that_the_journal_did_not_take_is_written_when_it_does(rig: Rig, when: str) -> None:
    """After a restart nobody is told that what was answered was interrupted."""
    journal = rig.journal
    assert journal is not None
    journal._db.execute(
        "CREATE TRIGGER t BEFORE UPDATE ON arrivals BEGIN SELECT RAISE(FAIL, 'disk I/O error'); END"
    )
    first = rig.answer(on(), "m-1")
    assert first["status"] == "done"
    now = rig.clock.monotonic()
    assert rig.executor.step(now) == now + 10
    journal._db.execute("DROP TRIGGER t")
    if when == "at the next step":
        assert rig.executor.step(now) == now + 3600
        rig.crash()
    else:
        rig.executor.close()
    rig.start("run00002")
    assert rig.outcomes == [first]
    assert rig.answer(on(), "m-1") == {**first, "repeat": True}
