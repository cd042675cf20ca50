"""A server of toy addresses for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from agent.localhub.amqp import line
from agent.localhub.ca import ServerFiles, server_files

from .raw import Raw
from .toy import Server


@pytest.fixture(scope="session")
def toy_files(tmp_path_factory: pytest.TempPathFactory) -> ServerFiles:
    """Certificates."""
    return server_files(tmp_path_factory.mktemp("toy") / "tls", IPv4Address("127.0.0.1"))


@pytest.fixture
def server(
    toy_files: ServerFiles, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Server]:
    """A server; whatever its clients do, every link is closed once and only bugs of toys are logged."""
    monkeypatch.setattr(line, "LAST_WORD_WITHIN_S", 0.1)
    toy = Server(toy_files)
    try:
        yield toy
    finally:
        toy.stop()
    assert toy.toy.closed == toy.toy.opened
    assert toy.toy.asked == 0
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert [text for text in errors if text != "an address failed"] == []


@pytest.fixture
def client(server: Server) -> Iterator[Raw]:
    """A client with a session."""
    with server.connect() as raw:
        raw.open()
        raw.begin()
        yield raw
