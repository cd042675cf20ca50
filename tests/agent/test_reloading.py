"""The configuration read anew: each invariant at the head of agent/reloading.py by its name, and more."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent import daemon, reloading, service
from agent.commands.actuation import LOCAL
from agent.commands.asking import result
from agent.config import Config, ConfigError, load
from agent.control import ControlClient, ControlError
from agent.daemon import Daemon
from agent.reloading import Reloads, run_all
from agent.state import StateError, StateLock
from agent.status import describe
from agent.stopping import StopRequest
from agent.tenure import Tenure
from hw import board, registry
from hw.actuator import Value
from hw.clock import Clock
from hw.errors import DeviceMisconfigured
from tests.e2e.harness import wait_for

TEXT = """
[device]
state_directory = "{state}"

[telemetry]
report_interval_s = {interval}

[[sensor]]
id = "top"
driver = "simulated"
seed = 1

[actuators.heater]
driver = "motor"
{more}
"""


class Motor:
    """An actuator for the registry, which notes what all of its kind were driven to."""

    Settings = registry.load(registry.ACTUATORS, "simulated").Settings
    simulated = False
    safe: Value = False
    driven: list[str]

    @classmethod
    def open(cls, settings: object, clock: Clock) -> Motor:
        cls.driven.append("opened")
        return cls()

    def check(self, value: object) -> Value:
        assert isinstance(value, bool)
        return value

    def drive(self, value: Value) -> None:
        self.driven.append("on" if value else "safe")

    def close(self) -> None:
        self.drive(self.safe)
        self.driven.append("closed")


class Absent(Motor):
    """An actuator that its settings make impossible."""

    @classmethod
    def open(cls, settings: object, clock: Clock) -> Motor:
        raise DeviceMisconfigured("pin 99 does not exist")


class Mast:
    """Runs one after the other on a thread, as the main thread of a process has them."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "masthead.toml"
        self.state = folder / "state"
        self.stopping = StopRequest()
        self.runs: list[Daemon] = []
        self.codes: list[int] = []
        self.thread = threading.Thread(target=self._run)

    def write(self, interval: float = 600, more: str = "") -> None:
        if self.path.is_dir():
            self.path.rmdir()
        self.path.write_text(TEXT.format(state=self.state, interval=interval, more=more))

    def start(self) -> Mast:
        self.thread.start()
        return self.until_run(1)

    def _run(self) -> None:
        self.codes.append(run_all(load(self.path), self._new_run, self.stopping))

    def _new_run(self, config: Config, reloads: Reloads, tenure: Tenure) -> Daemon:
        run = Daemon(config, stopping=self.stopping, reloads=reloads, tenure=tenure)
        self.runs.append(run)
        return run

    def until_run(self, number: int) -> Mast:
        """Until so many runs were made, and the last of them measures."""
        wait_for(lambda: len(self.runs) >= number and self.runs[-1].samplers[0].status.sampled, "a run")
        return self

    def reload(self) -> None:
        """As SIGHUP."""
        before = len(self.runs)
        self.stopping.ask_reload()
        self.until_run(before + 1)

    def ask(self, op: str) -> dict[str, object]:
        with ControlClient(self.state) as client:
            return client.ask(op)

    def stop(self) -> None:
        self.stopping.set()
        self.thread.join(30)
        assert not self.thread.is_alive()

    def rows(self) -> list[tuple[int, str, str]]:
        """(sequence, kind, body) of all that is stored, after the end."""
        with sqlite3.connect(self.state / "outbox.db") as db:
            found = db.execute("SELECT sequence, kind, body FROM rows ORDER BY sequence").fetchall()
        db.close()
        return found


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A desktop without credentials, with the drivers above."""
    for name in ("IOTHUB_DEVICE_CONNECTION_STRING", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(board, "DEVICE_TREE", tmp_path / "none")
    for driver in (Motor, Absent):
        monkeypatch.setitem(registry.ACTUATORS, driver.__name__.lower(), f"{__name__}:{driver.__name__}")
    monkeypatch.setattr(Motor, "driven", [], raising=False)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the service manager was told."""
    told: list[str] = []
    monkeypatch.setattr(service, "notify", lambda state: bool(told.append(state)) or True)
    return told


@pytest.fixture
def mast(tmp_path: Path) -> Iterator[Mast]:
    mast = Mast(tmp_path)
    mast.write()
    mast.start()
    yield mast
    mast.stop()


def break_syntax(path: Path) -> None:
    path.write_text("[[sensor]\n")


def misspell(path: Path) -> None:
    path.write_text(path.read_text().replace("report_interval_s", "report_intervals"))


def make_two_mistakes(path: Path) -> None:
    path.write_text(path.read_text().replace("seed", "sead") + "[nonsense]\n")


def take_away(path: Path) -> None:
    path.unlink()


def make_unreadable(path: Path) -> None:
    path.unlink()
    path.mkdir()


def name_nobodys_home(path: Path) -> None:
    path.write_text(path.read_text().replace("[device]", '[device]\nca_file = "~nobody-here/ca.pem"'))


def move_state(path: Path) -> None:
    path.write_text(path.read_text().replace("/state", "/elsewhere"))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (break_syntax, "not valid TOML"),
        (misspell, "did you mean 'report_interval_s'"),
        (make_two_mistakes, "(and 1 more: masthead check)"),
        (take_away, "cannot be read: No such file or directory"),
        (make_unreadable, "cannot be read: Is a directory"),
        (move_state, "device.state_directory: another one takes a restart"),
        (name_nobodys_home, "device: ca_file: no user's home is '~nobody-here/ca.pem'"),
    ],
)
def test_kept(
    mast: Mast,
    said: list[str],
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Path], None],
    why: str,
) -> None:
    """The run goes on, and log, STATUS, status and the answer at the socket each say why, in one line."""
    (run,) = mast.runs
    result(run.guard.drive("heater", True, None, LOCAL))
    spoil(mast.path)
    mast.stopping.ask_reload()
    wait_for(lambda: any("CONFIGURATION NOT TAKEN" in state and why in state for state in said), "STATUS")
    with pytest.raises(ControlError, match="the agent runs on with what it had") as answer:
        mast.ask("reload")
    assert why in str(answer.value)
    assert "\n" not in str(answer.value)
    assert why in str(mast.ask("status")["configuration"])
    assert "CONFIG    NOT TAKEN: " in describe(mast.ask("status"))
    assert any(why in line and "\n" not in line for line in caplog.messages)
    assert mast.runs == [run]
    assert run.alive
    assert not any("RELOADING" in state for state in said)
    assert Motor.driven[-1] == "on"
    mast.write()
    mast.reload()
    assert mast.ask("status")["configuration"] == {"file": str(mast.path), "refused": None}
    wait_for(lambda: "NOT TAKEN" not in [s for s in said if "STATUS=" in s][-1], "another STATUS")


def test_kept_whatever_the_reading_raises(mast: Mast, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of our own ends nobody's measuring."""
    monkeypatch.setattr(reloading, "load", lambda path: {}[path])
    with pytest.raises(ControlError, match=r"KeyError: .*; the agent runs on with what it had"):
        mast.ask("reload")
    assert mast.runs[0].alive


def test_kept_while_readings_are_in_memory_only(mast: Mast, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop would lose them: the reload is refused until the disk is back."""
    writer = mast.runs[0].writer
    wait_for(lambda: writer.status.stored, "the first row")
    monkeypatch.setattr(writer, "step", lambda now: now + 3600)
    writer.status = replace(writer.status, degraded="disk full")
    with pytest.raises(ControlError, match=r"in memory only \(disk full\), a reload would lose them"):
        mast.ask("reload")
    assert len(mast.runs) == 1


def test_kept_with_no_secret_in_what_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """Not even where somebody put the connection string into the file."""
    reloads = Reloads()
    reloads.refuse(ConfigError("device.key: unknown: HostName=h;SharedAccessKey=c2VjcmV0"))
    assert reloads.refused == "device.key: unknown: HostName=h;SharedAccessKey=***"
    assert "c2VjcmV0" not in caplog.text


def test_gapless(tmp_path: Path) -> None:
    """Ten in a row: what was half measured is stored each time, sequence numbers have no gap."""
    mast = Mast(tmp_path)
    mast.write()
    mast.start()
    for _ in range(10):
        mast.reload()
    mast.stop()
    rows = mast.rows()
    assert [sequence for sequence, _, _ in rows] == list(range(rows[0][0], rows[0][0] + len(rows)))
    assert len([row for row in rows if "started" in row[2]]) == 11
    readings = [row for row in rows if row[1] == "reading"]
    assert len(readings) == 10
    assert all('"windSpeed":null' not in body.replace(" ", "") for _, _, body in readings)
    assert mast.codes == [0]


def test_a_good_file_takes_effect(mast: Mast, said: list[str]) -> None:
    """The service manager is told of the beginning and of the end, and the new settings hold."""
    mast.write(more='[actuators.beacon]\ndriver = "simulated"\n')
    before = mast.runs[0].run_id
    assert mast.ask("reload") == {"run": before}
    mast.until_run(2)
    assert set(mast.runs[1].guard.status) == {"heater", "beacon"}

    def words() -> list[str]:
        return [state.partition("=")[0] for state in said]

    wait_for(lambda: "READY" in words()[words().index("RELOADING") :], "READY after RELOADING")
    assert "STOPPING" not in words()
    (began,) = [state for state in said if state.startswith("RELOADING=1\nMONOTONIC_USEC=")]
    assert int(began.rpartition("=")[2]) > 0


def test_safe(mast: Mast) -> None:
    """What was on goes to safe before it is let go of, is driven safe again, and is not on by itself."""
    result(mast.runs[0].guard.drive("heater", True, 600.0, LOCAL))
    mast.reload()
    after = Motor.driven[Motor.driven.index("on") :]
    opened = after.index("opened")
    assert after[:opened] == ["on", "safe", "safe", "closed"]
    assert set(after[opened + 1 :]) == {"safe"}
    assert mast.runs[-1].guard.status["heater"].value is False


def test_holds_stay(mast: Mast) -> None:
    """Manual mode goes over a reload."""
    mast.ask("hold")
    mast.reload()
    assert [origin.value for origin in mast.runs[-1].guard.remembered.holds] == ["at the mast"]


def test_back(mast: Mast, caplog: pytest.LogCaptureFixture) -> None:
    """One that only the hardware can refuse is given up: the old one runs, and it is said why."""
    mast.write(more='[actuators.absent]\ndriver = "absent"\n')
    mast.stopping.ask_reload()
    mast.until_run(2)
    wait_for(lambda: mast.ask("status")["configuration"], "the agent to answer")
    assert set(mast.runs[-1].guard.status) == {"heater"}
    assert mast.ask("status")["configuration"] == {
        "file": str(mast.path),
        "refused": "actuators.absent: pin 99 does not exist",
    }
    assert "the configuration is not taken" in caplog.text


def test_back_whatever_the_start_raises(mast: Mast, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a fault of our own."""

    def fail(config: Config, sensors: set[str]) -> None:
        if len(config.actuators) > 1:
            raise TypeError("it does not fit")

    monkeypatch.setattr(daemon, "say_what_is_simulated", fail)
    mast.write(more='[actuators.beacon]\ndriver = "simulated"\n')
    mast.stopping.ask_reload()
    mast.until_run(3)
    assert mast.runs[-1].snapshot()["configuration"]["refused"] == "TypeError: it does not fit"


def test_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not between two runs, nor where the second does not start and the first runs again; but after them.

    Whoever asks the agent meanwhile is told to try again.
    """
    mast = Mast(tmp_path)
    mast.write()
    new_run, refused = mast._new_run, []

    def come_between(config: Config, reloads: Reloads, tenure: Tenure) -> Daemon:
        if mast.runs:
            with pytest.raises(StateError, match="in use by another masthead") as error:
                StateLock(mast.state)
            refused.append(error)
            with pytest.raises(ControlError, match="try again in some seconds"):
                mast.ask("status")
        return new_run(config, reloads, tenure)

    monkeypatch.setattr(mast, "_new_run", come_between)
    mast.start().reload()
    mast.write(more='[actuators.absent]\ndriver = "absent"\n')
    mast.reload()
    mast.stop()
    assert mast.codes == [0]
    assert len(refused) == 3
    StateLock(mast.state).release()


def test_afresh() -> None:
    """After a minute without a journal, then ever more seldom; never while readings are in memory only."""
    reloads, day = Reloads(), 86_400.0

    def begins(age_s: float, *, has_journal: bool = False, degraded: str | None = None) -> bool:
        return reloads.take_afresh(age_s, has_journal=has_journal, degraded=degraded)

    assert not begins(day, has_journal=True)
    assert not begins(59.0)
    assert not begins(day, degraded="disk full")
    assert [begins(age) for age in (60.0, 239.0, 240.0, 960.0)] == [True, False, True, True]
    assert all(begins(day) for _ in range(9))
    assert not begins(day - 1.0)
    assert not begins(day, has_journal=True)
    assert begins(60.0)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reloading, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(daemon, "_SUPERVISE_S", 0.05)


@pytest.mark.usefixtures("quick")
def test_afresh_when_the_journal_can_be_had_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It could not be opened at the start: commands are obeyed as soon as it can, without a restart."""
    mast = Mast(tmp_path)
    mast.write()
    (mast.state / "commands.db").mkdir(parents=True)
    mast.start().until_run(2)
    assert not mast.runs[0].executor.has_journal
    (mast.state / "commands.db").rmdir()
    wait_for(lambda: mast.runs[-1].executor.has_journal, "a run with a journal")
    mast.stop()
    assert mast.codes == [0]
    assert "the configuration is read anew" not in caplog.text


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("outcome", ['{"status": ', "[1]", "7"])
def test_afresh_without_a_damaged_journal(tmp_path: Path, outcome: str) -> None:
    """One whose damage shows only when it is read is set aside: the agent comes up, held from the cloud."""
    first = Mast(tmp_path)
    first.write()
    first.start().stop()
    with sqlite3.connect(first.state / "commands.db") as db:
        db.execute(
            "INSERT INTO arrivals (token, digest, boot_id, received_boot_s, outcome) "
            "VALUES ('t', 'd', 'b', 0, ?)",
            (outcome,),
        )
    db.close()
    mast = Mast(tmp_path)
    mast.start().until_run(2)
    wait_for(lambda: mast.runs[-1].executor.has_journal, "a run with a journal")
    mast.stop()
    assert [origin.value for origin in mast.runs[-1].guard.remembered.holds] == ["from the cloud"]
    assert (mast.state / "commands-damaged-1.db").exists()
    assert "journal-damaged" in str(mast.rows())


def test_asked_during_the_start_it_is_done_after_it(tmp_path: Path) -> None:
    """A signal that comes before the first run serves loses nothing: there is a second run."""
    mast = Mast(tmp_path)
    mast.write()
    mast.stopping.ask_reload()
    mast.start().until_run(2)
    mast.stop()
    assert mast.codes == [0]
    assert len(mast.runs) == 2


def test_stopped_while_it_reloads_it_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No run begins after the request to stop."""
    mast = Mast(tmp_path)
    mast.write()
    shut_down = Daemon.shut_down

    def stopped_meanwhile(self: Daemon) -> bool:
        mast.stopping.set()
        return shut_down(self)

    mast.start()
    monkeypatch.setattr(Daemon, "shut_down", stopped_meanwhile)
    mast.stopping.ask_reload()
    mast.thread.join(30)
    assert mast.codes == [0]
    assert len(mast.runs) == 1


def test_what_hangs_ends_the_process_instead(mast: Mast, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a worker of the old run does not end, no new run begins beside it: the process ends."""
    go_on = threading.Event()
    (run,) = mast.runs
    begun = threading.Event()

    def hang(now: float) -> float:
        begun.set()
        go_on.wait(60)
        return now

    monkeypatch.setattr(run.executor, "step", hang)
    run.executor.wake()
    assert begun.wait(30)
    try:
        mast.stopping.ask_reload()
        mast.thread.join(30)
        assert mast.codes == [1]
        assert len(mast.runs) == 1
    finally:
        go_on.set()


def test_starts_are_the_processs(mast: Mast) -> None:
    """A reload is none: many of them are to be a sign of trouble."""
    for _ in range(2):
        wait_for((mast.state / "health.json").exists, "the count of starts")
        mast.reload()
    wait_for(lambda: json.loads((mast.state / "health.json").read_text())["starts"] == 1, "the count to stay")
