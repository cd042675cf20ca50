"""Both sources of edges keep one contract; each has its own ways to lose them, and to fail."""

from __future__ import annotations

import enum
import errno
import importlib
import os
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import gpiozero
import gpiozero.pins.mock
import pytest

from hw import edge_source, gpio, gpiod_edges
from hw.edge_source import EdgeSource
from hw.edges import GpiodEdges, GpiozeroEdges, open_edges
from hw.errors import DeviceMisconfigured, DeviceUnavailable, HardwareError
from hw.pulse import Edge
from tests.clock import FakeClock

PIN = 17
LINE = gpio.GpioLine("/dev/gpiochip0", PIN)
BEHIND_S = 400.0
"""CLOCK_MONOTONIC stands behind CLOCK_BOOTTIME by the time of all suspends."""


class Kernel:
    """gpiod's module over one chip of lines, with the kernel's clock: as much as GpiodEdges uses of it."""

    class Type(enum.Enum):
        RISING_EDGE = 1
        FALLING_EDGE = 2

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.behind_s = BEHIND_S
        self.requests: dict[int, Request] = {}
        self.error: Exception | None = None
        self.settings: Any = None
        self.line = types.SimpleNamespace(
            Edge=enum.Enum("Edge", "NONE RISING FALLING BOTH"),
            Bias=enum.Enum("Bias", "AS_IS DISABLED PULL_UP PULL_DOWN"),
            Direction=enum.Enum("Direction", "INPUT OUTPUT"),
            Clock=enum.Enum("Clock", "MONOTONIC REALTIME"),
        )
        self.EdgeEvent = types.SimpleNamespace(Type=self.Type)
        self.LineSettings = types.SimpleNamespace
        self.consumer = "masthead"

    def monotonic(self) -> float:
        return self.clock.monotonic() - self.behind_s

    def request_lines(
        self,
        path: str,
        config: dict[int, Any],
        consumer: str | None = None,
        event_buffer_size: int | None = None,
    ) -> Request:
        assert path == LINE.path
        assert event_buffer_size == 1024
        [(offset, self.settings)] = config.items()
        if self.error:
            raise self.error
        if offset in self.requests:
            raise OSError(errno.EBUSY, "Device or resource busy")
        self.consumer = consumer or ""
        self.requests[offset] = Request(self, offset)
        return self.requests[offset]

    def Chip(self, path: str) -> Any:
        return _Opened(self.consumer)


@dataclass
class _Opened:
    consumer: str

    def __enter__(self) -> _Opened:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def get_line_info(self, offset: int) -> _Opened:
        return self


@dataclass
class Request:
    """A line request: its descriptor is readable while there are events."""

    kernel: Kernel
    offset: int
    events: list[Any] = field(default_factory=list)
    seqno: int = 0
    error: Exception | None = None

    def __post_init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK)
        self._lock = threading.Lock()

    def edge(self, rising: bool, lost: int = 0) -> None:
        wanted = self.kernel.settings.edge_detection.name
        if wanted not in ("BOTH", "RISING" if rising else "FALLING"):
            return
        self.seqno = (self.seqno + 1 + lost) % 2**32
        kind = Kernel.Type.RISING_EDGE if rising else Kernel.Type.FALLING_EDGE
        event = types.SimpleNamespace(
            event_type=kind, timestamp_ns=round(self.kernel.monotonic() * 1e9), line_seqno=self.seqno
        )
        with self._lock:
            self.events.append(event)
            os.eventfd_write(self.fd, 1)

    def read_edge_events(self, max_events: int | None = None) -> list[Any]:
        if self.error:
            raise self.error
        with self._lock:
            events, self.events = self.events[:max_events], self.events[max_events:]
            if not self.events:
                os.eventfd_read(self.fd)
        return events

    def fail(self, error: Exception) -> None:
        with self._lock:
            self.error = error
            os.eventfd_write(self.fd, 1)

    def release(self) -> None:
        del self.kernel.requests[self.offset]
        os.close(self.fd)


@dataclass
class Bench:
    """A line that a test moves, and what opens a source on it."""

    clock: FakeClock
    name: str
    open: Callable[..., EdgeSource]
    edge: Callable[[bool], None]
    suspend: Callable[[float], None]
    """Seconds by which the other clock falls behind."""


def taken(source: EdgeSource, count: int) -> list[Edge]:
    """``count`` edges, which a thread may still be bringing."""
    edges: list[Edge] = []
    give_up = time.monotonic() + 10
    while len(edges) < count and time.monotonic() < give_up:
        edges += source.take()
        os.sched_yield()
    assert len(edges) == count
    return edges


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def kernel(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel(clock)
    monkeypatch.setattr(gpiod_edges, "monotonic", kernel.monotonic)
    return kernel


@pytest.fixture
def factory(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(gpiozero.pins.mock, "monotonic", lambda: clock.monotonic() - BEHIND_S)
    factory = gpiozero.pins.mock.MockFactory()
    yield factory
    factory.reset()


@pytest.fixture(params=["gpiod", "gpiozero"])
def bench(
    request: pytest.FixtureRequest, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    opened: list[EdgeSource] = []
    settings: dict[str, Any] = {"pull": "up", "both": True, "active_low": True, "clock": clock}
    if request.param == "gpiod":
        kernel: Kernel = request.getfixturevalue("kernel")

        def open_source(**changes: Any) -> EdgeSource:
            opened.append(GpiodEdges(LINE, gpiod=kernel, **{**settings, **changes}))
            return opened[-1]

        def suspend(seconds: float) -> None:
            kernel.behind_s += seconds

        def edge(rising: bool) -> None:
            kernel.requests[PIN].edge(rising)

        yield Bench(clock, "gpiod", open_source, edge, suspend)
    else:
        factory: Any = request.getfixturevalue("factory")
        behind = [BEHIND_S]
        monkeypatch.setattr(gpiozero.pins.mock, "monotonic", lambda: clock.monotonic() - behind[0])

        def open_source(**changes: Any) -> EdgeSource:
            opened.append(GpiozeroEdges(PIN, factory, **{**settings, **changes}))
            return opened[-1]

        def move(rising: bool) -> None:
            pin = factory.pin(f"GPIO{PIN}")
            pin.drive_high() if rising else pin.drive_low()

        def suspend(seconds: float) -> None:
            behind[0] += seconds

        yield Bench(clock, "gpiozero", open_source, move, suspend)
    for source in opened:
        source.close()


# --- both


def test_edges_come_in_order_with_their_levels_and_times(bench: Bench) -> None:
    """Each once, stamped by the given clock."""
    source = bench.open()
    assert source.name == bench.name
    expected = []
    for k in range(10):
        bench.clock.advance(0.0125)
        bench.edge(k % 2 == 1)
        expected.append((bench.clock.monotonic(), k % 2 == 1))
    edges = taken(source, 10)
    assert [edge.time_s for edge in edges] == pytest.approx([t for t, _ in expected], abs=1e-6)
    assert [edge.rising for edge in edges] == [rising for _, rising in expected]
    assert source.take() == []
    assert source.lost == 0


@pytest.mark.parametrize("active_low", [True, False])
def test_one_edge_mode_gives_the_active_edges_only(bench: Bench, active_low: bool) -> None:
    """Falling to a low active level, rising to a high one; and the others are not lost."""
    source = bench.open(both=False, active_low=active_low)
    for k in range(6):
        bench.clock.advance(0.01)
        bench.edge(k % 2 == 1)
    assert [edge.rising for edge in taken(source, 3)] == [not active_low] * 3
    assert source.lost == 0


def test_the_clocks_are_compared_steadily(bench: Bench) -> None:
    """An interruption between reading the two moves no edge; a suspend does."""
    source = bench.open()
    bench.edge(False)
    [first] = taken(source, 1)
    bench.clock.advance(1)
    bench.suspend(0.01)
    bench.edge(True)
    [second] = taken(source, 1)
    assert second.time_s - first.time_s == pytest.approx(0.99, abs=1e-6)
    bench.suspend(60)
    bench.clock.advance(1)
    bench.edge(False)
    [third] = taken(source, 1)
    assert third.time_s == pytest.approx(bench.clock.monotonic(), abs=1e-6)


def test_the_time_that_nobody_listened_to_is_told(bench: Bench) -> None:
    """None since the opening, until the machine sleeps: silence up to its waking is no calm."""
    source = bench.open()
    opened_s = bench.clock.monotonic()
    for _ in range(4):
        bench.clock.advance(0.25)
        assert source.take() == []
        assert source.since_s == opened_s
    bench.clock.advance(0.75)
    bench.suspend(0.5)
    assert source.take() == []
    assert source.since_s == bench.clock.monotonic()


def test_a_line_has_one_owner(bench: Bench) -> None:
    """The second is told that it is in use; after the first is closed it is free."""
    first = bench.open()
    with pytest.raises(DeviceUnavailable, match="GPIO 17 is in use by "):
        bench.open()
    first.close()
    second = bench.open()
    bench.edge(False)
    assert taken(second, 1)[0].rising is False


def test_a_closed_source_says_so(bench: Bench) -> None:
    """Closing twice is nothing; taking from a closed source is an error."""
    source = bench.open()
    bench.edge(False)
    source.close()
    source.close()
    with pytest.raises(DeviceUnavailable, match=r"GPIO 17.* closed"):
        source.take()


def test_what_nobody_takes_is_counted_as_lost(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stuck reader does not fill the memory, and learns how much it missed."""
    monkeypatch.setattr(edge_source, "QUEUED", 4)
    source = bench.open()
    for k in range(11):
        bench.clock.advance(0.01)
        bench.edge(k % 2 == 1)
    give_up = time.monotonic() + 10
    while bench.name == "gpiod" and source._queue._put < 11 and time.monotonic() < give_up:  # type: ignore[attr-defined]
        os.sched_yield()
    edges = source.take()
    assert [edge.lost for edge in edges] == [7, 0, 0, 0]
    bench.clock.advance(0.01)
    bench.edge(True)
    assert taken(source, 1)[0].lost == 0
    assert source.lost == 7


# --- gpiod


def test_gaps_in_the_sequence_are_lost_edges(kernel: Kernel, clock: FakeClock) -> None:
    """The kernel numbers what it could not keep, also over the end of its 32 bits."""
    source = GpiodEdges(LINE, pull="up", both=True, active_low=True, clock=clock, gpiod=kernel)
    kernel.requests[PIN].edge(False, lost=3)
    kernel.requests[PIN].edge(True)
    assert [edge.lost for edge in taken(source, 2)] == [3, 0]
    kernel.requests[PIN].seqno = source._last_seqno = 2**32 - 2
    for lost in (0, 0, 1):
        kernel.requests[PIN].edge(False, lost=lost)
    assert [edge.lost for edge in taken(source, 3)] == [0, 0, 1]
    assert source.lost == 4
    source.close()


@pytest.mark.parametrize(("pull", "bias"), [("up", "PULL_UP"), ("down", "PULL_DOWN"), ("none", "DISABLED")])
def test_the_line_is_requested_as_configured(kernel: Kernel, clock: FakeClock, pull: str, bias: str) -> None:
    """An input with the resistor that was asked for, stamped by the clock we compare with."""
    GpiodEdges(LINE, pull=pull, both=True, active_low=True, clock=clock, gpiod=kernel).close()
    assert kernel.settings.bias.name == bias
    assert kernel.settings.direction.name == "INPUT"
    assert kernel.settings.edge_detection.name == "BOTH"
    assert kernel.settings.event_clock.name == "MONOTONIC"


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (OSError(errno.EACCES, "Permission denied"), DeviceUnavailable, "join the group gpio"),
        (OSError(errno.ENXIO, "No such device or address"), DeviceMisconfigured, "choose another pin"),
        (OSError(errno.EIO, "Input/output error"), DeviceUnavailable, "cannot be opened: Input/output error"),
        (ValueError("line offset of out range"), DeviceMisconfigured, "/dev/gpiochip0 has no GPIO 17"),
    ],
)
def test_why_a_line_cannot_be_had_is_told(
    kernel: Kernel, clock: FakeClock, error: Exception, kind: type[HardwareError], words: str
) -> None:
    """In words that say what to do."""
    kernel.error = error
    with pytest.raises(kind, match=words):
        GpiodEdges(LINE, pull="up", both=True, active_low=True, clock=clock, gpiod=kernel)


def test_the_owner_of_a_line_is_named(kernel: Kernel, clock: FakeClock) -> None:
    """As far as the kernel knows it."""
    kernel.error = OSError(errno.EBUSY, "Device or resource busy")
    for consumer, words in (("w1-gpio", "in use by 'w1-gpio'"), ("", "in use by another program")):
        kernel.consumer = consumer
        with pytest.raises(DeviceUnavailable, match=words):
            GpiodEdges(LINE, pull="up", both=True, active_low=True, clock=clock, gpiod=kernel)


def test_a_chip_that_goes_away_is_told_of(kernel: Kernel, clock: FakeClock) -> None:
    """Its edges will never come: that is no calm."""
    source = GpiodEdges(LINE, pull="up", both=True, active_low=True, clock=clock, gpiod=kernel)
    kernel.requests[PIN].fail(OSError(errno.ENODEV, "No such device"))
    assert source._thread is not None
    source._thread.join(10)
    with pytest.raises(DeviceUnavailable, match=r"GPIO 17 of /dev/gpiochip0 is gone: .*No such device"):
        source.take()
    source.close()
    assert kernel.requests == {}


class Sleeping:
    """A thread that has not got the processor yet."""

    def __init__(self, **_: Any) -> None:
        pass

    def start(self) -> None:
        pass

    def join(self) -> None:
        pass


def test_after_a_stop_the_kernels_edges_are_there_at_once(
    kernel: Kernel, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever thread runs first: what is asked for is all that came until then, so silence is a calm."""
    monkeypatch.setattr(threading, "Thread", Sleeping)
    source = GpiodEdges(LINE, pull="up", both=True, active_low=True, clock=clock, gpiod=kernel)
    opened_s = clock.monotonic()
    for k in range(200):
        clock.advance(0.03)
        kernel.requests[PIN].edge(k % 2 == 1)
    edges = source.take()
    assert len(edges) == 200
    assert edges[-1].time_s == pytest.approx(clock.monotonic())
    assert source.since_s == opened_s
    kernel.requests[PIN].fail(OSError(errno.ENODEV, "No such device"))
    with pytest.raises(DeviceUnavailable, match=r"is gone: .*No such device"):
        source.take()
    source.close()


@pytest.mark.parametrize(("count", "pauses_ms"), [(1023, [5]), (1024, [50])])
def test_a_storm_of_edges_does_not_take_the_processor(
    kernel: Kernel, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, count: int, pauses_ms: list[int]
) -> None:
    """After a full buffer the thread rests longer."""
    monkeypatch.setattr(threading, "Thread", Sleeping)
    source = GpiodEdges(LINE, pull="up", both=True, active_low=True, clock=clock, gpiod=kernel)
    for k in range(count):
        kernel.requests[PIN].edge(k % 2 == 1)
    asked_ms: list[int] = []

    class Poll:
        """Ready at first, then woken to end."""

        def register(self, fd: int, _: int) -> None:
            self.fd = fd

        def poll(self, timeout_ms: int | None = None) -> list[tuple[int, int]]:
            if timeout_ms is None:
                return [(kernel.requests[PIN].fd, 1)]
            asked_ms.append(timeout_ms)
            return [(self.fd, 1)]

    monkeypatch.setattr(gpiod_edges.select, "poll", Poll)
    source._run()
    assert asked_ms == pauses_ms
    assert len(source.take()) == count
    source.close()


def test_gpiod_has_what_is_used_of_it() -> None:
    """The fake is like the module, where that is installed."""
    gpiod = pytest.importorskip("gpiod")
    settings = gpiod.LineSettings(
        direction=gpiod.line.Direction.INPUT,
        edge_detection=gpiod.line.Edge.BOTH,
        bias=gpiod.line.Bias.DISABLED,
        event_clock=gpiod.line.Clock.MONOTONIC,
    )
    assert {"RISING", "FALLING"} <= set(gpiod.line.Edge.__members__)
    assert {"PULL_UP", "PULL_DOWN"} <= set(gpiod.line.Bias.__members__)
    assert {"event_type", "timestamp_ns", "line_seqno"} <= set(gpiod.EdgeEvent.__dataclass_fields__)
    assert gpiod.EdgeEvent.Type.RISING_EDGE
    assert {"read_edge_events", "release", "fd"} <= set(dir(gpiod.LineRequest))
    with pytest.raises(FileNotFoundError):
        gpiod.request_lines("/dev/missing", {0: settings}, consumer="masthead", event_buffer_size=1024)


# --- two clocks


class Clocks:
    """Ours and another, which a test moves apart, and a thread that loses the processor between looks."""

    def __init__(self) -> None:
        self.now_s, self.behind_s = 1000.0, BEHIND_S
        self.held_up_s: list[float] = []
        """After each of the next looks at the other clock."""

    def monotonic(self) -> float:
        return self.now_s

    def wall(self) -> float:
        return 0.0

    def other(self) -> float:
        seen_s = self.now_s - self.behind_s
        self.now_s += self.held_up_s.pop(0) if self.held_up_s else 0.0
        return seen_s


@pytest.mark.parametrize("held_up_s", [0.06, 0.3, 1.0])
def test_a_thread_that_is_held_up_does_not_move_the_clocks(held_up_s: float) -> None:
    """Between two looks: it looks again, and keeps what it knew if it never gets the time."""
    clocks = Clocks()
    shift = edge_source.ClockShift(clocks, clocks.other)
    for looks in ([held_up_s], [held_up_s, 0, 0, held_up_s], [held_up_s] * 20):
        clocks.held_up_s = list(looks)
        assert shift.seconds() == pytest.approx(BEHIND_S)
        assert shift.since_s == 1000
    clocks.held_up_s = []
    clocks.behind_s += 60
    assert shift.seconds() == pytest.approx(BEHIND_S + 60)
    assert shift.since_s == clocks.now_s


def test_clocks_that_drift_are_no_sleep() -> None:
    """pigpio's ticks are those of a crystal: they are followed, and time goes on."""
    clocks = Clocks()
    shift = edge_source.ClockShift(clocks, clocks.other)
    for _ in range(10_000):
        clocks.now_s += 0.25
        clocks.behind_s += 0.25 * 100e-6
        assert shift.seconds() == pytest.approx(clocks.behind_s, abs=0.051)
    assert shift.since_s == 1000


# --- gpiozero


def reported(source: GpiozeroEdges, factory: Any, clock: FakeClock, *edges: tuple[int, float]) -> list[int]:
    """The losses before each of ``edges`` (level, seconds after the one before), taken one by one."""
    losses = []
    for level, after_s in edges:
        clock.advance(after_s)
        source._changed(factory.ticks(), level)
        [edge] = source.take()
        losses.append(edge.lost)
    return losses


def test_a_level_that_did_not_change_tells_of_a_lost_edge(factory: Any, clock: FakeClock) -> None:
    """As soon as the next edge shows that it was not read wrongly."""
    source = GpiozeroEdges(PIN, factory, pull="up", both=True, active_low=True, clock=clock)
    edges = ((0, 0.1), (1, 0.1), (1, 0.1), (0, 0.1), (0, 0.0005), (1, 0.1), (1, 0.1), (1, 0.1), (0, 0.1))
    assert reported(source, factory, clock, *edges) == [0, 0, 0, 1, 0, 0, 0, 1, 1]
    assert source.lost == 3
    source.close()


def test_a_bounce_that_was_read_wrongly_is_no_loss(factory: Any, clock: FakeClock) -> None:
    """A reed closes, and the kernel, which looks after the interrupt, finds it open again: then it closes."""
    source = GpiozeroEdges(PIN, factory, pull="up", both=True, active_low=True, clock=clock)
    turn = ((1, 0.06), (0, 0.0002), (1, 0.04))
    assert reported(source, factory, clock, (0, 0.1), (1, 0.04), *turn, *turn, *turn) == [0] * 11
    assert source.lost == 0
    source.close()


def test_after_a_stop_it_is_not_known_what_gpiozero_has_lost(factory: Any, clock: FakeClock) -> None:
    """Its thread brings what it kept later than we ask, and it kept little."""
    source = GpiozeroEdges(PIN, factory, pull="up", both=True, active_low=True, clock=clock)
    opened_s = clock.monotonic()
    clock.advance(1.01)
    source.take()
    assert source.since_s == opened_s
    clock.advance(5)
    source.take()
    assert source.since_s == clock.monotonic()
    source.close()


def test_ticks_that_wrap_are_no_trouble(clock: FakeClock) -> None:
    """pigpio counts microseconds in 32 bits: only its own difference of two ticks means anything."""

    class Wrapping(gpiozero.pins.mock.MockFactory):
        @staticmethod
        def ticks() -> int:
            return round(clock.monotonic() * 1e6) % 2**32

        @staticmethod
        def ticks_diff(later: int, earlier: int) -> float:
            return ((later - earlier) % 2**32) / 1e6

    clock.advance(4294.0 - clock.monotonic())
    factory = Wrapping()
    source = GpiozeroEdges(PIN, factory, pull="up", both=True, active_low=True, clock=clock)
    expected = []
    for k in range(40):
        clock.advance(0.1)
        expected.append(clock.monotonic())
        source._changed(factory.ticks(), k % 2)
        if k % 7 == 0:
            source.take()
            expected.clear()
    assert [edge.time_s for edge in source.take()] == pytest.approx(expected, abs=1e-5)
    source.close()
    factory.reset()


@pytest.mark.parametrize(("pull", "words"), [("up", "up"), ("down", "down"), ("none", "floating")])
def test_the_pull_is_set(factory: Any, clock: FakeClock, pull: str, words: str) -> None:
    """The board's own resistor, or none."""
    source = GpiozeroEdges(PIN, factory, pull=pull, both=True, active_low=False, clock=clock)
    assert factory.pin(f"GPIO{PIN}").pull == words
    assert factory.pin(f"GPIO{PIN}").bounce is None
    source.close()


def test_a_pin_that_cannot_be_used_so_is_told(factory: Any, clock: FakeClock) -> None:
    """GPIO 2 has a pull-up on the board; GPIO 99 is not there; and neither stays taken."""
    for pin in (2, 99):
        for _ in range(2):
            with pytest.raises(HardwareError, match=f"GPIO ?{pin} ") as caught:
                GpiozeroEdges(pin, factory, pull="down", both=True, active_low=True, clock=clock)
            assert "in use" not in str(caught.value)


def test_a_pin_whose_edges_cannot_be_had_is_let_go(
    factory: Any, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it can be tried again."""

    def refuse(pin: Any) -> None:
        raise OSError("no line events")

    with monkeypatch.context() as broken:
        broken.setattr(gpiozero.pins.mock.MockPin, "_enable_event_detect", refuse)
        with pytest.raises(DeviceUnavailable, match="no line events") as caught:
            GpiozeroEdges(PIN, factory, pull="up", both=True, active_low=True, clock=clock)
    assert caught.tb  # which holds on to what failed, as a log may
    GpiozeroEdges(PIN, factory, pull="up", both=True, active_low=True, clock=clock).close()


# --- which


@pytest.fixture
def no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has chosen a factory."""
    monkeypatch.delenv("GPIOZERO_PIN_FACTORY", raising=False)
    monkeypatch.setattr(gpiozero.Device, "pin_factory", None)


def test_a_chosen_factory_is_used(factory: Any, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test's mock goes before the machine's own pins."""
    monkeypatch.setattr(gpiozero.Device, "pin_factory", factory)
    source = open_edges(PIN, clock=clock)
    assert source.name == "gpiozero"
    source.close()


@pytest.mark.usefixtures("no_choice")
def test_gpiod_is_used_where_there_is_a_chip(
    kernel: Kernel, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the line that the pin is."""
    asked = []
    monkeypatch.setitem(sys.modules, "gpiod", kernel)
    monkeypatch.setattr(gpio, "chips", lambda: [gpio.GpioChip(LINE.path, "pinctrl-bcm2835", 54)])
    monkeypatch.setattr(gpio, "find_line", lambda pin, chip: asked.append((pin, chip)) or LINE)
    source = open_edges(PIN, chip="gpiochip0", clock=clock)
    assert source.name == "gpiod"
    assert asked == [(PIN, "gpiochip0")]
    source.close()


@pytest.mark.usefixtures("no_choice")
@pytest.mark.parametrize("module", [None, types.SimpleNamespace(Chip=object)], ids=["none", "version 1"])
def test_gpiozero_is_used_where_there_is_no_gpiod(
    factory: Any, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, module: Any
) -> None:
    """Nor does the old gpiod do, which has another interface."""
    monkeypatch.setitem(sys.modules, "gpiod", module)
    monkeypatch.setattr(gpio, "pin_factory", lambda chip, pin: factory)
    source = open_edges(PIN, clock=clock)
    assert source.name == "gpiozero"
    source.close()


@pytest.mark.usefixtures("no_choice")
def test_a_machine_without_pins_says_so(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line."""
    monkeypatch.setattr(gpio, "chips", list)
    with pytest.raises(DeviceUnavailable) as caught:
        open_edges(PIN, clock=clock)
    assert len(str(caught.value).splitlines()) == 1


def test_edges_imports_without_any_gpio_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are asked for when they are needed."""
    for name in ("gpiod", "gpiozero", "lgpio"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "hw.edges")
    assert importlib.import_module("hw.edges").open_edges
