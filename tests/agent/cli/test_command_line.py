"""What holds for every command: help, exit codes, errors in one line, ends without a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agent import __version__
from agent.cli import _COMMANDS

from .conftest import Masthead

PROGRAM = [sys.executable, "-c", "from agent.cli import main; main()"]


def test_without_a_command_the_help_is_shown(masthead: Masthead) -> None:
    """All commands with a line each; that is wrong usage, for a script."""
    result = masthead()
    assert result.code == 2
    assert all(f"  {name} " in result.out for name in _COMMANDS)
    assert result.err == ""


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_is_no_error(masthead: Masthead, option: str) -> None:
    """Exit 0, and an example to type."""
    result = masthead(option)
    assert (result.code, "Example:\n    masthead demo" in result.out) == (0, True)


@pytest.mark.parametrize("command", _COMMANDS)
def test_every_command_has_help_with_an_example(masthead: Masthead, command: str) -> None:
    """The example begins with the command itself."""
    result = masthead(command, "--help")
    assert result.code == 0
    assert f"Example:\n    masthead {command}" in result.out


def test_version(masthead: Masthead) -> None:
    """As the package says."""
    assert masthead("--version").out == f"masthead, version {__version__}\n"


@pytest.mark.parametrize(
    ("word", "hint"), [("stauts", ", did you mean 'status'?"), ("xyz", " (known: actuate, bundle, ")]
)
def test_an_unknown_command_is_wrong_usage(masthead: Masthead, word: str, hint: str) -> None:
    """With the likely one, or all of them."""
    result = masthead(word)
    assert result.code == 2
    assert f"no such command '{word}'{hint}" in result.err


def test_an_unknown_option_is_wrong_usage(masthead: Masthead) -> None:
    """As click says it."""
    assert masthead("status", "--jsno").code == 2


def test_an_error_is_one_line(masthead: Masthead, tmp_path: Path) -> None:
    """Exit 1, nothing on standard output, no traceback."""
    result = masthead("status", "--config", tmp_path / "none.toml")
    assert (result.code, result.out) == (1, "")
    assert result.err == f"Error: {tmp_path / 'none.toml'}: no such configuration file\n"


@pytest.mark.parametrize("before", [True, False])
def test_debug_shows_where(
    masthead: Masthead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    """Before or after the command."""
    words = ["status", "--config", str(tmp_path / "none.toml")]
    words.insert(0 if before else 1, "--debug")
    monkeypatch.setattr(sys, "argv", ["masthead", *words])
    from agent.cli import main
    from agent.config import ConfigError

    with pytest.raises(ConfigError):
        main()


def test_an_unforeseen_error_is_one_line_too(
    masthead: Masthead, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It names the kind, and how to see more."""

    def fails(path: Path | None) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr("agent.cli.device.load_config", fails)
    result = masthead("status")
    assert (result.code, result.err) == (1, "Error: RuntimeError: unforeseen  (--debug shows where)\n")
    monkeypatch.setattr(sys, "argv", ["masthead", "--debug", "status"])
    from agent.cli import main

    with pytest.raises(RuntimeError):
        main()


@pytest.mark.parametrize(("count", "code", "said"), [([], 0, ""), (["--count", "9"], 130, "\ninterrupted\n")])
def test_ctrl_c_ends_without_a_traceback(config: Path, count: list[str], code: int, said: str) -> None:
    """For what has no end of its own that is no failure; what was cut off says so."""
    process = subprocess.Popen(
        [*PROGRAM, "sample", "--every", "0.1" if not count else "30", "--config", str(config), *count],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # coverage holds a lock now and then, and for ever if it is interrupted there
        env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")},
    )  # fmt: skip
    assert process.stdout is not None
    assert "m/s" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (code, said)


def test_a_reader_that_has_had_enough_ends_it_silently(config: Path) -> None:
    """As `| head -1` does."""
    process = subprocess.Popen(
        [*PROGRAM, "sample", "--every", "0.1", "--config", str(config)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(60) == 1
