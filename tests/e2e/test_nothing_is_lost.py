"""Every stored reading arrives, whatever is killed or stopped."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from tests.e2e.harness import Mast, running_hub, wait_for


def _assert_everything_arrived(mast: Mast, arrived: list[str]) -> None:
    stored = mast.stored_ids()
    sequences = [int(object_id.split("-")[1]) for object_id in stored]
    assert sequences == list(range(1, len(stored) + 1)), "a sequence number is missing in the store"
    assert len(set(stored)) == len(stored)
    missing = set(stored) - set(arrived)
    assert not missing, f"stored, but not in the hub: {sorted(missing)}"
    unknown = set(arrived) - set(stored)
    assert not unknown, f"in the hub, but never stored: {sorted(unknown)}"


def test_the_agent_killed_twenty_times(tmp_path: Path) -> None:
    """kill -9 at twenty random moments or more: every number that was stored is in the hub, ids unique."""
    rng = random.Random(20)
    with running_hub(tmp_path) as hub:
        mast = Mast(tmp_path, hub.connection_string, hub.ready["ca_file"])
        kills = 0
        while kills < 20 or not (mast.state / "outbox.db").exists() or len(mast.stored_ids()) < 20:
            with mast.run() as agent:
                time.sleep(rng.uniform(0.05, 2.5))  # the moment of the kill is what is varied
                agent.kill()
            kills += 1
            assert kills < 200, "the agents are too slow here to store anything"
        with mast.run() as agent:
            wait_for(mast.settled, "the backlog to drain")
            assert agent.end() == 0
        arrived = hub.object_ids()
        _assert_everything_arrived(mast, arrived)
        print(f"{len(mast.stored_ids())} stored, {len(arrived)} arrivals")


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_the_hub_goes_away_and_comes_back(tmp_path: Path, how: str) -> None:
    """The hub stopped or killed, three times, while the agent runs: nothing that was stored is missing."""
    with running_hub(tmp_path) as hub:
        mast = Mast(tmp_path, hub.connection_string, hub.ready["ca_file"])
        with mast.run() as agent:
            wait_for(mast.settled, "the first connection")
            for _ in range(3):
                hub.stop() if how == "stopped" else hub.kill()
                time.sleep(2.5)  # readings pile up meanwhile
                hub.start()
                wait_for(mast.settled, "the backlog to drain", 60)
            assert agent.end(signal.SIGINT) == 0
            log = agent.err
        _assert_everything_arrived(mast, hub.object_ids())
        assert log.count("hub link up") >= 2, "the same trouble again soon after is not worth a line"
