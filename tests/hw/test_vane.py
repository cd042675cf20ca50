"""An anemometer and a vane, read as one instrument: each goes on when the other fails."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from hw.anemometer import WindSample
from hw.errors import BadSample, DeviceUnavailable, HardwareError
from hw.vane import VanedAnemometer, VaneSample


@dataclass
class Part:
    """Gives what it is told to, or fails as it is told to."""

    given: WindSample | VaneSample | HardwareError
    simulated: bool = False
    calibration: str | None = "cup-7"
    has_direction: bool = False
    closed: list[bool] = field(default_factory=list)

    def read(self, now: float) -> WindSample | VaneSample:
        if isinstance(self.given, HardwareError):
            raise self.given
        return self.given

    def close(self) -> None:
        self.closed.append(True)


SPEED = WindSample(9.0, 7.0, raw={"hertz": 7}, flags=("edges-lost",))
DIRECTION = VaneSample(231.0, {"volts": 1.5}, ("direction-ambiguous",))


def _pair(speed: object, direction: object) -> VanedAnemometer:
    return VanedAnemometer(Part(speed), Part(direction))  # type: ignore[arg-type]


def test_both_make_one_sample() -> None:
    """Speed and direction, what each instrument says, and what is doubtful about each."""
    sample = _pair(SPEED, DIRECTION).read(9.0)
    assert (sample.time_s, sample.speed_mps, sample.direction_deg) == (9.0, 7.0, 231.0)
    assert sample.raw == {"hertz": 7, "vane_volts": 1.5}
    assert sample.flags == ("edges-lost", "direction-ambiguous")
    assert sample.fault is None


def test_without_the_vane_there_is_a_speed() -> None:
    """And the fault says whose it is."""
    sample = _pair(SPEED, BadSample("no magnet")).read(9.0)
    assert (sample.speed_mps, sample.direction_deg, sample.fault) == (7.0, None, "vane: no magnet")


def test_without_the_anemometer_there_is_a_direction() -> None:
    """A person at the mast sees that the vane works."""
    sample = _pair(DeviceUnavailable("no edges"), DIRECTION).read(9.0)
    assert (sample.speed_mps, sample.direction_deg, sample.fault) == (None, 231.0, "no edges")


def test_without_both_both_causes_are_told() -> None:
    """As an error, for there is no value at all."""
    with pytest.raises(BadSample, match="no edges; vane: no magnet"):
        _pair(DeviceUnavailable("no edges"), BadSample("no magnet")).read(9.0)


@pytest.mark.parametrize("which", [0, 1])
def test_one_simulated_part_makes_a_simulated_instrument(which: int) -> None:
    """Simulation never pretends."""
    parts = [Part(SPEED), Part(DIRECTION)]
    parts[which].simulated = True
    assert VanedAnemometer(*parts).simulated  # type: ignore[arg-type]


def test_it_is_calibrated_as_the_anemometer_and_closes_both() -> None:
    """The calibration is that of the speed."""
    anemometer, vane = Part(SPEED), Part(DIRECTION)
    pair = VanedAnemometer(anemometer, vane)  # type: ignore[arg-type]
    pair.close()
    assert (pair.calibration, pair.has_direction) == ("cup-7", True)
    assert (anemometer.closed, vane.closed) == ([True], [True])


def test_a_vane_is_let_go_of_whatever_the_anemometer_does() -> None:
    """Neither keeps the other open."""
    anemometer, vane = Part(SPEED), Part(DIRECTION)

    def stuck() -> None:
        raise DeviceUnavailable("gone")

    anemometer.close = stuck  # type: ignore[method-assign]
    with pytest.raises(DeviceUnavailable):
        VanedAnemometer(anemometer, vane).close()  # type: ignore[arg-type]
    assert vane.closed == [True]
