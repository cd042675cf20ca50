"""What the limits of one actuator allow it: rest, rate, and its longest time away."""

from __future__ import annotations

import math

import pytest

from agent.commands.actuation import ActuatorStatus
from agent.commands.allowance import Allowance
from agent.config_tables import ActuatorLimits

BEGAN = 1000.0
SAFE = ActuatorStatus(False, False, BEGAN, "start", simulated=True)


def away(since: float = BEGAN, *, faulty: bool = False) -> ActuatorStatus:
    return ActuatorStatus(None if faulty else True, False, since, "local", True, away_since_boot_s=since)


def held(allowance: Allowance, now: float, status: ActuatorStatus = SAFE) -> dict[str, float | None]:
    return {holder.word: holder.until_boot_s for holder in allowance.holders(now, status)}


def test_without_limits_nothing_is_held() -> None:
    """From the first moment on."""
    assert held(Allowance(ActuatorLimits(), BEGAN), BEGAN) == {}


def test_it_rests_after_a_start_and_after_each_return() -> None:
    """For ``min_off_s``, to the moment, and it says until when."""
    allowance = Allowance(ActuatorLimits(min_off_s=30), BEGAN)
    assert held(allowance, BEGAN) == {"min-off-time": BEGAN + 30}
    assert held(allowance, BEGAN + 29.9) != {}
    assert held(allowance, BEGAN + 30) == {}
    allowance.moved(BEGAN + 30)
    allowance.returned(BEGAN + 40)
    assert held(allowance, BEGAN + 69.9) == {"min-off-time": BEGAN + 70}
    assert held(allowance, BEGAN + 70) == {}


def test_what_is_away_needs_no_rest_to_move_on() -> None:
    """From one value to another."""
    allowance = Allowance(ActuatorLimits(min_off_s=30), BEGAN)
    assert held(allowance, BEGAN, away()) == {}


def test_so_many_moves_in_any_minute_and_no_more() -> None:
    """The minute slides: one more is allowed when the oldest is a minute old."""
    allowance = Allowance(ActuatorLimits(max_per_minute=3), BEGAN)
    for after_s in (0, 20, 40):
        assert held(allowance, BEGAN + after_s) == {}
        allowance.moved(BEGAN + after_s)
    assert held(allowance, BEGAN + 40) == {"rate": BEGAN + 60}
    assert held(allowance, BEGAN + 59.9, away()) == {"rate": BEGAN + 60}
    assert held(allowance, BEGAN + 60) == {}
    allowance.moved(BEGAN + 60)
    assert held(allowance, BEGAN + 60) == {"rate": BEGAN + 80}


def test_returns_are_no_moves() -> None:
    """However often it goes back."""
    allowance = Allowance(ActuatorLimits(max_per_minute=1), BEGAN)
    for _ in range(5):
        allowance.returned(BEGAN)
    assert held(allowance, BEGAN) == {}


@pytest.mark.parametrize("faulty", [False, True])
def test_after_its_longest_time_away_it_moves_no_more(faulty: bool) -> None:
    """Whether it is to be brought back with this step, or cannot be: it was away for long enough."""
    allowance = Allowance(ActuatorLimits(max_on_s=60), BEGAN)
    assert held(allowance, BEGAN + 59.9, away(faulty=faulty)) == {}
    assert held(allowance, BEGAN + 60, away(faulty=faulty)) == {"max-on-time": None}
    assert held(allowance, BEGAN + 60) == {}


def test_a_longest_time_without_an_end_never_ends() -> None:
    """``max_on_s`` may be infinite."""
    assert held(Allowance(ActuatorLimits(max_on_s=math.inf), BEGAN), BEGAN + 1e9, away()) == {}
