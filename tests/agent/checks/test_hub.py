"""The credential and the way to the hub, and what is said to a user who may not see the credential."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.checks import hub
from agent.checks.finding import Finding
from agent.config import load
from agent.localhub.ca import server_files
from agent.localhub.hub import LocalHub
from agent.localhub.thread import HubThread

VARIABLE = "IOTHUB_DEVICE_CONNECTION_STRING"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    """A local hub with one device."""
    found = LocalHub(tmp_path_factory.mktemp("hub"))
    thread = HubThread(found)
    thread.start()
    try:
        found.ensure_device("mast-1")
        yield found
    finally:
        thread.stop()


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No credential anywhere."""
    for name in (VARIABLE, "CREDENTIALS_DIRECTORY", "MASTHEAD_CA_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(hub, "ENCRYPTED", tmp_path / "credstore.encrypted" / "masthead.connection-string")


def status(host: str | None, link: str = "up", trouble: str | None = None) -> dict[str, Any]:
    return {"hub": host, "deviceId": "mast-1", "link": {"state": link, "lastError": trouble}}


def findings(
    tmp_path: Path, told: dict[str, Any] | None = None, *, network: bool = True, ca: str = ""
) -> dict[str, Finding]:
    path = tmp_path / "masthead.toml"
    device = f'[device]\nca_file = "{ca}"\n' if ca else ""
    path.write_text(f'{device}[[sensor]]\nid = "top"\n')
    return {finding.name: finding for finding in hub.findings(load(path), told, network=network)}


def test_the_chain_is_told(tmp_path: Path, local: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which CA, until when, who issued the hub's certificate, until when."""
    monkeypatch.setenv(VARIABLE, local.device_connection_string("mast-1"))
    found = findings(tmp_path, ca=str(local.ca_file))
    assert {f.state for f in found.values()} == {"ok"}, found
    assert "private CA" in found["ca"].text
    assert "valid to 20" in found["ca"].text
    assert "issued by " in found["certificate"].text
    assert "nobody named" not in found["certificate"].text
    assert "does not expire" in found["credential"].text


def test_what_the_running_agent_has_is_enough(tmp_path: Path, local: LocalHub) -> None:
    """A user who may not see the credential still has the way to the hub checked, and whether it takes it."""
    host = local.device_connection_string("mast-1").split(";")[0].removeprefix("HostName=")
    found = findings(tmp_path, status(host), ca=str(local.ca_file))
    assert {f.state for f in found.values()} == {"ok"}, found
    assert "as the running agent says" in found["credential"].text
    assert "the hub takes it" in found["key"].text


def test_a_key_that_was_refused(tmp_path: Path, local: LocalHub) -> None:
    """The running agent has tried it: that is not passed over."""
    host = local.device_connection_string("mast-1").split(";")[0].removeprefix("HostName=")
    found = findings(tmp_path, status(host, "down", "refused device 'mast-1'"), ca=str(local.ca_file))["key"]
    assert (found.state, "refused device 'mast-1'" in found.text) == ("warning", True)


def test_a_ca_file_without_a_ca(tmp_path: Path) -> None:
    """The hub's own certificate is not what signed it."""
    files = server_files(tmp_path, IPv4Address("127.0.0.1"))
    leaf = Path(files.certificate).read_text().partition("-----END CERTIFICATE-----")
    (tmp_path / "leaf.pem").write_text(leaf[0] + leaf[1])
    found = findings(tmp_path, ca=str(tmp_path / "leaf.pem"))["ca"]
    assert (found.state, found.text) == ("warning", f"{tmp_path}/leaf.pem holds no certificate of a CA")


def test_an_agent_without_a_credential_has_none(tmp_path: Path) -> None:
    """And nothing of the network is asked."""
    found = findings(tmp_path, status(None, "off"))
    assert found["credential"].state == "failed"
    assert set(found) == {"credential", "ca"}


def test_without_the_network_only_files_are_looked_at(
    tmp_path: Path, local: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a mast that has no link yet."""
    monkeypatch.setenv(VARIABLE, local.device_connection_string("mast-1"))
    assert set(findings(tmp_path, network=False)) == {"credential", "ca"}


@pytest.mark.parametrize(("days", "state"), [(-1, "failed"), (10, "warning"), (400, "ok")])
def test_a_private_ca_that_ends(
    tmp_path: Path, local: LocalHub, monkeypatch: pytest.MonkeyPatch, days: int, state: str
) -> None:
    """Nobody renews it but its owner: a month before is the time to say so."""
    ends = 2_000_000_000.0
    monkeypatch.setattr(hub.ssl, "cert_time_to_seconds", lambda _: ends)
    monkeypatch.setattr(hub.time, "time", lambda: ends - days * 86400)
    found = findings(tmp_path, ca=str(local.ca_file))["ca"]
    assert found.state == state
    assert (found.remedy is None) == (state == "ok")


def authority(days: int) -> str:
    """A CA whose certificate ends in so many ``days``."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"a CA for {days} days")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=4000))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize(
    ("days", "state", "last", "remark"),
    [
        ((-3, 400), "ok", 400, "; 1 of its 2 certificates expired before"),
        ((400, -3, 4000, -900), "ok", 4000, "; 2 of its 4 certificates expired before"),
        ((-3, 10), "warning", 10, "; 1 of its 2 certificates expired before"),
        ((10, 400), "ok", 400, ""),
        ((-900, -3), "failed", -3, ""),
    ],
)
def test_a_ca_that_is_changed_over(
    tmp_path: Path, days: tuple[int, ...], state: str, last: int, remark: str
) -> None:
    """Old and new in one file: it serves as long as its last one does, and which one that is, is told."""
    file = tmp_path / "ca.pem"
    file.write_text("".join(map(authority, days)))
    found = findings(tmp_path, ca=str(file))["ca"]
    until = time.strftime("%Y-%m-%d", time.gmtime(time.time() + last * 86400))
    assert found.state == state
    assert f"valid to {until}" in found.text or f"expired on {until}" in found.text
    assert found.text.partition(")")[2].partition(";")[1:] == remark.partition(";")[1:]


def fake_systemd_creds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    hub.ENCRYPTED.parent.mkdir()
    hub.ENCRYPTED.write_text("encrypted")
    program = tmp_path / "systemd-creds"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


def test_a_credential_that_systemd_encrypted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is decrypted to see whose it is, and shown to nobody."""
    text = "HostName=hub.invalid;DeviceId=mast-7;SharedAccessKey=c2VjcmV0"
    fake_systemd_creds(tmp_path, monkeypatch, f'[ "$2" = --name=connection-string ] && echo "{text}"')
    found = findings(tmp_path, network=False)["credential"]
    assert "device mast-7 at hub.invalid" in found.text
    assert "c2VjcmV0" not in str(found)


def test_a_credential_of_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A card that was moved: what the other machine encrypted cannot be read here."""
    fake_systemd_creds(tmp_path, monkeypatch, "exit 1")
    found = findings(tmp_path)["credential"]
    assert found.state == "failed"
    assert "cannot be decrypted on this machine" in found.text
