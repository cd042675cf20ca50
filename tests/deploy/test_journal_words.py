"""The words of the journal's field MASTHEAD_EVENT, held against the field guide."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_WORD = re.compile(r'\bevent\(\s*f?"([^"]+)"\s*\)')
_PARTS = ("sensor", "vane")  # f"{what}-lost" in agent/sampler.py


def words() -> set[str]:
    """What the agent's log lines are marked with."""
    found = set()
    for path in (ROOT / "agent").rglob("*.py"):
        found |= set(_WORD.findall(path.read_text(encoding="utf-8")))
    return {word.replace("{what}", part) for word in found for part in _PARTS}


def test_the_guide_tells_every_word_and_no_other() -> None:
    """In the list below its heading."""
    guide = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")
    told = guide.partition("`MASTHEAD_EVENT`")[2].partition("\n\n#")[0]
    table = [line.split("|")[1] for line in told.splitlines() if line.startswith("| `")]
    assert {word for cell in table for word in re.findall(r"`([^`]+)`", cell)} == words()
    assert {"link-down", "sensor-lost", "vane-back", "failed"} <= words()
