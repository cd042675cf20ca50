"""The operator's commands against the local hub, and against an agent behind it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.operator.site import DEVICE, Site, running_site
from tests.e2e.harness import CONFIG, MASTHEAD, Mast, clean_environment, wait_for

from .conftest import Masthead

KEYS = {
    "deviceId",
    "primaryKey",
    "secondaryKey",
    "connectionString",
    "status",
    "connectionState",
    "lastActivityTime",
    "cloudToDeviceMessageCount",
    "authMethod",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One for all: each test has devices of its own."""
    with running_site(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture(autouse=True)
def surrounded(site: Site, surroundings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator's terminal."""
    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)


class Running:
    """A command that runs until it is told to end."""

    def __init__(self, site: Site, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [MASTHEAD, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean_environment(site.environment),
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.stdout, self.stderr = self.process.stdout, self.process.stderr

    def interrupt(self) -> tuple[int, str, str]:
        """Ctrl-C: exit code, and what else was said."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def test_a_device_is_created_shown_and_deleted(masthead: Masthead) -> None:
    """As CreateDeviceIdentity printed it, with its connection string."""
    result = masthead("device", "create", "north")
    assert result.code == 0
    lines = dict(line.split(None, 1) for line in result.out.splitlines())
    assert lines.keys() == KEYS | {"isManaged"}
    assert lines["connectionString"].endswith(f";DeviceId=north;SharedAccessKey={lines['primaryKey']}")
    shown = json.loads(masthead("device", "show", "north", "--json").out)
    assert shown.keys() == KEYS | {"isManaged"}
    assert shown["primaryKey"] == lines["primaryKey"]
    again = masthead("device", "create", "north")
    assert again.code == 1
    assert "device 'north' exists already (masthead device show north)" in again.err
    assert masthead("device", "disable", "north").out == "north is disabled\n"
    assert json.loads(masthead("device", "enable", "north", "--json").out)["status"] == "enabled"
    assert masthead("device", "delete", "north").out == "north is deleted\n"
    assert "no device 'north' (masthead device list)" in masthead("device", "show", "north").err


def test_own_keys_come_from_files(masthead: Masthead, tmp_path: Path) -> None:
    """Never from the command line, where everybody on the machine reads them."""
    for name, key in (("one", "MDEyMzQ1Njc4OWFiY2RlZg=="), ("two", "ZmVkY2JhOTg3NjU0MzIxMA==")):
        (tmp_path / name).write_text(key + "\n")
    files = ("--primary-key-file", tmp_path / "one", "--secondary-key-file", tmp_path / "two")
    device = json.loads(masthead("device", "create", "own", *files, "--json").out)
    assert (device["primaryKey"], device["secondaryKey"]) == (
        "MDEyMzQ1Njc4OWFiY2RlZg==",
        "ZmVkY2JhOTg3NjU0MzIxMA==",
    )
    first = json.loads(masthead("device", "create", "single", *files[:2], "--json").out)
    assert first["primaryKey"] == "MDEyMzQ1Njc4OWFiY2RlZg=="
    assert first["secondaryKey"] not in (None, "", first["primaryKey"])
    device = json.loads(
        masthead("device", "create", "certified", "--x509-thumbprint", ":".join(["ab"] * 20), "--json").out
    )
    assert (device["authMethod"], device["primaryKey"]) == ("selfSigned", None)


def test_a_list_has_no_keys(masthead: Masthead, site: Site) -> None:
    """Neither for a person nor for a program."""
    key = site.hub.store.registry.get(DEVICE).primary_key
    plain, as_json = masthead("device", "list"), masthead("device", "list", "--json")
    assert plain.out.splitlines()
    assert any(line.startswith(f"{DEVICE} ") and "enabled" in line for line in plain.out.splitlines())
    assert DEVICE in {device["deviceId"] for device in json.loads(as_json.out)}
    assert key not in plain.out + as_json.out
    assert "SharedAccessKey" not in plain.out + as_json.out


def _crowd(site: Site, count: int) -> None:
    """So many copies of a device, at once."""
    with site.hub.store._database.write() as db:
        columns = [row["name"] for row in db.execute("PRAGMA table_info(device)")]
        copied = ", ".join("'crowd-' || n" if name == "device_id" else name for name in columns)
        db.execute(
            f"WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {count})"
            f" INSERT INTO device SELECT {copied} FROM c, device WHERE device_id = '{DEVICE}'"
        )


def test_a_list_has_all_devices(masthead: Masthead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they are more than the registry lists; who may not ask for those is told so."""
    with running_site(tmp_path) as site:
        _crowd(site, 1199)
        for policy, count, told in (
            ("iothubowner", 1200, ""),
            ("registryRead", 1000, "these are 1000, and there may be more: "),
        ):
            for name, value in site.as_policy(policy).items():
                monkeypatch.setenv(name, value)
            result = masthead("device", "list")
            ids = [line.split()[0] for line in result.out.splitlines()]
            assert (result.code, len(ids), ids) == (0, count, sorted(set(ids)))
            assert result.err.startswith(told)
            assert ("ServiceConnect" in result.err) == bool(told)


def test_a_right_that_lacks_is_named(masthead: Masthead, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """And who has it."""
    for name, value in site.as_policy("service").items():
        monkeypatch.setenv(name, value)
    result = masthead("device", "create", "x")
    assert result.code == 1
    assert "refused policy 'service': this needs the right RegistryWrite (registryReadWrite or" in result.err
    assert result.err.count("\n") == 1


def test_a_twin_is_set_shown_and_watched(masthead: Masthead, site: Site) -> None:
    """What changes is told by its path."""
    site.hub.ensure_device("twin")
    assert json.loads(masthead("twin", "set", "twin", '{"a": {"b": 1, "c": 2}}').out)["a"] == {"b": 1, "c": 2}
    with Running(site, "twin", "watch", "twin", "--every", "0.1") as watch:
        assert "watching the twin of twin" in watch.stderr.readline()
        assert masthead("twin", "set", "twin", '{"a": {"b": null, "c": 3}}').code == 0
        assert [watch.stdout.readline() for _ in range(2)] == [
            "desired.a.b: 1 -> null\n",
            "desired.a.c: 2 -> 3\n",
        ]
        site.hub.store.twins.report("twin", {"version": "1.0"})
        assert watch.stdout.readline() == 'reported.version: null -> "1.0"\n'
        assert watch.interrupt() == (0, "", "")
    shown = json.loads(masthead("twin", "show", "twin").out)
    assert shown["desired"] == {"a": {"c": 3}, "$version": 3}
    assert shown["reported"]["version"] == "1.0"
    assert "$metadata" in masthead("twin", "show", "twin", "--json").out
    assert "no device 'none'" in masthead("twin", "show", "none").err


def test_a_method_of_a_device_that_is_not_there(masthead: Masthead) -> None:
    """Is told from a device that there is not."""
    assert "device 'mast-1' is not connected" in masthead("method", DEVICE, "ping").err
    assert "no device 'none'" in masthead("method", "none", "ping").err


def test_a_message_is_sent_and_its_feedback_shown(masthead: Masthead, site: Site) -> None:
    """As Azure spells it; taken, it is not shown again."""
    sent = masthead("send", DEVICE, "hello", "--ack", "full", "--message-id", "m-1")
    assert (sent.code, sent.out) == (0, "taken by the hub  m-1\n")
    site.deliver()
    told = json.loads(masthead("feedback", "--count", "1", "--json").out)
    assert (told["originalMessageId"], told["deviceId"], told["statusCode"]) == ("m-1", DEVICE, "Success")
    site.hub.send_c2d(DEVICE, b"x", message_id="m-2", ack="full")
    site.deliver()
    assert masthead("feedback", "--count", "1").out.rstrip().endswith("  mast-1  m-2  Success")


def test_a_message_that_expires_is_told(masthead: Masthead) -> None:
    """Before the time is up."""
    result = masthead("send", DEVICE, "x", "--expires", "1", "--wait", "--timeout", "60")
    assert result.code == 1
    assert result.out.splitlines()[1] == "delivered         Expired"
    assert result.err == "Error: not delivered to mast-1: Expired: it was not connected in time\n"


def on_a_terminal(site: Site, *arguments: str, terminate_at: bytes | None = None) -> tuple[int, str]:
    """(exit code, all that it writes) of a command whose output is a terminal; it gets SIGTERM as soon as it
    has written ``terminate_at``."""
    terminal, its_end = pty.openpty()
    environment = clean_environment({**site.environment, "TERM": "xterm", "COLUMNS": "100"})
    with subprocess.Popen([MASTHEAD, *arguments], stdout=its_end, stderr=its_end, env=environment) as process:
        os.close(its_end)
        shown = b""
        with contextlib.suppress(OSError):  # EIO: nobody holds the other end any more
            while chunk := os.read(terminal, 4096):
                shown += chunk
                if terminate_at is not None and terminate_at in shown:
                    terminate_at = None
                    process.terminate()
        os.close(terminal)
        return process.wait(60), shown.decode()


def test_on_a_terminal_something_turns_while_it_waits(site: Site) -> None:
    """And every stage keeps its line."""
    code, text = on_a_terminal(site, "send", DEVICE, "x", "--expires", "1", "--wait")
    assert code == 1
    assert "waiting for the hub's feedback and the device's outcome" in text
    assert re.search(r"taken by the hub  \S+  \(after 0\.0 s\)\r\n", text)
    assert re.search(r"delivered         Expired  \(after \d+\.\d s\)\r\n", text)


def test_a_terminal_is_left_as_it_was_where_the_waiting_is_ended(site: Site) -> None:
    """By SIGTERM: its cursor is to be seen again."""
    waiting = ("send", DEVICE, "x", "--expires", "60", "--wait")
    code, text = on_a_terminal(site, *waiting, terminate_at=b"waiting for")
    site.hub.store.c2d.purge(DEVICE)
    assert code == 143
    hidden, seen = "\x1b[?25l", "\x1b[?25h"
    assert text.count(hidden) == text.count(seen) == 1
    assert "Traceback" not in text


def test_a_port_where_no_https_answers_is_named(
    masthead: Masthead, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the variable that it comes from."""
    monkeypatch.setenv("MASTHEAD_HTTPS_PORT", "5671")
    result = masthead("device", "list")
    assert (result.code, result.err) == (
        1,
        f"Error: no HTTPS answers at {site.host}:5671: is MASTHEAD_HTTPS_PORT=5671 right?\n",
    )


def test_events_of_one_device_or_all(masthead: Masthead, site: Site) -> None:
    """From the start, or a time; one a line for a program."""
    for device in ("east", "west"):
        site.hub.ensure_device(device)
        site.arrive({"from": device}, device, message_id="m-1")
    result = masthead("monitor", "east", "--from", "start", "--count", "1", "--props")
    assert result.code == 0
    assert '  east  {"from": "east"}\n    site = north\n' in result.out
    assert "    [message-id] = m-1\n" in result.out
    events = masthead("monitor", "--from", "3600", "--count", "2", "--json").out.splitlines()
    assert {json.loads(event)["deviceId"] for event in events} <= {"east", "west", DEVICE}
    assert "no device 'none'" in masthead("monitor", "none", "--from", "start", "--count", "1").err
    result = masthead("monitor", "--from", "start", "--count", "9", "--consumer-group", "none")
    assert (result.code, "no such address, partition or consumer group" in result.err) == (1, True)


def test_a_monitor_survives_the_hub_and_ends_cleanly(site: Site) -> None:
    """It says what happens; nothing is missing, nothing twice; Ctrl-C is no failure."""
    site.hub.ensure_device("steady")
    with Running(site, "monitor", "steady", "--json") as monitor:
        assert "reading events of steady" in monitor.stderr.readline()
        site.arrive({"n": 0}, "steady")
        seen = [json.loads(monitor.stdout.readline())["body"]["n"]]
        with site.down():
            assert "trying again in" in monitor.stderr.readline()
        site.arrive({"n": 1}, "steady")
        site.arrive({"n": 2}, "steady")
        seen += [json.loads(monitor.stdout.readline())["body"]["n"] for _ in range(2)]
        code, out, err = monitor.interrupt()
    assert (code, out, seen) == (0, "", [0, 1, 2])
    assert err.splitlines()[-1] == "connected again"
    assert "Traceback" not in err


@pytest.fixture
def mast(site: Site, tmp_path: Path) -> Mast:
    """An agent's configuration, for a device of its own."""
    site.hub.ensure_device("real")
    return Mast(tmp_path, site.hub.device_connection_string("real"), str(site.hub.ca_file), CONFIG)


def test_an_agent_is_commanded_and_answers(masthead: Masthead, site: Site, mast: Mast) -> None:
    """Three stages for a message, a status and a payload for a method, and its readings."""
    with mast.run():
        wait_for(mast.settled, "an agent that is up")
        command = '{"command": "set", "actuator": "beacon", "value": true, "for": 5}'
        result = masthead("send", "real", command, "--wait", "--json")
        assert (result.code, result.err) == (0, "")
        told = json.loads(result.out)
        assert (told["taken"], told["delivered"], told["outcome"]) == (True, "Success", "done")
        assert told["result"]["commandId"] == told["messageId"]
        refused = masthead("send", "real", '{"service client sent a message": 14.2}', "--wait")
        assert refused.code == 1
        assert "\ndelivered         Success\n" in refused.out
        assert "\noutcome           refused" in refused.out
        assert "delivered, and real says refused: " in refused.err
        beyond = masthead(
            "send", "real", '{"id": "b-1", "command": "hold", "for": 1e400}', "--wait", "--json"
        )
        told = json.loads(beyond.out)
        assert (told["outcome"], told["result"]["commandId"]) == ("refused", told["messageId"])
        method = masthead("method", "real", "ping", "--json")
        assert (method.code, json.loads(method.out)["status"]) == (0, 200)
        unknown = masthead("method", "real", "fly")
        assert (unknown.code, unknown.out.splitlines()[0]) == (1, "status 404")
        event = json.loads(masthead("monitor", "real", "--count", "1", "--json").out)
        assert event["deviceId"] == "real"
        assert "windSpeed" in event["body"] or event["body"].get("event")
        assert json.loads(masthead("device", "show", "real", "--json").out)["connectionState"] == "Connected"
