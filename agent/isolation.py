"""Which rows the hub may be refusing: MQTT gives no reason for a disconnect. Pure.

Invariants, each with a test of its name in tests/agent/test_isolation.py:

1. patient      a row is suspect only after STRIKES disconnects in a row, each right after it was published.
2. alone        suspects are tried one at a time, with nothing else in flight.
3. evidence     a trial counts only if others got through on the same connection before it; one that failed
                once is tried again only on a connection that has proved stable.
4. final        after TRIALS trials that count the row is given up; a confirmation clears it for good.
5. not the row  connections that end again and again without a suspect in flight release all of them: the link
                flaps. So do more suspects than MOST: a hub that takes nothing, whatever it is sent.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from .reading import Row

STRIKES = 3
TRIALS = 3
MOST = 1500
"""Suspects: more than one window of arrays holds rows."""

_CROWD_ENDINGS = 4  # more than it takes to suspect another row


@dataclass(slots=True)
class _Suspect:
    row: Row
    failures: int = 0
    tried: bool = False


class Isolation:
    """Keeps the suspects, which nobody else may send. Thread safety: one thread at a time."""

    def __init__(self) -> None:
        self._strikes: dict[str, int] = {}
        self._suspects: dict[str, _Suspect] = {}
        self._crowd_endings = 0  # since the last row became a suspect

    @property
    def rows(self) -> list[Row]:
        """The suspects."""
        return [suspect.row for suspect in self._suspects.values()]

    def next(self, *, stable: bool) -> Row | None:
        """The suspect to try next. ``stable``: others get through, on a connection that has stood a while."""
        return next((s.row for s in self._suspects.values() if stable or not s.tried), None)

    def disconnected(self, just_published: Collection[Row], others_in_flight: Collection[Row]) -> list[Row]:
        """The connection went, with no suspect in flight, right after these rows were published.

        Rows that were not in flight have been spared, and begin anew. Returns suspects that are released.
        """
        rows = {row.object_id: row for row in just_published}
        before = self._strikes
        self._strikes = {row.object_id: before.get(row.object_id, 0) for row in others_in_flight}
        self._strikes |= {name: before.get(name, 0) + 1 for name in rows}
        new = [name for name, count in self._strikes.items() if count >= STRIKES]
        for name in new:
            del self._strikes[name]
            self._suspects[name] = _Suspect(rows[name])
        self._crowd_endings = 0 if new or not self._suspects else self._crowd_endings + 1
        if self._crowd_endings >= _CROWD_ENDINGS or len(self._suspects) > MOST:
            return self._release()
        return []

    def _release(self) -> list[Row]:
        released = self.rows
        self._suspects.clear()
        self._strikes.clear()
        self._crowd_endings = 0
        return released

    def confirmed(self, rows: Collection[Row]) -> None:
        """The hub has these."""
        if self._strikes or self._suspects:
            for row in rows:
                self._strikes.pop(row.object_id, None)
                self._suspects.pop(row.object_id, None)

    def failed_alone(self, row: Row, *, others_got_through: bool) -> bool:
        """The connection went with only this row in flight; whether to give it up. The others are next."""
        suspect = self._suspects.pop(row.object_id)
        suspect.tried = True
        suspect.failures += others_got_through
        if suspect.failures >= TRIALS:
            return True
        self._suspects[row.object_id] = suspect
        return False
