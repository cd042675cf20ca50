"""deploy/install.sh on a Debian 12 without the package: from its dry run to its purge, with a hub.

In this order; each test begins where the one before ended. Debian's packages are in the image already, and
wheels in the place of PyPI: a machine here has no network.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from agent import __version__

from .hub import HubBeside
from .machine import Machine
from .mast import CONFIG, ROOT, Mast

pytestmark = pytest.mark.long  # pip takes minutes in an emulated machine

SOURCES = ("agent", "hw", "deploy", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
OPT = "/opt/masthead"
UNIT = "/etc/systemd/system/masthead.service"
OUTBOX = "/var/lib/masthead/outbox.db"
CREDENTIAL = "/etc/credstore.encrypted/masthead.connection-string"
DROP_IN = f"{UNIT}.d/credential.conf"
OURS = (OPT, UNIT, "/usr/local/bin/masthead", "/etc/udev/rules.d/40-masthead.rules", "/run/masthead")
KEPT = (CONFIG, OUTBOX, CREDENTIAL, DROP_IN)
_PREPARED = "/etc/udev/rules.d/60-pins-and-buses.rules"
_TREE = (
    "find /etc /home /opt /root /srv /usr /var/lib -xdev -path /var/lib/systemd -prune"
    r" -o -type d -printf '%p %m %u %g\n' -o -printf '%p %m %u %g %s %T@\n'"
)


@pytest.fixture(scope="module")
def bare() -> Iterator[Machine]:
    """A machine in which nothing is prepared, with a clone of masthead."""
    machine = Machine()
    try:
        machine.boot()
        machine.run(f"rm -r {OPT} {_PREPARED} && userdel masthead && groupdel gpio && groupdel i2c")
        tar = ["tar", "-c", "--exclude=__pycache__", "-C", str(ROOT), *SOURCES]
        clone = subprocess.run(tar, capture_output=True, check=True)
        machine.run("mkdir masthead && tar -x --no-same-owner -C masthead", stdin=clone.stdout)
        yield machine
    finally:
        machine.close()


@pytest.fixture
def mast(bare: Machine) -> Mast:
    """What is installed in it."""
    return Mast(bare, '[[sensor]]\nid = "top"\n')


def _script(machine: Machine, words: str = "", umask: str = "022") -> str:
    """What it says. ``umask`` is root's. Raises CommandFailed."""
    pip = "PIP_NO_INDEX=1 PIP_FIND_LINKS=/var/local/wheels"
    return machine.run(
        f"umask {umask}; {pip} masthead/deploy/install.sh {words} </dev/null 2>&1", timeout=600
    )


def _there(machine: Machine, *paths: str) -> list[str]:
    return [path for path in paths if machine.attempt(f"test -e {path}").returncode == 0]


def _contents(machine: Machine) -> str:
    return machine.run("find /etc -type f ! -name '*.before-setup' -exec sha256sum {} + | sort -k 2")


def test_a_dry_run_changes_nothing(bare: Machine) -> None:
    """Neither a file nor a folder nor a user: each step is only named."""
    before = bare.run(_TREE).splitlines()
    said = _script(bare, "--dry-run")
    assert said.count("• ") == 6
    assert set(bare.run(_TREE).splitlines()) == set(before)


def test_a_folder_of_somebody_else_is_refused(bare: Machine) -> None:
    """What is in /opt/masthead and was not installed by this is neither used nor removed."""
    bare.write(f"{OPT}/theirs", "")
    for words in ("", "--uninstall --purge"):
        refused = bare.attempt(f"masthead/deploy/install.sh {words}")
        assert refused.returncode == 1
        assert "move it away" in refused.stderr
    bare.run(f"rm {OPT}/theirs && rmdir {OPT}")


def test_it_installs_a_service_that_waits_for_its_configuration(bare: Machine, mast: Mast) -> None:
    """User, groups, rules, program; a unit that is enabled, not started, and says why."""
    said = _script(bare, umask="077")
    assert "sudo masthead setup" in said
    assert "not to be had" not in said
    assert bare.run("masthead --version").split()[-1] == __version__
    bare.run(f"test -e {OPT}/libexec/masthead/safe-outputs")
    assert {"masthead", "gpio", "i2c"} <= set(bare.run("id -nG masthead").split())
    assert bare.run("stat -c %G:%a /dev/gpiochip0 /dev/i2c-0").split() == ["gpio:660", "i2c:660"]
    assert bare.attempt("python3 -c 'import agent'").returncode != 0
    assert (mast.unit("UnitFileState"), mast.unit("ActiveState")) == ("enabled", "inactive")
    bare.run("systemctl start masthead")
    assert (mast.unit("ActiveState"), mast.unit("NRestarts")) == ("inactive", "0")
    assert "sudo masthead setup" in bare.run("journalctl -u masthead -o cat --no-pager")


def test_one_command_sets_it_up(bare: Machine, hub: HubBeside, mast: Mast) -> None:
    """`masthead setup` with files: from the sample to a reading that the hub has; the secret is root's."""
    bare.write("/root/ca.pem", hub.hub.ca_file.read_bytes())
    bare.write("/root/string", hub.connection_string)
    said = bare.run(
        "masthead setup --sensor thies-first-class --pin 17 --ca-file /root/ca.pem"
        " --connection-string-file /root/string --yes",
        timeout=400,
    )
    assert "confirmed by the hub" in said
    key = hub.connection_string.rpartition("SharedAccessKey=")[2]
    assert key not in said + bare.run("journalctl --no-pager; systemctl cat masthead; cat /etc/masthead/*")
    assert bare.run(f"stat -c %U:%a {CREDENTIAL}").strip() == "root:600"
    assert mast.unit("ActiveState") == "active"
    assert mast.sample()["top"]["fault"] is None


def test_a_second_run_keeps_configuration_and_data(bare: Machine, hub: HubBeside, mast: Mast) -> None:
    """The service is started anew with the program of this clone, and not a byte of /etc is another.

    It mends an environment of Python that was cut short.
    """
    before, contents, stored = mast.pid, _contents(bare), bare.run(f"stat -c %i {OUTBOX}")
    bare.run(f"""sed -i 's/"{__version__}"/"99.0"/' masthead/agent/__init__.py""")
    bare.run(f"rm -r {OPT}/lib/python3*/site-packages/pip*")
    said = _script(bare)
    assert f"{CONFIG} is kept" in said
    assert bare.run("masthead --version").split()[-1] == "99.0"
    mast.come_up()
    assert mast.pid != before
    assert (_contents(bare), bare.run(f"stat -c %i {OUTBOX}")) == (contents, stored)
    hub.all_arrive(int(mast.outbox()["nextSequence"]) - 1)


def test_taken_away_it_leaves_configuration_and_data(bare: Machine) -> None:
    """The agent is stopped and gone; what a person made and measured stays."""
    said = _script(bare, "--uninstall")
    assert _there(bare, *OURS) == [], said
    assert bare.attempt("pgrep -u masthead").stdout == ""
    assert _there(bare, *KEPT) == list(KEPT)


def test_installed_again_it_goes_on(bare: Machine, hub: HubBeside, mast: Mast) -> None:
    """With the configuration, the credential and the numbers that it had."""
    _script(bare)
    assert mast.unit("UnitFileState") == "enabled"
    before = max(hub.sequences())
    mast.start()
    hub.all_arrive(before + 1)


def test_purged_nothing_is_left(bare: Machine) -> None:
    """Data, configuration, credential and drop-ins go; the user stays, as Debian's system users do."""
    _script(bare, "--uninstall --purge")
    found = bare.run("find / -xdev -path /proc -prune -o -name '*masthead*' -print").split()
    assert [path for path in found if not path.startswith(("/root/", "/var/log/", "/tmp/"))] == []
    assert bare.attempt("systemctl cat masthead").returncode != 0
    assert _script(bare, "--uninstall").count("• ") == 2  # once more does no harm
