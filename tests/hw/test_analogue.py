"""Volts and milliamperes as wind: formulas, what is no measurement, and settings that go together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.adc import Conversion, poll
from hw.analogue import AnalogueAnemometer, CurrentLoop, SignalSettings, VoltageSignal
from hw.catalogue import voltage_model
from hw.errors import BadSample, DeviceUnavailable
from hw.settings import parse
from tests.hw.adc_chips import Waiting, waiting

NOW = 1000.0
ADAFRUIT = {"model": "adafruit-1733"}
LOOP = {"signal": "4-20ma", "shunt_ohm": 100.0, "full_mps": 50.0}


@dataclass(frozen=True, kw_only=True)
class _Settings(SignalSettings):
    """An input of ±4.096 V."""

    range_v = 4.096  # type: ignore[assignment]
    wider = "choose a larger one"  # type: ignore[assignment]
    conversion_s = 0.0  # type: ignore[assignment]


class _Input:
    """An input with given volts, or with None. Satisfies hw.adc.Adc."""

    name = "input 0"

    def __init__(self, volts: float | None) -> None:
        self.volts = volts
        self.closed = 0

    def convert(self) -> Conversion:
        if self.volts is None:
            raise DeviceUnavailable("no answer")
        return Conversion(round(self.volts * 8000), self.volts)

    def close(self) -> None:
        self.closed += 1


def _anemometer(volts: float | None, table: dict[str, Any]) -> AnalogueAnemometer:
    settings, errors = parse(_Settings, table)
    assert errors == []
    assert settings
    return AnalogueAnemometer(_Input(volts), settings)


def _speed(volts: float, **table: Any) -> float | None:
    return _anemometer(volts, table).read(NOW).speed_mps


# --- formulas


@pytest.mark.parametrize(("volts", "mps"), [(0.0, 0.0), (0.4, 0.0), (1.0, 12.15), (2.0, 32.4), (-2.048, 0.0)])
def test_the_formula_of_the_adafruit_1733(volts: float, mps: float) -> None:
    """(V − 0.4)/1.6 · 32.4 m/s, and never less than none."""
    assert VoltageSignal(voltage_model("adafruit-1733").transfer).speed(volts) == pytest.approx(mps)


@pytest.mark.parametrize(("milliamp", "mps"), [(4, 0.0), (12, 25.0), (20, 50.0), (3.7, 0.0)])
def test_the_formula_of_a_current_loop(milliamp: float, mps: float) -> None:
    """(I − 4)/16 of the range, at any shunt, and never less than none."""
    for shunt_ohm in (100.0, 165.0):
        volts = milliamp / 1000 * shunt_ohm
        assert CurrentLoop(shunt_ohm, 50.0).speed(volts) == pytest.approx(mps, abs=1e-9)


@given(st.floats(-10, 10), st.sampled_from([ADAFRUIT, LOOP, {"slope": 20.0, "offset": -1.0}]))
def test_a_speed_is_a_measurement_or_a_fault(volts: float, table: dict[str, Any]) -> None:
    """Whatever the voltage: not negative, or a cause."""
    fault = ""
    try:
        speed = _speed(volts, **table)
    except BadSample as error:
        speed, fault = None, str(error)
    assert (speed is None) == bool(fault)
    assert speed is None or 0 <= speed < 300


def test_a_slope_and_an_offset_make_a_speed() -> None:
    """v = slope · V + offset, never below 0."""
    assert _speed(1.5, slope=20.0, offset=-2.0) == pytest.approx(28.0)
    assert _speed(0.05, slope=20.0, offset=-2.0) == 0.0


def test_points_make_a_speed() -> None:
    """Linear between them, and on beyond them."""
    table = {"points": [[0.5, 1.0], [1.0, 5.0], [2.0, 25.0]]}
    assert [_speed(volts, **table) for volts in (0.75, 1.5, 2.1)] == pytest.approx([3.0, 15.0, 27.0])


CERTIFICATE = {"points": [[0.4, 0.0], [2.0, 32.4]]}
FROM_4_MPS = {"points": [[1.25, 4.0], [2.0, 16.0]]}  # a calm gives 1.0 V


def test_a_sample_shows_what_was_seen() -> None:
    """The code, the volts at the sensor, and behind a divider those at the input; the current of a loop."""
    sample = _anemometer(1.25, {"slope": 10.0, "ratio": 2.0}).read(NOW)
    assert (sample.time_s, sample.speed_mps, sample.direction_deg) == (NOW, 25.0, None)
    assert sample.raw == {"code": 10000, "volts": 2.5, "volts_in": 1.25}
    assert _anemometer(1.25, {"slope": 10.0}).read(NOW).raw == {"code": 10000, "volts": 1.25}
    loop = _anemometer(1.2, LOOP).read(NOW)
    assert loop.speed_mps == pytest.approx(25.0)
    assert loop.raw == {"code": 9600, "volts": 1.2, "milliamp": pytest.approx(12.0)}


def test_a_divider_before_a_current_loops_input_counts() -> None:
    """The shunt's voltage is what the current makes."""
    assert _speed(0.6, **LOOP, ratio=2.0) == pytest.approx(25.0)


# --- no measurement


@pytest.mark.parametrize(
    ("volts", "table", "words"),
    [
        (0.19, ADAFRUIT, "0.19 V is below 0.2 V, an open circuit"),
        (2.11, ADAFRUIT, "2.11 V is above 2.1 V, over-range"),
        (0.09, {"slope": 20.0, "fault_below_v": 0.1}, "below 0.1 V"),
        (3.1, {"slope": 20.0, "fault_above_v": 3.0}, "above 3 V"),
        (-0.2, {"slope": 20.0}, "-0.2 V is negative: are the sensor's two wires swapped"),
        (0.359, LOOP, "3.59 mA is below 3.6 mA, an open circuit"),
        (0.0, LOOP, "0 mA is below"),
        (2.11, LOOP, "21.1 mA is above 21 mA, over-range"),
    ],
)
def test_what_no_wind_makes_is_a_fault(volts: float, table: dict[str, Any], words: str) -> None:
    """Open circuit, over-range, wrong way round: named with the input, never a speed."""
    with pytest.raises(BadSample) as caught:
        _speed(volts, **table)
    assert str(caught.value).startswith("input 0: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("volts", "table", "mps"),
    [
        (0.2, ADAFRUIT, 0.0),
        (0.407, ADAFRUIT, 0.14175),
        (2.1, ADAFRUIT, 34.425),
        (-0.05, {"slope": 20.0}, 0.0),
        (0.361, LOOP, 0.0),
        (2.09, LOOP, 52.8125),
    ],
)
def test_what_is_within_the_limits_is_a_speed(volts: float, table: dict[str, Any], mps: float) -> None:
    """A calm with the sensor's own offset, a storm at the end of its range."""
    assert _speed(volts, **table) == pytest.approx(mps)


@pytest.mark.parametrize(
    ("table", "open_v", "short_v", "calm_v"),
    [
        (CERTIFICATE, 0.19, 2.9, 0.4),
        ({"points": [[1.0, 0.0], [3.0, 60.0]]}, 0.49, 3.13, 1.0),
        ({**ADAFRUIT, **CERTIFICATE}, 0.19, 2.11, 0.4),
        ({**ADAFRUIT, "points": [[0.5, 0.0], [3.0, 50.0]]}, 0.19, 3.16, 0.5),
        ({**ADAFRUIT, "points": [[0.3, 0.0], [1.5, 16.0]]}, 0.14, 2.11, 0.3),
        ({"slope": 20.25, "offset": -8.1}, 0.19, None, 0.4),
    ],
)
def test_own_coefficients_tell_an_open_and_a_shorted_circuit(
    table: dict[str, Any], open_v: float, short_v: float | None, calm_v: float
) -> None:
    """Below half of a calm's volts, and beyond the points and 50 m/s; no wire off reads as a calm."""
    for volts in (0.0, open_v):
        with pytest.raises(BadSample, match="an open circuit"):
            _speed(volts, **table)
    assert _speed(open_v + 0.02, **table) == 0.0
    assert _speed(calm_v, **table) == pytest.approx(0.0)
    if short_v is not None:
        assert (_speed(short_v - 0.06, **table) or 0) > 20
        for volts in (short_v, 5.0):
            with pytest.raises(BadSample, match="over-range"):
                _speed(volts, **table)


def test_points_that_do_not_reach_down_to_a_calm_tell_nothing_of_it() -> None:
    """A hot wire's calm lies below the line through a certificate's first points."""
    assert _speed(0.3, **FROM_4_MPS) == 0.0
    assert _speed(0.1, points=[[0.82, 4.0], [0.98, 5.0], [3.2, 16.0]]) == 0.0
    with pytest.raises(BadSample, match=r"below 0\.2 V, an open circuit"):  # the model's, where there is one
        _speed(0.1, **ADAFRUIT, points=[[0.6, 4.0], [1.2, 16.0]])
    with pytest.raises(BadSample, match=r"below 0\.5 V, an open circuit"):
        _speed(0.3, **FROM_4_MPS, fault_below_v=0.5)


def test_the_range_is_not_judged_by_the_last_two_points_alone() -> None:
    """They scatter; a storm beyond a certificate that ends at 16 m/s is no short circuit."""
    table = {"points": [[0.82, 4.0], [3.06, 15.0], [3.2, 16.0]], "ratio": 3.0}
    assert (_speed(8.0 / 3, **table) or 0) > 40


@pytest.mark.parametrize(
    "table",
    [
        {"slope": 20.0, "offset": 0.2},
        {"slope": 20.0, "offset": -1.0},
        {"points": [[0.0, 0.0], [2.0, 32.4]]},
        {"points": [[0.2, 4.0], [0.8, 16.0]]},
        {**ADAFRUIT, "points": [[0.0, 0.0], [3.0, 50.0]]},
    ],
)
def test_a_sensor_that_begins_at_0_v_has_calms(table: dict[str, Any]) -> None:
    """A small offset of its calibration is no live zero, which it would always be below of."""
    assert _speed(0.0, **table) == 0.0


def test_a_gale_beyond_a_certificate_is_a_speed() -> None:
    """Wind tunnels stop at 16 m/s; up to 50 m/s the last two points go on."""
    assert _speed(3.5, **FROM_4_MPS) == pytest.approx(40.0)


def test_set_limits_stand_in_place_of_those_of_ones_own_points() -> None:
    """Either way, wider or narrower."""
    wide = {**CERTIFICATE, "fault_below_v": -0.05, "fault_above_v": 4.0}
    assert _speed(0.0, **wide) == 0.0
    assert _speed(3.9, **wide) == pytest.approx(70.875)
    with pytest.raises(BadSample, match=r"above 2\.2 V"):
        _speed(2.3, **CERTIFICATE, fault_above_v=2.2)


def test_own_coefficients_stand_in_place_of_a_models() -> None:
    """Its limits stay: a certificate does not move an open circuit."""
    own = {**ADAFRUIT, "slope": 20.0, "offset": -8.0, "calibration": "C-1"}
    assert _speed(1.0, **own) == pytest.approx(12.0)
    assert _anemometer(1.0, own).calibration == "C-1"
    with pytest.raises(BadSample, match="open circuit"):
        _speed(0.1, **own)


def test_the_limits_of_a_model_can_be_moved() -> None:
    """For a sensor that rests lower, or gives more."""
    table = {**ADAFRUIT, "fault_below_v": 0.05, "fault_above_v": 2.5}
    assert _speed(0.1, **table) == 0.0
    assert _speed(2.4, **table) == pytest.approx(40.5)


def test_limits_are_those_at_the_sensor() -> None:
    """Behind a divider the input sees less."""
    assert _speed(0.15, **ADAFRUIT, ratio=2.0) == 0.0


def test_a_converter_without_a_value_is_passed_on() -> None:
    """Its own words say what to check."""
    with pytest.raises(DeviceUnavailable, match="no answer"):
        _anemometer(None, ADAFRUIT).read(NOW)


def test_closing_lets_the_converter_go() -> None:
    """The anemometer owns it."""
    anemometer = _anemometer(1.0, ADAFRUIT)
    anemometer.close()
    assert anemometer._adc.closed == 1  # type: ignore[attr-defined]


# --- settings


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, 'what makes m/s of volts? Set model = "adafruit-1733"'),
        ({"model": "adafruit-1734"}, "unknown model 'adafruit-1734', did you mean 'adafruit-1733'?"),
        ({"slope": 20.0, "points": [[0, 0], [1, 1]]}, "points stand in place of slope and offset"),
        ({**ADAFRUIT, "offset": 1.0}, "offset goes with slope"),
        ({"offset": 1.0}, "offset goes with slope"),
        ({**ADAFRUIT, "slope": 20.25}, "slope goes with offset: set both"),
        (
            {**ADAFRUIT, "slope": 20.0, "points": [[0, 0], [1, 1]]},
            "points stand in place of slope and offset",
        ),
        ({"slope": -1.0}, "slope must be a positive number"),
        ({"points": [[0, 0]]}, "at least two are needed"),
        ({"points": [[0, 0], [1, 1, 1]]}, "each is a pair"),
        ({"points": []}, "at least two are needed"),
        ({"points": [[0, 0], [5.0, 50.0]]}, "gives up to 5 V, the input takes 4.096 V: choose a larger one"),
        ({"slope": 20.0, "shunt_ohm": 100}, 'shunt_ohm needs signal = "4-20ma"'),
        ({**ADAFRUIT, "shunt_ohm": 100, "full_mps": 50}, 'shunt_ohm and full_mps need signal = "4-20ma"'),
        ({"slope": 20.0, "fault_below_v": 2.0, "fault_above_v": 1.0}, "must be less than fault_above_v"),
        ({"signal": "4-20ma"}, "needs shunt_ohm and full_mps"),
        ({"signal": "4-20ma", "shunt_ohm": 100}, "needs full_mps"),
        ({**LOOP, "shunt_ohm": 250}, "gives up to 5 V, the input takes 4.096 V"),
        ({**LOOP, "slope": 20.0}, "slope cannot go with"),
        ({**LOOP, "offset": 2.0}, "offset cannot go with"),
        ({**LOOP, "fault_below_v": 0.1}, "fault_below_v cannot go with"),
        ({"signal": "pwm"}, "expected one of 'voltage', '4-20ma'"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(table: dict[str, Any], words: str) -> None:
    """With the remedy, before anything is opened."""
    settings, errors = parse(_Settings, table)
    assert settings is None
    assert len(errors) == 1
    assert words in str(errors[0])


def test_a_divider_makes_room_for_more_volts() -> None:
    """What was refused as beyond the input is accepted with its ratio."""
    assert _speed(2.5, points=[[0, 0], [5.0, 50.0]], ratio=2.0) == pytest.approx(50.0)


@pytest.mark.parametrize(
    ("table", "calibration"),
    [
        ({"model": "Adafruit 1733"}, "adafruit-1733"),
        ({"slope": 20.25, "offset": -8.1}, "slope-20.25-offset--8.1"),
        (LOOP, "4-20ma-50"),
        ({**ADAFRUIT, "calibration": "certificate-1"}, "certificate-1"),
        ({**LOOP, "calibration": "certificate-2"}, "certificate-2"),
    ],
)
def test_the_calibration_is_named(table: dict[str, Any], calibration: str) -> None:
    """By the user, else by the model or the coefficients."""
    assert _anemometer(1.0, table).calibration == calibration


# --- waiting for a converter


def test_polling_ends_with_the_first_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for once it is there."""
    waits: Waiting = waiting(monkeypatch)
    answers = iter([None, None, 7])
    assert poll(lambda: next(answers), 0.5, 10.0) == 7
    assert waits.passed_s == 1.0


def test_polling_ends_without_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the time-out, after one last question."""
    waits: Waiting = waiting(monkeypatch)
    asked: list[float] = []
    assert poll(lambda: asked.append(waits.passed_s), 0.3, 1.0) is None
    assert asked == pytest.approx([0.0, 0.3, 0.6, 0.9, 1.2])
