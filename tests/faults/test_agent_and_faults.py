"""The whole agent, as a process, against ``masthead hub --fault``: what a user sees, and what arrives."""

from __future__ import annotations

import json
import re
import secrets
import urllib.request
from pathlib import Path

import pytest

from agent.outbox import Outbox
from agent.reading import Entry
from tests.e2e.harness import CONFIG, Hub, Mast, wait_for

QUICK = CONFIG.replace("report_interval_s = 1", "report_interval_s = 1\nsend_timeout_s = 1")


class FaultyHub(Hub):
    """A hub that begins with a fault, and is told by its control call to be well again."""

    def __init__(self, folder: Path, fault: str) -> None:
        super().__init__(folder, options=("--fault", fault))
        self.start()

    def mend(self) -> None:
        """Clear every fault."""
        request = urllib.request.Request(
            self.ready["page"].split("#")[0] + "api/faults",
            method="DELETE",
            headers={"Authorization": f"Bearer {self.ready['page_token']}"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert json.load(answer) == {"active": []}


def backlog(state: Path, count: int) -> None:
    """What an earlier run of the agent left to be sent."""
    state.mkdir()
    outbox = Outbox(state / "outbox.db", run=secrets.token_hex(4), boot_id="earlier", max_bytes=64 << 20)
    outbox.append([Entry("reading", float(n), {"sensor": "top", "windSpeed": 7.02}) for n in range(count)])
    outbox.close()


CASES = {
    "kick=0.5": (0, "looks like another client connects with the same device id: the last connections ended"),
    "throttle=60": (
        600,
        "looks like throttling: the hub closed 2 connections in a row in the middle of sending",
    ),
    "no-puback": (
        0,
        "no confirmation within 1 s: the link is dead, or the hub full|looks like the daily quota",
    ),
}
"""What the hub does -> (rows that wait, what is said of it)."""


@pytest.mark.parametrize("fault", CASES)
def test_status_says_what_it_looks_like(tmp_path: Path, fault: str) -> None:
    """While the hub misbehaves ``masthead status`` says so in words; once it is well, everything is there."""
    behind, words = CASES[fault]
    hub = FaultyHub(tmp_path, fault)
    try:
        mast = Mast(tmp_path, hub.connection_string, hub.ready["ca_file"], QUICK)
        if behind:
            backlog(mast.state, behind)
        with mast.run() as agent:
            wait_for(lambda: re.search(f"trouble  .*({words})", mast.ask("status").stdout), words)
            assert re.search(f"hub link (still )?down: ({words})", agent.err)
            assert agent.end() == 0, agent.err
            assert "Traceback" not in agent.err
        hub.mend()
        with mast.run() as agent:  # which need not wait for what it would have waited
            wait_for(mast.settled, "everything is confirmed")
            assert agent.end() == 0, agent.err
        assert set(hub.object_ids()) == set(mast.stored_ids())
        assert len(mast.stored_ids()) > behind
    finally:
        hub.stop()
