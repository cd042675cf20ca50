"""I2C adapters: bytes and their order, one lock a bus, and what the kernel's errors mean."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
import smbus2.smbus2 as smbus2

from hw.board import Board
from hw.errors import BadSample, DeviceMisconfigured, DeviceUnavailable, HardwareError
from hw.i2c import bus
from hw.i2c.bus import Chip
from tests import i2c


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> i2c.FakeI2C:
    return i2c.install(monkeypatch)


class _Script:
    """A chip that answers every read with what is next, and remembers what was written."""

    def __init__(self, *answers: str) -> None:
        self.answers = [bytes.fromhex(answer) for answer in answers]
        self.written: list[str] = []

    def write(self, data: bytes) -> None:
        self.written.append(data.hex(" "))

    def read(self, length: int) -> bytes:
        answer = self.answers.pop(0)
        assert len(answer) == length
        return answer


# --- bytes


def test_a_raw_read_names_no_register(fake: i2c.FakeI2C) -> None:
    """One message, of the bytes as they come."""
    fake.chips[1][0x28] = chip = _Script("01 02 03 04 05")
    assert Chip(1, 0x28).read(5) == bytes([1, 2, 3, 4, 5])
    assert chip.written == []
    assert fake.transfers == [(1, 0x28, (("r", bytes([1, 2, 3, 4, 5])),))]


def test_a_raw_write_is_the_bytes_alone(fake: i2c.FakeI2C) -> None:
    """One message, none read."""
    fake.chips[1][0x25] = chip = _Script()
    Chip(1, 0x25).write(bytes([0x36, 0x15]))
    assert chip.written == ["36 15"]


def test_a_block_is_read_in_one_transfer(fake: i2c.FakeI2C) -> None:
    """Its register is written, then it is read without letting go of the bus."""
    fake.chips[1][0x36] = i2c.Registers({0x0B: 0x20, 0x0C: 0x04, 0x0D: 0x01})
    assert Chip(1, 0x36).read_block(0x0B, 3) == bytes([0x20, 0x04, 0x01])
    assert fake.transfers == [(1, 0x36, (("w", b"\x0b"), ("r", b"\x20\x04\x01")))]


def test_a_block_may_have_32_bytes(fake: i2c.FakeI2C) -> None:
    """The kernel's limit."""
    fake.chips[1][0x50] = i2c.Registers({k: k for k in range(40)})
    assert Chip(1, 0x50).read_block(2, 32) == bytes(range(2, 34))


def test_a_byte_is_written_to_its_register(fake: i2c.FakeI2C) -> None:
    """Register first."""
    fake.chips[1][0x50] = chip = _Script()
    Chip(1, 0x50).write_byte(0x00, 0x20)
    assert chip.written == ["00 20"]


def test_words_are_most_significant_byte_first(fake: i2c.FakeI2C) -> None:
    """On the wires, both ways, whatever SMBus thinks of it."""
    fake.chips[1][0x48] = chip = _Script("19 00")
    assert Chip(1, 0x48).read_word(0) == 0x1900
    Chip(1, 0x48).write_word(1, 0xC583)
    assert chip.written == ["00", "01 c5 83"]


def test_buses_are_told_apart(fake: i2c.FakeI2C) -> None:
    """The same address on two of them is two chips."""
    fake.chips = {1: {0x48: _Script("00 01")}, 20: {0x48: _Script("00 02")}}
    assert [Chip(number, 0x48).read_word(0) for number in (20, 1)] == [2, 1]
    assert Chip(20, 0x48).name == "0x48 on /dev/i2c-20"


# --- the adapter


def test_an_adapter_is_opened_once_for_all_its_chips(fake: i2c.FakeI2C) -> None:
    """At the first transfer, and not before."""
    fake.chips[1] = {address: i2c.Registers() for address in (0x40, 0x41)}
    one, other = Chip(1, 0x40), Chip(1, 0x41)
    assert fake.open_fds == 0
    for chip in (one, other, one):
        chip.read_block(0, 1)
    assert fake.open_fds == 1


def test_a_stuck_bus_is_not_waited_for_long(fake: i2c.FakeI2C) -> None:
    """The kernel is told to give up after 50 ms."""
    fake.chips[1][0x40] = i2c.Registers()
    Chip(1, 0x40).read_block(0, 1)
    assert fake.timeouts_10ms == [5]


def test_an_adapter_that_takes_no_timeout_is_used(fake: i2c.FakeI2C, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps its own."""

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))

    monkeypatch.setattr(fcntl, "ioctl", refuse)
    fake.chips[1][0x40] = i2c.Registers({0: 7})
    assert Chip(1, 0x40).read_block(0, 1) == b"\x07"


def test_the_last_chip_closes_the_adapter(fake: i2c.FakeI2C) -> None:
    """Closing one twice does not count for the other."""
    fake.chips[1] = {address: i2c.Registers() for address in (0x40, 0x41)}
    one, other = Chip(1, 0x40), Chip(1, 0x41)
    one.read_block(0, 1)
    one.close()
    one.close()
    assert fake.open_fds == 1
    other.read_block(0, 1)
    other.close()
    assert fake.open_fds == 0


def test_a_closed_chip_transfers_nothing(fake: i2c.FakeI2C) -> None:
    """And does not open the adapter again."""
    fake.chips[1][0x40] = i2c.Registers()
    chip = Chip(1, 0x40)
    chip.close()
    with pytest.raises(DeviceUnavailable, match="0x40 on /dev/i2c-1 is closed"):
        chip.read_block(0, 1)
    assert fake.open_fds == 0


def test_a_transfer_on_its_way_does_not_open_an_adapter_that_was_closed(fake: i2c.FakeI2C) -> None:
    """Close may come from another thread, after the chip was asked and before the bus was."""
    fake.chips[1][0x40] = i2c.Registers()
    chip = Chip(1, 0x40)
    chip.read_block(0, 1)
    adapter = bus._buses[1]
    chip.close()
    with pytest.raises(DeviceUnavailable, match="0x40 on /dev/i2c-1 is closed"):
        adapter.transfer(0x40, lambda smbus: smbus.read_byte(0x40))
    assert fake.open_fds == 0


def test_an_adapter_can_be_used_again_after_it_was_closed(fake: i2c.FakeI2C) -> None:
    """By the next chip."""
    fake.chips[1][0x40] = i2c.Registers({0: 7})
    Chip(1, 0x40).close()
    assert Chip(1, 0x40).read_block(0, 1) == b"\x07"


def test_chips_at_one_address_share_a_lock(fake: i2c.FakeI2C) -> None:
    """Two drivers of a chip keep their transfers together; other chips are free meanwhile."""
    one, same, another = Chip(1, 0x48), Chip(1, 0x48), Chip(1, 0x49)
    assert one.lock is same.lock
    assert one.lock is not another.lock
    assert Chip(2, 0x48).lock is not one.lock


# --- errors


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (errno.EREMOTEIO, DeviceUnavailable, "no answer from CHIP: is it wired and powered? i2cdetect -y 1"),
        (errno.ENXIO, DeviceUnavailable, "no answer from CHIP: is it wired and powered? i2cdetect -y 1"),
        (errno.ENODEV, DeviceUnavailable, "no answer from CHIP: is it wired and powered? i2cdetect -y 1"),
        (errno.ETIMEDOUT, DeviceUnavailable, "bus stuck at CHIP: a chip or a wire holds SDA or SCL low"),
        (errno.EIO, DeviceUnavailable, "transfer with CHIP broke off: a loose wire"),
        (errno.EAGAIN, DeviceUnavailable, "lost arbitration at CHIP: another master, or noise"),
        (errno.EBUSY, DeviceUnavailable, "CHIP belongs to a driver of the kernel: remove its dtoverlay"),
        (errno.EBADMSG, BadSample, "wrong checksum (PEC) from CHIP"),
        (errno.EOPNOTSUPP, DeviceMisconfigured, "cannot do what CHIP needs: Operation not supported"),
        (errno.EINVAL, DeviceUnavailable, "transfer with CHIP failed: Invalid argument"),
    ],
)
def test_an_error_of_a_transfer_says_what_to_check(
    fake: i2c.FakeI2C, code: int, kind: type[HardwareError], words: str
) -> None:
    """Each errno by name, with the chip and its bus; the kernel's own error stays its cause."""
    fake.chips[1][0x28] = i2c.Registers()
    fake.errors[0x28] = code
    with pytest.raises(HardwareError) as caught:
        Chip(1, 0x28).read(1)
    assert type(caught.value) is kind
    assert words.replace("CHIP", "0x28 on /dev/i2c-1") in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == code


@pytest.mark.parametrize(
    "transfer",
    [
        lambda chip: chip.read(1),
        lambda chip: chip.write(b"\x00"),
        lambda chip: chip.read_block(0, 1),
        lambda chip: chip.read_word(0),
        lambda chip: chip.write_byte(0, 0),
        lambda chip: chip.write_word(0, 0),
    ],
)
def test_no_transfer_lets_an_oserror_through(fake: i2c.FakeI2C, transfer: Callable[[Chip], object]) -> None:
    """Every kind of transfer has the same words for a chip that is absent."""
    with pytest.raises(DeviceUnavailable, match="no answer from 0x28 on /dev/i2c-1"):
        transfer(Chip(1, 0x28))


def test_an_adapter_that_a_kernel_driver_owns_at_an_address_is_told(
    fake: i2c.FakeI2C, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel already refuses to name the address."""

    def refuse(fd: int, request: int, argument: Any = 0) -> int:
        if request == smbus2.I2C_SLAVE:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        return fake.ioctl(fd, request, argument)

    monkeypatch.setattr(smbus2, "ioctl", refuse)
    fake.chips[1][0x48] = i2c.WordRegisters()
    with pytest.raises(DeviceUnavailable, match="belongs to a driver of the kernel"):
        Chip(1, 0x48).read_word(0)


def test_an_adapter_is_opened_afresh_after_an_error(fake: i2c.FakeI2C) -> None:
    """So that one that was unplugged is found again; no file stays open on the way."""
    fake.chips[1][0x28] = i2c.Registers({0: 7})
    chip = Chip(1, 0x28)
    chip.read_block(0, 1)
    for _ in range(20):
        fake.errors[0x28] = errno.EIO
        with pytest.raises(DeviceUnavailable):
            chip.read_block(0, 1)
        assert fake.open_fds == 0
        fake.errors.clear()
        assert chip.read_block(0, 1) == b"\x07"
        assert fake.open_fds == 1
    assert len(fake.timeouts_10ms) == 21


def test_a_failed_chip_does_not_stop_its_neighbour(fake: i2c.FakeI2C) -> None:
    """They share the adapter, not the fault."""
    fake.chips[1] = {0x28: i2c.Registers(), 0x29: i2c.Registers({0: 7})}
    fake.errors[0x28] = errno.EREMOTEIO
    bad, good = Chip(1, 0x28), Chip(1, 0x29)
    for _ in range(3):
        with pytest.raises(DeviceUnavailable, match="0x28"):
            bad.read_block(0, 1)
        assert good.read_block(0, 1) == b"\x07"


PI = Board("Raspberry Pi 4 Model B", ("raspberrypi,4-model-b", "brcm,bcm2711"))
ROCK = Board("Radxa ROCK 4", ("radxa,rockpi4", "rockchip,rk3399"))


@pytest.mark.parametrize(
    ("number", "board", "words"),
    [
        (1, PI, "there is no /dev/i2c-1: is I2C enabled? (sudo raspi-config nonint do_i2c 0)"),
        (3, PI, "there is no /dev/i2c-3 on this machine (i2cdetect -l lists the buses)"),
        (1, ROCK, "there is no /dev/i2c-1 on this machine (i2cdetect -l lists the buses)"),
        (1, None, "there is no /dev/i2c-1 on this machine (i2cdetect -l lists the buses)"),
    ],
)
def test_a_bus_that_is_missing_says_how_to_get_it(
    fake: i2c.FakeI2C, monkeypatch: pytest.MonkeyPatch, number: int, board: Board | None, words: str
) -> None:
    """By what the machine has to enable it; and it is used once it is there."""
    monkeypatch.setattr(bus, "detect", lambda: board)
    fake.chips.clear()
    chip = Chip(number, 0x28)
    with pytest.raises(DeviceUnavailable) as caught:
        chip.read_block(0, 1)
    assert str(caught.value) == words
    fake.chips[number] = {0x28: i2c.Registers({0: 7})}
    assert chip.read_block(0, 1) == b"\x07"


# --- a stuck bus


class _Tries:
    """Counts the transfers that reach the kernel, at a time that is set by hand."""

    def __init__(self, fake: i2c.FakeI2C, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[int] = []
        """Their addresses."""
        self.time_s = 1000.0
        real = fake._transfer

        def transfer(number: int, address: int, messages: Any) -> bytes:
            self.made.append(address)
            return real(number, address, messages)

        monkeypatch.setattr(fake, "_transfer", transfer)
        monkeypatch.setattr(bus, "monotonic", lambda: self.time_s)


@pytest.fixture
def tries(fake: i2c.FakeI2C, monkeypatch: pytest.MonkeyPatch) -> _Tries:
    return _Tries(fake, monkeypatch)


def test_a_stuck_bus_is_tried_twice_a_second(fake: i2c.FakeI2C, tries: _Tries) -> None:
    """However many chips are on it: 16, four times a second. Each is told the same, by its own name."""
    addresses = range(0x40, 0x50)
    fake.chips[1] = {address: i2c.Registers({0: 7}) for address in addresses}
    chips = [Chip(1, address) for address in addresses]
    fake.errors[0] = errno.ETIMEDOUT
    for step in range(12):
        tries.time_s = 1000.0 + step / 4
        for chip in chips:
            with pytest.raises(DeviceUnavailable) as caught:
                chip.read_block(0, 1)
            assert str(caught.value).startswith(
                f"bus stuck at {chip.name}: a chip or a wire holds SDA or SCL"
            )
    assert len(tries.made) == 2 + 2 + 2
    fake.errors.clear()
    tries.time_s += 1.0
    assert {chip.read_block(0, 1) for chip in chips} == {b"\x07"}


def test_one_chip_that_times_out_does_not_hold_up_its_neighbours(fake: i2c.FakeI2C, tries: _Tries) -> None:
    """It is the bus that is stuck only where another chip's transfer times out as well."""
    fake.chips[1] = {0x28: i2c.Registers(), 0x29: i2c.Registers({0: 7})}
    fake.errors[0x28] = errno.ETIMEDOUT
    bad, good = Chip(1, 0x28), Chip(1, 0x29)
    for _ in range(3):
        with pytest.raises(DeviceUnavailable, match="stuck"):
            bad.read_block(0, 1)
        assert good.read_block(0, 1) == b"\x07"


def test_a_chip_that_stays_bad_does_not_stand_for_the_bus(fake: i2c.FakeI2C, tries: _Tries) -> None:
    """Another that timed out with it once is read again, and so are all the others, though it asks first."""
    fake.chips[1] = {address: i2c.Registers({0: 7}) for address in (0x28, 0x29, 0x2A)}
    bad, once, good = (Chip(1, address) for address in (0x28, 0x29, 0x2A))
    fake.errors |= {0x28: errno.ETIMEDOUT, 0x29: errno.ETIMEDOUT}
    answered = {once: 0, good: 0}
    for step in range(40):
        tries.time_s = 1000.0 + step / 4
        with pytest.raises(DeviceUnavailable, match="stuck"):
            bad.read_block(0, 1)
        for chip in (once, good):
            with contextlib.suppress(DeviceUnavailable):
                answered[chip] += chip.read_block(0, 1) == b"\x07"
        fake.errors.pop(0x29, None)
    assert min(answered.values()) >= 35
    assert tries.made.count(0x28) == 10


def test_a_chip_alone_on_a_stuck_bus_is_tried_once_a_second(fake: i2c.FakeI2C, tries: _Tries) -> None:
    """And read as soon as a try succeeds."""
    fake.chips[1][0x28] = i2c.Registers({0: 7})
    fake.errors[0x28] = errno.ETIMEDOUT
    chip = Chip(1, 0x28)
    for step in range(8):
        tries.time_s = 1000.0 + step / 4
        with pytest.raises(DeviceUnavailable, match="stuck"):
            chip.read_block(0, 1)
    assert len(tries.made) == 2
    fake.errors.clear()
    tries.time_s += 1.0
    for _ in range(2):
        assert chip.read_block(0, 1) == b"\x07"


@pytest.mark.parametrize("code", [errno.EREMOTEIO, errno.EIO, errno.EAGAIN, errno.ENXIO])
def test_other_errors_hold_nothing_back(fake: i2c.FakeI2C, tries: _Tries, code: int) -> None:
    """They take no time: every read is tried."""
    fake.chips[1] = {0x28: i2c.Registers(), 0x29: i2c.Registers()}
    fake.errors[0] = code
    for address in (0x28, 0x29, 0x28, 0x29):
        with pytest.raises(DeviceUnavailable):
            Chip(1, address).read(1)
    assert tries.made == [0x28, 0x29, 0x28, 0x29]


# --- opening


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM])
def test_a_bus_without_permission_names_the_group(fake: i2c.FakeI2C, code: int) -> None:
    """And the command that joins it."""
    fake.open_error = code
    with pytest.raises(DeviceUnavailable, match=r"permission to open /dev/i2c-1: join the group i2c \(sudo"):
        Chip(1, 0x28).read(1)


def test_a_bus_that_cannot_be_opened_says_why(fake: i2c.FakeI2C) -> None:
    """In the system's words, where there are no better ones."""
    fake.open_error = errno.EMFILE
    with pytest.raises(DeviceUnavailable, match="/dev/i2c-1 cannot be opened: Too many open files"):
        Chip(1, 0x28).read(1)


def test_an_adapter_that_breaks_while_it_is_opened_leaves_no_file_open(
    fake: i2c.FakeI2C, monkeypatch: pytest.MonkeyPatch
) -> None:
    """smbus2 first opens the file, then asks what the adapter can do."""

    def refuse(fd: int, request: int, argument: Any = 0) -> int:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    monkeypatch.setattr(smbus2, "ioctl", refuse)
    for _ in range(3):
        with pytest.raises(DeviceUnavailable, match="there is no /dev/i2c-1"):
            Chip(1, 0x28).read(1)
    assert fake.open_fds == 0


# --- threads


class _Gate:
    """A bus's lock that tells when the thread called "other" wants it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.wanted = threading.Event()

    def __enter__(self) -> None:
        if threading.current_thread().name == "other":
            self.wanted.set()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_two_threads_never_talk_to_each_others_chips(
    fake: i2c.FakeI2C, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transfer is two calls of the kernel, address and data; no other thread comes in between."""
    fake.chips[1] = {0x40: i2c.Registers({0: 0x40}), 0x41: i2c.Registers({0: 0x41})}
    one, another = Chip(1, 0x40), Chip(1, 0x41)
    bus._buses[1]._lock = gate = _Gate()  # type: ignore[assignment]
    read: list[bytes] = []
    other = threading.Thread(target=lambda: read.append(another.read_block(0, 1)), name="other")
    calls: list[tuple[str, int]] = []

    def ioctl(fd: int, request: int, argument: Any = 0) -> int:
        calls.append((threading.current_thread().name, request))
        result = fake.ioctl(fd, request, argument)
        if request == smbus2.I2C_SLAVE and not other.ident:
            other.start()
            assert gate.wanted.wait(10), "another transfer came between address and data"
        return result

    monkeypatch.setattr(smbus2, "ioctl", ioctl)
    assert one.read_block(0, 1) == b"\x40"
    other.join(10)
    assert read == [b"\x41"]
    main = threading.current_thread().name
    assert [call for call in calls if call[1] != smbus2.I2C_FUNCS] == [
        (main, smbus2.I2C_SLAVE),
        (main, smbus2.I2C_SMBUS),
        ("other", smbus2.I2C_SLAVE),
        ("other", smbus2.I2C_SMBUS),
    ]


def test_a_chips_lock_is_free_for_the_thread_that_holds_it(fake: i2c.FakeI2C) -> None:
    """Transfers that belong together are made while it is held."""
    fake.chips[1][0x48] = i2c.WordRegisters()
    chip = Chip(1, 0x48)
    with chip.lock, chip.lock:
        chip.write_word(1, 0xC583)
        assert chip.read_word(1) == 0xC583
