"""Single messages and direct methods by the page's calls, against a real hub."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from agent.localhub.hub import LocalHub
from agent.localhub.records import Arrival

from .client import RawClient, eventually, publish, subscribe
from .page_client import PageClient, of, page_of

METHODS = of("mast-1", "/methods")


@pytest.fixture
def page(hub: LocalHub) -> Iterator[PageClient]:
    with page_of(hub) as client:
        yield client


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"a":\t1.0,\r\n "b": "\xc3\xa4"}', '{"a":\t1.0,\r\n "b": "ä"}'),
        (b"", ""),
        (b"plain", "plain"),
        (b"\xff\xfe", None),
        (b"a\x00b", None),
        (b"\x1b[2J", None),
        ("\x85".encode(), None),
    ],
)
def test_a_message_is_told_as_it_was_received(page: PageClient, body: bytes, text: str | None) -> None:
    """Text as text, anything else in hexadecimal; with its properties, its time and its size."""
    arrival = Arrival("mast-1", {"message-id": "m", "content-type": "x/y"}, {"type": "event", "é": "ß"}, body)
    [event] = page.hub.store.events.append([arrival])
    answer = page.ask("GET", of("mast-1", f"/messages/{event.sequence}"))
    assert answer.json == {
        "sequence": event.sequence,
        "received": round(event.enqueued_s * 1000),
        "size": len(body),
        "system": {"message-id": "m", "content-type": "x/y"},
        "properties": {"type": "event", "é": "ß"},
        "text": text,
        "hex": body.hex() if text is None else None,
    }


def test_a_message_of_any_size_is_told_whole(page: PageClient) -> None:
    """Also the largest that a hub takes."""
    body = b"\xff" * 262_144
    [event] = page.hub.store.events.append([Arrival("mast-1", {}, {}, body)])
    assert page.ask("GET", of("mast-1", f"/messages/{event.sequence}")).json["hex"] == body.hex()


def test_a_message_is_told_to_open_pages_by_its_beginning(page: PageClient) -> None:
    """As it comes over the wire, each once, though its object came before; the whole can be asked for."""
    body = json.dumps({"run": "9f3c01ab", "sequence": 1, "windSpeed": 3, "note": "x" * 500}).encode()
    with RawClient(page.hub) as device, page.stream() as lines:
        device.login()
        lines.next()
        for packet_id in (1, 2):
            device.send(publish("devices/mast-1/messages/events/%24.mid=m7&type=reading", body, packet_id))
            device.receive()
        told = [lines.until("message")["message"] for _ in range(2)]
    for message in told:
        assert (message["device"], message["type"], message["messageId"]) == ("mast-1", "reading", "m7")
        assert (message["size"], message["beginning"]) == (len(body), body[:200].decode())
        whole = page.ask("GET", of("mast-1", f"/messages/{message['sequence']}")).json
        assert whole["text"] == body.decode()
        assert whole["system"]["iothub-connection-device-id"] == "mast-1"
    assert told[0]["sequence"] < told[1]["sequence"]


def test_a_message_is_asked_for_by_its_device_and_number(page: PageClient) -> None:
    """Another device's, none at all, and what is no number are 404."""
    page.hub.ensure_device("mast-2")
    theirs, own = page.hub.store.events.append([Arrival(f"mast-{n}", {}, {}, b"x") for n in (2, 1)])
    assert page.ask("GET", of("mast-1", f"/messages/{own.sequence}")).status == 200
    for number in (theirs.sequence, theirs.sequence - 1, own.sequence + 1, 10**18 - 1):
        answer = page.ask("GET", of("mast-1", f"/messages/{number}"))
        assert (answer.status, answer.error) == (404, f"no message {number} of 'mast-1'")
    for odd in ("x", "-1", "1.5", "9" * 40, "%D9%A1"):
        assert page.ask("GET", of("mast-1", f"/messages/{odd}")).status == 404


def test_a_method_is_called_with_any_payload(page: PageClient) -> None:
    """By its name; the device's number and payload are the answer."""
    with RawClient(page.hub) as device, ThreadPoolExecutor(1) as pool:
        device.login()
        device.send(subscribe(1, ("$iothub/methods/POST/#", 0)))
        device.receive()
        payload = [1.0, {"é": None}, "ü" * 60_000]
        body = {"methodName": "any-thing", "payload": payload, "responseTimeoutInSeconds": 20}
        pending = pool.submit(page.ask, "POST", METHODS, body)
        call = device.message()
        assert call.topic.startswith("$iothub/methods/POST/any-thing/")
        assert json.loads(call.body) == payload
        found = re.search(r"rid=(\w+)", call.topic)
        assert found is not None
        device.send(publish(f"$iothub/methods/res/207/?$rid={found[1]}", b'"fine"', first=0x30))
        assert pending.result(30).json == {"status": 207, "payload": "fine"}


def test_a_method_may_wait_for_its_device(page: PageClient) -> None:
    """A device that is away is called once it has come within the time for that."""
    with ThreadPoolExecutor(1) as pool:
        body = {"methodName": "ping", "connectTimeoutInSeconds": 60}
        pending = pool.submit(page.ask, "POST", METHODS, body)
        with RawClient(page.hub) as device:
            eventually(lambda: page.hub.method_calls("mast-1"), 30)
            device.login()
            device.send(subscribe(1, ("$iothub/methods/POST/#", 0)))
            device.receive()
            found = re.search(r"rid=(\w+)", device.message().topic)
            assert found is not None
            device.send(publish(f"$iothub/methods/res/200/?$rid={found[1]}", b"", first=0x30))
            assert pending.result(30).json == {"status": 200, "payload": None}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"connectTimeoutInSeconds": -1}, "connectTimeoutInSeconds is -1: expected 0 to 300"),
        ({"connectTimeoutInSeconds": 301}, "connectTimeoutInSeconds is 301: expected 0 to 300"),
        ({"connectTimeoutInSeconds": "5"}, "connectTimeoutInSeconds: expected a number of seconds"),
        ({"responseTimeoutInSeconds": True}, "responseTimeoutInSeconds: expected a number of seconds"),
        ({"responseTimeoutInSeconds": 4.9}, "time-out 4.9 s: expected 5 to 300"),
        ({"methodName": "a b"}, "method name 'a b'"),
        ({"methodName": None}, "methodName: expected the name of a method"),
        ({"payload": "x" * 131_072}, "payload of 131074 bytes, at most 131072"),
        ({"timeout": 5}, "unknown key 'timeout'"),
    ],
    ids=lambda part: str(part)[:40],
)
def test_what_is_no_call_is_refused_with_the_reason(
    page: PageClient, more: dict[str, Any], words: str
) -> None:
    """400 in one line, and nobody is called."""
    answer = page.ask("POST", METHODS, {"methodName": "ping"} | more)
    assert answer.status == 400
    assert words in answer.error
    assert page.hub.method_calls("mast-1") == []


def test_a_device_that_is_away_is_404(page: PageClient) -> None:
    """The line says that it is not connected, which an unknown one's does not."""
    answer = page.ask("POST", METHODS, {"methodName": "ping"})
    assert (answer.status, answer.error) == (404, "'mast-1' is not connected")
