"""Trying again: later and later, and saying so."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.backoff import Backoff, Pace

from .errors import HubUnavailable, OperatorError

_PACE = Pace(base_s=1.0, cap_s=15.0, least_s=0.5)


@dataclass(frozen=True, slots=True)
class Again:
    """How a link that broke is made again. ``notice``: told of what broke and what is mended."""

    notice: Callable[[str], None]
    sleep: Callable[[float], None] = time.sleep
    backoff: Backoff = field(default_factory=lambda: Backoff(random.Random()))  # noqa: S311  (no secret)

    def until_open(self, error: OperatorError, open_it: Callable[[], None]) -> None:
        """Returns when ``open_it`` has. What trying again does not mend is raised: anything but
        HubUnavailable."""
        while True:
            if not isinstance(error, HubUnavailable):
                raise error
            delay_s = self.backoff.next_delay(_PACE)
            self.notice(f"{error}; trying again in {delay_s:.1f} s")
            self.sleep(delay_s)
            try:
                open_it()
            except OperatorError as failed:
                error = failed
            else:
                self.notice("connected again")
                return
