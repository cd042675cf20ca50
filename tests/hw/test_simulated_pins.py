"""The simulated actuator's settings; its behaviour is in tests/contract/test_actuator_contract.py."""

from __future__ import annotations

import pytest

from hw.settings import parse
from hw.simulated.pins import SimulatedActuator


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"safe": "off"}, "heater.safe: expected true or false or a number, got 'off'"),
        ({"maximum": 100}, "minimum and maximum belong to a level"),
        ({"safe": 2.0}, "safe must be from 0 to 1, got 2"),
        ({"safe": 0, "minimum": 1, "maximum": -1}, "safe must be from 1 to -1, got 0"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(table: dict[str, object], message: str) -> None:
    """Limits belong to levels, and the safe level lies within them."""
    _, errors = parse(SimulatedActuator.Settings, table, "heater")
    assert message in str(errors[0])


def test_a_whole_number_is_a_level() -> None:
    """``safe = 0`` means a level, not false."""
    settings, _ = parse(SimulatedActuator.Settings, {"safe": 0})
    assert settings is not None
    assert SimulatedActuator(settings).check(0.5) == 0.5
