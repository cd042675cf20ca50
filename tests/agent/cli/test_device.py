"""`status`, `sample`, `outbox` and `actuate`, with a running agent and without."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from agent.cli.sample import sample_line
from agent.config import load
from agent.daemon import Daemon
from agent.stopping import StopRequest
from tests import i2c
from tests.hw.chips import As5600Chip, Fs3000Chip

from .conftest import Masthead


@pytest.mark.parametrize("command", [["status"], ["outbox"], ["status", "--watch"]])
def test_without_an_agent_one_line_says_so(masthead: Masthead, config: Path, command: list[str]) -> None:
    """Exit 1, with what to do."""
    result = masthead(*command, "--config", config)
    state = config.parent / "state"
    assert (result.code, result.out) == (1, "")
    assert result.err == f"Error: no agent is running on {state}: start one with `masthead run`\n"


def test_status(masthead: Masthead, config: Path, daemon: Daemon) -> None:
    """For a person, and as JSON the same."""
    result = masthead("status", "--config", config)
    assert result.code == 0
    assert f"run {daemon.run_id}" in result.out
    assert "actuator  beacon: off" in result.out
    status = json.loads(masthead("status", "--json", "--config", config).out)
    assert status["run"] == daemon.run_id
    assert status["link"]["state"] == "off"
    assert status["sensors"]["top"]["simulated"] is True


def test_status_is_watched_until_ctrl_c(
    masthead: Masthead, config: Path, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Again and again, and the end is no failure."""
    seconds: list[float] = []

    def sleep(s: float) -> None:
        seconds.append(s)
        if len(seconds) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("agent.cli.device.time.sleep", sleep)
    result = masthead("status", "--watch", "--config", config)
    assert (result.code, result.err) == (0, "")
    assert result.out.count("actuator  beacon") == 3


def test_outbox(masthead: Masthead, config: Path, daemon: Daemon) -> None:
    """Figures with their meaning, and as JSON."""
    result = masthead("outbox", "--config", config)
    assert result.code == 0
    assert "  waiting for the hub\n" in result.out
    assert json.loads(masthead("outbox", "--json", "--config", config).out)["confirmed"] == 0


def test_sample_without_an_agent_reads_the_sensors(masthead: Masthead, config: Path) -> None:
    """With what the instrument says beside it; the sensors are free again afterwards."""
    for _ in range(2):
        result = masthead("sample", "--count", 2, "--every", 0.1, "--config", config)
        lines = result.out.splitlines()
        assert (result.code, len(lines)) == (0, 2)
        assert all(" m/s  from " in line and "[seed 1, elapsed_s " in line for line in lines)
        assert all(line.endswith("(simulated)") for line in lines)


def test_sample_as_json(masthead: Masthead, config: Path) -> None:
    """One object a line."""
    result = masthead("sample", "--count", 1, "--json", "--config", config)
    sample = json.loads(result.out)
    assert (sample["sensor"], sample["simulated"], sample["raw"]["seed"]) == ("top", True, 1)
    assert sample["windSpeed"] >= 0


def test_sample_asks_the_agent_that_owns_the_sensors(
    masthead: Masthead, config: Path, daemon: Daemon
) -> None:
    """Its samples, in the same form."""
    daemon._wait_for_first_samples()
    result = masthead("sample", "--count", 1, "--json", "--config", config)
    sample = json.loads(result.out)
    assert sample["windSpeed"] == daemon.snapshot()["sensors"]["top"]["windSpeed"] or sample["windSpeed"] >= 0
    assert set(sample) == {
        "sensor",
        "time",
        "windSpeed",
        "windDirection",
        "fault",
        "flags",
        "raw",
        "simulated",
    }


def test_a_sensor_that_cannot_be_opened_hides_no_other(masthead: Masthead, config: Path) -> None:
    """It is shown with what is wrong, as any sensor without a value."""
    second = '[[sensor]]\nid = "low"\ndriver = "replay"\nfile = "/none.csv"\n\n[actuators.beacon]'
    config.write_text(config.read_text().replace("[actuators.beacon]", second))
    result = masthead("sample", "--count", 1, "--every", 0.3, "--config", config)
    top, low = result.out.splitlines()
    assert (result.code, " m/s " in top) == (0, True)
    assert "low       no value: /none.csv: cannot be read" in low


def test_a_sample_without_a_value_shows_the_fault(masthead: Masthead, config: Path, tmp_path: Path) -> None:
    """A fault is not a number."""
    series = tmp_path / "gap.csv"
    series.write_text("time_s,wind_speed_mps\n0,\n0.1,\n1000,3\n")
    config.write_text(config.read_text().replace("seed = 1", f'driver = "replay"\nfile = "{series}"'))
    result = masthead("sample", "--count", 1, "--config", config)
    assert (result.code, "no value: " in result.out) == (0, True)
    sample = json.loads(masthead("sample", "--count", 1, "--json", "--config", config).out)
    assert sample["windSpeed"] is None
    assert sample["fault"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["beacon", "on"], "beacon is on"),
        (["beacon", "TRUE", "--for", "5"], "beacon is on"),
        (["beacon", "off"], "beacon is off"),
        (["vent", "-2.5"], "vent is -2.5"),
        (["vent", "30", "--json"], '{"actuator": "vent", "value": 30.0}'),
    ],
)
def test_actuate(masthead: Masthead, config: Path, daemon: Daemon, words: list[str], said: str) -> None:
    """On, off or a number, which may be negative."""
    result = masthead("actuate", *words, "--config", config)
    assert (result.code, result.out, result.err) == (0, f"{said}\n", "")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["becon", "on"], 1, "Error: unknown-actuator: 'becon', did you mean 'beacon'?"),
        (["beacon", "3"], 1, "Error: bad-value: expected true or false, got 3.0"),
        (["vent", "nan"], 1, "Error: bad-value: expected a number from -10 to 90"),
        (["beacon", "on", "--for", "inf"], 2, "expected a number of seconds, got 'inf'"),
        (["beacon", "on", "--for", "nan"], 2, "expected a number of seconds, got 'nan'"),
        (["beacon", "on", "--for", "0"], 2, "0.0 is not in the range x>0"),
        (["beacon", "maybe"], 2, "expected on, off or a number, got 'maybe'"),
        (["beacon"], 2, "Missing argument 'VALUE'"),
    ],
)
def test_actuate_errors(
    masthead: Masthead, config: Path, daemon: Daemon, words: list[str], code: int, said: str
) -> None:
    """Each with its reason, and nothing has moved."""
    result = masthead("actuate", *words, "--config", config)
    assert (result.code, result.out) == (code, "")
    assert said in result.err
    assert daemon.guard.status["beacon"].value is False


def test_actuate_without_an_agent_stays_until_the_actuator_is_safe(masthead: Masthead, config: Path) -> None:
    """It drives, waits for the end of the time, and leaves the actuator and the state directory free."""
    for _ in range(2):
        result = masthead("actuate", "beacon", "on", "--for", "0.05", "--config", config)
        assert (result.code, result.out, result.err) == (0, "beacon is on\n", "")
    refused = masthead("actuate", "becon", "on", "--config", config)
    assert refused.code == 1
    assert "did you mean 'beacon'?" in refused.err


def test_actuate_without_an_agent_ends_with_ctrl_c(
    masthead: Masthead, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a time it stays until it is interrupted, which is no failure."""

    def interrupt(stopping: StopRequest, _: float) -> bool:
        os.kill(os.getpid(), signal.SIGINT)
        return stopping.is_set()

    monkeypatch.setattr(StopRequest, "wait", interrupt)
    result = masthead("actuate", "beacon", "on", "--config", config)
    assert (result.code, result.out, result.err) == (0, "beacon is on\n", "")


def test_actuate_without_an_agent_waits_for_a_rest(masthead: Masthead, config: Path) -> None:
    """Nobody knows what the actuator did before: it rests first, and this is said."""
    config.write_text(config.read_text().replace("[actuators.beacon]", "[actuators.beacon]\nmin_off_s = 0.1"))
    result = masthead("actuate", "beacon", "on", "--for", "0.05", "--config", config)
    assert (result.code, result.out) == (0, "beacon is on\n")
    assert result.err == "waiting: it rests for 0.1 s in its safe state\n"


def test_actuate_without_an_agent_keeps_to_the_interlock(masthead: Masthead, config: Path) -> None:
    """Nobody measures the wind then, and it outranks whoever asks."""
    interlock = "[actuators.beacon.interlock]\ntrip_mps = 9\n"
    config.write_text(f"{config.read_text()}\n{interlock}")
    result = masthead("actuate", "beacon", "on", "--config", config)
    assert (result.code, result.out) == (1, "")
    assert result.err == "Error: interlock: the wind is not known yet at top\n"


def test_hold_and_release(masthead: Masthead, config: Path, daemon: Daemon) -> None:
    """The status shows who holds and what that means; a release ends it."""
    held = masthead("hold", "--for", 90, "--config", config)
    assert (held.code, held.err) == (0, "")
    assert held.out == "held for 1 min 30 s: the cloud moves nothing away from its safe state\n"
    status = masthead("status", "--config", config).out
    assert "HELD      at the mast since 20" in status
    assert "hold: held at the mast" in status
    assert masthead("actuate", "beacon", "on", "--config", config).out == "beacon is on\n"
    released = masthead("release", "--config", config)
    assert (released.code, released.out) == (0, "released: the cloud may move actuators again\n")
    assert "HELD" not in masthead("status", "--config", config).out


def test_a_hold_without_an_agent_is_there_when_one_starts(masthead: Masthead, config: Path) -> None:
    """And stays until it is released, with an agent or without."""
    held = masthead("hold", "--json", "--config", config)
    assert (held.code, json.loads(held.out)) == (0, {"held": True, "durable": True, "secondsLeft": None})
    daemon = Daemon(load(config))
    daemon.start()
    assert list(daemon.snapshot()["holds"]) == ["at the mast"]
    daemon.shut_down()
    assert masthead("release", "--config", config).code == 0
    daemon = Daemon(load(config))
    daemon.start()
    assert daemon.snapshot()["holds"] == {}
    daemon.shut_down()


@pytest.mark.parametrize("longer", [[], ["--for", 90]])
@pytest.mark.parametrize("running", [True, False])
def test_a_shorter_hold_tells_how_long_it_is_held(
    masthead: Masthead, config: Path, request: pytest.FixtureRequest, running: bool, longer: list[object]
) -> None:
    """The longer one counts, with an agent and without; for a person and for a program."""
    if running:
        request.getfixturevalue("daemon")
    assert masthead("hold", *longer, "--config", config).code == 0
    told = masthead("hold", "--for", 1, "--config", config).out
    left = json.loads(masthead("hold", "--for", 1, "--json", "--config", config).out)["secondsLeft"]
    if longer:
        assert 1 < left <= 90
        assert told.startswith("held for 1 min ")
    else:
        assert left is None
        assert told.startswith("held until `masthead release`: ")


def test_a_hold_that_the_disk_does_not_take_is_told(
    masthead: Masthead, config: Path, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands, and whoever relies on it knows for how long."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("agent.commands.memory.GuardMemory._write", full)
    result = masthead("hold", "--config", config)
    assert result.code == 1
    assert result.out.startswith("held until `masthead release`")
    assert "the disk did not take it" in result.err
    assert list(daemon.snapshot()["holds"]) == ["at the mast"]


FS3000 = 'driver = "fs3000"\nmodel = "fs3000-1015"\n[sensor.vane]\ndriver = "as5600"'


def test_a_sensor_that_is_plugged_in_meanwhile_is_shown(
    masthead: Masthead, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then its fault; the vane beside it is shown from the start, each with what it says itself."""
    fake = i2c.install(monkeypatch)
    fake.chips[1][0x36] = As5600Chip(1024)
    config.write_text(config.read_text().replace("seed = 1", FS3000))
    seconds: list[float] = []

    def sleep(s: float) -> None:
        seconds.append(s)
        time_passes(s)
        if len(seconds) == 8:
            fake.chips[1][0x28] = Fs3000Chip(915)

    time_passes = time.sleep
    monkeypatch.setattr("agent.cli.sample.time.sleep", sleep)
    result = masthead("sample", "--count", 2, "--every", 1.5, "--config", config)
    first, last = result.out.splitlines()
    assert "no speed  from  90.0°: no answer from 0x28 on /dev/i2c-1: is it wired" in first
    assert "[vane_counts 1024, vane_agc 128]" in first
    assert "1.27 m/s  from  90.0°  [counts 915, vane_counts 1024, vane_agc 128]" in last


def test_what_is_doubtful_about_a_sample_is_shown() -> None:
    """By the names of the flags."""
    sample = {"time": "2026-11-20T10:00:00.000Z", "windSpeed": 7.0, "windDirection": None, "fault": None}
    line = sample_line("top", {**sample, "raw": {}, "flags": ["edges-lost"], "simulated": False})
    assert line == "10:00:00.000  top         7.00 m/s  edges-lost"
