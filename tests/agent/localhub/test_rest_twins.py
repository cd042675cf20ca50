"""Twins, queries and direct methods over HTTPS."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Callable
from typing import Any

import pytest

from agent.localhub import methods
from agent.localhub.hub import LocalHub
from agent.localhub.rest import twins

from .client import RawClient, eventually, publish, subscribe
from .rest_client import Answer, RestClient

QUERY = {"query": "SELECT * FROM devices"}


@pytest.fixture
def rest(hub: LocalHub) -> RestClient:
    return RestClient(hub, "service")


def test_a_twin_is_told_as_azure_tells_it(rest: RestClient) -> None:
    """What the back end wants, what the device reports, and what is known of the device."""
    rest.hub.store.twins.report("mast-1", {"version": "1.0"})
    answer = rest.patch("/twins/mast-1", {"tags": {"place": "ridge"}, "properties": {"desired": {"x": 1}}})
    twin = answer.json
    assert (answer.status, answer.headers["ETag"]) == (200, f'"{twin["etag"]}"')
    assert rest.get("/twins/mast-1").json == twin
    properties = twin.pop("properties")
    assert {name: twin.pop(name) for name in ("etag", "deviceEtag")}.keys() == {"etag", "deviceEtag"}
    assert twin == {
        "deviceId": "mast-1",
        "status": "enabled",
        "statusReason": None,
        "statusUpdateTime": "0001-01-01T00:00:00Z",
        "connectionState": "Disconnected",
        "lastActivityTime": "0001-01-01T00:00:00Z",
        "cloudToDeviceMessageCount": 0,
        "authenticationType": "sas",
        "x509Thumbprint": {"primaryThumbprint": None, "secondaryThumbprint": None},
        "capabilities": {"iotEdge": False},
        "version": 2,
        "tags": {"place": "ridge"},
    }
    desired, reported = properties["desired"], properties["reported"]
    assert (desired["x"], desired["$version"], reported["version"], reported["$version"]) == (1, 2, "1.0", 2)
    assert desired["$metadata"]["x"]["$lastUpdatedVersion"] == 2


def test_a_patch_merges_and_a_put_replaces(rest: RestClient) -> None:
    """Each side as far as it is given; what was read can be sent back."""
    rest.patch("/twins/mast-1", {"tags": {"a": 1, "b": 1}, "properties": {"desired": {"a": 1, "b": 1}}})
    twin = rest.patch("/twins/mast-1", {"properties": {"desired": {"a": None}}}).json
    assert ("a" in twin["properties"]["desired"], twin["tags"]) == (False, {"a": 1, "b": 1})
    twin["tags"] = {"c": 1}
    again = rest.put("/twins/mast-1", twin).json
    assert (again["tags"], again["properties"]["desired"]["b"]) == ({"c": 1}, 1)
    none = rest.put("/twins/mast-1", {"properties": {"desired": {}}}).json
    assert (none["tags"], none["properties"]["desired"]["$version"]) == ({"c": 1}, 5)
    assert "b" not in none["properties"]["desired"]


@pytest.mark.parametrize("send", [RestClient.patch, RestClient.put])
def test_a_change_is_for_one_state_or_any(rest: RestClient, send: Callable[..., Answer]) -> None:
    """412 for another ETag, with or without quotes; no ETag or the star is for any."""
    etag = rest.get("/twins/mast-1").json["etag"]
    assert send(rest, "/twins/mast-1", {"tags": {}}, If_Match=f'"{etag}"').status == 200
    assert send(rest, "/twins/mast-1", {"tags": {}}, If_Match=etag).error == (412, "PreconditionFailed")
    for given in ("*", '"*"', None):
        assert send(rest, "/twins/mast-1", {"tags": {}}, If_Match=given).status == 200
    assert send(rest, "/twins/mast-1", {"tags": {}}, If_Match="a b").error == (400, "ArgumentInvalid")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"tags": 3}, "tags: expected a JSON object"),
        ({"tags": {"a.b": 1}}, "is no name"),
        ({"properties": []}, "properties: expected an object"),
        ({"properties": {"desired": "x"}}, "desired properties: expected a JSON object"),
        ({"properties": {"desired": {"x": "y" * 5000}}}, "more than 4096 bytes"),
        ({"tags": {"\ud800": 1}}, "is no name"),
    ],
)
def test_what_is_no_twin_is_refused(rest: RestClient, body: Any, words: str) -> None:
    """400 with the reason, and nothing is changed."""
    before = rest.get("/twins/mast-1").json
    for answer in (rest.patch("/twins/mast-1", body), rest.put("/twins/mast-1", body)):
        assert answer.error == (400, "ArgumentInvalid")
        assert words in answer.words
    assert rest.get("/twins/mast-1").json == before


def test_nobody_has_no_twin(rest: RestClient) -> None:
    """404 for each request."""
    for answer in (
        rest.get("/twins/mast-9"),
        rest.patch("/twins/mast-9", {}),
        rest.put("/twins/mast-9", {}),
        rest.post("/twins/mast-9/methods", {"methodName": "ping"}),
    ):
        assert answer.error == (404, "DeviceNotFound")


def test_texts_with_half_a_character_come_back(rest: RestClient) -> None:
    """JSON can say a lone surrogate, and so can the answer."""
    body = b'{"tags": {"x": "\\ud800"}}'
    assert rest.send("PATCH", "/twins/mast-1", body).json["tags"] == {"x": "\ud800"}
    assert rest.post("/devices/query", QUERY).json[0]["tags"] == {"x": "\ud800"}


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM devices",
        "select * from DEVICES",
        " SELECT  *\nFROM devices ; ",
        "SELECT * FROM devices WHERE deviceId = 'mast-1'",
        'select * from devices where devices.deviceId="mast-1"',
    ],
)
def test_a_query_finds_twins(rest: RestClient, query: str) -> None:
    """All, or the one of an id; the header says what was found."""
    answer = rest.post("/devices/query", {"query": query})
    assert (answer.status, answer.headers["x-ms-item-type"]) == (200, "Twin")
    assert answer.json == [rest.get("/twins/mast-1").json]
    assert "x-ms-continuation" not in answer.headers


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"query": None},
        {"query": 3},
        {"query": ""},
        {"query": "SELECT deviceId FROM devices"},
        {"query": "SELECT * FROM devices.modules"},
        {"query": "SELECT * FROM devices WHERE tags.x = 1"},
        {"query": "SELECT * FROM devices WHERE deviceId = 'a' OR '1' = '1'"},
        {"query": "DROP TABLE devices"},
    ],
)
def test_other_queries_are_refused(rest: RestClient, body: Any) -> None:
    """400, saying what this hub knows; nothing is found in silence."""
    assert rest.post("/devices/query", body).error == (400, "ArgumentInvalid")


def test_a_query_of_nobody_finds_nobody(rest: RestClient) -> None:
    """An empty list, and no error."""
    answer = rest.post("/devices/query", {"query": "SELECT * FROM devices WHERE deviceId = 'mast-9'"})
    assert (answer.status, answer.json) == (200, [])


def test_what_is_found_comes_in_pages(rest: RestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """As large as asked for, at most a thousand; the token of one asks for the next."""
    for number in range(2, 6):
        rest.hub.create_device(f"mast-{number}")

    def pages(size: str | None) -> list[list[str]]:
        found, token = [], None
        while True:
            answer = rest.post("/devices/query", QUERY, x_ms_max_item_count=size, x_ms_continuation=token)
            found.append([twin["deviceId"] for twin in answer.json])
            if (token := answer.headers["x-ms-continuation"]) is None:
                return found

    everyone = [f"mast-{number}" for number in range(1, 6)]
    assert pages("2") == [everyone[:2], everyone[2:4], everyone[4:]]
    assert pages(None) == pages("0") == pages("5") == [everyone]
    monkeypatch.setattr(twins, "MOST_FOUND", 3)
    assert pages(None) == pages("9") == [everyone[:3], everyone[3:]]
    for bad in ({"x_ms_continuation": "!"}, {"x_ms_continuation": "/w=="}, {"x_ms_max_item_count": "x"}):
        assert rest.post("/devices/query", QUERY, **bad).error == (400, "ArgumentInvalid")


def in_background(work: Callable[[], Answer]) -> Callable[[], Answer]:
    """Start it; the function returned waits for its end."""
    ended: list[Answer] = []
    thread = threading.Thread(target=lambda: ended.append(work()))
    thread.start()

    def result() -> Answer:
        thread.join(20)
        return ended[0]

    return result


def answer_one(client: RawClient, status: int, payload: bytes) -> tuple[str, Any]:
    """Answer the next call; its topic and what it carries."""
    called = client.message()
    rid = called.topic.rpartition("/?$rid=")[2]
    client.send(publish(f"$iothub/methods/res/{status}/?$rid={rid}", payload))
    assert client.receive() == (0x40, struct.pack("!H", 1))
    return called.topic, json.loads(called.body)


def ready(client: RawClient) -> None:
    client.login()
    client.send(subscribe(1, ("$iothub/methods/POST/#", 1)))
    client.receive()


@pytest.mark.parametrize(
    ("form", "got", "payload", "told"),
    [
        ({"payload": {"value": True}}, {"value": True}, b'{"done": "\xc2\xbd"}', {"done": "½"}),
        ({"payload": [1, 2.5, None, "x"]}, [1, 2.5, None, "x"], b"[]", []),
        ({"payload": ""}, "", b'""', ""),
        ({"payload": "ü" * 65_535}, "ü" * 65_535, b"1", 1),
        ({"payload": "\ud800"}, "\ud800", b"1", 1),
        ({}, None, b"", None),
    ],
)
def test_a_method_is_called(rest: RestClient, form: Any, got: Any, payload: bytes, told: Any) -> None:
    """The device gets the payload, the caller its status and answer, whatever they are."""
    with RawClient(rest.hub) as client:
        ready(client)
        result = in_background(
            lambda: rest.post(
                "/twins/mast-1/methods", {"methodName": "set", "responseTimeoutInSeconds": 5} | form
            )
        )
        topic, body = answer_one(client, 418, payload)
        assert topic.startswith("$iothub/methods/POST/set/")
        assert body == got
        answer = result()
        assert (answer.status, answer.json) == (200, {"status": 418, "payload": told})


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({}, "methodName: expected"),
        ({"methodName": None}, "methodName: expected"),
        ({"methodName": 3}, "methodName: expected"),
        ({"methodName": "a b"}, "method name 'a b'"),
        ({"methodName": "x", "responseTimeoutInSeconds": 4}, "time-out 4 s: expected 5 to 300"),
        ({"methodName": "x", "responseTimeoutInSeconds": 301}, "expected 5 to 300"),
        ({"methodName": "x", "responseTimeoutInSeconds": "9"}, "expected a number of seconds"),
        ({"methodName": "x", "responseTimeoutInSeconds": True}, "expected a number of seconds"),
        ({"methodName": "x", "connectTimeoutInSeconds": -1}, "expected 0 to 300"),
        ({"methodName": "x", "connectTimeoutInSeconds": 301}, "expected 0 to 300"),
        ({"methodName": "x", "connectTimeoutInSeconds": []}, "expected a number of seconds"),
        ({"methodName": "x", "payload": "x" * 131_072}, "at most 131072"),
    ],
)
def test_what_is_no_call_is_refused(rest: RestClient, form: Any, words: str) -> None:
    """400 with the reason, and nobody is called."""
    answer = rest.post("/twins/mast-1/methods", form)
    assert answer.error == (400, "ArgumentInvalid")
    assert words in answer.words
    assert rest.hub.method_calls("mast-1") == []


def test_a_device_that_is_not_there_cannot_be_called(rest: RestClient) -> None:
    """404 at once, connected or not, when it does not listen to methods."""
    body = {"methodName": "ping"}
    offline = rest.post("/twins/mast-1/methods", body)
    assert offline.error == (404, "DeviceNotOnline")
    assert "'mast-1' is not connected" in offline.words
    with RawClient(rest.hub) as client:
        client.login()
        assert "not subscribed" in rest.post("/twins/mast-1/methods", body).words


def test_a_device_that_does_not_answer_is_504(rest: RestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time that was given to it."""
    monkeypatch.setattr(methods, "MIN_TIMEOUT_S", 0.0)
    with RawClient(rest.hub) as client:
        ready(client)
        answer = rest.post("/twins/mast-1/methods", {"methodName": "x", "responseTimeoutInSeconds": 0.05})
        assert answer.error == (504, "GatewayTimeout")
        assert "has not answered within 0.05 s" in answer.words


def test_a_call_can_wait_for_its_device(rest: RestClient) -> None:
    """So long as is asked for: one that is expected back is called when it is; one that stays away is not."""
    call = {"methodName": "ping", "connectTimeoutInSeconds": 20}
    with RawClient(rest.hub) as client:
        client.login(clean=False)
        client.send(subscribe(1, ("$iothub/methods/POST/#", 1)))
        client.receive()
    eventually(lambda: not rest.hub.connected())
    result = in_background(lambda: rest.post("/twins/mast-1/methods", call))
    with RawClient(rest.hub) as client:
        client.login(clean=False)
        answer_one(client, 200, b"{}")
        assert result().status == 200
    away = rest.post("/twins/mast-1/methods", call | {"connectTimeoutInSeconds": 0.05})
    assert away.error == (404, "DeviceNotOnline")
