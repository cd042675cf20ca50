from __future__ import annotations

import gc
import itertools
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .link_rig import TCP_CONNECT_S, Link
from .site import Site, wait

_numbers = itertools.count(1)
_connect = socket.create_connection


def _descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  (a count)


@pytest.fixture(scope="module")
def descriptors_stay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the tests of a module open is closed at its end."""
    warm_up = Site(tmp_path_factory.mktemp("warm-up")).start()
    with Link(warm_up.folder, warm_up, "mast-0") as link:
        link.connect()
        wait(lambda: link.up, "the first connection")
    warm_up.stop()
    before = _descriptors()
    yield
    wait(lambda: _descriptors() <= before, f"no more than {before} descriptors")


@pytest.fixture(scope="module")
def site(descriptors_stay: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A hub for the devices of all cases of a module."""
    site = Site(tmp_path_factory.mktemp("hub")).start()
    yield site
    site.stop()


@pytest.fixture
def link(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[Link]:
    """A device of its own for each case; the hub is there and well again afterwards."""

    def connect(address: Any, timeout: float | None = None, *rest: Any, **others: Any) -> socket.socket:
        return _connect(address, min(timeout or TCP_CONNECT_S, TCP_CONNECT_S), *rest, **others)

    monkeypatch.setattr(socket, "create_connection", connect)
    link = Link(tmp_path, site, f"mast-{next(_numbers)}")
    yield link
    # pytest holds both for longer; a record may hold an error, its traceback a client, and that a socket
    vars(link).clear()
    caplog.get_records("call").clear()
    site.stop()
    site.start()
