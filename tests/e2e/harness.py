"""The product as processes: a hub and agents that can be stopped, killed and asked."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

MASTHEAD = str(Path(sys.executable).with_name("masthead"))
TIMEOUT_S = 90.0

CONFIG = """\
[device]
state_directory = "{state}"
{device}

[telemetry]
report_interval_s = 1

[[sensor]]
id = "top"
driver = "simulated"
seed = 1

[[sensor]]
id = "middle"
driver = "simulated"
seed = 2

[actuators.beacon]
driver = "simulated"
max_on_s = 60
"""


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = TIMEOUT_S) -> Any:
    """The first true value of ``condition``; fails after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s in vain: {what}"
        time.sleep(0.02)


class Process:
    """A masthead command in the background, its output in files. Ended at the latest by ``with``."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        environment: dict[str, str] | None = None,
        program: Sequence[str] = (MASTHEAD,),
    ) -> None:
        """``program``: what takes the arguments, if it is not masthead itself."""
        self._out = folder / f"{arguments[0]}-{time.monotonic_ns()}.out"
        self._err = self._out.with_suffix(".err")
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [*program, *arguments], stdout=out, stderr=err, env=clean_environment(environment)
            )

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    def kill(self) -> None:
        """kill -9, at once."""
        self.process.kill()
        self.process.wait()

    def end(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = TIMEOUT_S) -> int:
        """Ask to end; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout_s)

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.end(timeout_s=10)
            if self.process.poll() is None:
                self.kill()


def clean_environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what would point masthead at somebody else's things."""
    drop = (
        "MASTHEAD_",
        "IOTHUB_",
        "CREDENTIALS_DIRECTORY",
        "STATE_DIRECTORY",
        "RUNTIME_DIRECTORY",
        "NOTIFY_SOCKET",
    )
    return {k: v for k, v in os.environ.items() if not k.startswith(drop)} | (extra or {})


def masthead(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A masthead command to its end."""
    return subprocess.run(
        [MASTHEAD, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env=clean_environment(environment),
        check=False,
    )


def hosts() -> Iterator[str]:
    """Addresses of the loopback range, in any order, that no other process of these tests is given."""
    worker = 1 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for last in random.sample(range(60, 200), 100):
        yield f"127.0.{worker}.{last}"


def free_host() -> str:
    """An address of the loopback range whose MQTT port nobody uses."""
    for host in hosts():
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, 8883))
            return host
    raise AssertionError("no free address")


class Hub:
    """``masthead hub`` on an address and a data folder that survive its restarts."""

    def __init__(self, folder: Path, device: str = "mast-1", options: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.data = folder / "hub"
        self._device = device
        self._options = options
        self._host = free_host()
        self.process: Process | None = None

    def start(self) -> Hub:
        self.process = Process(
            self.folder,
            "hub",
            "--data",
            str(self.data),
            "--device",
            self._device,
            "--json",
            "--host",
            self._host,
            *self._options,
        )
        process = self.process
        wait_for(lambda: "\n" in process.out or process.process.poll() is not None, "the hub's first line")
        assert process.out, process.err
        self.ready: dict[str, Any] = json.loads(process.out.splitlines()[0])
        return self

    @property
    def connection_string(self) -> str:
        return str(self.ready["devices"][self._device])

    def bodies(self) -> list[dict[str, Any]]:
        """Every object that arrived, in order, as read from the hub's own store."""
        with contextlib.closing(sqlite3.connect(self.data / "hub.db", timeout=30)) as db:
            messages = [
                json.loads(body) for (body,) in db.execute("SELECT body FROM event ORDER BY sequence")
            ]
        return [
            item for message in messages for item in (message if isinstance(message, list) else [message])
        ]

    def object_ids(self) -> list[str]:
        """``<run>-<sequence>`` of every object that arrived, in order."""
        return [f"{body['run']}-{body['sequence']}" for body in self.bodies()]

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()

    def stop(self) -> None:
        if self.process is not None and self.process.process.poll() is None:
            assert self.process.end() == 0, self.process.err


@contextlib.contextmanager
def running_hub(folder: Path) -> Iterator[Hub]:
    hub = Hub(folder)
    try:
        yield hub.start()
    finally:
        hub.stop()


class Mast:
    """An agent's configuration, state and credential, for one process after another."""

    def __init__(
        self, folder: Path, connection_string: str, ca_file: str | None, config: str = CONFIG
    ) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.config = folder / "masthead.toml"
        secret = folder / "connection-string"
        secret.touch(0o600)
        secret.write_text(connection_string)
        device = f'connection_string_file = "{secret}"\n' + (f'ca_file = "{ca_file}"' if ca_file else "")
        self.config.write_text(config.format(state=self.state, device=device))

    def run(
        self,
        *options: str,
        environment: dict[str, str] | None = None,
        program: Sequence[str] = (MASTHEAD,),
    ) -> Process:
        arguments = ("run", "--config", str(self.config), *options)
        return Process(self.folder, *arguments, environment=environment, program=program)

    def ask(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return masthead(command, *arguments, "--config", str(self.config))

    def status(self) -> dict[str, Any] | None:
        """The running agent's snapshot, or None while it does not answer."""
        from agent.control import ControlClient, ControlError

        try:
            with ControlClient(self.state) as client:
                return client.ask("status")
        except ControlError:
            return None

    def stored_ids(self) -> list[str]:
        """``<run>-<sequence>`` of every row in the outbox, sent or not."""
        with contextlib.closing(sqlite3.connect(self.state / "outbox.db", timeout=30)) as db:
            return [
                f"{run}-{sequence}"
                for run, sequence in db.execute("SELECT run, sequence FROM rows ORDER BY sequence")
            ]

    def settled(self) -> dict[str, Any] | None:
        """The snapshot once everything is confirmed, else None."""
        status = self.status()
        if status is not None and status["link"]["state"] == "up" and status["outbox"]["backlog"] == 0:
            return status
        return None
