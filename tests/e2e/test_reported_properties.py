"""What the agent says of itself in its twin, as the hub has it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

from agent import __version__
from tests.e2e.harness import Hub, Mast, running_hub, wait_for


def _reported(hub: Hub) -> dict[str, Any] | None:
    with contextlib.closing(sqlite3.connect(hub.data / "hub.db", timeout=30)) as db:
        row = db.execute("SELECT reported FROM twin").fetchone()
    values: dict[str, Any] | None = None if row is None else json.loads(row[0])["values"]
    return values


def test_the_twin_says_what_runs_on_the_mast(tmp_path: Path) -> None:
    """Version, run, sensors and outbox are reported; another run replaces what the first has said."""
    with running_hub(tmp_path) as hub:
        mast = Mast(tmp_path, hub.connection_string, hub.ready["ca_file"])
        with mast.run():
            first = wait_for(lambda: _reported(hub), "the first report")
            status = wait_for(mast.status, "the daemon's answer")
        assert (first["version"], first["run"]) == (__version__, status["run"])
        assert first["sensors"] == [{"id": name, "driver": "simulated"} for name in ("top", "middle")]
        assert set(first) == {"version", "board", "run", "sensors", "outbox"}
        assert set(first["outbox"]) == {"backlog", "dropped", "rejected"}
        mast.config.write_text(mast.config.read_text().replace('id = "middle"', 'id = "low"'))
        with mast.run():
            again = wait_for(
                lambda: (now := _reported(hub)) and now["run"] != first["run"] and now, "the second report"
            )
        assert [sensor["id"] for sensor in again["sensors"]] == ["top", "low"]
