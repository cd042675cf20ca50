"""Where a hub is, or something else in its place."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from agent.localhub.hub import LocalHub
from agent.localhub.store import Store
from agent.localhub.thread import HubThread
from tests.e2e.harness import free_host

PATIENCE_S = 90.0

T = TypeVar("T")


def wait(condition: Callable[[], T], what: str) -> T:
    """The first true value of ``condition``."""
    deadline = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {PATIENCE_S:.0f} s in vain: {what}"
        time.sleep(0.002)
    return value


class Site:
    """An address, and the hub that is there unless it was taken away. State and certificates stay."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = free_host()
        self.hub = LocalHub(folder, self.host)
        self._thread: HubThread | None = None

    def start(self) -> Site:
        self.hub = LocalHub(self.folder, self.host)
        self._thread = HubThread(self.hub)
        self._thread.start()
        return self

    def stop(self) -> None:
        if self._thread is not None:
            self._thread.stop()
        self._thread = None


def objects(store: Store, device: str) -> list[dict[str, Any]]:
    """Every object of the device, in the order of a hub's log."""
    found: list[dict[str, Any]] = []
    for event in store.events.after(0, device_id=device, limit=100_000):
        content = json.loads(event.body)
        found += content if isinstance(content, list) else [content]
    return found


@contextmanager
def squatter(host: str, *, full: bool) -> Iterator[None]:
    """Somebody silent in the hub's place; ``full``: he does not even complete a TCP handshake."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, 8883))
        listener.listen(0 if full else 100)
        guests: list[socket.socket] = []
        try:
            for _ in range(2 if full else 0):  # the queue holds one more than it was asked to
                guests.append(socket.socket())
                guests[-1].setblocking(False)
                guests[-1].connect_ex((host, 8883))
            yield
        finally:
            for guest in guests:
                guest.close()
