"""What an anemometer is to the rest of the program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class WindSample:
    """The wind at one instant.

    ``time_s``: CLOCK_BOOTTIME seconds. ``speed_mps``: m/s, or None if there is no value.
    ``direction_deg``: degrees clockwise from true north that the wind comes from, in [0, 360), or None.
    ``fault``: why the speed (or, with a speed present, the direction) is missing, else None.
    ``raw``: what the instrument itself said (pulses, hertz, volts, counts), for a person at the mast.
    ``flags``: what is doubtful about a value that is there, by the names of agent/wind/quality.py.
    """

    time_s: float
    speed_mps: float | None
    direction_deg: float | None = None
    fault: str | None = None
    raw: Mapping[str, float] = field(default_factory=dict)
    flags: tuple[str, ...] = ()


class Anemometer(Protocol):
    """An instrument that measures wind speed, and direction if it can.

    Thread safety: one thread, the sampler's, calls ``read``; ``close`` may follow from any thread.
    """

    simulated: bool
    """True if the values come from no instrument at this mast; stamped on every message."""

    calibration: str | None
    """Which transfer function made the values, if more than one is possible."""

    has_direction: bool
    """True if samples can carry a direction."""

    def read(self, now: float) -> WindSample:
        """The wind at ``now`` (CLOCK_BOOTTIME seconds), without waiting for it longer than a bus transfer.

        Raises HardwareError with the cause where there is no value; never invents one.
        """
        ...

    def close(self) -> None:
        """Let go of the hardware. May be called twice."""
        ...
