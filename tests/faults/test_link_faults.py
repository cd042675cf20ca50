"""The link against a hub that misbehaves in every way it can, from each state that a link can be in."""

from __future__ import annotations

import time

import pytest

from agent.localhub.fault_table import PACKETS, TABLE
from agent.localhub.faults import Fault

from .link_case import STATES, Trouble, counted, on_hub, play
from .link_rig import Link

REFUSED = r"refused device 'mast-\d+': wrong key, unknown or disabled device, or an expired token"
UNSUBSCRIBED = r"refused the subscription to commands of device 'mast-\d+': may it receive"
UNCONFIRMED = r"no confirmation within 2 s: the link is dead, or the hub full"
SILENT = r"no answer within 1 s: is the network up, or very slow\?"
QUOTA = r"looks like the daily quota is used up, or the hub throttles: it accepted \d+ connections in a row"
EVICTED = r"looks like another client connects with the same device id: the last connections ended after "
THROTTLED = r"looks like throttling: the hub closed \d+ connections in a row in the middle of sending"
COMMANDS = {"c2d": 1, "c2d-puback": 2}  # packets of commands, and how often one arrives whose packet is reset
CLOCK = r"the certificate of [\d.]+ is %s: check this machine's clock; else it is the hub's"


def quiet(link: Link) -> None:
    """Pings go only where nothing else does."""
    link.site.hub.faults.set(Fault("no-puback"))


def skewed(link: Link) -> bool:
    """Whether the hub has stamped a message of this device with its own time."""
    events = link.site.hub.store.events.latest(link.device, 1)
    return bool(events) and abs(events[0].enqueued_s - time.time()) > 3600


def reset(packet: str) -> Trouble:
    """A reset at the packet, three times; where it needs a quiet link, once."""
    if packet in ("pingreq", "pingresp"):
        return counted(f"reset={packet}", 1, also=quiet)
    return counted(f"reset={packet}", 3, kick=packet in ("connect", "connack", "subscribe", "suback"))


TROUBLES = [
    *(reset(packet) for packet in PACKETS if packet not in COMMANDS),
    on_hub("refuse=3", r"says that it is unavailable: nothing to do but wait", kick=True),
    on_hub("refuse=4", REFUSED, kick=True),
    on_hub("refuse=5", REFUSED, kick=True),
    on_hub("no-connack", SILENT, kick=True),
    on_hub("no-suback", SILENT, kick=True),
    on_hub("refuse-subscription", UNSUBSCRIBED, kick=True),
    on_hub("no-puback", UNCONFIRMED),
    counted("late-puback=0.3"),
    on_hub("late-puback=3600", UNCONFIRMED),
    counted("duplicate-puback"),
    on_hub("kick", r"connection lost"),
    on_hub("kick=0.1", f"{EVICTED}|{THROTTLED}"),
    on_hub("freeze", f"{UNCONFIRMED}|the link is dead"),
    on_hub("slow=200", f"{UNCONFIRMED}|connection lost", readings=10),
    on_hub("throttle=1", "connection lost", readings=15),
    on_hub("quota", QUOTA),
    on_hub("lost-state", r"connection lost"),
    on_hub("other-certificate", r"is not trusted: .*; for a private CA set device.ca_file", kick=True),
    on_hub("expired-certificate", CLOCK % "no longer valid", kick=True),
    on_hub("future-certificate", CLOCK % "not yet valid", kick=True),
    on_hub("clock-skew=7200", REFUSED, kick=True),
    on_hub("clock-skew=-86400", felt=skewed),
]  # fmt: skip


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.name)
def test_all_is_delivered_after(link: Link, trouble: Trouble, state: str) -> None:
    """Whatever the hub does, and whenever: in the end it has everything, once or with the same object id."""
    play(link, state, trouble)


def test_every_fault_is_in_the_matrix() -> None:
    """No row of the hub's table is left out."""
    names = {trouble.name.partition("=")[0] for trouble in TROUBLES} | {"duplicate-c2d", "reject-c2d"}
    assert names == TABLE.keys()


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("packet", COMMANDS)
def test_commands_in_doubt(link: Link, packet: str, state: str) -> None:
    """A command that was reset on its way comes once, one whose acknowledgement was reset comes twice."""
    play(link, state, counted(f"reset={packet}", 1, also=lambda link: link.command("during")))
    assert link.commands.count("during") == COMMANDS[packet]


@pytest.mark.parametrize("state", STATES)
def test_commands_that_come_twice(link: Link, state: str) -> None:
    """Each is handed over twice, told apart from others by its id, and nothing else suffers."""
    names = ["during-1", "during-2"]

    def begin(link: Link) -> None:
        link.site.hub.faults.set(Fault("duplicate-c2d"))
        for name in names:
            link.command(name)

    def end(link: Link) -> None:
        link.site.hub.faults.clear()

    def felt(link: Link) -> bool:
        return [link.commands.count(name) for name in names] == [2, 2]

    play(link, state, Trouble("duplicate-c2d", begin, end, felt))
    assert felt(link)
