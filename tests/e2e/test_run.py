"""The daemon as a process: its start, its stop, its manners."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from agent.localhub.hub import LocalHub
from agent.localhub.thread import HubThread
from tests.e2e.harness import CONFIG, MASTHEAD, Mast, Process, running_hub, wait_for

STOP_S = 5.0  # what an operator was promised


@contextmanager
def silent_host() -> Iterator[str]:
    """An address that accepts connections and never says a word."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for last in range(200, 250):
            try:
                listener.bind((f"127.0.0.{last}", 8883))
                break
            except OSError:
                continue
        listener.listen(64)
        yield listener.getsockname()[0]


@contextmanager
def local_hub(folder: Path) -> Iterator[LocalHub]:
    thread = HubThread(LocalHub(folder / "hub"))
    thread.start()
    try:
        thread.hub.ensure_device("mast-1")
        yield thread.hub
    finally:
        thread.stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_stop_keeps_its_promise_with_a_silent_hub(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C or SIGTERM while a connect hangs: exit 0 in time, and what was stored stays stored."""
    with silent_host() as host:
        mast = Mast(tmp_path, f"HostName={host};DeviceId=mast-1;SharedAccessKey=c2VjcmV0", None)
        with mast.run() as agent:
            wait_for(lambda: (s := mast.status()) and s["outbox"]["stored"] >= 4, "a few rows")
            stored = len(mast.stored_ids())
            assert agent.end(number, STOP_S) == 0, agent.err
            assert len(mast.stored_ids()) >= stored
            assert "Traceback" not in agent.err


def test_without_a_credential_it_samples_and_stores(tmp_path: Path) -> None:
    """No connection string is no failure: the readings are kept, and the log says what is missing."""
    mast = Mast(tmp_path, "", None, CONFIG.replace("{device}", ""))
    with mast.run() as agent:
        wait_for(lambda: (s := mast.status()) and s["outbox"]["stored"] >= 4, "a few rows")
        status = mast.status()
        assert status is not None
        assert status["link"]["state"] == "off"
        assert "IOTHUB_DEVICE_CONNECTION_STRING" in status["link"]["lastError"]
        assert agent.end() == 0
        assert agent.err.count("not sending: no connection string") == 1


def test_a_second_agent_is_refused(tmp_path: Path) -> None:
    """Two agents on one state directory: the second says who has it, in one line, and exits 1."""
    mast = Mast(tmp_path, "", None, CONFIG.replace("{device}", ""))
    with mast.run() as first:
        wait_for(mast.status, "the first agent")
        with mast.run() as second:
            assert second.process.wait(20) == 1
            assert f"is in use by another masthead (process {first.process.pid})" in second.err
            assert len(second.err.strip().splitlines()) == 1
        assert first.end() == 0


def test_a_command_goes_through_the_journal_and_is_answered_once(tmp_path: Path) -> None:
    """A command switches the beacon, its outcome arrives with its id, and a repeat executes nothing."""
    body = json.dumps({"command": "set", "actuator": "beacon", "value": True, "for": 50}).encode()
    with local_hub(tmp_path) as hub:
        mast = Mast(tmp_path, hub.device_connection_string("mast-1"), str(hub.ca_file))

        def outcomes() -> list[dict[str, object]]:
            found = [json.loads(e.body) for e in hub.store.events.latest("mast-1", 1000)]
            return [o for o in found if o.get("commandId") == command_id]

        with mast.run() as agent:
            wait_for(mast.settled, "the connection")
            command_id = str(uuid.uuid4())
            hub.send_c2d("mast-1", body, message_id=command_id, expires_in_s=60)
            wait_for(lambda: len(outcomes()) == 1, "the outcome")
            assert outcomes()[0] | {"time": "", "timeQuality": "", "run": "", "sequence": 0} == {
                "deviceId": "mast-1", "run": "", "sequence": 0, "time": "", "timeQuality": "",
                "commandId": command_id, "command": "set", "actuator": "beacon",
                "status": "done", "reason": None, "value": True,
            }  # fmt: skip
            status = mast.status()
            assert status is not None
            assert status["actuators"]["beacon"]["value"] is True
            hub.send_c2d("mast-1", body, message_id=command_id, expires_in_s=60)
            wait_for(lambda: len(outcomes()) == 2, "the repeat's outcome")
            assert outcomes()[1]["repeat"] is True
            agent.kill()
        with mast.run() as agent:
            wait_for(mast.settled, "the restart")
            status = mast.status()
            assert status is not None
            assert status["actuators"]["beacon"]["value"] is False, "safe after a crash"
            hub.send_c2d("mast-1", body, message_id=command_id, expires_in_s=60)
            wait_for(lambda: len(outcomes()) == 3, "the repeat's outcome after a restart")
            assert outcomes()[2]["repeat"] is True
            status = mast.status()
            assert status is not None
            assert status["actuators"]["beacon"]["value"] is False, "not executed again"
            assert agent.end() == 0


def test_a_command_cut_off_by_a_crash_is_answered_interrupted(tmp_path: Path) -> None:
    """Journalled and without an outcome when the process died: answered after the restart, exactly once."""
    with local_hub(tmp_path) as hub:
        mast = Mast(tmp_path, hub.device_connection_string("mast-1"), str(hub.ca_file))
        with mast.run() as agent:
            wait_for(mast.settled, "the connection")
            assert agent.end() == 0
        with closing(sqlite3.connect(mast.state / "commands.db", isolation_level=None)) as db:
            db.execute(
                "INSERT INTO arrivals (token, command_id, digest, body, boot_id, received_boot_s)"
                " VALUES (?,?,?,?,?,?)",
                ("t", "cut-off", "d", b'{"command":"set","actuator":"beacon","value":true}', "boot", 1.0),
            )
        for _ in range(2):
            with mast.run() as agent:
                wait_for(mast.settled, "the restart")
                assert agent.end() == 0
        bodies = [json.loads(e.body) for e in hub.store.events.latest("mast-1", 1000)]
        assert [b["status"] for b in bodies if b.get("commandId") == "cut-off"] == ["interrupted"]


def test_the_operators_commands_reach_the_running_agent(tmp_path: Path) -> None:
    """status, sample, outbox and actuate work over the socket, for people and for programs."""
    mast = Mast(tmp_path, "", None, CONFIG.replace("{device}", ""))
    with mast.run() as agent:
        wait_for(lambda: (s := mast.status()) and s["outbox"]["stored"] >= 4, "a few rows")
        assert json.loads(mast.ask("status", "--json").stdout)["sensors"]["middle"]["simulated"] is True
        assert "sensor    top:" in mast.ask("status").stdout
        samples = mast.ask("sample", "--count", "2", "--json").stdout.splitlines()
        assert {json.loads(line)["sensor"] for line in samples} == {"top", "middle"}
        assert len(samples) == 4
        assert json.loads(mast.ask("outbox", "--json").stdout)["backlog"] >= 4
        done = mast.ask("actuate", "beacon", "on", "--for", "30")
        assert (done.returncode, done.stdout) == (0, "beacon is on\n")
        refused = mast.ask("actuate", "beacon", "7")
        assert refused.returncode == 1
        assert "expected true or false" in refused.stderr
        unknown = mast.ask("actuate", "beakon", "on")
        assert unknown.returncode == 1
        assert "beacon" in unknown.stderr
        assert agent.end() == 0
    after = mast.ask("status")
    assert after.returncode == 1
    assert "no agent is running" in after.stderr


def test_verbose_shows_each_confirmation(tmp_path: Path) -> None:
    """With --verbose every confirmed message is one line with id, properties and running total."""
    with running_hub(tmp_path) as hub:
        config = CONFIG + '\n[telemetry.properties]\nsite = "north ridge"\n'
        config = config.replace("[telemetry]\nreport_interval_s = 1\n", "").replace(
            "[telemetry.properties]", "[telemetry]\nreport_interval_s = 1\n[telemetry.properties]"
        )
        mast = Mast(tmp_path, hub.connection_string, hub.ready["ca_file"], config)
        with mast.run("--verbose") as agent:
            wait_for(lambda: agent.err.count("type=reading") >= 2, "two confirmations")
            assert agent.end() == 0
            line = next(line for line in agent.err.splitlines() if "type=reading" in line)
            assert "confirmed" in line
            assert "site=north ridge" in line
            assert "in all" in line


def test_the_log_is_transitions_only(tmp_path: Path) -> None:
    """Some seconds of good work are a handful of lines, none of them per reading, each a single line."""
    with running_hub(tmp_path) as hub:
        mast = Mast(tmp_path, hub.connection_string, hub.ready["ca_file"])
        with mast.run() as agent:
            wait_for(
                lambda: (s := mast.settled()) and s["outbox"]["confirmed"] >= 12, "twelve rows confirmed"
            )
            assert agent.end() == 0
            assert len(agent.err.splitlines()) <= 5, agent.err


def test_readiness_and_watchdog_are_told(tmp_path: Path) -> None:
    """Under a service manager: READY after the first sample, WATCHDOG while healthy, STOPPING at the end."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(20)
        mast = Mast(tmp_path, "", None, CONFIG.replace("{device}", ""))
        environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "400000"}
        with mast.run(environment=environment) as agent:
            said = manager.recv(4096).decode()
            assert said.startswith("READY=1\nSTATUS=")
            assert "top" in said
            agent.process.send_signal(signal.SIGTERM)
            while (said := manager.recv(4096)) != b"STOPPING=1":
                assert said.startswith(b"WATCHDOG=1")
            assert agent.process.wait(20) == 0


def test_a_wrong_configuration_is_all_said_at_once(tmp_path: Path) -> None:
    """Each error is one line with file, key and remedy; nothing is started."""
    config = tmp_path / "bad.toml"
    config.write_text('[device]\nhub_teir = "S1"\n[[sensor]]\nid = "a"\ndriver = "simulatd"\n')
    result = subprocess.run(
        [MASTHEAD, "run", "--config", str(config)], capture_output=True, text=True, timeout=30, check=False
    )
    assert result.returncode == 1
    assert "did you mean 'hub_tier'?" in result.stderr
    assert "did you mean 'simulated'?" in result.stderr
    assert all(str(config) in line for line in result.stderr.strip().splitlines())


def test_a_demo_proves_that_everything_arrived() -> None:
    """`masthead demo --for … --json` prints one JSON object in which stored equals confirmed."""
    began = time.time()
    result = subprocess.run(
        [MASTHEAD, "demo", "--for", "6", "--json"], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 1
    figures = json.loads(result.stdout)
    assert set(figures) == {
        "sampled",
        "reported",
        "stored",
        "sent",
        "confirmed",
        "commands",
        "first_confirmed_s",
    }
    assert figures["stored"] == figures["confirmed"] == figures["sent"] > figures["reported"] >= 4
    assert figures["commands"] == 1
    assert figures["first_confirmed_s"] < time.time() - began
    assert "Traceback" not in result.stderr


def test_a_demo_leaves_nothing_behind(tmp_path: Path) -> None:
    """Ctrl-C ends a demo with exit 0, and its folder is gone."""
    with Process(tmp_path, "demo", environment={"TMPDIR": str(tmp_path)}) as demo:
        wait_for(lambda: "confirmed" in demo.out, "the first line of wind")
        assert "http://127.0.0.1:" in demo.out
        assert list(tmp_path.glob("masthead-demo-*"))
        assert demo.end(signal.SIGINT) == 0
    assert not list(tmp_path.glob("masthead-*"))
