"""The control call for faults by its HTTP, with a real hub."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.localhub.fault_table import TABLE
from agent.localhub.faults import Fault
from agent.localhub.hub import LocalHub
from agent.localhub.page import PageServer, start_page

from .client import RawClient

NO_BODY = object()


class Client:
    def __init__(self, page: PageServer, session: aiohttp.ClientSession) -> None:
        self.page = page
        self.session = session
        self.token = {"Authorization": f"Bearer {page.token}"}

    async def ask(
        self, method: str, name: str = "", body: Any = NO_BODY, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        data = None if body is NO_BODY else body if isinstance(body, bytes) else json.dumps(body).encode()
        url = f"{self.page.address}api/faults" + (f"/{name}" if name else "")
        given = self.token if headers is None else headers
        async with self.session.request(method, url, headers=given, data=data) as response:
            return response.status, await response.json()


def with_hub(tmp_path: Path, test: Callable[[LocalHub, Client], Awaitable[None]]) -> None:
    """Run ``test`` with a running hub, its page, and a client that has the token."""

    async def run() -> None:
        hub = LocalHub(tmp_path / "hub", "127.0.0.1", port=0)
        await hub.start()
        page = await start_page(hub, 0)
        try:
            hub.ensure_device("mast-1")
            async with aiohttp.ClientSession() as session:
                await test(hub, Client(page, session))
        finally:
            await page.stop()
            await hub.stop()

    asyncio.run(run())


def test_faults_are_turned_on_listed_and_turned_off(tmp_path: Path) -> None:
    """With and without value, device and times; each answer says what is on."""

    async def check(hub: LocalHub, client: Client) -> None:
        assert await client.ask("PUT", "no-puback") == (
            200,
            {
                "active": [
                    {"name": "no-puback", "value": None, "device": None, "times": None, "text": "no-puback"}
                ]
            },
        )
        body = {"value": 3, "device": "mast-1", "times": 2}
        assert (await client.ask("PUT", "refuse", body))[0] == 200
        assert (await client.ask("PUT", "reset", {"value": "puback", "device": None, "times": None}))[
            0
        ] == 200
        assert hub.faults.active() == [
            Fault("no-puback"),
            Fault("refuse", 3, "mast-1", 2),
            Fault("reset", "puback"),
        ]
        status, answer = await client.ask("GET")
        assert status == 200
        assert [fault["text"] for fault in answer["active"]] == [
            "no-puback",
            "refuse=3 for mast-1, 2 times",
            "reset=puback",
        ]
        assert [row["name"] for row in answer["table"]] == list(TABLE)
        assert [fault["name"] for fault in (await client.ask("DELETE", "refuse"))[1]["active"]] == [
            "no-puback",
            "reset",
        ]
        assert await client.ask("DELETE") == (200, {"active": []})
        assert await client.ask("DELETE", "kick") == (200, {"active": []})

    with_hub(tmp_path, check)


@pytest.mark.parametrize(
    ("name", "body", "status", "words"),
    [
        ("refuze", {}, 404, "no fault 'refuze', did you mean 'refuse'?"),
        ("refuse", {"value": 9}, 400, "refuse: expected a whole number from 3 to 5, got 9"),
        ("refuse", {"value": {}}, 400, "refuse: expected"),
        ("refuse", {"times": 0}, 400, "times 0"),
        ("refuse", {"times": "2"}, 400, "times '2'"),
        ("refuse", {"device": "mast-7"}, 404, "no device 'mast-7'"),
        ("refuse", {"device": 7}, 400, "device: expected the id of a device, or null for all"),
        ("refuse", {"code": 3}, 400, "unknown key 'code'; expected value, device, times"),
        ("refuse", [], 400, "expected a JSON object"),
        ("refuse", b"{", 400, "the body is not JSON"),
        ("refuse", b'{"value": NaN}', 400, "the body is not JSON"),
        ("late-puback", b'{"value": 1e999}', 400, "the body is not JSON"),
        ("reset", NO_BODY, 400, "reset: expected one of connect, "),
        ("clock-skew", {"device": "mast-1"}, 400, "leave out device"),
    ],
)
def test_what_is_wrong_is_refused_in_one_line(
    tmp_path: Path, name: str, body: Any, status: int, words: str
) -> None:
    """400 for what is asked, 404 for what there is not; nothing is turned on."""

    async def check(hub: LocalHub, client: Client) -> None:
        answer = await client.ask("PUT", name, body)
        assert (answer[0], words in answer[1]["error"], "\n" in answer[1]["error"]) == (status, True, False)
        assert not hub.faults

    with_hub(tmp_path, check)


def test_without_the_token_nothing_is_told_nor_done(tmp_path: Path) -> None:
    """401 for every call; another origin is refused even with the token."""

    async def check(hub: LocalHub, client: Client) -> None:
        hub.faults.set(Fault("no-puback"))
        for headers, status in (
            ({}, 401),
            ({"Authorization": "Bearer wrong"}, 401),
            (client.token | {"Origin": "http://evil.example"}, 403),
            (client.token | {"Host": "evil.example"}, 403),
        ):
            for method, name in (("GET", ""), ("PUT", "refuse"), ("DELETE", "no-puback"), ("DELETE", "")):
                answer = await client.ask(method, name, headers=headers)
                assert (answer[0], "active" in answer[1]) == (status, False)
        assert hub.faults.active() == [Fault("no-puback")]
        assert (await client.ask("DELETE", "nothing"))[0] == 404

    with_hub(tmp_path, check)


def test_a_fault_of_the_call_is_one_of_the_hub(tmp_path: Path) -> None:
    """A device sees it, and actions are done, too."""

    async def check(hub: LocalHub, client: Client) -> None:
        await client.ask("PUT", "refuse", {"value": 3, "times": 1})

        def connect() -> tuple[int, int]:
            with RawClient(hub) as device:
                return device.login()

        assert await asyncio.to_thread(connect) == (0, 3)
        await asyncio.to_thread(hub.send_c2d, "mast-1", b"x")
        assert await client.ask("PUT", "lost-state") == (200, {"active": []})
        assert await asyncio.to_thread(hub.store.c2d.pending, "mast-1") == 0

    with_hub(tmp_path, check)


def test_the_page_is_told_what_is_wrong(tmp_path: Path) -> None:
    """In the snapshot and whenever that changes, in words, also when the times are over."""

    async def check(hub: LocalHub, client: Client) -> None:
        hub.faults.set(Fault("slow"))
        async with client.session.get(f"{client.page.address}api/stream", headers=client.token) as response:

            async def faults() -> Any:
                while True:
                    async with asyncio.timeout(10):
                        line = json.loads(await response.content.readuntil(b"\n"))
                    if "faults" in line:
                        return line["faults"]

            assert await faults() == ["slow=1000"]
            hub.faults.set(Fault("refuse", times=1))
            while (told := await faults()) == ["slow=1000"]:
                pass
            assert told == ["slow=1000", "refuse=5, once"]
            hub.faults.take("refuse", "mast-1")
            assert await faults() == ["slow=1000"]
            hub.faults.clear()
            assert await faults() == []

    with_hub(tmp_path, check)
