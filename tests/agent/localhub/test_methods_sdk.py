"""Direct methods with the real azure-iot-device SDK as the device, over TLS; the page's control call."""

from __future__ import annotations

import gc
import http.client
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from azure.iot.device import IoTHubDeviceClient, MethodRequest, MethodResponse

from agent.localhub import methods
from agent.localhub.hub import LocalHub
from agent.localhub.records import MethodResult
from agent.localhub.thread import HubThread

Handler = Callable[[Any], Any]


class Site:
    """A hub on its thread, its page, and mast-1 by the SDK."""

    def __init__(self, directory: Path) -> None:
        self.thread = HubThread(LocalHub(directory), page=True)
        self.thread.start()
        self.hub = self.thread.hub
        self.hub.ensure_device("mast-1")
        self.client: Any = None

    def connect(self, answer: Handler | None = None) -> None:
        """``answer``: of a request a response, or None for silence."""
        self.client = IoTHubDeviceClient.create_from_connection_string(
            self.hub.device_connection_string("mast-1"),
            server_verification_cert=self.hub.ca_file.read_text(),
            connection_retry=False,
            auto_connect=False,
        )
        self.client.connect()
        if answer is not None:
            self.handle(answer)

    def handle(self, answer: Handler) -> None:
        client = self.client

        def received(request: MethodRequest) -> None:
            if (response := answer(request)) is not None:
                client.send_method_response(response)

        self.client.on_method_request_received = received

    def call(self, name: str, payload: bytes = b"null") -> MethodResult:
        return self.thread.run(self.hub.call_method("mast-1", name, payload, timeout_s=20.0))

    def post(self, body: Any, device: str = "mast-1", **headers: str) -> tuple[int, Any]:
        """The control call, as any HTTP client makes it."""
        page = urlsplit(self.thread.page_url or "")
        own = {"Authorization": f"Bearer {page.fragment.removeprefix('token=')}"} | headers
        connection = http.client.HTTPConnection(page.hostname or "", page.port, timeout=20)
        try:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            connection.request("POST", f"/api/devices/{device}/methods", content, own)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def close(self) -> None:
        if self.client is not None:
            self.client.shutdown()
            self.client = None
        self.thread.stop()
        gc.collect()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path / "hub")
    yield site
    site.close()


def echo(request: MethodRequest) -> MethodResponse:
    told = {"name": request.name, "got": request.payload}
    return MethodResponse.create_from_method_request(request, 200, told)


def test_the_sdk_is_called_and_answers(site: Site) -> None:
    """Name, payload, status and answer come through as they are, null and umlauts too."""
    site.connect(echo)
    result = site.call("stop-all", '{"größe": [1, 2.5, null, "½"]}'.encode())
    assert result.status == 200
    assert json.loads(result.payload) == {"name": "stop-all", "got": {"größe": [1, 2.5, None, "½"]}}
    assert json.loads(site.call("a%2Fb!").payload) == {"name": "a%2Fb!", "got": None}


def test_many_calls_at_once_get_their_own_answers(site: Site) -> None:
    """Fifty calls that the SDK's threads answer in any order are told apart."""
    site.connect(echo)
    with ThreadPoolExecutor(10) as pool:
        results = list(pool.map(lambda n: site.call(f"m{n}", b"%d" % n), range(50)))
    assert [json.loads(r.payload) for r in results] == [{"name": f"m{n}", "got": n} for n in range(50)]


def test_the_sdk_is_called_after_it_has_reconnected(site: Site) -> None:
    """It never subscribes a second time, and need not: its session keeps the subscription."""
    site.connect(echo)
    site.call("ping")
    site.client.disconnect()
    status, answer = site.post({"methodName": "ping"})
    assert (status, answer) == (404, {"error": "'mast-1' is not connected"})
    site.client.connect()
    assert site.call("ping").status == 200


def test_the_control_call_gives_the_answer(site: Site) -> None:
    """Status and payload are the device's, whatever its status; an answer without payload is null."""
    site.connect(echo)
    status, answer = site.post(
        {"methodName": "set", "payload": {"value": "½"}, "responseTimeoutInSeconds": 10}
    )
    assert (status, answer) == (200, {"status": 200, "payload": {"name": "set", "got": {"value": "½"}}})
    assert site.post({"methodName": "ping"})[1]["payload"]["got"] is None
    site.handle(lambda request: MethodResponse(request.request_id, 503))
    assert site.post({"methodName": "x"}) == (200, {"status": 503, "payload": None})


def test_the_control_call_says_why_there_is_no_answer(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """404 says unknown or offline, 504 that the device was silent; the log of calls says the same."""
    body = {"methodName": "ping"}
    assert site.post(body, "mast-7") == (404, {"error": "no device 'mast-7'"})
    assert site.post(body) == (404, {"error": "'mast-1' is not connected"})
    site.connect()
    assert site.post(body) == (404, {"error": "'mast-1' is not subscribed to methods"})
    site.handle(lambda request: None)
    monkeypatch.setattr(methods, "MIN_TIMEOUT_S", 0.0)
    silent = body | {"responseTimeoutInSeconds": 0.1}
    assert site.post(silent) == (504, {"error": "'mast-1' has not answered within 0.1 s"})
    assert [c.state for c in site.hub.method_calls("mast-1")] == ["offline", "offline", "no-answer"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 50_000, "not JSON"),
        (b'{"methodName": "set", "payload": NaN}', "not JSON"),
        (b'{"methodName": "set", "payload": 1e999}', "not JSON"),
        ([], "JSON object"),
        ({}, "methodName: expected"),
        ({"methodName": 3}, "methodName: expected"),
        ({"methodName": "a b"}, "method name 'a b'"),
        ({"methodName": "set", "device": "mast-2"}, "unknown key 'device'"),
        ({"methodName": "set", "payload": "x" * 131_072}, "at most 131072"),
        ({"methodName": "set", "responseTimeoutInSeconds": None}, "expected a number of seconds"),
        ({"methodName": "set", "responseTimeoutInSeconds": True}, "expected a number of seconds"),
        ({"methodName": "set", "responseTimeoutInSeconds": "30"}, "expected a number of seconds"),
        ({"methodName": "set", "responseTimeoutInSeconds": 10**400}, "expected a number of seconds"),
        ({"methodName": "set", "responseTimeoutInSeconds": 4}, "expected 5 to 300"),
    ],
)
def test_what_is_no_call_is_refused_with_the_reason(site: Site, body: Any, words: str) -> None:
    """400 in one line, and nobody is called."""
    status, answer = site.post(body)
    assert (status, words in answer["error"]) == (400, True), answer
    assert site.hub.method_calls("mast-1") == []


def test_the_control_call_is_guarded_as_all_are(site: Site) -> None:
    """Without the token, by another name or from another page nobody is called."""
    body = {"methodName": "ping"}
    assert site.post(body, Authorization="Bearer wrong")[0] == 401
    assert site.post(body, Host="evil.example")[0] == 403
    assert site.post(body, Origin="http://evil.example")[0] == 403
    assert site.post(b" " * 524_289)[0] == 413
    assert site.hub.method_calls("mast-1") == []
