"""The whole agent on a disk that is read-only from the start, or fills up while it runs."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.outbox import Outbox
from agent.reading import Entry
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


def test_what_a_read_only_card_holds_is_sent(tmp_path: Path, disk: Path) -> None:
    """A backlog that was stored before the card became read-only reaches the hub, in memory's company."""
    state = disk / "state"
    state.mkdir()
    stored = Outbox(state / "outbox.db", run="0badcafe", boot_id="boot", max_bytes=1 << 20)
    rows = stored.append([Entry("reading", float(n), {"n": n}) for n in range(20)])
    stored.close()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with running_hub(tmp_path) as hub:
        mast = Mast(tmp_path, hub.connection_string, hub.ready["ca_file"])
        mast.config.write_text(mast.config.read_text().replace(f'"{mast.state}"', f'"{state}"'))
        with mast.run() as agent:
            expected = {row.object_id for row in rows}
            wait_for(lambda: expected <= set(hub.object_ids()), "the backlog")
            wait_for(lambda: len(hub.object_ids()) >= len(rows) + 4, "new readings")
            assert agent.end() == 0, agent.err
        assert len(hub.object_ids()) == len(set(hub.object_ids()))
        assert agent.err.count("readings are held in memory") == 1
        assert "Traceback" not in agent.err


def test_a_damaged_store_costs_what_was_in_it_and_no_more(tmp_path: Path) -> None:
    """It is set aside and told; the agent runs on with a new one."""
    with running_hub(tmp_path) as hub:
        mast = Mast(tmp_path, hub.connection_string, hub.ready["ca_file"])
        mast.state.mkdir(exist_ok=True)
        (mast.state / "outbox.db").write_bytes(b"garbage" * 1000)
        with mast.run() as agent:
            wait_for(lambda: len(hub.object_ids()) >= 6, "readings")
            assert agent.end() == 0, agent.err
        told = [body for body in hub.bodies() if body.get("event") == "store-damaged"]
        assert [body["setAside"] for body in told] == ["outbox-damaged-1.db"]
        assert (mast.state / "outbox-damaged-1.db").read_bytes().startswith(b"garbage")


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
