"""`masthead bundle`: the file is named, and so is what is in it."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from .conftest import Masthead

KEY = "c2VjcmV0IGtleSBvZiB0aGlzIGRldmljZSwgMzIgYnl0ZXM="


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for the file; no programs of the system are asked, and no hub."""
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    monkeypatch.setenv(
        "IOTHUB_DEVICE_CONNECTION_STRING", f"HostName=127.9.9.9;DeviceId=mast-1;SharedAccessKey={KEY}"
    )
    folder = tmp_path / "out"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_it_has_a_name_of_its_own(masthead: Masthead, config: Path, here: Path) -> None:
    """With the date; what is in it is listed, and the person is asked to look it through."""
    result = masthead("bundle", "--config", config)
    assert result.code == 0, result.err
    (path,) = here.iterdir()
    assert str(path) in result.out
    assert "look it through" in result.out
    with tarfile.open(path) as archive:
        names = archive.getnames()
    assert {Path(name).parts[0] for name in names} == {path.name.removesuffix(".tar.gz")}
    assert all(Path(name).name in result.out for name in names)


def test_the_key_of_this_device_is_nowhere(masthead: Masthead, config: Path, here: Path) -> None:
    """Though the checks in it were made with it."""
    assert masthead("bundle", "help.tar.gz", "--config", config).code == 0
    with tarfile.open(here / "help.tar.gz") as archive:
        texts = [file.read() for member in archive if (file := archive.extractfile(member)) is not None]
    assert any(b"device mast-1 at 127.9.9.9" in text for text in texts)
    assert not any(KEY[:8].encode() in text for text in texts)


def test_a_file_that_is_there_stays(masthead: Masthead, config: Path, here: Path) -> None:
    """Another name is asked for."""
    (here / "help.tar.gz").write_text("mine")
    result = masthead("bundle", "help.tar.gz", "--config", config)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("Error: help.tar.gz cannot be written: ")
    assert "give another FILE" in result.err
    assert (here / "help.tar.gz").read_text() == "mine"


def test_without_a_configuration_it_says_where_one_belongs(masthead: Masthead, tmp_path: Path) -> None:
    """As every command does."""
    result = masthead("bundle", "--config", tmp_path / "none.toml")
    assert result.code == 1
    assert "no such configuration file" in result.err
