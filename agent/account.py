"""What a run says of itself: to the service manager, to who asks at its socket, to its device's twin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hw.board import detect

from . import status
from .cloud import twin
from .cloud.credentials import Credential
from .config import Config
from .forecast import forecast
from .reading import Row
from .reported import reported
from .status_line import status_line
from .timekeeping import BootClock
from .wiring import Parts, Run


class Account:
    """Thread safety: any thread."""

    def __init__(
        self, config: Config, run: Run, parts: Parts, credential: Credential | None, no_credential: str | None
    ) -> None:
        """``no_credential``: why there is none."""
        self._config = config
        self._run = run
        self._parts = parts
        self._device_id = None if credential is None else credential.device_id
        self._host = None if credential is None else credential.address
        self._no_credential = no_credential
        self._board = str(detect() or "desktop")
        self._started_boot_s = run.timekeeper.clock.monotonic()

    def line(self, confirmed_boot_s: float | None, refused: str | None) -> str:
        """The run in one line (status_line.py). ``confirmed_boot_s``: when the hub took something last."""
        parts, wall = self._parts, self._run.timekeeper.read()
        at = None if confirmed_boot_s is None else self._at(confirmed_boot_s, wall)
        return status_line(
            parts.samplers,
            None if parts.uplink is None else parts.uplink.status,
            waiting=parts.writer.status.backlog,
            confirmed=at,
            held=[origin.value for origin in parts.guard.remembered.holds],
            refused=refused,
            degraded=parts.writer.status.degraded,
        )

    def _at(self, boot_s: float, wall: BootClock) -> str:
        """The time of day, with the date where that was another day's."""
        text, today = wall.time_text(boot_s), wall.time_text(self._run.timekeeper.clock.monotonic())
        return f"{text[11:19]} UTC" if text[:10] == today[:10] else f"{text[:10]} {text[11:19]} UTC"

    def snapshot(self) -> dict[str, Any]:
        """The run now (status.py)."""
        parts = self._parts
        return status.snapshot(
            clock=self._run.timekeeper.clock,
            started_boot_s=self._started_boot_s,
            device_id=self._device_id,
            host=self._host,
            run=self._run.id,
            timekeeper=self._run.timekeeper,
            samplers=parts.samplers,
            writer=parts.writer,
            uplink=parts.uplink,
            executor=parts.executor,
            guard=parts.guard,
            no_credential=self._no_credential,
            forecast=forecast(self._config, self._device_id, parts.writer.status.stats),
        )

    def reading(self, row: Row) -> dict[str, Any]:
        """A stored reading, with its time."""
        wall = self._parts.writer.boot_clock(row.boot_id)
        return {"objectId": row.object_id, "time": wall.time_text(row.entry.boot_time_s), **row.entry.body}

    def told_by_method(self) -> Mapping[str, Any]:
        """The snapshot without the bodies of what was rejected: an answer has 128 KB."""
        snapshot = self.snapshot()
        del snapshot["outbox"]["lastRejected"]
        return snapshot

    def reported(self, trouble: twin.LastTrouble) -> dict[str, Any]:
        """For the twin (reported.py)."""
        return reported(
            board=self._board,
            run=self._run.id,
            sensors=list(zip(self._config.sensors, self._parts.samplers, strict=True)),
            outbox=self._parts.writer.status,
            wall=self._run.timekeeper.read(),
            link_trouble=trouble,
        )
