"""How fast a backlog drains, against the bare SDK with the same bodies and 20 in flight.

    python -m tests.bench.drain --rows 2000 --rtt-ms 0 50

The local hub runs as a process of its own; a round trip is made by a relay that holds bytes back for half of
it each way. Agent and peer are measured one after the other against the same hub. Prints readings a second of
both, and their ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from agent.outbox import Outbox
from agent.reading import Entry, Message, build_message
from agent.timekeeping import BootClock
from tests.e2e.harness import Hub, Mast, free_host, wait_for

WINDOW = 20
CONFIG = """\
[device]
state_directory = "{state}"
{device}

[telemetry]
report_interval_s = 3600

[[sensor]]
id = "top"
driver = "simulated"
"""


def entry(number: int) -> Entry:
    body = {
        "sensor": "top", "interval": 60, "windSpeed": 7.02, "windGust": 10.09, "windLull": 4.1,
        "windSpeedStdDev": 1.2, "windDirection": 231.0, "windVectorSpeed": 6.9,
        "quality": "good", "flags": [],
    }  # fmt: skip
    return Entry("reading", float(number), body, simulated=True)


class Relay:
    """Passes TCP on to the hub, each way after ``delay_s``."""

    def __init__(self, listen: str, target: str, delay_s: float) -> None:
        self._listen, self._target, self._delay_s = listen, target, delay_s
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Relay:
        self._thread.start()
        starting = asyncio.start_server(self._serve, self._listen, 8883)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._target, 8883)
        await asyncio.gather(
            self._pass(reader, far_writer), self._pass(far_reader, writer), return_exceptions=True
        )

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while data := await reader.read(65536):
            loop.call_later(self._delay_s, writer.write, data)
        loop.call_later(self._delay_s, writer.close)


def bare_sdk(connection_string: str, ca_file: str, messages: list[Message]) -> float:
    """Seconds from the connection to the last confirmation."""
    from azure.iot.device import Message as SdkMessage
    from azure.iot.device.aio import IoTHubDeviceClient

    async def send_all() -> float:
        client = IoTHubDeviceClient.create_from_connection_string(
            connection_string, server_verification_cert=Path(ca_file).read_text()
        )
        await client.connect()
        places = asyncio.Semaphore(WINDOW)

        async def send(message: Message) -> None:
            async with places:
                outgoing = SdkMessage(  # type: ignore[no-untyped-call]
                    message.body,
                    message.message_id,
                    content_type="application/json",
                    content_encoding="utf-8",
                )
                outgoing.custom_properties = dict(message.properties)
                await client.send_message(outgoing)

        began = time.monotonic()
        await asyncio.gather(*(send(message) for message in messages))
        took_s = time.monotonic() - began
        await client.shutdown()
        return took_s

    return asyncio.run(send_all())


def agent(mast: Mast, rows: int) -> float:
    """Seconds from the connection to the last confirmation, by the agent's own log and counters."""
    mast.state.mkdir(parents=True, exist_ok=True)
    outbox = Outbox(mast.state / "outbox.db", run="0badcafe", boot_id="earlier", max_bytes=64 << 20)
    outbox.append([entry(n) for n in range(rows)])
    outbox.close()
    with mast.run() as process:
        began = wait_for(lambda: "hub link up" in process.err and time.monotonic(), "the link")
        wait_for(lambda: (s := mast.status()) and s["outbox"]["keptSent"] >= rows and s, "the drain", 600)
        took_s = time.monotonic() - began
        process.end()
    return took_s


@contextlib.contextmanager
def rig(folder: Path, rtt_ms: int) -> Iterator[tuple[Hub, str]]:
    hub = Hub(folder).start()
    near = free_host() if rtt_ms == 0 else "127.0.0.1"
    try:
        if rtt_ms == 0:
            yield hub, hub.connection_string
        else:
            with Relay(near, hub.ready["host"], rtt_ms / 2000):
                yield hub, hub.connection_string + ";GatewayHostName=127.0.0.1"
    finally:
        hub.stop()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--rtt-ms", type=int, nargs="+", default=[0, 50])
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:  # the peer is a process of its own, as the agent is
        job = json.loads(arguments.peer)
        clock = BootClock(1_790_000_000.0, True)
        from agent.reading import Row

        messages = [
            build_message(Row(n + 1, "0badcafe", "earlier", entry(n)), "mast-1", clock, {})
            for n in range(job["rows"])
        ]
        print(bare_sdk(job["connection_string"], job["ca_file"], messages))
        return
    for rtt_ms in arguments.rtt_ms:
        with tempfile.TemporaryDirectory() as folder, rig(Path(folder), rtt_ms) as (hub, connection_string):
            job = {
                "rows": arguments.rows,
                "connection_string": connection_string,
                "ca_file": hub.ready["ca_file"],
            }
            peer = subprocess.run(
                [sys.executable, "-m", "tests.bench.drain", "--peer", json.dumps(job)],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            bare = arguments.rows / float(peer.stdout)
            ours = arguments.rows / agent(
                Mast(Path(folder), connection_string, hub.ready["ca_file"], CONFIG), arguments.rows
            )
            print(
                f"RTT {rtt_ms:3} ms: agent {ours:7.0f}/s, bare SDK {bare:7.0f}/s, ratio {ours / bare:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
