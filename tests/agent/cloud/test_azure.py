from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cloud import WINDOW, CloudMessage, HubUnavailable, HubUntrusted
from agent.cloud.azure import AzureHubClient, AzureLoop, HubOptions, explain
from agent.cloud.credentials import Credential, parse
from agent.localhub.hub import LocalHub
from agent.localhub.thread import HubThread
from agent.reading import Message
from hw.clock import SystemClock

TIMEOUT_S = 30.0


@pytest.fixture
def loop() -> Iterator[AzureLoop]:
    loop = AzureLoop()
    yield loop
    loop.stop(2.0)


def client(loop: AzureLoop, text: str, ca_pem: str | None = None) -> AzureHubClient:
    return AzureHubClient(loop, parse(text, "test"), HubOptions(ca_pem=ca_pem), SystemClock(), lambda m: None)


def _string(host: str) -> str:
    return f"HostName={host};DeviceId=mast-1;SharedAccessKey=c2VjcmV0"


@contextlib.contextmanager
def opened(one: AzureHubClient) -> Iterator[AzureHubClient]:
    try:
        yield one
    finally:
        one.close().result(TIMEOUT_S)


def test_nobody_listens(loop: AzureLoop) -> None:
    """A refused TCP connection names host and port."""
    with (
        opened(client(loop, _string("127.0.0.253"))) as one,
        pytest.raises(HubUnavailable, match=r"127\.0\.0\.253:8883"),
    ):
        one.connect().result(TIMEOUT_S)


def test_a_name_that_does_not_resolve(loop: AzureLoop) -> None:
    """A host name without an address says to check the network and the name."""
    with (
        opened(client(loop, _string("no-such-host.invalid"))) as one,
        pytest.raises(HubUnavailable, match="resolved"),
    ):
        one.connect().result(TIMEOUT_S)


def test_an_untrusted_certificate(loop: AzureLoop, tmp_path: Path) -> None:
    """Without the hub's CA the hub is not trusted, and the remedy is named."""
    thread = HubThread(LocalHub(tmp_path))
    thread.start()
    try:
        thread.hub.ensure_device("mast-1")
        text = thread.hub.device_connection_string("mast-1")
        with opened(client(loop, text)) as one, pytest.raises(HubUntrusted, match=r"device\.ca_file"):
            one.connect().result(TIMEOUT_S)
    finally:
        thread.stop()


def test_a_silent_host_blocks_nothing(loop: AzureLoop) -> None:
    """While a connect to a host that never speaks hangs, the client can be given up at once."""
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        silent.bind(("127.0.0.252", 8883))
        silent.listen()
        one = client(loop, _string("127.0.0.252"))
        connecting = one.connect()
        accepted, _ = silent.accept()
        assert not connecting.done()
        closing = one.close()
        accepted.close()
        closing.result(TIMEOUT_S)


def test_no_secret_is_logged(loop: AzureLoop, caplog: pytest.LogCaptureFixture) -> None:
    """Neither key nor signature shows in any log record or error text."""
    with caplog.at_level(logging.DEBUG), opened(client(loop, _string("127.0.0.253"))) as one:
        error = one.connect().exception(TIMEOUT_S)
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("agent")]
    assert "c2VjcmV0" not in "\n".join([*ours, str(error), repr(error)])


def test_explain_keeps_what_it_does_not_know() -> None:
    """An exception without a known cause is named by its class and text."""
    credential = Credential("hub.example", "mast-1", "secret")
    error = explain(RuntimeError("odd"), credential)
    assert isinstance(error, HubUnavailable)
    assert "RuntimeError: odd" in str(error)
    assert explain(HubUntrusted("x"), credential).args == ("x",)


def test_a_handler_that_fails_does_not_end_the_receiving(loop: AzureLoop, tmp_path: Path) -> None:
    """A message whose handling raised is logged, and the next one is still handed over."""
    thread = HubThread(LocalHub(tmp_path))
    thread.start()
    arrived = threading.Event()
    try:
        thread.hub.ensure_device("mast-1")

        def take(message: CloudMessage) -> None:
            if message.message_id == "bad":
                raise ValueError("boom")
            arrived.set()

        pem = Path(thread.hub.ca_file).read_text()
        credential = parse(thread.hub.device_connection_string("mast-1"), "test")
        one = AzureHubClient(loop, credential, HubOptions(ca_pem=pem), SystemClock(), take)
        with opened(one):
            one.connect().result(TIMEOUT_S)
            thread.hub.send_c2d("mast-1", b"{}", message_id="bad")
            thread.hub.send_c2d("mast-1", b"{}", message_id="good")
            assert arrived.wait(TIMEOUT_S)
    finally:
        thread.stop()


def test_what_was_acknowledged_is_handed_over_before_the_client_goes(loop: AzureLoop, tmp_path: Path) -> None:
    """Closing in the middle of a burst: every message that counts as delivered reaches the journal."""
    thread = HubThread(LocalHub(tmp_path))
    thread.start()
    seen: list[str | None] = []
    first, go_on = threading.Event(), threading.Event()

    def slow(message: CloudMessage) -> None:
        first.set()
        go_on.wait(TIMEOUT_S)
        seen.append(message.message_id)

    try:
        thread.hub.ensure_device("mast-1")
        pem = Path(thread.hub.ca_file).read_text()
        credential = parse(thread.hub.device_connection_string("mast-1"), "test")
        one = AzureHubClient(loop, credential, HubOptions(ca_pem=pem), SystemClock(), slow)
        one.connect().result(TIMEOUT_S)
        for number in range(10):
            thread.hub.send_c2d("mast-1", b"{}", message_id=f"c{number}")
        assert first.wait(TIMEOUT_S)
        while thread.hub.store.c2d.pending("mast-1"):
            first.wait(0.01)
        closing = one.close()
        go_on.set()
        closing.result(TIMEOUT_S)
        assert seen == [f"c{number}" for number in range(10)]
    finally:
        go_on.set()
        thread.stop()


def test_no_more_than_a_window_is_on_the_wire(loop: AzureLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many messages are handed over, the SDK is given twenty, and the next as each is confirmed."""
    given: list[asyncio.Future[None]] = []

    class Sdk:
        async def send_message(self, message: object) -> None:
            given.append(asyncio.get_running_loop().create_future())
            await given[-1]

        async def shutdown(self) -> None:
            pass

    one = client(loop, _string("127.0.0.253"))
    monkeypatch.setattr(one, "_client", Sdk())
    futures = [one.send(Message(b"{}", f"m-{n}")) for n in range(45)]
    done = 0
    while done < 45:
        while len(given) < min(done + WINDOW, 45):
            time.sleep(0.001)
        assert len(given) == min(done + WINDOW, 45)
        loop.submit(_confirm(given[done])).result(TIMEOUT_S)
        futures[done].result(TIMEOUT_S)
        done += 1


async def _confirm(future: asyncio.Future[None]) -> None:
    future.set_result(None)
