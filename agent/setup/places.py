"""Where things are on a machine, and how a file is put there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from agent.cloud.credentials import CREDENTIAL_STORE

READ_ONLY = "`sudo mount -o remount,rw /`; a card that failed does this too (`dmesg`)"
"""What to do about a file system that takes no writes."""


class SetupError(Exception):
    """Something is not as it has to be. The text says what to do."""


@dataclass(frozen=True)
class Places:
    """The files of an installation below ``root``."""

    root: Path = Path("/")

    @property
    def config(self) -> Path:
        """What the service reads."""
        return self.root / "etc/masthead/masthead.toml"

    @property
    def plain(self) -> Path:
        """The connection string where systemd-creds does not serve; for root alone."""
        return self.root / CREDENTIAL_STORE.relative_to("/")

    @property
    def encrypted(self) -> Path:
        """The connection string as only this machine's systemd can read it (systemd-creds(1))."""
        return self.root / "etc/credstore.encrypted" / CREDENTIAL_STORE.name

    @property
    def drop_in(self) -> Path:
        """What makes the unit take the encrypted one."""
        return self.root / "etc/systemd/system/masthead.service.d/credential.conf"


def put(path: Path, content: str, mode: int, folder_mode: int = 0o755) -> None:
    """``content`` as the file ``path``, at once and over a power cut; an existing file's owner is kept, and
    a link to it too.

    Raises SetupError.
    """
    try:
        path = path.resolve()
        path.parent.mkdir(mode=folder_mode, parents=True, exist_ok=True)
        descriptor, new = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123  (of a descriptor)
                os.fchmod(descriptor, mode)
                with contextlib.suppress(FileNotFoundError):
                    before = path.stat()
                    os.fchown(descriptor, before.st_uid, before.st_gid)
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            Path(new).replace(path)
        except BaseException:
            Path(new).unlink(missing_ok=True)
            raise
        _sync(path.parent)
    except OSError as error:
        raise SetupError(_cannot("written", path, error)) from error


def remove(path: Path) -> bool:
    """Whether there was one. Raises SetupError."""
    try:
        path.unlink()
        _sync(path.parent)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise SetupError(_cannot("removed", path, error)) from error
    return True


def back_up(path: Path) -> Path:
    """A copy beside ``path``, of what it was before. Raises SetupError."""
    copy = path.with_name(f"{path.name}.before-setup")
    try:
        shutil.copy2(path, copy)
    except OSError as error:
        raise SetupError(_cannot("written", copy, error)) from error
    return copy


def _cannot(what: str, path: Path, error: OSError) -> str:
    remedy = ": use sudo" if isinstance(error, PermissionError) else ""
    if error.errno == errno.EROFS:
        remedy = f": {READ_ONLY}"
    return f"{path} cannot be {what} ({error.strerror}){remedy}"


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
