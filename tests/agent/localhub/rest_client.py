"""An HTTPS client of a hub's service side, for requests right and wrong."""

from __future__ import annotations

import http.client
import itertools
import json
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Any

import pytest

from agent.localhub.hub import LocalHub
from tests.e2e.harness import hosts

from .client import token

VERSION = "api-version=2021-04-12"


def host_with_443() -> str:
    """A loopback address whose port 443, which SDKs have hard-coded, can be bound; without one it skips."""
    problem = "none is free"
    for host in itertools.islice(hosts(), 20):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, 443))
            except OSError as error:
                problem = str(error.strerror)
            else:
                return host
    pytest.skip(f"port 443 cannot be bound: {problem}")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str]:
        """Status and code of an answer that is an error in IoT Hub's form."""
        told = self.json
        code = self.headers["iothub-errorcode"]
        assert set(told) == {"Message", "ExceptionMessage"}, told
        assert told["Message"].startswith(f"ErrorCode:{code};"), told
        assert told["ExceptionMessage"].startswith("Tracking ID:"), told
        return self.status, code

    @property
    def words(self) -> str:
        return str(self.json["Message"])


class RestClient:
    """Requests with the token of a policy."""

    def __init__(self, hub: LocalHub, policy: str = "iothubowner") -> None:
        self.hub = hub
        self.context = ssl.create_default_context(cafile=str(hub.ca_file))
        key = hub.store.registry.policy_key(policy)
        assert key is not None
        self.token = token(key, hub.host, time.time() + 3600, policy)

    def connect(self) -> ssl.SSLSocket:
        """A connection of bytes."""
        plain = socket.create_connection((self.hub.address, self.hub.https_port or 0), timeout=20)
        return self.context.wrap_socket(plain, server_hostname=self.hub.host)

    def send(
        self, method: str, path: str, body: Any = None, *, version: str = VERSION, **headers: str | None
    ) -> Answer:
        """One request. ``body``: bytes, or what is sent as JSON; a header of None is left out."""
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        own: dict[str, str | None] = {"Authorization": self.token, **headers}
        address = path + ("&" if "?" in path else "?") + version if version else path
        connection = http.client.HTTPSConnection(
            self.hub.address, self.hub.https_port, timeout=20, context=self.context
        )
        try:
            connection.request(
                method,
                address,
                content,
                {name.replace("_", "-"): value for name, value in own.items() if value is not None},
            )
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path: str, **options: Any) -> Answer:
        return self.send("GET", path, **options)

    def put(self, path: str, body: Any = None, **options: Any) -> Answer:
        return self.send("PUT", path, {} if body is None else body, **options)

    def patch(self, path: str, body: Any, **options: Any) -> Answer:
        return self.send("PATCH", path, body, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        return self.send("POST", path, body, **options)

    def delete(self, path: str, **options: Any) -> Answer:
        return self.send("DELETE", path, **options)
