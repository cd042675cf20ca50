"""The exit program on simulated lines: what is safe when the agent cannot see to it.

A simulated line goes back to its pull when nobody holds it. So the pull is set to the unsafe side, and the
level is read while the exit program holds the line; the kernel's trace tells of every level that was set.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .mast import BEACON, CONFIG_TEXT, HEATER, MASTHEAD, PYTHON, Mast

SAFE = {BEACON: 0, HEATER: 1}
_PID = "$(systemctl show masthead -p MainPID --value)"


@pytest.fixture(autouse=True)
def pulled_to_unsafe(installed: Mast) -> Iterator[None]:
    """What hangs on a line that nobody drives is on."""
    yield
    installed.stop()
    installed.machine.attempt("systemctl reset-failed masthead")
    for line in SAFE:
        installed.pull(line, "down")


def _pull_to_unsafe(mast: Mast) -> None:
    for line, safe in SAFE.items():
        mast.pull(line, "down" if safe else "up")


def _both_on(mast: Mast) -> None:
    for name, line in (("beacon", BEACON), ("heater", HEATER)):
        mast.actuate(name, "on", for_s=600)
        assert mast.level(line) != SAFE[line]
    _pull_to_unsafe(mast)  # not before: who lets go of a line sets its pull


def _levels_set(mast: Mast, line: int) -> set[int]:
    return {level for what, level in mast.traced(line) if what == "set"}


@pytest.fixture
def impatient(installed: Mast) -> Iterator[None]:
    """The watchdog's 90 s made short."""
    drop_in = "/run/systemd/system/masthead.service.d/impatient.conf"
    installed.stop()
    installed.machine.write(drop_in, "[Service]\nWatchdogSec=4\n")
    installed.machine.run("systemctl daemon-reload")
    installed.start()
    yield
    installed.machine.run(f"rm {drop_in} && systemctl daemon-reload")


def test_the_agent_says_what_it_drives_before_it_drives(mast: Mast) -> None:
    """While it runs the resolved lines stand in the runtime directory, with their safe levels."""
    said = mast.machine.run("cat /run/masthead/safe")
    assert said.splitlines()[1:] == [
        f"/dev/gpiochip0 {BEACON} 0 beacon",
        f"/dev/gpiochip0 {HEATER} 1 heater",
    ]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "cause",
    [f"kill -KILL {_PID}", f"kill -STOP {_PID}", "systemctl stop masthead"],
    ids=["SIGKILL", "the watchdog", "a clean stop"],
)
def test_outputs_are_safe_after_the_agent(mast: Mast, cause: str) -> None:
    """Driven on, their pull on the unsafe side: they are safe while the exit program holds them.

    From the end on nobody has set another level.
    """
    _both_on(mast)
    mast.trace()
    levels = mast.held_safe(cause, *SAFE)
    assert levels == list(SAFE.values())
    for line, safe in SAFE.items():
        assert _levels_set(mast, line) == {safe}


@pytest.fixture
def broken(installed: Mast, request: pytest.FixtureRequest) -> Iterator[Mast]:
    """A mast whose agent ran once and cannot start any more."""
    if installed.unit("ActiveState") != "active":
        installed.start()
    installed.stop()
    match request.param:
        case "a wrong configuration":
            installed.machine.run("rm -r /run/masthead")  # as after a power cut
            installed.configure(CONFIG_TEXT + "[outbx]\n")
        case "no TOML":
            installed.configure(CONFIG_TEXT + "[outbox\n")
        case "no masthead":
            installed.machine.run(f"mv {MASTHEAD} {MASTHEAD}.gone")
    _pull_to_unsafe(installed)
    yield installed
    installed.stop()
    installed.machine.run(f"test -e {MASTHEAD} || mv {MASTHEAD}.gone {MASTHEAD}")
    installed.configure(CONFIG_TEXT)


@pytest.mark.parametrize(
    "broken",
    [
        "a wrong configuration",
        pytest.param("no TOML", marks=pytest.mark.long),
        pytest.param("no masthead", marks=pytest.mark.long),
    ],
    indirect=True,
)
def test_outputs_are_safe_after_a_start_that_failed(broken: Mast) -> None:
    """By what is in order in a wrong configuration, or by what the last run has left."""
    for line, safe in SAFE.items():
        assert broken.level(line) != safe, "the pull is not on the unsafe side"
    assert broken.held_safe("systemctl start masthead", *SAFE) == list(SAFE.values())


_HOLDER = f"""
import gpiod, time
output = gpiod.LineSettings(direction=gpiod.line.Direction.OUTPUT)
with gpiod.request_lines("/dev/gpiochip0", {{{HEATER}: output}}, consumer="other"):
    time.sleep(600)
"""


def test_a_line_that_another_program_holds_is_told_and_keeps_no_other_from_it(installed: Mast) -> None:
    """The journal says which was driven and which was not, and why; the unit counts as failed."""
    machine = installed.machine
    installed.stop()
    machine.write("/root/holder.py", _HOLDER)
    machine.run(f"systemd-run -q --unit=holder {PYTHON} /root/holder.py")
    machine.run(
        "for i in $(seq 100); do grep -q '|other ' /sys/kernel/debug/gpio && exit; sleep 0.1; done; exit 1"
    )
    try:
        installed.start()
        cursor = machine.run("journalctl -n 0 --show-cursor").split("cursor: ")[1].strip()
        assert installed.held_safe("systemctl stop masthead", BEACON) == [SAFE[BEACON]]
        said = machine.run(f"journalctl -u masthead --after-cursor '{cursor}' -o cat --no-pager")
        where = f"line {HEATER} of /dev/gpiochip0 is not driven high"
        assert f"NOT SAFE: heater: {where}: Device or resource busy\n" in said
        assert f"safe: beacon: line {BEACON} of /dev/gpiochip0 is driven low\n" in said
        assert installed.unit("ActiveState") == "failed"
    finally:
        machine.run("systemctl stop holder")
