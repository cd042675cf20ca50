"""The exit program: it drives what the agent's file says, nothing else, whatever else is broken."""

from __future__ import annotations

import ast
import ctypes
import errno
import fcntl
import os
import subprocess
import sys
import time
import types
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import pytest

from agent.safe_file import HEADER, SafeFile
from hw.actuator import SafeLine

PROGRAM = Path(__file__).parents[2] / "deploy" / "safe-outputs"
_real_open = os.open


class Attribute(ctypes.Structure):
    """struct gpio_v2_line_config_attribute of linux/gpio.h."""

    _fields_ = (
        ("id", ctypes.c_uint32),
        ("padding", ctypes.c_uint32),
        ("values", ctypes.c_uint64),
        ("mask", ctypes.c_uint64),
    )


class Request(ctypes.Structure):
    """struct gpio_v2_line_request of linux/gpio.h, its config in place."""

    _fields_ = (
        ("offsets", ctypes.c_uint32 * 64),
        ("consumer", ctypes.c_char * 32),
        ("flags", ctypes.c_uint64),
        ("num_attrs", ctypes.c_uint32),
        ("config_padding", ctypes.c_uint32 * 5),
        ("attrs", Attribute * 10),
        ("num_lines", ctypes.c_uint32),
        ("event_buffer_size", ctypes.c_uint32),
        ("padding", ctypes.c_uint32 * 5),
        ("fd", ctypes.c_int32),
    )


@dataclass
class Kernel:
    """The gpiochips of a machine, behind os.open and ioctl. ``driven``: (chip, line, level) as requested."""

    dev: Path
    lines: dict[int, int] = field(default_factory=dict)
    busy: set[tuple[int, int]] = field(default_factory=set)
    driven: list[tuple[int, int, int]] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    _open: dict[int, int] = field(default_factory=dict)

    def open(self, path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        chip = str(path).removeprefix(f"{self.dev}/gpiochip")
        if not chip.isdigit() or int(chip) not in self.lines:
            return _real_open(path, flags, *args, **kwargs)
        fd = _real_open("/dev/null", flags)
        self._open[fd] = int(chip)
        return fd

    def ioctl(self, fd: int, request: int, argument: bytearray) -> int:
        assert request == (3 << 30) | (ctypes.sizeof(Request) << 16) | (0xB4 << 8) | 0x07  # _IOWR(0xB4, 7, …)
        asked = Request.from_buffer(argument)
        assert (asked.num_lines, asked.flags, asked.num_attrs) == (1, 1 << 3, 1)  # an output …
        assert (asked.attrs[0].id, asked.attrs[0].mask) == (2, 1)  # … with a value
        assert asked.consumer == b"masthead-safe"
        chip, line = self._open[fd], asked.offsets[0]
        if line >= self.lines[chip]:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if (chip, line) in self.busy:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        self.busy.add((chip, line))
        self.driven.append((chip, line, int(asked.attrs[0].values)))
        asked.fd = _real_open("/dev/null", os.O_RDONLY)
        self.held.append(asked.fd)
        return 0

    def sleep(self, seconds: float) -> None:
        """Every line is still held."""
        for fd in self.held:
            os.fstat(fd)
        self.slept.append(seconds)


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> types.ModuleType:
    """The program as a module, its chips in a folder of the test's own."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader = SourceFileLoader("safe_outputs", str(PROGRAM))
    module = types.ModuleType("safe_outputs")
    loader.exec_module(module)
    monkeypatch.setattr(module, "CHIPS", f"{tmp_path}/gpiochip", raising=True)
    return module


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    kernel = Kernel(tmp_path, {0: 54, 1: 8})
    monkeypatch.setattr(os, "open", kernel.open)
    monkeypatch.setattr(fcntl, "ioctl", kernel.ioctl)
    monkeypatch.setattr(time, "sleep", kernel.sleep)
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    yield kernel
    for fd in kernel.held:
        os.close(fd)


def written(folder: Path, *rows: str) -> str:
    """A file with these rows."""
    file = folder / "safe"
    file.write_text("\n".join([HEADER, *(row.replace("DEV", str(folder)) for row in rows), ""]))
    return str(file)


def test_what_the_agent_writes_is_driven(
    program: types.ModuleType, kernel: Kernel, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Both sides agree about the file: each line is an output at its safe level, held for a second."""
    chip = f"{tmp_path}/gpiochip"
    SafeFile(tmp_path).write(
        {
            "heater": [SafeLine(f"{chip}0", 23, True)],
            "brake": [SafeLine(f"{chip}0", 22, False), SafeLine(f"{chip}1", 7, True)],
        }
    )
    assert program.main([f"{tmp_path}/safe"]) == 0
    assert kernel.driven == [(0, 23, 1), (0, 22, 0), (1, 7, 1)]
    assert kernel.slept == [1.0]
    assert capfd.readouterr().err.splitlines() == [
        f"safe: heater: line 23 of {chip}0 is driven high",
        f"safe: brake: line 22 of {chip}0 is driven low",
        f"safe: brake: line 7 of {chip}1 is driven high",
    ]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            "DEV/gpiochip0 30 1 busy",
            "busy: line 30 of DEV/gpiochip0 is not driven high: Device or resource busy",
        ),
        ("DEV/gpiochip0 54 0 far", "far: line 54 of DEV/gpiochip0 is not driven low: Invalid argument"),
        ("DEV/gpiochip9 3 1 gone", "gone: line 3 of DEV/gpiochip9 is not driven high: No such file"),
        ("DEV/gpiochip7 3 1 file", "file: line 3 of DEV/gpiochip7 is not driven high: no character device"),
        ("DEV/gpiochip8 3 1 link", "link: line 3 of DEV/gpiochip8 is not driven high: Too many levels"),
        ("nonsense", "garbled line 'nonsense': expected chip, line, level and name"),
        ("DEV/gpiochip0 3 1", "expected chip, line, level and name"),
        ("/dev/null 3 1 heater", "'/dev/null' is no DEV/gpiochipN"),
        ("DEV/gpiochip 3 1 heater", "'DEV/gpiochip' is no DEV/gpiochipN"),
        ("DEV/gpiochip0/../gpiochip1 3 1 heater", "is no DEV/gpiochipN"),
        ("DEV/gpiochip0 -3 1 heater", "'-3' is no number of a line"),
        ("DEV/gpiochip0 ³ 1 heater", "'³' is no number of a line"),
        ("DEV/gpiochip0 4294967296 1 heater", "'4294967296' is no number of a line"),
        ("DEV/gpiochip0 3 2 heater", "level '2' is neither 0 nor 1"),
        ("\udcff\x00", "garbled line"),
    ],
)
def test_a_line_that_cannot_be_driven_keeps_no_other_from_it(
    program: types.ModuleType,
    kernel: Kernel,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    row: str,
    said: str,
) -> None:
    """Busy, missing, no chip or garbled: told in one line, the others are driven, the exit status is 1."""
    (tmp_path / "gpiochip7").touch()
    (tmp_path / "gpiochip8").symlink_to("gpiochip0")
    kernel.busy.add((0, 30))
    file = written(tmp_path, "DEV/gpiochip0 22 0 before", "ROW", "", "# a remark", "DEV/gpiochip0 23 1 after")
    text = Path(file).read_text().replace("ROW", row.replace("DEV", str(tmp_path)))
    Path(file).write_bytes(text.encode(errors="surrogateescape"))
    assert program.main([file]) == 1
    assert kernel.driven == [(0, 22, 0), (0, 23, 1)]
    assert kernel.slept == [1.0]
    *_, wrong = capfd.readouterr().err.splitlines()
    assert wrong.startswith("NOT SAFE: ")
    assert said.replace("DEV", str(tmp_path)) in wrong


@pytest.mark.parametrize("header", ["", "# masthead-safe 2: chip", "/dev/gpiochip0 22 0 beacon"])
def test_a_file_of_another_version_is_not_guessed_at(
    program: types.ModuleType,
    kernel: Kernel,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    header: str,
) -> None:
    """Nothing is driven, and that is told."""
    file = tmp_path / "safe"
    file.write_text(f"{header}\n{tmp_path}/gpiochip0 23 1 heater\n")
    assert program.main([str(file)]) == 1
    assert kernel.driven == []
    assert "expected a file that begins with '# masthead-safe 1:'" in capfd.readouterr().err


def test_no_file_is_nothing_to_do(
    program: types.ModuleType,
    kernel: Kernel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """An agent without outputs leaves none, or an empty one: silence, at once, and success."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{tmp_path}:/elsewhere")
    assert program.main([]) == 0
    SafeFile(tmp_path).write({})
    assert program.main([]) == 0
    assert kernel.slept == []
    assert capfd.readouterr() == ("", "")


def test_a_file_that_cannot_be_read_is_told(
    program: types.ModuleType, kernel: Kernel, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With the reason."""
    assert program.main([str(tmp_path)]) == 1
    assert "cannot be read (Is a directory): nothing is driven" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "hold_s"),
    [(["--hold", "0.5"], 0.5), (["--hold=20"], 20.0), (["--hold", "0"], 0.0), ([], 1.0)],
)
def test_the_lines_are_held_as_long_as_asked(
    program: types.ModuleType,
    kernel: Kernel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    hold_s: float,
) -> None:
    """The file is $RUNTIME_DIRECTORY's if none is named."""
    written(tmp_path, "DEV/gpiochip0 22 0 beacon")
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    assert program.main(arguments) == 0
    assert kernel.slept == [hold_s]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a", "b"],
        ["--hold"],
        ["--hold", "x", "a"],
        ["--hold", "nan", "a"],
        ["--hold", "-1", "a"],
        ["--all", "a"],
    ],
)
def test_wrong_usage_drives_nothing(
    program: types.ModuleType,
    kernel: Kernel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
) -> None:
    """Exit status 2, and a line that says what is wrong."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "DEV/gpiochip0 22 0 beacon")
    (tmp_path / "safe").rename(tmp_path / "a")
    assert program.main(arguments) == 2
    assert kernel.driven == []
    said = capfd.readouterr().err
    assert said.startswith("safe-outputs: ")
    assert len(said.splitlines()) == 1


def test_a_closed_standard_error_is_no_reason_to_stop(
    program: types.ModuleType, kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log may be what is broken."""

    def fail(*_: object) -> int:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "write", fail)
    assert program.main([written(tmp_path, "DEV/gpiochip0 22 0 a", "DEV/gpiochip0 23 0 b")]) == 0
    assert kernel.driven == [(0, 22, 0), (0, 23, 0)]


def test_it_needs_nothing_but_the_standard_library(tmp_path: Path) -> None:
    """Not masthead, nor an environment: it runs on the system's Python alone, with a handful of modules."""
    imported = {
        alias.name
        for node in ast.walk(ast.parse(PROGRAM.read_text()))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    froms = {
        node.module for node in ast.walk(ast.parse(PROGRAM.read_text())) if isinstance(node, ast.ImportFrom)
    }
    assert imported | froms == {"__future__", "fcntl", "os", "stat", "struct", "sys", "time"}
    copy = tmp_path / "safe-outputs"
    copy.write_bytes(PROGRAM.read_bytes())
    (tmp_path / "safe").write_text(f"{HEADER}\n/dev/gpiochip99999 3 1 heater\n")
    command = [sys.executable, "-I", "-S", str(copy), str(tmp_path / "safe")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env={})
    assert done.returncode == 1
    assert done.stderr == (
        "NOT SAFE: heater: line 3 of /dev/gpiochip99999 is not driven high: No such file or directory\n"
    )


def test_help_has_an_example() -> None:
    """As every command's."""
    command = [sys.executable, "-I", "-S", str(PROGRAM), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "Example:\n  safe-outputs --hold 10 /run/masthead/safe\n" in done.stdout
