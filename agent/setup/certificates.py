"""The certificates of a private CA out of the file that a person gives; nothing else that is in it."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

from .places import SetupError

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_TRUSTED = b"-----BEGIN TRUSTED CERTIFICATE-----"  # what it is trusted for is appended (openssl-x509(1))
_DER = b"\x30\x82"  # a sequence of more than 255 bytes (X.690, 8.1)


def read(ca_file: Path) -> str:
    """The certificates as PEM text: what everybody may read. A private key beside them stays where it is.

    Raises SetupError.
    """
    try:
        content = ca_file.expanduser().read_bytes()
    except OSError as error:
        raise SetupError(f"the CA file {ca_file} cannot be read: {error.strerror}") from error
    if content.startswith(_DER):
        raise SetupError(
            f"the CA file {ca_file} is DER, PEM is needed: openssl x509 -inform der -in {ca_file} -out ca.pem"
        )
    found = _CERTIFICATE.findall(content.decode(errors="replace"))
    if not found and _TRUSTED in content:
        raise SetupError(
            f"the CA file {ca_file} holds OpenSSL's trusted form, a plain certificate is needed: "
            f"openssl x509 -in {ca_file} -out ca.pem"
        )
    if not found:
        raise SetupError(f"the CA file {ca_file} holds no certificate: give the PEM file of the hub's CA")
    text = "".join(f"{certificate}\n" for certificate in found).replace("\r\n", "\n")
    try:
        ssl.create_default_context(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        raise SetupError(f"the CA file {ca_file} holds a damaged certificate: copy it again") from error
    return text
