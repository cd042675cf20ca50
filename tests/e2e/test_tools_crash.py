"""The operator's tools killed or interrupted: the hub has everything as if they had never been."""

from __future__ import annotations

import json
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent.operator.site import DEVICE, Site, running_site

from .harness import Process, masthead, wait_for

CRASHING = (sys.executable, str(Path(__file__).with_name("crashing_tools.py")))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One for all: each test takes what it leaves."""
    with running_site(tmp_path_factory.mktemp("site")) as site:
        yield site


def run(site: Site, folder: Path, *arguments: str, **options: Any) -> Process:
    return Process(folder, *arguments, environment=site.environment, **options)


def feedback(site: Site, count: int) -> list[tuple[str, str]]:
    """So many records, each of which is read then."""
    told = masthead("feedback", "--count", str(count), "--json", environment=site.environment)
    assert told.returncode == 0, told.stderr
    records = [json.loads(line) for line in told.stdout.splitlines()]
    return sorted((record["originalMessageId"], record["statusCode"]) for record in records)


def left(site: Site) -> int:
    """How many records nobody has settled."""
    with site.hub.store._database.read() as db:
        return int(db.execute("SELECT count(*) FROM feedback").fetchone()[0])


def test_feedback_that_was_read_and_not_settled_comes_again(site: Site, tmp_path: Path) -> None:
    """To the next reader, once; the one that showed it was killed before it had told the hub."""
    site.hub.send_c2d(DEVICE, b"x", message_id="m-1", ack="full")
    site.deliver()
    with run(site, tmp_path, "feedback", "--json", program=CRASHING) as reader:
        assert reader.process.wait(60) == -signal.SIGKILL
        assert json.loads(reader.out)["originalMessageId"] == "m-1"
    assert left(site) == 1
    assert feedback(site, 1) == [("m-1", "Success")]
    wait_for(lambda: left(site) == 0, "the end of the record")


def test_a_send_that_is_killed_while_it_waits_leaves_its_message_and_all_feedback(
    site: Site, tmp_path: Path
) -> None:
    """The message is delivered once; its feedback, and other people's that was held, comes to the next."""
    site.hub.send_c2d(DEVICE, b"x", message_id="another's", ack="full")
    site.deliver()
    with run(site, tmp_path, "send", DEVICE, "hello", "--message-id", "m-2", "--wait") as sender:
        wait_for(lambda: "taken by the hub" in sender.out or sender.process.poll() is not None, "the hub")
        sender.kill()
        assert sender.out == "taken by the hub  m-2\n"
    assert [(message.message_id, message.body) for message in site.deliver()] == [("m-2", b"hello")]
    assert site.deliver() == []
    assert feedback(site, 2) == [("another's", "Success"), ("m-2", "Success")]
    wait_for(lambda: left(site) == 0, "the end of the records")


def test_commands_killed_at_any_moment(site: Site, tmp_path: Path) -> None:
    """A message is taken whole or not at all, and nothing of a reader stays behind at the hub."""
    chance = random.Random(8)
    for number in range(6):
        send = ("send", DEVICE, "hello", "--message-id", f"k-{number}", "--ack", "full", "--wait")
        with run(site, tmp_path, *send) as sender:
            time.sleep(chance.uniform(0.3, 1.5))  # the moment of the kill is what is varied
            sender.kill()
            taken = "taken by the hub" in sender.out
        messages = site.deliver()
        assert len(messages) == 1 or not (messages or taken)
        assert all((m.message_id, m.body) == (f"k-{number}", b"hello") for m in messages)
        if messages:
            assert feedback(site, 1) == [(f"k-{number}", "Success")]
    wait_for(lambda: left(site) == 0, "the end of the records")
    wait_for(lambda: site.hub._service._amqp.connections == 0, "the end of all connections")


ENDLESS = [("monitor",), ("monitor", "--json"), ("feedback",), ("twin", "watch", DEVICE)]
WITH_AN_END = [("send", DEVICE, "x", "--wait"), ("monitor", "--count", "1"), ("feedback", "--count", "1")]


@pytest.mark.parametrize("arguments", [*ENDLESS, *WITH_AN_END], ids=" ".join)
def test_ctrl_c(site: Site, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """It is how what has no end is ended, 0; to the others it is a failure, 130. No traceback."""
    with run(site, tmp_path, *arguments) as command:
        wait_for(lambda: command.out or command.err, "its first word")
        code = command.end(signal.SIGINT)
        assert code == (0 if arguments in ENDLESS else 130)
        assert "Traceback" not in command.err
        assert ("interrupted" in command.err) == bool(code)
    site.hub.store.c2d.purge(DEVICE)
    while (batch := site.hub.store.feedback.take()) is not None:
        site.hub.store.feedback.complete(batch.token)


@pytest.mark.parametrize("arguments", [("monitor",), ("feedback",)], ids=" ".join)
def test_ctrl_c_while_the_hub_is_away(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Also while it waits to try again."""
    with running_site(tmp_path / "site") as site, run(site, tmp_path, *arguments) as command:
        wait_for(lambda: "Ctrl-C ends it" in command.err, "a reader")
        with site.down():
            wait_for(lambda: "trying again in" in command.err, "the break")
            assert command.end(signal.SIGINT) == 0
            assert "Traceback" not in command.err
