"""Where a hub listens, and what it says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.localhub.hub import LocalHub
from agent.localhub.records import HubUnavailable
from agent.localhub.thread import HubThread

from .client import RawClient


def test_a_second_hub_takes_the_next_address(tmp_path: Path) -> None:
    """If the port is taken on one address, the next of 127.0.0.0/24 serves, under its own name."""
    first = HubThread(LocalHub(tmp_path / "first", port=0))
    first.start()
    second = HubThread(LocalHub(tmp_path / "second", port=first.hub.port))
    second.start()
    try:
        assert (first.hub.host, first.hub.address) == ("localhost", "127.0.0.1")
        assert (second.hub.host, second.hub.address) == ("127.0.0.2", "127.0.0.2")
        second.hub.ensure_device("mast-1")
        assert second.hub.device_connection_string("mast-1").startswith("HostName=127.0.0.2;DeviceId=mast-1;")
        with RawClient(second.hub) as client:
            assert client.login() == (0, 0)
    finally:
        second.stop()
        first.stop()


def test_an_address_that_was_asked_for_is_not_replaced(tmp_path: Path) -> None:
    """If its port is taken, the hub says so, and leaves its folder free for another."""
    first = HubThread(LocalHub(tmp_path / "first", "127.0.0.1", port=0))
    first.start()
    try:
        with pytest.raises(HubUnavailable, match=rf"port {first.hub.port} is taken on 127\.0\.0\.1$"):
            HubThread(LocalHub(tmp_path / "second", "localhost", port=first.hub.port)).start()
        third = HubThread(LocalHub(tmp_path / "second", "127.0.0.3", port=first.hub.port))
        third.start()
        third.stop()
        third.stop()
    finally:
        first.stop()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::1", "mast", ""])
def test_only_loopback_is_served(tmp_path: Path, host: str) -> None:
    """Any other host is refused before anything is created."""
    with pytest.raises(HubUnavailable, match=f"host {host!r}"):
        LocalHub(tmp_path / "hub", host)
    assert not (tmp_path / "hub").exists()


def test_devices_are_listed_with_their_state(hub: LocalHub) -> None:
    """Connected or not, and how many messages wait."""
    hub.create_device("mast-2")
    hub.send_c2d("mast-2", b"x")
    with RawClient(hub) as client:
        client.login()
        assert [(s.device.device_id, s.connected, s.waiting) for s in hub.devices()] == [
            ("mast-1", True, 0),
            ("mast-2", False, 1),
        ]
    assert hub.service_connection_string.startswith("HostName=localhost;SharedAccessKeyName=iothubowner;")
