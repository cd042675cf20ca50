"""The link when the hub goes away, or the way to it, or the right to use it; from each state of the link."""

from __future__ import annotations

import socket
import sqlite3
import time
from contextlib import AbstractContextManager, closing
from types import SimpleNamespace
from typing import Any

import pytest
from azure.iot.device.common import alarm
from azure.iot.device.common.auth import sastoken
from azure.iot.device.common.pipeline import pipeline_stages_base

from agent.cloud.credentials import parse
from agent.localhub.store import Store

from .link_case import STATES, Trouble, cut, play
from .link_rig import Link
from .site import objects, squatter

CLOSED = r"nobody listens at [\d.]+:8883: is the hub running, is the port open\?"
REFUSED = r"refused device 'mast-\d+': .*wrong key, unknown or disabled device, or an expired token"
SILENT = r"(does not answer|no answer within 1 s): is the network up, (does a firewall|or very slow)"


def restarted(link: Link) -> None:
    link.site.start()


def without_state(link: Link) -> None:
    """As ``restarted``, with another database in which the device has the keys that it had."""
    folder = link.site.folder
    with closing(sqlite3.connect(folder / "hub.db")) as db:
        device = db.execute("SELECT * FROM device WHERE device_id = ?", (link.device,)).fetchone()
    with closing(Store(folder)) as store:
        link.lost_log = objects(store, link.device)
    for path in folder.glob("hub.db*"):
        path.unlink()
    Store(folder).close()
    with closing(sqlite3.connect(folder / "hub.db")) as db, db:
        db.execute(f"INSERT INTO device VALUES ({','.join('?' * len(device))})", device)
    link.site.start()


HUB_GONE = [
    Trouble("hub-restarted", lambda link: link.site.stop(), restarted, says=CLOSED),
    Trouble("hub-restarted-without-state", lambda link: link.site.stop(), without_state, says=CLOSED),
]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("trouble", HUB_GONE, ids=lambda trouble: trouble.name)
def test_connection_refused(link: Link, trouble: Trouble, state: str) -> None:
    """Nobody listens for a while: all that was stored is in the old hub's log or the new one's."""
    play(link, state, trouble)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("full", [False, True], ids=["silent", "syn-dropped"])
def test_black_hole(link: Link, full: bool, state: str) -> None:
    """Somebody takes connections and says nothing, or the network drops every packet to the hub."""
    hole: list[AbstractContextManager[None]] = []

    def begin(link: Link) -> None:
        link.site.stop()
        hole.append(squatter(link.site.host, full=full))
        hole[0].__enter__()

    def end(link: Link) -> None:
        hole[0].__exit__(None, None, None)
        link.site.start()

    play(link, state, Trouble("black hole", begin, end, says=SILENT))


@pytest.mark.parametrize("state", STATES)
def test_name_gone(link: Link, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's name does not resolve for a while."""
    resolve = socket.getaddrinfo
    gone = [link.site.host]

    def getaddrinfo(host: Any, *arguments: Any, **others: Any) -> Any:
        if host in gone:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(host, *arguments, **others)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    gone.clear()

    def begin(link: Link) -> None:
        gone.append(link.site.host)
        cut(link)

    says = r"the name [\d.]+ cannot be resolved: check the network, its DNS and the host name"
    play(link, state, Trouble("name gone", begin, lambda _: gone.clear(), says=says))


@pytest.mark.parametrize("state", STATES)
def test_device_disabled(link: Link, state: str) -> None:
    """The operator disables the device, and enables it again."""
    play(link, state, Trouble(
        "device disabled",
        lambda link: link.site.hub.set_device_enabled(link.device, False),
        lambda link: link.site.hub.set_device_enabled(link.device, True),
        says=REFUSED,
    ))  # fmt: skip


@pytest.mark.parametrize("state", STATES)
def test_wrong_key(link: Link, state: str) -> None:
    """The device's key becomes another, until the device has it too."""
    good = link.credential

    def begin(link: Link) -> None:
        text = good.connection_string.rsplit("SharedAccessKey=", 1)[0] + "SharedAccessKey=d3Jvbmc="
        link.credential = parse(text, "test")
        cut(link)

    def end(link: Link) -> None:
        link.credential = good

    play(link, state, Trouble("wrong key", begin, end, says=REFUSED))


@pytest.mark.parametrize("state", STATES)
def test_expired_token(link: Link, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens are made by a clock that is two hours late and not synchronised: it is what is blamed first."""
    behind_s = [0.0]
    slow = SimpleNamespace(**vars(time) | {"time": lambda: time.time() - behind_s[0]})
    for module in (sastoken, pipeline_stages_base, alarm):
        monkeypatch.setattr(module, "time", slow)

    def begin(link: Link) -> None:
        behind_s[0] = 7200.0
        link.clock_trusted = False
        cut(link)

    def end(link: Link) -> None:
        behind_s[0] = 0.0
        link.clock_trusted = True

    says = REFUSED.replace(".*", r"this machine's clock is not synchronised, .*\(timedatectl\); else: ")
    play(link, state, Trouble("expired token", begin, end, says=says))
