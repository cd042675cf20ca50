"""The real unit under the real systemd."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from .mast import Mast


def _restarted(mast: Mast, before: int, within_s: float) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if mast.unit("ActiveState") == "active" and mast.pid not in (0, before):
            return True
        time.sleep(0.5)
    return False


def test_start_returns_when_the_agent_is_ready(mast: Mast) -> None:
    """`systemctl start` ends at READY: the agent has a sample by then, and answers at once."""
    mast.stop()
    mast.start()
    assert mast.unit("ActiveState") == "active"
    samples = mast.sample()
    assert set(samples) == set(mast.sensors)
    assert all(sample["time"] for sample in samples.values())
    log = mast.machine.run("journalctl -u masthead -n 30 --no-pager -o cat")
    log = log[log.rindex("Starting masthead.service") :]
    assert log.index("not sending: no connection string") < log.index("Started masthead.service")


def test_pins_and_bus_work_as_the_user_masthead(mast: Mast) -> None:
    """The agent is user masthead in groups gpio and i2c, no more, and no sensor lacks a permission."""
    wanted = mast.machine.run("id -u masthead; getent group gpio i2c | cut -d: -f3").split()
    status = mast.machine.run(f"cat /proc/{mast.pid}/status")
    told = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert set(told["Uid"].split()) == {wanted[0]}
    assert set(wanted[1:]) <= set(told["Groups"].split())
    assert int(told["CapEff"], 16) == 0
    assert told["NoNewPrivs"] == "1"
    faults = [str(sample["fault"]) for sample in mast.sample().values()]
    assert not [fault for fault in faults if "permission" in fault or "cannot be opened" in fault]


def test_the_journal_has_its_lines_with_their_priority(mast: Mast) -> None:
    """What the agent says reaches the journal under its unit, a warning as a warning."""
    lines = mast.machine.run("journalctl -u masthead -p warning..warning -o cat --no-pager -n 50")
    assert "not sending: no connection string" in lines


def test_systemctl_status_has_the_wind(mast: Mast) -> None:
    """The unit's status line tells of sensors and link from the start."""
    mast.stop()
    mast.start()
    said = mast.machine.run("systemctl status masthead --no-pager")
    (line,) = [line for line in said.splitlines() if "Status:" in line]
    assert all(sensor in line for sensor in mast.sensors)
    assert "hub link off" in line


@pytest.fixture(scope="module")
def impatient(installed: Mast) -> Iterator[None]:
    """The unit's times of 90 and 5 s made short."""
    drop_in = "/run/systemd/system/masthead.service.d/impatient.conf"
    installed.machine.write(drop_in, "[Service]\nWatchdogSec=4\nRestartSec=1\n")
    installed.machine.run("systemctl daemon-reload && systemctl restart masthead")
    yield
    installed.machine.run(f"rm {drop_in} && systemctl daemon-reload")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("signal", "said"), [("KILL", "status=9/KILL"), ("STOP", "Watchdog timeout")])
def test_an_agent_that_is_gone_or_hangs_is_started_again(mast: Mast, signal: str, said: str) -> None:
    """One that was killed, and one that stands still, as its watchdog tells, are back with nobody's help."""
    before, cursor = mast.pid, mast.machine.run("journalctl -n 0 --show-cursor").split("cursor: ")[1].strip()
    mast.machine.run(f"kill -{signal} {before}")
    assert _restarted(mast, before, within_s=60)
    assert said in mast.machine.run(f"journalctl -u masthead --after-cursor '{cursor}' -o cat --no-pager")
