"""What setup takes out of the file of a private CA, and what it refuses."""

from __future__ import annotations

import ssl
import subprocess
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from agent.localhub.ca import server_files
from agent.setup.certificates import read
from agent.setup.places import SetupError

KEY = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIHNlY3JldA==\n-----END PRIVATE KEY-----\n"


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> str:
    files = server_files(tmp_path_factory.mktemp("hub"), IPv4Address("127.0.0.1"))
    return Path(files.ca).read_text().strip() + "\n"


def test_only_certificates_are_taken(tmp_path: Path, pem: str) -> None:
    """What is read is copied to where everybody may read it: no key, no remark, no strange line end."""
    file = tmp_path / "ca.pem"
    for text in (pem, f"{KEY}{pem}", f"{pem}{KEY}", f"\ufeffSubject: hub\n{pem}", pem.replace("\n", "\r\n")):
        file.write_text(text, newline="")
        assert read(file) == pem
    file.write_text(f"{pem}# and the next one\n{pem}")
    assert read(file) == pem + pem


def test_what_is_no_ca_file_is_refused(tmp_path: Path, pem: str) -> None:
    """Each with what to do."""
    file = tmp_path / "ca.pem"
    with pytest.raises(SetupError, match="cannot be read: No such file"):
        read(file)
    file.write_bytes(ssl.PEM_cert_to_DER_cert(pem))
    with pytest.raises(SetupError, match="is DER, PEM is needed: openssl x509 -inform der"):
        read(file)
    (tmp_path / "plain.pem").write_text(pem)
    made = ["openssl", "x509", "-trustout", "-in", tmp_path / "plain.pem", "-out", file]
    subprocess.run(made, check=True)
    with pytest.raises(SetupError, match=rf"trusted form, .*: openssl x509 -in {file} -out ca\.pem"):
        read(file)
    file.write_text(KEY)
    with pytest.raises(SetupError, match="holds no certificate"):
        read(file)
    lines = pem.splitlines()
    file.write_text("\n".join([*lines[:4], *lines[6:]]))
    with pytest.raises(SetupError, match="damaged certificate"):
        read(file)
