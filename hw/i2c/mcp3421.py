"""Microchip MCP3421: one differential input, 12 to 18 bits, and what measures wind behind it.

The chip converts all the time and says with each result whether it is a new one. A reading waits for a new
one: none is given out twice. Configured at the first reading and again after every failure.

Bits and times: data sheet DS22003.
"""

from __future__ import annotations

from dataclasses import dataclass

from .. import adc
from ..adc import AdcSettings, Conversion
from ..analogue import AnalogueAnemometer, SignalSettings
from ..clock import Clock
from ..errors import BadSample, DeviceUnavailable, HardwareError
from ..resistive_vane import ResistiveVane, VaneSettings
from ..settings import setting
from .bus import Chip

_OLD = 0x80  # RDY: this result was read before
_CONTINUOUS = 0x10
_BITS = {12: 0, 14: 1, 16: 2, 18: 3}
_GAIN = {1: 0, 2: 1, 4: 2, 8: 3}
_PERIOD_S = {12: 1 / 240, 14: 1 / 60, 16: 1 / 15, 18: 1 / 3.75}
_REFERENCE_V = 2.048
_LATE_S = 0.02  # beyond one and a half conversions; the oscillator is good for 20 % or so


def config_byte(bits: int, gain: int) -> int:
    """The configuration for continuous conversions."""
    return _CONTINUOUS | _BITS[bits] << 2 | _GAIN[gain]


def conversion(data: bytes, bits: int, gain: int) -> Conversion:
    """What the data bytes (three for 18 bits, else two) mean; above ``bits`` they repeat the sign."""
    code = int.from_bytes(data, "big") & ((1 << bits) - 1)
    if code >> (bits - 1):
        code -= 1 << bits
    return Conversion(code, code * _REFERENCE_V / gain / (1 << (bits - 1)))


@dataclass(frozen=True, kw_only=True)
class Mcp3421Settings(AdcSettings):
    """Which chip, and how it converts."""

    bus: int = setting(1, doc="I2C adapter, 1 for /dev/i2c-1", minimum=0)
    address: int = setting(
        0x68, doc="I2C address, by the letters on the chip", minimum=0x68, maximum=0x6F, hexadecimal=True
    )
    bits: int = setting(
        16,
        doc="resolution: 16 takes 67 ms a conversion; 18 takes 267, too slow for 4 samples a second",
        choices=tuple(_BITS),
    )
    gain: int = setting(1, doc="full scale at the input is 2.048 V divided by this", choices=tuple(_GAIN))

    @property
    def range_v(self) -> float:
        """2.048 V / ``gain``."""
        return _REFERENCE_V / self.gain

    @property
    def wider(self) -> str:
        """A smaller ``gain``, while there is one."""
        return "choose a smaller gain" if self.gain > 1 else "give it less voltage"

    @property
    def conversion_s(self) -> float:
        """By ``bits``: 4 to 267 ms."""
        return _PERIOD_S[self.bits]


class Mcp3421:
    """An MCP3421: satisfies Adc. Thread safety: any thread, but a result goes to one reader only."""

    def __init__(self, settings: Mcp3421Settings) -> None:
        self._chip = Chip(settings.bus, settings.address)
        self._bits, self._gain = settings.bits, settings.gain
        self._wider = settings.wider
        self._config = config_byte(settings.bits, settings.gain)
        self._length = 4 if settings.bits == 18 else 3
        self._period_s = settings.conversion_s
        self._configured = False
        self.name = self._chip.name

    def convert(self) -> Conversion:
        """The newest voltage, after waiting for a conversion where there was none since the last call.

        Raises DeviceUnavailable if the chip does not answer or has stopped converting, BadSample at the ends
        of the scale or if the chip is not as it was configured.
        """
        with self._chip.lock:
            try:
                data = self._new()
            except HardwareError:
                self._configured = False
                raise
        seen = conversion(data, self._bits, self._gain)
        top = (1 << (self._bits - 1)) - 1
        if not -top <= seen.code < top:
            raise BadSample(adc.over_range(self.name, seen.volts, self._wider))
        return seen

    def _new(self) -> bytes:
        if not self._configured:
            self._chip.write(bytes([self._config]))
            self._chip.read(self._length)  # a result from before, as the chip was then configured
            self._configured = True
        data = adc.poll(self._ready, self._period_s / 8, 1.5 * self._period_s + _LATE_S)
        if data is None:
            raise DeviceUnavailable(
                f"{self.name} has no new value after {1.5 * self._period_s + _LATE_S:.2g} s: "
                "it has stopped converting, or another program reads it, too"
            )
        return data

    def _ready(self) -> bytes | None:
        *data, config = self._chip.read(self._length)
        if config & ~_OLD != self._config:
            raise BadSample(
                f"{self.name} is configured 0x{config:02x}, not 0x{self._config:02x} as written: "
                "another program uses it, another chip answers there, or its supply broke down"
            )
        return None if config & _OLD else bytes(data)

    def close(self) -> None:
        """Let go of the chip; it goes on converting."""
        self._chip.close()


class Mcp3421Anemometer(AnalogueAnemometer):
    """An anemometer with a voltage or 4–20 mA output, on an MCP3421."""

    @dataclass(frozen=True, kw_only=True)
    class Settings(SignalSettings, Mcp3421Settings):
        """The chip, and what makes m/s of its voltage."""

    @classmethod
    def open(cls, settings: Settings, clock: Clock) -> Mcp3421Anemometer:  # noqa: ARG003  (every driver is given it)
        """Touches no bus before the first reading."""
        return cls(Mcp3421(settings), settings)


class Mcp3421Vane(ResistiveVane):
    """A vane that is a ladder of resistors or a potentiometer, on an MCP3421."""

    @dataclass(frozen=True, kw_only=True)
    class Settings(VaneSettings, Mcp3421Settings):
        """The chip, and what makes a direction of its voltage."""

        supply_v: float = setting(
            doc="volts that feed pull-up or potentiometer, as measured: at most 2.048 without a divider",
            minimum=0.1,
            maximum=60,
            example=2.0,
        )

    @classmethod
    def open(cls, settings: Settings, clock: Clock) -> Mcp3421Vane:  # noqa: ARG003  (every driver is given it)
        """Touches no bus before the first reading."""
        return cls(Mcp3421(settings), settings)
