"""Manual mode: while somebody holds, no command from the cloud moves an actuator away from safe.

Invariants, each with a test of its name in tests/agent/commands/test_holds.py:

 1. separate   a hold at the mast and one from the cloud stand side by side.
 2. lifted     the cloud lifts only its own; whoever is at the mast lifts both.
 3. longer     a hold is not shortened by another, nor by the same that comes twice.
 4. ends       a hold ends at its time if it was given one, and stands for ever if it was not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .actuation import Origin


@dataclass(frozen=True, slots=True)
class Hold:
    """``for_s`` seconds from ``since_boot_s`` (CLOCK_BOOTTIME), or until it is lifted (None)."""

    since_boot_s: float
    for_s: float | None = None

    @property
    def until_boot_s(self) -> float | None:
        """When it ends, or None."""
        return None if self.for_s is None else self.since_boot_s + self.for_s


Holds = dict[Origin, Hold]


def held(holds: Holds, by: Origin, hold: Hold) -> Holds:
    """``holds`` with that one; the same person's that lasts longer stays, for only a release shortens."""
    before = holds.get(by)
    if before is not None and _end(before) >= _end(hold):
        hold = before
    return {**holds, by: hold}


def _end(hold: Hold) -> float:
    return math.inf if hold.until_boot_s is None else hold.until_boot_s


def lifted(holds: Holds, by: Origin) -> Holds:
    """What remains of ``holds`` when somebody there releases."""
    return {} if by is Origin.MAST else {origin: h for origin, h in holds.items() if origin is not by}


def standing(holds: Holds, now: float) -> Holds:
    """What has not come to its end."""
    return {
        origin: hold for origin, hold in holds.items() if hold.until_boot_s is None or now < hold.until_boot_s
    }
