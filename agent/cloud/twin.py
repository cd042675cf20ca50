"""The reported properties of the device's twin: what they say, and when they are said.

Invariants:
1. A document has at most 8 KB, and no name or text in it that a twin would not take.
2. At most one report a minute, and one under way; none that says nothing new on the same connection.
3. Connections that end under a report make the next one wait longer and longer: telemetry comes first.

Limits: https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-device-twins
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from . import HubClient

MAX_BYTES = 8_192
EVERY_S = 60.0

_MAX_TEXT = 200  # characters; a twin takes 4 KB
_LONGEST_WAIT_S = 86_400.0
_FEW = 100  # up to here the backlog of a link that works comes and goes

Json = dict[str, Any]
LastTrouble = tuple[str, float] | None
"""The link's last trouble in words, and since when (CLOCK_BOOTTIME seconds)."""


@dataclass(frozen=True, slots=True)
class ReportedSensor:
    """A measuring point: its driver, the catalogue's model and the calibration, where it has them."""

    id: str
    driver: str
    model: str | None = None
    calibration: str | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """What was wrong last, whether it still is or not. ``time``: since when, UTC, where that is known."""

    text: str
    time: str | None = None


def document(
    *,
    version: str,
    board: str,
    run: str,
    sensors: Sequence[ReportedSensor],
    backlog: int,
    dropped: int,
    rejected: int,
    last_error: Trouble | None,
) -> Json:
    """The reported properties, whole: what is null is taken out of the twin.

    The sensors are a list, which replaces the one before: so those that are gone leave nothing behind, and
    their ids may be what names in a twin may not. Of very many the last are left out and counted.
    """
    listed = [
        {
            name: _cut(value)
            for name, value in (
                ("id", sensor.id),
                ("driver", sensor.driver),
                ("model", sensor.model),
                ("calibration", sensor.calibration),
            )
            if value is not None
        }
        for sensor in sensors
    ]
    content: Json = {
        "version": _cut(version),
        "board": _cut(board),
        "run": run,
        "sensors": listed,
        "sensorsLeftOut": None,
        "outbox": {"backlog": backlog, "dropped": dropped, "rejected": rejected},
        "lastError": None if last_error is None else {"text": _cut(last_error.text), "time": last_error.time},
    }
    while len(encoded(content)) > MAX_BYTES:
        listed.pop()
        content["sensorsLeftOut"] = len(sensors) - len(listed)
    return content


def encoded(content: Mapping[str, Any]) -> bytes:
    """As it goes over the wire."""
    return json.dumps(content, separators=(",", ":")).encode()


class Reporter:
    """Thread safety: one thread, the uplink's."""

    def __init__(self, describe: Callable[[LastTrouble], Json]) -> None:
        """``describe``: the document now, given the link's last trouble; from memory, at once."""
        self._describe = describe
        self._next_at = 0.0
        self._failures = 0
        self._told: Json | None = None  # on this connection
        self._telling: tuple[Json, Future[None]] | None = None

    def step(self, client: HubClient, now: float, trouble: LastTrouble) -> None:
        """The connection works: report through it what is new, if it is time. Never waits."""
        if self._telling is not None:
            if not self._telling[1].done():
                return
            self._collect(now)
        if now < self._next_at:
            return
        content = self._describe(trouble)
        if self._told is None or _gist(content) != _gist(self._told):
            self._telling = content, client.report(content)
            self._next_at = now + EVERY_S

    def ended(self, now: float, *, by_the_hub: bool) -> None:
        """The connection is over: the next one is told everything again."""
        if self._telling is not None and (by_the_hub or self._telling[1].done()):
            self._collect(now)
        self._told = self._telling = None

    def _collect(self, now: float) -> None:
        assert self._telling is not None  # noqa: S101  (for the type checker)
        content, future = self._telling
        self._telling = None
        if future.done() and future.exception() is None:
            self._told, self._failures = content, 0
        else:
            self._failures += 1
            self._next_at = now + min(EVERY_S * 4.0 ** min(self._failures, 9), _LONGEST_WAIT_S)


def _gist(content: Json) -> Json:
    """What must differ to be worth a message: of a backlog its order of magnitude, of an error the text (a
    clock that is set makes its time another)."""
    outbox, error = content["outbox"], content["lastError"]
    magnitude = len(str(outbox["backlog"])) if outbox["backlog"] >= _FEW else 0
    return {
        **content,
        "outbox": {**outbox, "backlog": magnitude},
        "lastError": None if error is None else error["text"],
    }


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"
