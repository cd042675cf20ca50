"""The file that the exit program goes by: its invariants, by their numbers, and who writes it when."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click
import pytest

from agent.cli.run import run_command
from agent.config import loads
from agent.daemon import Daemon
from agent.parts import open_actuators
from agent.safe_file import HEADER, SafeFile
from agent.state import StateLock
from hw.actuator import SafeLine
from hw.actuators.relay import Relay
from hw.errors import DeviceUnavailable
from tests.clock import FakeClock
from tests.gpiochip import Machine, install

SENSOR = '[[sensor]]\nid = "top"\ndriver = "simulated"\n'
RELAYS = """
[actuators.beacon]
driver = "relay"
pin = 22
[actuators.heater]
driver = "relay"
pin = 23
active = "low"
[actuators.lamp]
driver = "simulated"
"""
CHIP = "/dev/gpiochip0"


@pytest.fixture
def pi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """A Raspberry Pi whose service has directories of its own."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "run").mkdir()
    machine = install(monkeypatch, tmp_path / "dev")
    machine.plug(0, "pinctrl-bcm2711", 58)
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{tmp_path / 'run'}:/elsewhere")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    return machine


def rows(machine: Machine) -> list[str] | None:
    """What the file says, without its header and the folder of the chips; None if there is none."""
    file = machine.dev.parent / "run" / "safe"
    if not file.exists():
        return None
    header, *lines = file.read_text().splitlines()
    assert header == HEADER
    return [line.removeprefix(f"{machine.dev}/") for line in lines]


BOTH = ["gpiochip0 22 0 beacon", "gpiochip0 23 1 heater"]


# --- the invariants


def test_1_a_line_stands_in_the_file_before_it_is_claimed(
    pi: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All lines of the configuration, at the first claim."""
    seen: list[list[str] | None] = []
    claim = pi.lgpio.gpio_claim_output

    def claimed(*arguments: Any) -> None:
        seen.append(rows(pi))
        claim(*arguments)

    monkeypatch.setattr(pi.lgpio, "gpio_claim_output", claimed)
    opened = open_actuators(loads(SENSOR + RELAYS).actuators, FakeClock(), safe_file=SafeFile.of_service())
    assert seen == [BOTH, BOTH]
    for guarded in opened.values():
        guarded.actuator.close()


def test_1_also_where_the_chip_comes_late(pi: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its line is added before it is claimed, when the chip is there at last; the others' stay."""
    table = SENSOR + RELAYS.replace("pin = 23\n", 'pin = 3\nchip = "gpiochip2"\n')
    clock = FakeClock()
    opened = open_actuators(loads(table).actuators, clock, wait=True, safe_file=SafeFile.of_service())
    assert rows(pi) == BOTH[:1]
    pi.plug(2, "pcf8574", 8)
    seen: list[list[str] | None] = []
    claim = pi.lgpio.gpio_claim_output

    def claimed(*arguments: Any) -> None:
        seen.append(rows(pi))
        claim(*arguments)

    monkeypatch.setattr(pi.lgpio, "gpio_claim_output", claimed)
    clock.advance(60)
    opened["heater"].actuator.drive(True)
    assert seen == [[BOTH[0], "gpiochip2 3 1 heater"]]
    for guarded in opened.values():
        guarded.actuator.close()


def test_2_the_file_is_whole_at_any_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the new one is complete the old one stands: a crash in between loses neither."""
    file = SafeFile(tmp_path)
    file.write({"beacon": [SafeLine(CHIP, 22, False)]})
    before = (tmp_path / "safe").read_text()

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        file.add("heater", [SafeLine(CHIP, 23, True)])
    assert (tmp_path / "safe").read_text() == before


def test_3_a_line_that_two_disagree_about_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither is believed, which is told once; where they agree it stands there once."""
    file = SafeFile(tmp_path)
    lines = {
        "beacon": [SafeLine(CHIP, 22, False), SafeLine(CHIP, 24, True)],
        "heater": [SafeLine(CHIP, 22, True), SafeLine(CHIP, 24, True)],
    }
    file.write(lines)
    file.write(lines)
    assert (tmp_path / "safe").read_text() == f"{HEADER}\n{CHIP} 24 1 beacon\n"
    assert [record.getMessage() for record in caplog.records] == [
        f"line 22 of {CHIP} is not driven safe after a crash: beacon and heater disagree about its safe level"
    ]


def test_4_what_cannot_be_written_is_told_and_the_agent_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An error in the log that says what it means; nothing is raised."""
    SafeFile(tmp_path / "missing").write({"heater": [SafeLine(CHIP, 23, True)]})
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "cannot be written (No such file or directory)" in record.getMessage()
    assert record.getMessage().endswith("will not know of heater")


# --- what it says


def test_a_name_cannot_make_a_line(tmp_path: Path) -> None:
    """A wrong configuration may have any name in it."""
    SafeFile(tmp_path).write({"a\nb\r c": [SafeLine(CHIP, 23, True)]})
    assert (tmp_path / "safe").read_bytes() == f"{HEADER}\n{CHIP} 23 1 a b c\n".encode()


def test_what_is_known_is_not_written_again(tmp_path: Path) -> None:
    """An actuator that is asked for again every ten seconds costs nothing."""
    file = SafeFile(tmp_path)
    file.add("heater", [SafeLine(CHIP, 23, True)])
    (tmp_path / "safe").unlink()
    file.add("heater", [SafeLine(CHIP, 23, True)])
    file.add("lamp", [])
    assert not (tmp_path / "safe").exists()


# --- who writes it


def test_without_a_service_nothing_is_written(pi: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no exit program then."""
    monkeypatch.delenv("RUNTIME_DIRECTORY")
    assert SafeFile.of_service() is None


def test_the_daemon_writes_it_and_leaves_it(
    pi: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands there while the agent runs, and after its end for the exit program."""
    for name in ("IOTHUB_DEVICE_CONNECTION_STRING", "CREDENTIALS_DIRECTORY", "MASTHEAD_CA_FILE"):
        monkeypatch.delenv(name, raising=False)
    daemon = Daemon(loads(f'[device]\nstate_directory = "{tmp_path / "state"}"\n{SENSOR}{RELAYS}'))
    daemon.start()
    try:
        assert rows(pi) == BOTH
    finally:
        daemon.shut_down()
    assert rows(pi) == BOTH


def test_only_the_daemon_writes(pi: Machine) -> None:
    """`masthead actuate` and `check` open actuators too, and leave the file to who runs under systemd."""
    for guarded in open_actuators(loads(SENSOR + RELAYS).actuators, FakeClock()).values():
        guarded.actuator.close()
    assert rows(pi) is None


def test_pins_that_somebody_has_chosen_are_no_lines(pi: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a mock nothing of this machine is driven, by us or by the exit program."""
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "mock")
    opened = open_actuators(loads(SENSOR + RELAYS).actuators, FakeClock(), safe_file=SafeFile.of_service())
    assert rows(pi) == []
    for guarded in opened.values():
        guarded.actuator.close()


def test_a_driver_that_names_no_lines_has_none(pi: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of somebody else's need not know of the file."""
    monkeypatch.delattr(Relay, "safe_lines")
    opened = open_actuators(loads(SENSOR + RELAYS).actuators, FakeClock(), safe_file=SafeFile.of_service())
    assert rows(pi) == []
    for guarded in opened.values():
        guarded.actuator.close()


# --- a configuration that is wrong


def run(folder: Path, text: str) -> str:
    """What `masthead run` says to this configuration."""
    file = folder / "masthead.toml"
    file.write_text(text)
    with pytest.raises(click.ClickException) as error:
        run_command.main(["--config", str(file)], standalone_mode=False)
    assert error.value.exit_code == 1
    return str(error.value)


@pytest.mark.parametrize(
    "wrong",
    [
        "[outbx]\n" + SENSOR + RELAYS,
        RELAYS,
        SENSOR + RELAYS + '[actuators.siren]\ndriver = "relay"\npin = "24"\n',
        SENSOR + RELAYS + '[actuators.siren]\ndriver = "realy"\npin = 24\n',
    ],
    ids=["another table", "no sensor", "an actuator's setting", "an actuator's driver"],
)
def test_what_is_in_order_in_a_wrong_configuration_can_be_made_safe(
    pi: Machine, tmp_path: Path, wrong: str
) -> None:
    """We end, as ever, with what is wrong; the file has the actuators whose own tables are right."""
    assert "masthead.toml: " in run(tmp_path, wrong)
    assert rows(pi) == BOTH


@pytest.mark.parametrize("wrong", ["[[sensor", "[outbx]\n"], ids=["no TOML", "no actuators"])
def test_where_nothing_is_in_order_the_last_file_stays(pi: Machine, tmp_path: Path, wrong: str) -> None:
    """It is what is known of the lines that the last run drove."""
    run(tmp_path, "[outbx]\n" + SENSOR + RELAYS)
    run(tmp_path, wrong)
    assert rows(pi) == BOTH


def test_a_running_agents_file_is_left_alone(pi: Machine, tmp_path: Path) -> None:
    """Who does not get the state lock does not write, and says only what is wrong."""
    with StateLock(tmp_path / "state"):
        assert "outbx" in run(tmp_path, "[outbx]\n" + SENSOR + RELAYS)
    assert rows(pi) is None


def test_without_a_service_a_wrong_configuration_leaves_no_trace(
    pi: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even a state directory."""
    monkeypatch.delenv("RUNTIME_DIRECTORY")
    run(tmp_path, "[outbx]\n" + SENSOR + RELAYS)
    assert not (tmp_path / "state").exists()


def test_a_chip_that_is_missing_takes_no_other_along(pi: Machine, tmp_path: Path) -> None:
    """What can be found is written."""
    table = RELAYS.replace("pin = 22\n", 'pin = 2\nchip = "gpiochip9"\n')
    run(tmp_path, "[outbx]\n" + SENSOR + table)
    assert rows(pi) == BOTH[1:]
    with pytest.raises(DeviceUnavailable):
        Relay.safe_lines(Relay.Settings(2, "gpiochip9"))
