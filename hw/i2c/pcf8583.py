"""PCF8583 and PCF8593 as event counters: they count an anemometer's pulses while nobody looks.

Registers: NXP, PCF8583 and PCF8593 data sheets. Register 0 is control and status, 1 to 3 hold six decimal
digits, the least significant first. They are latched when a read starts at one of them, hence one transfer
for all three, and another for the control register. The count goes on: speeds are made of differences.
Contacts that bounce need a filter in hardware, for the chip counts every edge.

There are no edges to time, so the frequency is counts over time, and one count more or less in a quarter of a
second would be metres a second. It is taken over the shortest span of whole reads that holds 10 counts (one
is 10 % then) or lasts 3 s, the window of a gust (WMO-No. 8).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ..anemometer import WindSample
from ..calibration import PulseCalibration
from ..clock import Clock
from ..errors import BadSample
from ..settings import setting
from .bus import Chip

_CONTROL, _COUNTS = 0x00, 0x01
_EVENT_MODE, _STOPPED = 0x20, 0x80
_FLAGS = 0x03  # alarm and timer: the chip sets them by itself
_MODULUS = 1_000_000

_ENOUGH_COUNTS = 10
_WINDOW_S = 3.0
_SHORTEST_S = 0.05
_HIGHEST_MPS = 113.3  # the highest gust ever measured (WMO, Barrow Island, 1996)


class PulseCounter:
    """Pulse anemometer on a PCF8583 or PCF8593 event counter (I2C)."""

    simulated = False
    has_direction = False

    @dataclass(frozen=True, kw_only=True)
    class Settings(PulseCalibration):
        """Which anemometer, and where its counter is."""

        bus: int = setting(1, doc="I2C adapter, 1 for /dev/i2c-1", minimum=0)
        address: int = setting(
            0x50, doc="address (PCF8583: 0x50 or 0x51; PCF8593: 0x51)", choices=(0x50, 0x51), hexadecimal=True
        )

    @classmethod
    def open(cls, settings: Settings, clock: Clock) -> PulseCounter:
        """Does not touch the bus."""
        return cls(settings, clock)

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._transfer, name = settings.transfer()
        self.calibration: str | None = name
        self._clock = clock
        self._chip = Chip(settings.bus, settings.address)
        self._count = 0  # the chip's, at the last read
        self._total = 0
        self._history: deque[tuple[float, int]] = deque()
        """(CLOCK_BOOTTIME seconds, total) of each read that the next speed may be taken from."""

    def read(self, now: float) -> WindSample:
        """The speed of the last counts. ``raw``: ``counts`` since the start, ``hertz``.

        Time is taken beside the transfer, for it may have had to wait for another chip's.

        Raises BadSample until there are counts enough, or 3 s; where the chip does not count, or was reset;
        DeviceUnavailable.
        """
        with self._chip.lock:
            digits = self._chip.read_block(_COUNTS, 3)
            at_s = self._clock.monotonic()
            control = self._chip.read_block(_CONTROL, 1)[0]  # after the counts: they were events, then
            count = _decimal(digits)
            if control & ~_FLAGS != _EVENT_MODE or count is None:
                self._configure()
                self._begin(self._clock.monotonic(), 0)
                seen = f"control 0x{control:02x}, counts {digits.hex(' ')}"
                raise BadSample(
                    f"the counter at {self._chip.name} was not counting ({seen}): was it just connected, "
                    "or has it lost power? Counting has begun"
                )
        self._add(at_s, count)
        hertz = self._frequency()
        return WindSample(now, self._transfer.speed(hertz), raw={"counts": self._total, "hertz": hertz})

    def _configure(self) -> None:
        """Count events from 0. Digits can be written while the counter is stopped."""
        self._chip.write_byte(_CONTROL, _EVENT_MODE | _STOPPED)
        for register in range(_COUNTS, _COUNTS + 3):
            self._chip.write_byte(register, 0)
        self._chip.write_byte(_CONTROL, _EVENT_MODE)

    def _begin(self, at_s: float, count: int) -> None:
        """A new base line: what was counted before it makes no speed."""
        self._count = count
        self._history.clear()
        self._history.append((at_s, self._total))

    def _add(self, at_s: float, count: int) -> None:
        """The counts since the last read. Raises BadSample where they tell nothing."""
        if not self._history:
            self._begin(at_s, count)
            raise BadSample(f"counting has begun at {self._chip.name}: a speed follows")
        since_s = at_s - self._history[-1][0]
        if since_s > _WINDOW_S:
            self._begin(at_s, count)
            raise BadSample(f"counting has begun again at {self._chip.name}, after {since_s:.1f} s unread")
        counted = (count - self._count) % _MODULUS
        fastest = self._transfer.speed((counted - 1) / max(since_s, _SHORTEST_S))
        if fastest > _HIGHEST_MPS or counted > _MODULUS // 2:
            before = self._count
            self._begin(at_s, count)
            raise BadSample(
                f"the counter at {self._chip.name} was reset, or its contacts bounce: {before} counts, then "
                f"{count} after {since_s:.2f} s"
            )
        self._count = count
        self._total += counted
        self._history.append((at_s, self._total))
        while len(self._history) > 2 and at_s - self._history[1][0] >= _WINDOW_S:
            self._history.popleft()

    def _frequency(self) -> float:
        """Hz over the shortest span that tells. Raises BadSample while there is none."""
        at_s, total = self._history[-1]
        for then_s, then in reversed(self._history):
            span_s = at_s - then_s
            if span_s > 0 and (total - then >= _ENOUGH_COUNTS or span_s >= _WINDOW_S):
                return (total - then) / span_s
        begun_s, begun = self._history[0]
        raise BadSample(
            f"counting has begun at {self._chip.name}: {total - begun} counts in {at_s - begun_s:.2f} s are "
            "too few for a speed"
        )

    def close(self) -> None:
        """Let go of the chip, which goes on counting. May be called twice."""
        self._chip.close()


def _decimal(digits: bytes) -> int | None:
    """Packed decimal digits, the least significant byte first, as a number; None if they are none."""
    text = digits[::-1].hex()
    return int(text) if text.isdecimal() else None
