"""``masthead hub --fault``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.localhub.fault_table import TABLE
from tests.e2e.harness import Process, free_host, wait_for

from .conftest import Masthead


def test_the_list_of_faults_is_at_hand(masthead: Masthead) -> None:
    """``--fault help`` prints every fault as it is typed, and starts nothing."""
    result = masthead("hub", "--fault", "help")
    assert result.code == 0
    assert all(f"\n  {kind.usage}\n" in result.out for kind in TABLE.values())
    assert "--fault help" in masthead("hub", "--help").out


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        (["refuze"], "no fault 'refuze', did you mean 'refuse'?"),
        (["refuse=9"], "refuse: expected a whole number from 3 to 5, got '9'"),
        (["refuse=3", "refuse=4"], "one fault is given twice in refuse=3 refuse=4: leave one out"),
        (["kick"], "kick: nobody is connected at the start: kick=SECONDS ends every connection"),
    ],
)
def test_a_wrong_fault_is_wrong_usage(
    masthead: Masthead, tmp_path: Path, faults: list[str], words: str
) -> None:
    """One line, exit 2, and no data directory is made."""
    options = [part for fault in faults for part in ("--fault", fault)]
    result = masthead("hub", "--data", tmp_path / "hub", *options)
    assert (result.code, f"Error: {words}\n" in result.err) == (2, True)
    assert not (tmp_path / "hub").exists()


def test_an_ill_hub_says_so(tmp_path: Path) -> None:
    """Loudly on standard error, and as a list in the line for programs."""
    options = ("--data", str(tmp_path / "hub"), "--host", free_host(), "--json")
    with Process(tmp_path, "hub", *options, "--fault", "refuse=3", "--fault", "reset=puback") as hub:
        wait_for(lambda: "\n" in hub.out or hub.process.poll() is not None, "the hub's first line")
        assert "THIS HUB MISBEHAVES: refuse=3; reset=puback\n" in hub.err
        assert json.loads(hub.out)["faults"] == [
            {"name": "refuse", "value": 3, "device": None, "times": None},
            {"name": "reset", "value": "puback", "device": None, "times": None},
        ]


def test_a_sound_hub_says_nothing_of_it(tmp_path: Path) -> None:
    """No line, and an empty list."""
    options = ("--data", str(tmp_path / "hub"), "--host", free_host(), "--json")
    with Process(tmp_path, "hub", *options) as hub:
        wait_for(lambda: "\n" in hub.out or hub.process.poll() is not None, "the hub's first line")
        assert json.loads(hub.out)["faults"] == []
        assert "MISBEHAVES" not in hub.err
