"""Many connections that go wrong, beside some that go right."""

from __future__ import annotations

import ctypes
import gc
import logging
import random
import ssl
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from agent.localhub.amqp.performatives import End
from agent.localhub.hub import LocalHub

from .amqp.raw import Raw
from .client import RawClient, eventually, publish
from .rest_client import RestClient

GOOD = "good"
"""The device that goes right."""

ROUNDS = 5
AT_ONCE = 4
PATIENCE_S = 0.02

Attack = Callable[[LocalHub, random.Random], None]
"""One connection, made up by chance, to its end."""


def mutated(rng: random.Random, parts: Sequence[bytes], login: int) -> list[bytes]:
    """A conversation with something wrong from some place on, most often after the ``login`` first parts."""
    changed = list(parts)
    for _ in range(rng.randrange(1, 4)):
        which = rng.choices(range(len(changed)), weights=[1] * login + [3] * (len(changed) - login))[0]
        part = bytearray(changed[which])
        match rng.randrange(6):
            case 0:
                changed[which] = b""
            case 1:
                changed[which] = bytes(part[: rng.randrange(len(part) + 1)])
            case 2:
                changed[which] = bytes(part) * rng.randrange(2, 80)
            case 3:
                changed[which] = bytes(part) + rng.randbytes(rng.randrange(1, 400))
            case _:
                for _ in range(rng.randrange(1, 4)):
                    if part:
                        part[rng.randrange(len(part))] = rng.choice((rng.randrange(256), 0xFF, 0xF0, 0x40))
                changed[which] = bytes(part)
    return changed


def converse(client: ssl.SSLSocket, content: bytes, until: bytes | None = None) -> bytes:
    """What comes back until the hub ends it, or has said ``until``, or else says nothing for a moment."""
    answer = b""
    client.settimeout(PATIENCE_S if until is None else 30)
    with suppress(OSError):
        client.sendall(content)
        while (until is None or until not in answer) and (part := client.recv(65_536)):
            answer += part
    return answer


class Good:
    """A client of each protocol that is served whenever it asks, on connections that stand and on others."""

    def __init__(self, hub: LocalHub) -> None:
        self._hub = hub
        self._rest = RestClient(hub)
        key = hub.store.registry.policy_key("service")
        self._login = f"\0service@sas.root.localhost\0{key}".encode()
        hub.ensure_device(GOOD)

    def __enter__(self) -> Good:
        with ExitStack() as stack:
            self._mqtt = stack.enter_context(RawClient(self._hub))
            assert self._mqtt.login(GOOD) == (0, 0)
            self._amqp = stack.enter_context(self._raw())
            self._amqp.open(idle_time_out=0)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _raw(self) -> Raw:
        return Raw(self._hub.ca_file, self._hub.amqp_port, self._login)

    def ask(self) -> None:
        """All of them, once."""
        self._mqtt.send(publish(f"devices/{GOOD}/messages/events/", b"good"))
        assert self._mqtt.receive() == (0x40, b"\0\1")
        self._amqp.begin()
        self._amqp.send(End())
        self._amqp.get(End)
        assert self._rest.get(f"/twins/{GOOD}").status == 200

    def come_anew(self) -> None:
        """On new connections."""
        self.__exit__()
        self.__enter__()


@contextmanager
def without_complaints() -> Iterator[None]:
    """Refusals in the log are not kept, which would be memory; what is a bug's is, and fails."""
    found: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info or record.levelno >= logging.ERROR:
                found.append(self.format(record))

    handler = Handler()
    loggers = [logging.getLogger(name) for name in ("agent", "aiohttp", "asyncio")]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
            logger.propagate = True
    assert not found, found[:3]


def attack_it(hub: LocalHub, attack: Attack, count: int, seed: int) -> list[int]:
    """So many connections, some at once, in rounds; the bytes in use after each round.

    All the while good clients are served, and after each round nothing is left of the others.
    """
    sizes: list[int] = []
    size = resident_bytes if count > 1000 else traced_bytes
    with without_complaints(), Good(hub) as good, ThreadPoolExecutor(AT_ONCE) as pool:
        attack(hub, random.Random(seed))
        if size is traced_bytes:
            tracemalloc.start()
        try:
            for number in range(ROUNDS):
                chances = [random.Random(f"{seed} {number} {n}") for n in range(count // ROUNDS)]
                running = [pool.submit(attack, hub, chance) for chance in chances]
                while not all(one.done() for one in running):
                    good.ask()
                    time.sleep(0.05)
                for one in running:
                    one.result()
                del running, chances
                good.come_anew()
                good.ask()
                eventually(lambda: connections(hub) == (1, 1, 0), 30)
                sizes.append(size())
        finally:
            tracemalloc.stop()
    return sizes


def connections(hub: LocalHub) -> tuple[int, int, int]:
    """How many there are of MQTT, AMQP and HTTPS."""
    https = hub._service._rest._runner.server
    assert https is not None
    return len(hub._listener._open), hub._service._amqp.connections, len(https.connections)


def traced_bytes() -> int:
    """What objects of this process take."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def resident_bytes() -> int:
    """What this process has in memory, without what its allocator keeps for later."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
