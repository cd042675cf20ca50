"""Devices that are known by the fingerprint of their certificate."""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.iot.device import X509, IoTHubDeviceClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agent.localhub.auth import Authenticator, NotAuthorized
from agent.localhub.device_settings import DeviceSettings
from agent.localhub.hub import LocalHub
from agent.localhub.thread import HubThread
from tests.e2e.harness import free_host

from .client import RawClient, eventually, packet, publish, text
from .rest_client import RestClient, host_with_443

USERNAME = "localhost/mast-x/?api-version=2019-10-01"
DAY = timedelta(days=1)


class Certificate:
    """A certificate with its key in a file, signed by itself or by ``issuer``."""

    def __init__(
        self, folder: Path, name: str, age: timedelta = DAY, life: timedelta = 9 * DAY, issuer: Any = None
    ) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        begin = datetime.now(UTC) - age
        certificate = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(issuer.name if issuer else self.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + life)
            .sign(issuer.key if issuer else self.key, hashes.SHA256())
        )
        self.der = certificate.public_bytes(serialization.Encoding.DER)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + self.key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )

    @property
    def sha1(self) -> str:
        return hashlib.sha1(self.der, usedforsecurity=False).hexdigest()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.der).hexdigest()


def _known(hub: LocalHub, primary: str | None, secondary: str | None = None) -> None:
    hub.identities.create(
        "mast-x", DeviceSettings(primary_thumbprint=primary, secondary_thumbprint=secondary)
    )


class ShowingClient(RawClient):
    """A RawClient that shows a certificate and logs in without a password."""

    def __init__(self, hub: LocalHub, shown: Certificate | None, version: ssl.TLSVersion) -> None:
        self.hub = hub
        context = ssl.create_default_context(cafile=str(hub.ca_file))
        context.maximum_version = version
        if shown is not None:
            context.load_cert_chain(shown.file)
        plain = socket.create_connection((hub.address, hub.port), timeout=10)
        self._socket = context.wrap_socket(plain, server_hostname=hub.host)

    def enter(self) -> int:
        """The return code of CONNECT."""
        head = text("MQTT") + bytes([4, 0x82]) + struct.pack("!H", 60)
        self.send(packet(0x10, head + text("mast-x") + text(USERNAME)))
        first, body = self.receive()
        assert first == 0x20
        return body[1]


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("which", ["sha1", "sha256"])
@pytest.mark.parametrize("place", [0, 1])
def test_the_fingerprint_lets_it_in(
    hub: LocalHub, tmp_path: Path, version: ssl.TLSVersion, which: str, place: int
) -> None:
    """SHA-1 or SHA-256, primary or secondary: no password is asked, and its events say how it came."""
    own = Certificate(tmp_path, "own")
    _known(hub, *[None] * place, getattr(own, which))
    with ShowingClient(hub, own, version) as client:
        assert client.enter() == 0
        client.send(publish("devices/mast-x/messages/events/", b"x"))
        assert client.receive()[0] == 0x40
    [event] = hub.store.events.after()
    assert json.loads(event.system["iothub-connection-auth-method"])["type"] == "x509"


@pytest.mark.parametrize("version", VERSIONS)
def test_another_certificate_or_none_is_refused(
    hub: LocalHub, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    """CONNACK 5 for the wrong one, 4 for no credentials at all; a device with keys is not let in by one."""
    own, other = Certificate(tmp_path, "own"), Certificate(tmp_path, "other")
    _known(hub, own.sha256)
    for shown, code in ((other, 5), (None, 4)):
        with ShowingClient(hub, shown, version) as client:
            assert client.enter() == code
            assert client.is_closed()
    hub.identities.update("mast-x", DeviceSettings())
    with ShowingClient(hub, own, version) as client:
        assert client.enter() == 5


def test_one_of_an_unknown_authority_is_as_good(hub: LocalHub, tmp_path: Path) -> None:
    """What counts is the fingerprint of the device's own certificate."""
    own = Certificate(tmp_path, "own", issuer=Certificate(tmp_path, "authority"))
    _known(hub, own.sha256)
    with ShowingClient(hub, own, ssl.TLSVersion.TLSv1_2) as client:
        assert client.enter() == 0


def test_one_that_is_out_of_date_ends_in_the_handshake(
    hub: LocalHub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody else is disturbed."""
    old = Certificate(tmp_path, "old", age=30 * DAY)
    _known(hub, old.sha256)
    with pytest.raises((OSError, EOFError)), ShowingClient(hub, old, ssl.TLSVersion.TLSv1_3) as client:
        client.enter()
    with RawClient(hub) as client:
        client.login()
        client.ping()
    assert not [r for r in caplog.records if r.exc_info]


def test_trust_is_of_one_connection_only(hub: LocalHub, tmp_path: Path) -> None:
    """A stranger's certificate does not stay behind: the hub's own context knows none."""
    for n in range(3):
        with ShowingClient(hub, Certificate(tmp_path, f"c{n}"), ssl.TLSVersion.TLSv1_3) as client:
            client.send(b"\0")
            assert client.is_closed()
    context = hub._listener._server._ssl_context  # type: ignore[union-attr]
    assert context.cert_store_stats()["x509"] == 0


def test_new_fingerprints_and_disabling_cut_it_off(hub: LocalHub, tmp_path: Path) -> None:
    """As new keys do for a device that has keys."""
    own, next_one = Certificate(tmp_path, "own"), Certificate(tmp_path, "next")
    _known(hub, own.sha1)
    with ShowingClient(hub, own, ssl.TLSVersion.TLSv1_2) as client:
        assert client.enter() == 0
        hub.identities.update("mast-x", DeviceSettings(primary_thumbprint=next_one.sha1))
        assert client.is_closed()
    with ShowingClient(hub, next_one, ssl.TLSVersion.TLSv1_2) as client:
        assert client.enter() == 0
        hub.set_device_enabled("mast-x", False)
        assert client.is_closed()
    with ShowingClient(hub, next_one, ssl.TLSVersion.TLSv1_2) as client:
        assert client.enter() == 5


def test_its_keys_are_of_no_use(hub: LocalHub, tmp_path: Path) -> None:
    """A token of a device with fingerprints is refused, however well it is signed."""
    _known(hub, Certificate(tmp_path, "own").sha1)
    with RawClient(hub) as client:
        assert client.login("mast-x") == (0, 5)


def test_an_empty_certificate_admits_nobody(hub: LocalHub) -> None:
    """A device with keys and no certificate's bytes: there is no fingerprint that fits."""
    authenticator = Authenticator(hub.store.registry, {"localhost"})
    with pytest.raises(NotAuthorized):
        authenticator.admit("mast-1", USERNAME.replace("mast-x", "mast-1"), None, b"")


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.parametrize("websockets", [False, True])
def test_the_sdk_comes_by_its_certificate(tmp_path: Path, websockets: bool) -> None:
    """create_from_x509_certificate, also with ``websockets=True``, and what it sends arrives."""
    own = Certificate(tmp_path, "own")
    host = host_with_443() if websockets else free_host()
    thread = HubThread(LocalHub(tmp_path / "hub", host, https_port=443 if websockets else None))
    thread.start()
    try:
        hub = thread.hub
        _known(hub, own.sha256)
        client = IoTHubDeviceClient.create_from_x509_certificate(
            X509(str(own.file), str(own.file)),  # type: ignore[no-untyped-call]
            hub.host,
            "mast-x",
            server_verification_cert=hub.ca_file.read_text(),
            connection_retry=False,
            websockets=websockets,
        )
        try:
            client.connect()
            client.send_message("by certificate")
            eventually(lambda: [e.body for e in hub.store.events.after()] == [b"by certificate"])
        finally:
            client.shutdown()
    finally:
        thread.stop()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("shows", [False, True])
def test_the_service_side_asks_nobody_for_a_certificate(
    hub: LocalHub, tmp_path: Path, version: ssl.TLSVersion, shows: bool
) -> None:
    """On the port that REST and WebSockets share a request needs none, and one gives no right."""
    rest = RestClient(hub)
    rest.context.maximum_version = version
    if shows:
        rest.context.load_cert_chain(Certificate(tmp_path, "own").file)
    assert rest.get("/devices").status == 200
    assert rest.get("/devices", Authorization=None).status == 401
