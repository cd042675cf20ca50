"""Each arrival is judged in the order of design.md's section 5, executed at most once, and answered once."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.commands.executor import CommandRules
from agent.commands.journal import Arrival

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
    for message_id in (None, ""):
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
    monkeypatch.setattr("agent.commands.guard._ANSWER_S", 0.01)
    rig.guard.wake = lambda: None
    assert rig.answer(on(), "m-1")["status"] == "failed"
    rig.guard.step(rig.clock.monotonic())
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
