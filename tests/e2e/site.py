"""The agent in this process, at a local hub by the real SDK over TLS, with the test's own clock and wind."""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent.commands.actuation import LOCAL
from agent.commands.asking import result
from agent.commands.journal import Arrival
from agent.config import loads
from agent.daemon import Daemon
from agent.localhub.hub import LocalHub
from agent.localhub.records import MethodResult
from agent.localhub.thread import HubThread
from agent.timekeeping import Timekeeper
from hw import board, registry
from hw.actuator import Value
from hw.anemometer import WindSample
from hw.clock import Clock, SystemClock
from hw.simulated.pins import SimulatedActuator
from tests.e2e.harness import TIMEOUT_S, free_host, wait_for

CONFIG = """
[device]
state_directory = "{state}"
connection_string_file = "{secret}"
ca_file = "{ca_file}"

[telemetry]
report_interval_s = 1

[[sensor]]
id = "top"
driver = "weather"

[actuators.beacon]
driver = "recorder"
stale_sensor_s = 86400
max_per_minute = 1000

[actuators.vent]
driver = "recorder"
safe = 0.0
maximum = 100.0
stale_sensor_s = 86400
max_per_minute = 1000
"""


class Recorder(SimulatedActuator):
    """A simulated actuator that keeps what it was driven to."""

    def __init__(self, settings: SimulatedActuator.Settings) -> None:
        super().__init__(settings)
        self.driven: list[Value] = []

    def drive(self, value: Value) -> None:
        super().drive(value)
        self.driven.append(value)


class Weather:
    """An anemometer that has the wind of ``speed_mps``."""

    Settings = registry.load(registry.ANEMOMETERS, "simulated").Settings
    simulated = True
    calibration: str | None = None
    has_direction = False
    speed_mps = 5.0

    @classmethod
    def open(cls, settings: object, clock: Clock) -> Weather:
        return cls()

    def read(self, now: float) -> WindSample:
        return WindSample(now, type(self).speed_mps)

    def close(self) -> None:
        pass


class AheadClock(SystemClock):
    """The machine's clocks, ``ahead_s`` later."""

    ahead_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s

    def wall(self) -> float:
        return super().wall() + self.ahead_s


class Hub:
    """A hub on a thread, its address and state the same from one start to the next."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "hub"
        self._host = free_host()
        self._thread: HubThread | None = None

    def start(self) -> None:
        self._thread = HubThread(LocalHub(self._folder, self._host))
        self._thread.start()

    def stop(self) -> None:
        if self._thread is not None:
            self._thread.stop()

    @property
    def hub(self) -> LocalHub:
        assert self._thread is not None
        return self._thread.hub


@contextmanager
def running_hub(folder: Path) -> Iterator[Hub]:
    """In a process where the drivers above are known, and no credential but the test's."""
    hub = Hub(folder)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("IOTHUB_DEVICE_CONNECTION_STRING", "CREDENTIALS_DIRECTORY", "RUNTIME_DIRECTORY"):
            patch.delenv(name, raising=False)
        patch.setattr(board, "DEVICE_TREE", folder / "none")
        patch.setitem(registry.ANEMOMETERS, "weather", f"{__name__}:Weather")
        patch.setitem(registry.ACTUATORS, "recorder", f"{__name__}:Recorder")
        hub.start()
        try:
            yield hub
        finally:
            hub.stop()


class Device:
    """A device as its hub sees it."""

    def __init__(self, hub: Hub, device: str) -> None:
        self._hub = hub
        self.device = device
        hub.hub.ensure_device(device)

    def send(self, body: bytes, message_id: str | None, expires_in_s: float = 300.0) -> None:
        self._hub.hub.send_c2d(self.device, body, message_id=message_id, expires_in_s=expires_in_s)

    def start_call(self, name: str, payload: bytes) -> Future[MethodResult]:
        """Past the hub's own check: the device is sent what no hub would let through."""
        call = self._hub.hub._listener.call(self.device, name, payload, TIMEOUT_S)
        return asyncio.run_coroutine_threadsafe(call, self._hub.hub._loop)

    def call(self, name: str, payload: bytes = b"null") -> tuple[int, Any]:
        """The number and the JSON of a direct method's answer."""
        answer = self.start_call(name, payload).result(TIMEOUT_S)
        return answer.status, json.loads(answer.payload)

    def bodies(self, since: int = 0) -> list[Mapping[str, Any]]:
        """What has arrived at the hub after ``mark``, oldest first."""
        events = self._hub.hub.store.events.after(since, self.device, limit=100_000)
        return [json.loads(event.body) for event in events]

    def correlated(self, command_id: str) -> int:
        """How many messages have this correlation id."""
        events = self._hub.hub.store.events.latest(self.device, 1000)
        return sum(event.system.get("correlation-id") == command_id for event in events)

    @property
    def mark(self) -> int:
        """What has arrived so far ends here."""
        latest = self._hub.hub.store.events.latest(self.device, 1)
        return latest[0].sequence if latest else 0

    def outcomes(self, act: Callable[[], object]) -> list[Mapping[str, Any]]:
        """All outcomes of what ``act`` sends, in the order of their arrival. None is missed, none another's:
        they come in the order of the commands, and one goes before and one after."""
        since, first, last = self.mark, str(uuid.uuid4()), str(uuid.uuid4())
        self.call("ping", json.dumps({"id": first}).encode())
        act()
        self.send(b'{"command": "ping"}', last)

        def found() -> list[Mapping[str, Any]]:
            outcomes = [body for body in self.bodies(since) if "commandId" in body and "status" in body]
            return outcomes if outcomes and outcomes[-1]["commandId"] == last else []

        outcomes: list[Mapping[str, Any]] = wait_for(found, "the outcomes")
        began = [outcome["commandId"] for outcome in outcomes].index(first) + 1
        return [own(outcome) for outcome in outcomes[began:-1]]

    def events(self, kind: str, since: int = 0) -> list[Mapping[str, Any]]:
        return [body for body in self.bodies(since) if body.get("event") == kind]


class Agent(Device):
    """A device's agent in this process from ``start`` to ``stop``."""

    def __init__(
        self, folder: Path, hub: Hub, device: str, *, synchronised: bool = True, config: str = CONFIG
    ) -> None:
        super().__init__(hub, device)
        self.clock = AheadClock()
        self.gate = threading.RLock()
        """While it is held, what comes is journalled, and waits for its turn."""
        place = folder / device
        place.mkdir()
        secret = place / "connection-string"
        secret.touch(0o600)
        secret.write_text(hub.hub.device_connection_string(device))
        text = config.format(state=place / "state", secret=secret, ca_file=hub.hub.ca_file)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("agent.daemon.Timekeeper", partial(Timekeeper, synchronised=lambda: synchronised))
            self.daemon = Daemon(loads(text, place / "masthead.toml"), clock=self.clock)
        journal = self.daemon.executor._journal
        assert journal is not None
        earlier = journal.earlier

        def gated(arrival: Arrival) -> Arrival | None:
            with self.gate:
                return earlier(arrival)

        journal.earlier = gated  # type: ignore[method-assign]

    def start(self) -> Agent:
        self.daemon.start()
        wait_for(lambda: self.link == "up", "the connection")
        return self

    def stop(self) -> None:
        self.daemon.shut_down()

    @property
    def link(self) -> str:
        assert self.daemon.uplink is not None
        return self.daemon.uplink.status.state

    def actuator(self, name: str) -> Recorder:
        recorder = self.daemon.guard._outputs[name].actuator
        assert isinstance(recorder, Recorder)
        return recorder

    def reset(self) -> None:
        """All safe, and forget what was driven."""
        result(self.daemon.guard.make_safe(None, LOCAL))
        for name in self.daemon.guard.status:
            self.actuator(name).driven.clear()


def own(body: Mapping[str, Any]) -> dict[str, Any]:
    """An outcome without the head of every message."""
    head = {"deviceId", "run", "sequence", "time", "timeQuality"}
    return {name: value for name, value in body.items() if name not in head}


@contextmanager
def running_agent(folder: Path, hub: Hub, device: str = "mast-1", **options: Any) -> Iterator[Agent]:
    agent = Agent(folder, hub, device, **options)
    try:
        yield agent.start()
    finally:
        agent.stop()
