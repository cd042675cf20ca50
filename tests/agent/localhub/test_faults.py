"""Faults: what may be asked for, what is on, and for whom."""

from __future__ import annotations

import re
import threading

import pytest

from agent.localhub.fault_table import TABLE
from agent.localhub.faults import Fault, Faults
from agent.localhub.limits import MOST_WAITING, Limits, Quota, Throttle
from agent.localhub.records import InvalidRequest, UnknownFault
from tests.clock import FakeClock


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("refuse=3", "refuse", 3),
        ("refuse", "refuse", 5),
        ("no-puback", "no-puback", None),
        ("late-puback=0.5", "late-puback", 0.5),
        ("late-puback", "late-puback", 5),
        ("kick", "kick", None),
        ("kick=20", "kick", 20),
        ("freeze", "freeze", None),
        ("quota=8000", "quota", 8000),
        ("clock-skew=-7200", "clock-skew", -7200),
        ("reset=c2d-puback", "reset", "c2d-puback"),
    ],
)
def test_a_fault_is_a_name_and_a_value(text: str, name: str, value: object) -> None:
    """Numbers are numbers, and a default stands in where there is one."""
    fault = Fault.parse(text)
    assert (fault.name, fault.value, fault.device, fault.times) == (name, value, None, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("refuse=6", "refuse: expected a whole number from 3 to 5, got '6'"),
        ("refuse=4.5", "refuse: expected a whole number from 3 to 5, got '4.5'"),
        ("refuse=", "'refuse=': a value is missing after the ="),
        ("late-puback=soon", "late-puback: expected a number from 0 to 3,600, got 'soon'"),
        ("late-puback=nan", "late-puback: expected a number"),
        ("late-puback=inf", "late-puback: expected a number"),
        ("slow=99", "slow: expected a number from 100 to"),
        ("quota=" + "9" * 5000, "quota: expected a whole number"),
        ("no-puback=1", "no-puback takes no value: leave out '1'"),
        ("reset", "reset: expected one of connect, connack, .*, got nothing"),
        ("reset=disconnect", "reset: expected one of connect, .*, got 'disconnect'"),
    ],
)
def test_a_wrong_value_is_told_in_one_line(text: str, words: str) -> None:
    """What is expected, and what was given."""
    with pytest.raises(InvalidRequest, match=words) as caught:
        Fault.parse(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("refuze", "no fault 'refuze', did you mean 'refuse'?"),
        ("NO-PUBACK", "did you mean 'no-puback'?"),
        ("late_puback", "did you mean 'late-puback'?"),
        ("xyz", "no fault 'xyz', expected one of refuse, no-connack, "),
    ],
)
def test_an_unknown_name_is_told_with_the_likely_one(name: str, words: str) -> None:
    """Or with all of them."""
    with pytest.raises(UnknownFault, match=re.escape(words)):
        Fault.parse(name)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "refuse", "times": 0}, "times 0: expected a whole number from 1"),
        ({"name": "refuse", "times": True}, "times True"),
        ({"name": "refuse", "times": 1.5}, "times 1.5"),
        ({"name": "refuse", "value": True}, "got True"),
        ({"name": "refuse", "value": [5]}, r"got \[5\]"),
        ({"name": "slow", "times": 2}, "slow is not done a number of times: leave out times 2"),
        ({"name": "kick", "times": 2}, "kick is not done a number of times"),
        ({"name": "lost-state", "times": 1}, "lost-state is not done a number of times"),
        ({"name": "clock-skew", "device": "mast-1"}, "the same for every device: leave out device 'mast-1'"),
        ({"name": "expired-certificate", "device": "mast-1"}, "the same for every device"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, object], words: str) -> None:
    """Times where nothing is counted, a device where the hub does not know one yet."""
    with pytest.raises(InvalidRequest, match=words):
        Fault(**arguments)  # type: ignore[arg-type]


def test_the_table_is_for_people() -> None:
    """Each fault says in one line what a device sees, and its default is a value that it takes."""
    for name, kind in TABLE.items():
        assert kind.name == name
        assert "\n" not in kind.sees
        assert kind.usage.startswith(name)
        if not kind.must_have_value:
            Fault(name)


def test_a_fault_says_itself() -> None:
    """As it is typed, for whom, and how often."""
    assert str(Fault("refuse", 3)) == "refuse=3"
    assert str(Fault("no-puback", device="mast-1", times=1)) == "no-puback for mast-1, once"
    assert str(Fault("reset", "puback", times=3)) == "reset=puback, 3 times"


def test_a_device_s_own_fault_comes_before_everyone_s() -> None:
    """And is nobody else's."""
    faults = Faults([Fault("refuse", 3), Fault("refuse", 4, "mast-1")])
    assert [faults.peek("refuse", d).value for d in ("mast-1", "mast-2", "")] == [4, 3, 3]  # type: ignore[union-attr]
    faults = Faults([Fault("refuse", 4, "mast-1")])
    assert faults.take("refuse", "mast-2") is None
    assert faults.take("refuse") is None


def test_times_run_out() -> None:
    """Each taking is one; what is left is told; looking costs nothing; afterwards the fault is off."""
    faults = Faults([Fault("refuse", 3, times=2)])
    assert faults.peek("refuse", "mast-1") == faults.take("refuse", "mast-1") == Fault("refuse", 3, times=2)
    assert faults.active() == [Fault("refuse", 3, times=1)]
    assert faults.take("refuse", "mast-1") is not None
    assert faults.take("refuse", "mast-1") is None
    assert not faults


def test_times_are_counted_over_threads() -> None:
    """A hundred times are a hundred times, whoever asks."""
    faults = Faults([Fault("no-puback", times=100)])
    taken: list[int] = []

    def ask() -> None:
        taken.append(sum(faults.take("no-puback", "mast-1") is not None for _ in range(100)))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == 100


def test_a_fault_takes_the_place_of_its_like() -> None:
    """Same name, same device: the newer one; resets at several packets stand side by side."""
    faults = Faults(
        [Fault("refuse", 3), Fault("refuse", 4), Fault("reset", "connect"), Fault("reset", "puback")]
    )
    assert faults.active() == [Fault("refuse", 4), Fault("reset", "connect"), Fault("reset", "puback")]
    assert faults.take("reset", "mast-1", "suback") is None
    assert faults.take("reset", "mast-1", "puback") == Fault("reset", "puback")


def test_clearing_is_by_name_or_of_all() -> None:
    """A name goes for every device; what is not on may be cleared; what does not exist may not."""
    faults = Faults([Fault("refuse"), Fault("refuse", device="mast-1"), Fault("slow"), Fault("quota")])
    faults.clear("refuse")
    faults.clear("kick")
    assert faults.active() == [Fault("slow"), Fault("quota")]
    with pytest.raises(UnknownFault, match="did you mean 'slow'"):
        faults.clear("slw")
    faults.clear()
    assert faults.active() == []


def test_actions_are_done_and_changes_told() -> None:
    """An action that was asked for before the hub ran is done when it does; none is ever on."""
    done: list[Fault] = []
    told: list[frozenset[str]] = []
    faults = Faults([Fault("lost-state")])
    faults.attach(done.append, told.append)
    faults.set(Fault("kick", device="mast-1"))
    assert done == [Fault("lost-state"), Fault("kick", device="mast-1")]
    assert (faults.active(), told) == ([], [])
    faults.set(Fault("kick", 5, times=1))
    faults.take("kick", "mast-1")
    faults.clear("freeze")
    assert told == [frozenset(), frozenset(), frozenset({"freeze"})]
    faults.detach()
    faults.set(Fault("lost-state"))
    faults.clear()
    assert (len(done), len(told)) == (2, 3)


def test_a_throttle_confirms_a_burst_then_at_its_rate_then_refuses() -> None:
    """At two a second: two at once, then one each half second, none when ten wait; waiting makes room."""
    throttle = Throttle(2)
    assert [throttle.wait_s(100.0) for _ in range(5)] == [0, 0, 0.5, 1.0, 1.5]
    assert [throttle.wait_s(100.0) for _ in range(7)][-1] == MOST_WAITING / 2
    assert throttle.wait_s(100.0) is None
    assert throttle.wait_s(100.5) == MOST_WAITING / 2
    assert throttle.wait_s(100.5) is None
    assert throttle.wait_s(200.0) == 0


def test_a_slow_throttle_takes_one_at_once() -> None:
    """Also at one in ten seconds the first is not late."""
    throttle = Throttle(0.1)
    assert [throttle.wait_s(0.0) for _ in range(3)] == [0, 10, 20]


def test_a_quota_counts_begun_units_and_begins_anew_at_midnight_utc() -> None:
    """A message that does not fit is not counted."""
    quota = Quota(3)
    midnight = 86_400.0 * 20_000
    assert quota.spend(0, midnight)
    assert not quota.spend(3 * 4096, midnight + 1)
    assert quota.spend(4097, midnight + 86_399.9)
    assert not quota.spend(1, midnight + 86_399.9)
    assert quota.spend(3 * 4096, midnight + 86_400)


def test_limits_count_for_whom_the_fault_is_and_anew_when_it_is_set_again() -> None:
    """One for all is used up by all together; a device's own is its own."""
    clock = FakeClock()
    faults = Faults()
    limits = Limits(faults, clock.wall, clock.monotonic)
    assert limits.within_quota("mast-1", 10**9)
    assert limits.wait_s("mast-1") == 0
    two = Fault("quota", 2)
    faults.set(two)
    assert [limits.within_quota(d, 1) for d in ("mast-1", "mast-2", "mast-1")] == [True, True, False]
    faults.set(Fault("quota", 1, "mast-2"))
    assert [limits.within_quota(d, 1) for d in ("mast-2", "mast-2", "mast-1")] == [True, False, False]
    faults.set(two)
    assert limits.within_quota("mast-1", 1)
    faults.set(Fault("throttle", 1))
    assert [limits.wait_s("mast-1"), limits.wait_s("mast-2")] == [0, 1]
    clock.advance(2)
    assert limits.wait_s("mast-1") == 0
