"""A local hub on this machine for the mast in the virtual one, reached as README.md shows for a Raspberry Pi.

In the virtual machine it is localhost:8883, by a forward of ssh that ends with the machine.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from agent.localhub.hub import LocalHub
from agent.localhub.thread import HubThread
from tests.e2e.harness import free_host

from .machine import Machine

DEVICE = "mast-1"
CA_FILE = "/etc/masthead/hub-ca.pem"
CREDENTIAL = "/etc/credstore/masthead.connection-string"


class HubBeside:
    """A hub with one device. Thread safety: one thread."""

    def __init__(self, folder: Path) -> None:
        self.hub = LocalHub(folder, free_host())
        self._thread = HubThread(self.hub)
        self._forward: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> HubBeside:
        self._thread.start()
        self.hub.identities.create(DEVICE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unreachable()
        self._thread.stop()

    @property
    def connection_string(self) -> str:
        """The device's, as it is used in the machine."""
        return self.hub.device_connection_string(DEVICE).replace(self.hub.host, "localhost")

    def introduce(self, machine: Machine) -> None:
        """The credential and the hub's CA, where the unit and the configuration look for them."""
        machine.run(
            f"install -D -m 0600 /dev/stdin {CREDENTIAL}",
            stdin=self.connection_string.encode(),
        )
        machine.write(CA_FILE, self.hub.ca_file.read_bytes())

    def reachable(self, machine: Machine) -> None:
        """From here on the hub is localhost:8883 in the machine."""
        self.unreachable()
        self._forward = machine.forward(8883, self.hub.address, self.hub.port)

    def unreachable(self) -> None:
        """From here on nobody listens there."""
        if self._forward is not None:
            self._forward.kill()
            self._forward.wait()
            self._forward = None

    def eventually(self, condition: Callable[[], object], what: str, within_s: float = 120.0) -> None:
        """Wait for it; fails after ``within_s``."""
        end = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < end, f"waited {within_s:.0f} s in vain: {what}"
            time.sleep(0.2)

    def all_arrive(self, least: int) -> None:
        """Wait until all is there number by number, up to ``least`` or beyond."""
        self.eventually(
            lambda: len(arrived := self.sequences()) == max(arrived, default=0) >= least,
            f"{least} rows without a gap",
        )

    def objects(self) -> list[dict[str, Any]]:
        """Every object that arrived, in order."""
        found: list[dict[str, Any]] = []
        for event in self.hub.store.events.after(0, device_id=DEVICE, limit=1_000_000):
            content = json.loads(event.body)
            found += content if isinstance(content, list) else [content]
        return found

    def sequences(self) -> set[int]:
        """The numbers of all that arrived."""
        return {content["sequence"] for content in self.objects()}
