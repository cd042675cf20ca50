"""A day in which the hub answers nothing at all, on the fake clock: sampler, writer and uplink go on."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from agent.batching import Batcher
from agent.cloud import HubError
from agent.outbox import Outbox
from agent.reading import Message
from agent.sampler import Sampler
from agent.storage import Storage
from agent.timekeeping import Timekeeper
from agent.uplink import Uplink
from agent.worker import Worker
from agent.writer import OutboxWriter
from hw.anemometer import WindSample
from tests.clock import FakeClock

DAY_S = 86_400.0
RUN = "9f3c01ab"
SDK_HANDSHAKE_S = 60.0


class Breeze:
    """An anemometer that always has a value."""

    simulated = False
    calibration: str | None = None
    has_direction = False

    def read(self, now: float) -> WindSample:
        return WindSample(now, 5.0 + now % 3.0)

    def close(self) -> None:
        return


class Unanswered(Future[None]):
    """A future that nobody may wait for: a step that did would stop the watchdog."""

    def result(self, timeout: float | None = None) -> None:
        assert self.done(), "a step waits for the SDK"
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        assert self.done(), "a step waits for the SDK"
        return super().exception(timeout)


class SilentClient:
    """Satisfies HubClient as the SDK before a black hole: it sits in its handshake, whatever it is told."""

    connected = False
    lost: HubError | None = None

    def __init__(self, mast: Mast) -> None:
        self._mast = mast
        self._began = mast.clock.monotonic()

    def connect(self) -> Future[None]:
        return Unanswered()

    def send(self, message: Message) -> Future[None]:
        raise AssertionError("it never connected")

    def close(self) -> Future[None]:
        closing = Unanswered()
        if self._mast.closes:
            self._mast.at(self._began + SDK_HANDSHAKE_S, lambda: closing.set_result(None))
        return closing


class Mast:
    """The three workers of a mast, each stepped when it is due or woken, as its thread would step it."""

    def __init__(self, path: Path, *, closes: bool) -> None:
        self.clock = FakeClock()
        self.closes = closes
        self.clients: list[SilentClient] = []
        self.steps = {"uplink": 0, "outbox": 0, "sampler-top": 0}
        self.late = 0.0
        self._path = path
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._asked = 0
        self.storage = self._open_storage(RUN)
        self.writer = OutboxWriter(self.storage, Timekeeper(self.clock, "boot-1", lambda: True))
        self.uplink = Uplink(
            self.writer,
            self._new_client,
            batcher=Batcher("auto", 4096, "mast-1", {}),
            clock=self.clock,
            rng=random.Random(1),
        )
        self.sampler = Sampler("top", Breeze, rate_hz=0.5, report_interval_s=60.0, put=self.writer.put)
        now = self.clock.monotonic()
        self._workers: list[Worker] = [self.uplink, self.writer, self.sampler]
        self._due = dict.fromkeys(("uplink", self.writer.name, self.sampler.name), now)
        self._woken: set[str] = set()
        self.uplink.wake = self.writer.wake_uplink = lambda: self._woken.add("uplink")
        self.writer.wake = lambda: self._woken.add(self.writer.name)
        self.sampler.open(now)
        self.writer.open(now)

    def _open_storage(self, run: str) -> Storage:
        return Storage(
            self._path, lambda p: Outbox(p, run=run, boot_id="boot-1", max_bytes=8 << 20), run, "boot-1"
        )

    def _new_client(self) -> SilentClient:
        self.clients.append(SilentClient(self))
        return self.clients[-1]

    def at(self, time_s: float, action: Callable[[], None]) -> None:
        """Something that the SDK does by itself."""
        self._asked += 1
        heapq.heappush(self._later, (time_s, self._asked, action))

    def run(self, seconds: float) -> None:
        end = self.clock.monotonic() + seconds
        while (now := self.clock.monotonic()) < end:
            for worker in self._workers:
                due = self._due[worker.name]
                if now >= due or worker.name in self._woken:
                    self._woken.discard(worker.name)
                    self.late = max(self.late, now - due)
                    self.steps[worker.name] += 1
                    self._due[worker.name] = worker.step(now)
            while self._later and self._later[0][0] <= now:
                heapq.heappop(self._later)[2]()
            if not self._woken:
                coming = min([*self._due.values(), *(time_s for time_s, _, _ in self._later[:1]), end])
                self.clock.advance(max(coming - now, 0.001))

    def stored(self) -> list[str]:
        """What waits in the store for the next process, once this one has ended."""
        self.writer.close(self.clock.monotonic())
        with_next_run = self._open_storage("00000000")
        with_next_run.open(self.clock.monotonic())
        rows = with_next_run.unsent(10_000, set(), self.clock.monotonic())
        with_next_run.close(self.clock.monotonic(), lambda _: True)
        return [row.object_id for row in rows if row.entry.kind == "reading"]


def test_a_day_of_black_hole(tmp_path: Path) -> None:
    """No step waits or comes late, every reading is stored, no client is given up, attempts go on."""
    mast = Mast(tmp_path / "outbox.db", closes=True)
    mast.run(DAY_S)
    assert mast.late <= 0.01, "every worker keeps the bound of its step"
    assert mast.sampler.status.sampled == mast.steps["sampler-top"]
    assert mast.sampler.status.sampled == pytest.approx(DAY_S / 2, abs=2)
    status = mast.uplink.status
    assert status.abandoned_clients == 0
    assert DAY_S / (30.0 + 300.0) <= len(mast.clients) <= DAY_S / (30.0 + 100.0)
    assert status.attempts == len(mast.clients)
    assert (status.last_error or "").startswith("no answer within 30 s")
    assert status.error_since_boot_s == pytest.approx(1030.0, abs=1)
    assert mast.steps["uplink"] <= DAY_S, "it polls, and does not spin"
    assert mast.writer.status.backlog >= DAY_S / 60 - 1
    readings = mast.stored()
    assert len(readings) == mast.sampler.status.reported >= DAY_S / 60 - 1


def test_an_sdk_that_never_ends_asks_for_a_fresh_start(tmp_path: Path) -> None:
    """After a bounded number of clients the uplink fails, which ends the process; every reading is stored."""
    mast = Mast(tmp_path / "outbox.db", closes=False)
    with pytest.raises(RuntimeError, match="clients of the SDK do not end: it hangs"):
        mast.run(DAY_S)
    assert mast.late <= 0.01
    assert len(mast.clients) == 11
    assert mast.clock.monotonic() - 1000.0 < 3 * 3600.0
    readings = mast.stored()
    assert len(readings) == mast.sampler.status.reported > 30
