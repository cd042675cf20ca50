"""A long way to the hub: passes TCP on, each way half a round trip later, as much of it as anybody sends.

    python -m tests.bench.relay --rtt-ms 200

shows that it does: what one byte takes each way through the relay, and what a stream of bytes carries.

The relay is a process of its own, so that it never waits for the interpreter of those it stands between. What
is on its way is kept in memory without a bound: the delay limits no throughput.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator

from tests.e2e.harness import free_host

PORT = 8883
"""The SDK's, which knows no other."""

_PATIENCE_S = 30.0  # with another program's hub at the address that it is to have
_CHUNK = b"x" * 65536


class _End(asyncio.Protocol):
    """One end of a connection. What arrives here leaves by the ``other`` end, ``delay_s`` later."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._loop = asyncio.get_running_loop()
        self._on_the_way: deque[tuple[float, bytes]] = deque()  # (due, data); no data: the end
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.WriteTransport | None = None
        self.other: _End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        if self.other is not None:
            self.other.pass_on()

    def data_received(self, data: bytes) -> None:
        self._on_the_way.append((self._loop.time() + self._delay_s, data))
        if self._timer is None:
            self.pass_on()

    def connection_lost(self, _: Exception | None) -> None:
        self.data_received(b"")

    def pass_on(self) -> None:
        """Hand over what is due, once there is somebody to take it."""
        self._timer = None
        if self.other is None or self.other._transport is None:
            return
        now = self._loop.time()
        while self._on_the_way and self._on_the_way[0][0] <= now:
            _, data = self._on_the_way.popleft()
            if data:
                self.other._transport.write(data)
            else:
                self.other._transport.close()
        if self._on_the_way:
            self._timer = self._loop.call_at(self._on_the_way[0][0], self.pass_on)


async def _serve(listen: str, target: str, delay_s: float) -> None:
    loop = asyncio.get_running_loop()
    connecting: set[asyncio.Task[None]] = set()

    def accepted() -> _End:
        near, far = _End(delay_s), _End(delay_s)
        near.other, far.other = far, near

        async def connect() -> None:
            try:
                await loop.create_connection(lambda: far, target, PORT)
            except OSError:
                far.connection_lost(None)

        task = loop.create_task(connect())
        connecting.add(task)
        task.add_done_callback(connecting.discard)
        return near

    deadline = loop.time() + _PATIENCE_S
    while True:
        try:
            server = await loop.create_server(accepted, listen, PORT)
            break
        except OSError as error:
            if error.errno != errno.EADDRINUSE or loop.time() > deadline:
                raise
            await asyncio.sleep(0.2)
    print("listening", flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def relay(listen: str, target: str, rtt_ms: float) -> Iterator[None]:
    """A relay from ``listen`` to ``target``, a process of its own. Ends this one if it cannot listen."""
    arguments = ["--listen", listen, "--target", target, "--rtt-ms", str(rtt_ms)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.relay", *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process, process.stdout as output:
        try:
            if not output.readline():  # it has said why
                raise SystemExit(1)
            yield
        finally:
            process.terminate()


def measure(rtt_ms: float, stream_s: float = 3.0) -> tuple[float, float, float]:
    """(milliseconds there, milliseconds back, megabytes a second of a plain stream) through a relay."""
    with (
        socket.create_server((far := free_host(), PORT)) as server,
        relay(near := free_host(), far, rtt_ms),
        socket.create_connection((near, PORT)) as sender,
        server.accept()[0] as receiver,
    ):
        began = time.monotonic()
        sender.sendall(b"?")
        receiver.recv(1)
        arrived = time.monotonic()
        receiver.sendall(b"!")
        sender.recv(1)
        answered = time.monotonic()
        stream = threading.Thread(target=_stream, args=(sender, time.monotonic() + stream_s))
        stream.start()
        receiver.recv(1)
        first, count = time.monotonic(), 1
        while data := receiver.recv(1 << 20):
            count += len(data)
        rate = count / (time.monotonic() - first)
        stream.join()
    return (arrived - began) * 1e3, (answered - arrived) * 1e3, rate / 1e6


def _stream(sender: socket.socket, until: float) -> None:
    while time.monotonic() < until:
        sender.sendall(_CHUNK)
    sender.shutdown(socket.SHUT_WR)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rtt-ms", type=float, default=200.0, help="a round trip through the relay")
    parser.add_argument("--listen", help="an address of the loopback range; else it shows what it does")
    parser.add_argument("--target", help="where to pass on to")
    arguments = parser.parse_args()
    if arguments.listen:
        try:
            asyncio.run(_serve(arguments.listen, arguments.target, arguments.rtt_ms / 2000))
        except OSError as error:
            sys.exit(f"cannot listen on {arguments.listen}:{PORT}: {error.strerror}; end what uses it")
        except KeyboardInterrupt:
            pass
        return
    there, back, rate = measure(arguments.rtt_ms)
    print(f"{there:.1f} ms there, {back:.1f} ms back, {rate:.0f} MB/s")


if __name__ == "__main__":
    main()
