"""Edges of a line -> pulses -> hertz. No clock, no thread: time comes with the edges and as an argument.

A pulse is one revolution of a cup or propeller divided by ``pulses_per_rev`` (K); its frequency is timed
between edges, not counted in an interval: one count in 0.25 s would be metres per second.

Invariants
- *One pulse a turn of the contact*, however it bounces: see ``QuietBefore``.
- *Whole revolutions*: magnets are not evenly spaced. Each new pulse closes the revolution that began K
  pulses before, and a sample's frequency is the mean over the revolutions so closed: the new pulses divided
  by the advance of τ, the mean of the last K pulse times. τ of one sample is where the next one begins, so
  that samples add up: the running mean of many is the mean over the time that they span.
- *Between pulses* the frequency is at most K / (time since the pulse K − 1 before the last); after
  ``timeout_s`` without any it is 0. Only a sample with new pulses may be above that: it is a mean over the
  time since the last one. Where its last pulse is so old that sampling does not explain it, it may not.
- *A fault is not a number*: edges that never leave the line quiet, edges that were lost, and a first
  revolution that is not complete give BadSample, not a frequency; the latter for ``FIRST_S`` at most, by when
  it is the number of pulses by the time there was for them.
- *Only time that was listened to counts*: after a pause the measurement begins afresh (``restart``).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from .errors import BadSample

CROWDED_S = 0.1
"""Edges that leave the line no rest for so long are no contact's bounce."""

CROWDED_EDGES = 50
"""Nor are so many without a rest: three bounces at both ends of a turn make 13."""

FIRST_S = 4.5
"""So long the first revolution is waited for: a fault that lasts for 5 s tells of a sensor that is lost."""

FRESH_S = 1.2
"""A new pulse is not older, as sampling goes: once a second at the slowest."""

DISORDER_S = 0.01
"""An edge that is earlier than the one before it by more was stamped by another reckoning."""


class Edge(NamedTuple):
    """A change of a line's level. ``time_s``: CLOCK_BOOTTIME. ``rising``: to the high level.

    ``lost``: how many edges just before this one are known to have been lost.
    """

    time_s: float
    rising: bool
    lost: int = 0


class QuietBefore:
    """Tells the edges that make a pulse from bounce and noise, by the quiet before them.

    A bouncing contact rests in the longer of its two phases, open or closed, and in the other too unless it
    is over before the bounce is. So an edge counts by the rest before it, ``hold_off_s`` or more without any
    edge: one that ends a rest in the open state always does, and one that ends a rest in the closed state
    does if there was no rest in the open state since the last closed one. Exact, as long as the longer phase
    has such a rest and a bounce has none.

    The state at rest is that of the last edge before it. The edge that ends it may have been read wrongly, as
    the kernel looks at the level only after the interrupt.
    """

    def __init__(self, hold_off_s: float, active_rising: bool, since_s: float) -> None:
        """``active_rising``: closed is the high level. ``since_s``: no edge came before that since."""
        self._hold_off_s = hold_off_s
        self._active_rising = active_rising
        self._last_s = since_s
        self._last_rising: bool | None = None
        self._rested_open = True
        self._rested_s = since_s
        self._run = 0
        self.crowded = False
        """Whether edges came that no bouncing contact makes, since this was last set to False."""

    def restart(self, edge: Edge) -> None:
        """Begin at ``edge``, with nothing known of what came before."""
        self._last_s, self._last_rising = edge.time_s, edge.rising
        self._rested_open = True
        self._rested_s, self._run = edge.time_s, 0

    def pulse(self, edge: Edge) -> float | None:
        """When the pulse began that ``edge`` makes known, in seconds, or None if it makes none known."""
        quiet_s = edge.time_s - self._last_s
        at_rest = (not edge.rising) if self._last_rising is None else self._last_rising
        began_s: float | None = None
        if quiet_s < self._hold_off_s:
            self._run += 1
            if self._run > CROWDED_EDGES or edge.time_s - self._rested_s > CROWDED_S:
                self.crowded = True
        else:
            self._rested_s, self._run = edge.time_s, 0
            if at_rest is not self._active_rising:
                began_s = edge.time_s
            elif not self._rested_open:
                began_s = self._last_s
            self._rested_open = at_rest is not self._active_rising
        self._last_s, self._last_rising = edge.time_s, edge.rising
        return began_s


class PulseMeter:
    """The frequency of the pulses on one line.

    With ``hold_off_s`` 0 each active edge is a pulse, and the source need give no others: then lost edges are
    counted in, as it is known how many there were. Otherwise both edges are needed, and a loss breaks the
    measurement: it begins afresh with the next revolution.

    Thread safety: one thread at a time.
    """

    def __init__(
        self,
        *,
        hold_off_s: float,
        active_rising: bool,
        since_s: float,
        pulses_per_rev: int = 1,
        timeout_s: float = 5.0,
    ) -> None:
        """``since_s``: when the source began to listen (CLOCK_BOOTTIME)."""
        self._hold_off_s = hold_off_s
        self._active_rising = active_rising
        self._filter = QuietBefore(hold_off_s, active_rising, since_s)
        self._per_rev = pulses_per_rev
        self._timeout_s = timeout_s
        self._silent_since_s = since_s
        self._number = 0  # of the last pulse, lost ones included
        self._times: deque[float] = deque(maxlen=pulses_per_rev)  # of the last pulses, without a gap
        self._base: tuple[int, float] | None = None  # number of a pulse, and its τ
        self._hertz: float | None = None
        self._lossy = False
        self._listening_s = self._last_read_s = self._last_edge_s = since_s
        self._began_s, self._began_pulses = since_s, 0
        self.edges = 0
        """How many edges were seen, running."""
        self.pulses = 0
        """How many pulses that made, running."""

    def read(self, now: float, edges: Iterable[Edge]) -> tuple[float, tuple[str, ...]]:
        """(Hz at ``now``, flags), from the ``edges`` since the last call.

        ``edges-lost`` is flagged once after a loss. Raises BadSample if there is no telling.
        """
        before, lost = self.edges, 0
        self._filter.crowded = False
        for edge in edges:
            self.edges += 1
            if edge.time_s >= self._listening_s:
                lost += edge.lost
                self._add(edge)
        span_s, self._last_read_s = now - self._last_read_s, now
        fresh = self._advance()
        self._lossy = self._lossy or lost > 0
        if lost and self._hold_off_s:
            busy = "this machine, or the line, is too busy"
            raise BadSample(f"{lost} edge{'s' * (lost > 1)} lost before being read: {busy}")
        if self._hold_off_s and self._filter.crowded:
            self._forget(now)
            raise BadSample(self._noise(self.edges - before, span_s))
        if now - self._silent_since_s >= self._timeout_s:
            return 0.0, self._flags()
        if self._hertz is None:
            waited_s, pulses = now - self._began_s, self.pulses - self._began_pulses
            if waited_s < min(self._timeout_s, FIRST_S):
                raise BadSample(f"waiting for the first pulses ({pulses} so far)")
            spans = max(0, pulses - 1)  # one pulse alone spans no time
            return min(spans / waited_s, self._bound(now)), self._flags()
        if fresh and now - self._times[-1] <= FRESH_S:
            return self._hertz, self._flags()
        return min(self._hertz, self._bound(now)), self._flags()

    def restart(self, since_s: float) -> None:
        """Begin afresh, as nobody listened until ``since_s``: earlier edges make no pulse.

        The running counts go on.
        """
        self._filter = QuietBefore(self._hold_off_s, self._active_rising, since_s)
        self._listening_s = self._last_read_s = self._last_edge_s = since_s
        self._forget(since_s)

    def _bound(self, now: float) -> float:
        """Hz that the time since the last pulses leaves open."""
        if not self._times or now <= self._times[0]:
            return math.inf
        return self._per_rev / (now - self._times[0])

    def _flags(self) -> tuple[str, ...]:
        lossy, self._lossy = self._lossy, False
        return ("edges-lost",) if lossy else ()

    def _add(self, edge: Edge) -> None:
        began_s: float | None
        disorder = edge.time_s < self._last_edge_s - DISORDER_S
        self._last_edge_s = edge.time_s
        if disorder:
            self._forget(edge.time_s)
        if not self._hold_off_s:
            if edge.lost:
                self._number += edge.lost
                self.pulses += edge.lost
                self._times.clear()
            began_s = edge.time_s if edge.rising is self._active_rising else None
        elif edge.lost or disorder:
            self._forget(edge.time_s)
            self._filter.restart(edge)
            return
        else:
            began_s = self._filter.pulse(edge)
        if began_s is not None:
            self._number += 1
            self.pulses += 1
            self._times.append(began_s)
            self._silent_since_s = edge.time_s
            if self._base is None and len(self._times) == self._per_rev:
                self._base = self._number, self._tau()

    def _forget(self, since_s: float) -> None:
        """Forget the pulses so far: some are missing after them."""
        self._times.clear()
        self._base = self._hertz = None
        self._silent_since_s = since_s
        self._began_s, self._began_pulses = since_s, self.pulses

    def _advance(self) -> bool:
        """Time the pulses since the last call, if there are any."""
        if self._base is None or len(self._times) < self._per_rev:
            return False
        number, base_s = self._base
        tau_s = self._tau()
        if self._number == number or tau_s <= base_s:
            return False
        self._hertz = (self._number - number) / (tau_s - base_s)
        self._base = self._number, tau_s
        return True

    def _tau(self) -> float:
        return math.fsum(self._times) / self._per_rev

    def _noise(self, edges: int, span_s: float) -> str:
        rate = f"{edges / span_s:.0f} edges a second" if span_s > 0 else f"{edges} edges"
        return (
            f"{rate}, too close to each other to be pulses: noise on the line (check cable and pull), or "
            f"hold_off_s = {self._hold_off_s:g} is too long for this anemometer"
        )
