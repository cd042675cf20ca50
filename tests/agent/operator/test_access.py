"""The connection string, the CA and the port that an operator has exported."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.localhub.service_auth import ServiceAuthenticator
from agent.localhub.store import Store
from agent.operator.access import Access, from_environment
from agent.operator.errors import BadAccess

KEY = "MDEyMzQ1Njc4OWFiY2RlZg=="
GOOD = f"HostName=hub.azure-devices.net;SharedAccessKeyName=iothubowner;SharedAccessKey={KEY}"


def test_a_connection_string_names_hub_policy_and_key() -> None:
    """As Azure prints it, quotes and a last semicolon aside; the key is in no ``repr``."""
    for text in (GOOD, f'"{GOOD}"', f" {GOOD}; ", GOOD.replace("HostName", "hostname")):
        access = from_environment({"IOTHUB_CONNECTION_STRING": text})
        assert (access.host, access.policy, access.key) == ("hub.azure-devices.net", "iothubowner", KEY)
        assert (access.ca_file, access.https_port, access.hub_name) == (None, 443, "hub")
        assert KEY not in repr(access)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "IOTHUB_CONNECTION_STRING is not set: export it as HostName=…"),
        ("nonsense", "a part has no '=' in it"),
        (GOOD.replace("HostName=hub.azure-devices.net;", ""), "has no HostName="),
        (GOOD.replace("SharedAccessKeyName=iothubowner;", ""), "has no SharedAccessKeyName="),
        (GOOD.replace(f"SharedAccessKey={KEY}", "SharedAccessKey="), "has no SharedAccessKey="),
        (GOOD + ";HostName=other", "has hostname= twice"),
        (GOOD.replace("SharedAccessKeyName=iothubowner", "DeviceId=mast-1"), "is a device's"),
        (GOOD.replace("hub.azure", "https://hub.azure"), "is no host name (no scheme, port or path)"),
        (GOOD.replace("net;", "net:443;"), "is no host name"),
        (GOOD[:-1], "SharedAccessKey is not base64: was it cut?"),
    ],
)
def test_what_is_wrong_with_a_connection_string_is_named(text: str, words: str) -> None:
    """The part of it, and never the key."""
    with pytest.raises(BadAccess) as error:
        from_environment({"IOTHUB_CONNECTION_STRING": text})
    assert words.lower() in str(error.value).lower()
    assert "IOTHUB_CONNECTION_STRING" in str(error.value)
    assert KEY[:-1] not in str(error.value)


@pytest.mark.parametrize("port", ["0", "65536", "https", "-1", "4 3", "٤٤٣"])
def test_a_wrong_port_is_named(port: str) -> None:
    """With what is expected."""
    with pytest.raises(BadAccess, match="expected a port, 1 to 65535"):
        from_environment({"IOTHUB_CONNECTION_STRING": GOOD, "MASTHEAD_HTTPS_PORT": port})


def test_a_ca_file_is_read_at_once(tmp_path: Path) -> None:
    """One that is missing, or has no certificate in it, is named before anything is connected."""
    with pytest.raises(BadAccess, match=r"none\.pem: No such file"):
        from_environment({"IOTHUB_CONNECTION_STRING": GOOD, "MASTHEAD_CA_FILE": str(tmp_path / "none.pem")})
    empty = tmp_path / "empty.pem"
    empty.touch()
    with pytest.raises(BadAccess, match="no certificates in it"):
        from_environment({"IOTHUB_CONNECTION_STRING": GOOD, "MASTHEAD_CA_FILE": str(empty)})


def test_a_token_is_what_a_hub_takes(tmp_path: Path) -> None:
    """Signed for the whole hub, and good for an hour."""
    store = Store(tmp_path / "hub")
    try:
        key = store.registry.policy_key("service")
        assert key is not None
        hub = ServiceAuthenticator(store.registry, {"localhost"}, lambda: 1000.0)
        assert hub.admit(Access("localhost", "service", key).token(1000.0)) == ("service", 4600.0, "")
    finally:
        store.close()


def test_a_device_has_a_string_of_its_own() -> None:
    """With its key, or where it has none a word about its certificate."""
    access = Access("hub", "service", KEY)
    assert access.device_string("m", "K") == "HostName=hub;DeviceId=m;SharedAccessKey=K"
    assert access.device_string("m", None) == "HostName=hub;DeviceId=m;x509=true"


@pytest.mark.parametrize(
    ("host", "name", "local"),
    [
        ("hub.azure-devices.net", "hub", False),
        ("localhost", "localhost", True),
        ("127.0.0.3", "127.0.0.3", True),
    ],
)
def test_a_hub_on_this_machine_is_known(host: str, name: str, local: bool) -> None:
    """By its name or its address."""
    access = Access(host, "service", KEY)
    assert (access.hub_name, access.is_local) == (name, local)
