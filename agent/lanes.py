"""Which rows are next: urgent ones, then the newest, and in between the backlog.

After an outage a reading that is made now must not wait behind days of older ones, and the older ones must
not wait for ever. So rows stand in three lanes, and only the head of each in memory: the rest is fetched from
the store when a lane runs low.

Invariants, each with a test of its name in tests/agent/test_lanes.py:

 1. urgent first  while an urgent row waits, no other is taken.
 2. live first    else a row of the live lane: the newest that were stored while this process runs.
 3. backlog moves while both wait, every fourth take serves the backlog.
 4. one lane      what is taken at once is of one lane, in order of sequence.
 5. once          a row waits, or is in flight, or is settled: never two of them, nor one of them twice.
 6. none lost     what is not held here is fetched: a lane is whole only if the store has no more for it.
 7. bounded       a lane holds no more than its share, but for rows that are given back.
 8. never stuck   a take that waits for the store asks it, whatever the shares and the limit.

Thread safety: none, the outbox writer locks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from enum import Enum, auto

from .reading import Row

_LIVE_IN_A_ROW = 3


class _Store(Enum):
    """What the store has of a lane beyond the rows held here."""

    MAY_HAVE_MORE = auto()
    IS_ASKED = auto()  # and what is let go of until it answers is more
    HAS_NO_MORE = auto()


class _Lane:
    """Rows by object id, in order of sequence."""

    def __init__(self, share: int) -> None:
        self.share = share
        self.rows: OrderedDict[str, Row] = OrderedDict()
        self.store = _Store.MAY_HAVE_MORE

    @property
    def room(self) -> int:
        return max(0, self.share - len(self.rows))

    @property
    def low(self) -> bool:
        return 2 * len(self.rows) < self.share

    @property
    def wants_more(self) -> bool:
        return self.low and self.store is _Store.MAY_HAVE_MORE

    def waits(self, limit: int) -> bool:
        """Whether more will be here soon, and too little is now: full arrays are better."""
        return self.low and len(self.rows) < limit and self.store is not _Store.HAS_NO_MORE

    def take(self, limit: int) -> list[tuple[str, Row]]:
        return [self.rows.popitem(last=False) for _ in range(min(limit, len(self.rows)))]

    def add(self, rows: Iterable[tuple[str, Row]]) -> None:
        """At the end, at the beginning or in between: where their sequence numbers say."""
        fresh = sorted(rows, key=_sequence)
        if not fresh:
            return
        if not self.rows or _sequence(fresh[0]) > self.rows[next(reversed(self.rows))].sequence:
            self.rows.update(fresh)
        elif _sequence(fresh[-1]) < self.rows[next(iter(self.rows))].sequence:
            for name, row in reversed(fresh):
                self.rows[name] = row
                self.rows.move_to_end(name, last=False)
        else:
            self.rows = OrderedDict(sorted([*self.rows.items(), *fresh], key=_sequence))

    def add_new(self, rows: Sequence[tuple[str, Row]]) -> None:
        """Add as many of these, which are newer than all others, as there is room for: none after a gap."""
        fitting = rows[: self.room] if self.store is _Store.HAS_NO_MORE else []
        self.add(fitting)
        if len(fitting) < len(rows):
            self.store = _Store.MAY_HAVE_MORE

    def add_fetched(self, rows: Sequence[tuple[str, Row]], more: bool) -> None:
        """Add as many of these as there is room for. ``more``: the store did not give all it has."""
        fitting = rows[: self.room]
        self.add(fitting)
        if more or len(fitting) < len(rows):
            self.store = _Store.MAY_HAVE_MORE
        elif self.store is _Store.IS_ASKED:
            self.store = _Store.HAS_NO_MORE


class Lanes:
    """See the head of this file. Each row has its lane from its first sight to its confirmation."""

    def __init__(self, urgent: int = 100, live: int = 100, backlog: int = 1000) -> None:
        """The lanes' shares, in rows: at least one each."""
        self._urgent, self._live, self._backlog = _Lane(urgent), _Lane(live), _Lane(backlog)
        self._taken: dict[str, _Lane] = {}
        self._settled: set[str] = set()
        self._live_in_a_row = 0

    # --- what the store has

    def offer(self, rows: Collection[Row]) -> None:
        """Rows that have just been stored."""
        named = [(row.object_id, row) for row in rows]
        self._urgent.add_new([one for one in named if one[1].entry.urgent])
        self._live.add([one for one in named if not one[1].entry.urgent])
        self._shorten_live()

    def missing(self) -> int:
        """How many rows to fetch now, urgent ones first, without those that are ``known``; 0 if none."""
        if self._urgent.store is _Store.MAY_HAVE_MORE:
            return max(self._urgent.room, self._backlog.room) if self._urgent.low else 0
        return self._backlog.room if self._backlog.wants_more else 0

    def known(self) -> set[str]:
        """All ids here, not to be fetched. Rows that are let go of from now on are remembered as missing."""
        self._urgent.store = self._backlog.store = _Store.IS_ASKED
        waiting = (lane.rows.keys() for lane in (self._urgent, self._live, self._backlog))
        return self._settled.union(self._taken, *waiting)

    def fetched(self, rows: Collection[Row], limit: int) -> None:
        """What the store gave when it was asked for ``limit`` rows."""
        named = [(row.object_id, row) for row in rows]
        urgent = [one for one in named if one[1].entry.urgent]
        more = len(rows) >= limit
        self._urgent.add_fetched(urgent, more and len(urgent) == len(rows))
        self._backlog.add_fetched([one for one in named if not one[1].entry.urgent], more)

    def doubt(self) -> None:
        """The store may have rows that were not told of: fetch, to see."""
        self._urgent.store = self._backlog.store = _Store.MAY_HAVE_MORE

    def may_drop(self, object_id: str) -> bool:
        """Whether this row is not in flight; it is then no longer offered, unless it turns out to be kept."""
        if self._urgent.rows.pop(object_id, None) is not None:
            self._urgent.store = _Store.MAY_HAVE_MORE
        for lane in (self._live, self._backlog):
            if lane.rows.pop(object_id, None) is not None:
                self._backlog.store = _Store.MAY_HAVE_MORE
        return object_id not in self._taken and object_id not in self._settled

    # --- what goes

    def take(self, limit: int) -> list[Row]:
        """Up to ``limit`` rows of the lane whose turn it is, until ``give_back`` or ``settle``.

        None while a backlog that has run low waits for ``fetched``.
        """
        if limit <= 0:
            return []
        lane = self._next(limit)
        if lane is None:
            return []
        taken = lane.take(limit)
        self._taken.update(dict.fromkeys((name for name, _ in taken), lane))
        return [row for _, row in taken]

    def give_back(self, rows: Collection[Row]) -> None:
        """These rows were taken and are not settled: they wait in their lane again, in their order."""
        named = [(row.object_id, row) for row in rows]
        of = {name: self._taken.pop(name) for name, _ in named if name in self._taken}
        for lane in (self._urgent, self._live, self._backlog):
            lane.add([one for one in named if of.get(one[0]) is lane])
        self._shorten_live()

    def settle(self, rows: Collection[Row]) -> None:
        """These rows were taken and are confirmed or rejected, which the store does not know yet."""
        names = [row.object_id for row in rows]
        self._settled.update(names)
        for name in names:
            self._taken.pop(name, None)

    def release(self, rows: Collection[Row]) -> None:
        """The store knows that these rows are settled."""
        self._settled.difference_update(row.object_id for row in rows)

    @property
    def busy(self) -> bool:
        """Whether any row waits, is in flight, or is settled and not yet known to be."""
        waiting = self._urgent.rows or self._live.rows or self._backlog.rows
        return bool(waiting or self._taken or self._settled)

    @property
    def in_flight(self) -> int:
        """How many are taken and not settled."""
        return len(self._taken)

    def _next(self, limit: int) -> _Lane | None:
        if self._urgent.rows:
            return self._urgent
        backlog = bool(self._backlog.rows) and not self._backlog.waits(limit)
        if backlog and not (self._live.rows and self._live_in_a_row < _LIVE_IN_A_ROW):
            self._live_in_a_row = 0
            return self._backlog
        self._live_in_a_row += 1 if backlog else 0
        return self._live if self._live.rows else None

    def _shorten_live(self) -> None:
        """The oldest live rows that are too many are backlog."""
        self._backlog.add_new(self._live.take(len(self._live.rows) - self._live.share))


def _sequence(named: tuple[str, Row]) -> int:
    return named[1].sequence
