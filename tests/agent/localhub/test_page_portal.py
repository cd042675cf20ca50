"""The page's calls by HTTP against a real hub: the registry, connection strings, and who may ask at all."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest

from agent.localhub.device_settings import DeviceSettings
from agent.localhub.hub import LocalHub
from agent.localhub.page import server
from agent.localhub.records import Arrival, StoreFailed

from .client import RawClient, eventually, subscribe
from .page_client import NO_BODY, PageClient, of, page_of

CALLS: tuple[tuple[str, str, Any], ...] = (
    ("POST", "api/devices", {"deviceId": "mast-2"}),
    ("PUT", of("mast-1", "/enabled"), {"enabled": False}),
    ("DELETE", of("mast-1"), NO_BODY),
    ("GET", of("mast-1", "/connection-string"), NO_BODY),
    ("GET", of("mast-1", "/twin"), NO_BODY),
    ("PUT", of("mast-1", "/twin"), {"desired": {"x": 1}}),
    ("GET", of("mast-1", "/messages/1"), NO_BODY),
    ("POST", of("mast-1", "/methods"), {"methodName": "ping"}),
)


@pytest.fixture
def page(hub: LocalHub) -> Iterator[PageClient]:
    with page_of(hub) as client:
        yield client


@pytest.mark.parametrize(("method", "path", "body"), CALLS, ids=lambda part: str(part)[:40])
def test_every_call_wants_the_token_and_this_page(
    page: PageClient, method: str, path: str, body: Any
) -> None:
    """Without the token 401, of another page or by another name 403, and nothing is done or told."""
    page.hub.store.events.append([Arrival("mast-1", {}, {}, b"secret")])
    etag = page.hub.store.twins.get("mast-1").etag
    key = page.hub.store.registry.get("mast-1").primary_key
    own = f"127.0.0.1:{page.port}"
    for status, token, headers in (
        (401, "", {}),
        (401, "wrong", {}),
        (403, None, {"Origin": "http://evil.example"}),
        (403, None, {"Origin": "null"}),
        (403, None, {"Host": f"evil.example:{page.port}"}),
        (403, None, {"Host": own, "Origin": f"http://localhost:{page.port}"}),
    ):
        answer = page.ask(method, path, body, token, If_Match=f'"{etag}"', **headers)
        assert answer.status == status
        assert key not in answer.error
        assert "secret" not in answer.error
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "no-store"
    assert [d.enabled for d in page.hub.store.registry.all()] == [True]
    assert page.hub.store.twins.get("mast-1").etag == etag
    assert page.hub.method_calls("mast-1") == []


@pytest.mark.parametrize(("method", "path", "body"), CALLS[1:], ids=lambda part: str(part)[:40])
def test_an_unknown_device_is_404(page: PageClient, method: str, path: str, body: Any) -> None:
    """Every call about a device that is not there says so, whatever is asked of it."""
    answer = page.ask(method, path.replace("mast-1", "mast-7"), body, If_Match='"x"')
    assert (answer.status, answer.error) == (404, "no device 'mast-7'")


def test_a_device_is_created_and_can_connect(page: PageClient) -> None:
    """201; open pages hear of it at once; its connection string is what it logs in with."""
    with page.stream() as lines:
        lines.next()
        answer = page.ask("POST", "api/devices", {"deviceId": "mast-2"})
        created = {"id": "mast-2", "connected": False, "enabled": True, "proof": "key"}
        assert (answer.status, answer.json) == (201, created)
        assert created in lines.until("devices")["devices"]
    string = page.ask("GET", of("mast-2", "/connection-string")).json["connectionString"]
    assert string == page.hub.device_connection_string("mast-2")
    assert string.endswith(page.hub.store.registry.get("mast-2").primary_key)
    again = page.ask("POST", "api/devices", {"deviceId": "mast-2"})
    assert (again.status, again.error) == (409, "device 'mast-2' exists")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"deviceId": "a", }', "not JSON: "),
        (b"[" * 100_000, "not JSON"),
        (b'{"deviceId": NaN}', "not JSON"),
        (b"\xff", "not JSON"),
        (b"", "not JSON"),
        ([], "expected a JSON object"),
        ({}, "deviceId: expected the id"),
        ({"deviceId": 7}, "deviceId: expected the id"),
        ({"deviceId": ""}, "device id ''"),
        ({"deviceId": "a b"}, "device id 'a b'"),
        ({"deviceId": "a" * 129}, "expected 1 to 128"),
        ({"deviceId": "a", "keys": 1}, "unknown key 'keys'; expected deviceId"),
    ],
    ids=lambda part: str(part)[:30],
)
def test_what_is_no_new_device_is_refused_with_the_reason(page: PageClient, body: Any, words: str) -> None:
    """400 in one line, and nothing is created."""
    answer = page.ask("POST", "api/devices", body)
    assert answer.status == 400
    assert words in answer.error
    assert len(page.hub.store.registry.all()) == 1


def test_where_json_breaks_off_is_said(page: PageClient) -> None:
    """The line and the column of the first mistake."""
    answer = page.ask("POST", "api/devices", b'{\n  "deviceId": x}')
    assert "at line 2 column 15" in answer.error


def test_a_disabled_device_is_cut_off_and_an_enabled_one_may_come(page: PageClient) -> None:
    """At once, and told to open pages; a value that is neither is refused."""
    with RawClient(page.hub) as device, page.stream() as lines:
        device.login()
        lines.next()
        answer = page.ask("PUT", of("mast-1", "/enabled"), {"enabled": False})
        assert (answer.status, answer.json["enabled"]) == (200, False)
        assert device.is_closed()
        while lines.until("devices")["devices"][0]["enabled"]:
            pass
    with RawClient(page.hub) as device:
        assert device.login() == (0, 5)
    for wrong in (None, 1, "true"):
        answer = page.ask("PUT", of("mast-1", "/enabled"), {"enabled": wrong})
        assert (answer.status, answer.error) == (400, "enabled: expected true or false")
    assert page.ask("PUT", of("mast-1", "/enabled"), {"enabled": True}).json["enabled"] is True
    with RawClient(page.hub) as device:
        assert device.login() == (0, 0)


def test_a_deleted_device_is_gone_and_what_waited_is_purged(page: PageClient) -> None:
    """204; it is cut off; open pages hear that its messages are purged, then that it is gone."""
    waiting = page.hub.send_c2d("mast-1", b"x", message_id="waiting")
    with RawClient(page.hub) as device, page.stream() as lines:
        device.login()
        lines.next()
        answer = page.ask("DELETE", of("mast-1"))
        assert (answer.status, answer.json) == (204, None)
        assert device.is_closed()
        command = lines.until("command")["command"]
        assert (command["id"], command["state"]) == ("waiting", "purged")
        while lines.until("devices")["devices"]:
            pass
    assert page.ask("DELETE", of("mast-1")).status == 404
    kept = page.hub.store.c2d.get(waiting.sequence)
    assert kept is not None
    assert kept.state == "purged"


def test_a_device_with_a_certificate_has_no_key_to_copy(page: PageClient) -> None:
    """Its connection string says that it is known by its certificate."""
    page.hub.identities.create("mast-2", DeviceSettings(primary_thumbprint="ab" * 20))
    answer = page.ask("GET", of("mast-2", "/connection-string"))
    assert answer.json == {"connectionString": f"HostName={page.hub.host};DeviceId=mast-2;x509=true"}
    with page.stream() as lines:
        assert [d["proof"] for d in lines.next()["devices"]] == ["key", "certificate"]


def test_no_key_is_told_unasked(page: PageClient) -> None:
    """Neither the push stream nor any static file holds a key or a connection string."""
    device = page.hub.store.registry.get("mast-1")
    keys = [device.primary_key, device.secondary_key]
    keys += [str(page.hub.store.registry.policy_key(name)) for name in ("iothubowner", "device")]
    with RawClient(page.hub) as client, page.stream() as lines:
        told = [lines.next()]
        client.login()
        client.send(subscribe(1, ("devices/mast-1/messages/devicebound/#", 1)))
        page.hub.identities.update_twin("mast-1", desired={"x": 1})
        page.ask("GET", of("mast-1", "/connection-string"))
        page.ask("PUT", of("mast-1", "/enabled"), {"enabled": False})
        while not (told[-1]["kind"] == "devices" and not told[-1]["devices"][0]["enabled"]):
            told.append(lines.next())
    files = [
        f.read_bytes().decode()
        for f in resources.files(f"{server.__package__}.static").iterdir()
        if f.is_file()
    ]
    for text in (str(told), *files):
        assert not any(key in text for key in keys)
        assert "SharedAccessKey=" not in text


def test_odd_device_ids_are_addressed_as_they_are(page: PageClient) -> None:
    """Every character that an id may have comes through a path."""
    for device_id in ("a%2Fb", "x#?y", "p+q", "$'(),=@!*:._-"):
        assert page.ask("POST", "api/devices", {"deviceId": device_id}).status == 201
        assert page.ask("GET", of(device_id, "/twin")).status == 200
        string = page.ask("GET", of(device_id, "/connection-string")).json["connectionString"]
        assert f";DeviceId={device_id};" in string
        assert page.ask("DELETE", of(device_id)).status == 204


def test_a_disk_that_fails_is_one_line(page: PageClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """500 with the cause, and the page goes on."""

    def fail(*_arguments: object) -> None:
        raise StoreFailed("the store failed: disk I/O error")

    with monkeypatch.context() as broken:
        broken.setattr(page.hub.store.registry, "create", fail)
        answer = page.ask("POST", "api/devices", {"deviceId": "mast-2"})
        assert (answer.status, answer.error) == (500, "the store failed: disk I/O error")
    assert page.ask("POST", "api/devices", {"deviceId": "mast-2"}).status == 201


def test_a_purge_is_told(page: PageClient) -> None:
    """What the back end takes out of a queue is purged on open pages, too."""
    for number in range(2):
        page.hub.send_c2d("mast-1", b"x", message_id=f"m{number}")
    eventually(lambda: page.hub.store.c2d.pending("mast-1") == 2)
    with page.stream() as lines:
        lines.next()
        assert page.hub.identities.purge("mast-1") == 2
        told: list[str] = []
        while len(told) < 2:
            command = lines.until("command")["command"]
            if command["state"] == "purged":
                told.append(command["id"])
    assert told == ["m0", "m1"]
    assert page.hub.identities.purge("mast-1") == 0
