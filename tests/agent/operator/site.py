"""A local hub with its service side, for the operator's tools to work against over TLS."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from agent.localhub.hub import LocalHub
from agent.localhub.notices import EventStored
from agent.localhub.records import Arrival, C2dMessage, Event
from agent.localhub.thread import HubThread
from agent.operator.access import Access, from_environment
from tests.e2e.harness import free_host

DEVICE = "mast-1"


class Site:
    """A running hub with the device mast-1. ``environment``: what an operator there has exported."""

    def __init__(self, folder: Path, host: str | None = None) -> None:
        self._folder = folder
        self.host = host or free_host()
        self.start()

    def start(self) -> None:
        self.thread = HubThread(LocalHub(self._folder / "hub", self.host))
        self.thread.start()
        self.hub = self.thread.hub
        self.hub.ensure_device(DEVICE)

    def stop(self) -> None:
        self.thread.stop()

    @property
    def environment(self) -> dict[str, str]:
        return self.as_policy("iothubowner")

    def as_policy(self, policy: str) -> dict[str, str]:
        key = self.hub.store.registry.policy_key(policy)
        return {
            "IOTHUB_CONNECTION_STRING": (
                f"HostName={self.hub.host};SharedAccessKeyName={policy};SharedAccessKey={key}"
            ),
            "MASTHEAD_CA_FILE": str(self.hub.ca_file),
            "MASTHEAD_HTTPS_PORT": str(self.hub.https_port),
        }

    def access(self, policy: str = "iothubowner") -> Access:
        return from_environment(self.as_policy(policy))

    @contextmanager
    def down(self) -> Iterator[None]:
        """The hub is not there; afterwards it is, as it was."""
        self.stop()
        yield
        self.start()

    def arrive(self, body: object, device_id: str = DEVICE, **system: str) -> Event:
        """A device's message is stored, and the hub told."""
        return self.thread.run(self._arrive(body, device_id, system))

    def deliver(self, device_id: str = DEVICE) -> list[C2dMessage]:
        """A device takes what waits for it."""
        taken = self.hub.store.c2d.take(device_id, 50)
        return [m for m in (self.hub.store.c2d.delivered(t.sequence) for t in taken) if m is not None]

    async def _arrive(self, body: object, device_id: str, system: Mapping[str, str]) -> Event:
        names = {name.replace("_", "-"): value for name, value in system.items()}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        [event] = self.hub.store.events.append([Arrival(device_id, names, {"site": "north"}, content)])
        self.hub._board.post(EventStored(event))
        return event


@contextmanager
def running_site(folder: Path) -> Iterator[Site]:
    site = Site(folder)
    try:
        yield site
    finally:
        site.stop()
