"""Whatever comes as a message or a method ends in one outcome: no exception, no memory that stays."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import islice

from .fuzz import Fuzzer

COUNT = 100_000
PROCESSES = 2


def test_a_hundred_thousand_payloads_end_in_an_outcome_each() -> None:
    """Messages and methods, from the hub's thread to the outbox, with every commit: one outcome each, one
    answer to each call, none of them odd, and memory flat. In processes of their own, for their memory."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("COVERAGE")}
    each = str(COUNT // PROCESSES)
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.agent.commands.fuzz", str(seed), each],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for seed in range(PROCESSES)
    ]  # fmt: skip
    said = [process.communicate()[0] for process in processes]
    for process, text in zip(processes, said, strict=True):
        print(text)
        assert process.returncode == 0, text[-4000:]


def test_equal_seeds_give_equal_bodies() -> None:
    """What one run has found another one finds again."""
    first, second, other = (list(islice(Fuzzer(seed).bodies(), 500)) for seed in (1, 1, 2))
    assert first == second
    assert len({*first, *other}) > 800
