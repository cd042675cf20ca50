"""The command line as a person calls it, in this process where that is the same."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.cli import main
from agent.config import load
from agent.daemon import Daemon
from hw import board

CONFIG = """\
[device]
state_directory = "{state}"

[[sensor]]
id = "top"
seed = 1

[actuators.beacon]
driver = "simulated"

[actuators.vent]
driver = "simulated"
safe = 0.0
minimum = -10
maximum = 90
"""


@dataclass(frozen=True)
class Result:
    code: object
    out: str
    err: str


Masthead = Callable[..., Result]


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A desktop without credentials or configuration, and a short path for sockets."""
    monkeypatch.setattr(board, "DEVICE_TREE", tmp_path / "no-device-tree")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (
        "IOTHUB_DEVICE_CONNECTION_STRING", "IOTHUB_CONNECTION_STRING", "CREDENTIALS_DIRECTORY",
        "MASTHEAD_CA_FILE", "MASTHEAD_CONFIG", "MASTHEAD_HTTPS_PORT",
        "RUNTIME_DIRECTORY", "STATE_DIRECTORY", "NOTIFY_SOCKET",
    ):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    with tempfile.TemporaryDirectory(prefix="run-") as runtime:
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        yield


@pytest.fixture
def masthead(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Masthead:
    """Call it with arguments: exit code, standard output, standard error."""

    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["masthead", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        return Result(left.value.code, captured.out, captured.err)

    return call


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration for this test alone."""
    path = tmp_path / "masthead.toml"
    path.write_text(CONFIG.format(state=tmp_path / "state"))
    return path


@pytest.fixture
def daemon(config: Path) -> Iterator[Daemon]:
    """A running agent on that configuration."""
    daemon = Daemon(load(config))
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.shut_down()
