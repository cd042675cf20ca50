"""The table of what can be wrong with the hub: names, their values, and what a device sees."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass

from .records import UnknownFault

FaultValue = int | float | str | None

PACKETS = (
    "connect",
    "connack",
    "subscribe",
    "suback",
    "publish",
    "puback",
    "pingreq",
    "pingresp",
    "c2d",
    "c2d-puback",
)
"""What ``reset`` can wait for. publish and puback are about messages from the device; c2d is the hub's
PUBLISH, c2d-puback the device's answer to it."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number from ``least`` to ``most``; ``default`` None: without one the fault means something else."""

    unit: str
    least: float
    most: float
    default: float | None
    whole: bool = False

    def read(self, given: object) -> int | float:
        """The number that was given, as text or as a number. Raises ValueError."""
        if isinstance(given, str):
            number: float = int(given) if self.whole else float(given)
        elif isinstance(given, int | float) and not isinstance(given, bool):
            number = given
        else:
            raise ValueError(given)
        if not self.least <= number <= self.most or (self.whole and number != math.floor(number)):
            raise ValueError(given)
        return int(number) if self.whole or number == math.floor(number) else number

    def __str__(self) -> str:
        return (
            f"{'a whole number' if self.whole else 'a number'} from {self.least:,.12g} to {self.most:,.12g}"
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some words, which must be given."""

    unit: str
    words: tuple[str, ...]
    default: None = None

    def read(self, given: object) -> str:
        """The word that was given. Raises ValueError."""
        if given not in self.words:
            raise ValueError(given)
        return str(given)

    def __str__(self) -> str:
        return f"one of {', '.join(self.words)}"


@dataclass(frozen=True, slots=True)
class Kind:
    """A row of the table. ``sees``: what the device sees; ``counted``: what ``times`` counts, if anything.

    ``whole_hub``: it cannot be had for one device. ``action``: done once when it is set, if no value makes
    it last.
    """

    name: str
    value: Number | Choice | None
    sees: str
    counted: str | None = None
    whole_hub: bool = False
    action: bool = False

    @property
    def usage(self) -> str:
        """As it is typed: ``late-puback[=SECONDS]``."""
        if self.value is None:
            return self.name
        return (
            f"{self.name}={self.value.unit}" if self.must_have_value else f"{self.name}[={self.value.unit}]"
        )

    @property
    def takes(self) -> str:
        """What its value may be, in words; empty if it takes none."""
        if self.value is None:
            return ""
        without = "" if self.value.default is None else f"; {self.value.default:g} if left out"
        return f"{self.value.unit}: {self.value}{without}"

    @property
    def must_have_value(self) -> bool:
        """Whether it means nothing without a value."""
        return isinstance(self.value, Choice)


_YEARS_S = 10 * 365 * 86_400.0

TABLE = {
    kind.name: kind
    for kind in (
        Kind(
            "refuse",
            Number("3|4|5", 3, 5, 5, whole=True),
            "CONNACK with that code (3 server unavailable, 4 bad user name or password, 5 not authorized), "
            "then the end of the connection",
            "connections",
        ),
        Kind("no-connack", None, "TLS stands, CONNECT is never answered", "connections"),
        Kind("no-suback", None, "subscribed, and never told so", "SUBSCRIBEs"),
        Kind("refuse-subscription", None, "SUBACK 0x80, not subscribed", "SUBSCRIBEs"),
        Kind("no-puback", None, "messages are stored and never confirmed", "messages"),
        Kind(
            "late-puback",
            Number("SECONDS", 0, 3600, 5),
            "messages are confirmed that much after they were stored",
            "messages",
        ),
        Kind("duplicate-puback", None, "messages are confirmed twice", "messages"),
        Kind(
            "kick",
            Number("SECONDS", 0, 86_400, None),
            "the connection ends: now and once, or with a value always so long after CONNACK",
            "connections",
            action=True,
        ),
        Kind(
            "freeze",
            Number("SECONDS", 0, 86_400, None),
            "the connection stands and nobody is there: from now on, new connections too, or with a value so "
            "long after CONNACK; cleared, it ends",
            "connections",
        ),
        Kind("slow", Number("BYTES_PER_SECOND", 100, 1e9, 1000), "everything trickles, both ways"),
        Kind(
            "throttle",
            Number("MESSAGES_PER_SECOND", 0.01, 100_000, 1),
            "past that rate confirmations come late, past ten that wait the connection ends",
        ),
        Kind(
            "quota",
            Number("MESSAGES", 0, 1e9, 0, whole=True),
            "after so many messages a day (UTC, each begun 4 KB is one) a message is not stored and ends the "
            "connection",
        ),
        Kind("duplicate-c2d", None, "messages to the device come twice", "messages"),
        Kind(
            "reject-c2d",
            None,
            "messages to the device do not come: their senders are told that it rejected them",
            "messages",
        ),
        Kind(
            "lost-state",
            None,
            "now and once: the connection ends, subscriptions and messages that wait for the device are gone",
            action=True,
        ),
        Kind("other-certificate", None, "a certificate of another authority", "connections", whole_hub=True),
        Kind("expired-certificate", None, "a certificate that has expired", "connections", whole_hub=True),
        Kind(
            "future-certificate", None, "a certificate that is not valid yet", "connections", whole_hub=True
        ),
        Kind(
            "clock-skew",
            Number("SECONDS", -_YEARS_S, _YEARS_S, 3600),
            "the hub's clock is ahead, or with a minus behind: tokens and messages expire early, or late",
            whole_hub=True,
        ),
        Kind(
            "reset",
            Choice("PACKET", PACKETS),
            "a TCP reset instead of that packet; c2d is a message to the device, c2d-puback its answer",
            "packets",
        ),
    )
}


def kind_of(name: str) -> Kind:
    """The row of the table. Raises UnknownFault."""
    if name not in TABLE:
        close = difflib.get_close_matches(name.lower(), TABLE, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(TABLE)}"
        raise UnknownFault(f"no fault {name[:60]!r}, {hint}")
    return TABLE[name]
