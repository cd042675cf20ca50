"""What every HubClient does: the real one over the real SDK, TLS and a local hub, and the fake."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

import pytest

from agent.cloud import CloudMessage, Failure, HubClient, HubError, MethodCall
from agent.cloud.azure import AzureHubClient, HubOptions
from agent.cloud.credentials import parse
from agent.localhub.hub import LocalHub
from agent.localhub.thread import HubThread
from agent.reading import Message
from hw.clock import SystemClock
from tests.fakes import FakeHub

TIMEOUT_S = 20.0


Answer = Future[tuple[int, bytes]]


def _ignore(_: CloudMessage | MethodCall) -> None:
    pass


class Rig(Protocol):
    """A hub with one device, seen from the test's side."""

    def client(
        self,
        on_message: Callable[[CloudMessage], None] = ...,
        on_method: Callable[[MethodCall], None] = ...,
    ) -> HubClient: ...
    def bad_client(self) -> HubClient: ...
    def stored(self) -> list[tuple[str, bytes, dict[str, str]]]: ...
    def reported(self) -> dict[str, Any]: ...
    def queue(self, body: bytes, message_id: str) -> None: ...
    def queued(self) -> int: ...
    def call(self, name: str, payload: bytes) -> Answer: ...


class FakeRig:
    def __init__(self) -> None:
        self.hub = FakeHub()

    def client(
        self,
        on_message: Callable[[CloudMessage], None] = _ignore,
        on_method: Callable[[MethodCall], None] = _ignore,
    ) -> HubClient:
        return self.hub.client(on_message, on_method)

    def bad_client(self) -> HubClient:
        self.hub.refusal = HubError(Failure.REFUSED, "wrong key")
        return self.hub.client()

    def stored(self) -> list[tuple[str, bytes, dict[str, str]]]:
        return [(m.message_id, m.body, dict(m.properties)) for m in self.hub.stored]

    def reported(self) -> dict[str, Any]:
        return {name: value for report in self.hub.reported for name, value in report.items()}

    def queue(self, body: bytes, message_id: str) -> None:
        self.hub.queued.append(CloudMessage(body, 0.0, message_id))

    def queued(self) -> int:
        return len(self.hub.queued)

    def call(self, name: str, payload: bytes) -> Answer:
        return self.hub.newest.call_method(name, payload)


class RealRig:
    def __init__(self, folder: Path) -> None:
        self._hub = LocalHub(folder)
        self._thread = HubThread(self._hub)
        self._thread.start()
        self._hub.ensure_device("mast-1")
        self._clients: list[HubClient] = []

    def _make(
        self, text: str, on_message: Callable[[CloudMessage], None], on_method: Callable[[MethodCall], None]
    ) -> HubClient:
        options = HubOptions(ca_pem=Path(self._hub.ca_file).read_text())
        client = AzureHubClient(parse(text, "test"), options, SystemClock(), on_message, on_method)
        self._clients.append(client)
        return client

    def client(
        self,
        on_message: Callable[[CloudMessage], None] = _ignore,
        on_method: Callable[[MethodCall], None] = _ignore,
    ) -> HubClient:
        return self._make(self._hub.device_connection_string("mast-1"), on_message, on_method)

    def bad_client(self) -> HubClient:
        good = self._hub.device_connection_string("mast-1")
        return self._make(
            good.rsplit("SharedAccessKey=", 1)[0] + "SharedAccessKey=d3Jvbmc=", _ignore, _ignore
        )

    def stored(self) -> list[tuple[str, bytes, dict[str, str]]]:
        return [
            (str(e.system.get("message-id") or e.system.get("$.mid")), e.body, dict(e.properties))
            for e in self._hub.store.events.after(0, device_id="mast-1")
        ]

    def reported(self) -> dict[str, Any]:
        return self._hub.store.twins.get("mast-1").reported.values

    def queue(self, body: bytes, message_id: str) -> None:
        self._hub.send_c2d("mast-1", body, message_id=message_id, expires_in_s=60)

    def queued(self) -> int:
        return self._hub.store.c2d.pending("mast-1")

    def call(self, name: str, payload: bytes) -> Answer:
        return asyncio.run_coroutine_threadsafe(self._call(name, payload), self._hub._loop)

    async def _call(self, name: str, payload: bytes) -> tuple[int, bytes]:
        # past what a hub checks, which is that the payload is JSON
        result = await self._hub._listener.call("mast-1", name, payload, TIMEOUT_S)
        return result.status, result.payload

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


def test_what_is_reported_is_merged(rig: Rig) -> None:
    """A report's future is done when the hub has it; among messages, neither disturbs the other."""
    client = rig.client()
    failed = client.report({"run": "too early"})
    with pytest.raises(HubError):
        failed.result(TIMEOUT_S)
    client.connect().result(TIMEOUT_S)
    sends = [client.send(_message(number)) for number in range(5)]
    client.report({"run": "0badcafe", "sensors": [{"id": "a.b $"}]}).result(TIMEOUT_S)
    client.report({"version": "Höhe"}).result(TIMEOUT_S)
    assert rig.reported() == {"run": "0badcafe", "sensors": [{"id": "a.b $"}], "version": "Höhe"}
    for send in sends:
        send.result(TIMEOUT_S)
    assert client.connected
    client.close().result(TIMEOUT_S)
    with pytest.raises(HubError):
        client.report({"run": "too late"}).result(TIMEOUT_S)


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


def test_a_message_is_the_hubs_until_it_was_taken(rig: Rig) -> None:
    """A process that ends before, or while it writes the message down, gets it again."""
    left: list[int] = []
    rig.queue(b"{}", "c1")
    client = rig.client(lambda _: left.append(rig.queued()))
    client.connect().result(TIMEOUT_S)
    wait(lambda: rig.queued() == 0)
    assert left == [1]


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


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("set", b'{"value": true, "for": 5, "for": 6}'),
        ("set", b"{"),
        ("status", b""),
        ("status", b"\xff\xfe\x00"),
        ("100%/Höhe?$rid=7", b"null"),
        ("command", b'"' + 131_070 * b"x" + b'"'),
    ],
    ids=["duplicate-keys", "no-json", "empty", "no-utf8", "name", "largest"],
)
def test_a_method_comes_as_it_was_called_and_is_answered(rig: Rig, name: str, payload: bytes) -> None:
    """Name and payload are what the caller gave, byte for byte, and the answer is what the caller gets."""
    calls: list[MethodCall] = []

    def take(call: MethodCall) -> None:
        calls.append(call)
        call.answer(200, b'{"outcome": "done"}')

    client = rig.client(on_method=take)
    client.connect().result(TIMEOUT_S)
    assert rig.call(name, payload).result(TIMEOUT_S) == (200, b'{"outcome": "done"}')
    assert [(call.name, call.payload) for call in calls] == [(name, payload)]


def test_a_method_is_answered_from_any_thread_in_any_order(rig: Rig) -> None:
    """Calls that are all waited for at once: each gets its own answer, the last one first."""
    calls: list[MethodCall] = []
    client = rig.client(on_method=calls.append)
    client.connect().result(TIMEOUT_S)
    answers = [rig.call("set", b"%d" % number) for number in range(5)]
    wait(lambda: len(calls) == 5)
    assert [call.payload for call in calls] == [b"%d" % number for number in range(5)]
    for call, answer in zip(reversed(calls), reversed(answers), strict=True):
        assert not answer.done()
        thread = threading.Thread(target=call.answer, args=(200, call.payload))
        thread.start()
        thread.join()
        assert answer.result(TIMEOUT_S) == (200, call.payload)


def test_a_method_is_answered_once(rig: Rig) -> None:
    """The first answer counts; whoever answers again does no harm."""
    calls: list[MethodCall] = []
    client = rig.client(on_method=calls.append)
    client.connect().result(TIMEOUT_S)
    first = rig.call("ping", b"{}")
    wait(lambda: len(calls) == 1)
    calls[0].answer(200, b"1")
    calls[0].answer(500, b"2")
    assert first.result(TIMEOUT_S) == (200, b"1")
    second = rig.call("ping", b"{}")
    wait(lambda: len(calls) == 2)
    calls[0].answer(500, b"3")
    calls[1].answer(200, b"4")
    assert second.result(TIMEOUT_S) == (200, b"4")
    assert client.connected


def test_an_answer_after_close_goes_nowhere(rig: Rig) -> None:
    """Whoever called is told that there is no answer; answering it then raises nothing."""
    calls: list[MethodCall] = []
    client = rig.client(on_method=calls.append)
    client.connect().result(TIMEOUT_S)
    answer = rig.call("set", b"{}")
    wait(lambda: len(calls) == 1)
    client.close().result(TIMEOUT_S)
    calls[0].answer(200, b"{}")
    assert answer.exception(TIMEOUT_S) is not None


def test_messages_and_methods_are_handed_over_one_by_one(rig: Rig) -> None:
    """Never two at once, be they messages, methods or both."""
    busy = threading.Lock()
    seen: list[str | None] = []

    def take(came: CloudMessage | MethodCall) -> None:
        assert busy.acquire(blocking=False), "two at once"
        seen.append(came.name if isinstance(came, MethodCall) else came.message_id)
        busy.release()
        if isinstance(came, MethodCall):
            came.answer(200, b"{}")

    for number in range(20):
        rig.queue(b"{}", f"c{number}")
    client = rig.client(take, take)
    client.connect().result(TIMEOUT_S)
    answers = [rig.call(f"m{number}", b"{}") for number in range(20)]
    for answer in answers:
        answer.result(TIMEOUT_S)
    wait(lambda: len(seen) == 40)
    assert [name for name in seen if name and name[0] == "c"] == [f"c{number}" for number in range(20)]
    assert [name for name in seen if name and name[0] == "m"] == [f"m{number}" for number in range(20)]
