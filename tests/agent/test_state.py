"""One owner of the state directory."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from agent.state import StateError, StateLock

HOLDER = """
import sys, time
from pathlib import Path
from agent.state import StateLock
lock = StateLock(Path(sys.argv[1]))
print("locked", flush=True)
time.sleep(60)
"""


def test_the_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    """With its parents, and the lock in it names the process."""
    with StateLock(tmp_path / "a" / "state") as lock:
        assert stat.S_IMODE((tmp_path / "a" / "state").stat().st_mode) == 0o700
        assert (tmp_path / "a" / "state" / "lock").read_text() == str(os.getpid())
    lock.release()


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    """The line names the process that holds it; kill -9 lets go of it."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(StateError) as refused:
            StateLock(tmp_path)
        assert str(refused.value) == f"{tmp_path} is in use by another masthead (process {holder.pid})"
    finally:
        holder.kill()
        holder.communicate()
    StateLock(tmp_path).release()


def test_a_directory_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    """A file in the way, as no permission would."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"cannot be used: Not a directory; set device\.state_directory"):
        StateLock(tmp_path / "file" / "state")


def test_where_no_locks_are_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A platform without fcntl is used without."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with StateLock(tmp_path), StateLock(tmp_path):
        pass


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    """Root's number is not written into somebody else's file, and none is made at its end."""
    other = tmp_path / "other"
    other.write_text("somebody else's")
    for target in (other, tmp_path / "missing"):
        state = tmp_path / f"state-{target.name}"
        state.mkdir()
        (state / "lock").symlink_to(target)
        with pytest.raises(
            StateError, match="the state directory cannot be used: Too many levels of symbolic"
        ):
            StateLock(state)
    assert other.read_text() == "somebody else's"
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC])
@pytest.mark.parametrize("existed", [True, False])
def test_one_that_began_on_a_bad_card_is_not_joined_by_another_when_it_is_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, existed: bool
) -> None:
    """It was read-only, or full: the lock is held all the same, on the file that there is or without one."""
    if existed:
        StateLock(tmp_path).release()
    really_open = os.open

    def bad_card(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & (os.O_RDWR | os.O_CREAT):
            raise OSError(number, os.strerror(number))
        return really_open(path, flags, mode)

    with monkeypatch.context() as card:
        card.setattr(os, "open", bad_card)
        first = StateLock(tmp_path)
        with pytest.raises(StateError, match="in use"):
            StateLock(tmp_path)
    with pytest.raises(StateError, match="in use"):
        StateLock(tmp_path)
    first.release()
    StateLock(tmp_path).release()


def test_a_file_system_that_locks_no_folders_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file is lock enough."""
    really_lock = fcntl.flock

    def files_only(fd: int, how: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        really_lock(fd, how)

    monkeypatch.setattr(fcntl, "flock", files_only)
    with StateLock(tmp_path), pytest.raises(StateError, match="in use"):
        StateLock(tmp_path)
