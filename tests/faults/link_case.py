"""A case of the fault matrix: a link in some state, a trouble that comes and goes, what must hold then."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from agent.localhub.faults import Fault

from .link_rig import Link
from .site import wait

STATES = ("idle", "live", "drain")
BACKLOG = 600
_IN_THE_MIDDLE = 40
_MANY = 300


@dataclass(frozen=True)
class Trouble:
    """``says``: a pattern for the line that names the cause and its remedy, if the wire shows one.

    ``felt``: whether it has taken effect, if the line does not tell. ``readings``: what an idle link sends.
    """

    name: str
    begin: Callable[[Link], None]
    end: Callable[[Link], None]
    felt: Callable[[Link], bool] | None = None
    says: str = ""
    readings: int = 3


def on_hub(
    fault: str,
    says: str = "",
    *,
    kick: bool = False,
    felt: Callable[[Link], bool] | None = None,
    readings: int = 3,
) -> Trouble:
    """A misbehaviour of the hub until it is cleared. ``kick``: it shows itself to new connections only."""

    def begin(link: Link) -> None:
        link.site.hub.faults.set(Fault.parse(fault))
        if kick:
            cut(link)

    return Trouble(fault, begin, lambda link: link.site.hub.faults.clear(), felt, says, readings)


def counted(
    fault: str,
    times: int = 3,
    *,
    kick: bool = False,
    also: Callable[[Link], None] = lambda _: None,
) -> Trouble:
    """A misbehaviour that takes effect so many times, and has been felt then."""

    def begin(link: Link) -> None:
        name, _, value = fault.partition("=")
        link.site.hub.faults.set(Fault(name, value or None, times=times))
        also(link)
        if kick:
            cut(link)

    def over(link: Link) -> bool:
        name, _, _ = fault.partition("=")
        return all(active.name != name for active in link.site.hub.faults.active())

    return Trouble(fault, begin, lambda link: link.site.hub.faults.clear(), over)


def cut(link: Link) -> None:
    """The connection ends, and a new one is needed."""
    link.site.hub.faults.set(Fault("kick"))


def play(link: Link, state: str, trouble: Trouble) -> None:
    """Bring ``link`` into ``state``, then into trouble and out of it, and look at what is left of it."""
    with link:
        _enter(link, state)
        before = len(link.said)

        def told() -> bool:
            return any(re.search(trouble.says, line) for line in link.said[before:])

        trouble.begin(link)
        if state == "idle":
            link.feed.put(trouble.readings)
        if trouble.felt is not None:
            wait(lambda: trouble.felt(link), f"{trouble.name} is felt; the link said {link.said[before:]}")  # type: ignore[misc]
        if trouble.says:
            wait(told, f"a line like {trouble.says!r}; the link said {link.said[before:]}")
        trouble.end(link)
        wait(lambda: link.up, "the link is up again")
        first, behind = link.feed.count, link.writer.status.backlog
        link.feed.put(3)
        if state == "live":
            wait(lambda: link.feed.count > first + 20, "some more live readings")
        link.feed.stop()
        wait(lambda: link.settled, "everything is confirmed")
        _commands_come_once(link)
        _all_delivered(link)
        _live_first(link, first, behind)
    assert link.died == []
    assert all(worker.longest_s < worker.step_bound_s for worker in link.watched)


def _enter(link: Link, state: str) -> None:
    if state == "drain":
        link.feed.put(BACKLOG)
        wait(lambda: link.writer.status.backlog >= BACKLOG, "a backlog")
    link.connect()
    if state == "idle":
        wait(lambda: link.up and link.settled, "an idle link")
        return
    link.feed.start()
    wait(lambda: link.uplink.status.confirmed >= _IN_THE_MIDDLE, "a busy link")
    assert state == "live" or link.writer.status.backlog > 0


def _commands_come_once(link: Link) -> None:
    wanted = ["after-1", "after-2"]
    for name in wanted:
        link.command(name)
    wait(lambda: set(wanted) <= set(link.commands), f"commands; {link.commands} came")
    assert [name for name in link.commands if name in wanted] == wanted


def _all_delivered(link: Link) -> None:
    """Every row is in the hub, none was set aside, and what came twice can be told by its object id."""
    stats = link.writer.status.stats
    assert (stats.rejected, link.writer.status.dropped) == (0, 0)
    bodies: dict[tuple[str, int], dict[str, object]] = {}
    for body in link.arrived():
        same = {name: value for name, value in body.items() if name not in ("time", "timeQuality")}
        assert bodies.setdefault((body["run"], body["sequence"]), same) == same
    assert bodies.keys() == {(link.run, number) for number in range(1, stats.next_sequence)}
    numbers = Counter(body["n"] for body in bodies.values() if "n" in body)
    assert numbers == Counter(range(link.feed.count))


def _live_first(link: Link, first: int, behind: int) -> None:
    """Readings from ``first`` on were made with the link up again, when so many waited ``behind`` it."""
    came = list(dict.fromkeys(body["n"] for body in link.arrived() if "n" in body))
    live = [number for number in came if number >= first]
    assert live == sorted(live)
    if behind > _MANY:
        assert len(came) - came.index(live[0]) > behind // 2, "a live reading waited for most of the backlog"
