"""A thousand connections, one after the other: nothing piles up."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path

import pytest

from agent.cloud.azure import AzureHubClient, AzureLoop, HubOptions
from agent.cloud.credentials import parse
from agent.localhub.hub import LocalHub
from agent.localhub.thread import HubThread
from agent.reading import Message
from hw.clock import SystemClock
from tests.e2e.harness import free_host

TIMEOUT_S = 30.0


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  (a count)


@pytest.mark.long
def test_a_thousand_reconnects(tmp_path: Path) -> None:
    """Descriptors, threads and memory stay flat over 1,000 clients of the real SDK, each used once."""
    thread = HubThread(LocalHub(tmp_path, free_host()))
    thread.start()
    hub = thread.hub
    hub.ensure_device("mast-1")
    credential = parse(hub.device_connection_string("mast-1"), "test")
    options = HubOptions(ca_pem=hub.ca_file.read_text())
    loop = AzureLoop()

    def cycle(number: int) -> None:
        client = AzureHubClient(loop, credential, options, SystemClock(), lambda _: None)
        client.connect().result(TIMEOUT_S)
        client.send(Message(b"{}", f"m-{number}")).result(TIMEOUT_S)
        client.close().result(TIMEOUT_S)

    for number in range(100):  # until pools and caches have their size
        cycle(number)
    gc.collect()
    before = descriptors(), threading.active_count(), resident_bytes()
    for number in range(1000):
        cycle(number)
    gc.collect()
    after = descriptors(), threading.active_count(), resident_bytes()
    loop.stop(5.0)
    thread.stop()
    print(f"descriptors {before[0]} -> {after[0]}, threads {before[1]} -> {after[1]}, "
          f"resident {before[2] / 1e6:.1f} -> {after[2] / 1e6:.1f} MB")  # fmt: skip
    assert after[0] <= before[0] + 2
    assert after[1] <= before[1] + 1
    assert after[2] <= before[2] * 1.1
