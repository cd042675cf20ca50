"""The support file: what somebody elsewhere needs to see what is wrong here, and no secret.

Invariants, each with a test of its name in tests/agent/test_bundle.py:

 1. no secret  every byte of a member went through ``scrub``; no member is made of a file that holds a
               credential, of the environment, or of readings.
 2. whole      the file stands under its name only when it is complete, for its owner alone (0600), and not in
               the place of another; whatever ends the work leaves nothing behind.
 3. anyhow     what cannot be had (no systemd, not root, no agent, no valid configuration) is told in words in
               its place.

Thread safety: one thread.
"""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import platform
import re
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from . import __version__, checks
from .checks.finding import told_by
from .checks.unit import UNIT
from .config import Config, load, resolved
from .control import ControlClient
from .redact import scrub

_LOG_LINES = 5000
_LOG_S = 60.0  # a Pi Zero reads its journal from the card
_MOST_BYTES = 4 << 20  # of a member: its end counts
_KERNEL = re.compile(
    r"under-?voltage|voltage normal|throttl|mmc|sdhci|i2c|gpio|EXT4-fs|I/O error|read-only|watchdog"
    r"|out of memory|oom-kill|thermal",
    re.IGNORECASE,
)
_PROPERTIES = (
    "LoadState,UnitFileState,ActiveState,SubState,Result,ExecMainStatus,ExecMainCode,NRestarts,StatusText,"
    "ActiveEnterTimestamp,InactiveEnterTimestamp,WatchdogTimestamp,MemoryCurrent,MemoryPeak,CPUUsageNSec,"
    "TasksCurrent,FragmentPath,DropInPaths"
)
_DEBIAN = ("masthead", "python3-lgpio", "python3-libgpiod", "python3-systemd", "systemd", "libsqlite3-0")

Member = tuple[str, bytes]


def write(path: Path, config_path: Path, *, network: bool = True) -> list[tuple[str, int]]:
    """Make the support file at ``path``, which must not exist; (name, bytes) of each of its members.

    Raises OSError; FileExistsError if ``path`` is taken.
    """
    if path.exists():
        raise FileExistsError(f"{path} exists")
    # of mode 0600; before the collecting, for it may be that it cannot be made
    fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    new = Path(name)
    try:
        with os.fdopen(fd, "wb") as file:
            _give_to_who_asked(fd)
            members = list(collect(config_path, network=network))
            file.write(_archive(path.name.removesuffix(".tar.gz"), members))
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
    finally:
        new.unlink(missing_ok=True)
    return [(name, len(content)) for name, content in members]


def _give_to_who_asked(fd: int) -> None:
    """Who used sudo copies the file away without it."""
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if os.geteuid() == 0 and uid.isdecimal() and gid.isdecimal():
        with suppress(OSError):  # a stick without owners
            os.fchown(fd, int(uid), int(gid))


def collect(config_path: Path, *, network: bool = True) -> Iterator[Member]:
    """(name, content) of every member, scrubbed."""
    sources: list[tuple[str, Callable[[], str]]] = [
        ("versions.txt", _versions),
        ("configuration.toml", lambda: config_path.read_text(errors="replace")),
        ("configuration-resolved.toml", lambda: resolved(load(config_path))),
        ("check.jsonl", lambda: _findings(config_path, network)),
        ("status.json", lambda: _status(load(config_path))),
        ("state.txt", lambda: _state(load(config_path))),
        ("unit.txt", _unit),
        ("log.txt", lambda: _told("the journal", _journal(UNIT), _LOG_S)),
        ("kernel.txt", _kernel),
    ]
    for name, source in sources:
        try:
            text = source()
        except Exception as error:  # noqa: BLE001  (what cannot be had keeps nobody from the rest)
            text = f"not to be had: {type(error).__name__}: {error}\n"
        yield name, scrub(text).encode(errors="replace")[-_MOST_BYTES:]


def _archive(folder: str, members: list[Member]) -> bytes:
    """The members as .tar.gz, in a folder of their own."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in members:
            info = tarfile.TarInfo(f"{scrub(folder)}/{name}")
            info.size, info.mode, info.mtime = len(content), 0o600, int(time.time())
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def _versions() -> str:
    system = {}
    with suppress(OSError):
        system = platform.freedesktop_os_release()
    lines = [
        f"masthead {__version__}",
        f"system {system.get('PRETTY_NAME', 'unknown')}",
        f"kernel {platform.release()} {platform.version()}",
        f"machine {platform.machine()}, {sys.maxsize.bit_length() + 1} bit",
        f"python {sys.version} at {sys.executable}",
        "",
    ]
    packages = {(d.metadata["Name"] or "unnamed", d.version) for d in importlib.metadata.distributions()}
    lines += [f"{name} {version}" for name, version in sorted(packages)]
    shown = told_by(
        ["dpkg-query", "--show", "--showformat=${db:Status-Abbrev} ${Package} ${Version}\\n", "*"], 20
    )
    if shown is not None:
        kept = [line for line in shown.splitlines() if line.split()[1:2] and line.split()[1] in _DEBIAN]
        lines += ["", "Debian's:", *kept]
    return "\n".join(lines) + "\n"


def _findings(config_path: Path, network: bool) -> str:
    return "".join(
        json.dumps({"check": f.name, "state": f.state, "text": f.text, "remedy": f.remedy}) + "\n"
        for f in checks.run(config_path, network=network)
    )


def _status(config: Config) -> str:
    """What the running agent says of itself, without the bodies of messages. Raises ControlError."""
    with ControlClient(config.state_directory) as client:
        status = client.ask("status")
    for rejected in status["outbox"]["lastRejected"]:
        rejected.pop("body", None)
    return json.dumps(status, indent=1) + "\n"


def _state(config: Config) -> str:
    """What lies in the state directory: names, sizes and ages. Raises OSError."""
    directory = config.state_directory
    disk = os.statvfs(directory)
    lines = [
        f"{directory}: {disk.f_bavail * disk.f_frsize} of {disk.f_blocks * disk.f_frsize} bytes free, "
        f"{disk.f_favail} of {disk.f_files} files; "
        + ("read-only" if disk.f_flag & os.ST_RDONLY else "writable")
    ]
    for path in sorted(directory.iterdir()):
        found = path.lstat()
        written = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(found.st_mtime))
        lines.append(
            f"{found.st_mode:o} {found.st_uid}:{found.st_gid} {found.st_size:>10} {written} {path.name}"
        )
    return "\n".join(lines) + "\n"


def _unit() -> str:
    shown = _told("the unit's state", ["systemctl", "show", "--property", _PROPERTIES, UNIT])
    return f"{shown}\n{_told('the unit', ['systemctl', 'cat', '--no-pager', UNIT])}"


def _journal(unit: str) -> list[str]:
    return [
        "journalctl",
        "--unit",
        unit,
        "--lines",
        str(_LOG_LINES),
        "--no-pager",
        "--output",
        "short-iso-precise",
    ]


def _kernel() -> str:
    """The kernel's lines on power, card, buses and memory of this boot."""
    shown = told_by(["dmesg", "--time-format", "iso"], _LOG_S) or _told(
        "the kernel's log", ["journalctl", "--dmesg", "--no-pager", "--output", "short-iso-precise"], _LOG_S
    )
    return "".join(
        f"{line}\n" for line in shown.splitlines() if _KERNEL.search(line) or line.startswith("not to")
    )


def _told(what: str, command: list[str], seconds: float = 10.0) -> str:
    """What a program prints, or why there is nothing."""
    shown = told_by(command, seconds)
    if shown is not None:
        return shown
    return f"not to be had: {what} ({command[0]} is not there, or refuses; root may see more)\n"
