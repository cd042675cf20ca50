"""Direct methods by the real SDK over TLS; what every HubClient does with them is in tests/contract."""

from __future__ import annotations

import asyncio
import gc
import logging
import struct
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from agent.cloud import WINDOW, CloudMessage, Failure, HubError, MethodCall
from agent.cloud.azure import AzureHubClient, HubOptions
from agent.cloud.credentials import parse
from agent.cloud.sdk import behind_what_came, on_callback_thread
from agent.localhub import topics
from agent.localhub.faults import Fault
from agent.localhub.hub import LocalHub
from agent.localhub.records import DeviceOffline, MethodResult
from agent.localhub.thread import HubThread
from agent.reading import Message
from hw.clock import SystemClock
from tests.e2e.harness import free_host

TIMEOUT_S = 20.0
DEVICE = "mast-1"


class Hub:
    """A hub with one device, its clients, and the packets that it sends as it is told to."""

    def __init__(self, folder: Path) -> None:
        self._thread = HubThread(LocalHub(folder, free_host()))
        self._thread.start()
        self.hub = self._thread.hub
        self.hub.ensure_device(DEVICE)
        self.clients: list[AzureHubClient] = []

    def client(
        self,
        on_method: Callable[[MethodCall], None],
        on_message: Callable[[CloudMessage], None] = lambda message: None,
    ) -> AzureHubClient:
        credential = parse(self.hub.device_connection_string(DEVICE), "test")
        options = HubOptions(ca_pem=self.hub.ca_file.read_text())
        self.clients.append(AzureHubClient(credential, options, SystemClock(), on_message, on_method))
        return self.clients[-1]

    def connected(
        self,
        on_method: Callable[[MethodCall], None],
        on_message: Callable[[CloudMessage], None] = lambda message: None,
    ) -> AzureHubClient:
        client = self.client(on_method, on_message)
        client.connect().result(TIMEOUT_S)
        return client

    def start_call(self, name: str, payload: bytes = b"{}") -> Future[MethodResult]:
        call = self.hub.call_method(DEVICE, name, payload, timeout_s=TIMEOUT_S)
        return asyncio.run_coroutine_threadsafe(call, self.hub._loop)

    def call(self, name: str, payload: bytes = b"{}") -> MethodResult:
        return self.start_call(name, payload).result(TIMEOUT_S)

    def calls_sent(self) -> int:
        """How many the device has been sent and has not answered."""
        return len(self.hub._listener._of_device[DEVICE]._methods._waiting)

    def send(self, packet: bytes) -> None:
        """Any packet, to the device that is connected."""

        async def write() -> None:
            self.hub._listener._of_device[DEVICE]._line.send("method", packet)

        asyncio.run_coroutine_threadsafe(write(), self.hub._loop).result(TIMEOUT_S)

    def end(self) -> None:
        self.hub.faults.clear()
        for client in self.clients:
            client.close().result(TIMEOUT_S)
        self._thread.stop()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    hub = Hub(tmp_path)
    try:
        yield hub
    finally:
        hub.end()


def wait(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)


def publish(topic: bytes, payload: bytes) -> bytes:
    """A PUBLISH of QoS 0 with any bytes for a topic (MQTT 3.1.1, 3.3)."""
    content = struct.pack("!H", len(topic)) + topic + payload
    assert len(content) < 128
    return bytes([0x30, len(content)]) + content


def done(call: MethodCall) -> None:
    call.answer(200, b"{}")


def test_methods_and_messages_keep_the_order_of_their_arrival(hub: Hub) -> None:
    """Messages go by the SDK's threads, which may be busy: a method does not overtake them."""
    seen: list[str | None] = []

    def method(call: MethodCall) -> None:
        seen.append(call.name)
        done(call)

    hub.connected(method, lambda message: seen.append(message.message_id))
    idle = threading.Event()
    on_callback_thread(lambda: idle.wait(TIMEOUT_S) and None)
    answers: list[Future[MethodResult]] = []
    expected = []
    try:
        for number in range(10):
            sent = hub.hub.send_c2d(DEVICE, b"{}", message_id=f"c{number}").sequence
            wait(lambda sent=sent: hub.hub.store.c2d.get(sent).delivery_count)
            answers.append(hub.start_call(f"m{number}"))
            wait(lambda sent=number + 1: hub.calls_sent() == sent)
            expected += [f"c{number}", f"m{number}"]
    finally:
        idle.set()
    for answer in answers:
        assert answer.result(TIMEOUT_S).status == 200
    assert seen == expected


def test_what_has_come_is_handed_over_when_it_is_too_late_to_answer(hub: Hub) -> None:
    """Closing in the middle of many calls: each is taken, and the answers go nowhere."""
    seen: list[str] = []
    first, go_on = threading.Event(), threading.Event()

    def slow(call: MethodCall) -> None:
        first.set()
        go_on.wait(TIMEOUT_S)
        seen.append(call.name)
        done(call)

    client = hub.connected(slow)
    answers = [hub.start_call(f"m{number}") for number in range(10)]
    try:
        assert first.wait(TIMEOUT_S)
        wait(lambda: client._inbox.qsize() == 9)
        closing = client.close()
        with pytest.raises(TimeoutError):
            closing.result(0.3)
    finally:
        go_on.set()
    closing.result(TIMEOUT_S)
    assert sorted(seen) == [f"m{number}" for number in range(10)]
    for answer in answers:
        assert isinstance(answer.exception(TIMEOUT_S), DeviceOffline)


def test_an_answer_by_another_connection_goes_nowhere(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    """Who was called on a connection that has gone does not answer on the next one; nothing is raised."""
    taken: list[MethodCall] = []
    first = hub.connected(taken.append)
    answer = hub.start_call("set")
    wait(lambda: taken)
    hub.hub.faults.set(Fault("kick"))
    assert isinstance(answer.exception(TIMEOUT_S), DeviceOffline)
    wait(lambda: not first.connected)
    second = hub.connected(done)
    with caplog.at_level(logging.DEBUG, "agent.cloud.azure"):
        done(taken[0])
    assert [record.levelname for record in caplog.records if "goes nowhere" in record.message] == ["DEBUG"]
    assert hub.call("ping").status == 200
    assert second.connected


def test_a_method_that_cannot_be_taken_ends_nothing(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever its handler raises is logged, and the next call is handed over and answered."""

    def take(call: MethodCall) -> None:
        if call.name == "bad":
            raise ValueError("boom")
        done(call)

    client = hub.connected(take)
    unanswered = hub.start_call("bad")
    assert hub.call("good").status == 200
    assert "boom" in caplog.text
    client.close().result(TIMEOUT_S)
    assert isinstance(unanswered.exception(TIMEOUT_S), DeviceOffline)


@pytest.mark.parametrize(
    "topic",
    [
        b"$iothub/methods/POST",
        b"$iothub/methods/POST/",
        b"$iothub/methods/POST/set",
        b"$iothub/methods/POST/set/?$rid=",
        b"$iothub/methods/POST/\xff/?$rid=1",
        b"$iothub/methods/POST/set/?$rid=\xff",
        b"$iothub/methods/PUT/set/?$rid=1",
        b"\xff\xfe",
    ],
)
def test_a_topic_that_makes_no_sense_is_dropped(
    hub: Hub, caplog: pytest.LogCaptureFixture, topic: bytes
) -> None:
    """It ends neither the connection nor the thread that reads it, and nobody is called."""
    names: list[str] = []

    def take(call: MethodCall) -> None:
        names.append(call.name)
        done(call)

    hub.connected(take)
    with caplog.at_level(logging.DEBUG, "agent.cloud.azure"):
        hub.send(publish(topic, b"{}"))
        assert hub.call("ping").status == 200
    assert names == ["ping"]
    ours = [record for record in caplog.records if record.name == "agent.cloud.azure"]
    assert [(record.levelname, "dropped" in record.message) for record in ours] == [("DEBUG", True)]
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def published(client: AzureHubClient, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The payloads that the client publishes from now on."""
    payloads: list[object] = []
    publish = client._transport.publish

    def note(**arguments: object) -> None:
        payloads.append(arguments["payload"])
        publish(**arguments)

    monkeypatch.setattr(client._transport, "publish", note)
    return payloads


def test_only_the_first_answer_is_sent(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A second one costs nothing on the wire, and nothing in the log."""
    taken: list[MethodCall] = []
    payloads = published(hub.connected(taken.append), monkeypatch)
    answer = hub.start_call("ping")
    wait(lambda: taken)
    with caplog.at_level(logging.DEBUG, "agent.cloud.azure"):
        for payload in (b"1", b"2", b"3"):
            taken[0].answer(200, payload)
    assert payloads == [b"1"]
    assert answer.result(TIMEOUT_S).payload == b"1"
    assert not [record for record in caplog.records if record.name == "agent.cloud.azure"]


def test_an_answer_goes_nowhere_from_the_moment_of_closing(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is published beside the SDK's shutting down, which takes its time."""
    taken: list[MethodCall] = []
    client = hub.connected(taken.append)
    payloads = published(client, monkeypatch)
    hub.start_call("ping")
    wait(lambda: taken)
    go_on, close = threading.Event(), client._close

    def slowly() -> None:
        go_on.wait(TIMEOUT_S)
        close()

    monkeypatch.setattr(client, "_close", slowly)
    client.close()
    done(taken[0])
    go_on.set()
    client.close().result(TIMEOUT_S)
    assert payloads == []


def test_a_request_id_that_cannot_be_answered_raises_nothing(hub: Hub) -> None:
    """The call is handed over; an answer that no topic can carry goes nowhere."""
    taken: list[MethodCall] = []
    client = hub.connected(taken.append)
    hub.send(publish(b"$iothub/methods/POST/set/?$rid=a+b#", b"{}"))
    wait(lambda: taken)
    done(taken[0])
    assert client.connected


def test_an_answer_does_not_wait_for_the_window(hub: Hub) -> None:
    """With more messages unconfirmed than the wire takes an answer gets through, and is no message itself."""
    client = hub.connected(done)
    hub.hub.faults.set(Fault("no-puback"))
    sending = [client.send(Message(b"{}", f"m{number}")) for number in range(2 * WINDOW)]
    wait(lambda: len(hub.hub.store.events.after(0)) == WINDOW)
    assert hub.call("ping").status == 200
    assert client._unconfirmed == set(sending)
    assert not any(future.done() for future in sending)
    hub.hub.faults.clear()
    client.close().result(TIMEOUT_S)
    for future in sending:
        assert isinstance(future.exception(TIMEOUT_S), HubError)


def test_many_calls_leave_nothing_behind(hub: Hub) -> None:
    """Two hundred calls, one after the other: neither the SDK nor paho keeps anything of them."""
    client = hub.connected(lambda call: call.answer(200, call.payload))
    transport = client._transport
    for number in range(200):
        assert hub.call("ping", b"%d" % number) == MethodResult(200, b"%d" % number)
    client.send(Message(b"{}", "last")).result(TIMEOUT_S)  # behind the last of the answers
    assert transport._op_manager._pending_operation_callbacks == {}
    assert transport._op_manager._unknown_operation_completions == {}
    assert not transport._mqtt_client._out_messages
    assert not transport._mqtt_client._out_packet
    assert client._inbox.empty()
    assert sum(isinstance(thing, MethodCall) for thing in gc.get_objects()) <= 1  # the reader's last one


def test_a_call_that_is_never_answered_keeps_no_connection(hub: Hub) -> None:
    """Whoever holds a call holds nothing of the SDK once its client is closed."""
    taken: list[MethodCall] = []
    left = []
    for number in range(5):
        client = hub.connected(taken.append)
        unanswered = hub.start_call("set")
        wait(lambda number=number: len(taken) == number + 1)
        left += [weakref.ref(client._transport), weakref.ref(client._transport._mqtt_client)]
        client.close().result(TIMEOUT_S)
        assert isinstance(unanswered.exception(TIMEOUT_S), DeviceOffline)
    told = threading.Event()
    behind_what_came(told.set)  # the SDK's threads have let go of what they did last
    assert told.wait(TIMEOUT_S)
    gc.collect()
    assert [one() for one in left] == [None] * 10


def test_messages_and_methods_are_subscribed_to_at_once(hub: Hub) -> None:
    """Both subscriptions are on their way before either is answered: it takes one round trip."""
    registry = hub.hub.store.registry
    hub.hub.faults.set(Fault("no-suback"))
    client = hub.client(done)
    connecting = client.connect()
    both = {topics.c2d_filter(DEVICE), topics.METHODS_FILTER}
    wait(lambda: set(registry.begin_session(DEVICE, clean=False) or ()) == both)
    assert not connecting.done()
    client.close().result(TIMEOUT_S)
    assert isinstance(connecting.exception(TIMEOUT_S), HubError)


@pytest.mark.parametrize("refused", ["messages", "methods"])
def test_either_subscription_may_be_refused(hub: Hub, monkeypatch: pytest.MonkeyPatch, refused: str) -> None:
    """A device that may receive messages and no methods, or methods and no messages, is told so."""
    filters = {"messages": topics.c2d_filter(DEVICE), "methods": topics.METHODS_FILTER}
    monkeypatch.setattr(topics, "subscribable", lambda _: frozenset(filters.values()) - {filters[refused]})
    with pytest.raises(HubError, match="may it receive messages and direct methods") as caught:
        hub.client(done).connect().result(TIMEOUT_S)
    assert caught.value.failure is Failure.UNSUBSCRIBED
