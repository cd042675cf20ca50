"""`masthead check`: a line for everything, with a remedy for what fails."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from agent import timekeeping
from agent.config import loads
from agent.daemon import Daemon
from agent.localhub.hub import LocalHub
from agent.localhub.thread import HubThread
from agent.state import StateLock

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
    assert {line[:4] for line in findings.splitlines()} == {"ok  ", "note"}
    assert all(line[22:24] == "  " and line[24] != " " for line in findings.splitlines())
    assert "agent             not running" in result.out
    assert finding(result.out, "sensor top").endswith(" m/s")
    assert "device mast-1 at " in finding(result.out, "credential")
    assert "trusted by" in finding(result.out, "certificate")
    assert "synchronised" in finding(result.out, "clock")
    assert "SharedAccessKey" not in result.out
    assert not (config.parent / "state").exists()


def test_as_json(masthead: Masthead, config: Path) -> None:
    """One object a line; notes are no failures."""
    result = masthead("check", "--json", "--config", config)
    found = {line["check"]: line["ok"] for line in map(json.loads, result.out.splitlines())}
    assert found["board"] is True
    assert found["credential"] is False
    assert result.code == 1


def test_a_wrong_configuration_ends_it_with_all_its_errors(masthead: Masthead, config: Path) -> None:
    """The rest depends on it."""
    config.write_text("[telemetri]\n")
    result = masthead("check", "--config", config)
    assert result.code == 1
    assert [line[:19] for line in result.out.splitlines()] == ["FAIL  configuration"] * 2
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
    assert "is not trusted (" in line
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
    line = finding(masthead("check", "--config", config).out, "certificate")
    assert f"{path} (device.ca_file or MASTHEAD_CA_FILE) is no readable PEM file" in line


def test_something_else_at_the_port(
    masthead: Masthead, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked whether that is the hub."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr("agent.cli.check._MQTT_PORT", server.getsockname()[1])
        monkeypatch.setattr("agent.cli.check._TIMEOUT_S", 0.2)
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
    monkeypatch.setattr("agent.cli.check.shutil.disk_usage", lambda path: usage)
    monkeypatch.setattr("agent.cli.check.os.access", lambda path, mode: mode != os.W_OK)
    out = masthead("check", "--config", config).out
    assert "1 MB free, below outbox.min_free_bytes (67 MB)" in finding(out, "disk")
    assert "chown it, or set device.state_directory" in finding(out, "state")
