"""What the outbox looks like from outside, as the writer publishes it after each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .outbox import OutboxStats
from .rejections import Rejected
from .storage import Storage


@dataclass(frozen=True, slots=True)
class WriterStatus:
    """The outbox as of the writer's last step. Thread safety: any thread, it does not change.

    ``stored``, ``confirmed``: rows of this run. ``backlog``: all rows without a confirmation.
    ``degraded``: why new rows stand in memory only, or None. ``rejected``: the latest rows that the hub will
    never have, the last first.
    """

    stats: OutboxStats
    stored: int
    confirmed: int
    backlog: int
    in_memory: int
    dropped: int
    degraded: str | None
    rejected: Sequence[Rejected]

    @classmethod
    def of(cls, storage: Storage, now: float, confirmed: int, rejected: Sequence[Rejected]) -> WriterStatus:
        """Thread safety: the writer's thread, which owns ``storage``."""
        stats, in_memory = storage.stats(now), storage.in_memory
        return cls(
            stats=stats,
            stored=storage.stored,
            confirmed=confirmed,
            backlog=stats.unsent + in_memory,
            in_memory=in_memory,
            dropped=stats.dropped + storage.memory_dropped,
            degraded=storage.degraded,
            rejected=rejected,
        )
