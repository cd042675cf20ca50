"""Requests at random, from nearly right to noise: the hub answers each with its error body, and lives."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
from collections import Counter
from typing import Any
from urllib.parse import quote

from agent.localhub.hub import LocalHub

from .client import eventually
from .fuzz import connections, converse
from .rest_client import VERSION, Answer, RestClient

REQUESTS = 200
NOISE = 100

WORDS: list[Any] = [
    None,
    True,
    0,
    -1,
    2**70,
    1.5,
    1e300,
    "",
    "x",
    "*",
    "mast-1",
    "½",
    "\ud800",
    "\0",
    "enabled",
    "disabled",
    "sas",
    "selfSigned",
    "a" * 40,
    "A" * 5000,
    "cHJpbWFyeSBrZXkgb2YgMzI=",
    "2021-04-12",
    [],
    {},
    [[]],
    {"a": {"b": None}},
]
KEYS = [
    "deviceId",
    "status",
    "statusReason",
    "authentication",
    "symmetricKey",
    "primaryKey",
    "secondaryKey",
    "x509Thumbprint",
    "primaryThumbprint",
    "type",
    "capabilities",
    "iotEdge",
    "tags",
    "properties",
    "desired",
    "reported",
    "$version",
    "$metadata",
    "methodName",
    "payload",
    "responseTimeoutInSeconds",
    "query",
    "x",
    "",
]
IDS = [
    "mast-1",
    "mast-2",
    "mast-3",
    "",
    "*",
    "a/b",
    "a b",
    "½",
    "%",
    "\0",
    "..",
    "x" * 200,
    "query",
    "{}",
    "\udcff",
]
ROUTES = [
    ("GET", "/devices"),
    ("GET", "/devices/{}"),
    ("PUT", "/devices/{}"),
    ("DELETE", "/devices/{}"),
    ("DELETE", "/devices/{}/commands"),
    ("POST", "/devices/query"),
    ("GET", "/twins/{}"),
    ("PUT", "/twins/{}"),
    ("PATCH", "/twins/{}"),
    ("POST", "/twins/{}/methods"),
    ("GET", "/statistics/{}"),
    ("GET", "/statistics/devices"),
    ("GET", "/messages/serviceBound/feedback"),
    ("DELETE", "/messages/serviceBound/feedback/{}"),
    ("POST", "/messages/serviceBound/feedback/{}/abandon"),
    ("GET", "/$iothub/websocket"),
    ("GET", "/{}"),
]
METHODS = ["GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"]
HEADERS = [
    "If-Match",
    "x-ms-continuation",
    "x-ms-max-item-count",
    "Expect",
    "Content-Encoding",
    "Content-Type",
    "Accept",
    "Connection",
    "Upgrade",
    "Sec-WebSocket-Key",
    "Range",
    "Cookie",
    "Host",
    "X",
]
VALUES = [
    "*",
    '"*"',
    '"x"',
    "",
    "x",
    "100-continue",
    "gzip",
    "deflate",
    "close",
    "keep-alive",
    "Upgrade",
    "websocket",
    "0",
    "-1",
    "9" * 30,
    "mast-1",
    "\xff",
    "a,b",
    "\t",
    "application/json",
]


def value(chance: random.Random, depth: int = 0) -> Any:
    """Anything JSON can say, with a liking for what the hub knows."""
    if depth < 4 and chance.random() < 0.5:
        names = chance.sample(KEYS, chance.randrange(5))
        return {name: value(chance, depth + 1) for name in names}
    return chance.choice(WORDS)


def body(chance: random.Random) -> bytes | None:
    kind = chance.random()
    if kind < 0.15:
        return None
    content = json.dumps({name: value(chance) for name in chance.sample(KEYS, chance.randrange(8))}).encode()
    if kind < 0.25:
        at = chance.randrange(len(content))
        return content[:at] + chance.randbytes(chance.randrange(4)) + content[at + chance.randrange(9) :]
    if kind < 0.3:
        return b'{"tags":' + b'{"a":' * chance.choice([9, 11, 900, 20_000])
    return content


def send(rest: RestClient, chance: random.Random) -> Answer:
    """One request made up by chance."""
    method, path = chance.choice(ROUTES)
    if chance.random() < 0.2:
        method = chance.choice(METHODS)
    path = path.format(quote(chance.choice(IDS), safe="", errors="surrogateescape"))
    query = chance.choice([VERSION] * 8 + ["", "api-version=x", f"{VERSION}&{VERSION}", f"{VERSION}&top=%00"])
    headers = {chance.choice(HEADERS): chance.choice(VALUES) for _ in range(chance.choice([0, 0, 1, 1, 3]))}
    if chance.random() < 0.9:
        headers["Authorization"] = rest.token
    content = body(chance)
    connection = http.client.HTTPSConnection(
        rest.hub.address, rest.hub.https_port, timeout=10, context=rest.context
    )
    with contextlib.closing(connection):
        connection.request(method, f"{path}?{query}", content, headers)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())


def spoilt(rest: RestClient, chance: random.Random) -> bytes:
    """A good request with bytes changed, cut off or added."""
    content = b'{"properties": {"desired": {"x": 1}}}'
    good = (
        f"PATCH /twins/mast-1?{VERSION} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {rest.token}\r\n"
        f"If-Match: *\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    ).encode() + content
    changed = bytearray(good)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(changed))
        changed[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
    if chance.random() < 0.3:
        del changed[chance.randrange(len(changed)) :]
    return bytes(changed)


def test_random_requests_are_answered(hub: LocalHub) -> None:
    """None with a 5xx, every error in IoT Hub's form, and the hub answers as before when they are over."""
    rest, chance, seen = RestClient(hub), random.Random(1), Counter[int]()
    for _ in range(REQUESTS):
        answer = send(rest, chance)
        seen[answer.status] += 1
        assert answer.status < 500, answer
        if answer.status >= 400 and answer.body:
            assert answer.error[1]
    assert rest.get("/devices").status == 200
    assert {200, 400, 401, 404, 405} <= set(seen), seen
    assert seen[200] + seen[204] >= 10, seen


def test_noise_ends_connections_only(hub: LocalHub) -> None:
    """Good requests with bytes changed, cut off or added: an answer below 500 or the end, no more."""
    rest, chance, statuses = RestClient(hub), random.Random(3), Counter[bytes]()
    for _ in range(NOISE):
        with rest.connect() as connection:
            statuses[converse(connection, spoilt(rest, chance))[9:12]] += 1
    assert all(status < b"500" for status in statuses), statuses
    assert len(statuses) >= 4, statuses
    assert rest.get("/twins/mast-1").status == 200
    eventually(lambda: connections(hub)[2] == 0)
