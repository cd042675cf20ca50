"""Commands end to end: by message and by direct method, by the real SDK over TLS, from the hub to the pin and
back to the hub's store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from agent.localhub.records import InvalidRequest
from tests.agent.commands.fuzz import COMMANDS, Fuzzer
from tests.e2e.harness import Mast, wait_for
from tests.e2e.site import CONFIG, Agent, Device, Weather, running_agent, running_hub

NUMBERS = {"done": 200, "refused": 400, "expired": 408, "failed": 500, "interrupted": 503}
Ways = tuple[str, ...]
BOTH: Ways = ("message", "method")


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[bool, Agent]]:
    """Two devices at one hub: one whose clock is synchronised, and one whose is not."""
    folder = tmp_path_factory.mktemp("commands")
    with (
        running_hub(folder) as hub,
        running_agent(folder, hub, "trusted") as trusted,
        running_agent(folder, hub, "untrusted", synchronised=False) as untrusted,
    ):
        yield {True: trusted, False: untrusted}


def on(**more: Any) -> dict[str, Any]:
    return {"command": "set", "actuator": "beacon", "value": True, **more}


@dataclass(frozen=True)
class Row:
    """A command, and what must become of it; ``word`` begins the reason. ``named``: it has an id."""

    title: str
    body: Mapping[str, Any] | bytes
    status: str
    word: str = ""
    moved: bool = False
    trusted: bool = True
    named: bool = True
    ways: Ways = BOTH

    def spelt(self, command_id: str | None) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return json.dumps({**self.body, **({"id": command_id} if command_id else {})}).encode()


FUTURE, PAST = "2100-01-01T00:00:00Z", "2020-01-01T00:00:00Z"

MATRIX = [
    Row("in order", on(), "done", moved=True),
    Row("in order, clock untrusted", on(), "done", moved=True, trusted=False),
    Row("expires in time", on(expires=FUTURE), "done", moved=True),
    Row("expired", on(expires=PAST), "expired", "it came too late"),
    Row("expires, clock untrusted", on(expires=FUTURE), "refused", "clock-untrusted: ", trusted=False),
    Row("expired, clock untrusted", on(expires=PAST), "refused", "clock-untrusted: ", trusted=False),
    Row("to safe, expired", on(value=False, expires=PAST), "done"),
    Row("to safe, expires, clock untrusted", on(value=False, expires=FUTURE), "done", trusted=False),
    Row("expires at no time", on(expires="soon"), "refused", "bad-expires: "),
    Row("wrong type", on(value="on"), "refused", "bad-value: expected true, false or a number"),
    Row("wrong type for a switch", on(value=1), "refused", "bad-value: expected true or false, got 1.0"),
    Row("wrong type of time", on(**{"for": "30"}), "refused", "bad-for: "),
    Row("unknown command", on(command="sett"), "refused", "unknown-command: 'sett', did you mean 'set'?"),
    Row("unknown actuator", on(actuator="becon"), "refused", "unknown-actuator: 'becon', did you mean"),
    Row("unknown key", on(vaule=True), "refused", "unknown-key: 'vaule', did you mean 'value'?"),
    Row("no id", on(), "refused", "id-missing: ", named=False, ways=("message",)),
    Row("no id by method", on(), "done", moved=True, named=False, ways=("method",)),
    Row("no id, to safe", on(value=False), "done", named=False),
    Row("out of range", on(actuator="vent", value=100.5), "refused", "bad-value: expected a number from 0"),
    Row("beyond all numbers", b'{"command": "set", "value": 1e999}', "refused", "number-too-large: "),
    Row("too large", b"{}" + b" " * 65_535, "refused", "too-large: 65537 bytes, expected at most 65536"),
    Row("not UTF-8", b'{"command": "s\xe9t"}', "refused", "not-utf-8: byte 14"),
    Row("half a surrogate pair", b'{"command": "ping", "id": "\\ud800"}', "refused", "bad-id: "),
    Row("deep nesting", b"[" * 60_000, "refused", "too-deep: "),
    Row("duplicate keys", b'{"command": "ping", "command": "stop-all"}', "refused", "duplicate-key: "),
    Row("no JSON", b"on", "refused", "not-json: "),
    Row("a tutorial's", b'{"service client sent a message": 14.2}', "refused", "not-a-command: "),
    Row("a pulse", {"command": "pulse", "actuator": "beacon", "for": 60}, "done", moved=True),
    Row("a pulse of a level", {"command": "pulse", "actuator": "vent"}, "refused", "bad-value: a level"),
    Row("a ping", {"command": "ping"}, "done"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "way"),
    [pytest.param(row, way, id=f"{row.title} by {way}") for row in MATRIX for way in row.ways],
)
def test_each_command_has_its_outcome(
    agents: Mapping[bool, Agent], row: Row, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One outcome at the hub, with its status and reason; it moved or it did not; a method's answer is the
    outcome, and its number is the status's."""
    monkeypatch.setattr("agent.localhub.c2d.MAX_BYTES", 1_000_000)
    agent = agents[row.trusted]
    agent.reset()
    command_id = f"{row.title} {uuid4()}"[-100:] if row.named else None
    answers: list[tuple[int, Any]] = []
    if way == "message":
        outcomes = agent.outcomes(lambda: agent.send(row.spelt(None), command_id))
    else:
        outcomes = agent.outcomes(lambda: answers.append(agent.call("command", row.spelt(command_id))))
    assert len(outcomes) == 1
    outcome = outcomes[0]
    assert outcome["status"] == row.status
    assert (outcome["reason"] or "").startswith(row.word)
    assert "repeat" not in outcome
    if way == "method":
        assert answers == [(NUMBERS[row.status], outcome)]
        assert outcome["commandId"], "a method without an id gets one"
    if isinstance(row.body, Mapping) and (way == "message" or command_id):
        assert outcome["commandId"] == command_id
    assert (True in agent.actuator("beacon").driven) is row.moved
    assert agent.actuator("vent").value == 0.0


def test_what_the_hub_does_not_take_never_comes(agents: Mapping[bool, Agent]) -> None:
    """A body past IoT Hub's limit is refused to its sender, and the agent has no outcome for it."""
    agent = agents[True]

    def too_much() -> None:
        with pytest.raises(InvalidRequest, match="at most 65536"):
            agent.send(b" " * 65_537, "m-1")

    assert agent.outcomes(too_much) == []


def by(way: str, device: Device, body: Mapping[str, Any]) -> Callable[[], object]:
    """Sends ``body``, which has its id."""
    spelt = json.dumps(body).encode()
    if way == "message":
        return lambda: device.send(spelt, None)
    return lambda: device.call("command", spelt)


@pytest.mark.parametrize("second", BOTH)
@pytest.mark.parametrize("first", BOTH)
def test_a_duplicate_is_answered_and_not_obeyed(
    agents: Mapping[bool, Agent], first: str, second: str
) -> None:
    """One id and body is one command, by whichever way it comes; each repeat is marked."""
    agent = agents[True]
    agent.reset()
    body = on(id=str(uuid4()))
    original = agent.outcomes(by(first, agent, body))
    agent.reset()
    repeats = [agent.outcomes(by(second, agent, body)) for _ in range(2)]
    assert original[0]["status"] == "done"
    assert repeats == [[{**original[0], "repeat": True}]] * 2
    assert agent.actuator("beacon").driven == []


@pytest.mark.parametrize("second", BOTH)
@pytest.mark.parametrize("first", BOTH)
def test_a_changed_body_is_refused(agents: Mapping[bool, Agent], first: str, second: str) -> None:
    """Its id was another command's; towards safe it is obeyed all the same."""
    agent = agents[True]
    agent.reset()
    body = on(id=str(uuid4()))
    agent.outcomes(by(first, agent, body))
    changed = agent.outcomes(by(second, agent, {**body, "for": 30}))
    assert [(o["status"], o["reason"].partition(":")[0]) for o in changed] == [("refused", "id-reused")]
    assert agent.actuator("beacon").driven == [True]
    safe = agent.outcomes(by(second, agent, {**body, "value": False}))
    assert [(o["status"], o.get("repeat", False)) for o in safe] == [("done", False)]
    assert agent.actuator("beacon").value is False


@pytest.mark.parametrize("way", BOTH)
@pytest.mark.parametrize("trusted", [True, False])
def test_what_waited_too_long_is_not_obeyed(agents: Mapping[bool, Agent], trusted: bool, way: str) -> None:
    """It came in time and its turn did not: expired by a clock to trust; without one a message is refused
    once it is old, and a method that is still waited for is obeyed."""
    agent = agents[trusted]
    agent.reset()
    expires = datetime.fromtimestamp(agent.clock.wall() + 15, UTC).isoformat()
    timed = trusted and way == "method"  # a message has the hub's expiry
    body = json.dumps(on(id=str(uuid4()), **({"expires": expires} if timed else {}))).encode()

    def late() -> None:
        received = agent.daemon.executor.received
        with agent.gate:
            if way == "message":
                agent.send(body, None, 15 + agent.clock.ahead_s)
            else:
                answers.append(agent.start_call("command", body))
            wait_for(lambda: agent.daemon.executor.received > received, "its arrival")
            agent.clock.ahead_s += 16

    answers: list[Any] = []
    outcomes = agent.outcomes(late)
    status, word = {
        (True, "message"): ("expired", "it came too late"),
        (True, "method"): ("expired", "it came too late"),
        (False, "message"): ("refused", "clock-untrusted"),
        (False, "method"): ("done", ""),
    }[trusted, way]
    assert [(o["status"], (o["reason"] or "").partition(":")[0]) for o in outcomes] == [(status, word)]
    assert agent.actuator("beacon").driven == ([True] if status == "done" else [])
    assert [answer.result(20).status for answer in answers] == [NUMBERS[status]] * len(answers)


@pytest.mark.parametrize("way", BOTH)
@pytest.mark.parametrize("odd", ["a/b?c=d&e%20#+$", "ü☃\U0001f32c" * 40, " ", "'\"\\{}", "null", "$.mid"])
def test_an_odd_id_comes_back_as_it_was(agents: Mapping[bool, Agent], odd: str, way: str) -> None:
    """In the outcome and as its correlation id; and it is known again."""
    agent = agents[True]
    agent.reset()
    body = on(id=f"{odd}{way}")
    first, again = (agent.outcomes(by(way, agent, body)) for _ in range(2))
    assert [o["commandId"] for o in first] == [body["id"]]
    assert again == [{**first[0], "repeat": True}]
    assert agent.correlated(body["id"]) == 2


def test_a_method_is_called_by_the_commands_name(agents: Mapping[bool, Agent]) -> None:
    """Each command is a method; ``status`` is another, and any other there is not: 404."""
    agent = agents[True]
    agent.reset()
    assert agent.call("set", b'{"actuator": "vent", "value": 40, "for": 60}')[1]["value"] == 40.0
    assert agent.call("pulse", b'{"actuator": "beacon", "for": 60}')[0] == 200
    number, snapshot = agent.call("status")
    assert number == 200
    assert (snapshot["actuators"]["vent"]["value"], snapshot["actuators"]["beacon"]["value"]) == (40.0, True)
    assert snapshot["deviceId"] == "trusted"
    assert agent.call("stop", b'{"actuator": "vent"}')[1]["value"] == 0.0
    assert agent.call("hold", b'{"for": 60}')[0] == 200
    assert agent.call("set", b'{"actuator": "vent", "value": 40}')[1]["reason"].startswith(
        "hold: held from the"
    )
    assert agent.call("release", b"null")[0] == 200
    assert agent.call("stop-all", b"")[0] == 200
    assert agent.call("ping", b"{}")[0] == 200
    number, refused = agent.call("reboot", b"null")
    assert (number, refused["reason"].partition(":")[0]) == (404, "unknown-method")
    assert agent.call("set", b'{"command": "stop", "actuator": "vent"}')[0] == 400


def test_an_answer_that_nobody_waits_for_is_in_the_outbox(agents: Mapping[bool, Agent]) -> None:
    """Its caller gave up: obeyed, and the outcome arrives as any other."""
    agent = agents[True]
    agent.reset()

    def given_up() -> None:
        received = agent.daemon.executor.received
        with agent.gate:
            waiting = agent.start_call("set", b'{"actuator": "beacon", "value": true}')
            wait_for(lambda: agent.daemon.executor.received > received, "its arrival")
            waiting.cancel()

    assert [outcome["status"] for outcome in agent.outcomes(given_up)] == ["done"]
    assert agent.actuator("beacon").driven == [True]


def test_fuzzed_messages_and_methods_have_an_outcome_each(
    agents: Mapping[bool, Agent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some hundreds over the wire: as many outcomes as were sent, and neither link nor agent minds."""
    monkeypatch.setattr("agent.localhub.c2d.MAX_BYTES", 1_000_000)
    agent, fuzzer = agents[True], Fuzzer(seed=11)
    uplink = agent.daemon.uplink
    assert uplink is not None
    up_since = uplink.status.since_boot_s
    bodies, messages, answers = fuzzer.bodies(), 0, 0
    for _ in range(10):
        sent, called = list(islice(bodies, 30)), list(islice(bodies, 30))

        def act(sent: list[bytes] = sent, called: list[bytes] = called) -> None:
            for number, body in enumerate(sent):
                agent.send(body, f"fuzz-{number}")
            for body in called:
                agent.call(fuzzer.rng.choice((*COMMANDS, "command", "reboot")), body)

        outcomes = agent.outcomes(act)
        assert len(outcomes) == 60
        messages, answers = messages + 30, answers + 30
    assert (messages, answers) == (300, 300)
    assert agent.daemon.alive
    assert uplink.status.since_boot_s == up_since
    result = agent.outcomes(lambda: agent.send(b'{"command": "stop-all"}', None))
    assert [outcome["status"] for outcome in result] == ["done"]
    agent.call("release")


def test_fifty_queued_commands_are_handled_in_the_hubs_order(tmp_path: Path) -> None:
    """They waited for the agent, and the SDK hands them to a pool of threads: executed, answered and told in
    the order of the queue."""
    with running_hub(tmp_path) as hub:
        hub.hub.ensure_device("mast-1")
        levels = [float(level) for level in range(1, 51)]
        for level in levels:
            body = json.dumps(on(actuator="vent", value=level)).encode()
            hub.hub.send_c2d("mast-1", body, message_id=f"m-{level:g}", expires_in_s=300)
        with running_agent(tmp_path, hub) as agent:
            outcomes = wait_for(
                lambda: len(found := [b for b in agent.bodies() if "commandId" in b]) >= 50 and found,
                "fifty outcomes",
            )
            assert agent.actuator("vent").driven == [0.0, *levels]
        assert [o["commandId"] for o in outcomes] == [f"m-{level:g}" for level in levels]
        assert [o["value"] for o in outcomes] == levels


AWNING = (
    CONFIG
    + """
[actuators.awning]
driver = "recorder"

[actuators.awning.interlock]
trip_mps = 10.7
trip_s = 0.5
release_s = 0.5
"""
)


def test_a_wind_alarm_leaves_before_what_waits(tmp_path: Path) -> None:
    """Above the limit the awning goes to safe without any link, nobody may move it, and when the hub is back
    the alarm is the first that it hears of."""
    with running_hub(tmp_path) as hub, running_agent(tmp_path, hub, config=AWNING) as agent:
        wait_for(lambda: not agent.daemon.guard.holders["awning"], "the wind to be known")
        assert agent.call("set", b'{"actuator": "awning", "value": true}')[0] == 200
        hub.stop()
        wait_for(lambda: agent.link != "up", "the link to go")
        wait_for(lambda: agent.daemon.writer.status.backlog >= 2, "readings to queue")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Weather, "speed_mps", 12.0)
            wait_for(lambda: agent.actuator("awning").value is False, "the awning to go to safe")
            with pytest.raises(ValueError, match=r"interlock: 12\.0 m/s at top, above 10\.7"):
                agent.daemon.at_the_mast.actuate({"actuator": "awning", "value": True})
            backlog = agent.daemon.writer.status.backlog
            wait_for(lambda: agent.daemon.writer.status.backlog > backlog, "the alarm to be stored")
            hub.start()
            since = agent.mark
            wait_for(lambda: agent.events("wind-alarm", since), "the alarm", 60)
            wait_for(lambda: any("interval" in b for b in agent.bodies(since)), "the readings")
            arrived = agent.bodies(since)
            alarm = agent.events("wind-alarm", since)[0]
            assert (alarm["actuator"], alarm["sensor"], alarm["windSpeed"]) == ("awning", "top", 12.0)
            queued = [b for b in arrived if "interval" in b and b["sequence"] < alarm["sequence"]]
            assert queued, "readings had to wait"
            assert arrived.index(alarm) < min(arrived.index(reading) for reading in queued)
            [brought_back] = agent.events("actuator-safe", since)
            assert (brought_back["actuator"], brought_back["reason"]) == ("awning", "interlock")
            wait_for(lambda: agent.link == "up", "the link")
            number, refused = agent.call("set", b'{"actuator": "awning", "value": true}')
            assert (number, refused["reason"].partition(":")[0]) == (400, "interlock")
        wait_for(lambda: agent.events("wind-alarm-over", since), "the end of the alarm")
        assert agent.actuator("awning").value is False, "it does not move again by itself"
        assert agent.call("set", b'{"actuator": "awning", "value": true}')[0] == 200


def test_a_lost_link_brings_back_what_the_cloud_has_moved(tmp_path: Path) -> None:
    """After ``lost_link_s``, and only that: what a person has moved stays."""
    config = CONFIG.replace("[actuators.vent]", "lost_link_s = 1\n[actuators.vent]\nlost_link_s = 1")
    with running_hub(tmp_path) as hub, running_agent(tmp_path, hub, config=config) as agent:
        assert agent.call("set", b'{"actuator": "beacon", "value": true, "id": "c-1"}')[0] == 200
        agent.daemon.at_the_mast.actuate({"actuator": "vent", "value": 40})
        hub.stop()
        wait_for(lambda: agent.actuator("beacon").value is False, "the beacon to go to safe")
        assert agent.actuator("vent").value == 40.0
        assert agent.daemon.guard.status["beacon"].why == "lost-link"
        hub.start()
        wait_for(lambda: agent.events("actuator-safe"), "the event", 60)
        [event] = agent.events("actuator-safe")
        assert (event["reason"], event["commandId"]) == ("lost-link", "c-1")


def test_a_hold_at_the_mast_outlives_a_kill(tmp_path: Path) -> None:
    """Made while the cloud drives: to safe at once, the cloud refused and unable to lift it, the mast obeyed;
    after kill -9 as before, until it is lifted at the mast."""
    with running_hub(tmp_path) as hub:
        seen = Device(hub, "mast-1")
        mast = Mast(tmp_path, hub.hub.device_connection_string("mast-1"), str(hub.hub.ca_file))

        def status() -> Mapping[str, Any]:
            return wait_for(mast.status, "the agent")["actuators"]["beacon"]

        def reason(way: str) -> str:
            body = on(id=str(uuid4()))
            [outcome] = seen.outcomes(by(way, seen, body))
            return f"{outcome['status']} {(outcome['reason'] or '').partition(':')[0]}".strip()

        with mast.run() as agent:
            wait_for(mast.settled, "the connection")
            assert reason("message") == "done"
            assert status()["value"] is True
            assert mast.ask("hold").returncode == 0
            wait_for(lambda: status()["value"] is False, "the beacon to go to safe")
            assert status()["why"] == "hold"
            assert reason("message") == "refused hold"
            assert reason("method") == "refused hold"
            assert seen.call("release")[1]["reason"].startswith("held-at-the-mast")
            assert mast.ask("actuate", "beacon", "on").returncode == 0
            assert status()["value"] is True
            agent.kill()
        with mast.run() as agent:
            wait_for(mast.settled, "the restart")
            assert status()["value"] is False
            assert [holder["word"] for holder in status()["heldBy"]] == ["hold"]
            assert reason("message") == "refused hold"
            assert seen.call("release")[0] == 400
            assert mast.ask("release").returncode == 0
            assert reason("method") == "done"
            assert agent.end() == 0
