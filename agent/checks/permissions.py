"""Whether the service's user may use what the configuration names, by owners and mode bits.

Where there is no user ``masthead`` the user of this process counts. Access lists of others are not looked at.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.config import Config
from hw import board, gpio

from .finding import Finding

SERVICE_USER = "masthead"
_READ, _WRITE, _ENTER = 4, 2, 1
_KEPT = ("lock", "*.db", "*.db-wal", "*.db-shm", "*.json")  # in the state directory, by the agent
_MOVE = "put it into /etc/masthead, and give that place in the configuration"


@dataclass(frozen=True, slots=True)
class User:
    """Somebody, as the kernel judges access. ``groups``: ids of all of them."""

    name: str
    uid: int
    groups: frozenset[int]

    def may(self, path: Path, mode: int) -> bool:
        """Whether ``mode`` (of _READ, _WRITE, _ENTER) is allowed on ``path``. Raises OSError.

        The kernel is asked for this process's own user, mode bits are read for others.
        """
        found = path.stat()
        if self.uid == 0:
            return True
        if self.uid == os.geteuid():
            return os.access(path, mode)
        shift = 6 if found.st_uid == self.uid else 3 if found.st_gid in self.groups else 0
        return (found.st_mode >> shift) & mode == mode

    def reaches(self, path: Path) -> bool:
        """Whether every directory above ``path`` lets this user in. Raises OSError."""
        return all(self.may(parent, _ENTER) for parent in path.absolute().parents)


def findings(config: Config) -> Iterator[Finding]:
    """The configuration, the pins and buses that it uses, and the file of the credential."""
    user = service_user() or this_user()
    wrong: list[Finding] = []
    if config.path is not None:
        wrong += _file(user, config.path, _READ, "sudo chgrp {user} {path} && sudo chmod 640 {path}")
    if config.device.ca_file is not None:
        wrong += _file(user, Path(config.device.ca_file).expanduser(), _READ, "sudo chmod 644 {path}")
    for node, group in _nodes(config):
        wrong += _file(user, node, _READ | _WRITE, f"sudo usermod -aG {group} {{user}}, and start again")
    wrong += _credential(config, user)
    wrong += _state(config, user)
    yield from wrong
    if not wrong:
        yield Finding("permissions", "ok", f"user {user.name} may use all that the configuration names")


def service_user() -> User | None:
    """The user that the unit runs as, with the groups that the unit adds; None where there is none."""
    try:
        import grp
        import pwd

        found = pwd.getpwnam(SERVICE_USER)
    except (ImportError, KeyError):
        return None
    groups = set(os.getgrouplist(found.pw_name, found.pw_gid))
    for name in ("gpio", "i2c"):  # SupplementaryGroups= of deploy/masthead.service
        try:
            groups.add(grp.getgrnam(name).gr_gid)
        except KeyError:
            continue
    return User(found.pw_name, found.pw_uid, frozenset(groups))


def this_user() -> User:
    """The user of this process."""
    return User(
        os.environ.get("USER", f"{os.geteuid()}"),
        os.geteuid(),
        frozenset({os.getegid(), *os.getgroups()}),
    )


def _file(user: User, path: Path, mode: int, remedy: str) -> Iterator[Finding]:
    """What keeps ``user`` from ``path``, if anything does."""
    path = path.absolute()
    try:
        there = user.reaches(path)
        if _is_home(path) and user.name == SERVICE_USER:
            yield Finding(
                "permissions", "failed", f"{path} is hidden from the service, as all homes are", _MOVE
            )
        elif not there:
            why = f"user {user.name} may not enter every directory above {path}"
            yield Finding("permissions", "failed", why, _MOVE)
        elif not user.may(path, mode):
            why = f"user {user.name} may not {'read' if mode == _READ else 'use'} {path}"
            yield Finding("permissions", "failed", why, remedy.format(user=user.name, path=path))
    except PermissionError:
        yield Finding("permissions", "warning", f"{path} cannot be seen by this user: not looked at", None)
    except OSError:
        return  # it is missing, and the check of what needs it says so


def _is_home(path: Path) -> bool:
    """Whether ProtectHome= of deploy/masthead.service hides it (systemd.exec(5))."""
    return any(path.is_relative_to(home) for home in ("/home", "/root", "/run/user"))


def _nodes(config: Config) -> Iterator[tuple[Path, str]]:
    """(device node, its group) of every pin and bus in the configuration."""
    every: list[Any] = [sensor.settings for sensor in config.sensors]
    every += [sensor.vane.settings for sensor in config.sensors if sensor.vane is not None]
    every += [actuator.settings for actuator in config.actuators]
    seen = set()
    for settings in every:
        if hasattr(settings, "pin") and gpio.given_factory() is None:
            chip = getattr(settings, "chip", None)
            chips = [c.path for c in gpio.chips()] if chip is None else [str(gpio.DEV / Path(chip).name)]
            seen |= {(Path(path), "gpio") for path in chips}
        if isinstance(bus := getattr(settings, "bus", None), int):
            seen.add((board.DEV / f"i2c-{bus}", "i2c"))
    yield from sorted(seen)


def _credential(config: Config, user: User) -> Iterator[Finding]:
    """The file with the connection string is the service's alone; what is in it is not looked at."""
    if config.device.connection_string_file is None:
        return
    path = Path(config.device.connection_string_file).expanduser()
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return  # the check of the credential says so
    if mode & 0o077:
        yield Finding("permissions", "failed", f"{path} can be read by others", f"chmod 600 {path}")
    else:
        yield from _file(user, path, _READ, "sudo chown {user} {path}")


def _state(config: Config, user: User) -> Iterator[Finding]:
    """What another user's agent left, such as root's, shuts the service out."""
    directory = config.state_directory
    kept = [directory, *(path for kind in _KEPT for path in directory.glob(kind))]
    for path in kept if user.uid != os.geteuid() else []:
        try:
            if user.may(path, _READ | _WRITE):
                continue
        except OSError:
            continue  # not there yet, or not to be seen, and the check of the state says so
        text = f"user {user.name} may not use {path}"
        yield Finding("permissions", "failed", text, f"sudo chown -R {user.name}: {directory}")
        return
