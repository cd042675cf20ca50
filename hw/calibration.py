"""The settings that make m/s of pulses, for every driver that has pulses."""

from __future__ import annotations

from dataclasses import dataclass

from .catalogue import pulse_model
from .settings import setting
from .transfer import Line, Points, chosen


@dataclass(frozen=True, kw_only=True)
class PulseCalibration:
    """A model of the catalogue, or one's own coefficients: slope and offset, or points."""

    model: str | None = setting(
        None, doc="anemometer in the catalogue (`masthead sensors`)", example="davis-6410", suggested=True
    )
    slope: float | None = setting(
        None, doc="m/s per Hz by your own certificate, in place of the model's", example=0.62
    )
    offset: float | None = setting(
        None, doc="m/s added while it turns, by your own certificate", example=0.27
    )
    points: tuple[tuple[float, ...], ...] | None = setting(
        None,
        doc="[[Hz, m/s], ...] by your own certificate, linear between them, in place of slope and offset",
        example=((6.0, 4.0), (25.4, 16.0)),
    )
    calibration: str | None = setting(
        None,
        doc="what to call your coefficients in the data, such as the certificate's number",
        example="C-2041",
    )

    def __post_init__(self) -> None:
        """Raises ValueError if the keys tell too little, or too much."""
        self.transfer()

    def transfer(self) -> tuple[Line | Points, str]:
        """(Hz -> m/s, calibration id)."""
        model = None if self.model is None else pulse_model(self.model)
        known = None if model is None else (model.transfer, model.key)
        transfer, name = chosen(known, self.slope, self.offset, self.points)
        return transfer, self.calibration or name
