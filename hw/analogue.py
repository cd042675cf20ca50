"""Anemometers that tell the wind by a voltage or by a current of 4 to 20 mA.

A converter sees the voltage at its input. ``ratio`` makes it the voltage at the sensor (or over the shunt of
a current loop), and the signal makes m/s of that, or says why it cannot be a measurement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from .adc import Adc, AdcSettings
from .anemometer import WindSample
from .catalogue import voltage_model
from .errors import BadSample
from .settings import setting
from .transfer import Line, Points, Transfer, chosen

LOWEST_MA = 3.6
HIGHEST_MA = 21.0
"""Currents beyond are a failure signal, not a measurement (NAMUR NE 43)."""

_REVERSED_V = -0.1  # more negative than any offset or noise of a sensor that gives 0 V and up
_MARGIN = 1 / 16  # of its span that a sensor may give above its range, as NE 43 leaves a current loop
_LIVE_ZERO_V = 0.3  # a calm that gives less is a calibration's offset, of a sensor that gives 0 V and up
_CALM_MPS = 0.5  # a table that begins higher does not tell what a calm gives
_STORM_MPS = 50.0  # certificates end at 16 m/s or so (IEC 61400-12-1), the sensor's range does not


class Signal(Protocol):
    """From the voltage at the sensor to a speed. Thread safety: any thread, nothing changes."""

    def fault(self, volts: float) -> str | None:
        """Why ``volts`` is no measurement, and what to check, or None if it is one."""
        ...

    def speed(self, volts: float) -> float:
        """m/s by the formula alone, never negative, whether ``volts`` is a measurement or not."""
        ...

    def raw(self, volts: float) -> dict[str, float]:
        """What there is to see at the mast beside the voltage."""
        ...


@dataclass(frozen=True, slots=True)
class VoltageSignal:
    """A voltage: volts at the sensor -> m/s by ``transfer``; a fault outside ``low_v`` to ``high_v``."""

    transfer: Transfer
    low_v: float | None = None
    high_v: float | None = None

    def fault(self, volts: float) -> str | None:
        """Too low for a sensor that is connected, too high for any wind, or the wrong way round."""
        if self.low_v is not None and volts < self.low_v:
            return f"{volts:.4g} V is below {self.low_v:.4g} V, an open circuit: is a wire off?"
        if self.high_v is not None and volts > self.high_v:
            return (
                f"{volts:.4g} V is above {self.high_v:.4g} V, over-range: is the wire shorted to the supply?"
            )
        if volts < _REVERSED_V:
            return f"{volts:.4g} V is negative: are the sensor's two wires swapped?"
        return None

    def speed(self, volts: float) -> float:
        """m/s by the transfer function."""
        return self.transfer.speed(volts)

    def raw(self, volts: float) -> dict[str, float]:  # noqa: ARG002  (the voltage says all)
        """Nothing beside the voltage."""
        return {}


@dataclass(frozen=True, slots=True)
class CurrentLoop:
    """A current of 4 to 20 mA through ``shunt_ohm``: (I − 4 mA)/16 mA · ``full_mps``."""

    shunt_ohm: float
    full_mps: float

    def fault(self, volts: float) -> str | None:
        """A broken wire or the sensor's own failure signal (NAMUR NE 43)."""
        milliamp = self.milliamp(volts)
        if milliamp < LOWEST_MA:
            return (
                f"{milliamp:.3g} mA is below {LOWEST_MA:g} mA, an open circuit: "
                "is a wire off, the sensor's supply missing or the shunt the wrong way round?"
            )
        if milliamp > HIGHEST_MA:
            return (
                f"{milliamp:.3g} mA is above {HIGHEST_MA:g} mA, over-range: "
                "a short circuit, or the sensor reports a failure"
            )
        return None

    def speed(self, volts: float) -> float:
        """m/s by the formula."""
        speed = (self.milliamp(volts) - 4) / 16 * self.full_mps
        return 0.0 if speed < 0 else speed

    def raw(self, volts: float) -> dict[str, float]:
        """The current."""
        return {"milliamp": self.milliamp(volts)}

    def milliamp(self, volts: float) -> float:
        """Ohm's law."""
        return volts / self.shunt_ohm * 1000


@dataclass(frozen=True, kw_only=True)
class SignalSettings(AdcSettings):
    """From the voltage at the converter's input to m/s, whatever the converter."""

    signal: str = setting("voltage", doc="what the sensor gives", choices=("voltage", "4-20ma"))
    model: str | None = setting(None, doc="sensor of the catalogue", example="adafruit-1733", suggested=True)
    slope: float | None = setting(
        None, doc="m/s per volt at the sensor; with offset, in place of the model's", example=20.25
    )
    offset: float | None = setting(None, doc="with slope: m/s added to slope times volts", example=-8.1)
    points: tuple[tuple[float, ...], ...] | None = setting(
        None,
        doc="[[volts at the sensor, m/s], ...], linear between them, in place of the model's",
        example=((0.4, 0.0), (2.0, 32.4)),
    )
    calibration: str | None = setting(
        None, doc="name of the calibration, sent with the data", example="certificate-2026-117"
    )
    ratio: float = setting(
        1.0, doc="volts at the sensor per volt at the input: 2 behind two equal resistors", minimum=0.001
    )
    fault_below_v: float | None = setting(
        None,
        doc="volts at the sensor below which the circuit is open (if absent: the model's, else half of what "
        "a calm gives, if that is 0.3 V or more)",
        example=0.2,
    )
    fault_above_v: float | None = setting(
        None,
        doc="volts at the sensor that no wind makes (if absent: the model's, else beyond points and 50 m/s; "
        "slope and offset tell none: set it)",
        example=2.1,
    )
    shunt_ohm: float | None = setting(
        None, doc="resistor that a 4-20ma current flows through", minimum=1, example=100
    )
    full_mps: float | None = setting(None, doc="wind speed at 20 mA", minimum=0.1, example=50)

    def __post_init__(self) -> None:
        """Raises ValueError if the keys do not go together."""
        super().__post_init__()
        if self.signal == "4-20ma":
            self._check_loop()
        else:
            self._check_voltage()
        highest_v = self._highest_v()
        if highest_v > self.range_v * self.ratio:
            raise ValueError(
                f"the sensor gives up to {highest_v:g} V, the input takes {self.range_v * self.ratio:g} V: "
                f"{self.wider}, or use a divider and set ratio"
            )

    def _check_loop(self) -> None:
        names = ("model", "slope", "offset", "points", "fault_below_v", "fault_above_v")
        given = [name for name in names if self._given(name)]
        if given:
            raise ValueError(
                f'{", ".join(given)} cannot go with signal = "4-20ma": that has shunt_ohm and full_mps'
            )
        missing = [name for name in ("shunt_ohm", "full_mps") if not self._given(name)]
        if missing:
            raise ValueError(f'signal = "4-20ma" needs {" and ".join(missing)}')

    def _check_voltage(self) -> None:
        wrong = [name for name in ("shunt_ohm", "full_mps") if self._given(name)]
        if wrong:
            need = "needs" if len(wrong) == 1 else "need"
            raise ValueError(f'{" and ".join(wrong)} {need} signal = "4-20ma"')
        if not any(map(self._given, ("model", "slope", "offset", "points"))):
            raise ValueError(
                'what makes m/s of volts? Set model = "adafruit-1733", or slope and offset, or points, '
                'or signal = "4-20ma"'
            )
        lone_slope = self._given("slope") and not self._given("offset") and not self._given("points")
        if lone_slope and self._given("model"):  # a table, which has no offset to lend
            raise ValueError("slope goes with offset: set both")
        low_v, high_v = self._limits_v()
        if low_v is not None and high_v is not None and low_v >= high_v:
            raise ValueError(f"fault_below_v ({low_v:g}) must be less than fault_above_v ({high_v:g})")

    def _given(self, name: str) -> bool:
        return getattr(self, name) is not None

    def _transfer(self) -> tuple[Line | Points, str]:
        model = None if self.model is None else voltage_model(self.model)
        known = None if model is None else (model.transfer, model.key)
        return chosen(known, self.slope, self.offset, self.points)

    def _limits_v(self) -> tuple[float | None, float | None]:
        low_v, high_v = self._known_limits_v()
        return (
            low_v if self.fault_below_v is None else self.fault_below_v,
            high_v if self.fault_above_v is None else self.fault_above_v,
        )

    def _known_limits_v(self) -> tuple[float | None, float | None]:
        """The model's, else those of one's own; of a model with one's own points, the wider of both."""
        own, _ = self._transfer()
        if self.model is None:
            return limits_v(own)
        model = voltage_model(self.model)
        open_v, end_v = model.fault_below_volts, _end_v(model.transfer)
        if self.points is None or isinstance(own, Line):
            return open_v, end_v
        low_v, _ = limits_v(own)
        if low_v is not None:
            low_v = min(low_v, open_v)
        elif own.points[0][1] > _CALM_MPS:  # these points do not tell what a calm gives, the model does
            low_v = open_v
        return low_v, max(end_v, _end_v(own))

    def _highest_v(self) -> float:
        """At the sensor, as far as the settings tell."""
        if self.shunt_ohm is not None:
            return 0.020 * self.shunt_ohm
        transfer, _ = self._transfer()
        return transfer.points[-1][0] if isinstance(transfer, Points) else 0.0

    def resolve(self) -> tuple[Signal, str]:
        """(the signal, its calibration id)."""
        if self.shunt_ohm is not None and self.full_mps is not None:
            return (
                CurrentLoop(self.shunt_ohm, self.full_mps),
                self.calibration or f"4-20ma-{self.full_mps:g}",
            )
        transfer, name = self._transfer()
        return VoltageSignal(transfer, *self._limits_v()), self.calibration or name


def limits_v(transfer: Line | Points) -> tuple[float | None, float | None]:
    """The volts below and above which there is a fault, as far as a transfer function tells.

    The circuit is open below half of what a calm gives, if that is clearly a live zero; a table that does
    not reach down to a calm does not tell. The range ends a little beyond the last of points, but not before
    50 m/s, by the last of them or by all; a line tells of no range.
    """
    if isinstance(transfer, Line):
        return _open_below(transfer.figure(0.0)), None
    (first_v, first_mps), (last_v, last_mps) = transfer.points[0], transfer.points[-1]
    low_v = _open_below(first_v) if first_mps <= _CALM_MPS else None
    by_all_v = last_v + (_STORM_MPS - last_mps) * (last_v - first_v) / (last_mps - first_mps)
    return low_v, max(_end_v(transfer), transfer.figure(_STORM_MPS), by_all_v)


def _open_below(calm_v: float) -> float | None:
    return calm_v / 2 if calm_v >= _LIVE_ZERO_V else None


def _end_v(table: Points) -> float:
    first_v, last_v = table.points[0][0], table.points[-1][0]
    return last_v + _MARGIN * (last_v - first_v)


class AnalogueAnemometer:
    """An anemometer behind a converter: satisfies Anemometer. Drivers derive from it."""

    simulated = False
    calibration: str | None
    has_direction = False

    def __init__(self, adc: Adc, settings: SignalSettings) -> None:
        self._adc = adc
        self._ratio = settings.ratio
        self._signal, self.calibration = settings.resolve()

    def read(self, now: float) -> WindSample:
        """The wind at ``now``, after one conversion.

        ``raw``: ``code`` of the converter, ``volts`` at the sensor, ``volts_in`` at the input behind a
        divider, ``milliamp`` of a current loop. Raises HardwareError if there is no value: no answer, an open
        circuit, over-range.
        """
        seen = self._adc.convert()
        volts = seen.volts * self._ratio
        fault = self._signal.fault(volts)
        if fault is not None:
            raise BadSample(f"{self._adc.name}: {fault}")
        raw = {"code": seen.code, "volts": volts, **self._signal.raw(volts)}
        if self._ratio != 1:
            raw["volts_in"] = seen.volts
        return WindSample(now, self._signal.speed(volts), raw=raw)

    def close(self) -> None:
        """Let go of the chip."""
        self._adc.close()
