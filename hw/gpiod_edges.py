"""Edges by the kernel's line events, through libgpiod 2 or later."""

from __future__ import annotations

import importlib
import os
import select
import threading
from time import monotonic
from typing import Any

from . import gpio
from .clock import Clock
from .edge_source import ClockShift, EdgeQueue
from .errors import DeviceUnavailable
from .gpiod_lines import request_line
from .pulse import Edge

EVENT_BUFFER = 1024
"""The most that the kernel keeps for one line (GPIO_V2_LINES_MAX · 16)."""

PAUSE_MS = 5
"""After reading, so that a fast signal wakes the thread less often than its edges come."""

STORM_PAUSE_MS = 50
"""After reading a full buffer: no anemometer filled it, and more of the storm would tell nothing new."""


class GpiodEdges:
    """Line events of the kernel, by libgpiod: stamped at the interrupt, buffered, numbered.

    A thread of its own sleeps until there are events and keeps the kernel's buffer empty. ``take`` reads what
    there is too: after a stop of the process it may come before that thread.
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
        self.lost = 0
        self._queue: EdgeQueue[Edge] = EdgeQueue()
        self._last_seqno = 0
        self._fault: str | None = None
        self._closing = threading.Lock()
        self._reading = threading.Lock()  # whoever uses the request, or lets go of it
        self._request = self._requested(pull, both, active_low)
        self._shift = ClockShift(clock, monotonic)
        self._readable = select.poll()
        self._readable.register(self._request.fd, select.POLLIN)
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
        return request_line(gpiod, line, settings, "tell of edges", event_buffer_size=EVENT_BUFFER)

    @property
    def since_s(self) -> float:
        """See EdgeSource."""
        return self._shift.since_s

    def take(self) -> list[Edge]:
        """See EdgeSource."""
        with self._reading:
            if self._thread is None:
                raise DeviceUnavailable(f"GPIO {self._line.offset} is closed")
            self._read()
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
            while self._fault is None and self._wake not in [fd for fd, _ in poll.poll()]:
                with self._reading:
                    count = self._read()
                if woken.poll(PAUSE_MS if count < EVENT_BUFFER else STORM_PAUSE_MS):
                    return
        except Exception as error:  # noqa: BLE001  (whatever ends this thread has to be told by take)
            self._fault = str(error) or type(error).__name__

    def _read(self) -> int:
        """Put what the kernel has into the queue: all of it, as it keeps no more than one read takes."""
        rising = self._gpiod.EdgeEvent.Type.RISING_EDGE
        try:
            events = self._request.read_edge_events(EVENT_BUFFER) if self._readable.poll(0) else []
        except Exception as error:  # noqa: BLE001  (gpiod has its own; whichever, no more edges will come)
            self._fault = str(error) or type(error).__name__
            return 0
        shift_s = self._shift.seconds()
        for event in events:
            lost = (event.line_seqno - self._last_seqno - 1) & 0xFFFFFFFF  # unsigned, 32 bits
            self._last_seqno = event.line_seqno
            at_s = event.timestamp_ns / 1e9 + shift_s
            self._queue.put(Edge(at_s, event.event_type is rising, lost))
        return len(events)

    def close(self) -> None:
        """See EdgeSource."""
        with self._closing:
            if self._thread is None:
                return
            os.eventfd_write(self._wake, 1)
            self._thread.join()
            with self._reading:
                self._thread = None
                self._request.release()
            os.close(self._wake)
