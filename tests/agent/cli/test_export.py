"""`masthead export`: CSV from the running agent, from its store, and from a file."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from agent.cli.common import ask
from agent.config import load
from agent.control import ControlError
from agent.export import COLUMNS
from agent.outbox import Outbox
from agent.reading import Entry

from .conftest import Masthead


def stored(path: Path, count: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    outbox = Outbox(path, run="0badcafe", boot_id="b", max_bytes=1 << 22)
    outbox.append([Entry("reading", float(n), {"sensor": "top", "windSpeed": 1.5 * n}) for n in range(count)])
    outbox.close()
    return path


@pytest.mark.parametrize("running", [False, True])
def test_the_readings_as_csv(
    masthead: Masthead, config: Path, request: pytest.FixtureRequest, running: bool
) -> None:
    """The running agent is asked; where none runs its store is read."""
    stored(config.parent / "state" / "outbox.db", 3)
    if running:
        request.getfixturevalue("daemon")
    result = masthead("export", "--config", config)
    assert (result.code, result.err) == (0, "")
    head, *rows = csv.reader(result.out.splitlines())
    assert head == list(COLUMNS)
    readings = [dict(zip(head, row, strict=True)) for row in rows]
    assert [(row["sequence"], row["windSpeed"]) for row in readings][:3] == [
        ("1", "0.0"),
        ("2", "1.5"),
        ("3", "3.0"),
    ]


@pytest.mark.usefixtures("daemon")
def test_a_running_agent_answers_for_its_store(config: Path) -> None:
    """Whoever may not read its files may still ask; a number that is none is said to be that."""
    stored(config.parent / "state" / "outbox.db", 3)
    first, *_ = ask(load(config), "export", after=2)["records"]
    assert first[COLUMNS.index("sequence")] == 3
    with pytest.raises(ControlError, match="'soon'"):
        ask(load(config), "export", after="soon")


def test_a_store_that_is_named(masthead: Masthead, tmp_path: Path) -> None:
    """Without any configuration."""
    result = masthead("export", stored(tmp_path / "card" / "outbox-damaged-1.db", 2))
    assert result.code == 0
    assert len(result.out.splitlines()) == 3


def test_what_cannot_be_read_prints_no_table(masthead: Masthead, tmp_path: Path) -> None:
    """One line, and nothing that looks like a result."""
    result = masthead("export", tmp_path / "nowhere.db")
    assert (result.code, result.out) == (1, "")
    assert result.err == f"Error: {tmp_path}/nowhere.db: no store there: has the agent run?\n"
