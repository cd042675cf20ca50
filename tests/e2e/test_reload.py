"""A reload of the agent as a process, connected to a hub."""

from __future__ import annotations

import json
import signal
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Hub, Mast, Process, running_hub, wait_for


class Manager:
    """The service manager's end of sd_notify(3): what it was told, in order."""

    def __init__(self, address: Path) -> None:
        self.environment = {"NOTIFY_SOCKET": str(address)}
        self.told: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(address))
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while said := self._socket.recv(4096):
            self.told.append(said.decode())

    def times(self, word: str) -> int:
        return sum(said.startswith(word) for said in self.told)

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", self.environment["NOTIFY_SOCKET"])
        self._thread.join(30)
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with running_hub(tmp_path) as hub:
        yield hub


@pytest.fixture
def mast(tmp_path: Path, hub: Hub) -> Mast:
    return Mast(tmp_path, hub.connection_string, str(hub.ready["ca_file"]))


def hang_up(agent: Process, manager: Manager) -> None:
    """SIGHUP, until the service manager knows that it is done."""
    before = manager.times("READY=1")
    agent.process.send_signal(signal.SIGHUP)
    wait_for(lambda: manager.times("READY=1") > before, "READY after SIGHUP")


def test_nothing_is_lost_over_reloads(mast: Mast, hub: Hub, manager: Manager) -> None:
    """After hangups in the midst of readings the hub has every sequence number, in one process."""
    with mast.run(environment=manager.environment) as agent:
        wait_for(mast.settled, "the connection")
        for number in range(3):
            text = mast.config.read_text()
            mast.config.write_text(text.replace("seed = 1", f"seed = 1{number}"))
            hang_up(agent, manager)
            wait_for(mast.settled, "the connection after a reload")
        assert agent.end() == 0, agent.err
    assert manager.times("RELOADING=1\nMONOTONIC_USEC=") == 3
    assert manager.times("STOPPING=1") == 1
    stored = mast.stored_ids()
    sequences = [int(row.rpartition("-")[2]) for row in stored]
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
    assert len({row.partition("-")[0] for row in stored}) == 4
    with mast.run() as agent:  # what the last stop had not confirmed
        wait_for(mast.settled, "the rest")
        assert agent.end() == 0
    assert set(stored) <= set(hub.object_ids())
    assert "Traceback" not in agent.err


def test_a_command_that_runs_goes_to_safe(mast: Mast, hub: Hub, manager: Manager) -> None:
    """What a command drove is safe after the reload, the hub is told so, and commands are obeyed again."""
    with mast.run(environment=manager.environment) as agent:
        wait_for(mast.settled, "the connection")
        assert mast.ask("actuate", "beacon", "on", "--for", "50").returncode == 0
        hang_up(agent, manager)
        status = wait_for(mast.settled, "the connection after the reload")
        assert status["actuators"]["beacon"]["value"] is False
        told = [body for body in hub.bodies() if body.get("event") == "actuator-safe"]
        assert [(body["actuator"], body["reason"]) for body in told] == [("beacon", "stop")]
        assert mast.ask("actuate", "beacon", "on", "--for", "50").returncode == 0
        assert agent.end() == 0, agent.err


def test_masthead_reload_says_what_became_of_it(tmp_path: Path) -> None:
    """Exit 0 when the agent goes by the new file, 1 with every error where it stays or none runs."""
    mast = Mast(tmp_path, "", None)
    good = mast.config.read_text()
    assert mast.ask("reload").returncode == 1
    with mast.run() as agent:
        before = wait_for(mast.status, "the agent")["run"]
        mast.config.write_text(good + '\n[actuators.siren]\ndriver = "simulated"\n')
        done = mast.ask("reload", "--json")
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout) == {"file": str(mast.config), "refused": None}
        status = wait_for(mast.status, "the agent")
        assert status["run"] != before
        assert set(status["actuators"]) == {"beacon", "siren"}
        word = str(uuid.uuid4())
        mast.config.write_text(f"{good}\n[{word}]\n")
        refused = mast.ask("reload")
        assert refused.returncode == 1
        assert word in refused.stderr
        assert "Traceback" not in refused.stderr
        assert (mast.status() or {})["run"] == status["run"]
        assert agent.end() == 0, agent.err
