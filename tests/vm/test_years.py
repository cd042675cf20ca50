"""What years bring: a link that comes and goes, a full disk, reboots, and power cuts under load."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

import pytest

from .hub import CA_FILE, HubBeside
from .mast import BEACON, CONFIG_TEXT, MASTHEAD, PYTHON, Mast
from .mast import CONFIG as MAST_CONFIG

LOADED = 8
CONFIG = (
    f'[device]\nca_file = "{CA_FILE}"\n[telemetry]\nreport_interval_s = 1\nsend_timeout_s = 5\n'
    + CONFIG_TEXT
    + "".join(f'[[sensor]]\nid = "load{i}"\ndriver = "simulated"\nseed = {i}\n' for i in range(LOADED))
)
_STATE = "/var/lib/masthead"
_FILL = "/var/filled"
# prints how many rows are on the disk, as often as it changes
_STORED = f"""
import pathlib
from agent.control import ControlClient
last = None
with ControlClient(pathlib.Path("{_STATE}")) as agent:
    while True:
        now = agent.ask("outbox")["nextSequence"]
        if now != last:
            print(now, flush=True)
            last = now
"""


@pytest.fixture(scope="module")
def site(installed: Mast, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubBeside]:
    """A hub within reach of a mast that knows it."""
    installed.stop()
    installed.close()
    with HubBeside(tmp_path_factory.mktemp("hub")) as hub:
        hub.introduce(installed.machine)
        hub.reachable(installed.machine)
        installed.configure(CONFIG)
        installed.start()
        yield hub
        installed.stop()


def _stored(mast: Mast) -> int:
    """How many rows the agent's store has numbered."""
    return int(mast.outbox()["nextSequence"]) - 1


def _fill(mast: Mast) -> None:
    """Not a byte is left on the disk."""
    mast.machine.run(
        f"fallocate -l $(df --output=avail -B1 / | tail -1) {_FILL}; cat /dev/zero >>{_FILL} 2>&1; true",
        timeout=120,
    )


def _outcomes(site: HubBeside) -> list[tuple[str, str | None]]:
    return [(told["status"], told["reason"]) for told in site.objects() if "commandId" in told]


def test_readings_arrive_and_a_command_moves_a_line(mast: Mast, site: HubBeside) -> None:
    """The whole way up and down, under the unit: pulses to the hub, and a message to the pin."""
    mast.pulse(17, 20.0, 60)

    def seen() -> bool:
        return any(content.get("sensor") == "top" and content["windGust"] for content in site.objects())

    site.eventually(seen, "wind at the hub")
    on = b'{"command": "set", "actuator": "beacon", "value": true, "for": 60}'
    site.hub.send_c2d("mast-1", on, message_id="c-1")
    site.eventually(lambda: _outcomes(site), "an outcome")
    assert _outcomes(site) == [("done", None)]
    assert mast.level(BEACON) == 1
    site.hub.send_c2d("mast-1", b'{"command": "stop", "actuator": "beacon"}')
    site.eventually(lambda: mast.level(BEACON) == 0, "the beacon")


@pytest.mark.long
def test_a_network_that_is_lost(mast: Mast, site: HubBeside) -> None:
    """No packet passes, and nobody is told; when it is back everything arrives."""
    mast.machine.set_link(up=False)
    try:
        time.sleep(20)  # longer than send_timeout_s
        reached = len(site.sequences())
    finally:
        mast.machine.set_link(up=True)
    site.eventually(lambda: _stored(mast) >= reached + 10 * LOADED, "stored meanwhile")
    site.all_arrive(_stored(mast))


@pytest.mark.long
def test_a_full_disk(mast: Mast, site: HubBeside) -> None:
    """The agent runs on and says so; when there is room again nothing it counted is missing."""
    _fill(mast)
    try:
        site.unreachable()
        site.eventually(lambda: mast.outbox()["inMemory"] >= 3 * LOADED, "rows with a full disk")
        assert mast.outbox()["degraded"]
        assert mast.unit("ActiveState") == "active"
    finally:
        mast.machine.run(f"rm {_FILL}")
    site.eventually(lambda: mast.outbox()["degraded"] is None, "the way back to the disk")
    site.reachable(mast.machine)
    site.all_arrive(_stored(mast))


@pytest.mark.long
def test_a_disk_that_was_full_at_the_start(mast: Mast, site: HubBeside) -> None:
    """The agent runs and can be asked; with room again it stores, and opens its journal by itself."""
    mast.stop()
    mast.machine.run(f"rm -f {_STATE}/commands.db*")
    _fill(mast)
    try:
        mast.start()
        site.eventually(lambda: mast.outbox()["inMemory"] >= LOADED, "rows with a full disk")
    finally:
        mast.machine.run(f"rm {_FILL}")
    site.eventually(lambda: mast.outbox()["degraded"] is None, "the way back to the disk")
    journal = f"find {_STATE} -name commands.db -size +0"
    site.eventually(lambda: mast.machine.run(journal), "a journal of commands")
    release = f"{MASTHEAD} release --config {MAST_CONFIG}"  # which were obeyed before is not known
    site.eventually(lambda: mast.machine.attempt(release).returncode == 0, "the agent, begun afresh")
    on = b'{"command": "set", "actuator": "beacon", "value": true, "for": 60}'
    site.hub.send_c2d("mast-1", on, message_id="c-full")
    site.eventually(lambda: mast.level(BEACON) == 1, "the beacon")
    site.hub.send_c2d("mast-1", b'{"command": "stop", "actuator": "beacon"}')
    site.eventually(lambda: mast.level(BEACON) == 0, "the beacon, off")
    site.all_arrive(_stored(mast))


@pytest.mark.long  # a power cut is one
def test_a_reboot(mast: Mast, site: HubBeside) -> None:
    """The unit comes up by itself, and goes on where it was."""
    mast.machine.run("systemctl enable masthead")
    before = _stored(mast)
    mast.machine.reboot()
    site.reachable(mast.machine)
    mast.come_up()
    site.all_arrive(before + LOADED)


@pytest.mark.parametrize("cuts", [3, pytest.param(20, marks=pytest.mark.long)])
def test_power_cuts(mast: Mast, site: HubBeside, cuts: int, figure: Callable[[str], None]) -> None:
    """What the agent said was stored is there after the power is back, and arrives, number by number."""
    mast.machine.run("systemctl enable masthead && sync")  # systemctl leaves that to the kernel: up to 5 s
    rng = random.Random(cuts)
    told = 0
    for cut in range(cuts):
        if cut % 2:
            site.unreachable()
        said = mast.machine.start(f"{PYTHON} -u -c '{_STORED}'")
        assert said.stdout is not None
        end = time.monotonic() + rng.uniform(2.0, 8.0)
        while time.monotonic() < end:
            told = max(told, int(said.stdout.readline()) - 1)
        mast.machine.cut_power()
        told = max([told, *(int(line) - 1 for line in said.stdout if line.strip().isdecimal())])
        said.wait()
        said.stdout.close()
        mast.machine.boot()
        site.reachable(mast.machine)
        mast.come_up()
        site.all_arrive(told)
    figure(f"{cuts} power cuts: {told} rows stored before the last, none missing")
