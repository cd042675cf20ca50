"""Ladders and potentiometers as directions: the nearest step, its ambiguity, and what is no direction."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wind import quality
from hw.adc import Conversion
from hw.catalogue import vane_model
from hw.errors import BadSample, DeviceUnavailable
from hw.resistive_vane import AMBIGUOUS, AMBIGUOUS_ABOVE, Ladder, Potentiometer, ResistiveVane, VaneSettings
from hw.settings import parse

NOW = 1000.0
OHMS = vane_model("sen-15901").ladder_ohms
SPARKFUN = {"model": "sen-15901"}
DAVIS = {"model": "davis-6410"}
YOUNG = {"model": "rmyoung-05103"}


@dataclass(frozen=True, kw_only=True)
class _Settings(VaneSettings):
    """An input of ±4.096 V."""

    range_v = 4.096  # type: ignore[assignment]
    wider = "choose a larger one"  # type: ignore[assignment]
    conversion_s = 0.0  # type: ignore[assignment]


class _Input:
    """An input with given volts, or with None. Satisfies hw.adc.Adc."""

    name = "input 1"

    def __init__(self, volts: float | None) -> None:
        self.volts = volts
        self.closed = 0

    def convert(self) -> Conversion:
        if self.volts is None:
            raise DeviceUnavailable("no answer")
        return Conversion(round(self.volts * 8000), self.volts)

    def close(self) -> None:
        self.closed += 1


def _vane(ratio: float | None, table: dict[str, Any]) -> ResistiveVane:
    """A vane whose input sees ``ratio`` of 3.3 V."""
    settings, errors = parse(_Settings, table)
    assert errors == []
    assert settings
    return ResistiveVane(_Input(None if ratio is None else ratio * 3.3), settings)


def _direction(ratio: float, table: dict[str, Any]) -> float:
    return _vane(ratio, table).read(NOW).direction_deg


def _sees(ohms: float, pullup_ohm: float = 10_000) -> float:
    return ohms / (ohms + pullup_ohm)


# --- ladder


@pytest.mark.parametrize(
    ("ratio", "degrees"),
    [(0.76744, 0), (0.09091, 90), (0.28058, 180), (0.92308, 270), (0.3965, 22.5), (0.12358, 157.5)],
)
def test_a_ladder_with_10_kilohms_tells_its_steps(ratio: float, degrees: float) -> None:
    """The part of the supply that each direction makes."""
    sample = _vane(ratio, SPARKFUN).read(NOW)
    assert sample.direction_deg == degrees
    assert sample.raw["ambiguity"] < 0.01
    assert sample.flags == ()


@pytest.mark.parametrize("pullup_ohm", [1_000, 3_500, 4_700, 10_000, 47_000, 100_000])
def test_every_step_is_told_with_any_pullup(pullup_ohm: int) -> None:
    """All sixteen, with their ohms."""
    for step, ohms in enumerate(OHMS):
        table = {**SPARKFUN, "pullup_ohm": pullup_ohm}
        sample = _vane(_sees(ohms, pullup_ohm), table).read(NOW)
        assert sample.direction_deg == step * 22.5
        assert sample.raw["step"] == step
        assert sample.raw["ohms"] == pytest.approx(ohms)
        assert sample.raw["ambiguity"] == pytest.approx(0, abs=1e-6)


def test_a_ladder_shows_what_was_seen() -> None:
    """The volts, their part of the supply, the ohms, the step and how sure it is."""
    assert _vane(0.5, SPARKFUN).read(NOW).raw == {
        "volts": pytest.approx(1.65),
        "ratio": pytest.approx(0.5),
        "ohms": pytest.approx(10_000),
        "step": 2,
        "ambiguity": pytest.approx((0.5 - _sees(8200)) / ((_sees(14120) - _sees(8200)) / 2)),
    }


def test_between_two_steps_a_direction_is_ambiguous() -> None:
    """From 0 on the step to 1 midway; flagged from 0.7 on, on either side."""
    low, high = _sees(6570), _sees(8200)
    for part, ambiguity in ((0.1, 0.2), (0.34, 0.68), (0.36, 0.72), (0.49, 0.98)):
        for place, expected in ((part, 22.5), (1 - part, 45.0)):
            sample = _vane(low + place * (high - low), SPARKFUN).read(NOW)
            assert sample.direction_deg == expected
            assert sample.raw["ambiguity"] == pytest.approx(ambiguity)
            assert sample.flags == ((AMBIGUOUS,) if ambiguity > AMBIGUOUS_ABOVE else ())


def test_quality_control_knows_the_flag() -> None:
    """Both sides spell it alike."""
    assert AMBIGUOUS == quality.AMBIGUOUS


@given(st.floats(0, 1), st.sampled_from([1_000.0, 3_500.0, 10_000.0, 100_000.0]))
def test_the_nearest_step_counts(ratio: float, pullup_ohm: float) -> None:
    """No other step, nor a short or open circuit, is nearer than the one that is told."""
    places = {step: _sees(ohms, pullup_ohm) for step, ohms in enumerate(OHMS)}
    nearest = min(abs(place - ratio) for place in places.values())
    try:
        angle = Ladder(OHMS, pullup_ohm).angle(ratio)
    except BadSample:
        assert min(ratio, 1 - ratio) <= nearest + 1e-12
    else:
        step = int(angle.raw["step"])
        assert abs(places[step] - ratio) == pytest.approx(nearest, abs=1e-12)
        assert nearest <= min(ratio, 1 - ratio) + 1e-12
        assert 0 <= angle.raw["ambiguity"] <= 1 + 1e-9


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (0.0, "0 V is 0.0% of supply_v, a short circuit: are the vane's wires touching"),
        (0.03, "a short circuit"),
        (-0.01, "a short circuit"),
        (0.965, "no resistance: is the vane's wire off?"),
        (1.0, "3.3 V is 100.0% of supply_v, no resistance"),
        (1.015, "no resistance"),
        (1.1, "110.0% of supply_v: is supply_v (or ratio) set to what is really there?"),
        (-0.1, "-10.0% of supply_v, negative"),
    ],
)
def test_what_no_step_makes_is_a_fault(ratio: float, words: str) -> None:
    """Open, shorted, beyond the supply: named with the input, never a direction."""
    with pytest.raises(BadSample) as caught:
        _direction(ratio, SPARKFUN)
    assert str(caught.value).startswith("input 1: ")
    assert words in str(caught.value)


# --- potentiometer


@pytest.mark.parametrize(
    ("table", "ratio", "degrees"),
    [
        (DAVIS, 0.0, 0.0),
        (DAVIS, 0.25, 90.0),
        (DAVIS, 0.999, 359.64),
        (DAVIS, 1.0, 0.0),
        (YOUNG, 0.0, 0.0),
        (YOUNG, 0.5, 177.5),
        (YOUNG, 1.0, 355.0),
        ({**YOUNG, "dead_band_deg": 8}, 1.0, 352.0),
        ({**DAVIS, "dead_band_deg": 5}, 0.5, 177.5),
    ],
)
def test_a_potentiometer_turns_all_but_its_dead_band(
    table: dict[str, Any], ratio: float, degrees: float
) -> None:
    """From the grounded end on, by the model's dead band or the user's."""
    assert _direction(ratio, table) == pytest.approx(degrees)


@pytest.mark.parametrize("table", [DAVIS, YOUNG])
def test_a_potentiometers_limit_is_told_where_it_is_configured(table: dict[str, Any]) -> None:
    """0 V is 0° and no fault, as in the dead band; a wire that is off gives that, too, and the doc tells."""
    assert _direction(0.0, table) == 0.0
    doc = {field.name: field.metadata["doc"] for field in fields(VaneSettings)}["dead_band_deg"]
    assert "1 MΩ" in doc
    assert "wire that is off" in doc


def test_a_potentiometer_begins_where_its_dead_band_ends() -> None:
    """A band in the middle of the scale moves the grounded end there."""
    track = Potentiometer(20.0, 100.0)
    assert [track.angle(ratio).deg for ratio in (0.0, 0.5, 1.0)] == [100.0, 270.0, 80.0]


@pytest.mark.parametrize("table", [DAVIS, YOUNG])
def test_a_little_beyond_the_ends_is_the_end(table: dict[str, Any]) -> None:
    """The converter's error and the supply's are not a fault."""
    assert _direction(-0.015, table) == 0.0
    assert _direction(1.015, table) == _direction(1.0, table)


@pytest.mark.parametrize(("ratio", "words"), [(1.03, "103.0% of supply_v: is supply_v"), (-0.03, "negative")])
def test_far_beyond_the_ends_is_a_fault(ratio: float, words: str) -> None:
    """The wiper cannot be there."""
    with pytest.raises(BadSample, match=words):
        _direction(ratio, DAVIS)


def test_a_potentiometer_shows_what_was_seen() -> None:
    """The volts at the vane and their part of the supply."""
    sample = _vane(0.25, {**DAVIS, "ratio": 2.0}).read(NOW)
    assert sample.direction_deg == pytest.approx(180.0)
    assert sample.raw == {"volts": pytest.approx(1.65), "ratio": pytest.approx(0.5)}
    assert sample.flags == ()


# --- mounting and settings


@pytest.mark.parametrize(
    ("table", "degrees"),
    [
        ({"north_offset_deg": 45}, 135.0),
        ({"north_offset_deg": -100}, 350.0),
        ({"north_offset_deg": 270}, 0.0),
        ({"clockwise": False}, 270.0),
        ({"clockwise": False, "north_offset_deg": 100}, 10.0),
    ],
)
def test_the_mounting_turns_and_mirrors(table: dict[str, Any], degrees: float) -> None:
    """A vane at 90°, whose 0 points elsewhere or whose angle falls; ladder and potentiometer alike."""
    assert _direction(_sees(1000), {**SPARKFUN, **table}) == degrees
    assert _direction(0.25, {**DAVIS, **table}) == pytest.approx(degrees)


@given(st.floats(-0.02, 1.02), st.floats(-360, 360), st.booleans())
def test_a_direction_lies_within_the_circle(ratio: float, offset: float, clockwise: bool) -> None:
    """[0, 360), however the vane stands and is mounted."""
    mounting = {"north_offset_deg": offset, "clockwise": clockwise}
    settings, _ = parse(_Settings, {**YOUNG, **mounting})
    assert settings
    direction = ResistiveVane(_Input(ratio * 3.29), settings).read(NOW).direction_deg
    assert 0 <= direction < 360
    assert math.isfinite(direction)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, "model: is missing"),
        ({"model": "sen-15902"}, "did you mean 'sen-15901'?"),
        ({**SPARKFUN, "dead_band_deg": 5}, "dead_band_deg is for potentiometers, and sen-15901 is a ladder"),
        ({**DAVIS, "pullup_ohm": 10_000}, "pullup_ohm is for ladders of resistors, and davis-6410 is a"),
        (
            {**SPARKFUN, "supply_v": 5},
            "supply_v is 5 V, the input takes 4.096 V: choose a larger one",
        ),
        ({**SPARKFUN, "north_offset_deg": 361}, "from -360 to 360"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(table: dict[str, Any], words: str) -> None:
    """With the remedy, before anything is opened."""
    settings, errors = parse(_Settings, table)
    assert settings is None
    assert len(errors) == 1
    assert words in str(errors[0])


def test_the_supply_is_taken_as_measured() -> None:
    """The same volts are another step at another supply; a divider makes room for 5 V."""
    ratio = _sees(33_000)
    assert _direction(ratio * 5 / 3.3 / 2, {**SPARKFUN, "supply_v": 5, "ratio": 2}) == 0.0
    assert _direction(ratio, {**SPARKFUN, "supply_v": 3.6}) != 0.0


def test_a_converter_without_a_value_is_passed_on() -> None:
    """Its own words say what to check."""
    with pytest.raises(DeviceUnavailable, match="no answer"):
        _vane(None, SPARKFUN).read(NOW)


def test_closing_lets_the_converter_go() -> None:
    """The vane owns it."""
    vane = _vane(0.5, SPARKFUN)
    vane.close()
    assert vane._adc.closed == 1  # type: ignore[attr-defined]
