from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cloud import CloudMessage, HubError, MethodCall
from agent.cloud.azure import AzureHubClient, HubOptions
from agent.cloud.credentials import parse
from agent.localhub.hub import LocalHub
from agent.localhub.thread import HubThread
from hw.clock import SystemClock

TIMEOUT_S = 30.0


def _ignore(_: CloudMessage | MethodCall) -> None:
    pass


def client(text: str, ca_pem: str | None = None) -> AzureHubClient:
    return AzureHubClient(parse(text, "test"), HubOptions(ca_pem=ca_pem), SystemClock(), _ignore, _ignore)


def _string(host: str) -> str:
    return f"HostName={host};DeviceId=mast-1;SharedAccessKey=c2VjcmV0"


@contextlib.contextmanager
def opened(one: AzureHubClient) -> Iterator[AzureHubClient]:
    try:
        yield one
    finally:
        one.close().result(TIMEOUT_S)


def test_nobody_listens() -> None:
    """A refused TCP connection names host and port."""
    with (
        opened(client(_string("127.0.0.253"))) as one,
        pytest.raises(HubError, match=r"127\.0\.0\.253:8883"),
    ):
        one.connect().result(TIMEOUT_S)


def test_a_name_that_does_not_resolve() -> None:
    """A host name without an address says to check the network and the name."""
    with (
        opened(client(_string("no-such-host.invalid"))) as one,
        pytest.raises(HubError, match="resolved"),
    ):
        one.connect().result(TIMEOUT_S)


def test_an_untrusted_certificate(tmp_path: Path) -> None:
    """Without the hub's CA the hub is not trusted, and the remedy is named."""
    thread = HubThread(LocalHub(tmp_path))
    thread.start()
    try:
        thread.hub.ensure_device("mast-1")
        text = thread.hub.device_connection_string("mast-1")
        with opened(client(text)) as one, pytest.raises(HubError, match=r"device\.ca_file"):
            one.connect().result(TIMEOUT_S)
    finally:
        thread.stop()


def test_a_silent_host_blocks_nothing() -> None:
    """While a connect to a host that never speaks hangs, the client can be given up at once."""
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        silent.bind(("127.0.0.252", 8883))
        silent.listen()
        one = client(_string("127.0.0.252"))
        connecting = one.connect()
        accepted, _ = silent.accept()
        assert not connecting.done()
        closing = one.close()
        accepted.close()
        closing.result(TIMEOUT_S)


def test_no_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Neither key nor signature shows in any log record or error text."""
    with caplog.at_level(logging.DEBUG), opened(client(_string("127.0.0.253"))) as one:
        error = one.connect().exception(TIMEOUT_S)
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("agent")]
    assert "c2VjcmV0" not in "\n".join([*ours, str(error), repr(error)])


def test_a_handler_that_fails_does_not_end_the_receiving(tmp_path: Path) -> None:
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
        one = AzureHubClient(credential, HubOptions(ca_pem=pem), SystemClock(), take, _ignore)
        with opened(one):
            one.connect().result(TIMEOUT_S)
            thread.hub.send_c2d("mast-1", b"{}", message_id="bad")
            thread.hub.send_c2d("mast-1", b"{}", message_id="good")
            assert arrived.wait(TIMEOUT_S)
    finally:
        thread.stop()


def test_what_came_is_handed_over_before_the_client_goes(tmp_path: Path) -> None:
    """Closing in the middle of a burst: every message reaches the journal, though the hub has it still."""
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
        one = AzureHubClient(credential, HubOptions(ca_pem=pem), SystemClock(), slow, _ignore)
        one.connect().result(TIMEOUT_S)
        for number in range(10):
            thread.hub.send_c2d("mast-1", b"{}", message_id=f"c{number}")
        assert first.wait(TIMEOUT_S)
        while one._inbox.qsize() < 9 + 10:  # messages, and acknowledgements
            threading.Event().wait(0.01)
        closing = one.close()
        go_on.set()
        closing.result(TIMEOUT_S)
        assert seen == [f"c{number}" for number in range(10)]
        assert thread.hub.store.c2d.pending("mast-1")
    finally:
        go_on.set()
        thread.stop()
