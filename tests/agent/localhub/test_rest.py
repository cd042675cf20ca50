"""The HTTPS port: who is let in to what, and what is told to those who are not."""

from __future__ import annotations

import contextlib
import gzip
import socket
import sqlite3
import ssl
import time
from typing import Any
from urllib.parse import quote

import pytest

from agent.localhub.faults import Fault
from agent.localhub.hub import LocalHub
from agent.localhub.records import StoreFailed
from agent.localhub.rest import server
from agent.localhub.service_auth import RIGHTS

from .client import eventually, token
from .rest_client import RestClient

READ, WRITE, SERVICE = "RegistryRead", "RegistryWrite", "ServiceConnect"

REQUESTS = [
    ("GET", "/devices", READ),
    ("GET", "/devices/mast-1", READ),
    ("GET", "/statistics/devices", READ),
    ("GET", "/statistics/service", READ),
    ("PUT", "/devices/mast-2", WRITE),
    ("DELETE", "/devices/mast-2", WRITE),
    ("DELETE", "/devices/mast-1/commands", SERVICE),
    ("GET", "/twins/mast-1", SERVICE),
    ("PATCH", "/twins/mast-1", SERVICE),
    ("PUT", "/twins/mast-1", SERVICE),
    ("POST", "/twins/mast-1/methods", SERVICE),
    ("POST", "/devices/query", SERVICE),
    ("GET", "/messages/serviceBound/feedback", SERVICE),
    ("DELETE", "/messages/serviceBound/feedback/x", SERVICE),
    ("POST", "/messages/serviceBound/feedback/x/abandon", SERVICE),
]


@pytest.fixture
def rest(hub: LocalHub) -> RestClient:
    return RestClient(hub)


def exchange(hub: LocalHub, content: bytes) -> bytes:
    """Bytes to the HTTPS port, and all that comes back until the hub ends the connection."""
    context = ssl.create_default_context(cafile=str(hub.ca_file))
    with (
        socket.create_connection((hub.address, hub.https_port or 0), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=hub.host) as connection,
    ):
        answer = b""
        with contextlib.suppress(ConnectionError):
            connection.sendall(content)
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(65_536):
                answer += part
        return answer


@pytest.mark.parametrize("policy", list(RIGHTS))
def test_a_policy_may_do_what_its_rights_say(hub: LocalHub, policy: str) -> None:
    """Each request needs one right, as Azure has it; without it the answer is 401 and names both."""
    rest = RestClient(hub, policy)
    for method, path, right in REQUESTS:
        answer = rest.send(method, path, {}, If_Match=None)
        if right in {r.value for r in RIGHTS[policy]}:
            assert answer.status != 401, (method, path)
        else:
            assert answer.error == (401, "IotHubUnauthorizedAccess"), (method, path)
            assert f"policy '{policy}' lacks the right {right}, which iothubowner" in answer.words


def test_without_a_good_token_nothing_is_told(rest: RestClient) -> None:
    """None, another's, one that is over, a device's, or none for this resource: 401 with the reason."""
    hub, soon = rest.hub, time.time() + 60
    key = hub.store.registry.policy_key("iothubowner") or ""
    device_key = hub.store.registry.get("mast-1").primary_key
    for authorization, words in (
        (None, "there is no header Authorization"),
        ("", "no shared access signature"),
        ("Bearer x", "no shared access signature"),
        (token(key, "example.com", soon, "iothubowner"), "another hub's"),
        (token(key, hub.host, time.time() - 60, "iothubowner"), "expired"),
        (token(device_key, hub.host, soon, "iothubowner"), "not signed with the key"),
        (token(device_key, f"{hub.host}/devices/mast-1", soon), "names no policy"),
        (token(key, f"{hub.host}/devices/mast-2", soon, "iothubowner"), "which is not for '/devices/mast-1'"),
        ("SharedAccessSignature sr=localhost/\xff&sig=eA==&se=99999999999&skn=service", "which is not"),
    ):
        answer = rest.get("/devices/mast-1", Authorization=authorization)
        assert answer.error == (401, "IotHubUnauthorizedAccess")
        assert words in answer.words
    scoped = token(key, f"{hub.host}/devices/mast-1", soon, "iothubowner")
    assert rest.get("/devices/mast-1", Authorization=scoped).status == 200


@pytest.mark.parametrize(
    ("version", "status"),
    [
        ("api-version=2021-04-12", 200),
        ("api-version=2020-05-31-preview", 200),
        ("", 400),
        ("api-version=", 400),
        ("api-version=latest", 400),
        ("api-version=2021-04-12&api-version=2021-04-12", 400),
        ("api-version=٢٠٢١-04-12".encode().decode("latin-1"), 400),
    ],
)
def test_the_version_is_a_date(rest: RestClient, version: str, status: int) -> None:
    """Any; none, two or another text are a 400."""
    answer = rest.get("/devices/mast-1", version=quote(version, safe="=&"))
    assert answer.status == status
    assert status == 200 or answer.error == (400, "InvalidProtocolVersion")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("PUT", "/devices/", 405),
        ("GET", "/devices/mast-1/", 404),
        ("GET", "/devices/mast-1/modules", 404),
        ("POST", "/devices/mast-1/messages/deviceBound", 404),
        ("GET", "/../etc/passwd", 404),
        ("POST", "/devices", 405),
        ("PATCH", "/devices/mast-1", 405),
        ("HEAD", "/devices/mast-1", 405),
        ("OPTIONS", "/devices", 405),
        ("PROPFIND", "/twins/mast-1", 405),
        ("GET", "/twins/mast-1/methods", 405),
    ],
)
def test_what_is_not_there_is_said_so(rest: RestClient, method: str, path: str, status: int) -> None:
    """404 for a path, 405 for a method, with IoT Hub's error body."""
    answer = rest.send(method, path)
    assert answer.status == status
    assert answer.headers["iothub-errorcode"] == "InvalidOperation"
    assert method == "HEAD" or answer.error == (status, "InvalidOperation")
    assert ("Allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"a":NaN}', b'{"a":1e999}', b"[]", b"3"]
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/devices/mast-2"),
        ("PATCH", "/twins/mast-1"),
        ("POST", "/twins/mast-1/methods"),
        ("POST", "/devices/query"),
    ],
)
def test_what_is_no_json_object_is_refused(rest: RestClient, method: str, path: str, body: bytes) -> None:
    """400, whatever takes a body."""
    assert rest.send(method, path, body).error == (400, "IotHubFormatError")


@pytest.mark.parametrize("depth", [9, 300, 450, 600, 900, 990])
def test_however_deep_it_is_never_the_hubs_fault(rest: RestClient, depth: int) -> None:
    """Nobody is called, or nothing is kept, and the answer says why."""
    payload = b"[" * depth + b"]" * depth
    answer = rest.post("/twins/mast-1/methods", b'{"methodName": "x", "payload": %b}' % payload)
    assert answer.status in (400, 404)
    assert rest.patch("/twins/mast-1", b'{"tags": {"x": %b}}' % payload).status == (
        200 if depth < 10 else 400
    )


def test_a_packed_body_is_no_json(rest: RestClient) -> None:
    """Nothing is unpacked, so nothing grows."""
    packed = gzip.compress(b"{}")
    assert rest.put("/devices/mast-2", packed, Content_Encoding="gzip").error == (400, "IotHubFormatError")


def test_bodies_are_bounded(rest: RestClient) -> None:
    """Past 512 KiB: 413, also when the client does not say how much it sends; before login none is read."""
    assert rest.put("/devices/mast-2", b" " * 524_289).error == (413, "MessageTooLarge")
    head = (
        "PUT /devices/mast-2?api-version=2021-04-12 HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: {rest.token}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    chunks = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    assert exchange(rest.hub, head.encode() + chunks * 10).startswith(b"HTTP/1.1 413 ")
    waits = (
        "PUT /devices/mast-2?api-version=2021-04-12 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
    )
    assert exchange(rest.hub, waits.encode()).startswith(b"HTTP/1.1 401 ")


def test_a_body_may_be_announced(rest: RestClient) -> None:
    """Who asks whether to send it hears so, or the refusal; other expectations go unheard."""
    head = (
        "PUT /devices/mast-2?api-version=2021-04-12 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        "Content-Length: 2\r\n"
    )
    entry = f"Authorization: {rest.token}\r\n"
    told = exchange(rest.hub, f"{head}{entry}Expect: 100-continue\r\n\r\n{{}}".encode())
    assert told.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")
    assert b" 401 " in exchange(rest.hub, f"{head}Expect: 100-continue\r\n\r\n{{}}".encode())
    assert exchange(rest.hub, f"{head}{entry}Expect: tea\r\n\r\n{{}}".encode()).startswith(b"HTTP/1.1 409 ")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
        b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 10_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 100 + b"\r\n",
        b"PUT / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_http_is_told_in_iot_hubs_way(hub: LocalHub, request_bytes: bytes) -> None:
    """400 with its error body, then the end."""
    answer = exchange(hub, request_bytes)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 ", b"HTTP/1.1 404 ")), answer
    assert b"iothub-errorcode" in answer.lower()
    assert b'{"Message": "ErrorCode:' in answer


@pytest.mark.parametrize("name", ["Authorization", "If-Match", "x-ms-continuation", "x-ms-max-item-count"])
def test_a_header_that_is_there_twice_is_refused(rest: RestClient, name: str) -> None:
    """400: which of the two was meant?"""
    method, path = ("DELETE", "/devices/mast-1") if name == "If-Match" else ("POST", "/devices/query")
    body = '{"query": "SELECT * FROM devices"}'
    own = "" if name == "Authorization" else f"Authorization: {rest.token}\r\n"
    answer = exchange(
        rest.hub,
        f"{method} {path}?api-version=2021-04-12 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{own}"
        f"{name}: {rest.token}\r\n{name}: {rest.token}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode(),
    )
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"2 headers " + name.encode() in answer


def test_a_failing_disk_is_503(rest: RestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a read, in a write and in the login; afterwards all is well."""
    hub = rest.hub

    def fail(*_: Any, **__: Any) -> Any:
        raise StoreFailed("the store failed: disk I/O error") from sqlite3.OperationalError()

    for part, name, request in (
        (hub.store.registry, "get", lambda: rest.get("/devices/mast-1")),
        (hub.store.registry, "create", lambda: rest.put("/devices/mast-2")),
        (hub.store.twins, "update", lambda: rest.patch("/twins/mast-1", {"tags": {}})),
        (hub.store.registry, "policy_key", lambda: rest.get("/devices")),
    ):
        with monkeypatch.context() as broken:
            broken.setattr(part, name, fail)
            answer = request()
        assert answer.error == (503, "ServiceUnavailable")
        assert "disk I/O error" in answer.words
    assert rest.get("/devices/mast-1").status == 200


def test_a_fault_of_the_hubs_own_is_a_500_in_the_log(
    rest: RestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is no secret, tells nothing of the inside, and ends nothing else."""

    def fail(*_: Any) -> Any:
        raise ZeroDivisionError("inside")

    with monkeypatch.context() as broken:
        broken.setattr(rest.hub.store.registry, "get", fail)
        answer = rest.get("/devices/mast-1")
    assert answer.error == (500, "ServerError")
    assert "inside" not in answer.words
    assert "ZeroDivisionError: inside" in caplog.text
    assert rest.get("/devices/mast-1").status == 200


def test_who_says_nothing_is_cut_off(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with half a request; a connection that has asked once may wait."""
    monkeypatch.setattr(server, "_HANDSHAKE_WITHIN_S", 0.5)
    monkeypatch.setattr(server, "_FIRST_REQUEST_WITHIN_S", 0.0)
    assert exchange(hub, b"") == b""
    assert exchange(hub, b"GET / HTTP/1.1\r\nHost: local") == b""
    twice = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    context = ssl.create_default_context(cafile=str(hub.ca_file))
    with (
        socket.create_connection((hub.address, hub.https_port or 0), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=hub.host) as connection,
    ):
        connection.sendall(twice)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 404 ")
        time.sleep(0.7)
        connection.sendall(twice)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 404 ")


def test_connections_are_bounded(rest: RestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past a number the next is ended at once; when one goes there is room again."""
    monkeypatch.setattr(server, "_MAX_CONNECTIONS", 2)
    context = ssl.create_default_context(cafile=str(rest.hub.ca_file))

    def connect() -> ssl.SSLSocket:
        plain = socket.create_connection((rest.hub.address, rest.hub.https_port or 0), timeout=10)
        return context.wrap_socket(plain, server_hostname=rest.hub.host)

    runner = rest.hub._service._rest._runner
    with connect(), connect():
        eventually(lambda: runner.server is not None and len(runner.server.connections) == 2)
        with pytest.raises(OSError):  # noqa: PT011  (of one kind or another)
            rest.get("/devices")
    eventually(lambda: runner.server is not None and not runner.server.connections)
    assert rest.get("/devices").status == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_of_tls(rest: RestClient, version: ssl.TLSVersion) -> None:
    """1.2 and 1.3, and a certificate fault is shown here, too."""
    rest.context.minimum_version = rest.context.maximum_version = version
    assert rest.get("/devices").status == 200
    rest.hub.faults.set(Fault("expired-certificate", times=1))
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        rest.get("/devices")


def test_the_hubs_clock_counts(rest: RestClient) -> None:
    """A hub two hours ahead calls a token for an hour over."""
    rest.hub.faults.set(Fault("clock-skew", 7200))
    assert "expired" in rest.get("/devices").words
