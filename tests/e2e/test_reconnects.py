"""Many connections, one after the other: nothing piles up, however they end."""

from __future__ import annotations

import gc
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.cloud import WINDOW, HubError
from agent.cloud.azure import AzureHubClient, HubOptions
from agent.cloud.credentials import parse
from agent.localhub.faults import Fault
from agent.localhub.hub import LocalHub
from agent.localhub.thread import HubThread
from agent.reading import Message
from hw.clock import SystemClock
from tests.e2e.harness import free_host

TIMEOUT_S = 30.0


@pytest.fixture(autouse=True)
def _no_log() -> Iterator[None]:
    """pytest keeps log records, and those about a lost connection hold its socket."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    thread = HubThread(LocalHub(tmp_path, free_host()))
    thread.start()
    thread.hub.ensure_device("mast-1")
    yield thread.hub
    thread.stop()


def connected(hub: LocalHub) -> AzureHubClient:
    """A new client that has got one message through."""
    credential = parse(hub.device_connection_string("mast-1"), "test")
    options = HubOptions(ca_pem=hub.ca_file.read_text())
    client = AzureHubClient(credential, options, SystemClock(), lambda _: None, lambda _: None)
    client.connect().result(TIMEOUT_S)
    client.send(Message(b"{}", "first")).result(TIMEOUT_S)
    return client


def closed(hub: LocalHub) -> None:
    """A connection that the device ends."""
    connected(hub).close().result(TIMEOUT_S)


def kicked(hub: LocalHub) -> None:
    """A connection that the hub ends with a window of messages in flight, none of which is confirmed."""
    client = connected(hub)
    hub.faults.set(Fault("no-puback"))
    sending = [client.send(Message(b"{}", f"m-{number}")) for number in range(WINDOW)]
    hub.faults.set(Fault("kick"))
    for future in sending:
        assert isinstance(future.exception(TIMEOUT_S), HubError)
    hub.faults.clear("no-puback")
    client.close().result(TIMEOUT_S)


@pytest.mark.parametrize("count", [30, pytest.param(1000, marks=pytest.mark.long)])
@pytest.mark.parametrize("connection", [closed, kicked])
def test_reconnects(hub: LocalHub, connection: Callable[[LocalHub], None], count: int) -> None:
    """Descriptors, threads and memory stay flat over many clients of the real SDK, each used once."""
    for _ in range(count // 10 + 10):  # until pools and caches have their size
        connection(hub)
    before = footprint()
    for _ in range(count):
        connection(hub)
    after = footprint()
    print(f"{connection.__name__}, {count} times: "
          f"descriptors {before[0]} -> {after[0]}, threads {before[1]} -> {after[1]}, "
          f"resident {before[2] / 1e6:.1f} -> {after[2] / 1e6:.1f} MB")  # fmt: skip
    assert after[0] <= before[0] + 2
    assert after[1] <= before[1] + 1
    assert after[2] <= before[2] * 1.1


def footprint() -> tuple[int, int, int]:
    """Descriptors, threads and resident bytes of this process, but for the hub's pool, which grows late."""
    gc.collect()
    threads = [thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")]
    resident_pages = int(Path("/proc/self/statm").read_text().split()[1])
    return (
        len(os.listdir("/proc/self/fd")),  # noqa: PTH208  (a count)
        len(threads),
        resident_pages * os.sysconf("SC_PAGE_SIZE"),
    )
