"""Whether what is measured can be stored, on real file systems."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.checks import storage
from agent.checks.finding import Finding
from agent.config import load


@pytest.fixture
def card(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB of its own."""
    place = tmp_path / "card"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def findings(directory: Path, tmp_path: Path, min_free: int = 0) -> dict[str, Finding]:
    path = tmp_path / "masthead.toml"
    path.write_text(
        f'[device]\nstate_directory = "{directory}"\n[outbox]\nmin_free_bytes = {min_free}\n'
        '[[sensor]]\nid = "top"\n'
    )
    return {finding.name: finding for finding in storage.findings(load(path))}


def test_a_directory_that_takes_files(tmp_path: Path) -> None:
    """It is tried, and nothing stays."""
    state = tmp_path / "state"
    state.mkdir()
    assert {f.state for f in findings(state, tmp_path).values()} == {"ok"}
    assert list(state.iterdir()) == []


def test_a_read_only_card(tmp_path: Path, card: Path) -> None:
    """Said as such, though root may do everything."""
    subprocess.run(["mount", "-o", "remount,ro", str(card)], check=True)
    found = findings(card, tmp_path)["state"]
    assert found.state == "failed"
    assert "read-only file system" in found.text
    assert "remount,rw" in str(found.remedy)


def test_a_full_card(tmp_path: Path, card: Path) -> None:
    """It takes no file, and there is no room."""
    with contextlib.suppress(OSError), (card / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * 4096)
    found = findings(card, tmp_path, min_free=65536)
    assert found["state"].text.endswith("takes no file (No space left on device)")
    assert found["disk"].state == "failed"
    assert "make room" in str(found["disk"])


def test_stores_that_were_set_aside_are_told(tmp_path: Path) -> None:
    """A card that damages stores may be at its end."""
    (tmp_path / "outbox-damaged-1.db").touch()
    found = findings(tmp_path, tmp_path)["damaged"]
    assert found.state == "warning"
    assert "outbox-damaged-1.db" in found.text
