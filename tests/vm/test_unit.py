"""The real unit under the real systemd."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from .mast import BEACON, CONFIG, CONFIG_TEXT, MASTHEAD, PYTHON, Mast


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
    assert "not sending, " in line
    assert " waiting" in line


def test_its_exposure_is_small(mast: Mast) -> None:
    """systemd rates the unit as it is loaded, with pins and bus in use, at 1.6 of 10 at most."""
    rated = mast.machine.run("systemd-analyze security masthead --no-pager")
    (line,) = [line for line in rated.splitlines() if "Overall exposure" in line]
    assert float(line.split(":")[1].split()[0]) <= 1.6


def test_the_clock_can_be_asked_for(mast: Mast) -> None:
    """No filter keeps the agent from knowing that the kernel's clock is synchronised."""
    code = f"{PYTHON} -c 'from ctypes import *; print(CDLL(None).adjtimex(create_string_buffer(512)))'"
    sandbox = mast.machine.run("systemctl cat masthead | grep -E '^(SystemCall|Protect|Private|Restrict)'")
    options = " ".join(f"-p '{line}'" for line in sandbox.splitlines())
    said = mast.machine.run(f"systemd-run -q --pipe --wait -p User=masthead {options} {code}")
    assert int(said) >= 0


def test_a_reload_keeps_the_process_and_what_it_measures(mast: Mast) -> None:
    """`systemctl reload` ends when the agent goes by the new file; pins, bus and relays work as before."""
    before = mast.pid
    mast.configure(CONFIG_TEXT.replace('id = "reed"', 'id = "mid"'))
    mast.machine.run("systemctl reload masthead", timeout=120)
    try:
        assert (mast.unit("ActiveState"), mast.pid) == ("active", before)
        samples = mast.sample()
        assert set(samples) == {"top", "mid", "volts"}
        mast.actuate("beacon", "on", 20)
        assert mast.level(BEACON) == 1
    finally:
        mast.configure(CONFIG_TEXT)
        mast.machine.run(f"kill -HUP {before}")
    end = time.monotonic() + 120
    while set(mast.sample()) != set(mast.sensors):
        assert time.monotonic() < end
    assert mast.level(BEACON) == 0
    assert (mast.unit("ActiveState"), mast.pid) == ("active", before)


def test_a_reload_of_a_wrong_file_fails_and_changes_nothing(mast: Mast) -> None:
    """`systemctl reload` fails, status line and journal say why, the agent measures on."""
    before = mast.pid
    mast.configure(CONFIG_TEXT + "[nonsense]\n")
    try:
        assert mast.machine.attempt("systemctl reload masthead", timeout=120).returncode != 0
        assert (mast.unit("ActiveState"), mast.pid) == ("active", before)
        assert "CONFIGURATION NOT TAKEN" in mast.unit("StatusText")
        told = mast.machine.run("journalctl MASTHEAD_EVENT=reload-refused -o cat --no-pager")
        assert "nonsense: unknown table" in told
    finally:
        mast.configure(CONFIG_TEXT)
    mast.machine.run("systemctl reload masthead", timeout=120)
    assert "NOT TAKEN" not in mast.unit("StatusText")


@pytest.mark.long
def test_setup_gives_the_service_its_connection_string(mast: Mast) -> None:
    """Encrypted by systemd-creds and read by the hardened unit; the hub is nowhere, and setup says so."""
    secret = "HostName=127.0.0.1;DeviceId=of-setup;SharedAccessKey=c2VjcmV0"
    setup = f"timeout -s INT 300 {MASTHEAD} setup --connection-string-file - --yes"
    try:
        done = mast.machine.attempt(setup, timeout=330, stdin=secret.encode())
        assert "/etc/credstore.encrypted/masthead.connection-string, encrypted" in done.stdout
        assert "/etc/masthead/masthead.toml stays as it is" in done.stdout
        assert "no reading is confirmed yet: hub link" in done.stderr
        told = json.loads(mast.machine.run(f"{MASTHEAD} status --json --config {CONFIG}"))
        assert (told["deviceId"], told["hub"]) == ("of-setup", "127.0.0.1")
        everything = "journalctl --no-pager; cat /etc/credstore.encrypted/*; systemctl cat masthead"
        assert "c2VjcmV0" not in mast.machine.run(everything) + done.stdout + done.stderr
    finally:
        places = "/etc/systemd/system/masthead.service.d/credential.conf /etc/credstore.encrypted/masthead.*"
        mast.machine.run(f"rm -f {places}; systemctl daemon-reload; systemctl restart masthead")


@pytest.fixture(scope="module")
def impatient(installed: Mast) -> Iterator[None]:
    """The unit's times of 90 and 5 s made short."""
    drop_in = "/run/systemd/system/masthead.service.d/impatient.conf"
    installed.machine.write(drop_in, "[Service]\nWatchdogSec=4\nRestartSec=1\n")
    installed.machine.run("systemctl daemon-reload && systemctl restart masthead")
    yield
    installed.machine.run(f"rm {drop_in} && systemctl daemon-reload")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("signal", "said"),
    [pytest.param("KILL", "status=9/KILL", marks=pytest.mark.long), ("STOP", "Watchdog timeout")],
)
def test_an_agent_that_is_gone_or_hangs_is_started_again(mast: Mast, signal: str, said: str) -> None:
    """One that was killed, and one that stands still, as its watchdog tells, are back with nobody's help."""
    before, cursor = mast.pid, mast.machine.run("journalctl -n 0 --show-cursor").split("cursor: ")[1].strip()
    mast.machine.run(f"kill -{signal} {before}")
    assert _restarted(mast, before, within_s=60)
    assert said in mast.machine.run(f"journalctl -u masthead --after-cursor '{cursor}' -o cat --no-pager")
