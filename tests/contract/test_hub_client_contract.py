"""What every HubClient does: the real one over the real SDK, TLS and a local hub, and the fake."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol

import pytest

from agent.cloud import CloudMessage, Failure, HubClient, HubError
from agent.cloud.azure import AzureHubClient, HubOptions
from agent.cloud.credentials import parse
from agent.localhub.hub import LocalHub
from agent.localhub.thread import HubThread
from agent.reading import Message
from hw.clock import SystemClock
from tests.fakes import FakeHub

TIMEOUT_S = 20.0


class Rig(Protocol):
    """A hub with one device, seen from the test's side."""

    def client(self, on_message: Callable[[CloudMessage], None] = ...) -> HubClient: ...
    def bad_client(self) -> HubClient: ...
    def stored(self) -> list[tuple[str, bytes, dict[str, str]]]: ...
    def queue(self, body: bytes, message_id: str) -> None: ...


class FakeRig:
    def __init__(self) -> None:
        self.hub = FakeHub()

    def client(self, on_message: Callable[[CloudMessage], None] = lambda m: None) -> HubClient:
        return self.hub.client(on_message)

    def bad_client(self) -> HubClient:
        self.hub.refusal = HubError(Failure.REFUSED, "wrong key")
        return self.hub.client()

    def stored(self) -> list[tuple[str, bytes, dict[str, str]]]:
        return [(m.message_id, m.body, dict(m.properties)) for m in self.hub.stored]

    def queue(self, body: bytes, message_id: str) -> None:
        self.hub.queued.append(CloudMessage(body, 0.0, message_id))


class RealRig:
    def __init__(self, folder: Path) -> None:
        self._hub = LocalHub(folder)
        self._thread = HubThread(self._hub)
        self._thread.start()
        self._hub.ensure_device("mast-1")
        self._clients: list[HubClient] = []

    def _make(self, text: str, on_message: Callable[[CloudMessage], None]) -> HubClient:
        options = HubOptions(ca_pem=Path(self._hub.ca_file).read_text())
        client = AzureHubClient(parse(text, "test"), options, SystemClock(), on_message)
        self._clients.append(client)
        return client

    def client(self, on_message: Callable[[CloudMessage], None] = lambda m: None) -> HubClient:
        return self._make(self._hub.device_connection_string("mast-1"), on_message)

    def bad_client(self) -> HubClient:
        good = self._hub.device_connection_string("mast-1")
        return self._make(good.rsplit("SharedAccessKey=", 1)[0] + "SharedAccessKey=d3Jvbmc=", lambda m: None)

    def stored(self) -> list[tuple[str, bytes, dict[str, str]]]:
        return [
            (str(e.system.get("message-id") or e.system.get("$.mid")), e.body, dict(e.properties))
            for e in self._hub.store.events.after(0, device_id="mast-1")
        ]

    def queue(self, body: bytes, message_id: str) -> None:
        self._hub.send_c2d("mast-1", body, message_id=message_id, expires_in_s=60)

    def end(self) -> None:
        for client in self._clients:
            client.close().result(TIMEOUT_S)
        self._thread.stop()


@pytest.fixture(params=["fake", "azure"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    if request.param == "fake":
        yield FakeRig()
        return
    real = RealRig(tmp_path)
    try:
        yield real
    finally:
        real.end()


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def _message(number: int) -> Message:
    body = json.dumps({"run": "0badcafe", "sequence": number, "place": "Höhe/=&%"}).encode()
    return Message(body, f"0badcafe-{number}", f"cause-{number}", {"site": "north ridge", "a=b": "c/d&e"})


def test_a_confirmed_message_is_stored(rig: Rig) -> None:
    """A send's future is done only when the hub has the message, with body and properties as they were."""
    client = rig.client()
    assert not client.connected
    client.connect().result(TIMEOUT_S)
    assert client.connected
    futures = [client.send(_message(number)) for number in range(20)]
    for future in futures:
        future.result(TIMEOUT_S)
    stored = {message_id: (body, properties) for message_id, body, properties in rig.stored()}
    assert stored["0badcafe-7"] == (_message(7).body, dict(_message(7).properties))
    assert len(stored) == 20


def test_messages_from_the_cloud_come_in_order(rig: Rig) -> None:
    """Twenty queued messages are handed over one by one, in the order in which they were sent."""
    for number in range(20):
        rig.queue(b'{"n": %d}' % number, f"c{number}")
    seen: list[CloudMessage] = []
    busy = threading.Lock()

    def take(message: CloudMessage) -> None:
        assert busy.acquire(blocking=False), "two messages at once"
        seen.append(message)
        busy.release()

    client = rig.client(take)
    client.connect().result(TIMEOUT_S)
    wait(lambda: len(seen) == 20)
    assert [message.message_id for message in seen] == [f"c{number}" for number in range(20)]
    assert seen[3].body == b'{"n": 3}'


def test_a_refused_device_is_told_apart(rig: Rig) -> None:
    """A wrong key is a refusal, and the client is not connected."""
    client = rig.bad_client()
    with pytest.raises(HubError) as caught:
        client.connect().result(TIMEOUT_S)
    assert caught.value.failure is Failure.REFUSED
    assert not client.connected


def test_close_is_final_and_may_be_repeated(rig: Rig) -> None:
    """After close nothing is connected and sending fails; a second close is done at once."""
    client = rig.client()
    client.connect().result(TIMEOUT_S)
    client.close().result(TIMEOUT_S)
    client.close().result(TIMEOUT_S)
    assert not client.connected
    failed: Future[None] = client.send(_message(1))
    with pytest.raises(HubError):
        failed.result(TIMEOUT_S)


def test_close_before_connect(rig: Rig) -> None:
    """A client that never connected can be closed."""
    rig.client().close().result(TIMEOUT_S)
