"""Whether the service's user may use what the configuration names, by owners and mode bits."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.checks import permissions
from agent.checks.finding import Finding
from agent.checks.permissions import User
from agent.config import load
from hw import board, gpio

STRANGER = User("masthead", 4_000_000_000, frozenset({4_000_000_000}))
CONFIG = """\
[[sensor]]
id = "top"
driver = "sdp"
[actuators.heater]
driver = "relay"
pin = 23
chip = "gpiochip0"
"""


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A bus and a chip that all may use, in a directory that all may enter."""
    monkeypatch.setattr(permissions, "service_user", lambda: STRANGER)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        monkeypatch.setenv("STATE_DIRECTORY", str(place / "none"))
        for node in (place / "i2c-1", place / "gpiochip0"):
            node.touch()
            node.chmod(0o666)
        monkeypatch.setattr(board, "DEV", place)
        monkeypatch.setattr(gpio, "DEV", place)
        path = place / "masthead.toml"
        path.write_text(CONFIG)
        path.chmod(0o644)
        yield path


def findings(path: Path) -> list[Finding]:
    return list(permissions.findings(load(path)))


def test_all_is_allowed(config: Path) -> None:
    """One line, with the user that was meant."""
    (found,) = findings(config)
    assert (found.state, found.text) == ("ok", "user masthead may use all that the configuration names")


@pytest.mark.parametrize(
    ("name", "mode", "remedy"),
    [
        ("i2c-1", 0o660, "sudo usermod -aG i2c masthead"),
        ("gpiochip0", 0o664, "sudo usermod -aG gpio masthead"),
        (
            "masthead.toml",
            0o600,
            "sudo chgrp masthead {place}/masthead.toml && sudo chmod 640 {place}/masthead.toml",
        ),
    ],
)
def test_what_the_service_may_not_use_is_named(config: Path, name: str, mode: int, remedy: str) -> None:
    """A bus, a chip, the configuration itself: each with what to type."""
    (config.parent / name).chmod(mode)
    (found,) = findings(config)
    assert found.state == "failed"
    assert str(config.parent / name) in found.text
    assert found.remedy is not None
    assert remedy.format(place=config.parent) in found.remedy


def test_a_directory_on_the_way_counts(config: Path) -> None:
    """A file that all may read in a directory that nobody may enter is read by nobody: opening the file does
    not help."""
    config.parent.chmod(0o700)
    found = findings(config)
    assert {finding.state for finding in found} == {"failed"}
    assert "may not enter" in found[0].text
    assert found[0].remedy is not None
    assert "/etc/masthead" in found[0].remedy


def test_homes_are_hidden_from_the_service(config: Path) -> None:
    """Whatever the bits say: the unit has ProtectHome=."""
    config.write_text(f'[device]\nca_file = "/root"\n{CONFIG}')
    found = findings(config)[0]
    assert (found.state, "hidden from the service" in found.text) == ("failed", True)


@pytest.mark.skipif(os.geteuid() != 0, reason="its own user is not judged by the bits")
def test_what_another_users_agent_left(config: Path) -> None:
    """Its lock and stores shut the service out, and the way out is one line; a file system's own folder, or a
    link that leads nowhere, does not."""
    state = config.parent / "state"
    state.mkdir()
    state.chmod(0o777)
    (state / "lost+found").mkdir(mode=0o700)
    (state / "control.json").symlink_to("nowhere")
    config.write_text(f'[device]\nstate_directory = "{state}"\n{CONFIG}')
    assert [found.state for found in findings(config)] == ["ok"]
    (state / "outbox.db").touch(mode=0o644)
    (found,) = findings(config)
    assert (found.state, found.text) == ("failed", f"user masthead may not use {state}/outbox.db")
    assert found.remedy == f"sudo chown -R masthead: {state}"


@pytest.mark.skipif(os.geteuid() != 0, reason="its own user is not judged by the bits")
def test_a_credential_that_the_service_cannot_read(config: Path) -> None:
    """Root reads it, and the agent would not."""
    secret = config.parent / "connection-string"
    secret.touch(mode=0o600)
    config.write_text(f'[device]\nconnection_string_file = "{secret}"\n{CONFIG}')
    (found,) = findings(config)
    assert (found.state, found.remedy) == ("failed", f"sudo chown masthead {secret}")


def test_groups_count(config: Path) -> None:
    """Those of the user, and only where the owner's bits do not."""
    node = config.parent / "i2c-1"
    node.chmod(0o060)
    found = node.stat()
    assert User("m", 4_000_000_000, frozenset({found.st_gid})).may(node, 6)
    assert not User("m", max(found.st_uid, 1), frozenset()).may(node, 6)


def test_root_may_all(config: Path) -> None:
    """Whatever the bits say."""
    config.chmod(0o000)
    assert User("root", 0, frozenset()).may(config, 6)


def test_a_credential_that_others_can_read(config: Path) -> None:
    """Is told, without a look into it."""
    secret = config.parent / "connection-string"
    secret.write_text("SharedAccessKey=c2VjcmV0")
    secret.chmod(0o644)
    config.write_text(f'[device]\nconnection_string_file = "{secret}"\n{CONFIG}')
    found = findings(config)[-1]
    assert (found.state, found.remedy) == ("failed", f"chmod 600 {secret}")
    assert "c2VjcmV0" not in str(found)


def test_somebody_is_this_user(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no user for the service; the kernel is asked, which knows access lists too."""
    user = permissions.this_user()
    assert user.may(config, 4)
    stranger = User("me", 4_000_000_000, frozenset())
    monkeypatch.setattr(permissions.os, "geteuid", lambda: stranger.uid)
    config.chmod(0o000)
    monkeypatch.setattr(permissions.os, "access", lambda path, mode: mode == 4)
    assert stranger.may(config, 4)
    assert not stranger.may(config, 6)


def test_the_user_of_the_service_has_the_groups_of_the_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by its name; none where there is no such user."""
    monkeypatch.setattr(permissions, "SERVICE_USER", "root")
    user = permissions.service_user()
    assert user is not None
    assert (user.uid, 0 in user.groups) == (0, True)
    monkeypatch.setattr(permissions, "SERVICE_USER", "nobody-of-that-name")
    assert permissions.service_user() is None
