"""Where edges come from: the kernel's line events, or gpiozero's callbacks.

| Source | Time stamps | Losses |
|---|---|---|
| ``GpiodEdges``, libgpiod ≥ 2 | the kernel's, at the interrupt | counted exactly, by sequence numbers |
| ``GpiozeroEdges`` | with lgpio the kernel's | only seen where the level did not change between two edges |

The kernel keeps up to 1,024 events of a line, lgpio only 16: a busy machine loses pulses with gpiozero.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import select
import threading
from time import monotonic
from typing import Any

from . import gpio
from .clock import Clock
from .edge_source import ClockShift, EdgeQueue, EdgeSource
from .errors import DeviceMisconfigured, DeviceUnavailable
from .pulse import Edge

EVENT_BUFFER = 1024
"""The most that the kernel keeps for one line (GPIO_V2_LINES_MAX · 16)."""

PAUSE_MS = 5
"""After reading, so that a storm of edges costs little; at 1,000 Hz it leaves 1 s of the buffer free."""

MISREAD_S = 0.002
"""So soon after an edge the kernel may read a bouncing level wrongly; see QuietBefore."""


class GpiodEdges:
    """Line events of the kernel, by libgpiod: stamped at the interrupt, buffered, numbered.

    A thread of its own sleeps until there are events and keeps the kernel's buffer empty.
    """

    name = "gpiod"

    def __init__(
        self, line: gpio.GpioLine, *, pull: str, both: bool, active_low: bool, clock: Clock, gpiod: Any = None
    ) -> None:
        """Arguments as of ``open_edges``.

        Raises DeviceUnavailable if the line is in use or may not be used, DeviceMisconfigured if it cannot
        tell of edges.
        """
        self._gpiod = gpiod or importlib.import_module("gpiod")
        self._line = line
        self._shift = ClockShift(clock)
        self.lost = 0
        self._queue: EdgeQueue[Edge] = EdgeQueue()
        self._last_seqno = 0
        self._fault: str | None = None
        self._closing = threading.Lock()
        self._request = self._requested(pull, both, active_low)
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread: threading.Thread | None = threading.Thread(
            target=self._run, name=f"edges-{line.offset}", daemon=True
        )
        self._thread.start()

    def _requested(self, pull: str, both: bool, active_low: bool) -> Any:
        gpiod, line = self._gpiod, self._line
        edge, bias = gpiod.line.Edge, gpiod.line.Bias
        settings = gpiod.LineSettings(
            direction=gpiod.line.Direction.INPUT,
            edge_detection=edge.BOTH if both else edge.FALLING if active_low else edge.RISING,
            bias={"up": bias.PULL_UP, "down": bias.PULL_DOWN, "none": bias.DISABLED}[pull],
            event_clock=gpiod.line.Clock.MONOTONIC,
        )
        try:
            return gpiod.request_lines(
                line.path, {line.offset: settings}, consumer="masthead", event_buffer_size=EVENT_BUFFER
            )
        except OSError as error:
            where = f"GPIO {line.offset} of {line.path}"
            if error.errno == errno.EBUSY:
                raise DeviceUnavailable(f"GPIO {line.offset} is in use by {self._consumer()}") from error
            if error.errno in (errno.EACCES, errno.EPERM):
                remedy = "join the group gpio (sudo usermod -aG gpio $USER) and log in again"
                raise DeviceUnavailable(f"no permission to open {line.path}: {remedy}") from error
            if error.errno in (errno.ENXIO, errno.EINVAL):
                raise DeviceMisconfigured(f"{where} cannot tell of edges: choose another pin") from error
            raise DeviceUnavailable(f"{where} cannot be opened: {error.strerror}") from error
        except ValueError as error:
            raise DeviceMisconfigured(f"{line.path} has no GPIO {line.offset}") from error

    def _consumer(self) -> str:
        """Who has the line."""
        with contextlib.suppress(OSError), self._gpiod.Chip(self._line.path) as chip:
            consumer = chip.get_line_info(self._line.offset).consumer
            if consumer:
                return f"{consumer!r}: stop it, or choose another pin"
        return "another program: stop it, or choose another pin (gpioinfo lists them)"

    def take(self) -> list[Edge]:
        """See EdgeSource."""
        if self._thread is None:
            raise DeviceUnavailable(f"GPIO {self._line.offset} is closed")
        if self._fault is not None:
            raise DeviceUnavailable(f"GPIO {self._line.offset} of {self._line.path} is gone: {self._fault}")
        dropped, edges = self._queue.take()
        if dropped and edges:
            edges[0] = edges[0]._replace(lost=edges[0].lost + dropped)
        self.lost += sum([edge.lost for edge in edges])
        return edges

    def _run(self) -> None:
        try:
            poll, woken = select.poll(), select.poll()
            poll.register(self._request.fd, select.POLLIN)
            poll.register(self._wake, select.POLLIN)
            woken.register(self._wake, select.POLLIN)
            while self._wake not in [fd for fd, _ in poll.poll()]:
                self._read()
                if woken.poll(PAUSE_MS):
                    return
        except Exception as error:  # noqa: BLE001  (whatever ends this thread has to be told by take)
            self._fault = str(error) or type(error).__name__

    def _read(self) -> None:
        rising = self._gpiod.EdgeEvent.Type.RISING_EDGE
        events = self._request.read_edge_events(EVENT_BUFFER)
        shift_s = self._shift.seconds(monotonic())
        for event in events:
            lost = (event.line_seqno - self._last_seqno - 1) & 0xFFFFFFFF  # unsigned, 32 bits
            self._last_seqno = event.line_seqno
            at_s = event.timestamp_ns / 1e9 + shift_s
            self._queue.put(Edge(at_s, event.event_type is rising, lost))

    def close(self) -> None:
        """See EdgeSource."""
        with self._closing:
            if self._thread is None:
                return
            os.eventfd_write(self._wake, 1)
            self._thread.join()
            self._thread = None
            self._request.release()
            os.close(self._wake)


class GpiozeroEdges:
    """Edges as gpiozero's pin reports them, without its debouncing, on whatever thread its factory has."""

    name = "gpiozero"

    def __init__(
        self, pin: int, factory: Any, *, pull: str, both: bool, active_low: bool, clock: Clock
    ) -> None:
        """Arguments as of ``open_edges``.

        Raises DeviceUnavailable if the pin is in use or does not obey, DeviceMisconfigured if unsuitable.
        """
        from gpiozero import GPIOPinInUse, InputDevice

        self._pin = pin
        self._both = both
        self._shift = ClockShift(clock)
        self.lost = 0
        self._queue: EdgeQueue[tuple[Any, Any]] = EdgeQueue()
        self._last: Edge | None = None
        self._closing = threading.Lock()
        pull_up = {"up": True, "down": False, "none": None}[pull]
        self._device: Any = None
        self._factory = factory
        self._ticks = factory.ticks()
        self._now_s = 0.0
        try:
            self._device = InputDevice(
                pin,
                pull_up=pull_up,
                active_state=not active_low if pull_up is None else None,
                pin_factory=factory,
            )
            self._device.pin.edges = "both" if both else "falling" if active_low else "rising"
            self._device.pin.when_changed = (
                self._changed
            )  # a weak reference to a method of ours: we keep it alive
        except GPIOPinInUse as error:
            raise DeviceUnavailable(f"GPIO {pin} is in use by another part of this configuration") from error
        except Exception as error:
            self.close()
            raise gpio.explain(error, pin) from error

    def _changed(self, ticks: Any, state: Any) -> None:
        """An exception here would end all events of the process (lgpio has one thread for them)."""
        self._queue.put((ticks, state))

    def take(self) -> list[Edge]:
        """See EdgeSource."""
        if self._device is None:
            raise DeviceUnavailable(f"GPIO {self._pin} is closed")
        dropped, reports = self._queue.take()
        ticks = self._factory.ticks()
        self._now_s += self._factory.ticks_diff(ticks, self._ticks)
        self._ticks = ticks
        now_s = self._now_s + self._shift.seconds(self._now_s)
        edges = []
        for stamp, state in reports:
            edge = Edge(now_s - self._factory.ticks_diff(ticks, stamp), bool(state), dropped)
            if self._both and self._repeats(edge):
                edge = edge._replace(lost=dropped + 1)
            self._last, dropped = edge, 0
            self.lost += edge.lost
            edges.append(edge)
        return edges

    def _repeats(self, edge: Edge) -> bool:
        """Whether an edge must be missing before this one, as the level has not changed."""
        last = self._last
        return last is not None and last.rising is edge.rising and edge.time_s - last.time_s > MISREAD_S

    def close(self) -> None:
        """See EdgeSource."""
        with self._closing:
            device, self._device = self._device, None
            if device is not None and not device.closed:
                device.pin.when_changed = None
                device.pin.edges = "both"  # the factory keeps the pin
                device.close()


def open_edges(
    pin: int,
    *,
    chip: str | None = None,
    pull: str = "up",
    both: bool = True,
    active_low: bool = True,
    clock: Clock,
) -> EdgeSource:
    """The best source there is for GPIO ``pin`` (of ``chip``, see gpio.find_line).

    ``pull``: the board's own resistor, "up", "down" or "none". ``both``: rising and falling edges, else only
    those to the active level. ``clock`` stamps the edges. Where somebody has chosen gpiozero's factory it is
    used; otherwise libgpiod, if it is installed in version 2 or later; otherwise gpiozero.

    Raises DeviceUnavailable if there is no such pin now or it is in use, DeviceMisconfigured if it is not
    known which pin is meant, or that pin cannot tell of edges.
    """
    factory = gpio.given_factory()
    if factory is None:
        if gpio.has_gpiod() and gpio.chips():
            line = gpio.find_line(pin, chip)
            return GpiodEdges(line, pull=pull, both=both, active_low=active_low, clock=clock)
        factory = gpio.pin_factory(chip, pin)
    return GpiozeroEdges(pin, factory, pull=pull, both=both, active_low=active_low, clock=clock)
