"""Renesas FS3000: a thermal air-speed sensor, 0 to 7.2 or 0 to 15 m/s.

Frame, checksum and table of velocities: Renesas, FS3000 data sheet. The chip measures by itself and is read
as it is; nothing is ever written to it, so that one that lost power needs no more than to come back.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..anemometer import WindSample
from ..catalogue import fs3000_model
from ..clock import Clock
from ..errors import BadSample
from ..settings import setting
from .bus import Chip

_ZERO, _TOP = 409, 3686
_ERROR = 164  # 5 % of full scale, the data sheet's accuracy
LOWEST_COUNT, HIGHEST_COUNT = _ZERO - _ERROR, _TOP + _ERROR
"""Counts beyond are no air: still air reads 409 and a full-scale wind 3686, each within 5 % of full scale. A
dead bus reads 0 throughout, with a checksum that is right, and would be a calm."""


class Fs3000:
    """Renesas FS3000 air-speed sensor on I2C."""

    simulated = False
    has_direction = False

    @dataclass(frozen=True)
    class Settings:
        """Which variant, and where it is."""

        model: str = setting(
            doc="variant: to 7.23 m/s (1005) or to 15 m/s (1015)",
            choices=("fs3000-1005", "fs3000-1015"),
            example="fs3000-1015",
        )
        bus: int = setting(1, doc="I2C adapter, 1 for /dev/i2c-1", minimum=0)
        address: int = setting(0x28, doc="address", minimum=0x08, maximum=0x77, hexadecimal=True)

    @classmethod
    def open(cls, settings: Settings, clock: Clock) -> Fs3000:  # noqa: ARG003  (every driver is given it)
        """Does not touch the bus."""
        return cls(settings)

    def __init__(self, settings: Settings) -> None:
        model = fs3000_model(settings.model)
        self.calibration: str | None = model.key
        self._transfer = model.transfer
        self._chip = Chip(settings.bus, settings.address)

    def read(self, now: float) -> WindSample:
        """The speed, at most the variant's full scale. ``raw``: the counts.

        The chip's own response takes 125 ms. Raises BadSample for a wrong checksum and for counts that no air
        makes (see LOWEST_COUNT); DeviceUnavailable.
        """
        frame = self._chip.read(5)
        if sum(frame) & 0xFF:
            expected = -sum(frame[1:]) & 0xFF
            raise BadSample(
                f"checksum 0x{frame[0]:02x} from {self._chip.name}, expected 0x{expected:02x}: noise on the "
                "wires, or too long a cable"
            )
        counts = (frame[1] & 0x0F) << 8 | frame[2]
        if not LOWEST_COUNT <= counts <= HIGHEST_COUNT:
            raise BadSample(
                f"{counts} counts from {self._chip.name} is no air speed ({_ZERO} is calm, {_TOP} full "
                "scale): is it an FS3000, and are SDA, SCL and 3.3 V connected?"
            )
        return WindSample(now, self._transfer.speed(counts), raw={"counts": counts})

    def close(self) -> None:
        """Let go of the chip. May be called twice."""
        self._chip.close()
