"""The page's calls, asked as a program on this machine would."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from urllib.parse import quote

from agent.localhub.hub import LocalHub
from agent.localhub.page import PageServer, start_page

PATIENCE_S = 30


class Body(Enum):
    """What cannot be said in JSON."""

    NONE = "no body"


NO_BODY = Body.NONE


@dataclass(frozen=True)
class Answer:
    status: int
    json: Any
    headers: dict[str, str]

    @property
    def error(self) -> str:
        """The one line of an error."""
        assert list(self.json) == ["error"]
        line = self.json["error"]
        assert isinstance(line, str)
        assert "\n" not in line
        return line


class PageClient:
    """Asks the page's server over HTTP; a new connection for each call."""

    def __init__(self, hub: LocalHub, page: PageServer) -> None:
        self.hub = hub
        self.page = page
        self.port = int(page.address.rsplit(":", 1)[1].strip("/"))

    def ask(
        self, method: str, path: str, body: Any = NO_BODY, token: str | None = None, **headers: str
    ) -> Answer:
        """``body``: bytes as they are, anything else as JSON; ``token``: another than the page's."""
        with self._connected() as connection:
            response = self._request(connection, method, path, body, token, headers)
            content = response.read()
            return Answer(response.status, json.loads(content) if content else None, dict(response.headers))

    @contextmanager
    def stream(self) -> Iterator[Lines]:
        """The push stream."""
        with self._connected() as connection:
            yield Lines(self._request(connection, "GET", "api/stream", NO_BODY, None, {}))

    @contextmanager
    def _connected(self) -> Iterator[HTTPConnection]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            yield connection
        finally:
            connection.close()

    def _request(
        self,
        connection: HTTPConnection,
        method: str,
        path: str,
        body: Any,
        token: str | None,
        headers: dict[str, str],
    ) -> HTTPResponse:
        content = None if body is NO_BODY else body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"Authorization": f"Bearer {self.page.token if token is None else token}"} | headers
        connection.request(method, "/" + path, content, {k.replace("_", "-"): v for k, v in given.items()})
        return connection.getresponse()


class Lines:
    """The lines of a push stream."""

    def __init__(self, response: HTTPResponse) -> None:
        assert response.status == 200
        self._response = response

    def next(self) -> Any:
        return json.loads(self._response.readline())

    def until(self, kind: str) -> Any:
        """The next line of that kind; fails if none comes."""
        deadline = time.monotonic() + PATIENCE_S
        while (line := self.next())["kind"] != kind:
            assert time.monotonic() < deadline, f"no line of the kind {kind}"
        return line


@contextmanager
def page_of(hub: LocalHub) -> Iterator[PageClient]:
    """A page of a running hub."""

    def run(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, hub._loop).result(PATIENCE_S)

    page = run(start_page(hub, 0))
    try:
        yield PageClient(hub, page)
    finally:
        run(page.stop())


def of(device_id: str, what: str = "") -> str:
    """The path of a device's call."""
    return f"api/devices/{quote(device_id, safe='')}{what}"
