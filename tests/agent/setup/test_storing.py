"""Files that setup puts in place, whole or not at all, and where the connection string goes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from agent.setup import credential
from agent.setup.places import Places, SetupError, back_up, put, remove

SECRET = "HostName=h;DeviceId=mast-1;SharedAccessKey=c2VjcmV0"
FAKE = """#!/bin/sh
echo "$0 $*" >>{notes}
env >>{notes}
case "$1" in
encrypt) {encrypt} ;;
decrypt) {decrypt} ;;
esac
"""


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "root")


def systemd_creds(
    folder: Path, monkeypatch: pytest.MonkeyPatch, encrypt: str = "base64", decrypt: str = "base64 -d"
) -> Path:
    """A systemd-creds of our own on the path; the file of what it was called with."""
    program, notes = folder / "bin" / "systemd-creds", folder / "notes"
    program.parent.mkdir()
    program.write_text(FAKE.format(notes=notes, encrypt=encrypt, decrypt=decrypt))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    return notes


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_with_systemd_creds_it_is_encrypted(
    tmp_path: Path, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unit is told where; no plain copy stays, and the secret is in nobody's arguments or environment."""
    notes = systemd_creds(tmp_path, monkeypatch)
    put(places.plain, "an older one", 0o600)
    said = credential.store(SECRET, places)
    assert said == f"{places.encrypted}, encrypted"
    assert not places.plain.exists()
    assert "c2VjcmV0" not in places.encrypted.read_text()
    assert (mode(places.encrypted), mode(places.encrypted.parent)) == (0o600, 0o700)
    assert places.drop_in.read_text().splitlines()[-3:] == [
        "[Service]",
        "LoadCredential=",
        f"LoadCredentialEncrypted=connection-string:{places.encrypted}",
    ]
    assert credential.stored(places) == str(places.encrypted)
    assert "c2VjcmV0" not in notes.read_text()


@pytest.mark.parametrize(
    ("encrypt", "decrypt"),
    [("exit 1", "exit 1"), ("base64", "exit 1"), ("base64", "echo other"), ("true", "true")],
)
def test_where_it_does_not_serve_it_is_for_root_alone(
    tmp_path: Path, places: Places, monkeypatch: pytest.MonkeyPatch, encrypt: str, decrypt: str
) -> None:
    """What cannot be read again is not believed; an earlier drop-in would keep the unit from starting."""
    systemd_creds(tmp_path, monkeypatch, encrypt, decrypt)
    put(places.drop_in, "[Service]\n", 0o644)
    put(places.encrypted, "older", 0o600)
    said = credential.store(SECRET, places)
    assert "systemd-creds does not serve here" in said
    assert places.plain.read_text() == f"{SECRET}\n"
    assert (mode(places.plain), mode(places.plain.parent)) == (0o600, 0o700)
    assert not places.drop_in.exists()
    assert not places.encrypted.exists()
    assert credential.stored(places) == str(places.plain)


def test_without_the_program_it_is_for_root_alone(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a system older than it."""
    monkeypatch.setenv("PATH", "/nowhere")
    assert credential.stored(places) is None
    credential.store(SECRET, places)
    assert places.plain.exists()


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever comes in between leaves what was there, and nothing beside it."""
    path = tmp_path / "file"
    put(path, "before", 0o640)
    assert mode(path) == 0o640

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        put(path, "after", 0o600)
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_link_stays_one(tmp_path: Path) -> None:
    """A configuration that its owner keeps elsewhere is written where it is."""
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("before")
    link.symlink_to(real)
    put(link, "after", 0o600)
    assert link.is_symlink()
    assert real.read_text() == "after"


def test_a_copy_is_kept(tmp_path: Path) -> None:
    """Of what was there before."""
    path = tmp_path / "masthead.toml"
    put(path, "mine", 0o644)
    copy = back_up(path)
    put(path, "other", 0o644)
    assert (copy.name, copy.read_text()) == ("masthead.toml.before-setup", "mine")


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """With the reason."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="cannot be written"):
        put(tmp_path / "file" / "below", "text", 0o600)
    with pytest.raises(SetupError, match="cannot be removed"):
        remove(tmp_path)
    with pytest.raises(SetupError, match="cannot be written"):
        back_up(tmp_path / "missing")
    assert remove(tmp_path / "file")
    assert not remove(tmp_path / "file")
