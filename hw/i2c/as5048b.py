"""AS5048B: a magnet on the vane's shaft above a chip that tells its angle in 14 bits.

Registers and diagnostic bits: ams OSRAM, AS5048A/AS5048B data sheet. One block from AGC to the angle's low
byte is one snapshot: the chip's pointer rises by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..clock import Clock
from ..errors import BadSample
from ..settings import setting
from ..vane import VaneSample
from ..vane_mounting import direction
from .bus import Chip

_AGC = 0xFA  # then diagnostics, magnitude high and low, angle high and low
_OFFSET_COMPENSATED, _CORDIC_OVERFLOW, _COMP_LOW, _COMP_HIGH = 0x01, 0x02, 0x04, 0x08
_DEG_PER_COUNT = 360 / 16384


class As5048b:
    """Wind vane with an AS5048B magnetic angle sensor (14 bits)."""

    simulated = False

    @dataclass(frozen=True)
    class Settings:
        """Where the chip is, and how the vane was mounted."""

        bus: int = setting(1, doc="I2C adapter, 1 for /dev/i2c-1", minimum=0)
        address: int = setting(
            0x40, doc="address, by pins A1 and A2", choices=(0x40, 0x41, 0x42, 0x43), hexadecimal=True
        )
        north_offset_deg: float = setting(
            0.0, doc="where the vane points when the chip's angle is 0", minimum=-360, maximum=360
        )
        clockwise: bool = setting(
            True, doc="false if the angle falls while the vane, seen from above, turns clockwise"
        )

    @classmethod
    def open(cls, settings: Settings, clock: Clock) -> As5048b:  # noqa: ARG003  (every driver is given it)
        """Does not touch the bus."""
        return cls(settings)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._chip = Chip(settings.bus, settings.address)

    def read(self, now: float) -> VaneSample:  # noqa: ARG002  (the angle is of this instant)
        """The direction. ``raw``: the counts of a turn's 16384, the gain ``agc``, and the ``magnitude``.

        The distance of the magnet is right when ``agc`` is about 128: 0 is a strong field, 255 a weak one.

        Raises BadSample if the chip cannot tell the angle of the magnet; DeviceUnavailable.
        """
        agc, diagnostics, magnitude_high, magnitude_low, high, low = self._chip.read_block(_AGC, 6)
        counts = _fourteen_bits(high, low)
        if agc or diagnostics or magnitude_high or magnitude_low or not counts:
            self._check(diagnostics)  # an emulation may have the angle alone; a dead bus has nothing at all
        settings = self._settings
        return VaneSample(
            direction(counts * _DEG_PER_COUNT, settings.north_offset_deg, settings.clockwise),
            raw={"counts": counts, "agc": agc, "magnitude": _fourteen_bits(magnitude_high, magnitude_low)},
        )

    def _check(self, diagnostics: int) -> None:
        seen = f"AS5048B at {self._chip.name} (diagnostics 0x{diagnostics:02x})"
        if not diagnostics & _OFFSET_COMPENSATED:
            raise BadSample(f"the {seen} is not ready: has it power? It needs 10 ms after it was switched on")
        if diagnostics & _CORDIC_OVERFLOW:
            raise BadSample(f"the {seen} cannot find the angle: is the magnet centred over the chip?")
        if diagnostics & _COMP_HIGH:
            raise BadSample(f"the magnet over the {seen} is missing or too weak: bring it closer to the chip")
        if diagnostics & _COMP_LOW:
            raise BadSample(f"the magnet over the {seen} is too strong: move it away from the chip")

    def close(self) -> None:
        """Let go of the chip. May be called twice."""
        self._chip.close()


def _fourteen_bits(high: int, low: int) -> int:
    """Bits 13 to 6 in one register, 5 to 0 in the next."""
    return high << 6 | low & 0x3F
