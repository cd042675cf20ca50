"""I2C adapters and the chips on them, over smbus2: the only importer of it.

Every chip of an adapter shares one lock, for a transfer is two calls of the kernel (address, then data), and
two threads that mix them talk to the wrong chip. What the kernel reports is turned into a HardwareError in
one place, which says what to check; the adapter is then opened afresh, so that whatever comes back is found.

On a stuck bus every transfer waits for the adapter's time-out, and those of many chips would keep their
threads waiting for each other: once a second is often enough to try.
"""

from __future__ import annotations

import errno
import math
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from ..board import JOIN_I2C, detect
from ..errors import BadSample, DeviceMisconfigured, DeviceUnavailable, HardwareError

T = TypeVar("T")

_I2C_TIMEOUT = 0x0702  # linux/i2c-dev.h; in units of 10 ms
_TIMEOUT_10MS = 5
"""The kernel's own second is too long. A block of 32 bytes with its address, register and address again is
35 · 9 bits, 32 ms on a bus slowed down to 10 kHz; the kernel may count one tick of 10 ms too few."""

_HOLD_S = 1.0

monotonic: Callable[[], float] = time.monotonic
"""Seconds by which a stuck bus is left alone; a test puts its own here."""

_NO_ANSWER = (DeviceUnavailable, "no answer from {chip}: is it wired and powered? i2cdetect -y {bus}")
_ERRORS: dict[int, tuple[type[HardwareError], str]] = {
    # a chip that does not acknowledge, by adapter: the Raspberry Pi's, others, i2c-stub
    errno.EREMOTEIO: _NO_ANSWER,
    errno.ENXIO: _NO_ANSWER,
    errno.ENODEV: _NO_ANSWER,
    errno.ETIMEDOUT: (
        DeviceUnavailable,
        "bus stuck at {chip}: a chip or a wire holds SDA or SCL low; check for a short circuit, "
        "switch the sensors off and on",
    ),
    errno.EIO: (
        DeviceUnavailable,
        "transfer with {chip} broke off: a loose wire, too long a cable, or clock stretching "
        "(a slower bus helps: dtparam=i2c_arm_baudrate=50000)",
    ),
    errno.EAGAIN: (DeviceUnavailable, "lost arbitration at {chip}: another master, or noise on the wires"),
    errno.EBUSY: (
        DeviceUnavailable,
        "{chip} belongs to a driver of the kernel: remove its dtoverlay from config.txt",
    ),
    errno.EBADMSG: (BadSample, "wrong checksum (PEC) from {chip}"),
    errno.EOPNOTSUPP: (DeviceMisconfigured, "the bus adapter cannot do what {chip} needs: {error}"),
}


class _Bus:
    """One adapter. Thread safety: any thread."""

    def __init__(self, number: int) -> None:
        self.path = f"/dev/i2c-{number}"
        self._number = number
        self._lock = threading.Lock()
        self._smbus: Any = None
        self._chip_locks: dict[int, threading.RLock] = {}
        self._closed = False
        self._timed_out_s: dict[int, float] = {}
        """Address -> when its last transfer timed out, until one comes to its end."""
        self._in_a_row: set[int] = set()
        """Addresses that timed out since a transfer, with whichever, came to its end."""
        self.users = 0

    def chip_lock(self, address: int) -> threading.RLock:
        with self._lock:
            return self._chip_locks.setdefault(address, threading.RLock())

    def transfer(self, address: int, do: Callable[[Any], T]) -> T:
        """What ``do`` returns, given the smbus2.SMBus. Raises HardwareError.

        For a second after a transfer timed out its chip is not asked, and where two did one after the other
        it is the bus that is stuck, and none is: what is raised is the same.
        """
        with self._lock:
            if self._closed:  # by its last user, while this transfer was on its way
                raise DeviceUnavailable(f"0x{address:02x} on {self.path} is closed")
            if self._held(address):
                raise self._failed(address, OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))
            try:
                if self._smbus is None:
                    self._smbus = self._open()
            except OSError as error:
                raise self._cannot_open(error) from error
            try:
                done = do(self._smbus)
            except OSError as error:
                self._close()
                if error.errno == errno.ETIMEDOUT:
                    self._timed_out_s[address] = monotonic()
                    self._in_a_row.add(address)
                else:
                    self._came_to_its_end(address)
                raise self._failed(address, error) from error
            self._came_to_its_end(address)
            return done

    def _came_to_its_end(self, address: int) -> None:
        self._timed_out_s.pop(address, None)
        self._in_a_row.clear()

    def _held(self, address: int) -> bool:
        """Whether the chip, or the whole bus, timed out just now."""
        now = monotonic()
        if now - max(self._timed_out_s.values(), default=-math.inf) >= _HOLD_S:
            self._in_a_row.clear()  # to be found out anew: one bad chip must not stand for the bus for good
        alone = now - self._timed_out_s.get(address, -math.inf) < _HOLD_S
        return alone or len(self._in_a_row) > 1

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._close()

    def _close(self) -> None:
        if self._smbus is not None:
            smbus, self._smbus = self._smbus, None
            with suppress(OSError):
                smbus.close()

    def _open(self) -> Any:
        import fcntl

        from smbus2 import SMBus

        smbus: Any = SMBus()
        try:
            smbus.open(self._number)
        except OSError:
            smbus.close()  # it was opened, and then did not say what it can do
            raise
        with suppress(OSError):  # an adapter that cannot be told keeps its own
            fcntl.ioctl(smbus.fd, _I2C_TIMEOUT, _TIMEOUT_10MS)
        return smbus

    def _cannot_open(self, error: OSError) -> HardwareError:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
            board = detect()
            if self._number == 1 and board is not None and board.raspberry_pi is not None:
                return DeviceUnavailable(
                    f"there is no {self.path}: is I2C enabled? (sudo raspi-config nonint do_i2c 0)"
                )
            return DeviceUnavailable(
                f"there is no {self.path} on this machine (i2cdetect -l lists the buses)"
            )
        if error.errno in (errno.EACCES, errno.EPERM):
            return DeviceUnavailable(f"no permission to open {self.path}: {JOIN_I2C}")
        return DeviceUnavailable(f"{self.path} cannot be opened: {error.strerror}")

    def _failed(self, address: int, error: OSError) -> HardwareError:
        kind, text = _ERRORS.get(
            error.errno or 0, (DeviceUnavailable, "transfer with {chip} failed: {error}")
        )
        chip = f"0x{address:02x} on {self.path}"
        return kind(text.format(chip=chip, bus=self._number, error=error.strerror or error))


_buses: dict[int, _Bus] = {}
_buses_lock = threading.Lock()


class Chip:
    """The chip at one address. Thread safety: any thread.

    Nothing is opened before the first transfer, and whatever failed may work the next time.
    """

    def __init__(self, bus: int, address: int) -> None:
        """``bus``: the adapter's number, 1 for /dev/i2c-1; ``address``: 7 bits."""
        self._address = address
        self._number = bus
        with _buses_lock:
            self._bus = _buses.setdefault(bus, _Bus(bus))
            self._bus.users += 1
        self.name = f"0x{address:02x} on {self._bus.path}"
        self.lock = self._bus.chip_lock(address)
        """For several transfers that belong together, where two drivers share a chip."""
        self._closed = False

    def read(self, length: int) -> bytes:
        """Read ``length`` bytes without naming a register."""
        from smbus2 import i2c_msg

        def do(smbus: Any) -> bytes:
            message = i2c_msg.read(self._address, length)
            smbus.i2c_rdwr(message)
            return bytes(message)

        return self._transfer(do)

    def write(self, data: bytes) -> None:
        """Write bytes as they are."""
        from smbus2 import i2c_msg

        self._transfer(lambda smbus: smbus.i2c_rdwr(i2c_msg.write(self._address, data)))

    def read_block(self, register: int, length: int) -> bytes:
        """``length`` bytes (at most 32) from ``register`` on, in one transfer."""
        return self._transfer(lambda smbus: bytes(smbus.read_i2c_block_data(self._address, register, length)))

    def write_byte(self, register: int, value: int) -> None:
        """One byte into ``register``."""
        self._transfer(lambda smbus: smbus.write_byte_data(self._address, register, value))

    def read_word(self, register: int) -> int:
        """The 16 bits of ``register``, most significant byte first (SMBus has it the other way round)."""
        return _swapped(self._transfer(lambda smbus: smbus.read_word_data(self._address, register)))

    def write_word(self, register: int, value: int) -> None:
        """16 bits into ``register``, most significant byte first."""
        self._transfer(lambda smbus: smbus.write_word_data(self._address, register, _swapped(value)))

    def close(self) -> None:
        """Let go; the last one closes the adapter. May be called twice."""
        with _buses_lock:
            if self._closed:
                return
            self._closed = True
            self._bus.users -= 1
            if self._bus.users == 0:
                del _buses[self._number]
                self._bus.close()

    def _transfer(self, do: Callable[[Any], T]) -> T:
        if self._closed:
            raise DeviceUnavailable(f"{self.name} is closed")
        return self._bus.transfer(self._address, do)


def _swapped(word: int) -> int:
    return (word & 0xFF) << 8 | word >> 8
