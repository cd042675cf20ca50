"""The hub's certificates, judged by OpenSSL."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.localhub.ca import ServerFiles, server_files
from agent.localhub.records import HubUnavailable

ADDRESS = IPv4Address("127.0.0.7")


def _handshake(files: ServerFiles, name: str) -> None:
    """A strict client's TLS handshake with the server of these files, in memory. Raises SSLError."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.certificate, files.key)
    client = ssl.create_default_context(cafile=str(files.ca))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    near, far = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(far, server_side=True).close()
        except OSError:
            far.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        client.wrap_socket(near, server_hostname=name).close()
    finally:
        near.close()
        thread.join()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "127.0.0.7"])
def test_a_strict_client_accepts_the_server_by_each_of_its_names(tmp_path: Path, name: str) -> None:
    """Also with VERIFY_X509_STRICT, which Python 3.13 sets by default."""
    _handshake(server_files(tmp_path / "tls", ADDRESS), name)


def test_files_are_private(tmp_path: Path) -> None:
    """0600 in a folder of 0700."""
    server_files(tmp_path / "tls", ADDRESS)
    assert (tmp_path / "tls").stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in (tmp_path / "tls").iterdir()} == {0o600}


def test_certificates_stay_until_one_is_needed(tmp_path: Path) -> None:
    """A restart keeps them; another address or a broken file needs a new one, of the same authority."""
    files = server_files(tmp_path / "tls", ADDRESS)
    ca, leaf = files.ca.read_bytes(), files.certificate.read_bytes()
    server_files(tmp_path / "tls", ADDRESS)
    assert files.certificate.read_bytes() == leaf
    server_files(tmp_path / "tls", IPv4Address("127.0.0.8"))
    moved = files.certificate.read_bytes()
    assert moved != leaf
    files.key.write_text("broken")
    _handshake(server_files(tmp_path / "tls", ADDRESS), "127.0.0.7")
    assert files.certificate.read_bytes() != moved
    assert files.ca.read_bytes() == ca


def test_a_damaged_authority_is_not_replaced_in_silence(tmp_path: Path) -> None:
    """Clients trust the old one: a person must decide."""
    files = server_files(tmp_path / "tls", ADDRESS)
    other = server_files(tmp_path / "other", ADDRESS)
    files.certificate.unlink()
    for damage in (b"", (other.ca.parent / "ca.key").read_bytes()):
        (tmp_path / "tls" / "ca.key").write_bytes(damage)
        with pytest.raises(HubUnavailable, match=r"ca\.pem or ca\.key is damaged"):
            server_files(tmp_path / "tls", ADDRESS)


@pytest.mark.parametrize(
    ("name", "good"),
    [
        (x509.DNSName("localhost"), True),
        (x509.IPAddress(IPv4Address("127.9.9.9")), True),
        (x509.DNSName("example.com"), False),
        (x509.DNSName("evil.localhost.example.com"), False),
        (x509.IPAddress(IPv4Address("192.168.1.4")), False),
    ],
)
def test_the_authority_is_good_for_loopback_only(tmp_path: Path, name: x509.GeneralName, good: bool) -> None:
    """OpenSSL rejects whatever else its key might sign."""
    files = server_files(tmp_path / "tls", ADDRESS)
    ca = x509.load_pem_x509_certificate(files.ca.read_bytes())
    ca_key = serialization.load_pem_private_key((tmp_path / "tls" / "ca.key").read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    now = datetime.now(UTC)
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "somebody")]))
        .issuer_name(ca.subject)
        .public_key(ec.generate_private_key(ec.SECP256R1()).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    (tmp_path / "leaf.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    verdict = subprocess.run(
        ["openssl", "verify", "-CAfile", str(files.ca), str(tmp_path / "leaf.pem")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (verdict.returncode == 0) == good
    assert good or "permitted subtree violation" in verdict.stderr
