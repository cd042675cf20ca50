"""The registry over HTTPS."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import unquote

import pytest

from agent.localhub.hub import LocalHub

from .client import RawClient, eventually
from .rest_client import RestClient

KEYS = {
    "primaryKey": base64.b64encode(b"p" * 32).decode(),
    "secondaryKey": base64.b64encode(b"s" * 32).decode(),
}
NEVER = "0001-01-01T00:00:00Z"


@pytest.fixture
def rest(hub: LocalHub) -> RestClient:
    return RestClient(hub)


def test_a_device_is_created_and_told_as_azure_tells_it(rest: RestClient) -> None:
    """With generated keys; the ETag is in the header, too."""
    answer = rest.put("/devices/mast-2", {"deviceId": "mast-2"})
    device = answer.json
    keys = device["authentication"]["symmetricKey"]
    assert (answer.status, answer.headers["ETag"]) == (200, f'"{device["etag"]}"')
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert device == {
        "deviceId": "mast-2",
        "generationId": device["generationId"],
        "etag": device["etag"],
        "connectionState": "Disconnected",
        "status": "enabled",
        "statusReason": None,
        "connectionStateUpdatedTime": NEVER,
        "statusUpdatedTime": NEVER,
        "lastActivityTime": NEVER,
        "cloudToDeviceMessageCount": 0,
        "authentication": {
            "symmetricKey": {"primaryKey": keys["primaryKey"], "secondaryKey": keys["secondaryKey"]},
            "x509Thumbprint": {"primaryThumbprint": None, "secondaryThumbprint": None},
            "type": "sas",
        },
        "capabilities": {"iotEdge": False},
    }
    assert [len(base64.b64decode(key)) for key in keys.values()] == [32, 32]
    assert rest.get("/devices/mast-2").json == device
    assert rest.hub.device_connection_string("mast-2").endswith(keys["primaryKey"])


def test_what_changes_is_told(rest: RestClient) -> None:
    """Connected or not and since when, the last activity, and the messages that wait."""
    rest.hub.send_c2d("mast-1", b"x")
    with RawClient(rest.hub) as client:
        client.login()
        device = rest.get("/devices/mast-1").json
        assert (device["connectionState"], device["cloudToDeviceMessageCount"]) == ("Connected", 1)
        connected_at = device["connectionStateUpdatedTime"]
        assert NEVER < connected_at <= device["lastActivityTime"]
        assert rest.get("/statistics/service").json == {"connectedDeviceCount": 1}
    eventually(lambda: not rest.hub.connected())
    device = rest.get("/devices/mast-1").json
    assert device["connectionState"] == "Disconnected"
    assert device["connectionStateUpdatedTime"] > connected_at
    assert rest.get("/statistics/service").json == {"connectedDeviceCount": 0}


def test_a_device_may_be_created_with_all_it_has(rest: RestClient) -> None:
    """Own keys, a status and its reason; nulls and what only the hub decides are passed over."""
    body = {
        "deviceId": "mast-2",
        "status": "disabled",
        "statusReason": "spare — ½",
        "authentication": {"type": "sas", "symmetricKey": KEYS, "x509Thumbprint": None},
        "capabilities": {"iotEdge": False},
        "generationId": "7",
        "etag": "x",
        "connectionState": "Connected",
        "deviceScope": None,
    }
    device = rest.put("/devices/mast-2", body).json
    assert device["authentication"]["symmetricKey"] == KEYS
    assert (device["status"], device["statusReason"]) == ("disabled", "spare — ½")
    assert (device["generationId"] != "7", device["connectionState"]) == (True, "Disconnected")
    assert rest.get("/statistics/devices").json == {
        "totalDeviceCount": 2,
        "enabledDeviceCount": 1,
        "disabledDeviceCount": 1,
    }


def test_a_device_may_be_known_by_certificates(rest: RestClient) -> None:
    """Then it has thumbprints and no keys that anybody is told; it can go back to keys."""
    thumbprints = {"primaryThumbprint": "ab" * 20, "secondaryThumbprint": "CD" * 32}
    body = {"authentication": {"x509Thumbprint": thumbprints}}
    told = rest.put("/devices/mast-2", body).json["authentication"]
    assert told == {
        "symmetricKey": {"primaryKey": None, "secondaryKey": None},
        "x509Thumbprint": {"primaryThumbprint": "AB" * 20, "secondaryThumbprint": "CD" * 32},
        "type": "selfSigned",
    }
    assert rest.put("/devices/mast-2", {"authentication": told}, If_Match="*").json["authentication"] == told
    back = {"authentication": {"type": "sas", "symmetricKey": KEYS}}
    assert rest.put("/devices/mast-2", back, If_Match="*").json["authentication"]["symmetricKey"] == KEYS


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"deviceId": "mast-3"}, "deviceId: expected 'mast-2'"),
        ({"deviceId": 2}, "deviceId: expected 'mast-2'"),
        ({"status": "on"}, "status is 'on'"),
        ({"status": True}, "status: expected"),
        ({"statusReason": 3}, "statusReason: expected a text"),
        ({"statusReason": "x" * 129}, "at most 128"),
        ({"statusReason": "\ud800"}, "surrogates not allowed"),
        ({"authentication": []}, "authentication: expected an object"),
        ({"authentication": {"symmetricKey": "x"}}, "symmetricKey: expected an object"),
        ({"authentication": {"symmetricKey": {"primaryKey": 3}}}, "primaryKey: expected a text"),
        ({"authentication": {"symmetricKey": {"primaryKey": "short"}}}, "not base64 of 16 to 64 bytes"),
        ({"authentication": {"x509Thumbprint": {"primaryThumbprint": "zz"}}}, "hexadecimal digits"),
        ({"authentication": {"type": "certificateAuthority"}}, "this hub knows sas and selfSigned"),
        ({"authentication": {"type": "selfSigned"}}, "expected keys with type sas"),
        (
            {"authentication": {"symmetricKey": KEYS, "x509Thumbprint": {"primaryThumbprint": "a" * 40}}},
            "expected keys with type sas",
        ),
        ({"capabilities": {"iotEdge": True}}, "no IoT Edge devices"),
        ({"capabilities": 1}, "capabilities: expected an object"),
    ],
)
def test_what_is_no_device_is_refused(rest: RestClient, body: Any, words: str) -> None:
    """400 with the reason, and there is no such device."""
    answer = rest.put("/devices/mast-2", body)
    assert answer.error == (400, "ArgumentInvalid")
    assert words in answer.words
    assert rest.get("/devices/mast-2").error == (404, "DeviceNotFound")


def test_a_second_device_of_that_id_is_refused(rest: RestClient) -> None:
    """409, and nothing of it is kept."""
    before = rest.get("/devices/mast-1").json
    assert rest.put("/devices/mast-1", {"status": "disabled"}).error == (409, "DeviceAlreadyExists")
    assert rest.get("/devices/mast-1").json == before


@pytest.mark.parametrize("form", ["{}", '"{}"', 'W/"{}"', ' "{}" '])
def test_a_change_is_for_one_state_or_any(rest: RestClient, form: str) -> None:
    """The ETag or the star, with and without quotes; another ETag is a 412."""
    first = rest.get("/devices/mast-1").json
    second = rest.put("/devices/mast-1", {"statusReason": "a"}, If_Match=form.format(first["etag"])).json
    assert (second["statusReason"], second["etag"] != first["etag"]) == ("a", True)
    assert second["authentication"] == first["authentication"]
    stale = rest.put("/devices/mast-1", {"statusReason": "b"}, If_Match=form.format(first["etag"]))
    assert stale.error == (412, "PreconditionFailed")
    third = rest.put("/devices/mast-1", {"statusReason": "c"}, If_Match=form.format("*"))
    assert (third.status, third.json["statusReason"]) == (200, "c")


@pytest.mark.parametrize("etag", ["", '"', '""', '"a", "b"', "a b", "é"])
def test_what_is_no_etag_is_refused(rest: RestClient, etag: str) -> None:
    """400, for a change and for a deletion."""
    assert rest.put("/devices/mast-1", {}, If_Match=etag).error == (400, "ArgumentInvalid")
    assert rest.delete("/devices/mast-1", If_Match=etag).error == (400, "ArgumentInvalid")


def test_a_change_of_nobody_is_refused(rest: RestClient) -> None:
    """404, whichever state it is for."""
    for etag in ("*", "AAAAAAAAAAE="):
        assert rest.put("/devices/mast-9", {}, If_Match=etag).error == (404, "DeviceNotFound")
        assert rest.delete("/devices/mast-9", If_Match=etag).error == (404, "DeviceNotFound")
    assert rest.delete("/devices/mast-9/commands").error == (404, "DeviceNotFound")


def test_a_device_of_an_earlier_ones_id_is_another(rest: RestClient) -> None:
    """It has no keys, twin, waiting messages or times of the one that was deleted."""
    rest.hub.send_c2d("mast-1", b"x")
    with RawClient(rest.hub) as client:
        client.login()
        first = rest.get("/devices/mast-1").json
        rest.delete("/devices/mast-1", If_Match="*")
        assert client.is_closed()
    eventually(lambda: not rest.hub.connected())
    second = rest.put("/devices/mast-1").json
    assert (second["connectionStateUpdatedTime"], second["lastActivityTime"]) == (NEVER, NEVER)
    assert second["cloudToDeviceMessageCount"] == 0
    for name in ("generationId", "etag", "authentication"):
        assert second[name] != first[name]


def test_a_deletion_says_for_which_state_it_is(rest: RestClient) -> None:
    """400 without If-Match, 412 for another state, 204 when it is done."""
    etag = rest.get("/devices/mast-1").json["etag"]
    assert rest.delete("/devices/mast-1").error == (400, "ArgumentNull")
    assert rest.delete("/devices/mast-1", If_Match='"other"').error == (412, "PreconditionFailed")
    done = rest.delete("/devices/mast-1", If_Match=f'"{etag}"')
    assert (done.status, done.body) == (204, b"")
    assert rest.get("/devices/mast-1").error == (404, "DeviceNotFound")
    assert rest.get("/devices").json == []


@pytest.mark.parametrize(
    ("change", "is_cut"),
    [
        ({"status": "disabled"}, True),
        ({"authentication": {"symmetricKey": KEYS}}, True),
        ({"authentication": {"x509Thumbprint": {"primaryThumbprint": "a" * 40}}}, True),
        ({"statusReason": "all is well"}, False),
        (None, True),
    ],
)
def test_a_change_reaches_a_device_that_is_connected(rest: RestClient, change: Any, is_cut: bool) -> None:
    """Disabled, deleted or with other credentials it is cut off; anything else leaves it alone."""
    with RawClient(rest.hub) as client:
        client.login()
        if change is None:
            assert rest.delete("/devices/mast-1", If_Match="*").status == 204
        else:
            assert rest.put("/devices/mast-1", change, If_Match="*").status == 200
        if is_cut:
            assert client.is_closed()
        else:
            client.ping()


def test_new_keys_are_the_ones_that_count(rest: RestClient) -> None:
    """After they are changed the device comes in with the new and not with the old."""
    old = rest.hub.store.registry.get("mast-1").primary_key
    assert old != KEYS["primaryKey"]
    rest.put("/devices/mast-1", {"authentication": {"symmetricKey": KEYS}}, If_Match="*")
    with RawClient(rest.hub) as client:
        assert client.login() == (0, 0)
    rest.put("/devices/mast-1", {"status": "disabled"}, If_Match="*")
    with RawClient(rest.hub) as client:
        assert client.login() == (0, 5)


def test_devices_are_listed_by_id(rest: RestClient) -> None:
    """At most so many; a number out of bounds means a thousand, as in Azure; what is no number is a 400."""
    for name in ("mast-3", "mast-2"):
        rest.put(f"/devices/{name}")

    def ids(query: str = "") -> list[str]:
        return [device["deviceId"] for device in rest.get(f"/devices{query}").json]

    everyone = ["mast-1", "mast-2", "mast-3"]
    assert ids() == ids("?top=1000") == ids("?top=0") == ids("?top=-1") == ids("?top=1001") == everyone
    assert ids("?top=2") == ["mast-1", "mast-2"]
    for query in ("?top=x", "?top=", "?top=1&top=2", "?top=1.5", "?top=%D9%A3"):
        assert rest.get(f"/devices{query}").error == (400, "ArgumentInvalid")


@pytest.mark.parametrize("device_id", ["a%23b", "%25", "a%3Fb", "Az09-:.%2B_*!(),=@$'"])
def test_ids_are_quoted_in_the_path(rest: RestClient, device_id: str) -> None:
    """As any client quotes them."""
    assert rest.put(f"/devices/{device_id}").json["deviceId"] == unquote(device_id)
    assert rest.get(f"/devices/{device_id}").status == 200
    assert rest.get(f"/twins/{device_id}").status == 200
    assert rest.delete(f"/devices/{device_id}", If_Match='"*"').status == 204


@pytest.mark.parametrize("device_id", ["a%20b", "%C3%A9", "a%2Fb", "a%0Ab", "x" * 129, "%00"])
def test_ids_that_azure_would_refuse_are_refused(rest: RestClient, device_id: str) -> None:
    """Nobody can be created by them, and nobody is there."""
    assert rest.put(f"/devices/{device_id}").status in (400, 404)
    assert rest.get(f"/devices/{device_id}").status in (400, 404)
    assert rest.get("/statistics/devices").json["totalDeviceCount"] == 1


def test_waiting_messages_are_purged(rest: RestClient) -> None:
    """The answer says how many; they are never delivered."""
    sent = [rest.hub.send_c2d("mast-1", b"x") for _ in range(3)]
    purged = rest.delete("/devices/mast-1/commands")
    assert purged.json == {"totalMessagesPurged": 3, "deviceId": "mast-1", "moduleId": None}
    assert rest.delete("/devices/mast-1/commands").json["totalMessagesPurged"] == 0
    states = {rest.hub.store.c2d.get(message.sequence).state for message in sent}  # type: ignore[union-attr]
    assert states == {"purged"}
