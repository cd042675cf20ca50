"""The connection string into systemd's store: encrypted where systemd-creds serves, else for root alone.

It goes to systemd-creds by its standard input and is in nobody's arguments.
"""

from __future__ import annotations

import os
import subprocess

from .places import Places, put, remove

_NAME = "connection-string"
_TIMEOUT_S = 60.0
_DROP_IN = """\
# made by `masthead setup`: the connection string is encrypted, and only this machine can read it
[Service]
LoadCredential=
LoadCredentialEncrypted={name}:{path}
"""


def stored(places: Places) -> str | None:
    """Where a connection string is stored already; None if it is nowhere."""
    if places.encrypted.exists() and places.drop_in.exists():
        return str(places.encrypted)
    return str(places.plain) if places.plain.exists() else None


def store(connection_string: str, places: Places) -> str:
    """Where it is now, in words. What was stored before is gone. Raises SetupError."""
    sealed = _sealed(connection_string)
    if sealed is None:
        put(places.plain, f"{connection_string}\n", 0o600, 0o700)
        remove(places.drop_in)
        remove(places.encrypted)
        return f"{places.plain}, which root alone may read: systemd-creds does not serve here"
    put(places.encrypted, sealed, 0o600, 0o700)
    put(places.drop_in, _DROP_IN.format(name=_NAME, path=places.encrypted), 0o644)
    remove(places.plain)
    return f"{places.encrypted}, encrypted"


def _sealed(connection_string: str) -> str | None:
    """As systemd-creds encrypts it; None where it is not there, or what it made cannot be read again."""
    sealed = _systemd_creds("encrypt", connection_string)
    return sealed if sealed and _systemd_creds("decrypt", sealed) == connection_string else None


def _systemd_creds(verb: str, text: str) -> str | None:
    try:
        done = subprocess.run(
            ["systemd-creds", verb, f"--name={_NAME}", "-", "-"],
            input=text.encode(),
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
