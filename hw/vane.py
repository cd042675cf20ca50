"""What a wind vane is to the rest of the program, and how an anemometer gets one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from .anemometer import Anemometer, WindSample
from .errors import HardwareError


@dataclass(frozen=True, slots=True)
class VaneSample:
    """Where the wind comes from at one instant.

    ``direction_deg``: degrees clockwise from true north, in [0, 360).
    ``raw``: what the instrument itself said (volts, ohms, counts), for a person at the mast.
    ``flags``: what is doubtful about the direction, by the names of agent/wind/quality.py.
    """

    direction_deg: float
    raw: Mapping[str, float] = field(default_factory=dict)
    flags: tuple[str, ...] = ()


class Vane(Protocol):
    """An instrument that tells where the wind comes from.

    Thread safety: one thread, the sampler's, calls ``read``; ``close`` may follow from any thread.
    """

    simulated: bool
    """True if the directions come from no instrument at this mast."""

    def read(self, now: float) -> VaneSample:
        """The direction at ``now`` (CLOCK_BOOTTIME seconds), without waiting longer than a bus transfer.

        Raises HardwareError with the cause where there is none; never invents one.
        """
        ...

    def close(self) -> None:
        """Let go of the hardware. May be called twice."""
        ...


class VanedAnemometer:
    """An anemometer and the vane beside it, read as one instrument: satisfies Anemometer.

    Each goes on when the other fails. The vane's names in ``raw`` begin with ``vane_``.
    """

    has_direction = True

    def __init__(self, anemometer: Anemometer, vane: Vane) -> None:
        self._anemometer = anemometer
        self._vane = vane
        self.simulated = anemometer.simulated or vane.simulated
        self.calibration = anemometer.calibration

    def read(self, now: float) -> WindSample:
        """The speed of the one with the direction of the other.

        Raises HardwareError if neither has a value; a missing speed is told in ``fault`` beside a direction.
        """
        try:
            sample = self._anemometer.read(now)
        except HardwareError as error:
            sample = WindSample(now, None, fault=str(error))
        try:
            seen = self._vane.read(now)
        except HardwareError as error:
            if sample.speed_mps is None:
                raise type(error)(f"{sample.fault}; vane: {error}") from error
            return replace(sample, direction_deg=None, fault=f"vane: {error}")
        return replace(
            sample,
            direction_deg=seen.direction_deg,
            raw={**sample.raw, **{f"vane_{name}": value for name, value in seen.raw.items()}},
            flags=(*sample.flags, *seen.flags),
        )

    def close(self) -> None:
        """Let go of both."""
        try:
            self._anemometer.close()
        finally:
            self._vane.close()
