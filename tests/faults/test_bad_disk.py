"""The whole agent on a disk that is read-only from the start, or fills up while it runs."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Mast, running_hub, wait_for


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_read_only_card_from_the_start(tmp_path: Path, disk: Path) -> None:
    """The agent runs, samples, sends from memory and says that nothing is durable; stops cleanly."""
    (disk / "state").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with running_hub(tmp_path) as hub:
        mast = Mast(tmp_path, hub.connection_string, hub.ready["ca_file"])
        mast.config.write_text(mast.config.read_text().replace(f'"{mast.state}"', f'"{disk / "state"}"'))
        with mast.run() as agent:
            wait_for(lambda: len(hub.object_ids()) >= 6, "readings from memory")
            assert agent.end() == 0, agent.err
        bodies = hub.bodies()
        assert {"storage-lost", "journal-lost"} <= {b.get("event") for b in bodies}
        assert all(b["durable"] is False for b in bodies if "windSpeed" in b)
        assert "Traceback" not in agent.err


def fill(disk: Path) -> None:
    """Write until there is no room."""
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * 4096)


def test_a_card_that_fills_up(tmp_path: Path, disk: Path) -> None:
    """Readings go on from memory while the card is full, and everything is in the hub in the end."""
    with running_hub(tmp_path) as hub:
        mast = Mast(tmp_path, hub.connection_string, hub.ready["ca_file"])
        mast.config.write_text(mast.config.read_text().replace(f'"{mast.state}"', f'"{disk / "state"}"'))
        mast.state = disk / "state"
        with mast.run() as agent:
            wait_for(mast.settled, "the first connection")
            fill(disk)
            status = wait_for(lambda: (s := mast.status()) and s["outbox"]["degraded"] and s, "the failure")
            confirmed = status["outbox"]["confirmed"]
            later = wait_for(
                lambda: (s := mast.status()) and s["outbox"]["confirmed"] >= confirmed + 4 and s,
                "more readings",
            )
            assert later["link"]["state"] == "up"
            assert agent.end() == 0, agent.err
        assert agent.err.count("readings are held in memory") == 1
        assert "storage-lost" in json.dumps(hub.bodies())
        ids = [tuple(object_id.split("-")) for object_id in hub.object_ids()]
        sequences = sorted({int(sequence) for _, sequence in ids})
        assert sequences == list(range(1, len(sequences) + 1))
