"""The page's server by its HTTP, over a real store."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from configparser import ConfigParser
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib import resources
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.localhub.faults import Faults
from agent.localhub.identities import Identities
from agent.localhub.listener import Listener
from agent.localhub.methods import CallLog
from agent.localhub.notices import C2dChanged, DeviceConnected, EventStored, NoticeBoard, Subscription
from agent.localhub.page import PageServer, server, start_page
from agent.localhub.page.stream import lines
from agent.localhub.records import Arrival, C2dMessage, Device, MethodCall, MethodResult
from agent.localhub.store import Store
from tests.clock import FakeClock

NOON_S = 1_790_000_000.0
MAST_1 = {"id": "mast-1", "connected": True, "enabled": True, "proof": "key"}


@dataclass(frozen=True)
class Status:
    device: Device
    connected: bool


class Desk:
    """A hub without its MQTT side: the real store and the real notice board."""

    def __init__(self, directory: Path) -> None:
        self.clock = FakeClock(wall=NOON_S)
        self.store = Store(directory, self.clock.wall)
        self.board = NoticeBoard()
        self.calls = CallLog(self.board, self.clock.wall)
        self.faults = Faults()
        self.host = "localhost"
        listener = Listener(self.store, self.board, self.faults, self.clock.wall)
        self.identities = Identities(self.store, listener, asyncio.get_running_loop())
        self.online: set[str] = set()
        self.store.registry.create("mast-1")

    def devices(self) -> list[Status]:
        return [Status(d, d.device_id in self.online) for d in self.store.registry.all()]

    def subscribe(self, capacity: int = 1000) -> Subscription:
        return self.board.subscribe(capacity)

    def send_c2d(
        self, device_id: str, body: bytes, *, message_id: str | None = None, expires_in_s: float = 3600.0
    ) -> C2dMessage:
        return self.store.c2d.add(device_id, body, message_id=message_id, expires_in_s=expires_in_s)

    def device_connection_string(self, device_id: str) -> str:
        raise NotImplementedError

    async def call_method(
        self,
        device_id: str,
        name: str,
        payload: bytes = b"null",
        *,
        timeout_s: float = 30.0,
        connect_within_s: float = 0.0,
    ) -> MethodResult:
        raise NotImplementedError

    def method_calls(self, device_id: str) -> list[MethodCall]:
        return self.calls.latest(device_id)

    def arrive(self, bodies: Sequence[Any], **properties: str) -> None:
        arrivals = [
            Arrival(
                "mast-1",
                {"message-id": "m", "correlation-id": "c"},
                properties,
                body if isinstance(body, bytes) else json.dumps(body).encode(),
            )
            for body in bodies
        ]
        for event in self.store.events.append(arrivals):
            self.board.post(EventStored(event))


def reading(sequence: int, sensor: str = "top", **more: Any) -> dict[str, Any]:
    return {"sensor": sensor, "run": "9f3c01ab", "sequence": sequence, "windSpeed": 7.0} | more


class Client:
    def __init__(self, page: PageServer, session: aiohttp.ClientSession) -> None:
        self.page = page
        self.session = session
        self.token = {"Authorization": f"Bearer {page.token}"}

    async def get(self, path: str, **headers: str) -> tuple[int, str, Any]:
        async with self.session.get(self.page.address + path, headers=headers) as response:
            return response.status, await response.text(), response.headers

    async def post(self, body: Any, device: str = "mast-1") -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        url = f"{self.page.address}api/devices/{device}/commands"
        async with self.session.post(url, headers=self.token, data=data) as response:
            return response.status, await response.json()

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
        async with self.session.get(f"{self.page.address}api/stream", headers=self.token) as response:
            assert response.status == 200

            async def next_line() -> Any:
                async with asyncio.timeout(10):
                    return json.loads(await response.content.readuntil(b"\n"))

            yield next_line


def with_page(tmp_path: Path, test: Callable[[Desk, Client], Awaitable[None]]) -> None:
    """Run ``test`` with a running page and a client that has its token."""

    async def run() -> None:
        hub = Desk(tmp_path / "hub")
        page = await start_page(hub, 0)
        try:
            async with aiohttp.ClientSession(read_bufsize=2**24) as session:
                await test(hub, Client(page, session))
        finally:
            await page.stop()
            hub.store.close()

    asyncio.run(run())


def test_the_page_itself_needs_no_token_and_everything_else_does(tmp_path: Path) -> None:
    """Static files are served to anyone on this machine, the API only to who has the token."""

    async def check(hub: Desk, client: Client) -> None:
        status, text, headers = await client.get("")
        assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert client.page.token not in text
        for name in re.findall(r'(?:src|href)="([^"]+)"', text):
            assert (await client.get(name))[0] == 200
        for given in (
            "",
            "Bearer ",
            "Bearer wrong",
            client.page.token,
            f"bearer {client.page.token}",
            "Bearer é",
        ):
            status, text, _ = await client.get("api/stream", Authorization=given)
            assert (status, "token" in json.loads(text)["error"]) == (401, True)
        async with client.session.post(
            f"{client.page.address}api/devices/mast-1/commands", data=b"{}"
        ) as answer:
            assert answer.status == 401
        assert (await client.get("api/other", **client.token))[0] == 404
        assert (await client.get("server.py"))[0] == 404

    with_page(tmp_path, check)


def test_another_name_or_origin_is_refused_even_with_the_token(tmp_path: Path) -> None:
    """A rebound name and another page's request get 403, for static files too; localhost is our name."""

    async def check(hub: Desk, client: Client) -> None:
        port = client.page.address.rsplit(":", 1)[1].strip("/")
        for host in (f"evil.example:{port}", "127.0.0.1", "127.0.0.1:1", f"127.0.0.2:{port}"):
            for path in ("", "api/stream"):
                assert (await client.get(path, Host=host, **client.token))[0] == 403
        for origin in (
            "null",
            "http://evil.example",
            f"https://127.0.0.1:{port}",
            f"http://localhost:{port}",
        ):
            assert (await client.get("api/other", Origin=origin, **client.token))[0] == 403
        assert (await client.get("", Host=f"localhost:{port}", Origin=f"http://localhost:{port}"))[0] == 200

    with_page(tmp_path, check)


def test_every_answer_carries_the_headers_that_keep_others_out(tmp_path: Path) -> None:
    """Strict policy, no sniffing, no referrer, no store and no CORS, on good and bad answers alike."""

    async def check(hub: Desk, client: Client) -> None:
        for path in ("", "app.js", "nothing", "api/stream"):
            _, _, headers = await client.get(path)
            assert headers["Content-Security-Policy"] == (
                "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
                "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            )
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert headers["Cache-Control"] == "no-store"
            assert not [name for name in headers if name.lower().startswith("access-control")]

    with_page(tmp_path, check)


def test_the_stream_begins_with_what_is_known(tmp_path: Path) -> None:
    """The snapshot has the devices, the last 300 readings of each sensor, and commands with their states."""

    async def check(hub: Desk, client: Client) -> None:
        hub.online.add("mast-1")
        hub.arrive([{"event": "started", "run": "9f3c01ab", "sequence": 0}], type="event")
        hub.arrive([reading(i, "top") for i in range(1, 351)], type="reading", simulated="true")
        hub.arrive([reading(i, "boom") for i in range(400, 420)], type="reading")
        taken = hub.send_c2d("mast-1", b'{"command": "set"}', message_id="c1")
        hub.store.c2d.delivered(taken.sequence)
        hub.send_c2d("mast-1", b"hello")
        async with client.stream() as next_line:
            snapshot = await next_line()
        assert snapshot["kind"] == "snapshot"
        assert snapshot["devices"] == [MAST_1]
        messages = snapshot["messages"]
        assert [m["type"] for m in messages] == ["event"] + ["reading"] * 60
        assert [m["sequence"] for m in messages] == [1, *range(312, 372)]
        items = snapshot["items"]
        top = [
            i["body"]["sequence"] for i in items if i["type"] == "reading" and i["body"]["sensor"] == "top"
        ]
        assert top == list(range(51, 351))
        assert len(items) == 300 + 20 + 1
        assert items[0]["type"] == "event"
        assert [i["simulated"] for i in (items[1], items[-1])] == [True, False]
        first, second = snapshot["commands"]
        assert (first["id"], first["state"], first["body"]) == ("c1", "delivered", {"command": "set"})
        assert (first["sent"], first["settled"]) == (NOON_S * 1000, NOON_S * 1000)
        assert (second["id"], second["state"], second["text"]) == (None, "queued", "hello")
        assert second["settled"] is None

    with_page(tmp_path, check)


def test_what_happens_is_pushed_once(tmp_path: Path) -> None:
    """Events, commands and connections follow the snapshot; an object that came twice is told once."""

    async def check(hub: Desk, client: Client) -> None:
        hub.arrive([reading(1)], type="reading")
        async with client.stream() as next_line:
            assert len((await next_line())["items"]) == 1
            hub.arrive([reading(1)], type="reading")
            hub.arrive([[reading(1), reading(2), reading(3)]], type="reading")
            hub.arrive([reading(3), b"\xffhello", [1]], type="reading")
            told = [await next_line() for _ in range(9)]
            messages = [line["message"] for line in told if line["kind"] == "message"]
            items = [line["item"] for line in told if line["kind"] == "item"]
            assert [m["sequence"] for m in messages] == [2, 3, 4, 5, 6]
            assert [m["type"] for m in messages] == ["reading"] * 3 + ["other"] * 2
            assert [m["beginning"] for m in messages[3:]] == ["\ufffdhello", "[1]"]
            assert [i["body"] for i in items] == [reading(2), reading(3), None, None]
            assert (messages[0]["messageId"], items[0]["correlationId"]) == ("m", "c")
            hub.board.post(C2dChanged(hub.send_c2d("mast-1", b"{}", message_id="c2")))
            line = await next_line()
            assert (line["kind"], line["command"]["id"]) == ("command", "c2")
            hub.online.add("mast-1")
            hub.board.post(DeviceConnected("mast-1"))
            assert (await next_line())["devices"] == [MAST_1]

    with_page(tmp_path, check)


def test_the_stream_says_something_when_nothing_happens(tmp_path: Path) -> None:
    """A quiet hub is told from a lost one by a sign of life, which also brings new devices."""

    async def check(hub: Desk, client: Client) -> None:
        async with aclosing(lines(hub, beat_s=0.01)) as stream:
            await anext(stream)
            hub.store.registry.create("mast-2")
            line = json.loads(await anext(stream))
            assert [device["id"] for device in line["devices"]] == ["mast-1", "mast-2"]

    with_page(tmp_path, check)


def test_a_slow_reader_is_dropped(tmp_path: Path) -> None:
    """A reader that leaves more unread than a stream holds is let go, so that memory stays bounded."""

    async def check(hub: Desk, client: Client) -> None:
        async with aclosing(lines(hub)) as stream:
            await anext(stream)
            hub.arrive([reading(i) for i in range(1001)], type="reading")
            with pytest.raises(StopAsyncIteration):
                await anext(stream)

    with_page(tmp_path, check)


def test_a_reader_that_stopped_reading_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that takes nothing for a while is cut."""
    monkeypatch.setattr(server, "_WRITE_TIMEOUT_S", 0.01)

    async def check(hub: Desk, client: Client) -> None:
        hub.arrive([{"event": "long", "text": "x" * 3500} for _ in range(60)], type="event")
        port = int(client.page.address.rsplit(":", 1)[1].strip("/"))
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(
            f"GET /api/stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            f"Authorization: Bearer {client.page.token}\r\n\r\n".encode()
        )
        await reader.readuntil(b'"snapshot"')
        filler = {"event": "long", "text": "x" * 3500}
        async with asyncio.timeout(20):
            while hub.board._subscriptions:
                hub.arrive([filler] * 200, type="event")
                await asyncio.sleep(0)
        writer.close()

    with_page(tmp_path, check)


def test_a_command_is_queued_for_its_device(tmp_path: Path) -> None:
    """The form's content becomes a command with a UUID that expires after a minute."""

    async def check(hub: Desk, client: Client) -> None:
        status, answer = await client.post({"actuator": "beacon", "value": True, "for": 30})
        assert status == 201
        queued = hub.store.c2d.find(answer["id"])
        assert queued is not None
        assert str(uuid.UUID(answer["id"])) == answer["id"]
        assert json.loads(queued.body) == {"command": "set", "actuator": "beacon", "value": True, "for": 30}
        assert queued.expires_s - queued.enqueued_s == 60
        await client.post({"actuator": "luftklappe süd", "value": 0.5, "for": None})
        body = json.loads(hub.store.c2d.latest()[-1].body)
        assert body == {"command": "set", "actuator": "luftklappe süd", "value": 0.5}

    with_page(tmp_path, check)


@pytest.mark.parametrize(
    "command",
    [
        {"command": "set", "actuator": "beacon", "value": 2.5},
        {"command": "set", "actuator": "beacon", "value": False, "for": 1.5},
        {"command": "pulse", "actuator": "beacon", "for": 1},
        {"command": "stop", "actuator": "beacon"},
        {"command": "stop-all"},
        {"command": "hold"},
        {"command": "hold", "for": 600},
        {"command": "release"},
        {"command": "ping"},
    ],
    ids=lambda command: " ".join(map(str, command.values())),
)
def test_every_command_goes_out_as_it_is(tmp_path: Path, command: dict[str, Any]) -> None:
    """Each command of the set is queued with its own keys and no other; an empty "for" is left out."""

    async def check(hub: Desk, client: Client) -> None:
        assert (await client.post(command))[0] == 201
        assert json.loads(hub.store.c2d.latest()[-1].body) == command
        if command["command"] in ("set", "hold") and "for" not in command:
            assert (await client.post(command | {"for": None}))[0] == 201
            assert json.loads(hub.store.c2d.latest()[-1].body) == command

    with_page(tmp_path, check)


def test_direct_methods_are_in_the_same_list(tmp_path: Path) -> None:
    """Calls come with the snapshot and when they change, in the form of commands, each under one key."""

    async def check(hub: Desk, client: Client) -> None:
        hub.store.registry.create("mast-2")
        for _ in range(31):
            hub.calls.begin("mast-2", "ping", b"null")
        first = hub.calls.begin("mast-1", "pulse", b'{"actuator": "beacon", "for": 1, "id": "c9"}')
        hub.send_c2d("mast-1", b'{"command": "ping"}')
        async with client.stream() as next_line:
            commands = (await next_line())["commands"]
            message, called = [c for c in commands if c["device"] == "mast-1"]
            assert len(commands) == 2 + 30
            assert (message["way"], message["deliveries"], message["status"]) == ("message", 0, None)
            assert (called["way"], called["name"], called["state"]) == ("method", "pulse", "called")
            assert (called["body"]["id"], called["sent"], called["settled"]) == ("c9", NOON_S * 1000, None)
            hub.clock.advance(2)
            hub.calls.settle(first, "answered", MethodResult(200, b'{"status": "done"}'))
            line = await next_line()
            answered = line["command"]
            assert (line["kind"], answered["key"]) == ("command", called["key"])
            assert (answered["state"], answered["status"]) == ("answered", 200)
            assert answered["answer"] == {"status": "done"}
            assert (answered["sent"], answered["settled"]) == (NOON_S * 1000, (NOON_S + 2) * 1000)
            number = hub.calls.begin("mast-1", "long", b'{"x": "%s"}' % (b"x" * 100_000))
            hub.calls.settle(number, "answered", MethodResult(200, b'{"x": "%s"}' % (b"x" * 100_000)))
            long = [(await next_line())["command"] for _ in range(2)][-1]
            assert (long["body"], long["answer"], len(json.dumps(long)) < 5000) == (None, None, True)
            number = hub.calls.begin("mast-1", "odd", b"[1]")
            hub.calls.settle(number, "answered", MethodResult(200, b""))
            odd = [(await next_line())["command"] for _ in range(2)][-1]
            assert (odd["body"], odd["text"], odd["answer"]) == (None, "[1]", None)

    with_page(tmp_path, check)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 50_000, "not JSON"),
        ([], "JSON object"),
        ({"value": True}, "actuator is missing"),
        ({"actuator": "beacon"}, "value is missing"),
        ({"actuator": "beacon", "value": True, "until": 3}, "'until'"),
        ({"actuator": "", "value": True}, "actuator:"),
        ({"actuator": "a\nb", "value": True}, "actuator:"),
        ({"actuator": "a" * 65, "value": True}, "actuator:"),
        ({"actuator": 3, "value": True}, "actuator:"),
        ({"actuator": "beacon", "value": "on"}, "value:"),
        ({"actuator": "beacon", "value": None}, "value:"),
        (b'{"actuator": "beacon", "value": NaN}', "value:"),
        (b'{"actuator": "beacon", "value": 1e999}', "value:"),
        ({"actuator": "beacon", "value": 10**400}, "value:"),
        ({"actuator": "beacon", "value": True, "for": 0}, "for:"),
        ({"actuator": "beacon", "value": True, "for": True}, "for:"),
        ({"actuator": "beacon", "value": True, "for": "30"}, "for:"),
        ({"command": "explode"}, "command: expected one of set, pulse, stop, stop-all"),
        ({"command": None, "actuator": "beacon", "value": True}, "command: expected"),
        ({"command": ["set"]}, "command: expected"),
        ({"command": "pulse", "actuator": "beacon"}, "for is missing"),
        ({"command": "pulse", "actuator": "beacon", "for": None}, "for:"),
        ({"command": "pulse", "actuator": "beacon", "value": True, "for": 1}, "'value'"),
        ({"command": "stop", "actuator": None}, "actuator:"),
        ({"command": "stop"}, "actuator is missing"),
        ({"command": "stop", "actuator": "beacon", "for": None}, "'for'; stop has actuator"),
        ({"command": "stop-all", "actuator": "beacon"}, "'actuator'; stop-all has none"),
        ({"command": "hold", "for": -1}, "for:"),
    ],
)
def test_what_is_no_command_is_refused_with_the_reason(tmp_path: Path, body: Any, words: str) -> None:
    """A bad form is answered 400 in words, and nothing is queued."""

    async def check(hub: Desk, client: Client) -> None:
        status, answer = await client.post(body)
        assert status == 400
        assert words in answer["error"]
        assert hub.store.c2d.latest() == []

    with_page(tmp_path, check)


def test_limits_have_their_own_answers(tmp_path: Path) -> None:
    """404 for an unknown device, 413 for a body over 512 KiB, 429 when 50 messages wait already."""

    async def check(hub: Desk, client: Client) -> None:
        good = {"actuator": "beacon", "value": False}
        assert (await client.post(good, "mast-7"))[0] == 404
        assert (await client.post(b" " * 524_289))[0] == 413
        for _ in range(50):
            hub.send_c2d("mast-1", b"{}")
        status, answer = await client.post(good)
        assert (status, "50 messages wait" in answer["error"]) == (429, True)

    with_page(tmp_path, check)


def test_the_next_free_port_is_used_and_each_start_has_its_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A taken port is stepped over; the address with the token is what to open."""

    async def check(hub: Desk, client: Client) -> None:
        port = int(client.page.address.rsplit(":", 1)[1].strip("/"))
        second = await start_page(hub, port)
        try:
            assert int(second.address.rsplit(":", 1)[1].strip("/")) > port
            assert second.token != client.page.token
            assert second.url == f"{second.address}#token={second.token}"
        finally:
            await second.stop()
        assert (await client.get(""))[0] == 200
        monkeypatch.setattr(server, "_PORTS", 1)
        with pytest.raises(OSError, match="no free port"):
            await start_page(hub, port)

    with_page(tmp_path, check)


def test_stopping_ends_open_streams_at_once(tmp_path: Path) -> None:
    """A page with readers stops all the same, leaves no listener behind and frees its port."""

    async def check(hub: Desk, client: Client) -> None:
        async with client.stream() as first, client.stream() as second:
            await first()
            await second()
            await client.page.stop()
            for next_line in (first, second):
                with pytest.raises((aiohttp.ClientError, asyncio.IncompleteReadError, ConnectionError)):
                    await next_line()
        assert not hub.board._subscriptions
        await client.page.stop()
        port = int(client.page.address.rsplit(":", 1)[1].strip("/"))
        socket.create_server(("127.0.0.1", port)).close()

    with_page(tmp_path, check)


def test_every_static_file_is_installed() -> None:
    """What the server serves matches a package data pattern of setup.cfg."""
    config = ConfigParser()
    config.read(Path(__file__).parents[3] / "setup.cfg")
    patterns = re.split(r",\s*", config["options.package_data"]["*"])
    names = [f.name for f in resources.files("agent.localhub.page.static").iterdir() if f.is_file()]
    assert {"index.html", "style.css", "app.js", "icon.svg"} <= set(names)
    for name in names:
        assert name.endswith((".py", ".pyc")) or any(fnmatch(name, pattern) for pattern in patterns)
