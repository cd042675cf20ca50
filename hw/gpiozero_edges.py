"""Edges by gpiozero, where there is no libgpiod, or somebody has chosen gpiozero's pin factory."""

from __future__ import annotations

import threading
from typing import Any

from . import gpio
from .clock import Clock
from .edge_source import ClockShift, EdgeQueue
from .errors import DeviceUnavailable
from .pulse import Edge

MISREAD_S = 0.002
"""So soon after an edge the kernel may read a bouncing level wrongly; see QuietBefore."""

STOPPED_S = 2.5
"""Longer than from one read to the next at the lowest sampling rate, 1 Hz, beside sensors that are slow:
the process was stopped."""


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
        self._clock = clock
        self.lost = 0
        self._queue: EdgeQueue[tuple[Any, Any]] = EdgeQueue()
        self._last: Edge | None = None
        self._doubtful: Edge | None = None
        self._closing = threading.Lock()
        pull_up = {"up": True, "down": False, "none": None}[pull]
        self._device: Any = None
        self._factory = factory
        self._ticks = factory.ticks()
        self._ticked_s = 0.0
        self._shift = ClockShift(clock, self._seconds)
        try:
            self._device = InputDevice(
                pin,
                pull_up=pull_up,
                active_state=not active_low if pull_up is None else None,
                pin_factory=factory,
            )
            self._device.pin.edges = "both" if both else "falling" if active_low else "rising"
            # a weak reference to a method of ours: we keep it alive
            self._device.pin.when_changed = self._changed
        except GPIOPinInUse as error:
            raise DeviceUnavailable(f"GPIO {pin} is in use by another part of this configuration") from error
        except Exception as error:
            self.close()
            raise gpio.explain(error, pin) from error
        self._taken_s = self.since_s = clock.monotonic()

    def _changed(self, ticks: Any, state: Any) -> None:
        """An exception here would end all events of the process (lgpio has one thread for them)."""
        self._queue.put((ticks, state))

    def _seconds(self) -> float:
        """The factory's clock, which may wrap."""
        ticks = self._factory.ticks()
        self._ticked_s += self._factory.ticks_diff(ticks, self._ticks)
        self._ticks = ticks
        return self._ticked_s

    def take(self) -> list[Edge]:
        """See EdgeSource."""
        if self._device is None:
            raise DeviceUnavailable(f"GPIO {self._pin} is closed")
        dropped, reports = self._queue.take()
        shift_s = self._shift.seconds()
        now_s = self._ticked_s + shift_s
        self._listen(self._clock.monotonic())
        edges = []
        for stamp, state in reports:
            edge = Edge(now_s - self._factory.ticks_diff(self._ticks, stamp), bool(state), dropped)
            if self._both and self._misses(edge):
                edge = edge._replace(lost=dropped + 1)
            self._last, dropped = edge, 0
            self.lost += edge.lost
            edges.append(edge)
        return edges

    def _listen(self, now_s: float) -> None:
        """After a stop nobody can tell what the other thread still has to bring, nor what was lost."""
        stopped = now_s - self._taken_s > STOPPED_S
        self._taken_s = now_s
        since_s = now_s if stopped else max(self.since_s, self._shift.since_s)
        if since_s > self.since_s:
            self.since_s, self._last, self._doubtful = since_s, None, None

    def _misses(self, edge: Edge) -> bool:
        """Whether an edge must be missing among those before this one, as the level did not change.

        The level may have been read wrongly, though; then the edge that made it so follows at once.
        """
        last, doubtful = self._last, self._doubtful
        repeats = last is not None and last.rising is edge.rising and edge.time_s - last.time_s > MISREAD_S
        self._doubtful = edge if repeats else None
        return doubtful is not None and edge.time_s - doubtful.time_s > MISREAD_S

    def close(self) -> None:
        """See EdgeSource."""
        with self._closing:
            device, self._device = self._device, None
            if device is not None and not device.closed:
                device.pin.when_changed = None
                device.pin.edges = "both"  # the factory keeps the pin
                device.close()
