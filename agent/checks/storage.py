"""Whether what is measured can be stored: the state directory, its file system, the room on it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from agent.config import Config

from .finding import AS_ROOT, Finding, hidden, within

_CARD_S = 10.0  # a card at the end of its life stalls so long
_PROBE = b"masthead check\n" * 300  # more than a page


def findings(config: Config) -> Iterator[Finding]:
    """The directory, the file system, the room, and stores that were found damaged."""
    directory = config.state_directory
    yield within(_CARD_S, "state", partial(_state, directory))
    existing = next(p for p in (directory, *directory.parents) if os.access(p, os.F_OK))
    yield within(_CARD_S, "disk", partial(_disk, existing, config.outbox.min_free_bytes))
    if aside := _set_aside(directory):
        text = f"found damaged and set aside: {', '.join(aside)} in {directory}"
        yield Finding("damaged", "warning", text, "replace the card if it happens again; then delete them")


def _state(directory: Path) -> Finding:
    """Whether a file can be written there, by doing it."""
    if hidden(directory):
        return Finding("state", "warning", f"{directory} cannot be seen by this user: not tried", AS_ROOT)
    if not directory.exists():
        return Finding("state", "ok", f"{directory} is not there yet: `masthead run` makes it")
    if _read_only(directory):
        remedy = "`sudo mount -o remount,rw`, and see /etc/fstab; a failing card does this too"
        return Finding("state", "failed", f"{directory} is on a read-only file system", remedy)
    if not os.access(directory, os.W_OK | os.X_OK):
        return _not_ours(directory)
    try:
        with tempfile.TemporaryFile(dir=directory) as probe:
            probe.write(_PROBE)
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        remedy = "make room, or replace the card; `dmesg` says more"
        return Finding("state", "failed", f"{directory} takes no file ({error.strerror})", remedy)
    return Finding("state", "ok", str(directory))


def _not_ours(directory: Path) -> Finding:
    """It is another user's: the service's, or nobody's who runs masthead."""
    try:
        owner = directory.owner()
    except (KeyError, OSError):
        owner = "an unknown user"
    text = f"{directory} cannot be written by this user, it is {owner}'s"
    if owner == "masthead":
        return Finding("state", "warning", f"{text}: not tried", AS_ROOT)
    return Finding("state", "failed", text, "chown it, or set device.state_directory")


def _disk(place: Path, needed: int) -> Finding:
    free = shutil.disk_usage(place).free
    text = f"{free / 1e6:,.0f} MB free"
    if free >= needed:
        return Finding("disk", "ok", text)
    text += f", below outbox.min_free_bytes ({needed / 1e6:,.0f} MB): the store cannot grow"
    remedy = "make room (`sudo journalctl --vacuum-size=50M`, `sudo apt clean`)"
    return Finding("disk", "failed", text, remedy)


def _read_only(place: Path) -> bool:
    return bool(os.statvfs(place).f_flag & os.ST_RDONLY)


def _set_aside(directory: Path) -> list[str]:
    try:
        return sorted(path.name for path in directory.glob("*-damaged-*.db"))
    except OSError:
        return []
