"""What the agent costs a machine, against a bare SDK script that sends a message a minute.

    python -m tests.bench.footprint
    python -m tests.bench.footprint --starts 1 --settle 3 --window 20

Three programs, each a process of its own, at one local hub: bare_minute.py; ``masthead run`` with a simulated
sensor, sampled four times a second and reported once a minute; and the same with every hardware driver and
vendor library loaded (with_drivers.py).

Each is started several times, alone: to READY by the service manager's protocol, to the first message by the
time at which the hub stored it (medians). Before the last of these ends, and once it has settled, its
memory is read (PSS: shared pages are counted in parts, and the hub and this program share the interpreter's),
its threads and its descriptors. Then all three run side by side and their CPU time is taken over a window.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.with_drivers import MISSING
from tests.e2e.harness import MASTHEAD, Mast, Process, clean_environment, free_host, wait_for

DEVICES = ("bare-sdk", "agent", "agent-with-drivers")
CONFIG = """\
[device]
state_directory = "{state}"
{device}

[telemetry]
report_interval_s = 60

[[sensor]]
id = "top"
driver = "simulated"
"""


@dataclass(frozen=True)
class Program:
    """What is measured: the device it is, its command line and what else it is told."""

    device: str
    command: tuple[str, ...]
    environment: dict[str, str]


@dataclass(frozen=True)
class Hub:
    """A local hub that runs: where it keeps what it stored, and what it says when it is ready."""

    data: Path
    ready: dict[str, Any]


@contextlib.contextmanager
def running_hub(folder: Path, devices: Iterable[str]) -> Iterator[Hub]:
    """``masthead hub`` with these devices."""
    named = [argument for device in devices for argument in ("--device", device)]
    data = folder / "hub"
    with Process(folder, "hub", "--data", str(data), "--host", free_host(), "--json", *named) as process:
        wait_for(lambda: "\n" in process.out or process.process.poll() is not None, "the hub")
        assert process.out, process.err
        yield Hub(data, json.loads(process.out.splitlines()[0]))
        process.end()


def programs(folder: Path, hub: Hub) -> tuple[Program, Program, Program]:
    """The bare script, the agent, and the agent with all drivers."""

    def masthead(device: str, *command: str) -> Program:
        own = folder / device
        own.mkdir()
        mast = Mast(own, hub.ready["devices"][device], hub.ready["ca_file"], CONFIG)
        return Program(device, (*command, "run", "--config", str(mast.config)), {})

    known = {"DEVICE": hub.ready["devices"][DEVICES[0]], "CA_FILE": hub.ready["ca_file"]}
    script = str(Path(__file__).with_name("bare_minute.py"))
    return (
        Program(DEVICES[0], (sys.executable, script), known),
        masthead(DEVICES[1], MASTHEAD),
        masthead(DEVICES[2], sys.executable, "-m", "tests.bench.with_drivers"),
    )


class ServiceManager:
    """The other end of sd_notify(3). ``ready_at``: when READY=1 came, by time.monotonic."""

    def __init__(self, folder: Path) -> None:
        self.address = folder / "notify"
        self.ready_at: float | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self) -> ServiceManager:
        self._socket.bind(str(self.address))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RD)
        self._thread.join()
        self._socket.close()
        self.address.unlink()

    def _listen(self) -> None:
        while told := self._socket.recv(65536):
            if self.ready_at is None and b"READY=1" in told.split(b"\n"):
                self.ready_at = time.monotonic()


@dataclass
class Run:
    """A program that runs. ``ready_s``: None if it says nothing of the kind; both from its start."""

    process: subprocess.Popen[bytes]
    stored_s: float
    ready_s: float | None

    def pss_mb(self) -> float:
        """Proportional set size: proc(5), smaps_rollup."""
        lines = self._file("smaps_rollup").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6

    def cpu_s(self) -> float:
        """User and system time so far: proc(5), stat, fields 14 and 15, in clock ticks."""
        fields = self._file("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/task"))  # noqa: PTH208  (a count)

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))  # noqa: PTH208  (a count)

    def _file(self, name: str) -> str:
        return Path(f"/proc/{self.process.pid}/{name}").read_text()


@contextlib.contextmanager
def running(program: Program, hub: Hub) -> Iterator[Run]:
    """The program, from when the hub has stored its first message."""
    with tempfile.TemporaryDirectory() as folder, ServiceManager(Path(folder)) as manager:
        environment = clean_environment({**program.environment, "NOTIFY_SOCKET": str(manager.address)})
        first_message = FirstMessage(hub, program.device)
        wall, began = time.time(), time.monotonic()
        with subprocess.Popen(program.command, env=environment, stderr=subprocess.DEVNULL) as process:
            try:
                stored_at = wait_for(
                    lambda: first_message.stored_at(process), f"the first message of {program.device}"
                )
                ready_s = None if manager.ready_at is None else manager.ready_at - began
                yield Run(process, stored_at - wall, ready_s)
            finally:
                process.terminate()


class FirstMessage:
    """When the hub stores the next message of a device."""

    def __init__(self, hub: Hub, device: str) -> None:
        self._hub, self._device = hub, device
        self._before = self._ask("SELECT COALESCE(MAX(sequence), 0) FROM event WHERE device_id = ?")

    def stored_at(self, process: subprocess.Popen[bytes]) -> float | None:
        """Unix seconds, or None so far. Fails if the device's process has ended."""
        assert process.poll() is None, f"{process.args!r} ended with {process.returncode}"
        query = "SELECT MIN(enqueued_s) FROM event WHERE device_id = ? AND sequence > ?"
        return self._ask(query, self._before)

    def _ask(self, query: str, *more: float | None) -> float | None:
        with contextlib.closing(sqlite3.connect(self._hub.data / "hub.db", timeout=30)) as db:
            (answer,) = db.execute(query, (self._device, *more)).fetchone()
        return None if answer is None else float(answer)


@dataclass
class Figures:
    """What one program cost. ``ready_s``: empty if it says nothing of the kind."""

    ready_s: list[float] = field(default_factory=list)
    stored_s: list[float] = field(default_factory=list)
    pss_mb: float = 0.0
    threads: int = 0
    descriptors: int = 0
    cpu_s_per_min: float = 0.0


def start(program: Program, hub: Hub, figures: Figures, settle_s: float | None) -> None:
    """Start it alone and end it; with ``settle_s``, read what it holds that long after its first message."""
    with running(program, hub) as run:
        figures.stored_s.append(run.stored_s)
        if run.ready_s is not None:
            figures.ready_s.append(run.ready_s)
        if settle_s is not None:
            time.sleep(settle_s)
            figures.pss_mb, figures.threads, figures.descriptors = (
                run.pss_mb(), run.threads(), run.descriptors()
            )  # fmt: skip


def take_cpu(measured: list[tuple[Program, Figures]], hub: Hub, settle_s: float, window_s: float) -> None:
    """All side by side, the CPU time of each over the window."""
    with contextlib.ExitStack() as stack:
        runs = [(stack.enter_context(running(program, hub)), figures) for program, figures in measured]
        time.sleep(settle_s)
        before_s = [run.cpu_s() for run, _ in runs]
        time.sleep(window_s)
        for (run, figures), cpu_s in zip(runs, before_s, strict=True):
            figures.cpu_s_per_min = (run.cpu_s() - cpu_s) / window_s * 60


def table(bare: Figures, agent: Figures, loaded: Figures, window_s: float) -> str:
    """Each figure of the three, the agent's beside the peer's, and what is to be held."""

    def line(name: str, held: str, of: Callable[[Figures], float | None], form: str, ratio: bool) -> str:
        cells = [of(figures) for figures in (bare, agent, loaded)]
        peer = cells[0]
        shown = [f"{'–':>12}" if peer is None else f"{peer:12{form}}"]
        for value in cells[1:]:
            if value is None:
                beside = ""
            elif peer is None:
                beside = f"{value:10{form}}"
            else:
                apart = f"× {value / peer:.1f}" if ratio and peer else f"{value - peer:+{form}}"
                beside = f"{value:10{form}} ({apart})"
            shown.append(f"{beside:22}")
        return f"{name:28}{shown[0]}{shown[1]}{shown[2]}{held}"

    def median(values: list[float]) -> float | None:
        return statistics.median(values) if values else None

    return "\n".join(
        (
            f"{'':28}{'bare SDK':>12}{'agent':>10}{'':12}{'agent + drivers':22}held",
            line("PSS, MB", "bare SDK + 10, drivers loaded", lambda f: f.pss_mb, ".1f", False),
            line(f"CPU, s/min over {window_s:.0f} s", "0.3", lambda f: f.cpu_s_per_min, ".2f", True),
            line("threads", "–", lambda f: f.threads, ".0f", False),
            line("descriptors", "–", lambda f: f.descriptors, ".0f", False),
            line("start to READY, s", "0.5", lambda f: median(f.ready_s), ".2f", False),
            line("start to first message, s", "1", lambda f: median(f.stored_s), ".2f", True),
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--starts", type=int, default=5, help="starts of each")
    parser.add_argument("--settle", type=float, default=10.0, help="seconds from the first message to memory")
    parser.add_argument("--window", type=float, default=60.0, help="seconds over which CPU time is taken")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with running_hub(folder, DEVICES) as hub:
            measured = [(program, Figures()) for program in programs(folder, hub)]
            for number in range(arguments.starts):
                settle_s = arguments.settle if number == arguments.starts - 1 else None
                for program, figures in measured:
                    start(program, hub, figures, settle_s)
            take_cpu(measured, hub, arguments.settle, arguments.window)
    bare, agent, loaded = (figures for _, figures in measured)
    print(table(bare, agent, loaded, arguments.window))
    if MISSING:
        print(f"not installed, and so not loaded: {', '.join(MISSING)}")


if __name__ == "__main__":
    main()
