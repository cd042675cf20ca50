"""`masthead check`: a line for everything, with a remedy for what fails."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from agent import timekeeping
from agent.checks import instruments
from agent.config import loads
from agent.daemon import Daemon
from agent.localhub.hub import LocalHub
from agent.localhub.thread import HubThread
from agent.state import StateLock
from hw import board, gpio
from hw.clock import SystemClock
from tests import gpiochip, i2c
from tests.gpiochip import Machine
from tests.hw.chips import As5600Chip, SdpChip

from .conftest import Masthead

VARIABLE = "IOTHUB_DEVICE_CONNECTION_STRING"


class Hub(NamedTuple):
    connection_string: str
    ca_file: Path


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A local hub with one device."""
    local = LocalHub(tmp_path_factory.mktemp("hub"))
    thread = HubThread(local)
    thread.start()
    try:
        local.ensure_device("mast-1")
        yield Hub(local.device_connection_string("mast-1"), Path(local.ca_file))
    finally:
        thread.stop()


def finding(output: str, what: str) -> str:
    """The line about ``what``."""
    lines = [line for line in output.splitlines() if line[6:].startswith(what)]
    assert len(lines) == 1, output
    return lines[0]


def test_all_is_well(masthead: Masthead, config: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 0, every line aligned, and neither colours nor secrets in a pipe."""
    monkeypatch.setenv(VARIABLE, hub.connection_string)
    monkeypatch.setenv("MASTHEAD_CA_FILE", str(hub.ca_file))
    monkeypatch.setattr(timekeeping, "kernel_synchronised", lambda: True)
    config.write_text(config.read_text().replace("seed = 1", 'driver = "simulated"'))
    result = masthead("check", "--config", config)
    assert (result.code, result.err) == (0, "")
    resolved, _, findings = result.out.rpartition("\n\n")
    assert loads(resolved).sensors[0].driver == "simulated"
    assert {line[:4] for line in findings.splitlines()} == {"ok  "}
    assert all(line[22:24] == "  " and line[24] != " " for line in findings.splitlines())
    assert "agent             not running" in result.out
    assert re.search(r": \d+\.\d m/s from \d+°  \[seed \d+", finding(result.out, "sensor top"))
    assert "device mast-1 at " in finding(result.out, "credential")
    assert "trusted by" in finding(result.out, "certificate")
    assert "synchronised" in finding(result.out, "clock")
    assert "SharedAccessKey" not in result.out
    assert not (config.parent / "state").exists()


def test_as_json(masthead: Masthead, config: Path) -> None:
    """One object a line, with the remedy apart."""
    result = masthead("check", "--json", "--config", config)
    found = {line["check"]: line for line in map(json.loads, result.out.splitlines())}
    assert (found["board"]["ok"], found["board"]["state"], found["board"]["remedy"]) == (True, "ok", None)
    assert (found["credential"]["ok"], found["credential"]["state"]) == (False, "failed")
    assert "masthead setup" in found["credential"]["remedy"]
    assert result.code == 1


def test_a_wrong_configuration_ends_it_with_all_its_errors(masthead: Masthead, config: Path) -> None:
    """The rest depends on it."""
    config.write_text("[telemetri]\n")
    result = masthead("check", "--config", config)
    assert result.code == 1
    assert [line[:19] for line in result.out.splitlines()[:-1]] == ["FAIL  configuration"] * 2
    assert "did you mean 'telemetry'?" in result.out


def test_a_simulated_sensor_by_auto_is_said_loudly(masthead: Masthead, config: Path) -> None:
    """So that nobody takes it for the wind."""
    assert "SIMULATED: this is a desktop" in finding(masthead("check", "--config", config).out, "sensor top")


def test_without_a_credential_it_says_where_to_put_one(masthead: Masthead, config: Path) -> None:
    """And asks no hub."""
    result = masthead("check", "--config", config)
    assert result.code == 1
    assert finding(result.out, "credential").startswith("FAIL")
    assert VARIABLE in finding(result.out, "credential")
    assert "certificate" not in result.out


@pytest.mark.parametrize("host", ["hub.invalid", "x" * 64 + ".invalid"])
def test_a_name_that_cannot_be_resolved(
    masthead: Masthead, config: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """Network, DNS, name: in this order."""
    monkeypatch.setenv(VARIABLE, f"HostName={host};DeviceId=d;SharedAccessKey=c2VjcmV0")
    result = masthead("check", "--config", config)
    assert result.code == 1
    assert f"{host} cannot be resolved (" in finding(result.out, "name")
    assert "check the network, its DNS and the name" in finding(result.out, "name")


def test_nobody_listens(masthead: Masthead, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub or the port."""
    monkeypatch.setenv(VARIABLE, "HostName=127.9.9.9;DeviceId=d;SharedAccessKey=c2VjcmV0")
    result = masthead("check", "--config", config)
    assert "127.9.9.9:8883 cannot be reached (Connection refused)" in finding(result.out, "hub")


def test_a_certificate_that_is_not_trusted(
    masthead: Masthead, config: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CA file, and the clock, which also can be the reason."""
    monkeypatch.setenv(VARIABLE, hub.connection_string)
    line = finding(masthead("check", "--config", config).out, "certificate")
    assert line.startswith("FAIL")
    assert "is not trusted: " in line
    assert "device.ca_file" in line
    assert "clock" in line


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_ca_file_that_is_none(
    masthead: Masthead, config: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    """Missing or no PEM: the file is named."""
    path = config.parent / "ca.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv(VARIABLE, hub.connection_string)
    monkeypatch.setenv("MASTHEAD_CA_FILE", str(path))
    out = masthead("check", "--config", config).out
    line = finding(out, "ca")
    assert line.startswith("FAIL")
    assert f"{path} (device.ca_file or MASTHEAD_CA_FILE) is no readable PEM file" in line
    assert finding(out, "hub").startswith("ok")
    assert "\nok    certificate" not in out


def test_something_else_at_the_port(
    masthead: Masthead, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked whether that is the hub."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr("agent.checks.hub._MQTT_PORT", server.getsockname()[1])
        monkeypatch.setattr("agent.checks.hub._TIMEOUT_S", 0.2)
        monkeypatch.setenv(VARIABLE, "HostName=127.0.0.1;DeviceId=d;SharedAccessKey=c2VjcmV0")
        line = finding(masthead("check", "--config", config).out, "certificate")
    assert "does not speak TLS as expected" in line


def test_beside_a_running_agent_the_sensors_are_left_alone(
    masthead: Masthead, config: Path, daemon: Daemon
) -> None:
    """They are its own."""
    out = masthead("check", "--config", config).out
    assert "running, hub link off" in finding(out, "agent")
    assert "in use by the running agent" in finding(out, "sensor top")
    assert finding(out, "state").startswith("ok")


def test_an_agent_that_cannot_be_asked_keeps_its_sensors(masthead: Masthead, config: Path) -> None:
    """The lock decides, not the socket."""
    with StateLock(config.parent / "state"):
        line = finding(masthead("check", "--config", config).out, "sensors")
    assert "not tried" in line
    assert "in use by another masthead" in line


def test_an_agent_that_does_not_answer_is_a_failure(
    masthead: Masthead, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that is stopping."""
    state = config.parent / "state"
    state.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(state / "s"))
        listener.listen()
        (state / "control").write_text(str(state / "s"))
        monkeypatch.setattr("agent.control._CLIENT_TIMEOUT_S", 0.1)
        assert "did not answer" in finding(masthead("check", "--config", config).out, "agent")


def test_a_sensor_that_fails_says_why(masthead: Masthead, config: Path, tmp_path: Path) -> None:
    """It cannot be opened, or it has no value."""
    series = tmp_path / "gap.csv"
    config.write_text(config.read_text().replace("seed = 1", f'driver = "replay"\nfile = "{series}"'))
    assert str(series) in finding(masthead("check", "--config", config).out, "sensor top")
    series.write_text("time_s,wind_speed_mps\n0,\n0.1,\n1000,3\n")
    line = finding(masthead("check", "--config", config).out, "sensor top")
    assert line.startswith("FAIL")
    assert "m/s" not in line


def test_a_disk_nearly_full_and_a_state_that_is_not_ours(
    masthead: Masthead, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with what to do."""
    (config.parent / "state").mkdir()
    usage = type(shutil.disk_usage("/"))(100, 99, 1_000_000)
    monkeypatch.setattr("agent.checks.storage.shutil.disk_usage", lambda path: usage)
    monkeypatch.setattr("agent.checks.storage.os.access", lambda path, mode: not mode & os.W_OK)
    out = masthead("check", "--config", config).out
    assert "1 MB free, below outbox.min_free_bytes (67 MB)" in finding(out, "disk")
    assert "chown it, or set device.state_directory" in finding(out, "state")


# --- pins and buses

RELAY = '\n[actuators.heater]\ndriver = "relay"\npin = 23\n'


@pytest.fixture
def pi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """A machine with the header of a Raspberry Pi 4 and one I2C bus."""
    dev = tmp_path / "dev"
    dev.mkdir()
    (dev / "i2c-1").touch()
    machine = gpiochip.install(monkeypatch, dev)
    machine.plug(0, "pinctrl-bcm2711", 58)
    monkeypatch.setattr(board, "DEV", dev)
    monkeypatch.setattr(board, "I2C_CLASS", tmp_path / "none")
    return machine


def test_pins_and_buses_are_listed(masthead: Masthead, config: Path, pi: Machine) -> None:
    """With what they are called."""
    out = masthead("check", "--config", config).out
    assert "pinctrl-bcm2711, 58 lines" in finding(out, "gpiochip0")
    assert finding(out, "i2c-1").endswith("unnamed adapter")


def test_the_line_of_an_actuator_is_looked_for_and_not_touched(
    masthead: Masthead, config: Path, pi: Machine
) -> None:
    """It is there, or there is no such line, or it may not be used."""
    text = config.read_text()
    config.write_text(text + RELAY)
    line = finding(masthead("check", "--config", config).out, "actuator heater")
    assert line.startswith("ok")
    assert "GPIO 23 is line 23 of" in line
    assert pi.opened == []
    config.write_text(text + RELAY.replace("23", "99"))
    assert "has no GPIO 99: it has 0 to 57" in finding(
        masthead("check", "--config", config).out, "actuator heater"
    )


def test_pulses_through_gpiozero_are_remarked(
    masthead: Masthead, config: Path, pi: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where libgpiod 2 is missing, pulses may be lost under load."""
    config.write_text(
        config.read_text().replace("seed = 1", 'driver = "gpio-pulse"\nmodel = "davis-6410"\npin = 17')
    )
    monkeypatch.setattr(gpio, "has_gpiod", lambda: False)
    monkeypatch.setattr(instruments, "_FIRST_VALUE_S", 0.0)
    assert "pulses may be lost under load" in finding(masthead("check", "--config", config).out, "edges")
    monkeypatch.setattr(gpio, "has_gpiod", lambda: True)
    assert "pulses may be lost" not in masthead("check", "--config", config).out


def test_a_sensor_that_needs_a_moment_is_given_it(
    masthead: Masthead, config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is no value yet may be one at the next sample; a chip that does not answer is not waited for."""
    fake = i2c.install(monkeypatch)
    fake.chips[1][0x25] = SdpChip(SystemClock())
    monkeypatch.setattr(instruments, "_SAMPLE_EVERY_S", 0.03)
    sdp = 'driver = "sdp"'
    config.write_text(config.read_text().replace("seed = 1", sdp))
    line = finding(masthead("check", "--config", config).out, "sensor top")
    assert line.startswith("ok"), line
    assert "0.0 m/s  [pascal 0, celsius 25]" in line
    del fake.chips[1][0x25]
    line = finding(masthead("check", "--config", config).out, "sensor top")
    assert "no answer from 0x25 on /dev/i2c-1: is it wired and powered? i2cdetect -y 1" in line


def test_a_sensor_with_a_vane_is_given_the_same_moment(
    masthead: Masthead, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vane has a value at once; that is not yet all."""
    fake = i2c.install(monkeypatch)
    fake.chips[1] |= {0x25: SdpChip(SystemClock()), 0x36: As5600Chip(1024)}
    monkeypatch.setattr(instruments, "_SAMPLE_EVERY_S", 0.03)
    stanza = 'driver = "sdp"\n[sensor.vane]\ndriver = "as5600"'
    config.write_text(config.read_text().replace("seed = 1", stanza))
    line = finding(masthead("check", "--config", config).out, "sensor top")
    assert line.startswith("ok"), line
    assert "0.0 m/s from 90°" in line


SLOW = """driver = "ads1115"
model = "adafruit-1733"
input = 0
data_rate_sps = 8
"""


def test_a_converter_that_is_too_slow_is_told(
    masthead: Masthead, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One input at 8 a second keeps up with 4 samples a second, three inputs of one chip do not."""
    i2c.install(monkeypatch)
    monkeypatch.setattr(instruments, "_FIRST_VALUE_S", 0.0)
    text = config.read_text()
    config.write_text(text.replace("seed = 1", SLOW))
    assert "gusts are missing" not in masthead("check", "--config", config).out
    second = (
        SLOW.replace("input = 0", "input = 1") + "[sensor.vane]\n" + SLOW.replace("input = 0", "input = 2")
    )
    second = '[[sensor]]\nid = "low"\n' + second.replace(
        'vane]\ndriver = "ads1115"\nmodel = "adafruit-1733"', 'vane]\ndriver = "ads1115"\nmodel = "sen-15901"'
    )
    config.write_text(text.replace("seed = 1", SLOW + second))
    line = finding(masthead("check", "--config", config).out, "sampling")
    assert "the converter 0x48 on bus 1 takes 0.38 s for a sample, one is due every 0.25 s" in line


def test_what_the_running_agent_sees_is_told(masthead: Masthead, config: Path, daemon: Daemon) -> None:
    """Its sensors' values and its actuators' states."""
    daemon._wait_for_first_samples()
    out = masthead("check", "--config", config).out
    assert re.search(r"in use by the running agent: \d+\.\d m/s from", finding(out, "sensor top"))
    assert finding(out, "actuator beacon").endswith("in use by the running agent: off")
