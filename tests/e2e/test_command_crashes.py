"""kill -9 at every step of a command's life: nothing moves twice, one outcome, and safe afterwards."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.crashing import STEPS, VICTIM
from tests.e2e.harness import Mast, Process, wait_for
from tests.e2e.site import Device, Hub, own, running_hub

PROGRAM = str(Path(__file__).with_name("crashing.py"))
ON = {"command": "set", "actuator": "beacon", "value": True, "id": VICTIM}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running_hub(tmp_path_factory.mktemp("crashes")) as hub:
        yield hub


class Site(Device):
    """A device whose agent dies, and what it drove."""

    def __init__(self, folder: Path, hub: Hub) -> None:
        super().__init__(hub, folder.name)
        self.mast = Mast(folder, hub.hub.device_connection_string(self.device), str(hub.hub.ca_file))
        self._drives = folder / "drives"

    def start(self, step: str = "none") -> Process:
        return self.mast.run(program=(sys.executable, PROGRAM, step, str(self._drives)))

    def run(self, step: str = "none") -> Process:
        agent = self.start(step)
        wait_for(self.mast.settled, "the connection")
        return agent

    def drives(self, process: Process | None = None) -> list[str]:
        """What was driven, in order; by one process or by all."""
        lines = (line.split() for line in self._drives.read_text().splitlines())
        return [value for pid, value in lines if process is None or int(pid) == process.process.pid]

    def beacon(self) -> Any:
        status = wait_for(self.mast.status, "the agent")
        return status["actuators"]["beacon"]["value"]

    def verdicts(self) -> list[Mapping[str, Any]]:
        """The victim's outcomes at the hub, oldest first. One that came twice is one: it has the same id."""
        found = {(body["run"], body["sequence"]): own(body) for body in self.bodies() if _is_verdict(body)}
        return list(found.values())


def _is_verdict(body: Mapping[str, Any]) -> bool:
    return body.get("commandId") == VICTIM and "status" in body


MOVED = {
    "received": False,
    "journalled": False,
    "judged": False,
    "driven": True,
    "driven, not finished": True,
    "finished, not posted": True,
    "posted, not marked": True,
    "marked, not confirmed": True,
    "sent, not confirmed": True,
    "posted, not answered": True,
}
"""Whether the beacon has moved when the agent dies."""

INTERRUPTED = ("journalled", "judged", "driven", "driven, not finished")
BY_METHOD = ("journalled", "driven", "posted, not answered")
CASES = [
    *((step, "message") for step in MOVED if step != "posted, not answered"),
    *((step, "method") for step in BY_METHOD),
]


@pytest.mark.parametrize(("step", "way"), CASES)
def test_killed_at_a_step_of_its_life(tmp_path: Path, hub: Hub, step: str, way: str) -> None:
    """It moved at most once, has one outcome and marked repeats, and is safe after the restart; what was not
    journalled is obeyed when it comes again, from the hub or from its sender."""
    site = Site(tmp_path, hub)
    body = json.dumps(ON).encode()
    with site.run(step) as agent:
        if way == "message":
            site.send(body, None)
        else:
            call = site.start_call("command", body)
        assert agent.process.wait(20) == -signal.SIGKILL
        assert ("True" in site.drives()) is MOVED[step]
    if way == "method":
        assert call.exception(20) is not None, "nobody answered"
    with site.run() as agent:
        if step != "received":
            assert site.beacon() is False
            assert set(site.drives(agent)) == {"False"}
        outcomes = site.outcomes(lambda: site.send(body, None))
        drives, beacon = site.drives(), site.beacon()
        assert agent.end() == 0
    assert drives.count("True") == (MOVED[step] or step == "received")
    assert beacon is (step == "received")
    first, *repeats = site.verdicts()
    status = "interrupted" if step in INTERRUPTED else "done"
    assert first == {
        "commandId": VICTIM, "command": "set", "actuator": "beacon", "status": status,
        "reason": "the agent stopped before its end" if status == "interrupted" else None,
        "value": True if status == "done" else None,
    }  # fmt: skip
    assert repeats == [{**first, "repeat": True}] * len(repeats)
    assert outcomes[-1:] == ([repeats[-1]] if repeats else [first])


@pytest.mark.parametrize(("step", "survives"), [("held, not saved", False), ("held and saved", True)])
def test_killed_in_a_hold(tmp_path: Path, hub: Hub, step: str, survives: bool) -> None:
    """What the cloud had moved is safe; the hold stands after the restart if it was on disk, and its one
    outcome says that it was cut off. By method: nobody asks again."""
    site = Site(tmp_path, hub)
    hold = json.dumps({"command": "hold", "id": VICTIM}).encode()
    with site.run(step) as agent:
        assert site.call("set", json.dumps({**ON, "id": "c-1"}).encode())[0] == 200
        call = site.start_call("command", hold)
        assert agent.process.wait(20) == -signal.SIGKILL
    assert call.exception(20) is not None, "nobody answered"
    with site.run() as agent:
        assert site.beacon() is False
        assert set(site.drives(agent)) == {"False"}
        number, outcome = site.call("set", json.dumps({**ON, "id": "c-2"}).encode())
        assert (number, (outcome["reason"] or "").partition(":")[0]) == (
            (400, "hold") if survives else (200, "")
        )
        site.outcomes(lambda: site.send(hold, None))
        assert site.call("set", json.dumps({**ON, "id": "c-3"}).encode())[0] == 400
        assert agent.end() == 0
    first, *repeats = site.verdicts()
    assert (first["status"], first.get("repeat")) == ("interrupted", None)
    assert [(repeat["status"], repeat["repeat"]) for repeat in repeats] == [("done", True)] * len(repeats)
    assert repeats


@pytest.mark.parametrize("step", ["driven, not finished", "finished, not posted", "posted, not marked"])
def test_killed_again_while_it_recovers(tmp_path: Path, hub: Hub, step: str) -> None:
    """The answer to what was cut off is cut off itself: it is still one."""
    site = Site(tmp_path, hub)
    with site.run("journalled") as agent:
        site.send(json.dumps(ON).encode(), None)
        assert agent.process.wait(20) == -signal.SIGKILL
    with site.start(step) as agent:
        assert agent.process.wait(20) == -signal.SIGKILL
    with site.run() as agent:
        site.outcomes(lambda: site.send(json.dumps(ON).encode(), None))
        assert agent.end() == 0
    first, *repeats = site.verdicts()
    assert (first["status"], first.get("repeat")) == ("interrupted", None)
    assert repeats == [{**first, "repeat": True}] * len(repeats)
    assert "True" not in site.drives()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_ended_among_many_commands(tmp_path: Path, hub: Hub, how: signal.Signals) -> None:
    """Whatever of them was done, cut off or not yet taken from the hub: each has one outcome, and none moved
    anything twice."""
    site = Site(tmp_path, hub)
    ids = [f"c-{number}" for number in range(40)]
    with site.run() as agent:
        for command_id in ids:
            site.send(json.dumps({**ON, "id": command_id}).encode(), None)
        wait_for(lambda: "True" in site.drives(), "the first of them")
        agent.process.send_signal(how)
        assert agent.process.wait(20) == (0 if how is signal.SIGTERM else -how)
        assert site.drives()[-1] == "False" or how is signal.SIGKILL
    with site.run() as agent:
        site.outcomes(lambda: None)
        assert agent.end() == 0
        assert "Traceback" not in agent.err
    found = {(body["run"], body["sequence"]): body for body in site.bodies() if "status" in body}
    firsts = [body["commandId"] for body in found.values() if "repeat" not in body]
    answered = [command_id for command_id in firsts if command_id in ids]
    assert len(answered) == len(set(answered)), "one each"
    assert answered == ids, "in their order"
    done = sum(
        body["status"] == "done" and body["commandId"] in ids
        for body in found.values()
        if "repeat" not in body
    )
    assert site.drives().count("True") <= done + 1, "what was cut off may have been driven"


def test_every_step_is_tried() -> None:
    """The cases are all there are."""
    assert {step for step, _ in CASES} | {"held, not saved", "held and saved"} == set(STEPS)
