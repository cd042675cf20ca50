"""The hub's own certificate authority, good for this machine's loopback names and nothing else.

Its name constraints (RFC 5280, 4.2.1.10) make every other name that it might sign invalid, so a stolen key
cannot impersonate another site. It must still never be added to a system's store.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network, ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .records import HubUnavailable

_LOOPBACK = IPv4Network("127.0.0.0/8")
_CA_LIFE = timedelta(days=3650)
_LEAF_LIFE = timedelta(days=365)
_LEAF_RENEWAL = timedelta(days=30)
_BACKDATED = timedelta(days=1)  # a machine without a battery clock may go back a little

_KEY_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True, slots=True)
class ServerFiles:
    """PEM files: ``ca`` for clients to trust; ``certificate`` and ``key`` for the server to show."""

    ca: Path
    certificate: Path
    key: Path


def server_files(directory: Path, address: IPv4Address) -> ServerFiles:
    """Certificates for a server at ``address`` and ``localhost``, made where missing or near expiry.

    ``directory`` is private (0700), and so is every file in it (0600). Raises HubUnavailable if the
    authority's files are damaged.
    """
    directory.mkdir(exist_ok=True, mode=0o700)
    files = ServerFiles(directory / "ca.pem", directory / "server.pem", directory / "server.key")
    ca_key_file = directory / "ca.key"
    if not (files.ca.exists() and ca_key_file.exists()):
        _make_ca(files.ca, ca_key_file)
    if not _serves(files, address):
        _make_leaf(files, ca_key_file, address, _from_now(_LEAF_LIFE))
    return files


def _make_ca(certificate_file: Path, key_file: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "masthead local hub (this machine only)")])
    certificate = (
        _builder(name, name, key.public_key(), key.public_key(), _from_now(_CA_LIFE))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(
            x509.NameConstraints([x509.DNSName("localhost"), x509.IPAddress(_LOOPBACK)], None), critical=True
        )
        .sign(key, hashes.SHA256())
    )
    _write_key(key_file, key)
    _write(certificate_file, certificate.public_bytes(serialization.Encoding.PEM))


def _load_ca(certificate_file: Path, key_file: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise ValueError("the key is not the certificate's")
    except ValueError as error:
        advice = "delete both for a new authority"
        raise HubUnavailable(f"{certificate_file} or {key_file.name} is damaged: {advice}") from error
    return certificate, key


def bad_files(directory: Path, address: IPv4Address, name: str) -> ServerFiles:
    """Certificates that no client should accept, made anew: ``name`` as the fault's.

    ``directory``: the one that ``server_files`` has filled. Raises HubUnavailable and OSError.
    """
    if name == "other-certificate":
        return server_files(directory / "other-authority", address)
    now = datetime.now(UTC)
    valid = {
        "expired-certificate": (now - _LEAF_LIFE, now - _BACKDATED),
        "future-certificate": (now + _LEAF_LIFE, now + 2 * _LEAF_LIFE),
    }[name]
    files = ServerFiles(directory / "ca.pem", directory / f"{name}.pem", directory / f"{name}.key")
    _make_leaf(files, directory / "ca.key", address, valid)
    return files


def _make_leaf(
    files: ServerFiles,
    ca_key_file: Path,
    address: IPv4Address,
    valid: tuple[datetime, datetime],
) -> None:
    ca, ca_key = _load_ca(files.ca, ca_key_file)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    addresses = sorted({IPv4Address("127.0.0.1"), address})
    certificate = (
        _builder(name, ca.subject, key.public_key(), ca_key.public_key(), valid)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), *map(x509.IPAddress, addresses)]),
            critical=False,
        )
        .sign(ca_key, hashes.SHA256())
    )
    _write_key(files.key, key)
    _write(files.certificate, certificate.public_bytes(serialization.Encoding.PEM))


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
    valid: tuple[datetime, datetime],
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _from_now(life: timedelta) -> tuple[datetime, datetime]:
    now = datetime.now(UTC)
    return now - _BACKDATED, now + life


def _key_usage(*wanted: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in wanted for usage in _KEY_USAGES})


def _serves(files: ServerFiles, address: IPv4Address) -> bool:
    """Whether the certificate there is of this CA, for this address, and good for a while."""
    try:
        certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        key = serialization.load_pem_private_key(files.key.read_bytes(), None)
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(files.ca.read_bytes()))
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:  # noqa: BLE001  (whatever is wrong with files that can be made again)
        return False
    now = datetime.now(UTC)
    return (
        certificate.public_key() == key.public_key()
        and ip_address(address) in names.get_values_for_type(x509.IPAddress)
        and certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - _LEAF_RENEWAL
    )


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(path, pem)


def _write(path: Path, content: bytes) -> None:
    """Write a private file whole or not at all."""
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        os.fsync(file.fileno())
    part.replace(path)
