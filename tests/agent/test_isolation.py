"""The invariants of agent/isolation.py, by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.isolation import MOST, STRIKES, TRIALS, Isolation
from agent.reading import Entry, Row


def row(number: int) -> Row:
    return Row(number, "0badcafe", "boot", Entry("reading", float(number), {"n": number}))


def rows(*numbers: int) -> list[Row]:
    return [row(number) for number in numbers]


def numbers(found: list[Row]) -> list[int]:
    return [r.sequence for r in found]


def ended(isolation: Isolation, *just_published: int, in_flight: tuple[int, ...] = ()) -> list[Row]:
    """A connection went; the suspects that are released for it."""
    return isolation.disconnected(rows(*just_published), rows(*in_flight))


def suspecting(*numbers: int) -> Isolation:
    isolation = Isolation()
    for _ in range(STRIKES):
        assert ended(isolation, *numbers) == []
    return isolation


def test_patient_a_row_is_suspect_at_the_third_disconnect() -> None:
    """Not at the first, not at the second."""
    isolation = Isolation()
    for _ in range(STRIKES - 1):
        ended(isolation, 1)
        assert isolation.rows == []
    ended(isolation, 1, 2)
    assert numbers(isolation.rows) == [1]


def test_patient_one_disconnect_without_it_begins_anew() -> None:
    """The disconnects must follow each other: one that spared the row clears it."""
    isolation = Isolation()
    for _ in range(5):
        ended(isolation, 1)
        ended(isolation, 1)
        ended(isolation)
    assert isolation.rows == []


def test_patient_what_was_in_flight_is_not_spared() -> None:
    """A row that was published earlier, and waits for its confirmation, keeps its count."""
    isolation = Isolation()
    for _ in range(STRIKES - 1):
        ended(isolation, 1)
        ended(isolation, in_flight=(1,))
        assert isolation.rows == []
    ended(isolation, 1)
    assert numbers(isolation.rows) == [1]


@given(st.lists(st.sets(st.integers(0, 5)), max_size=30))
def test_patient_whatever_is_in_flight(endings: list[set[int]]) -> None:
    """Over any endings a row becomes suspect only if it was there at three in a row; each is told once."""
    isolation = Isolation()
    in_a_row = dict.fromkeys(range(6), 0)
    for in_flight in endings:
        held = set(numbers(isolation.rows))
        just_published = in_flight - held  # nobody else sends them
        in_a_row = {n: count + 1 if n in just_published else 0 for n, count in in_a_row.items()}
        released = numbers(ended(isolation, *just_published))
        new = {n for n, count in in_a_row.items() if count >= STRIKES}
        after = set(numbers(isolation.rows))
        assert after | set(released) <= held | new
        assert held <= after | set(released)
        assert len(released) == len(set(released))
        assert not after & set(released)


def test_alone_suspects_take_turns() -> None:
    """The one whose trial failed is the last to be tried again."""
    isolation = suspecting(1, 2, 3)
    tried = []
    for _ in range(6):
        suspect = isolation.next(stable=True)
        assert suspect is not None
        tried.append(suspect.sequence)
        isolation.failed_alone(suspect, others_got_through=False)
    assert tried == [1, 2, 3, 1, 2, 3]


def test_alone_nobody_is_next_without_suspects() -> None:
    """Then everything may go."""
    assert Isolation().next(stable=True) is None


def test_evidence_without_others_no_trial_counts() -> None:
    """On connections that take nothing a suspect fails for ever, and is never given up."""
    isolation = suspecting(1)
    assert not any(isolation.failed_alone(row(1), others_got_through=False) for _ in range(1000))
    assert numbers(isolation.rows) == [1]


def test_evidence_one_that_failed_waits_for_a_stable_connection() -> None:
    """Each is tried once on any connection, and again only where it cannot be chance."""
    isolation = suspecting(1, 2)
    isolation.failed_alone(row(1), others_got_through=True)
    assert numbers([r for r in [isolation.next(stable=False)] if r]) == [2]
    isolation.failed_alone(row(2), others_got_through=False)
    assert isolation.next(stable=False) is None
    assert numbers([r for r in [isolation.next(stable=True)] if r]) == [1]


def test_evidence_trials_that_count_add_up() -> None:
    """Trials that do not count in between take nothing away."""
    isolation = suspecting(1)
    verdicts = [isolation.failed_alone(row(1), others_got_through=n % 2 == 1) for n in range(2 * TRIALS)]
    assert verdicts == [False] * (2 * TRIALS - 1) + [True]


def test_final_after_three_trials_that_count() -> None:
    """The row is given up, and is no suspect any more; the others are as they were."""
    isolation = suspecting(1, 2)
    assert [isolation.failed_alone(row(1), others_got_through=True) for _ in range(TRIALS)] == [
        *[False] * (TRIALS - 1),
        True,
    ]
    assert numbers(isolation.rows) == [2]


@pytest.mark.parametrize("trials", range(TRIALS))
def test_final_a_confirmation_clears_for_good(trials: int) -> None:
    """Whatever was held against a row is forgotten once the hub has it."""
    isolation = suspecting(1)
    for _ in range(trials):
        isolation.failed_alone(row(1), others_got_through=True)
    isolation.confirmed(rows(1))
    assert isolation.rows == []
    for _ in range(STRIKES - 1):
        ended(isolation, 1)
    assert isolation.rows == []


def test_final_a_confirmation_clears_strikes() -> None:
    """A row that got through before it was suspect begins anew as well."""
    isolation = Isolation()
    ended(isolation, 1)
    ended(isolation, 1)
    isolation.confirmed(rows(1))
    ended(isolation, 1)
    assert isolation.rows == []


def test_not_the_row_a_link_that_flaps_releases_the_suspects() -> None:
    """Connections that end without them in flight, more than another suspect would need: it is the link."""
    isolation = suspecting(1, 2)
    released = []
    for ending in range(STRIKES + 1):
        assert released == [], ending
        released = numbers(ended(isolation, 10 + ending))
    assert released == [1, 2]
    assert isolation.rows == []


def test_not_the_row_trials_are_no_endings_of_the_crowd() -> None:
    """However often a suspect itself ends connections, it stays one."""
    isolation = suspecting(1)
    for _ in range(100):
        isolation.failed_alone(row(1), others_got_through=False)
        isolation.confirmed(rows(50))
    assert numbers(isolation.rows) == [1]


def test_not_the_row_a_second_poison_is_no_flapping() -> None:
    """Another row that becomes suspect after the first leaves the first where it is."""
    isolation = suspecting(1)
    isolation.confirmed(rows(50))
    for _ in range(STRIKES):
        assert ended(isolation, 2) == []
    assert numbers(isolation.rows) == [1, 2]


def test_not_the_row_a_hub_that_takes_nothing() -> None:
    """Group after group is refused and nothing gets through: all are released, and it begins anew."""
    isolation = Isolation()
    for group in range(2):
        released: list[int] = []
        first = number = group * 10_000
        while not released:
            for _ in range(STRIKES):
                released = numbers(ended(isolation, *range(number, number + 40)))
            number += 40
            assert number - first <= MOST + 80
        assert released == [*range(first, number)]
        assert isolation.rows == []
