"""The link as the daemon wires it, in this process.

Real are the store on disk, the outbox writer, the uplink, the SDK, TLS, the clock and the worker threads.
Short are the deadlines, in the order that the real ones have (5 s for a TCP connection, 30 s for all of it,
60 s for keep-alive), and the waits of the backoff: each kind of failure keeps its own, 300 times as short.
"""

from __future__ import annotations

import logging
import random
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from agent.backoff import Backoff, Pace
from agent.batching import Batcher
from agent.cloud import HubClient
from agent.cloud.azure import AzureHubClient, HubOptions
from agent.cloud.credentials import Credential, parse
from agent.outbox import Outbox
from agent.reading import Entry
from agent.storage import Storage
from agent.timekeeping import Timekeeper, read_boot_id
from agent.uplink import LinkTimes, Uplink
from agent.worker import Worker, WorkerThread
from agent.writer import OutboxWriter
from hw.clock import SystemClock

from .site import PATIENCE_S, Site, objects, wait

TCP_CONNECT_S = 0.5
TIMES = LinkTimes(connect_s=0.8, send_s=1.5, close_s=20.0, proven_s=0.2)
KEEP_ALIVE_S = 1
SCALE = 300.0
"""How many times as short the waits of the backoff are."""

EVERY_S = 0.01
"""Between two live readings."""


class QuickBackoff(Backoff):
    """Waits as the real one does, in a scale of its own."""

    def next_delay(self, pace: Pace, worked_for_s: float = 0.0) -> float:
        return super().next_delay(pace, worked_for_s * SCALE) / SCALE


class Watched:
    """A worker, and how long its longest step took."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.name = worker.name
        self.step_bound_s = worker.step_bound_s
        self.longest_s = 0.0

    def step(self, now: float) -> float:
        began = time.monotonic()
        try:
            return self._worker.step(now)
        finally:
            self.longest_s = max(self.longest_s, time.monotonic() - began)


class Feed:
    """Readings as samplers put them: a few at once, or one after the other until told to stop."""

    def __init__(self, put: Callable[[Entry], None]) -> None:
        self._put = put
        self._lock = threading.Lock()  # one reading after the other, so that they count up in the store too
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self.count = 0

    def put(self, count: int = 1) -> None:
        for _ in range(count):
            with self._lock:
                body = {"sensor": "top", "n": self.count, "windSpeed": 7.02, "windGust": 10.09, "flags": []}
                self._put(Entry("reading", SystemClock().monotonic(), body))
                self.count += 1

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="feed")
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(EVERY_S):
            self.put()


class Said(logging.Handler):
    """What the uplink tells the operator."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class Link:
    """A device's store and uplink, on their threads from ``connect`` until the end of ``with``."""

    def __init__(self, folder: Path, site: Site, device: str) -> None:
        self.site = site
        self.device = device
        self.commands: list[str | None] = []
        self.died: list[str] = []
        self.lost_log: list[dict[str, Any]] = []
        """What a hub had that exists no more."""
        self.clock_trusted = True
        site.hub.ensure_device(device)
        self.credential: Credential = parse(site.hub.device_connection_string(device), "test")
        self._options = HubOptions(ca_pem=site.hub.ca_file.read_text(), keep_alive_s=KEEP_ALIVE_S)
        self._clock = SystemClock()
        self.run = secrets.token_hex(4)
        timekeeper = Timekeeper(self._clock, read_boot_id(), lambda: self.clock_trusted)
        boot_id = timekeeper.boot_id
        storage = Storage(
            folder / f"{device}.db",
            lambda path: Outbox(path, run=self.run, boot_id=boot_id, max_bytes=64_000_000),
            self.run,
            boot_id,
        )
        self.writer = OutboxWriter(storage, timekeeper)
        self.feed = Feed(self.writer.put)
        rng = random.Random()
        self.uplink = Uplink(
            self.writer,
            self._new_client,
            batcher=Batcher("object", 4096, device, {"site": "north ridge"}),
            clock=self._clock,
            rng=rng,
            times=TIMES,
            backoff=QuickBackoff(rng),
        )
        self.watched = [Watched(self.writer), Watched(self.uplink)]
        self._storing, self._sending = (
            WorkerThread(worker, self._clock, self.died.append) for worker in self.watched
        )
        self.writer.wake = self._storing.wake
        self.uplink.wake = self.writer.wake_uplink = self._sending.wake
        self._said = Said()

    def _new_client(self) -> HubClient:
        return AzureHubClient(
            self.credential,
            self._options,
            self._clock,
            lambda message: self.commands.append(message.message_id),
            lambda call: None,
            clock_trusted=lambda: self.clock_trusted,
        )

    @property
    def said(self) -> list[str]:
        return self._said.lines

    @property
    def up(self) -> bool:
        return self.uplink.status.state == "up"

    @property
    def settled(self) -> bool:
        """Whether all that was put is stored, and confirmed."""
        return self.writer.idle and self.uplink.status.in_flight == 0

    def arrived(self) -> list[dict[str, Any]]:
        """Every object that a hub has, or had, in the order of its arrival."""
        return self.lost_log + objects(self.site.hub.store, self.device)

    def command(self, message_id: str) -> None:
        self.site.hub.send_c2d(self.device, b"{}", message_id=message_id)

    def __enter__(self) -> Link:
        logging.getLogger("agent.uplink").addHandler(self._said)
        self.writer.open(self._clock.monotonic())
        self._storing.start()
        return self

    def connect(self) -> None:
        self._sending.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.feed.stop()
        ended = self._sending.stop(PATIENCE_S)
        self.uplink.stop(self._clock.monotonic())
        wait(lambda: self.uplink.closed, "every client lets go")
        ended = self._storing.stop(PATIENCE_S) and ended
        self.writer.close(self._clock.monotonic())
        logging.getLogger("agent.uplink").removeHandler(self._said)
        if error is None:
            assert ended
            wait(self._no_client_open, "every client has ended")

    def _no_client_open(self) -> bool:
        """A client has a thread of its own from its connection until it has let go of all."""
        return not any(thread.name.startswith("azure-") for thread in threading.enumerate())
