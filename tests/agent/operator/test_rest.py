"""The adapter to requests, against the local hub over TLS."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from agent.operator.access import Access
from agent.operator.devices import Credential, Devices
from agent.operator.errors import HubRejected, HubUnavailable, NoDevice
from agent.operator.rest import Rest
from agent.operator.twins import get_twin, set_desired
from tests.e2e.harness import free_host

from .site import DEVICE, Site


@pytest.fixture
def devices(site: Site) -> Devices:
    access = site.access()
    return Devices(access, Rest(access))


def test_a_device_from_its_creation_to_its_end(site: Site, devices: Devices) -> None:
    """With keys that the hub makes, and a string that it connects with."""
    created = devices.create("mast-2", Credential())
    assert created.primary_key is not None
    assert created.primary_key in created.connection_string
    assert (created.status, created.connection_state, created.auth_method) == (
        "enabled",
        "Disconnected",
        "sas",
    )
    assert devices.get("mast-2") == created
    assert "mast-2" in {device.device_id for device in devices.listed()} & {
        device.device_id for device in devices.found()
    }
    assert devices.set_enabled("mast-2", False).status == "disabled"
    assert not site.hub.store.registry.get("mast-2").enabled
    assert devices.set_enabled("mast-2", True).primary_key == created.primary_key
    with pytest.raises(HubRejected, match="'mast-2' exists already"):
        devices.create("mast-2", Credential())
    devices.delete("mast-2")
    with pytest.raises(NoDevice, match="no device 'mast-2'"):
        devices.delete("mast-2")


def test_own_keys_and_certificates(devices: Devices) -> None:
    """Are taken as they are given."""
    key, second = "MDEyMzQ1Njc4OWFiY2RlZg==", "ZmVkY2JhOTg3NjU0MzIxMA=="
    device = devices.create("own", Credential(key, second))
    assert (device.primary_key, device.secondary_key) == (key, second)
    device = devices.create("certified", Credential(primary_thumbprint="AB" * 20))
    assert (device.auth_method, device.primary_key) == ("selfSigned", None)
    assert device.connection_string.endswith(";DeviceId=certified;x509=true")
    devices.delete("own")
    devices.delete("certified")


@pytest.mark.parametrize("name", ["a:b", "50%", "a#b?c", "a'b,c=d$e@f!"])
def test_an_odd_name_is_still_one_device(devices: Devices, name: str) -> None:
    """In a path it is quoted."""
    devices.create(name, Credential())
    assert devices.get(name).device_id == name
    devices.delete(name)


@pytest.mark.parametrize(("policy", "right"), [("service", "RegistryRead"), ("device", "RegistryRead")])
def test_a_policy_without_the_right_is_named(site: Site, policy: str, right: str) -> None:
    """With those that have it."""
    access = site.access(policy)
    with pytest.raises(HubRejected, match=f"refused policy '{policy}': this needs the right {right}"):
        Devices(access, Rest(access)).listed()


def test_a_twin_is_merged(site: Site) -> None:
    """Null removes."""
    rest = Rest(site.access("service"))
    set_desired(rest, DEVICE, {"a": {"b": 1, "c": 2}})
    twin = set_desired(rest, DEVICE, {"a": {"b": None}})
    assert twin["properties"]["desired"]["a"] == {"c": 2}
    assert get_twin(rest, DEVICE)["properties"]["desired"]["a"] == {"c": 2}
    with pytest.raises(NoDevice):
        get_twin(rest, "mast-7")


def test_surroundings_do_not_change_whom_we_trust_or_who_we_are(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither a bundle for other sites, nor a proxy for them, nor a ``.netrc``."""
    (tmp_path / "other.pem").write_text("")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "other.pem"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    (tmp_path / ".netrc").write_text(f"machine {site.hub.host} login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setattr(Access, "is_local", False)
    monkeypatch.setenv("NO_PROXY", site.hub.host)
    assert get_twin(Rest(site.access()), DEVICE)
    monkeypatch.undo()
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert get_twin(Rest(site.access()), DEVICE)


def test_who_is_not_trusted_and_who_is_not_there(site: Site) -> None:
    """One is a matter of the CA, one of the hub."""
    right = site.access()
    with pytest.raises(HubRejected, match="for a private CA set MASTHEAD_CA_FILE"):
        get_twin(Rest(Access(right.host, right.policy, right.key, None, right.https_port)), DEVICE)
    host = free_host()
    with pytest.raises(HubUnavailable, match=f"nobody listens at {host}:8444"):
        get_twin(Rest(Access(host, right.policy, right.key, right.ca_file, 8444)), DEVICE)
    with pytest.raises(HubUnavailable, match=r"the name no-hub\.invalid cannot be resolved"):
        get_twin(Rest(Access("no-hub.invalid", right.policy, right.key)), DEVICE)


@pytest.fixture
def plain_port() -> Iterator[int]:
    """Somebody who speaks no TLS."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            client, _ = server.accept()
            with client:
                client.recv(100)
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

        thread = Thread(target=answer, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)


def test_who_speaks_no_tls_is_no_hub(site: Site, plain_port: int) -> None:
    """And that is said."""
    right = site.access()
    with pytest.raises(HubUnavailable, match="does not speak TLS as expected"):
        get_twin(Rest(Access("localhost", right.policy, right.key, right.ca_file, plain_port)), DEVICE)
