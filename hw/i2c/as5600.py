"""AS5600 and AS5600L: a magnet on the vane's shaft above a chip that tells its angle.

Registers and status bits: ams OSRAM, AS5600 data sheet. The angle is RAW ANGLE, never ANGLE: somebody may
have programmed a start, a stop or a range for good, and ANGLE then no longer goes round the full circle.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..clock import Clock
from ..errors import BadSample
from ..settings import setting
from ..vane import VaneSample
from ..vane_mounting import direction
from .bus import Chip

_STATUS, _RAW_ANGLE, _AGC = 0x0B, 0x0C, 0x1A
_DETECTED, _WEAK, _STRONG = 0x20, 0x10, 0x08  # MD, ML, MH of STATUS
_DEG_PER_COUNT = 360 / 4096


class As5600:
    """Wind vane with an AS5600 magnetic angle sensor (12 bits)."""

    simulated = False

    @dataclass(frozen=True)
    class Settings:
        """Where the chip is, and how the vane was mounted."""

        bus: int = setting(1, doc="I2C adapter, 1 for /dev/i2c-1", minimum=0)
        address: int = setting(
            0x36, doc="address (AS5600: 0x36; AS5600L: 0x40)", minimum=0x08, maximum=0x77, hexadecimal=True
        )
        north_offset_deg: float = setting(
            0.0, doc="where the vane points when the chip's angle is 0", minimum=-360, maximum=360
        )
        clockwise: bool = setting(
            True, doc="false if the angle falls while the vane, seen from above, turns clockwise"
        )

    @classmethod
    def open(cls, settings: Settings, clock: Clock) -> As5600:  # noqa: ARG003  (every driver is given it)
        """Does not touch the bus."""
        return cls(settings)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._chip = Chip(settings.bus, settings.address)

    def read(self, now: float) -> VaneSample:  # noqa: ARG002  (the angle is of this instant)
        """The direction. ``raw``: the counts of a turn's 4096, and the gain ``agc``.

        The magnet's distance is right when ``agc`` is in the middle of its range: 128 at 5 V, 64 at 3.3 V.

        Raises BadSample if the chip sees no magnet, or one too weak or too strong; DeviceUnavailable.
        """
        with self._chip.lock:
            # separate transfers: the chip's pointer stays where it is on an angle
            self._check(self._chip.read_block(_STATUS, 1)[0])
            counts = int.from_bytes(self._chip.read_block(_RAW_ANGLE, 2), "big") & 0x0FFF
            agc = self._chip.read_block(_AGC, 1)[0]
        settings = self._settings
        return VaneSample(
            direction(counts * _DEG_PER_COUNT, settings.north_offset_deg, settings.clockwise),
            raw={"counts": counts, "agc": agc},
        )

    def _check(self, status: int) -> None:
        weak, strong = bool(status & _WEAK), bool(status & _STRONG)
        if weak and strong:
            raise BadSample(
                f"status 0x{status:02x} from {self._chip.name} cannot be: the magnet weak and strong at "
                "once; is this an AS5600, and SDA not broken?"
            )
        if not status & _DETECTED:
            raise BadSample(
                f"no magnet over the AS5600 at {self._chip.name} (status 0x{status:02x}): is it on the end "
                "of the shaft, 0.5 to 3 mm from the chip, and magnetised across?"
            )
        if weak:
            raise BadSample(
                f"the magnet over the AS5600 at {self._chip.name} is too weak (status 0x{status:02x}): "
                "bring it closer to the chip"
            )
        if strong:
            raise BadSample(
                f"the magnet over the AS5600 at {self._chip.name} is too strong (status 0x{status:02x}): "
                "move it away from the chip"
            )

    def close(self) -> None:
        """Let go of the chip. May be called twice."""
        self._chip.close()
