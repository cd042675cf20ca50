"""Direct methods by a client that need not behave."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from agent.localhub import methods
from agent.localhub.faults import Fault
from agent.localhub.hub import LocalHub
from agent.localhub.methods import CallLog, Methods, payload_bytes
from agent.localhub.notices import MethodChanged, NoticeBoard
from agent.localhub.records import (
    DeviceOffline,
    Event,
    InvalidRequest,
    MethodCall,
    MethodResult,
    MethodTimeout,
    StoreFailed,
    UnknownDevice,
)
from agent.localhub.thread import HubThread

from .client import RawClient, Received, packet, publish, subscribe, text

METHODS = "$iothub/methods/POST/#"
EVENTS = "devices/mast-1/messages/events/"
GRANTED = (0x90, b"\x00\x01\x01")


def call(hub: LocalHub, name: str = "ping", payload: bytes = b"{}", **options: Any) -> Future[MethodResult]:
    """The call on its way, from another thread than the hub's."""
    return asyncio.run_coroutine_threadsafe(hub.call_method("mast-1", name, payload, **options), hub._loop)


def ready(client: RawClient, *, clean: bool = True) -> RawClient:
    """Logged in and subscribed to methods."""
    client.login(clean=clean)
    client.send(subscribe(1, (METHODS, 1)))
    assert client.receive() == GRANTED
    return client


def request_id(message: Received) -> str:
    return message.topic.rpartition("/?$rid=")[2]


def answer(rid: str, payload: bytes = b"{}", status: object = 200, packet_id: int = 1) -> bytes:
    return publish(f"$iothub/methods/res/{status}/?$rid={rid}", payload, packet_id)


def puback(packet_id: int) -> tuple[int, bytes]:
    return 0x40, struct.pack("!H", packet_id)


def test_a_call_ends_with_its_own_answer(hub: LocalHub) -> None:
    """Two calls at once go out with QoS 0 and each gets what was answered to it, in whichever order."""
    with RawClient(hub) as client:
        ready(client)
        first, second = call(hub, "set", b'{"value": true}'), call(hub, "a%b#+", b"null")
        sent = [client.message(), client.message()]
        topics = {unquote(m.topic.split("/")[3]): m for m in sent}
        assert topics["set"].body == b'{"value": true}'
        assert topics["a%b#+"].topic.startswith("$iothub/methods/POST/a%25b%23%2B/?$rid=")
        assert [m.packet_id for m in sent] == [0, 0]
        assert all(int(request_id(m), 16) for m in sent)
        client.send(answer(request_id(topics["a%b#+"]), b"", 404, packet_id=7))
        assert client.receive() == puback(7)
        assert second.result(10) == MethodResult(404, b"")
        assert not first.done()
        topic = f"$iothub/methods/res/-1/?$rid={request_id(topics['set'])}"
        client.send(publish(topic, b'{"status": "done"}', first=0x30))
        assert first.result(10) == MethodResult(-1, b'{"status": "done"}')
    assert hub.store.events.after() == []


def test_a_call_ends_at_its_time_out(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer in time is said so; the answer that comes too late is acknowledged and goes nowhere."""
    monkeypatch.setattr(methods, "MIN_TIMEOUT_S", 0.0)
    with RawClient(hub) as client:
        ready(client)
        with pytest.raises(MethodTimeout, match=r"'mast-1' has not answered within 0\.05 s"):
            call(hub, timeout_s=0.05).result(10)
        client.send(answer(request_id(client.message()), packet_id=3))
        assert client.receive() == puback(3)
        client.ping()
    assert [c.state for c in hub.method_calls("mast-1")] == ["no-answer"]


def test_a_frozen_device_does_not_answer(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the hub pretends that nobody is there a call gets no answer."""
    monkeypatch.setattr(methods, "MIN_TIMEOUT_S", 0.0)
    with RawClient(hub) as client:
        ready(client)
        hub.faults.set(Fault("freeze"))
        with pytest.raises(MethodTimeout):
            call(hub, timeout_s=0.05).result(10)


@pytest.mark.parametrize("way", ["leaves", "breaks", "is taken over", "is disabled"])
def test_what_is_pending_ends_at_once_with_the_connection(hub: LocalHub, way: str) -> None:
    """A device that goes before it answered fails the call, however it goes."""
    with RawClient(hub) as client:
        ready(client, clean=False)
        pending = call(hub)
        client.message()
        match way:
            case "leaves":
                client.send(b"\xe0\x00")
            case "breaks":
                client._socket.close()
            case "is taken over":
                with RawClient(hub) as other:
                    other.login(clean=False)
            case _:
                hub.set_device_enabled("mast-1", False)
        with pytest.raises(DeviceOffline, match="'mast-1' disconnected and has not answered"):
            pending.result(10)
    assert [c.state for c in hub.method_calls("mast-1")] == ["offline"]


def test_an_answer_that_nobody_waits_for_changes_nothing(hub: LocalHub) -> None:
    """Unknown, answered before or of an earlier connection: acknowledged, and no other call takes it."""
    with RawClient(hub) as client:
        ready(client, clean=False)
        old = call(hub)
        old_id = request_id(client.message())
    with pytest.raises(DeviceOffline):
        old.result(10)
    with RawClient(hub) as client:
        client.login(clean=False)
        pending = call(hub)
        rid = request_id(client.message())
        for number, other in enumerate((old_id, "1", "0" * 200, "%2F"), 1):
            client.send(answer(other, packet_id=number))
            assert client.receive() == puback(number)
        assert not pending.done()
        client.send(answer(rid, b'"first"', packet_id=9) + answer(rid, b'"second"', 500, packet_id=10))
        assert [client.receive(), client.receive()] == [puback(9), puback(10)]
        assert pending.result(10) == MethodResult(200, b'"first"')
        client.ping()


def test_without_a_subscription_nothing_is_sent(hub: LocalHub) -> None:
    """Not connected, not subscribed and no longer subscribed are told apart; the device hears nothing."""
    with pytest.raises(DeviceOffline, match="'mast-1' is not connected"):
        call(hub).result(10)
    with RawClient(hub) as client:
        client.login()
        client.send(subscribe(1, ("devices/mast-1/messages/devicebound/#", 1)))
        client.receive()
        with pytest.raises(DeviceOffline, match="'mast-1' is not subscribed to methods"):
            call(hub).result(10)
        client.send(subscribe(1, (METHODS, 1)))
        assert client.receive() == GRANTED
        pending = call(hub)
        rid = request_id(client.message())
        client.send(packet(0xA2, struct.pack("!H", 2) + text(METHODS)))
        assert client.receive() == (0xB0, b"\x00\x02")
        with pytest.raises(DeviceOffline, match="not subscribed"):
            call(hub).result(10)
        client.send(answer(rid))
        assert client.receive() == puback(1)
        assert pending.result(10).status == 200
        client.ping()


def test_a_refused_subscription_is_none(hub: LocalHub) -> None:
    """By the fault refuse-subscription the device cannot be called, now nor in the session that goes on."""
    hub.faults.set(Fault("refuse-subscription", times=1))
    for session_present in (0, 1):
        with RawClient(hub) as client:
            assert client.login(clean=False) == (session_present, 0)
            if not session_present:
                client.send(subscribe(1, (METHODS, 1)))
                assert client.receive() == (0x90, b"\x00\x01\x80")
            client.ping()
            with pytest.raises(DeviceOffline, match="not subscribed"):
                call(hub).result(10)


@contextmanager
def started(directory: Path) -> Iterator[HubThread]:
    thread = HubThread(LocalHub(directory, "127.0.0.1", port=0))
    thread.start()
    try:
        thread.hub.ensure_device("mast-1")
        yield thread
    finally:
        thread.stop()


def test_a_persistent_session_keeps_the_subscription(tmp_path: Path) -> None:
    """Without a new SUBSCRIBE calls arrive after the hub's restart; a clean session ends that."""
    with started(tmp_path) as first, RawClient(first.hub) as client:
        ready(client, clean=False)
    with started(tmp_path) as second:
        with RawClient(second.hub) as client:
            assert client.login(clean=False) == (1, 0)
            client.ping()
            pending = call(second.hub)
            client.send(answer(request_id(client.message())))
            assert pending.result(10).status == 200
        with RawClient(second.hub) as client:
            assert client.login(clean=True) == (0, 0)
            client.ping()
            with pytest.raises(DeviceOffline, match="not subscribed"):
                second.run(second.hub.call_method("mast-1", "ping"))


@pytest.mark.parametrize(
    "topic",
    [
        "$iothub/methods/res/",
        "$iothub/methods/res/200",
        "$iothub/methods/res/200/",
        "$iothub/methods/res/200/?$rid=",
        "$iothub/methods/res/200/?rid=1",
        "$iothub/methods/res/200?$rid=1",
        "$iothub/methods/res/200/?$rid=1/",
        "$iothub/methods/res/200/?$rid=1&x=2",
        "$iothub/methods/res/200/x/?$rid=1",
        "$iothub/methods/res//?$rid=1",
        "$iothub/methods/res/ok/?$rid=1",
        "$iothub/methods/res/1.5/?$rid=1",
        "$iothub/methods/res/２００/?$rid=1",
        "$iothub/methods/res/9999999999/?$rid=1",
        "$iothub/methods/POST/ping/?$rid=1",
        "$iothub/methods/",
    ],
)
def test_a_topic_that_is_no_answer_ends_the_connection(hub: LocalHub, topic: str) -> None:
    """A foreign or malformed topic is a protocol error, and what was pending fails."""
    with RawClient(hub) as client:
        ready(client)
        pending = call(hub)
        client.message()
        client.send(publish(topic, b"{}"))
        assert client.is_closed()
    with pytest.raises(DeviceOffline):
        pending.result(10)


@pytest.mark.parametrize("payload", [b"done", b"\xff", b"NaN", b"{} {}", b"[" * 50_000])
def test_an_answer_that_is_not_json_ends_the_connection(hub: LocalHub, payload: bytes) -> None:
    """A device that answers something else than JSON is cut off, whether the call is known or not."""
    with RawClient(hub) as client:
        ready(client)
        client.send(answer("1", payload))
        assert client.is_closed()


def test_128_kib_go_each_way_and_not_a_byte_more(hub: LocalHub) -> None:
    """The largest payload is called and answered; a larger call is refused, a larger answer cuts off."""
    largest = b'"' + b"x" * (131_072 - 2) + b'"'
    with pytest.raises(InvalidRequest, match="payload of 131073 bytes, at most 131072"):
        call(hub, payload=largest + b" ").result(10)
    with RawClient(hub) as client:
        ready(client)
        pending = call(hub, payload=largest)
        message = client.message()
        assert message.body == largest
        client.send(answer(request_id(message), largest))
        assert client.receive() == puback(1)
        assert pending.result(10).payload == largest
        client.send(answer("1", largest + b" "))
        assert client.is_closed()


def test_a_payload_counts_as_utf_8_does(hub: LocalHub) -> None:
    """130,002 bytes of umlauts go to the device as they are; a lone surrogate goes as JSON's escape."""
    content = {"ü": "ä" * 64_996, "lone": "x\ud800"}
    payload = payload_bytes(content)
    assert payload == ('{"ü":"%s","lone":"x\\ud800"}' % ("ä" * 64_996)).encode()
    with RawClient(hub) as client:
        ready(client)
        pending = call(hub, payload=payload)
        message = client.message()
        assert json.loads(message.body) == content
        client.send(answer(request_id(message)))
        pending.result(10)


def test_an_answer_is_acknowledged_in_its_turn(hub: LocalHub) -> None:
    """Its PUBACK comes after those of the messages before it and before those after it."""
    with RawClient(hub) as client:
        ready(client)
        client.send(
            b"".join(
                answer("1", packet_id=n) if n % 3 == 0 else publish(EVENTS, b"x", n) for n in range(1, 61)
            )
        )
        assert [client.receive() for _ in range(60)] == [puback(n) for n in range(1, 61)]
    assert len(hub.store.events.after()) == 40


def test_answers_do_not_pile_up_without_bound(hub: LocalHub) -> None:
    """Thousands that nobody asked for are all acknowledged."""
    with RawClient(hub) as client:
        ready(client)
        client.send(b"".join(answer("1", packet_id=n) for n in range(1, 5001)))
        assert [client.receive() for _ in range(5000)] == [puback(n) for n in range(1, 5001)]


@pytest.mark.parametrize(
    ("name", "payload", "timeout_s", "words"),
    [
        ("", b"{}", 30, "method name ''"),
        ("x" * 101, b"{}", 30, "expected 1 to 100 of"),
        ("a b", b"{}", 30, "method name 'a b'"),
        ("a/b", b"{}", 30, "method name 'a/b'"),
        ("set\n", b"{}", 30, r"method name 'set\\n'"),
        ("süd", b"{}", 30, "method name"),
        ("$set", b"{}", 30, "method name"),
        ("set", b"", 30, "the payload is not JSON"),
        ("set", b"{", 30, "the payload is not JSON"),
        ("set", b"Infinity", 30, "the payload is not JSON"),
        ("set", b"\xff", 30, "the payload is not JSON"),
        ("set", b"{}", 4.9, "time-out 4.9 s: expected 5 to 300"),
        ("set", b"{}", 301, "time-out 301 s"),
        ("set", b"{}", float("nan"), "time-out nan s"),
    ],
)
def test_what_azure_would_refuse_is_refused(
    hub: LocalHub, name: str, payload: bytes, timeout_s: float, words: str
) -> None:
    """A bad name, payload or time-out is said in one line, and no call is made."""
    with pytest.raises(InvalidRequest, match=words):
        call(hub, name, payload, timeout_s=timeout_s).result(10)
    assert hub.method_calls("mast-1") == []


def test_an_unknown_device_is_not_called(tmp_path: Path) -> None:
    """It is told from one that is offline."""
    with started(tmp_path) as thread, pytest.raises(UnknownDevice, match="no device 'mast-7'"):
        thread.run(thread.hub.call_method("mast-7", "ping"))


def test_an_answer_costs_no_commit(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is acknowledged though the store takes nothing any more."""

    def fail(_arrivals: object) -> list[Event]:
        raise StoreFailed("the store failed: disk I/O error")

    monkeypatch.setattr(hub.store.events, "append", fail)
    with RawClient(hub) as client:
        ready(client)
        client.send(answer("1"))
        assert client.receive() == puback(1)
        client.send(publish(EVENTS, b"x"))
        assert client.is_closed()


class Wire:
    """A line that takes everything."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    async def drain(self) -> None:
        return

    def send(self, name: str, packet: bytes) -> None:
        self.sent.append(packet)


def test_nothing_is_kept_of_a_call_that_is_over() -> None:
    """However often a device does not answer, the connection's memory does not grow."""

    async def call_in_vain() -> None:
        own: Any = wire
        calls = Methods("mast-1", own)
        calls.subscribed(True)
        for _ in range(3):
            with pytest.raises(MethodTimeout):
                await calls.call("ping", b"null", 0.001)
        assert calls._waiting == {}

    wire = Wire()
    asyncio.run(call_in_vain())
    assert len(wire.sent) == 3


class BrokenLine:
    """A line that breaks while what was sent before drains."""

    async def drain(self) -> None:
        raise ConnectionResetError

    def send(self, name: str, packet: bytes) -> None:
        raise AssertionError("nothing may be sent")


def test_a_line_that_breaks_before_the_call_is_a_device_offline() -> None:
    """The call fails at once, and nothing was sent."""
    own: Any = BrokenLine()
    calls = Methods("mast-1", own)
    calls.subscribed(True)
    with pytest.raises(DeviceOffline, match="'mast-1' disconnected before it was called"):
        asyncio.run(calls.call("ping", b"null", 5.0))


def test_the_log_tells_what_became_of_the_last_calls() -> None:
    """Each change is a notice; a hundred calls are kept, and one that is forgotten meanwhile stays so."""

    async def log_calls() -> None:
        now = iter(range(1000))
        board = NoticeBoard()
        subscription = board.subscribe()
        log = CallLog(board, lambda: float(next(now)))
        number = log.begin("mast-1", "ping", b"null")
        log.settle(number, "answered", MethodResult(200, b"{}"))
        called = MethodCall(1, "mast-1", "ping", b"null", 0.0, "called", 0.0, None)
        answered = MethodCall(1, "mast-1", "ping", b"null", 0.0, "answered", 1.0, MethodResult(200, b"{}"))
        assert [await subscription.get() for _ in range(2)] == [
            MethodChanged(called),
            MethodChanged(answered),
        ]
        assert (log.latest("mast-1"), log.latest("mast-2")) == ([answered], [])
        subscription.close()
        for _ in range(100):
            log.begin("mast-2", "ping", b"null")
        assert log.latest("mast-1") == []
        log.settle(number, "no-answer", None)
        assert log.latest("mast-1") == []
        assert len(log.latest("mast-2")) == 100

    asyncio.run(log_calls())
