"""Where HTTPS is when its port cannot be had."""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from agent.localhub import ports
from agent.localhub.hub import LocalHub
from agent.localhub.records import HubUnavailable
from agent.localhub.thread import HubThread

from .rest_client import RestClient, host_with_443

ADDRESS = IPv4Address("127.0.0.87")


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who may not bind ports below 1024."""
    create = socket.create_server

    def create_server(address: tuple[str, int]) -> socket.socket:
        if 0 < address[1] < 1024:
            raise PermissionError(errno.EACCES, "Permission denied")
        return create(address)

    monkeypatch.setattr(ports.socket, "create_server", create_server)


def test_443_is_taken_where_it_may_be(tmp_path: Path) -> None:
    """It is what clients know; the hub answers there."""
    thread = HubThread(LocalHub(tmp_path / "hub", host_with_443(), port=0))
    thread.start()
    try:
        assert thread.hub.https_port == 443
        assert RestClient(thread.hub).get("/devices").status == 200
    finally:
        thread.stop()


def test_another_port_is_taken_and_told(
    tmp_path: Path, forbidden: None, caplog: pytest.LogCaptureFixture
) -> None:
    """The next free one from 8443; the log says why, and the hub answers there."""
    caplog.set_level("INFO", "agent.localhub")
    with socket.create_server((str(ADDRESS), 8443)):
        thread = HubThread(LocalHub(tmp_path / "hub", str(ADDRESS), port=0))
        thread.start()
        try:
            assert thread.hub.https_port == 8444
            assert RestClient(thread.hub).get("/devices").status == 200
        finally:
            thread.stop()
    words = "cannot listen on 127.0.0.87:443: Permission denied: HTTPS is on port 8444 instead"
    assert words in caplog.text


def test_a_port_that_was_asked_for_is_not_replaced(tmp_path: Path, forbidden: None) -> None:
    """If it cannot be had the hub says so, and leaves its folder and its other port free."""
    hub = LocalHub(tmp_path / "hub", str(ADDRESS), port=18_883, https_port=444)
    with pytest.raises(HubUnavailable, match=r"cannot listen on 127\.0\.0\.87:444: Permission denied$"):
        HubThread(hub).start()
    thread = HubThread(LocalHub(tmp_path / "hub", str(ADDRESS), port=18_883, https_port=0))
    thread.start()
    thread.stop()


def test_no_port_at_all_is_said(monkeypatch: pytest.MonkeyPatch, forbidden: None) -> None:
    """With the range that was tried."""
    monkeypatch.setattr(ports, "_OTHERS", 2)
    with (
        socket.create_server((str(ADDRESS), 8443)),
        socket.create_server((str(ADDRESS), 8444)),
        pytest.raises(HubUnavailable, match="none of 8443 to 8444 is free"),
    ):
        ports.listen_https(ADDRESS, None)
