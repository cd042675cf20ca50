"""Fake converters as the wires see them, after their data sheets, and instruments wired to them.

Their conversions take time, which passes only while a driver waits (``Waiting``); without that they are done
at once.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from hw import adc
from tests.i2c import FakeChip

SLOW = 1.1
"""The oscillators of these chips are at the slow end of what the data sheets allow."""


class Waiting:
    """Seconds that drivers have waited for conversions."""

    def __init__(self) -> None:
        self.passed_s = 0.0
        self.during: Callable[[], None] | None = None
        """Happens once, at the next wait."""

    def pause(self, seconds: float) -> None:
        self.passed_s += seconds
        during, self.during = self.during, None
        if during is not None:
            during()


def waiting(monkeypatch: pytest.MonkeyPatch) -> Waiting:
    """Nobody really waits for a converter, for the length of a test."""
    waits = Waiting()
    monkeypatch.setattr(adc, "pause", waits.pause)
    return waits


class _Hurry:
    """Time that passes by looking at it."""

    def __init__(self) -> None:
        self._looks = 0

    @property
    def passed_s(self) -> float:
        self._looks += 1
        return float(self._looks)


class Ads1x15Chip:
    """ADS1115 (``bits`` 16) or ADS1015 (12).

    ``volts`` at AIN0 to AIN3, to be set at any time; a number is that at each of them.

    It says that it is busy only 25 µs after a start. A start is ignored while a conversion goes on. A result
    asked for by another thread than the one that started its conversion fails the test.
    """

    PAIRS = ((0, 1), (0, 3), (1, 3), (2, 3))
    FULL_SCALE_V = (6.144, 4.096, 2.048, 1.024, 0.512, 0.256, 0.256, 0.256)
    RATES: ClassVar = {
        16: (8, 16, 32, 64, 128, 250, 475, 860),
        12: (128, 250, 490, 920, 1600, 2400, 3300, 3300),
    }

    def __init__(
        self, waits: Waiting | None = None, volts: dict[int, float] | float = 0.0, bits: int = 16
    ) -> None:
        self.volts = volts
        self.hangs = False
        self.written: list[int] = []
        """Everything that was written to the config register."""
        self._waits = waits or _Hurry()
        self._bits = bits
        self._owner = 0
        self._pending: int | None = None
        self.reset()

    def reset(self) -> None:
        """As after power-up."""
        self._config, self._result, self._pointer = 0x0583, 0, 0
        self._pending, self._awake_s = None, 0.0

    def write(self, data: bytes) -> None:
        self._pointer = data[0]
        if len(data) == 1:
            return
        assert self._pointer == 1, "the thresholds are not for us"
        assert len(data) == 3
        word = int.from_bytes(data[1:], "big")
        self.written.append(word)
        busy = self._busy()
        self._config = word & 0x7FFF
        if word & 0x8000 and not busy:
            self._owner = threading.get_ident()
            self._pending = self._sampled()
            self._awake_s = self._waits.passed_s + 25e-6
            self._done_s = self._awake_s + SLOW / self.RATES[self._bits][word >> 5 & 7]

    def read(self, length: int) -> bytes:
        busy = self._busy()
        if self._pointer == 1:
            asleep = self._waits.passed_s < self._awake_s
            word = self._config | (0x8000 if asleep or not busy else 0)
        else:
            assert self._owner in (0, threading.get_ident()), "the result of another thread's conversion"
            word = self._result
        return word.to_bytes(2, "big")[:length]

    def _busy(self) -> bool:
        if self._pending is None:
            return False
        if self.hangs or self._waits.passed_s < self._done_s:
            return True
        self._result, self._pending = self._pending, None
        return False

    def _sampled(self) -> int:
        mux = self._config >> 12 & 7
        first, second = (mux - 4, None) if mux >= 4 else self.PAIRS[mux]
        at = self.volts if isinstance(self.volts, dict) else dict.fromkeys(range(4), self.volts)
        volts = at.get(first, 0.0) - (0 if second is None else at.get(second, 0.0))
        top = 1 << (self._bits - 1)
        code = round(volts / self.FULL_SCALE_V[self._config >> 9 & 7] * top)
        return (max(-top, min(code, top - 1)) << (16 - self._bits)) & 0xFFFF


class Mcp3421Chip:
    """MCP3421: ``volts`` at its input, to be set at any time.

    A result that nobody read stays, marked as new, when the chip is configured afresh.
    """

    def __init__(self, waits: Waiting | None = None, volts: float = 0.0) -> None:
        self.volts = volts
        self.hangs = False
        self.written: list[int] = []
        self._waits = waits or _Hurry()
        self.reset()

    def reset(self) -> None:
        """As after power-up: 12 bits, continuous."""
        self._configure(0x10)
        self._result, self._new = 0, False

    def write(self, data: bytes) -> None:
        assert len(data) == 1
        self.written.append(data[0])
        self.convert()
        self._configure(data[0] & 0x7F)

    def read(self, length: int) -> bytes:
        self.convert()
        status = self._config | (0x00 if self._new else 0x80)
        self._new = False
        width = 3 if self._bits == 18 else 2
        data = (self._result & ((1 << 8 * width) - 1)).to_bytes(width, "big")
        return (data + bytes([status]) * length)[:length]

    def _configure(self, config: int) -> None:
        self._config = config
        self._bits = 12 + 2 * (config >> 2 & 3)
        self._period_s = SLOW / {12: 240, 14: 60, 16: 15, 18: 3.75}[self._bits]
        self._next_s = self._waits.passed_s + self._period_s

    def convert(self) -> None:
        """Whatever was due by now."""
        if self.hangs or self._waits.passed_s < self._next_s:
            return
        top = 1 << (self._bits - 1)
        code = round(self.volts * (1 << (self._config & 3)) / 2.048 * top)
        self._result, self._new = max(-top, min(code, top - 1)), True
        periods = math.ceil((self._waits.passed_s - self._next_s) / self._period_s + 1e-9)
        self._next_s += periods * self._period_s


Plug = Callable[[int, FakeChip], None]
"""Wires a chip to /dev/i2c-1 at an address."""

SetVolts = Callable[[float], None]


def wired_anemometer(driver: str, waits: Waiting, plug: Plug) -> tuple[dict[str, Any], SetVolts]:
    """(settings of ``driver``, how to set the volts at its sensor): an Adafruit 1733, in a light wind."""
    return _wired(driver, waits, plug, {"model": "adafruit-1733"}, 0.7)


def wired_vane(driver: str, waits: Waiting, plug: Plug) -> tuple[dict[str, Any], SetVolts]:
    """(settings of ``driver``, how to set the volts at its wiper): a potentiometer on 2.0 V, at 180°."""
    return _wired(driver, waits, plug, {"model": "davis-6410", "supply_v": 2.0}, 1.0)


def _wired(
    driver: str, waits: Waiting, plug: Plug, table: dict[str, Any], volts: float
) -> tuple[dict[str, Any], SetVolts]:
    if driver == "mcp3421":
        single = Mcp3421Chip(waits, volts)
        plug(0x68, single)
        return table, lambda volts: setattr(single, "volts", volts)
    chip = Ads1x15Chip(waits, {2: volts}, {"ads1115": 16, "ads1015": 12}[driver])
    plug(0x48, chip)
    return {**table, "input": 2}, lambda volts: setattr(chip, "volts", {2: volts})
