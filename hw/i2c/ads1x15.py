"""Texas Instruments ADS1115 (16 bits) and ADS1015 (12 bits): four inputs, and what measures wind behind them.

Every reading is one conversion in single-shot mode, and the whole of it is done under the chip's lock: an
anemometer and a vane may share a chip from two threads. The chip keeps nothing between readings, so one that
was reset or replaced is simply used again.

Registers, codes and times: data sheets SBAS444 (ADS1115) and SBAS473 (ADS1015).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .. import adc
from ..adc import AdcSettings, Conversion
from ..analogue import AnalogueAnemometer, SignalSettings
from ..clock import Clock
from ..errors import BadSample, DeviceUnavailable, HardwareError
from ..resistive_vane import ResistiveVane, VaneSettings
from ..settings import setting
from .bus import Chip

_CONVERSION, _CONFIG = 0, 1  # registers

_IDLE = 0x8000  # read: no conversion under way; written: start one
_SINGLE_SHOT = 0x0100
_COMPARATOR_OFF = 0x0003

_MUX = {"0-1": 0, "0-3": 1, "1-3": 2, "2-3": 3, "0": 4, "1": 5, "2": 6, "3": 7}
_PGA = {6.144: 0, 4.096: 1, 2.048: 2, 1.024: 3, 0.512: 4, 0.256: 5}
_RATES_1115 = {8: 0, 16: 1, 32: 2, 64: 3, 128: 4, 250: 5, 475: 6, 860: 7}
_RATES_1015 = {128: 0, 250: 1, 490: 2, 920: 3, 1600: 4, 2400: 5, 3300: 6}

_LATE_S = 0.02  # beyond two nominal conversion times; the oscillator is good for 10 %


def config_word(channel: int | str, full_scale_v: float, rate_code: int) -> int:
    """The config register that starts one conversion of ``channel`` ("0", or "0-1" for a difference)."""
    return (
        _IDLE
        | _MUX[str(channel)] << 12
        | _PGA[full_scale_v] << 9
        | _SINGLE_SHOT
        | rate_code << 5
        | _COMPARATOR_OFF
    )


def conversion(word: int, full_scale_v: float, bits: int) -> Conversion:
    """What the conversion register means: two's complement in its upper ``bits``."""
    code = (word - 0x10000 if word & 0x8000 else word) >> (16 - bits)
    return Conversion(code, code * full_scale_v / (1 << (bits - 1)))


@dataclass(frozen=True, kw_only=True)
class Ads1x15Settings(AdcSettings):
    """Which input of which chip, and how it is converted.

    ±4.096 V takes all that a chip supplied with 3.3 V may be given, at 0.125 mV (ADS1115) or 2 mV (ADS1015).
    """

    bus: int = setting(1, doc="I2C adapter, 1 for /dev/i2c-1", minimum=0)
    address: int = setting(
        0x48,
        doc="I2C address, by what the pin ADDR is wired to",
        choices=(0x48, 0x49, 0x4A, 0x4B),
        hexadecimal=True,
    )
    input: int | str = setting(
        doc='input against ground, 0 to 3, or a difference of two: "0-1", "0-3", "1-3", "2-3"', example=0
    )
    full_scale_v: float = setting(
        4.096,
        doc="largest voltage at the input; never connect more than the chip's supply",
        choices=tuple(_PGA),
    )
    data_rate_sps: int = setting(doc="conversions a second, those of the chip", example=128)

    def __post_init__(self) -> None:
        """Raises ValueError if there is no such input."""
        super().__post_init__()
        if str(self.input) not in _MUX:
            raise ValueError(f'input must be 0 to 3, "0-1", "0-3", "1-3" or "2-3", got {self.input!r}')

    @property
    def range_v(self) -> float:
        """``full_scale_v``."""
        return self.full_scale_v

    @property
    def wider(self) -> str:
        """A larger ``full_scale_v``, while there is one."""
        return "choose a larger full_scale_v" if self.full_scale_v < max(_PGA) else "give it less voltage"

    @property
    def conversion_s(self) -> float:
        """1 / ``data_rate_sps``."""
        return 1 / self.data_rate_sps


@dataclass(frozen=True, kw_only=True)
class Ads1115Settings(Ads1x15Settings):
    """An ADS1115."""

    data_rate_sps: int = setting(
        128,
        doc="conversions a second: slower is quieter, and each reading waits for one; for 4 samples a second "
        "8 is too slow with two inputs of the chip in use, 16 with four",
        choices=tuple(_RATES_1115),
    )


@dataclass(frozen=True, kw_only=True)
class Ads1015Settings(Ads1x15Settings):
    """An ADS1015."""

    data_rate_sps: int = setting(
        128,
        doc="conversions a second: slower is quieter, and each reading waits for one",
        choices=tuple(_RATES_1015),
    )


class Ads1x15:
    """One input of an ADS1115 or ADS1015: satisfies Adc. Thread safety: any thread."""

    def __init__(self, settings: Ads1x15Settings, bits: int, rates: Mapping[int, int]) -> None:
        """``bits``: 16 or 12; ``rates``: conversions a second -> code in the config register."""
        self._chip = Chip(settings.bus, settings.address)
        self._full_scale_v = settings.full_scale_v
        self._wider = settings.wider
        self._bits = bits
        self._part = "ADS1115" if bits == 16 else "ADS1015"
        self._conversion_s = settings.conversion_s
        self._config = config_word(settings.input, settings.full_scale_v, rates[settings.data_rate_sps])
        self.name = f"input {settings.input} of {self._chip.name}"

    def convert(self) -> Conversion:
        """The voltage now, after waiting for one conversion (125 ms at 8 a second, 8 ms at 128).

        Raises DeviceUnavailable if the chip does not answer or finish, BadSample at the ends of the scale or
        if the chip does something other than it was told.
        """
        with self._chip.lock:
            try:
                word = self._convert()
            except HardwareError:
                adc.pause(self._conversion_s)  # a start is ignored while the one broken off still goes on
                raise
        seen = conversion(word, self._full_scale_v, self._bits)
        top = (1 << (self._bits - 1)) - 1
        if not -top <= seen.code < top:
            raise BadSample(adc.over_range(self.name, seen.volts, self._wider))
        return seen

    def _convert(self) -> int:
        chip, nominal_s = self._chip, self._conversion_s
        chip.write_word(_CONFIG, self._config)
        adc.pause(nominal_s)  # not polled at once: the chip takes 25 µs to say that it is busy
        config = adc.poll(self._finished, max(nominal_s / 10, 0.0005), nominal_s + _LATE_S)
        if config is None:
            raise DeviceUnavailable(
                f"{chip.name} does not finish a conversion (config 0x{chip.read_word(_CONFIG):04x}): "
                f"is it an {self._part}, and used by this program alone?"
            )
        if config != self._config:
            raise BadSample(
                f"{chip.name} is configured 0x{config:04x}, not 0x{self._config:04x} as written: "
                "another program uses it, another chip answers there, or its supply broke down"
            )
        return chip.read_word(_CONVERSION)

    def _finished(self) -> int | None:
        config = self._chip.read_word(_CONFIG)
        return config if config & _IDLE else None

    def close(self) -> None:
        """Let go of the chip."""
        self._chip.close()


def _ads1115(settings: Ads1115Settings) -> Ads1x15:
    return Ads1x15(settings, 16, _RATES_1115)


def _ads1015(settings: Ads1015Settings) -> Ads1x15:
    return Ads1x15(settings, 12, _RATES_1015)


class Ads1115Anemometer(AnalogueAnemometer):
    """An anemometer with a voltage or 4–20 mA output, on an ADS1115."""

    @dataclass(frozen=True, kw_only=True)
    class Settings(SignalSettings, Ads1115Settings):
        """The input, and what makes m/s of it."""

    @classmethod
    def open(cls, settings: Settings, clock: Clock) -> Ads1115Anemometer:  # noqa: ARG003  (every driver is given it)
        """Touches no bus before the first reading."""
        return cls(_ads1115(settings), settings)


class Ads1015Anemometer(AnalogueAnemometer):
    """An anemometer with a voltage or 4–20 mA output, on an ADS1015."""

    @dataclass(frozen=True, kw_only=True)
    class Settings(SignalSettings, Ads1015Settings):
        """The input, and what makes m/s of it."""

    @classmethod
    def open(cls, settings: Settings, clock: Clock) -> Ads1015Anemometer:  # noqa: ARG003  (every driver is given it)
        """Touches no bus before the first reading."""
        return cls(_ads1015(settings), settings)


class Ads1115Vane(ResistiveVane):
    """A vane that is a ladder of resistors or a potentiometer, on an ADS1115."""

    @dataclass(frozen=True, kw_only=True)
    class Settings(VaneSettings, Ads1115Settings):
        """The input, and what makes a direction of it."""

    @classmethod
    def open(cls, settings: Settings, clock: Clock) -> Ads1115Vane:  # noqa: ARG003  (every driver is given it)
        """Touches no bus before the first reading."""
        return cls(_ads1115(settings), settings)


class Ads1015Vane(ResistiveVane):
    """A vane that is a ladder of resistors or a potentiometer, on an ADS1015."""

    @dataclass(frozen=True, kw_only=True)
    class Settings(VaneSettings, Ads1015Settings):
        """The input, and what makes a direction of it."""

    @classmethod
    def open(cls, settings: Settings, clock: Clock) -> Ads1015Vane:  # noqa: ARG003  (every driver is given it)
        """Touches no bus before the first reading."""
        return cls(_ads1015(settings), settings)
