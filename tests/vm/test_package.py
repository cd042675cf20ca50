"""The Debian package on a bare Debian 13, by apt alone: from its installation to its purge, with a hub.

In this order; each test begins where the one before ended.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import __version__
from tests.deploy.packaging import build, sources

from .hub import CA_FILE, HubBeside
from .machine import PLACE, CommandFailed, Machine
from .mast import HEATER, Mast

pytestmark = pytest.mark.long  # apt takes minutes in an emulated machine

NEWER = "99.0"
CONFIG = "/etc/masthead/masthead.toml"
OUTBOX = "/var/lib/masthead/outbox.db"
CREDENTIALS = (
    "/etc/credstore/masthead.connection-string",
    "/etc/credstore.encrypted/masthead.connection-string",
)
DROP_IN = "/etc/systemd/system/masthead.service.d/credential.conf"
# in the ADC's register of conversions: 1.2 V, which is 16.2 m/s
VOLTS = """
import sys
sys.path.insert(0, "/usr/lib/masthead")
from smbus2 import SMBus
with SMBus(0) as bus:
    bus.write_word_data(0x48, 0, (9600 & 255) << 8 | 9600 >> 8)
"""
# of one sensor on a gpiochip and one on a bus, as `masthead sensors` prints it
CONFIG_TEXT = f"""
[device]
ca_file = "{CA_FILE}"

[telemetry]
report_interval_s = 2

[[sensor]]
id = "top"
driver = "gpio-pulse"
pin = 17
model = "thies-first-class"

[[sensor]]
id = "volts"
driver = "ads1115"
bus = 0
address = 0x48
input = 0
model = "adafruit-1733"

[actuators.heater]
driver = "relay"
pin = {HEATER}
active = "low"
"""
_FILL = "/var/filled"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The package of the working tree, and a newer one."""
    here = build(sources(tmp_path_factory.mktemp("here")), tmp_path_factory.mktemp("dist"))
    newer = build(sources(tmp_path_factory.mktemp("newer"), NEWER), tmp_path_factory.mktemp("dist"))
    return here, newer


@pytest.fixture(scope="module")
def bare(packages: tuple[Path, Path]) -> Iterator[Machine]:
    """A machine with neither masthead nor anything that it needs, and the packages."""
    machine = Machine(PLACE / "bare.img")
    try:
        machine.boot()
        for package in packages:
            machine.write(f"/root/{package.name}", package.read_bytes())
        yield machine
    finally:
        machine.close()


def _apt(machine: Machine, words: str) -> str:
    """As over ssh by a script: nobody is there to answer."""
    return machine.run(f"DEBIAN_FRONTEND=noninteractive apt-get -y -q {words} </dev/null 2>&1", timeout=600)


@pytest.fixture
def mast(bare: Machine) -> Mast:
    """What is installed in it: its unit, its pins."""
    return Mast(bare, CONFIG_TEXT)


@pytest.fixture
def impatient(bare: Machine) -> Iterator[None]:
    """The watchdog's 90 s made short."""
    drop_in = "/run/systemd/system/masthead.service.d/impatient.conf"
    bare.write(drop_in, "[Service]\nWatchdogSec=8\n")
    bare.run("systemctl daemon-reload && systemctl restart masthead", timeout=120)
    yield
    bare.run(f"rm {drop_in} && systemctl daemon-reload")


def _outbox(machine: Machine) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(machine.run("masthead outbox --json"))
    return told


def _numbered(machine: Machine) -> int:
    """The last number that the store has given."""
    return int(_outbox(machine)["nextSequence"]) - 1


def _heat(mast: Mast, hub: HubBeside, *, on: bool) -> None:
    """By a command from the hub. The heater is active low."""
    command = {"command": "set", "actuator": "heater", "value": True, "for": 600}
    stop = {"command": "stop", "actuator": "heater"}
    hub.hub.send_c2d("mast-1", json.dumps(command if on else stop).encode(), message_id=str(uuid.uuid4()))
    hub.eventually(lambda: mast.level(HEATER) == (not on), f"the heater: {on}")


def _unit(machine: Machine, name: str) -> str:
    return machine.run(f"systemctl show masthead -p {name} --value").strip()


def _there(machine: Machine, *paths: str) -> list[str]:
    return [path for path in paths if machine.attempt(f"test -e {path}").returncode == 0]


def _samples(machine: Machine, within_s: float = 60) -> dict[str, dict[str, object]]:
    """Each sensor's last sample, once there is one of each without a fault."""
    end = time.monotonic() + within_s
    while True:
        lines = machine.run("masthead sample --json --count 1").splitlines()
        samples = {sample["sensor"]: sample for sample in map(json.loads, lines)}
        if time.monotonic() > end or all(sample["fault"] is None for sample in samples.values()):
            return samples
        time.sleep(1)


def test_apt_alone_installs_it(bare: Machine) -> None:
    """No pip, no compiler, no network: user, groups, rules, program; a unit that is enabled, not started."""
    assert bare.attempt("which pip gcc").stdout == ""
    said = _apt(bare, f"install ./masthead_{__version__}_all.deb")
    assert "next: sudo masthead setup" in said
    assert bare.run("masthead --version").split()[-1] == __version__
    assert {"masthead", "gpio", "i2c"} <= set(bare.run("id -nG masthead").split())
    assert bare.run("stat -c %G:%a /dev/gpiochip0 /dev/i2c-0").split() == ["gpio:660", "i2c:660"]
    assert _unit(bare, "UnitFileState") == "enabled"
    assert _unit(bare, "ActiveState") == "inactive"
    assert "python3-libgpiod" in bare.run("dpkg-query -W -f '${Package} ' 'python3-*'")
    assert bare.run("find /usr/local/lib -name '*.py'") == ""
    assert bare.attempt("python3 -c 'import agent'").returncode != 0


def test_it_does_not_start_before_it_is_configured(bare: Machine) -> None:
    """A start, at boot or by hand, is no failure and is not tried again; the journal has the remedy."""
    bare.run("systemctl start masthead")
    assert _unit(bare, "ActiveState") == "inactive"
    assert _unit(bare, "NRestarts") == "0"
    assert "sudo masthead setup" in bare.run("journalctl -u masthead -o cat --no-pager")


def test_one_command_sets_it_up(bare: Machine, hub: HubBeside) -> None:
    """`masthead setup`: from the sample to the first reading that the hub has; the secret is root's."""
    bare.write("/root/ca.pem", hub.hub.ca_file.read_bytes())
    said = bare.run(
        "masthead setup --sensor thies-first-class --pin 17 --ca-file /root/ca.pem"
        " --connection-string-file - --yes",
        stdin=hub.connection_string.encode(),
        timeout=400,
    )
    assert "confirmed by the hub" in said
    key = hub.connection_string.rpartition("SharedAccessKey=")[2]
    assert key not in said + bare.run("journalctl --no-pager; systemctl cat masthead")
    assert any(content.get("sensor") for content in hub.objects())
    (kept,) = _there(bare, *CREDENTIALS)
    assert bare.run(f"stat -c %U:%a {kept}").strip() == "root:600"
    assert _unit(bare, "ActiveState") == "active"


def test_reloaded_it_measures_on_pins_and_bus(bare: Machine) -> None:
    """A real gpiochip by Debian's libgpiod, a real bus by what is carried, under the hardened unit."""
    bare.run("python3 -I -", stdin=VOLTS.encode())
    bare.write(CONFIG, CONFIG_TEXT)
    process = _unit(bare, "MainPID")
    bare.run("systemctl reload masthead || { journalctl -u masthead -n 30 --no-pager; false; }", timeout=120)
    assert _unit(bare, "MainPID") == process
    assert _unit(bare, "ActiveState") == "active"
    samples = _samples(bare)
    assert {name: sample["fault"] for name, sample in samples.items()} == {"top": None, "volts": None}
    assert samples["volts"]["windSpeed"] == pytest.approx(16.2, abs=0.01)


def test_a_command_moves_a_line(mast: Mast, hub: HubBeside) -> None:
    """From the hub to the pin, by Debian's libgpiod: there is no lgpio here."""
    assert mast.machine.attempt("python3 -c 'import lgpio'").returncode != 0
    assert mast.level(HEATER) == 1
    _heat(mast, hub, on=True)
    _heat(mast, hub, on=False)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("cause", "said"),
    [
        ("kill -STOP {pid}", "Watchdog timeout"),
        ("kill -KILL {pid}", "status=9/KILL"),
        ("systemctl stop masthead", "masthead.service: Deactivated successfully"),
    ],
    ids=["hangs", "killed", "stopped"],
)
def test_whatever_ends_it_its_output_is_safe_and_nothing_is_lost(
    mast: Mast, hub: HubBeside, cause: str, said: str
) -> None:
    """Hung or killed it comes back by itself, stopped it ends in time; what it had numbered arrives."""
    before, numbered = mast.pid, _numbered(mast.machine)
    cursor = mast.machine.run("journalctl -n 0 --show-cursor").split("cursor: ")[1].strip()
    _heat(mast, hub, on=True)
    mast.pull(HEATER, "down")  # what nobody drives is on
    try:
        assert mast.held_safe(cause.format(pid=before), HEATER) == [1]
    finally:
        mast.pull(HEATER, "up")
    if cause.startswith("systemctl"):
        mast.start()
    mast.come_up()
    assert mast.pid != before
    assert said in mast.machine.run(f"journalctl -u masthead --after-cursor '{cursor}' -o cat --no-pager")
    hub.all_arrive(numbered + 1)


def test_a_full_disk(mast: Mast, hub: HubBeside) -> None:
    """It runs on and says so; when there is room again nothing that it numbered is missing."""
    process = mast.pid
    mast.machine.run(
        f"fallocate -l $(df --output=avail -B1 / | tail -1) {_FILL}; cat /dev/zero >>{_FILL} 2>&1; true",
        timeout=120,
    )
    try:
        hub.unreachable()
        hub.eventually(lambda: _outbox(mast.machine)["inMemory"] >= 10, "rows with a full disk")
        assert _outbox(mast.machine)["degraded"]
    finally:
        mast.machine.run(f"rm {_FILL}")
    hub.eventually(lambda: _outbox(mast.machine)["degraded"] is None, "the way back to the disk")
    assert mast.pid == process
    hub.reachable(mast.machine)
    hub.all_arrive(_numbered(mast.machine))


def test_an_upgrade_restarts_it_and_keeps_configuration_and_data(bare: Machine) -> None:
    """`apt install ./new.deb`: nothing is asked, the new one runs, and what was stored is there."""
    before, stored = _unit(bare, "MainPID"), bare.run(f"stat -c %i {OUTBOX}")
    _apt(bare, f"install ./masthead_{NEWER}_all.deb")
    assert bare.run("masthead --version").split()[-1] == NEWER
    assert (_unit(bare, "ActiveState"), _unit(bare, "UnitFileState")) == ("active", "enabled")
    assert _unit(bare, "MainPID") != before
    assert bare.run(f"cat {CONFIG}") == CONFIG_TEXT
    assert bare.run(f"stat -c %i {OUTBOX}") == stored


def test_the_old_file_puts_the_old_version_back(bare: Machine) -> None:
    """The way back is the old package; it runs on with the same configuration and data."""
    stored = bare.run(f"stat -c %i {OUTBOX}")
    _apt(bare, f"install --allow-downgrades ./masthead_{__version__}_all.deb")
    assert bare.run("masthead --version").split()[-1] == __version__
    assert _unit(bare, "ActiveState") == "active"
    assert bare.run(f"cat {CONFIG}") == CONFIG_TEXT
    assert bare.run(f"stat -c %i {OUTBOX}") == stored


def test_a_store_of_a_newer_version_is_left_as_it_is(bare: Machine) -> None:
    """After the way back from a version with another schema: it says so, and not a byte has changed."""
    bare.run("systemctl stop masthead")
    bare.run(f"cp -a {OUTBOX} /root/outbox")
    schema = "import sqlite3; sqlite3.connect('{}').execute('PRAGMA user_version = 99')"
    bare.run(f'python3 -c "{schema.format(OUTBOX)}"')
    before = bare.run(f"sha256sum {OUTBOX}")
    with pytest.raises(CommandFailed):
        bare.run("systemctl start masthead", timeout=120)
    assert "written by a newer masthead" in bare.run("journalctl -u masthead -o cat --no-pager -n 40")
    bare.run("systemctl stop masthead")
    assert bare.run(f"sha256sum {OUTBOX}") == before
    bare.run(f"mv /root/outbox {OUTBOX} && systemctl start masthead", timeout=120)


def test_the_hub_has_all_of_it(bare: Machine, hub: HubBeside) -> None:
    """Over setup, reload, upgrade and the way back: number by number."""
    hub.all_arrive(_numbered(bare))


def test_removed_it_leaves_configuration_and_data(bare: Machine) -> None:
    """The agent is stopped and gone; what a person made and measured stays."""
    for path in (*CREDENTIALS, DROP_IN):
        bare.write(path, "[Service]\n")
    said = _apt(bare, "remove masthead")
    assert _there(bare, "/usr/bin/masthead", "/usr/lib/masthead", "/run/masthead") == [], said
    assert bare.attempt("pgrep -u masthead").stdout == ""
    kept = (CONFIG, OUTBOX, *CREDENTIALS, DROP_IN)
    assert _there(bare, *kept) == list(kept)


def test_purged_nothing_is_left(bare: Machine) -> None:
    """Data, configuration, credentials and drop-ins go; the user stays, as Debian's system users do."""
    _apt(bare, "purge masthead")
    found = bare.run("find / -xdev -path /proc -prune -o -name '*masthead*' -print").split()
    assert [path for path in found if not path.startswith(("/root/", "/var/log/", "/tmp/"))] == []
    assert _there(bare, *CREDENTIALS) == []
    assert bare.attempt("systemctl cat masthead").returncode != 0
