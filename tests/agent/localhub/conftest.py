"""A running hub for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.localhub.hub import LocalHub
from agent.localhub.thread import HubThread


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    """A hub on a port of its own, with the device mast-1."""
    thread = HubThread(LocalHub(tmp_path / "hub", "127.0.0.1", port=0))
    thread.start()
    try:
        thread.hub.ensure_device("mast-1")
        yield thread.hub
    finally:
        thread.stop()
