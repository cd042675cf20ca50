"""The state directory and its lock: one owner of the readings, the journal and the hardware."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from types import TracebackType

_LOCK = "lock"
_LOCKS = Path("/proc/locks")


class StateError(Exception):
    """The state directory cannot be used. The text says what to do."""


class StateLock:
    """Held for as long as the process uses the state directory; the kernel lets go of it with the process."""

    def __init__(self, directory: Path) -> None:
        """Create ``directory`` if missing and take its lock. Raises StateError."""
        self._fd = -1
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = _open(directory)
        except OSError as error:
            raise StateError(
                f"{directory}: the state directory cannot be used: {error.strerror}; "
                "set device.state_directory to one that this user may write"
            ) from error
        holder = ""
        if not (_lock(self._fd) and _folder_is_free(directory, self._fd)):
            with contextlib.suppress(OSError):
                holder = os.pread(self._fd, 32, 0).decode(errors="replace").strip()
            self.release()
            named = f" (process {holder})" if holder else ""
            raise StateError(f"{directory} is in use by another masthead{named}")
        with contextlib.suppress(OSError):  # a full disk: the number only helps whoever is refused
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """May be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> StateLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def holder(directory: Path) -> str | None:
    """The process that has the state lock, if one has.

    Only as the kernel lists it (proc_locks(5)): a lock tried here could turn away an agent that starts.
    """
    wanted = set()
    for path in (directory / _LOCK, directory):
        with contextlib.suppress(OSError):
            at = path.stat()
            wanted.add(f"{os.major(at.st_dev):02x}:{os.minor(at.st_dev):02x}:{at.st_ino}")
    with contextlib.suppress(OSError):
        for line in _LOCKS.read_text().splitlines():
            words = line.split()  # 1: FLOCK ADVISORY WRITE process device:inode first last
            if words[1:2] == ["FLOCK"] and words[5] in wanted:
                return words[4]
    return None


def _open(directory: Path) -> int:
    """The lock file, also on a card that has become read-only; where there is none and none can be made the
    directory itself. Any of them can be locked."""
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | flags, 0o600)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.ENOSPC, errno.EDQUOT):
            raise
    try:
        return os.open(directory / _LOCK, os.O_RDONLY | flags)
    except FileNotFoundError:
        return os.open(directory, os.O_RDONLY | os.O_CLOEXEC)


def _folder_is_free(directory: Path, fd: int) -> bool:
    """Whether nobody but ``fd`` has locked the directory, for want of a file that is there by now."""
    try:
        folder = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        return os.path.samestat(os.fstat(folder), os.fstat(fd)) or _lock(folder, needed=False)
    finally:
        os.close(folder)


def _lock(fd: int, *, needed: bool = True) -> bool:
    """Take the lock without waiting; True if we have it, or where the platform has no such locks.

    Not ``needed``: also where the file system cannot lock ``fd``.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return not needed
    return True
