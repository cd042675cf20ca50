"""The invariants at the head of agent/commands/holds.py, by their names."""

from __future__ import annotations

import pytest

from agent.commands.actuation import Origin
from agent.commands.holds import Hold, held, lifted, standing

MAST, CLOUD = Origin.MAST, Origin.CLOUD
BOTH = {MAST: Hold(100.0), CLOUD: Hold(200.0, 60.0)}


def test_separate_a_hold_at_the_mast_and_one_from_the_cloud_stand_side_by_side() -> None:
    """Where one ends, the other goes on."""
    assert standing(BOTH, 259.0) == BOTH
    assert standing(BOTH, 260.0) == {MAST: Hold(100.0)}


def test_lifted_the_cloud_lifts_only_its_own() -> None:
    """What was held at the mast stays as it was."""
    assert lifted(BOTH, CLOUD) == {MAST: Hold(100.0)}
    assert lifted({MAST: Hold(100.0, 5.0)}, CLOUD) == {MAST: Hold(100.0, 5.0)}
    assert lifted({}, CLOUD) == {}


def test_lifted_whoever_is_at_the_mast_lifts_both() -> None:
    """Nothing remains."""
    assert lifted(BOTH, MAST) == {}
    assert lifted({CLOUD: Hold(0.0)}, MAST) == {}


@pytest.mark.parametrize("origin", [MAST, CLOUD])
def test_ends_a_hold_ends_at_its_time_and_not_before(origin: Origin) -> None:
    """Counted from when it began."""
    hold = Hold(100.0, 30.0)
    assert hold.until_boot_s == 130.0
    assert standing({origin: hold}, 129.999) == {origin: hold}
    assert standing({origin: hold}, 130.0) == {}


def test_ends_a_hold_without_a_time_stands_for_ever() -> None:
    """A hundred years later it stands."""
    assert Hold(100.0).until_boot_s is None
    assert standing({MAST: Hold(100.0)}, 3.2e9) == {MAST: Hold(100.0)}


def test_what_is_asked_leaves_the_holds_as_they_were() -> None:
    """All functions answer with new ones."""
    before = dict(BOTH)
    held(BOTH, CLOUD, Hold(1e9))
    lifted(BOTH, MAST)
    standing(BOTH, 1e9)
    assert before == BOTH


@pytest.mark.parametrize(("first", "second"), [(None, 5.0), (60.0, 5.0), (60.0, 59.0), (None, None)])
def test_longer_a_hold_is_not_shortened_by_the_same_origin(first: float | None, second: float | None) -> None:
    """Of two the one that ends later stays, as it began."""
    before = {MAST: Hold(100.0, first)}
    assert held(before, MAST, Hold(101.0, second)) == before


@pytest.mark.parametrize(("first", "second"), [(60.0, None), (60.0, 60.0), (5.0, 60.0)])
def test_longer_a_hold_is_made_longer(first: float | None, second: float | None) -> None:
    """By one that ends later, whichever of them is longer in itself."""
    later = Hold(101.0, second)
    assert held({MAST: Hold(100.0, first)}, MAST, later) == {MAST: later}


def test_longer_says_nothing_of_the_others() -> None:
    """Somebody elsewhere holds for as long as was said there."""
    assert held({MAST: Hold(100.0)}, CLOUD, Hold(101.0, 5.0)) == {MAST: Hold(100.0), CLOUD: Hold(101.0, 5.0)}
    assert held({}, CLOUD, Hold(101.0, 5.0)) == {CLOUD: Hold(101.0, 5.0)}
