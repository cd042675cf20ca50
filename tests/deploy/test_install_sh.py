"""deploy/install.sh: what it would do, and what it refuses. Nothing is installed here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .packaging import ROOT

SCRIPT = ROOT / "deploy" / "install.sh"
# what it looks for of Debian and systemd
PROGRAMS = ("apt-get", "dpkg-query", "systemctl", "systemd-sysusers", "udevadm")
PURGED = (
    "/etc/masthead",
    "/var/lib/masthead",
    "/etc/systemd/system/masthead.service.d/credential.conf",
    "/etc/credstore/masthead.connection-string",
    "/etc/credstore.encrypted/masthead.connection-string",
)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder of programs in the place of Debian's, each of which only tells how it was called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in (*PROGRAMS, "apt-cache"):
        _program(folder / name, f"echo {name} >>{tmp_path}/called; exit {int(name == 'dpkg-query')}")
    for name in ("bash", "cat", "cut", "cp", "dirname", "grep", "id", "install", "mktemp", "rm", "sed"):
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    return folder


def _program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def _run(machine: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(machine / "bash"), str(SCRIPT), *words],
        env={**os.environ, "PATH": str(machine)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_it_is_sound() -> None:
    """shellcheck has nothing to say."""
    if shutil.which("shellcheck") is None:
        assert os.environ.get("CI") != "true", "shellcheck is missing"
        pytest.skip("no shellcheck")
    said = subprocess.run(["shellcheck", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (0, "")


def test_a_dry_run_names_every_step_and_does_none(machine: Path) -> None:
    """From Debian's packages to the service; what would change anything is not called."""
    done = _run(machine, "--dry-run")
    assert done.returncode == 0, done.stderr
    steps = re.findall(r"^• (.*)$", done.stdout, re.M)
    assert len(steps) == 6
    for path in ("/opt/masthead", "/etc/masthead/masthead.toml", "/etc/systemd/system/masthead.service"):
        assert path in done.stdout
    called = (machine.parent / "called").read_text()
    assert set(called.split()) == {"dpkg-query", "apt-cache"}


@pytest.mark.parametrize("words", [(), ("--purge",)])
def test_taking_it_away_leaves_what_a_person_made_unless_told(machine: Path, words: tuple[str, ...]) -> None:
    """Configuration, credential and data go with --purge alone."""
    done = _run(machine, "--dry-run", "--uninstall", *words)
    assert done.returncode == 0, done.stderr
    removed = {word for line in re.findall(r"^ +rm .*$", done.stdout, re.M) for word in line.split()}
    assert "/opt/masthead" in removed
    assert (set(PURGED) <= removed) is bool(words)
    assert bool(removed & set(PURGED)) is bool(words)


@pytest.mark.parametrize("missing", PROGRAMS)
def test_another_system_is_refused(machine: Path, missing: str) -> None:
    """Without apt or systemd it says what this takes, in one line."""
    (machine / missing).unlink()
    done = _run(machine, "--dry-run")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"there is no {missing}: this takes Debian" in done.stderr


def test_a_machine_with_the_package_is_refused(machine: Path) -> None:
    """Two of them would share one configuration and one service."""
    _program(machine / "dpkg-query", "echo installed")
    done = _run(machine, "--dry-run")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "sudo apt remove masthead" in done.stderr


def test_who_is_not_root_is_refused(machine: Path) -> None:
    """With the words that help."""
    (machine / "id").unlink()
    _program(machine / "id", "echo 1000")
    done = _run(machine)
    assert (done.returncode, done.stdout) == (1, "")
    assert "sudo deploy/install.sh" in done.stderr


@pytest.mark.parametrize("words", [("--frobnicate",), ("--purge",)])
def test_wrong_usage_does_nothing(machine: Path, words: tuple[str, ...]) -> None:
    """An option that it does not know, and --purge where nothing is uninstalled."""
    done = _run(machine, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


def test_help_has_every_option_and_an_example(machine: Path) -> None:
    """--help works anywhere."""
    said = _run(machine, "--help").stdout
    assert all(option in said for option in ("--dry-run", "--uninstall", "--purge", "Example:"))


def test_it_removes_what_the_packages_purge_removes() -> None:
    """One list of what belongs to a person, in two scripts."""
    purge = (ROOT / "deploy" / "debian" / "postrm").read_text().partition('"$1" = purge ]; then')[2]
    assert all(path in purge for path in PURGED)
