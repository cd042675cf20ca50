"""Wind vanes that are a resistance, read as a part of the voltage that feeds them.

A ladder (SparkFun SEN-15901 and its kin) switches one of its resistors to ground; with a pull-up of R to the
supply the input sees r/(r + R) of it. A potentiometer (Davis, R. M. Young) lies between ground and supply,
and the input sees its wiper. Both depend on ``supply_v``: measure it, for 3 % are a wrong step of the ladder.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Protocol

from .adc import Adc, AdcSettings
from .catalogue import vane_model
from .errors import BadSample
from .settings import setting
from .vane import VaneSample
from .vane_mounting import direction

AMBIGUOUS = "direction-ambiguous"
AMBIGUOUS_ABOVE = 0.7
"""A direction is doubtful from this part of the way on, from a step to the middle between two."""

PULLUP_OHM = 10_000.0
"""What the makers of the SEN-15901 propose."""

_TOLERANCE = 0.02  # of the supply, beyond ground and supply: the converter's error and the wires'


@dataclass(frozen=True, slots=True)
class Angle:
    """``deg`` as the vane is built, in [0, 360]; what there is to see of it; whether it is ``doubtful``."""

    deg: float
    raw: dict[str, float] = field(default_factory=dict)
    doubtful: bool = False


class Resistance(Protocol):
    """From a part of the supply to an angle. Thread safety: any thread, nothing changes."""

    def angle(self, ratio: float) -> Angle:
        """The angle at ``ratio`` = volts / supply. Raises BadSample if the vane cannot give it."""
        ...


class Ladder:
    """One resistor of ``ohms`` (at even angles from 0° on) to ground, ``pullup_ohm`` to the supply.

    The nearest step counts, by the ratio. A short circuit (ratio 0) and an open one (1) count as steps, too,
    so that what lies nearer to them than to the ladder is a fault.
    """

    def __init__(self, ohms: tuple[float, ...], pullup_ohm: float) -> None:
        self._pullup_ohm = pullup_ohm
        self._step_deg = 360 / len(ohms)
        places = [(ohm / (ohm + pullup_ohm), step) for step, ohm in enumerate(ohms)]
        self._places = sorted([(0.0, -1), *places, (1.0, len(ohms))])
        self._open = len(ohms)

    def angle(self, ratio: float) -> Angle:
        """The nearest step's. Raises BadSample for a short or open circuit.

        ``raw``: ``ohms`` of the vane, ``step`` of the ladder (0 at 0°), ``ambiguity`` from 0, on the step, to
        1, midway to its neighbour.
        """
        _check(ratio)
        step, ambiguity = self._nearest(min(max(ratio, 0.0), 1.0))
        if step < 0:
            raise BadSample(
                f"{ratio:.1%} of supply_v, a short circuit: are the vane's wires touching, is it wet?"
            )
        if step == self._open:
            raise BadSample(f"{ratio:.1%} of supply_v, no resistance: is the vane's wire off?")
        raw = {"ohms": self._pullup_ohm * ratio / (1 - ratio), "step": step, "ambiguity": ambiguity}
        return Angle(step * self._step_deg, raw, ambiguity > AMBIGUOUS_ABOVE)

    def _nearest(self, ratio: float) -> tuple[int, float]:
        above = max(1, bisect_left(self._places, (ratio, -1)))
        (low, low_step), (high, high_step) = self._places[above - 1], self._places[above]
        gap = high - low
        if ratio - low < high - ratio:
            return low_step, 2 * (ratio - low) / gap
        return high_step, 2 * (high - ratio) / gap


class Potentiometer:
    """A wiper between ground and supply, whose track turns round all but ``dead_deg`` degrees.

    ``start_deg`` is the angle of the grounded end. In the dead band the wiper touches nothing and the input
    floats: a resistor of 1 MΩ from the input to ground makes it read 0 V there, as at ``start_deg``, which is
    wrong by no more than the band. Without that resistor the reading there is arbitrary. A wire that is off
    looks the same as the dead band.
    """

    def __init__(self, dead_deg: float, start_deg: float) -> None:
        self._turn_deg = 360 - dead_deg
        self._start_deg = start_deg

    def angle(self, ratio: float) -> Angle:
        """Raises BadSample if the wiper is not between ground and supply."""
        _check(ratio)
        return Angle((self._start_deg + min(max(ratio, 0.0), 1.0) * self._turn_deg) % 360)


def _check(ratio: float) -> None:
    if ratio > 1 + _TOLERANCE:
        raise BadSample(f"{ratio:.1%} of supply_v: is supply_v (or ratio) set to what is really there?")
    if ratio < -_TOLERANCE:
        raise BadSample(f"{ratio:.1%} of supply_v, negative: are the vane's wires swapped?")


@dataclass(frozen=True, kw_only=True)
class VaneSettings(AdcSettings):
    """From the voltage at the converter's input to a direction, whatever the converter."""

    model: str = setting(
        doc="vane of the catalogue: sen-15901, davis-6410, rmyoung-05103", example="sen-15901"
    )
    supply_v: float = setting(
        3.3, doc="volts that feed pull-up or potentiometer, as measured", minimum=0.1, maximum=60
    )
    pullup_ohm: float | None = setting(
        None, doc="resistor from a ladder to supply_v (10000, if absent)", minimum=1, example=10000
    )
    ratio: float = setting(
        1.0, doc="volts at the vane per volt at the input: 2 behind two equal resistors", minimum=0.001
    )
    north_offset_deg: float = setting(
        0.0, doc="added to the vane's angle: where its 0 points, from true north", minimum=-360, maximum=360
    )
    clockwise: bool = setting(True, doc="whether the vane's angle rises clockwise, seen from above")
    dead_band_deg: float | None = setting(
        None,
        doc="arc where a potentiometer's wiper is open (by the model, if absent); with 1 MΩ from the input "
        "to ground it reads as 0°, and so, without a fault, does a wire that is off or shorted to ground",
        minimum=0,
        maximum=90,
        example=5,
    )

    def __post_init__(self) -> None:
        """Raises ValueError if the keys do not go together."""
        super().__post_init__()
        model = vane_model(self.model)
        if model.ladder_ohms and self.dead_band_deg is not None:
            raise ValueError(f"dead_band_deg is for potentiometers, and {model.key} is a ladder of resistors")
        if not model.ladder_ohms and self.pullup_ohm is not None:
            raise ValueError(
                f"pullup_ohm is for ladders of resistors, and {model.key} is a potentiometer: "
                "its ends go to ground and supply_v"
            )
        if self.supply_v > self.range_v * self.ratio:
            raise ValueError(
                f"supply_v is {self.supply_v:g} V, the input takes {self.range_v * self.ratio:g} V: "
                f"{self.wider}, or use a divider and set ratio"
            )

    def resolve(self) -> Resistance:
        """The vane itself."""
        model = vane_model(self.model)
        if model.ladder_ohms:
            return Ladder(model.ladder_ohms, self.pullup_ohm or PULLUP_OHM)
        start_deg, end_deg = (model.dead_band_deg or (360.0, 360.0))[::-1]
        width = start_deg - end_deg if self.dead_band_deg is None else self.dead_band_deg
        return Potentiometer(width, start_deg)


class ResistiveVane:
    """A vane behind a converter: satisfies Vane. Drivers derive from it."""

    simulated = False

    def __init__(self, adc: Adc, settings: VaneSettings) -> None:
        self._adc = adc
        self._settings = settings
        self._resistance = settings.resolve()

    def read(self, now: float) -> VaneSample:  # noqa: ARG002  (a conversion is of now)
        """The direction now, after one conversion; flagged ``direction-ambiguous`` between two steps.

        ``raw``: ``volts`` at the vane, ``ratio`` to the supply, and for a ladder ``ohms``, ``step`` and
        ``ambiguity``. Raises HardwareError if there is none: no answer, an open or short circuit.
        """
        settings = self._settings
        volts = self._adc.convert().volts * settings.ratio
        ratio = volts / settings.supply_v
        try:
            angle = self._resistance.angle(ratio)
        except BadSample as error:
            raise BadSample(f"{self._adc.name}: {volts:.4g} V is {error}") from None
        return VaneSample(
            direction(angle.deg, settings.north_offset_deg, settings.clockwise),
            {"volts": volts, "ratio": ratio, **angle.raw},
            (AMBIGUOUS,) if angle.doubtful else (),
        )

    def close(self) -> None:
        """Let go of the chip."""
        self._adc.close()
