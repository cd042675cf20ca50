"""Sensirion SDP3x and SDP8xx: differential pressure, here between the two ports of a pitot-static tube.

Commands, times and words: Sensirion, SDP3x-Digital and SDP8xx-Digital data sheets. The sensor averages
between two reads, so that nothing of the wind is missed. Before it is first read, and after any failure, it
is stopped and started: one that lost power has forgotten that it was measuring. (One wrong checksum is noise
and no failure; two in a row are.) Neither is waited for: reads say so until there is a value.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from enum import Enum, auto

from ..anemometer import WindSample
from ..clock import Clock
from ..errors import BadSample, DeviceUnavailable, HardwareError
from ..settings import setting
from .bus import Chip

_START = b"\x36\x15"  # continuous, differential pressure, average till read
_STOP = b"\x3f\xf9"
_SETTLING_S = 0.020  # after either; the first value comes after 8 ms, an accurate one after 20 ms
_WORDS = ("pressure", "temperature", "scale")

_GAS_CONSTANT = 287.05  # J/(kg·K), dry air
_ZERO_CELSIUS_K = 273.15
_NOISE_PA = 1.0
_HIGHEST_SCALE = 1000  # counts per pascal; data sheets: 20, 60, 240


class _Phase(Enum):
    IDLE = auto()
    STOPPED = auto()
    MEASURING = auto()


class SdpPitot:
    """Pitot-static tube on a Sensirion SDP3x or SDP8xx differential pressure sensor (I2C)."""

    simulated = False
    has_direction = False

    @dataclass(frozen=True)
    class Settings:
        """Where the sensor is, and what air flows past the tube."""

        bus: int = setting(1, doc="I2C adapter, 1 for /dev/i2c-1", minimum=0)
        address: int = setting(
            0x25,
            doc="address (SDP3x: 0x21 to 0x23; SDP8x0: 0x25; SDP8x1: 0x26)",
            choices=(0x21, 0x22, 0x23, 0x25, 0x26),
            hexadecimal=True,
        )
        temperature_c: float = setting(
            15.0, doc="temperature of the air in °C, for its density", minimum=-60, maximum=60
        )
        pressure_hpa: float = setting(
            1013.25, doc="pressure of the air at the mast, not at sea level", minimum=300, maximum=1100
        )

    @classmethod
    def open(cls, settings: Settings, clock: Clock) -> SdpPitot:
        """Does not touch the bus."""
        return cls(settings, clock)

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._clock = clock
        self._density = air_density(settings.temperature_c, settings.pressure_hpa)
        self.calibration: str | None = f"pitot-rho-{self._density:.4g}"
        """Ends in the density of the air that was reckoned with, in kg/m³."""
        self._chip = Chip(settings.bus, settings.address)
        self._phase = _Phase.IDLE
        self._stop_first = True
        self._since_s = -math.inf
        """When the last command had been written, which may have had to wait for another chip's transfer."""
        self._noisy = False
        self._closed = False

    def read(self, now: float) -> WindSample:
        """The mean speed since the last read. ``raw``: the differential pressure in ``pascal``, ``celsius``.

        Raises BadSample for a wrong checksum, a pressure beyond the sensor's range or the wrong way round,
        and while the measurement is being started; DeviceUnavailable.
        """
        if self._closed:
            raise DeviceUnavailable(f"{self._chip.name} is closed")
        if self._clock.monotonic() - self._since_s < _SETTLING_S:
            raise BadSample(f"the measurement of {self._chip.name} was just started: it needs 20 ms")
        if self._phase is not _Phase.MEASURING:
            self._start()
        try:
            pressure, temperature, scale = self._words(self._chip.read(9))
        except HardwareError as error:
            self._noisy = isinstance(error, BadSample) and not self._noisy
            if not self._noisy:
                self._phase = _Phase.IDLE
            raise
        self._noisy = False
        pascal = self._plausible(pressure, scale)
        return WindSample(
            now,
            math.sqrt(2 * max(pascal, 0.0) / self._density),
            raw={"pascal": pascal, "celsius": temperature / 200},
        )

    def _start(self) -> None:
        """The next step towards a measurement. Always raises: there is no value yet.

        A sensor that measures takes no command but to stop, and an idle one need not take that: whichever is
        refused, the other is tried at the next read.
        """
        if self._phase is _Phase.IDLE and self._stop_first:
            self._stop_first = False
            try:
                self._chip.write(_STOP)
            except DeviceUnavailable as error:
                raise BadSample(str(error)) from error  # the next read tells whether it is there
            self._phase = _Phase.STOPPED
        else:
            self._phase, self._stop_first = _Phase.IDLE, True
            self._chip.write(_START)
            self._phase = _Phase.MEASURING
        self._since_s = self._clock.monotonic()
        raise BadSample(f"the measurement of {self._chip.name} was just started: a value follows")

    def _words(self, frame: bytes) -> tuple[int, int, int]:
        """Pressure, temperature and scale, as they are."""
        for name, at in zip(_WORDS, (0, 3, 6), strict=True):
            expected = crc8(frame[at : at + 2])
            if frame[at + 2] != expected:
                raise BadSample(
                    f"checksum 0x{frame[at + 2]:02x} of the {name} from {self._chip.name}, expected "
                    f"0x{expected:02x}: noise on the wires, or too long a cable"
                )
        pressure, temperature, scale = struct.unpack(">hxhxhx", frame)
        if not 0 < scale <= _HIGHEST_SCALE:
            raise BadSample(f"scale {scale} from {self._chip.name} cannot be: is it an SDP3x or SDP8xx?")
        return pressure, temperature, scale

    def _plausible(self, pressure: int, scale: int) -> float:
        """The pressure in pascal, if wind can make it."""
        pascal = pressure / scale
        if pascal < -_NOISE_PA:
            raise BadSample(
                f"{pascal:.1f} Pa at {self._chip.name}: less at the tube's front than at its side; are the "
                "hoses swapped, or does the wind come from behind?"
            )
        if pressure == 0x7FFF:
            raise BadSample(f"{pascal:.0f} Pa or more at {self._chip.name}: beyond the sensor's range")
        return pascal

    def close(self) -> None:
        """Let go of the sensor, which goes on measuring. May be called twice."""
        self._closed = True
        self._chip.close()


def air_density(temperature_c: float, pressure_hpa: float) -> float:
    """kg/m³ of dry air, by the ideal gas law: p / (287.05 J/(kg·K) · T)."""
    return pressure_hpa * 100 / (_GAS_CONSTANT * (temperature_c + _ZERO_CELSIUS_K))


def crc8(data: bytes) -> int:
    """Sensirion's checksum: polynomial 0x31, initial value 0xFF, most significant bit first."""
    crc = 0xFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ (0x31 if crc & 0x80 else 0)) & 0xFF
    return crc
