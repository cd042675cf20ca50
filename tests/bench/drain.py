"""How fast a backlog drains, against the bare SDK with the same messages and 20 in flight.

    python -m tests.bench.drain
    python -m tests.bench.drain --rtt-ms 50 --batching auto --repeat 1 --seconds 2

The whole agent, a process of its own, drains an outbox that was filled before; its peer (bare_drain.py), a
process of its own too, sends the messages that the agent's ``Batcher`` makes of the same rows. Both send to
one local hub, one after the other, and take turns at going first; a round trip is made by relay.py.

What is measured is the hub's: the slope of rows stored over the time they were stored at, through the middle
nine tenths of a drain, so that neither's start and end count. Prints the medians over all repetitions, their
ratio, and how far the ratios of single repetitions lie apart.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from agent.batching import METERING_UNIT_BYTES, Batcher, Batching, Sendable
from agent.outbox import Outbox
from agent.reading import Entry, Row
from agent.timekeeping import BootClock
from tests.bench.bare_drain import IN_FLIGHT
from tests.bench.relay import relay
from tests.e2e.harness import Hub, Mast, clean_environment

HOLD = 0.95
MODES: tuple[Batching, ...] = get_args(Batching)
MOST_ROWS = 32
RUN, BOOT = "0badcafe", "earlier"
CLOCK = BootClock(1_790_000_000.0, True)
PROPERTIES = {"site": "north ridge"}
CONFIG = """\
[device]
state_directory = "{{state}}"
hub_tier = "S1"
{{device}}

[telemetry]
report_interval_s = 3600
batching = "{batching}"

[telemetry.properties]
site = "north ridge"

[outbox]
max_bytes = 268435456

[[sensor]]
id = "top"
driver = "simulated"
"""
_MESSAGES_PER_S = 2000.0  # about what the SDK does at most: for the number of rows only
_LEAST_MESSAGES = 12 * IN_FLIGHT
_DRAIN_TIMEOUT_S = 300.0


def entry(number: int) -> Entry:
    """A reading of the usual size."""
    body = {
        "sensor": "top", "interval": 60, "windSpeed": 7.02, "windGust": 10.09, "windLull": 4.1,
        "windSpeedStdDev": 1.2, "windDirection": 231.0, "windVectorSpeed": 6.9,
        "quality": "good", "flags": [],
    }  # fmt: skip
    return Entry("reading", float(number), body, simulated=True)


@dataclass(frozen=True)
class Backlog:
    """Rows that wait: as an outbox, and as the messages that one batching mode makes of them."""

    rows: int
    messages: int
    outbox: Path
    messages_file: Path


def backlog(folder: Path, mode: Batching, messages: int) -> Backlog:
    """About ``messages`` messages' worth of rows, in ``folder``."""
    path = folder / "backlog.db"
    outbox = Outbox(path, run=RUN, boot_id=BOOT, max_bytes=256 << 20)
    outbox.set_clock(BOOT, CLOCK)
    sample = outbox.append([entry(n) for n in range(MOST_ROWS)])
    first_message, _ = next(batched(mode, sample))
    objects = json.loads(first_message.body)
    rows = messages * (len(objects) if isinstance(objects, list) else 1)
    outbox.append([entry(n) for n in range(len(sample), rows)])
    waiting = list(outbox.backlog())
    outbox.close()
    lines = [
        json.dumps([message.message_id, message.body.decode(), dict(message.properties)])
        for message, _ in batched(mode, waiting)
    ]
    messages_file = folder / "messages.jsonl"
    messages_file.write_text("\n".join(lines))
    return Backlog(len(waiting), len(lines), path, messages_file)


def batched(mode: Batching, rows: list[Row]) -> Iterator[Sendable]:
    """``rows`` as the agent's messages."""
    batcher = Batcher(mode, METERING_UNIT_BYTES["S1"], "mast-1", PROPERTIES)
    begin = 0
    while offered := rows[begin : begin + batcher.most_rows(IN_FLIGHT)]:
        sendables, left_over = batcher.build(offered, IN_FLIGHT, lambda _: CLOCK)
        begin += len(offered) - len(left_over)
        yield from sendables


class HubLog:
    """What the hub has stored of a backlog since this was made: (seconds, rows so far), one a message."""

    def __init__(self, hub: Hub) -> None:
        self._db = sqlite3.connect(hub.data / "hub.db", timeout=30)
        (self._seen,) = self._db.execute("SELECT COALESCE(MAX(sequence), 0) FROM event").fetchone()
        self.stored: list[tuple[float, int]] = []
        self.rows = 0

    def read(self) -> None:
        query = "SELECT sequence, enqueued_s, body FROM event WHERE sequence > ? ORDER BY sequence"
        for sequence, enqueued_s, body in self._db.execute(query, (self._seen,)):
            self._seen = sequence
            content = json.loads(body)
            objects = content if isinstance(content, list) else [content]
            if rows := sum(item.get("run") == RUN for item in objects):
                self.rows += rows
                self.stored.append((enqueued_s, self.rows))

    def wait(self, rows: int, sender: subprocess.Popen[bytes]) -> None:
        """Until that many rows are stored. Looks seldom, since the drain has need of the processor."""
        deadline = time.monotonic() + _DRAIN_TIMEOUT_S
        while self.rows < rows:
            ended = sender.poll() is not None or time.monotonic() > deadline
            self.read()
            if ended and self.rows < rows:
                raise TimeoutError(f"the hub has {self.rows} of {rows} rows, and no more are coming")
            time.sleep(0.2)
        self._db.close()

    @property
    def rows_per_s(self) -> float:
        """By least squares: with 20 in flight rows come in bursts, one a round trip."""
        edge = len(self.stored) // 20
        seconds, rows = zip(*self.stored[edge : len(self.stored) - edge], strict=True)
        return statistics.linear_regression([s - seconds[0] for s in seconds], rows).slope


def agent(hub: Hub, connection_string: str, mode: Batching, waiting: Backlog) -> HubLog:
    """Have ``masthead run`` drain a copy of the backlog."""
    with tempfile.TemporaryDirectory() as folder:
        config = CONFIG.format(batching=mode)
        mast = Mast(Path(folder), connection_string, hub.ready["ca_file"], config)
        mast.state.mkdir()
        shutil.copy(waiting.outbox, mast.state / "outbox.db")
        log = HubLog(hub)
        with mast.run() as process:
            log.wait(waiting.rows, process.process)
            process.end()
    return log


def bare_sdk(hub: Hub, connection_string: str, waiting: Backlog) -> HubLog:
    """Have the peer send the same."""
    log = HubLog(hub)
    device = {"DEVICE": connection_string, "CA_FILE": hub.ready["ca_file"]}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.bare_drain", str(waiting.messages_file)],
        env=clean_environment(device),
    ) as peer:
        try:
            log.wait(waiting.rows, peer)
        except BaseException:
            peer.terminate()
            raise
    return log


@dataclass(frozen=True)
class Cell:
    """One batching mode at one round trip: rows a second of agent and peer, one pair a repetition."""

    rtt_ms: int
    mode: Batching
    waiting: Backlog
    messages: int
    rates: list[tuple[float, float]]

    @property
    def agent(self) -> float:
        return statistics.median(ours for ours, _ in self.rates)

    @property
    def bare_sdk(self) -> float:
        return statistics.median(bare for _, bare in self.rates)

    @property
    def ratio(self) -> float:
        return self.agent / self.bare_sdk

    def __str__(self) -> str:
        ratios = [ours / bare for ours, bare in self.rates]
        per_message = self.waiting.rows / self.messages, self.waiting.rows / self.waiting.messages
        return (
            f"{self.rtt_ms:6} {self.mode:8}{self.waiting.rows:8}{per_message[0]:13.1f}{per_message[1]:7.1f}"
            f"{self.agent:14,.0f}{self.bare_sdk:9,.0f}"
            f"{self.ratio:8.2f}   {min(ratios):.2f} to {max(ratios):.2f}"
        )


HEAD = """\
                            rows a message         rows a second          of single
RTT ms batching    rows        agent    SDK         agent      SDK   ratio   repetitions"""


def measure(
    hub: Hub, connection_string: str, rtt_ms: int, mode: Batching, messages: int, repeat: int
) -> Cell:
    """One cell of the table."""
    with tempfile.TemporaryDirectory() as folder:
        waiting = backlog(Path(folder), mode, messages)
        rates: list[tuple[float, float]] = []
        for number in range(repeat):
            if number % 2:
                ours = agent(hub, connection_string, mode, waiting)
                bare = bare_sdk(hub, connection_string, waiting)
            else:
                bare = bare_sdk(hub, connection_string, waiting)
                ours = agent(hub, connection_string, mode, waiting)
            rates.append((ours.rows_per_s, bare.rows_per_s))
    return Cell(rtt_ms, mode, waiting, len(ours.stored), rates)


@contextlib.contextmanager
def way(hub: Hub, rtt_ms: int) -> Iterator[str]:
    """The connection string of a hub that is ``rtt_ms`` away."""
    if rtt_ms == 0:
        yield hub.connection_string
        return
    near = "127.0.0.1"  # the only address in the hub's certificate but its own
    with relay(near, hub.ready["host"], rtt_ms):
        yield f"{hub.connection_string};GatewayHostName={near}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rtt-ms", type=int, nargs="+", default=[0, 50, 200], help="round trips")
    parser.add_argument("--batching", nargs="+", choices=MODES, default=MODES, help="batching modes")
    parser.add_argument("--repeat", type=int, default=3, help="drains of each, in every cell")
    parser.add_argument("--seconds", type=float, default=3.0, help="about how long a drain is to take")
    arguments = parser.parse_args()
    print(HEAD, flush=True)
    cells: list[Cell] = []
    with tempfile.TemporaryDirectory() as folder:
        hub = Hub(Path(folder)).start()
        try:
            for rtt_ms in arguments.rtt_ms:
                rate = IN_FLIGHT / (rtt_ms / 1000 + IN_FLIGHT / _MESSAGES_PER_S)
                messages = max(_LEAST_MESSAGES, round(arguments.seconds * rate))
                with way(hub, rtt_ms) as connection_string:
                    for mode in arguments.batching:
                        cells.append(
                            measure(hub, connection_string, rtt_ms, mode, messages, arguments.repeat)
                        )
                        print(cells[-1], flush=True)
        finally:
            hub.stop()
    slow = [f"{cell.mode} at {cell.rtt_ms} ms ({cell.ratio:.2f})" for cell in cells if cell.ratio < HOLD]
    print(f"below {HOLD}: {', '.join(slow) if slow else 'none'}")


if __name__ == "__main__":
    main()
