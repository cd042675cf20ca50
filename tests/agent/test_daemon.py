from __future__ import annotations

import json
import logging
import queue
import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agent import service
from agent.cloud import CloudMessage, MethodCall
from agent.commands import outputs
from agent.commands.actuation import LOCAL
from agent.commands.asking import result
from agent.commands.guard import Guard
from agent.config import Config, ConfigError, loads
from agent.daemon import Daemon
from agent.outbox_file import StoreUnreadable
from agent.state import StateError, StateLock
from hw import board, registry
from hw.actuator import Value
from hw.anemometer import WindSample
from hw.clock import Clock, SystemClock
from hw.errors import DeviceMisconfigured, DeviceUnavailable

CONFIG = """
[device]
state_directory = "{state}"
{device}

[telemetry]
report_interval_s = 1

[[sensor]]
id = "top"
driver = "{driver}"

[actuators.beacon]
driver = "simulated"
{actuators}
"""


class Instrument:
    """An anemometer for the registry, whose behaviour a test sets on the class."""

    Settings = registry.load(registry.ANEMOMETERS, "simulated").Settings
    simulated = False
    calibration: str | None = None
    has_direction = False
    opening: Exception | None = None
    reading: BaseException | None = None
    stuck: threading.Event | None = None

    @classmethod
    def open(cls, settings: object, clock: Clock) -> Instrument:
        if cls.opening is not None:
            raise cls.opening
        return cls()

    def read(self, now: float) -> WindSample:
        if self.stuck is not None:
            self.stuck.wait(20)
        if self.reading is not None:
            raise self.reading
        return WindSample(now, 5.0)

    def close(self) -> None:
        pass


class Motor:
    """An actuator for the registry; keeps what it was driven to."""

    Settings = registry.load(registry.ACTUATORS, "simulated").Settings
    simulated = False
    safe: Value = False
    opening: Exception | None = None
    opened: list[Motor]

    @classmethod
    def open(cls, settings: object, clock: Clock) -> Motor:
        if cls.opening is not None:
            raise cls.opening
        motor = cls()
        motor.driven: list[Value] = []
        motor.closed = False
        cls.opened.append(motor)
        return motor

    def check(self, value: object) -> Value:
        if not isinstance(value, bool):
            raise ValueError("expected true or false")
        return value

    def drive(self, value: Value) -> None:
        self.driven.append(value)

    def close(self) -> None:
        self.drive(self.safe)
        self.closed = True


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A desktop without credentials, with the drivers above."""
    for name in ("IOTHUB_DEVICE_CONNECTION_STRING", "CREDENTIALS_DIRECTORY", "RUNTIME_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(board, "DEVICE_TREE", tmp_path / "none")
    monkeypatch.setitem(registry.ANEMOMETERS, "instrument", f"{__name__}:Instrument")
    monkeypatch.setitem(registry.ACTUATORS, "motor", f"{__name__}:Motor")
    monkeypatch.setattr(Motor, "opened", [], raising=False)


def config(tmp_path: Path, driver: str = "simulated", device: str = "", actuators: str = "") -> Config:
    text = CONFIG.format(state=tmp_path / "state", driver=driver, device=device, actuators=actuators)
    return loads(text, tmp_path / "masthead.toml")


def free(tmp_path: Path) -> bool:
    """Whether nobody holds the state directory."""
    StateLock(tmp_path / "state").release()
    return True


def until_running(daemon: Daemon) -> tuple[threading.Thread, list[int]]:
    """``run`` on a thread of its own, as if it were the main one; its exit code comes in the list."""
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(daemon.run()))
    thread.start()
    return thread, codes


def test_without_its_ca_file_the_agent_samples_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing, or no certificate: as without a credential nothing is sent, and status says what to do."""
    monkeypatch.setenv("IOTHUB_DEVICE_CONNECTION_STRING", "HostName=h;DeviceId=d;SharedAccessKey=c2VjcmV0")
    (tmp_path / "ca.pem").write_text("nothing")
    for ca_file, said in (("ca.pem", "holds no certificate"), ("missing.pem", "No such file")):
        daemon = Daemon(config(tmp_path), ca_file=str(tmp_path / ca_file))
        daemon.start()
        link = daemon.snapshot()["link"]
        daemon.shut_down()
        assert link["state"] == "off"
        assert said in link["lastError"]
        assert "set device.ca_file" in link["lastError"]


def test_an_actuator_that_cannot_be_opened_closes_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All or none: what was opened is safe and let go of, and the state directory is free."""
    both = '[actuators.first]\ndriver = "motor"\n[actuators.second]\ndriver = "faulty"\n'
    monkeypatch.setitem(registry.ACTUATORS, "faulty", f"{__name__}:Faulty")
    with pytest.raises(ConfigError, match=r"actuators\.second: pin 99 does not exist"):
        Daemon(config(tmp_path, actuators=both))
    assert [motor.closed for motor in Motor.opened] == [True]
    assert free(tmp_path)


def test_an_actuator_that_is_not_available_keeps_no_sensor_from_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent runs, and says what is wrong with it."""
    monkeypatch.setattr(Motor, "opening", DeviceUnavailable("GPIO 23 is in use"))
    daemon = Daemon(config(tmp_path, actuators='[actuators.motor]\ndriver = "motor"\n'))
    thread, codes = until_running(daemon)
    while not daemon.samplers[0].status.sampled:
        thread.join(0.01)
    snapshot = daemon.snapshot()
    assert snapshot["actuators"]["motor"]["fault"] == "GPIO 23 is in use"
    assert snapshot["sensors"]["top"]["windSpeed"] is not None
    daemon.stop()
    thread.join(20)
    assert codes == [0]


class Faulty(Motor):
    """An actuator that cannot be opened."""

    opening = DeviceMisconfigured("pin 99 does not exist")


def test_a_misconfigured_sensor_ends_the_start_with_actuators_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a person must mend is an error at the start, after the actuators were made safe."""
    monkeypatch.setattr(Instrument, "opening", DeviceMisconfigured("pin 17 is used twice"))
    daemon = Daemon(config(tmp_path, "instrument", actuators='[actuators.motor]\ndriver = "motor"\n'))
    with pytest.raises(ConfigError, match="sensor 'top': pin 17 is used twice"):
        daemon.run()
    assert Motor.opened[0].closed
    assert set(Motor.opened[0].driven) == {False}
    assert free(tmp_path)


def test_a_sensor_that_is_not_there_is_a_fault_and_no_simulation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent runs on with what it has, and says what is missing."""
    monkeypatch.setattr(Instrument, "opening", DeviceUnavailable("no answer from 0x28"))
    daemon = Daemon(config(tmp_path, "instrument"))
    thread, codes = until_running(daemon)
    while not daemon.samplers[0].status.sampled:
        thread.join(0.01)
    assert daemon.snapshot()["sensors"]["top"] | {"time": None} == {
        "time": None, "windSpeed": None, "windDirection": None, "fault": "no answer from 0x28", "raw": {},
        "flags": [], "simulated": False, "sampled": daemon.samplers[0].status.sampled, "reported": 0,
        "lostSince": None,
    }  # fmt: skip
    daemon.stop()
    thread.join(20)
    assert codes == [0]


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """The agent does not start, touches nothing, and leaves actuators and lock."""
    (tmp_path / "state").mkdir()
    with sqlite3.connect(tmp_path / "state" / "outbox.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreUnreadable, match="newer"):
        Daemon(config(tmp_path, actuators='[actuators.motor]\ndriver = "motor"\n')).run()
    assert Motor.opened[0].closed
    assert free(tmp_path)


def test_a_damaged_journal_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A new one begins, and both the log and an event say so."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "commands.db").write_bytes(b"garbage" * 1000)
    daemon = Daemon(config(tmp_path))
    thread, codes = until_running(daemon)
    while not daemon.writer.status.stored:
        thread.join(0.01)
    daemon.stop()
    thread.join(20)
    assert codes == [0]
    assert (tmp_path / "state" / "commands-damaged-1.db").read_bytes().startswith(b"garbage")
    assert "the command journal is damaged" in caplog.text
    with sqlite3.connect(tmp_path / "state" / "outbox.db") as db:
        assert db.execute("SELECT COUNT(*) FROM rows WHERE body LIKE '%journal-damaged%'").fetchone() == (1,)
    db.close()


def test_a_worker_that_dies_takes_the_process_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Exit 1, so that the service manager starts it afresh; actuators safe, stores closed."""
    monkeypatch.setattr(Instrument, "reading", RuntimeError("a bug"))
    daemon = Daemon(config(tmp_path, "instrument", actuators='[actuators.motor]\ndriver = "motor"\n'))
    thread, codes = until_running(daemon)
    thread.join(20)
    assert codes == [1]
    assert "sampler-top failed" in caplog.text
    assert Motor.opened[0].closed
    assert free(tmp_path)


def test_a_stuck_worker_starves_the_watchdog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one worker is beyond the bound of its step nothing feeds the watchdog, and STATUS names it."""
    said: list[str] = []
    stuck = threading.Event()
    monkeypatch.setattr(service, "notify", lambda state: said.append(state) or True)
    monkeypatch.setattr(service, "watchdog_interval_s", lambda: 0.05)
    monkeypatch.setattr("agent.sampler.Sampler.step_bound_s", 0.01)
    monkeypatch.setattr(Instrument, "stuck", stuck)
    daemon = Daemon(config(tmp_path, "instrument"))
    thread, codes = until_running(daemon)
    while not any(s.startswith("STATUS=stuck: sampler-top") for s in said):
        thread.join(0.01)
    assert not any("WATCHDOG=1" in s for s in said)
    stuck.set()
    while not any("WATCHDOG=1" in s for s in said):
        thread.join(0.01)
    daemon.stop()
    thread.join(20)
    assert codes == [0]


def test_simulation_by_auto_is_said_loudly(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """On a desktop "auto" simulates, and the log says so once; a named driver needs no such word."""
    for driver, times in (("auto", 1), ("simulated", 0)):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            daemon = Daemon(config(tmp_path, driver))
            daemon.start()
            daemon.shut_down()
        assert caplog.text.count("SIMULATED WIND") == times


def test_two_daemons_cannot_share_a_state_directory(tmp_path: Path) -> None:
    """The second is refused before it opens anything."""
    first = Daemon(config(tmp_path))
    first.start()
    with pytest.raises(StateError, match="in use by another masthead"):
        Daemon(config(tmp_path, actuators='[actuators.motor]\ndriver = "motor"\n'))
    assert Motor.opened == []
    first.shut_down()


TWO_MOTORS = '[actuators.first]\ndriver = "motor"\n[actuators.second]\ndriver = "motor"\n'


def test_a_guard_that_hangs_in_a_driver_ends_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Exit 1 without waiting for a watchdog, so that the exit program can drive what hangs; the others are
    safe and let go of."""
    monkeypatch.setattr(service, "watchdog_interval_s", lambda: 0.05)
    monkeypatch.setattr(outputs, "_STOP_S", 0.2)
    daemon = Daemon(config(tmp_path, actuators=TWO_MOTORS))
    thread, codes = until_running(daemon)
    while not daemon.samplers[0].status.sampled:
        thread.join(0.01)
    first, second = Motor.opened
    assert result(daemon.guard.drive("second", True, None, LOCAL)) is True
    begun, go_on = threading.Event(), threading.Event()

    def hang(value: Value) -> None:
        begun.set()
        go_on.wait(60)

    first.drive = hang  # type: ignore[method-assign]
    try:
        asked = daemon.guard.make_safe("first", LOCAL)
        assert begun.wait(20)
        monkeypatch.setattr(Guard, "step_bound_s", 0.0)
        thread.join(20)
        assert codes == [1]
    finally:
        go_on.set()
        daemon.stop()
        thread.join(20)
    assert (second.driven[-1], second.closed) == (False, True)
    assert "the guard hangs in a driver: the process ends" in caplog.text
    assert asked.result(20) is False


def obeyed(daemon: Daemon, name: str, body: Mapping[str, Any]) -> tuple[int, Any]:
    """The answer to a direct method of the cloud."""
    answers: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
    call = MethodCall(name, json.dumps(body).encode(), SystemClock().monotonic(),
                      lambda number, answer: answers.put((number, json.loads(answer))))  # fmt: skip
    daemon.executor.call(call)
    return answers.get(timeout=20)


def stored(tmp_path: Path, word: str) -> list[Any]:
    """The bodies in the outbox with that word in them, oldest first."""
    with sqlite3.connect(tmp_path / "state" / "outbox.db") as db:
        rows = db.execute("SELECT body FROM rows WHERE body LIKE ? ORDER BY sequence", (f"%{word}%",))
        found = [json.loads(body) for (body,) in rows]
    db.close()
    return found


@pytest.mark.parametrize("lost", ["missing", "damaged"])
def test_without_the_ids_of_earlier_commands_the_cloud_is_held_until_it_releases(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, lost: str
) -> None:
    """An old command would look new: nothing moves for the cloud before it says so, over restarts too."""
    first = Daemon(config(tmp_path))
    first.start()
    assert first.snapshot()["holds"] == {}, "a first start has no ids to lose"
    assert obeyed(first, "set", {"actuator": "beacon", "value": True, "id": "c-1"})[0] == 200
    first.shut_down()
    for path in (tmp_path / "state").glob("commands.db*"):
        path.unlink()
    if lost == "damaged":
        (tmp_path / "state" / "commands.db").write_bytes(b"garbage" * 1000)
    for _ in range(2):
        again = Daemon(config(tmp_path))
        again.start()
        assert list(again.snapshot()["holds"]) == ["from the cloud"]
        number, outcome = obeyed(again, "set", {"actuator": "beacon", "value": True, "id": "c-1"})
        assert (number, outcome["reason"]) == (400, "hold: held from the cloud")
        assert obeyed(again, "ping", {})[0] == 200
        again.shut_down()
    assert caplog.text.count("the ids of earlier commands are lost: held from the cloud") == 1
    assert len(stored(tmp_path, "journal-damaged")) == 1
    last = Daemon(config(tmp_path))
    last.start()
    assert obeyed(last, "release", {})[0] == 200
    assert last.snapshot()["holds"] == {}
    assert obeyed(last, "set", {"actuator": "beacon", "value": True, "id": "c-2"})[0] == 200
    last.shut_down()


def test_a_message_that_comes_while_the_agent_ends_is_answered_after_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub was told that we have it: the journal is closed last."""
    first = Daemon(config(tmp_path))
    first.start()
    close = first.writer.close

    def late(now: float) -> None:
        body = json.dumps({"command": "set", "actuator": "beacon", "value": True, "id": "late"}).encode()
        first.executor.receive(CloudMessage(body, now))
        close(now)

    monkeypatch.setattr(first.writer, "close", late)
    first.shut_down()
    assert stored(tmp_path, '"late"') == []
    again = Daemon(config(tmp_path))
    again.start()
    again.shut_down()
    (outcome,) = stored(tmp_path, '"late"')
    assert (outcome["commandId"], outcome["status"]) == ("late", "interrupted")


INTERLOCK = "[actuators.{0}.interlock]\ntrip_mps = 10\n"
WINDED = '[actuators.motor]\ndriver = "motor"\n' + INTERLOCK.format("motor")


@pytest.mark.parametrize(
    ("driver", "actuators", "times"),
    [
        ("simulated", WINDED, 1),
        ("auto", WINDED, 1),
        ("instrument", WINDED, 0),
        ("simulated", INTERLOCK.format("beacon"), 0),
        ("simulated", '[actuators.motor]\ndriver = "motor"\n', 0),
    ],
)
def test_an_interlock_that_goes_by_an_invented_wind_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, driver: str, actuators: str, times: int
) -> None:
    """Where something real hangs on it."""
    daemon = Daemon(config(tmp_path, driver, actuators=actuators))
    daemon.start()
    daemon.shut_down()
    assert caplog.text.count("motor: its interlock goes by a wind that nobody measures") == times
    assert caplog.text.count("nobody measures") == times
