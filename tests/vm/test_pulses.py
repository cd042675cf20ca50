"""Anemometers with pulses, on simulated lines: none lost, and the speed is that of the pulses.

The counts are exact, whatever the machine's speed: the kernel stamps and keeps the edges. A rate is what the
pulser says that it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from .mast import REED, TOP, Mast

SLOPE, OFFSET = 0.0462, 0.21  # m/s per Hz, m/s: Thies First Class


def _count(mast: Mast, sensor: str) -> int:
    """How many pulses there were since the agent's start."""
    sample = mast.sampled(sensor, lambda sample: "pulses" in sample["raw"])
    return int(sample["raw"]["pulses"])


def _counts(mast: Mast, sensor: str, expected: int) -> tuple[int, int]:
    """(pulses, lost edges) since the agent's start, after ``expected`` pulses or when it is too late."""
    mast.sampled(sensor, lambda sample: sample["raw"].get("pulses", -1) >= expected)
    raw = mast.sampled(sensor)["raw"]
    return int(raw["pulses"]), int(raw["lost_edges"])


@pytest.mark.parametrize(
    ("hertz", "count"), [pytest.param(1, 3, marks=pytest.mark.long), (10, 20), (100, 300)]
)
def test_every_pulse_is_counted(mast: Mast, hertz: int, count: int) -> None:
    """So many closings of the contact, so many pulses more: no more, no fewer.

    Two anemometers at a time, one with a clean signal, one with a reed, which needs both edges and a filter.
    """
    top, reed = _count(mast, "top"), _count(mast, "reed")
    other = mast.machine.start(mast.pulser(REED, hertz, count))
    mast.pulse(TOP, hertz, count)
    other.communicate(timeout=60)
    assert _counts(mast, "top", top + count) == (top + count, 0)
    assert _counts(mast, "reed", reed + count) == (reed + count, 0)


def test_every_pulse_is_counted_at_1000_hz(mast: Mast) -> None:
    """The same at a rate that no cup has: 3,000 pulses in three seconds."""
    before = _count(mast, "top")
    mast.pulse(TOP, 1000, 3000)
    assert _counts(mast, "top", before + 3000) == (before + 3000, 0)


@pytest.mark.parametrize(
    ("sensor", "line", "hertz", "after"), [("top", TOP, 1000, 0), ("reed", REED, 100, 100)]
)
def test_no_pulse_is_lost_while_the_agent_stands_still(
    mast: Mast, sensor: str, line: int, hertz: int, after: int
) -> None:
    """The process is stopped for a second's pulses, and all of them are counted.

    The pulser itself stops it and lets it go on, so that it stands still for exactly so many: at 1,000 Hz
    nearly all that the kernel keeps, so none follow before it has read; at 100 Hz in a train.
    """
    before = _count(mast, sensor)
    count = after + hertz + after
    mast.pulse(line, hertz, count, mast.pid, after, after + hertz)
    assert _counts(mast, sensor, before + count) == (before + count, 0)


def test_the_speed_is_that_of_the_pulses(mast: Mast) -> None:
    """At 100 Hz the speed is slope times frequency plus offset.

    An emulated processor delivers its timers late now and then: the frequency is held, within 2 %, against
    the lowest and the highest rate that the pulser in fact had over a few pulses.
    """
    before = _count(mast, "top")
    train = mast.machine.start(mast.pulser(TOP, 100, 300))
    during = mast.sampled("top", lambda sample: sample["raw"].get("pulses", -1) >= before + 100)
    _, lowest, highest = map(float, train.communicate(timeout=60)[0].split())
    assert during["fault"] is None
    assert 0.98 * lowest < during["raw"]["hertz"] < 1.02 * highest
    assert during["windSpeed"] == pytest.approx(SLOPE * during["raw"]["hertz"] + OFFSET, abs=0.006)


@pytest.mark.long
def test_the_figures(mast: Mast, figure: Callable[[str], Any]) -> None:
    """What the edges cost is printed, for a person to compare: an emulated processor is no measure."""
    mast.close()  # nobody asks meanwhile
    time.sleep(1)
    seconds = 3.0
    threads = f"cd /proc/{mast.pid}/task && for t in *; do echo $t $(cat $t/schedstat); done"

    def spent(meanwhile: str) -> dict[str, float]:
        text = mast.machine.run(f"{threads}; echo; {meanwhile} >/dev/null; {threads}")
        before, after = (
            {tid: int(ns) for tid, ns, *_ in map(str.split, part.splitlines())} for part in text.split("\n\n")
        )
        return {tid: (after[tid] - before[tid]) / 1e9 / seconds for tid in before if tid in after}

    busy = spent(mast.pulser(TOP, 1000, int(1000 * seconds)))
    edges = max(busy, key=lambda tid: busy[tid])
    idle = spent(f"sleep {seconds}")
    smaps = mast.machine.run(f"cat /proc/{mast.pid}/smaps_rollup")
    pss_kib = int(next(line.split()[1] for line in smaps.splitlines() if line.startswith("Pss:")))
    figure(f"edge thread: {idle[edges]:.2%} of a core at rest, {busy[edges]:.2%} at 1,000 Hz")
    figure(f"whole agent: {sum(idle.values()):.2%} at rest, {sum(busy.values()):.2%} at 1,000 Hz")
    figure(f"PSS of the agent with its drivers: {pss_kib / 1024:.1f} MiB")
