"""I2C adapters below smbus2: a fake of the kernel's i2c-dev, at the level of its ioctl calls.

SMBus transfers are made of plain I2C messages, as the kernel's own emulation makes them
(drivers/i2c/i2c-core-smbus.c), so that byte order, block reads and raw reads are really exercised.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import itertools
import os
from collections.abc import Iterable
from typing import Any, Protocol

import pytest
import smbus2.smbus2 as smbus2

from hw.i2c import bus

_I2C_TIMEOUT = 0x0702
_M_RD = 0x0001
_real_ioctl = fcntl.ioctl


class FakeChip(Protocol):
    """A chip as the wires see it."""

    def write(self, data: bytes) -> None:
        """One write message; the first byte names a register on most chips."""

    def read(self, length: int) -> bytes:
        """One read message."""


class Registers:
    """A chip of byte registers with a pointer that rises by itself."""

    def __init__(self, content: dict[int, int] | None = None) -> None:
        self.content = content or {}
        self.pointer = 0

    def write(self, data: bytes) -> None:
        self.pointer = data[0]
        for offset, value in enumerate(data[1:]):
            self.content[self.pointer + offset] = value

    def read(self, length: int) -> bytes:
        return bytes(self.content.get(self.pointer + k, 0) for k in range(length))


class WordRegisters:
    """A chip of 16-bit registers, most significant byte first, with a pointer that stays."""

    def __init__(self, content: dict[int, int] | None = None) -> None:
        self.content = content or {}
        self.pointer = 0

    def write(self, data: bytes) -> None:
        self.pointer = data[0]
        if len(data) == 3:
            self.content[self.pointer] = int.from_bytes(data[1:], "big")

    def read(self, length: int) -> bytes:
        return (self.content.get(self.pointer, 0).to_bytes(2, "big") * length)[:length]


class FakeI2C:
    """The adapters of a machine. ``chips[bus][address]``; a bus that is no key does not exist."""

    def __init__(self) -> None:
        self.chips: dict[int, dict[int, FakeChip]] = {1: {}}
        self.open_error: int | None = None
        """errno of every attempt to open an adapter."""
        self.errors: dict[int, int] = {}
        """address -> errno of every transfer with it; 0 stands for all addresses."""
        self.absent_errno = errno.EREMOTEIO
        self.timeouts_10ms: list[int] = []
        self.transfers: list[tuple[int, int, tuple[tuple[str, bytes], ...]]] = []
        """(bus, address, messages): ("w", what was written) and ("r", what was read)."""
        self._fds: dict[int, list[int]] = {}  # fd -> [bus, slave address]
        self._next_fd = 1_000_000

    @property
    def open_fds(self) -> int:
        return len(self._fds)

    # --- what smbus2 calls

    def open(self, path: str, flags: int) -> int:
        bus = int(path.rpartition("-")[2])
        if self.open_error is not None:
            raise OSError(self.open_error, os.strerror(self.open_error))
        if bus not in self.chips:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        self._next_fd += 1
        self._fds[self._next_fd] = [bus, -1]
        return self._next_fd

    def close(self, fd: int) -> None:
        del self._fds[fd]

    def ioctl(self, fd: int, request: int, argument: Any = 0) -> int:
        if fd not in self._fds:
            return _real_ioctl(fd, request, argument)
        state = self._fds[fd]
        if request == smbus2.I2C_FUNCS:
            argument.value = 0x0EFF0001  # as i2c-bcm2835 says: plain I2C and all of SMBus but block reads
        elif request == _I2C_TIMEOUT:
            self.timeouts_10ms.append(argument)
        elif request == smbus2.I2C_SLAVE:
            state[1] = argument
        elif request == smbus2.I2C_SMBUS:
            self._smbus(state[0], state[1], argument)
        elif request == smbus2.I2C_RDWR:
            self._rdwr(state[0], argument)
        else:
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        return 0

    # --- messages

    def _rdwr(self, bus: int, data: Any) -> None:
        messages = [data.msgs[k] for k in range(data.nmsgs)]
        if any(m.flags & _M_RD for m in messages[:-1]):
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))  # as on a Raspberry Pi 0 to 4
        read = self._transfer(
            bus,
            messages[0].addr,
            [m.len if m.flags & _M_RD else ctypes.string_at(m.buf, m.len) for m in messages],
        )
        for message in messages:
            if message.flags & _M_RD:
                ctypes.memmove(message.buf, read, message.len)

    def _smbus(self, bus: int, address: int, message: Any) -> None:
        data, command = message.data.contents, message.command
        write, size = message.read_write == smbus2.I2C_SMBUS_WRITE, message.size
        if size == smbus2.I2C_SMBUS_BYTE:
            if write:
                self._transfer(bus, address, [bytes([command])])
            else:
                data.byte = self._transfer(bus, address, [1])[0]
        elif size == smbus2.I2C_SMBUS_BYTE_DATA:
            if write:
                self._transfer(bus, address, [bytes([command, data.byte])])
            else:
                data.byte = self._transfer(bus, address, [bytes([command]), 1])[0]
        elif size == smbus2.I2C_SMBUS_WORD_DATA:  # least significant byte first
            if write:
                self._transfer(bus, address, [bytes([command]) + data.word.to_bytes(2, "little")])
            else:
                data.word = int.from_bytes(self._transfer(bus, address, [bytes([command]), 2]), "little")
        elif size == smbus2.I2C_SMBUS_I2C_BLOCK_DATA:
            length = data.block[0]
            if write:
                self._transfer(bus, address, [bytes([command, *data.block[1 : 1 + length]])])
            else:
                for k, value in enumerate(self._transfer(bus, address, [bytes([command]), length])):
                    data.block[1 + k] = value
        else:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    def _transfer(self, bus: int, address: int, messages: Iterable[bytes | int]) -> bytes:
        """Bytes are written, a number is how many to read. What was read last."""
        code = self.errors.get(address, self.errors.get(0))
        if code is None and address not in self.chips[bus]:
            code = self.absent_errno
        if code is not None:
            raise OSError(code, os.strerror(code))
        chip, read, seen = self.chips[bus][address], b"", []
        for message in messages:
            if isinstance(message, bytes):
                chip.write(message)
                seen.append(("w", message))
            else:
                read = chip.read(message)
                assert len(read) == message
                seen.append(("r", read))
        self.transfers.append((bus, address, tuple(seen)))
        return read


class _Os:
    """What smbus2 uses of os."""

    O_RDWR = os.O_RDWR

    def __init__(self, fake: FakeI2C) -> None:
        self.open = fake.open
        self.close = fake.close


def install(monkeypatch: pytest.MonkeyPatch) -> FakeI2C:
    """A machine with one empty bus, /dev/i2c-1, for the length of a test. Nothing else is open.

    A bus that was stuck is tried again at once: whenever it asks for the time, a second has passed.
    """
    fake = FakeI2C()
    monkeypatch.setattr(bus, "_buses", {})
    monkeypatch.setattr(bus, "monotonic", itertools.count().__next__)
    monkeypatch.setattr(smbus2, "os", _Os(fake))
    monkeypatch.setattr(smbus2, "ioctl", fake.ioctl)
    monkeypatch.setattr(fcntl, "ioctl", fake.ioctl)
    return fake
