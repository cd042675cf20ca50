"""What is wrong with the link, in words, and how fast to try again. Pure, but for a memory of a few endings.

The wire tells some failures apart (agent/cloud: Failure). Three it does not: MQTT closes the connection and
says nothing when a hub throttles, when its daily quota is used up, and when another client connects with the
same device id. These are inferred from how several connections in a row ended, worded "looks like" with the
observation, and tried again slowly: each would be made worse by haste.
"""

from __future__ import annotations

from dataclasses import dataclass

from .backoff import Pace
from .cloud import WINDOW, Failure, HubError
from .isolation import STRIKES

_PACES = {
    Failure.NAME: Pace(cap_s=60.0),  # asks nobody but the resolver
    Failure.ROUTE: Pace(cap_s=60.0),  # nothing leaves this machine
    Failure.UNAVAILABLE: Pace(base_s=10.0),
    Failure.UNTRUSTED: Pace(base_s=30.0),
    Failure.CERTIFICATE_TIME: Pace(base_s=30.0),
    Failure.REFUSED: Pace(base_s=30.0),
    Failure.UNSUBSCRIBED: Pace(base_s=30.0),
}
_USUAL = Pace()
_THROTTLED = Pace(base_s=60.0, least_s=10.0)
_NOTHING_TAKEN = Pace(base_s=120.0, least_s=30.0)
_EVICTED = Pace(base_s=120.0, least_s=30.0)

_NOTHING_IN_A_ROW = STRIKES + 1  # until then it may be a message, and others are tried
_IN_A_ROW = 3
_BURSTS_IN_A_ROW = 2
_BURST_RATE = 20.0  # messages a second: more than readings make, so there is a backlog
_BURST = WINDOW
_SHORT_S = 120.0


@dataclass(frozen=True, slots=True)
class Ending:
    """How a connection ended, or an attempt at one (``up_for_s`` is None).

    ``confirmed``: messages on this connection; ``in_flight``: those without a confirmation at its end.
    ``suspect``: id of the one that was in flight alone; ``new_suspects``: how many rows are so from now on.
    """

    error: HubError
    up_for_s: float | None = None
    confirmed: int = 0
    in_flight: int = 0
    suspect: str | None = None
    new_suspects: int = 0

    @property
    def pattern(self) -> str | None:
        """What several such endings in a row may mean, if anything."""
        if self.up_for_s is None or (self.suspect and self.confirmed):
            return None
        lost = self.error.failure is Failure.LOST
        if self.in_flight and not self.confirmed and (lost or self.error.failure is Failure.UNCONFIRMED):
            return "nothing taken"
        if self.in_flight and lost and self.confirmed >= max(_BURST, _BURST_RATE * self.up_for_s):
            return "throttled"
        return "evicted" if lost and self.up_for_s < _SHORT_S else None


@dataclass(frozen=True, slots=True)
class Finding:
    """``name``: the kind of trouble, the same for as long as it is the same. ``text``: one line for a person.

    ``slower``: the hub may want fewer messages at once. ``worked_for_s``: how long the connection had been of
    use, where nothing speaks against another one.
    """

    name: str
    text: str
    pace: Pace
    slower: bool = False
    worked_for_s: float = 0.0


class Diagnosis:
    """Judges one ending after the other. Thread safety: one thread at a time."""

    def __init__(self) -> None:
        self._row: list[Ending] = []  # the last ones, all of one pattern
        self._count = 0

    def judge(self, ending: Ending) -> Finding:
        """What is wrong, given this ending and those before it."""
        if not self._row or ending.pattern != self._row[-1].pattern:
            self.forget()
        self._row = [*self._row, ending][-_IN_A_ROW:]
        self._count += 1
        if ending.suspect and ending.confirmed and ending.error.failure is Failure.LOST:
            return Finding(
                "suspect",
                f"the hub ended the connection when message {ending.suspect} was sent, and took others: it "
                "is tried alone and given up after three times",
                _USUAL,
            )
        if ending.pattern == "nothing taken" and self._count >= _NOTHING_IN_A_ROW:
            return Finding(
                ending.pattern,
                "looks like the daily quota is used up, or the hub throttles: it accepted "
                f"{self._count} connections in a row and confirmed no message on any of them; "
                "see the hub's metrics; a quota begins anew at 00:00 UTC",
                _NOTHING_TAKEN,
                slower=True,
            )
        if ending.pattern == "throttled" and self._count >= _BURSTS_IN_A_ROW:
            return Finding(
                ending.pattern,
                f"looks like throttling: the hub closed {self._count} connections in a row in the middle of "
                f"sending, the last after {ending.confirmed} messages in {ending.up_for_s or 0.0:.1f} s; "
                "sending goes on more slowly",
                _THROTTLED,
                slower=True,
            )
        if ending.pattern == "evicted" and self._count >= _IN_A_ROW:
            lives = ", ".join(f"{e.up_for_s or 0.0:.0f} s" for e in self._row)
            return Finding(
                ending.pattern,
                "looks like another client connects with the same device id: the last connections ended "
                f"after {lives}, and the hub gave no reason; else the network is unstable",
                _EVICTED,
            )
        if ending.new_suspects:
            return Finding(
                "suspects",
                f"the hub ended {STRIKES} connections in a row when the same messages were sent "
                f"({ending.new_suspects} of them): one may be what it does not take, and each is tried alone",
                _USUAL,
            )
        pace = _PACES.get(ending.error.failure, _USUAL)
        worked_for_s = (ending.up_for_s or 0.0) if ending.confirmed else 0.0
        return Finding(ending.error.failure.name, str(ending.error), pace, worked_for_s=worked_for_s)

    def forget(self) -> None:
        """The link has been stable: what was before says nothing about what comes."""
        self._row, self._count = [], 0
