"""One machine for all the tests here, with one mast in it: see machine.py and mast.py."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from .hub import HubBeside
from .machine import PLACE, Machine
from .mast import CONFIG_TEXT, Mast, build_wheel

_figures: list[str] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was measured is printed after all the tests."""
    for line in _figures:
        terminalreporter.write_line(line)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`make test` leaves them out; `make test-vm` makes the machines and runs them.

    Those of the bare machine come first, so that one machine at a time runs.
    """
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.vm)
    items.sort(key=lambda item: "bare" not in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """The machine, booted."""
    if not (PLACE / "key").exists() or shutil.which("qemu-system-x86_64") is None:
        assert os.environ.get("CI") != "true", "there is no virtual machine: run make test-vm"
        pytest.skip("there is no virtual machine yet: make test-vm makes it")
    machine = Machine()
    try:
        machine.boot()
        yield machine
    finally:
        machine.close()


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future[Path]]:
    """masthead from the working tree, built while the machine boots."""
    with ThreadPoolExecutor(1) as builder:
        yield builder.submit(build_wheel, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def installed(wheel: Future[Path], machine: Machine) -> Iterator[Mast]:
    """A mast in the machine, its agent installed."""
    mast = Mast(machine, CONFIG_TEXT)
    mast.install(wheel.result())
    yield mast
    mast.close()


@pytest.fixture
def mast(installed: Mast) -> Mast:
    """The mast with its agent running."""
    if installed.unit("ActiveState") != "active":
        installed.start()
    return installed


@pytest.fixture
def figure() -> Callable[[str], None]:
    """Takes a line to print after all the tests."""
    return _figures.append


@pytest.fixture(scope="module")
def hub(bare: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubBeside]:
    """A hub that the machine of the module's own, ``bare``, reaches."""
    with HubBeside(tmp_path_factory.mktemp("hub")) as hub:
        hub.reachable(bare)
        yield hub
