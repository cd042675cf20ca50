"""Clients of a hub that is a process of its own, by what it printed when it was ready."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from agent.operator.access import Access, from_environment
from agent.operator.errors import OperatorError
from agent.operator.rest import Rest
from tests.agent.localhub.client import RawClient, publish, subscribe, token

from .harness import Hub

GONE = (OSError, EOFError, OperatorError)
"""What a client meets when its hub is killed."""


@dataclass(frozen=True)
class Remote:
    """Where a RawClient finds its hub."""

    host: str
    address: str
    ca_file: str
    port: int = 8883


def environment(hub: Hub) -> dict[str, str]:
    """What an operator has exported, as the hub says it now."""
    return {
        "IOTHUB_CONNECTION_STRING": hub.ready["connection_string"],
        "MASTHEAD_CA_FILE": hub.ready["ca_file"],
        "MASTHEAD_HTTPS_PORT": str(hub.ready["https_port"]),
    }


def access(hub: Hub) -> Access:
    return from_environment(environment(hub))


def twins(hub: Hub) -> dict[str, Any]:
    """Every device's, by id."""
    rest, found, continuation = Rest(access(hub)), {}, None
    while True:
        query = {"query": "SELECT * FROM devices"}
        reply = rest.call(
            "POST", "/devices/query", right="ServiceConnect", body=query, continuation=continuation
        )
        found.update({twin["deviceId"]: twin for twin in reply.body})
        if (continuation := reply.headers.get("x-ms-continuation")) is None:
            return found


class Device(RawClient):
    """A device that has connected."""

    def __init__(self, hub: Hub, device_id: str, key: str, *, clean: bool = True) -> None:
        host = hub.ready["host"]
        super().__init__(Remote(host, "127.0.0.1" if host == "localhost" else host, hub.ready["ca_file"]))  # type: ignore[arg-type]
        self.device_id = device_id
        own = token(key, f"{host}/devices/{device_id}", time.time() + 3600)
        answer = self.log_in_with(device_id, own, clean=clean)
        if answer[1]:
            raise ConnectionRefusedError(f"{device_id}: {answer}")

    def tell(self, body: bytes, packet_id: int = 1) -> None:
        """Send telemetry; nothing is waited for."""
        self.send(publish(f"devices/{self.device_id}/messages/events/", body, packet_id))

    def listen(self) -> None:
        """Subscribe to messages, and take the answer."""
        self.send(subscribe(1, (f"devices/{self.device_id}/messages/devicebound/#", 1)))


class Worker:
    """Does one thing again and again on a thread of its own, also when the hub is gone and back."""

    def __init__(self, session: Callable[[], Iterator[None]]) -> None:
        """``session``: connects, and does one thing for each step; begun anew where it breaks."""
        self._session = session
        self._stopping = threading.Event()
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=getattr(session, "__name__", "worker"))

    def start(self) -> Worker:
        self._thread.start()
        return self

    def stop(self) -> None:
        """Raises what it died of."""
        self._stopping.set()
        self._thread.join(60)
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    for _ in self._session():
                        if self._stopping.is_set():
                            break
                except GONE:
                    self._stopping.wait(0.05)
        except BaseException as error:
            self.error = error


@contextmanager
def working(*sessions: Callable[[], Iterator[None]]) -> Iterator[list[Worker]]:
    workers = [Worker(session).start() for session in sessions]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.stop()
