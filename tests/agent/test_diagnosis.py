from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.backoff import Pace
from agent.cloud import Failure, HubError
from agent.diagnosis import Diagnosis, Ending, Finding

INFERRED = {"nothing taken", "throttled", "evicted"}


def ending(failure: Failure = Failure.LOST, up_for_s: float | None = 500.0, **counts: Any) -> Ending:
    return Ending(HubError(failure, f"as it was said: {failure.value}"), up_for_s, **counts)


NOTHING_TAKEN = ending(up_for_s=1.0, in_flight=5)
BURST = ending(up_for_s=2.0, confirmed=100, in_flight=20)
SHORT = ending(up_for_s=40.0, confirmed=3)
LONG = ending(up_for_s=4000.0, confirmed=30)


def judged(*endings: Ending) -> Finding:
    diagnosis = Diagnosis()
    return [diagnosis.judge(one) for one in endings][-1]


@pytest.mark.parametrize("failure", Failure)
def test_every_failure_has_words_and_a_pace(failure: Failure) -> None:
    """One line as the client said it, a name of its own, and delays that grow to a cap of minutes."""
    attempt = judged(ending(failure, None))
    assert attempt.name == failure.name
    assert attempt.text == f"as it was said: {failure.value}"
    assert "\n" not in attempt.text
    assert 0.0 <= attempt.pace.least_s < attempt.pace.base_s <= attempt.pace.cap_s <= 300.0
    assert not attempt.slower


@pytest.mark.parametrize("failure", Failure)
def test_attempts_are_never_interpreted(failure: Failure) -> None:
    """However often connecting fails, what the wire shows is said, and nothing is inferred."""
    assert judged(*[ending(failure, None)] * 20).name == failure.name


def test_what_asks_nobody_is_tried_again_sooner() -> None:
    """A name that does not resolve and a missing route cost no hub anything: within a minute."""
    assert judged(ending(Failure.NAME, None)).pace.cap_s == 60.0
    assert judged(ending(Failure.ROUTE, None)).pace.cap_s == 60.0


@pytest.mark.parametrize(
    "failure", [Failure.UNTRUSTED, Failure.CERTIFICATE_TIME, Failure.REFUSED, Failure.UNSUBSCRIBED]
)
def test_what_only_a_person_mends_is_tried_again_later(failure: Failure) -> None:
    """Haste does not help against a wrong key or certificate."""
    assert judged(ending(failure, None)).pace.base_s > judged(ending(Failure.LOST, None)).pace.base_s


def test_the_usual_pace() -> None:
    """Two seconds to five minutes."""
    assert judged(ending()).pace == Pace(2.0, 300.0, 0.0)


def test_nothing_taken() -> None:
    """Four connections that confirmed nothing of what was sent look like a quota, with their number."""
    assert judged(*[NOTHING_TAKEN] * 3).name == "LOST"
    found = judged(*[NOTHING_TAKEN] * 4)
    assert found.name == "nothing taken"
    assert found.text.startswith("looks like the daily quota is used up, or the hub throttles")
    assert "4 connections in a row" in found.text
    assert found.slower
    assert found.pace.least_s >= 30.0


def test_nothing_taken_without_a_disconnect() -> None:
    """Confirmations that stay away, four connections in a row, are the same."""
    silent = ending(Failure.UNCONFIRMED, 31.0, in_flight=5)
    assert judged(silent, NOTHING_TAKEN, silent, silent).name == "nothing taken"


@pytest.mark.parametrize(
    "other",
    [
        ending(up_for_s=1.0, confirmed=1, in_flight=4),  # one got through
        ending(up_for_s=1000.0),  # nothing was sent
        ending(Failure.DEAD, 120.0, in_flight=5),  # there is a better reason
        ending(Failure.REFUSED, None),  # it was not even connected
        ending(Failure.CLOSED, None),
    ],
)
def test_nothing_taken_only_in_a_row(other: Ending) -> None:
    """Anything else in between, and the count begins anew."""
    assert judged(*[NOTHING_TAKEN] * 3, other).name not in INFERRED
    assert judged(*[NOTHING_TAKEN] * 3, other, *[NOTHING_TAKEN] * 3).name not in INFERRED


def test_throttled() -> None:
    """Two connections that ended in the middle of a burst look like throttling, with messages and seconds."""
    assert judged(BURST).name == "LOST"
    found = judged(BURST, BURST)
    assert found.name == "throttled"
    assert found.text.startswith("looks like throttling: the hub closed 2 connections in a row")
    assert "after 100 messages in 2.0 s" in found.text
    assert found.slower
    assert found.pace.least_s > 0.0


@pytest.mark.parametrize(
    "other",
    [
        ending(up_for_s=2.0, confirmed=120),  # nothing was in flight
        ending(up_for_s=2.0, confirmed=30, in_flight=20),  # too few
        ending(up_for_s=600.0, confirmed=900, in_flight=20),  # too slow
        ending(Failure.UNCONFIRMED, 31.0, confirmed=880, in_flight=20),  # nobody hung up
    ],
)
def test_throttled_only_in_a_burst(other: Ending) -> None:
    """What ended otherwise says nothing about the rate."""
    assert judged(BURST, other).name not in INFERRED
    assert judged(other, BURST).name not in INFERRED
    assert judged(other, other).name not in INFERRED


def test_evicted() -> None:
    """Three short lives without a reason look like another client with the same id, with their lengths."""
    assert judged(SHORT, SHORT).name == "LOST"
    found = judged(SHORT, ending(up_for_s=7.0), ending(up_for_s=90.0))
    assert found.name == "evicted"
    assert found.text.startswith("looks like another client connects with the same device id")
    assert "after 40 s, 7 s, 90 s" in found.text
    assert found.pace.least_s >= 30.0


@pytest.mark.parametrize(
    "other", [LONG, ending(Failure.DEAD, 40.0), ending(Failure.CLOSED, None), NOTHING_TAKEN]
)
def test_evicted_only_in_a_row(other: Ending) -> None:
    """A long life, an end that has a reason, or one that looks like something else."""
    assert judged(SHORT, SHORT, other).name not in INFERRED
    assert judged(SHORT, SHORT, other, SHORT, SHORT).name not in INFERRED


def test_no_two_inferences_at_once() -> None:
    """Each pattern in turn is told as itself."""
    diagnosis = Diagnosis()
    names = [diagnosis.judge(one).name for one in [*[NOTHING_TAKEN] * 4, *[BURST] * 2, *[SHORT] * 3]]
    assert names == ["LOST", "LOST", "LOST", "nothing taken", "LOST", "throttled", "LOST", "LOST", "evicted"]


@pytest.mark.parametrize("pattern", [NOTHING_TAKEN, BURST, SHORT])
def test_the_name_is_stable_while_the_text_changes(pattern: Ending) -> None:
    """A trouble that lasts keeps its name; the observation is the latest one."""
    diagnosis = Diagnosis()
    found = [diagnosis.judge(pattern) for _ in range(12)]
    assert len({one.name for one in found[4:]}) == 1
    assert found[4].name in INFERRED


def test_new_suspects() -> None:
    """Until others were tried it may be a message: that is said, and there is no haste lost."""
    third = replace(NOTHING_TAKEN, new_suspects=5)
    found = judged(NOTHING_TAKEN, NOTHING_TAKEN, third)
    assert found.name == "suspects"
    assert "(5 of them)" in found.text
    assert found.pace == Pace()
    assert not found.slower
    assert judged(NOTHING_TAKEN, NOTHING_TAKEN, third, NOTHING_TAKEN).name == "nothing taken"


def test_a_suspect_that_ended_the_connection_alone() -> None:
    """Where others got through it is named, and looks like nothing else; where none did, like any ending."""
    alone = ending(up_for_s=61.0, confirmed=39, in_flight=1, suspect="0badcafe-50")
    found = judged(*[alone] * 5)
    assert found.name == "suspect"
    assert "0badcafe-50" in found.text
    assert found.pace == Pace()
    lonely = ending(up_for_s=1.0, in_flight=1, suspect="0badcafe-50")
    assert judged(*[lonely] * 4).name == "nothing taken"


def test_what_is_forgotten_says_nothing() -> None:
    """After a stable link the count begins anew."""
    diagnosis = Diagnosis()
    for _ in range(3):
        diagnosis.judge(NOTHING_TAKEN)
    diagnosis.forget()
    assert diagnosis.judge(NOTHING_TAKEN).name == "LOST"


def test_what_was_said_is_what_is_known() -> None:
    """An inference never hides an ending whose reason the wire shows."""
    diagnosis = Diagnosis()
    for _ in range(5):
        diagnosis.judge(SHORT)
    assert diagnosis.judge(ending(Failure.REFUSED, None)).name == "REFUSED"


def test_what_worked_is_told_with_how_long() -> None:
    """A connection that confirmed was of use while it stood, unless it is one that must be slowed."""
    assert judged(ending(up_for_s=240.0, confirmed=9)).worked_for_s == 240.0
    assert judged(ending(up_for_s=240.0)).worked_for_s == 0.0
    assert judged(ending(Failure.CLOSED, None)).worked_for_s == 0.0
    assert judged(*[SHORT] * 3).worked_for_s == 0.0


def test_a_suspect_that_was_only_not_confirmed() -> None:
    """Nobody ended the connection: it is told as the confirmation that stayed away."""
    alone = ending(Failure.UNCONFIRMED, 70.0, confirmed=4, in_flight=1, suspect="0badcafe-50")
    assert judged(alone).name == "UNCONFIRMED"
