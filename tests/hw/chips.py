"""Fake I2C chips as the wires see them, after their data sheets. Each satisfies tests.i2c.FakeChip."""

from __future__ import annotations

import errno
import os

from tests.clock import FakeClock


def not_acknowledged() -> OSError:
    return OSError(errno.EREMOTEIO, os.strerror(errno.EREMOTEIO))


class Level:
    """No chip, but a wire that somehow acknowledges: every bit reads as SDA's level."""

    def __init__(self, byte: int) -> None:
        self.byte = byte

    def write(self, data: bytes) -> None:
        pass

    def read(self, length: int) -> bytes:
        return bytes([self.byte]) * length


class Fs3000Chip:
    """Renesas FS3000: five bytes, whenever it is read. Nothing is ever to be written to it."""

    def __init__(self, counts: int = 409) -> None:
        self.counts = counts
        self.noise = 0
        """Flips these bits of the low byte on its way."""

    def write(self, data: bytes) -> None:
        raise AssertionError(f"written to an FS3000: {data.hex(' ')}")

    def read(self, length: int) -> bytes:
        data = [self.counts >> 8, self.counts & 0xFF, 0x00, 0x01]
        checksum = -sum(data) & 0xFF
        data[1] ^= self.noise
        return bytes([checksum, *data])[:length]


def sdp_crc(data: bytes) -> int:
    """CRC-8, polynomial 0x31, initial value 0xFF, bit by bit from the definition."""
    bits = int.from_bytes(data, "big") << 8 ^ 0xFF << 8 * len(data)
    for shift in range(8 * len(data) - 1, -1, -1):
        if bits >> (shift + 8) & 1:
            bits ^= 0x131 << shift
    return bits


class SdpChip:
    """Sensirion SDP3x or SDP8xx.

    While it measures it takes no command but stop; it has its first value 8 ms after the start, and one that
    is a little wrong for 12 ms more; it takes no command for 0.5 ms after stop. Without a value it does not
    acknowledge a read. ``stops_idle``: whether it acknowledges a stop while it is idle.
    """

    def __init__(self, clock: FakeClock, scale: int = 60, stops_idle: bool = True) -> None:
        self.clock = clock
        self.scale = scale
        self.stops_idle = stops_idle
        self.pressure = 0
        """The word; pascal times scale."""
        self.temperature = 5000
        self.noise = bytes(9)
        """Flips these bits on their way."""
        self.started_s: float | None = None
        self.stopped_s = -1.0
        self.starts = 0

    def power_cycle(self) -> None:
        self.started_s = None

    def write(self, data: bytes) -> None:
        now = self.clock.monotonic()
        if now - self.stopped_s < 0.0005:
            raise not_acknowledged()
        if data == b"\x3f\xf9":
            if self.started_s is None and not self.stops_idle:
                raise not_acknowledged()
            self.started_s = None
            self.stopped_s = now
        elif self.started_s is not None:
            raise not_acknowledged()
        elif data == b"\x36\x15":
            self.started_s = now
            self.starts += 1
        else:
            raise AssertionError(f"unknown command {data.hex(' ')}")

    def read(self, length: int) -> bytes:
        age_s = -1.0 if self.started_s is None else self.clock.monotonic() - self.started_s
        if age_s < 0.008:
            raise not_acknowledged()
        pressure = self.pressure if age_s >= 0.020 else self.pressure * 21 // 20
        frame = b""
        for word in (pressure, self.temperature, self.scale):
            data = (word & 0xFFFF).to_bytes(2, "big")
            frame += data + bytes([sdp_crc(data)])
        return bytes(a ^ b for a, b in zip(frame, self.noise, strict=True))[:length]


class Pcf8583Chip:
    """NXP PCF8583 or PCF8593: sixteen registers, a pointer that rises by itself.

    The counters are latched when a read starts at one of them (locations 1 to 7); a read that starts at the
    control register sees them change. ``storm``: pulses that arrive between two bytes.
    """

    def __init__(self) -> None:
        self.registers = bytearray(16)
        self.pointer = 0
        self.storm = 0
        self.power_cycle()

    def power_cycle(self) -> None:
        """Control 0: a clock, at 00:00:00.00 on the 1st of January."""
        self.registers[:] = bytes([0, 0, 0, 0, 0, 1, 1, 0]) + bytes(8)

    @property
    def control(self) -> int:
        return self.registers[0]

    @property
    def count(self) -> int:
        return int(self.registers[3:0:-1].hex())

    @count.setter
    def count(self, value: int) -> None:
        self.registers[1:4] = bytes.fromhex(f"{value:06d}")[::-1]

    def pulses(self, number: int) -> None:
        """Closures of the anemometer: counted in event mode unless stopped; an overflow sets a flag."""
        if self.control & 0xB0 == 0x20:
            self.registers[0] |= (self.count + number) // 1_000_000
            self.count = (self.count + number) % 1_000_000

    def write(self, data: bytes) -> None:
        self.pointer = data[0]
        for value in data[1:]:
            self.registers[self.pointer] = value
            self.pointer = (self.pointer + 1) % len(self.registers)

    def read(self, length: int) -> bytes:
        latched = bytes(self.registers) if 1 <= self.pointer <= 7 else None
        out = []
        for _ in range(length):
            out.append((latched or self.registers)[self.pointer])
            self.pointer = (self.pointer + 1) % len(self.registers)
            if self.storm:
                self.pulses(self.storm)
        return bytes(out)


class As5600Chip:
    """ams AS5600. The pointer rises by itself, but stays on RAW ANGLE, ANGLE and MAGNITUDE.

    ``start``, ``stop``: programmed ZPOS and MPOS, which ANGLE is scaled to.
    """

    _STAYS = (0x0C, 0x0E, 0x1B)

    def __init__(self, angle: int = 0, start: int = 0, stop: int = 0) -> None:
        self.angle = angle
        self.status = 0x20
        self.agc = 128
        self.start, self.stop = start, stop
        self.pointer = 0

    def write(self, data: bytes) -> None:
        assert len(data) == 1, "nothing is ever to be written to an AS5600's registers"
        self.pointer = data[0]

    def read(self, length: int) -> bytes:
        scaled = (self.angle - self.start) % 4096
        if self.start != self.stop:
            scaled = min(scaled * 4096 // ((self.stop - self.start) % 4096), 4095)
        content = {0x0B: self.status, 0x1A: self.agc}
        for register, word in ((0x0C, self.angle), (0x0E, scaled), (0x1B, 2000)):
            content[register], content[register + 1] = word >> 8, word & 0xFF
        out = []
        pointer = self.pointer
        for k in range(length):
            if self.pointer in self._STAYS:
                out.append(content[self.pointer + k % 2])
            else:
                out.append(content.get(pointer, 0))
                pointer = (pointer + 1) % 256
        if self.pointer not in self._STAYS:
            self.pointer = pointer
        return bytes(out)


class As5048bChip:
    """ams AS5048B: a pointer that rises by itself, angle and magnitude as bits 13 to 6 and 5 to 0."""

    def __init__(self, angle: int = 0) -> None:
        self.angle = angle
        self.magnitude = 4000
        self.agc = 128
        self.diagnostics = 0x01
        self.spare = 0
        """The two bits of the low bytes that mean nothing."""
        self.pointer = 0

    def write(self, data: bytes) -> None:
        assert len(data) == 1, "nothing is ever to be written to an AS5048B's registers"
        self.pointer = data[0]

    def read(self, length: int) -> bytes:
        content = {0xFA: self.agc, 0xFB: self.diagnostics}
        for register, word in ((0xFC, self.magnitude), (0xFE, self.angle)):
            content[register], content[register + 1] = word >> 6, word & 0x3F | self.spare << 6
        out = []
        for _ in range(length):
            out.append(content.get(self.pointer, 0))
            self.pointer = (self.pointer + 1) % 256
        return bytes(out)
