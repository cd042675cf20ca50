"""The hub is killed while everybody uses it: what it has confirmed to anyone is there when it is back."""

from __future__ import annotations

import json
import queue
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.operator.amqp import EventReader, FeedbackReader, Sender
from agent.operator.devices import Credential, Devices
from agent.operator.errors import HubRejected
from agent.operator.events import Event
from agent.operator.messages import C2dMessage
from agent.operator.rest import Rest

from .harness import Hub, Process, masthead, running_hub, wait_for
from .remote import Device, access, environment, twins, working


class Everybody:
    """Clients of a hub, and what it has confirmed to each."""

    def __init__(self, hub: Hub, taker_key: str) -> None:
        self.hub = hub
        self.taker_key = taker_key
        self.created: dict[str, str] = {}
        self.set_to: dict[str, int] = {}
        self.told: set[int] = set()
        self.sent: set[str] = set()
        self.taken: Counter[str] = Counter()
        self.feedback: dict[str, set[str]] = {}
        self._tried = Counter[str]()

    def _next(self, what: str) -> int:
        self._tried[what] += 1
        return self._tried[what]

    def registrar(self) -> Iterator[None]:
        """Creates devices and changes their twins."""
        rest = Rest(access(self.hub))
        devices = Devices(access(self.hub), rest)
        while True:
            number = self._next("device")
            name = f"made-{number}"
            self.created[name] = str(devices.create(name, Credential()).primary_key)
            for value in range(1, 4):
                body = {"properties": {"desired": {"n": value}}}
                rest.call("PATCH", f"/twins/{name}", right="ServiceConnect", body=body, if_match="*")
                self.set_to[name] = value
                yield

    def teller(self) -> Iterator[None]:
        """A device that sends telemetry, a few messages at a time."""
        with Device(self.hub, "mast-1", self.hub.connection_string.rpartition("Key=")[2]) as device:
            while True:
                numbers = [self._next("event") for _ in range(4)]
                for packet_id, number in enumerate(numbers, 1):
                    device.tell(json.dumps({"n": number}).encode(), packet_id)
                for packet_id, number in enumerate(numbers, 1):
                    assert device.receive() == (0x40, bytes([0, packet_id]))
                    self.told.add(number)
                yield
                time.sleep(0.01)

    def sender(self) -> Iterator[None]:
        """A back end that sends messages to a device."""
        sender = Sender(access(self.hub))
        try:
            sender.open()
            while True:
                message = C2dMessage(
                    "taker", b"x", f"c-{self._next('message')}", None, {}, expires_s=3600, ack="full"
                )
                try:
                    sender.send(message)
                except HubRejected:  # fifty wait, or the link went
                    time.sleep(0.05)
                    raise
                self.sent.add(message.message_id)
                yield
        finally:
            sender.close()

    def taker(self) -> Iterator[None]:
        """The device that they are for."""
        with Device(self.hub, "taker", self.taker_key, clean=False) as device:
            device.listen()
            device._socket.settimeout(0.5)
            while True:
                try:
                    first, _ = peeked = device.receive()
                except TimeoutError:
                    yield
                    continue
                if first >> 4 == 3:
                    topic, packet_id = _publish(*peeked)
                    self.taken[topic.partition("%24.mid=")[2].partition("&")[0]] += 1
                    device.send(bytes([0x40, 2]) + packet_id)
                yield

    def reader(self) -> Iterator[None]:
        """A back end that reads what became of them."""
        reader = FeedbackReader(access(self.hub))
        try:
            reader.open()
            while True:
                for feedback in reader.read():
                    for record in feedback.records:
                        self.feedback.setdefault(record.message_id, set()).add(record.status_code)
                    reader.settle(feedback, taken=True)
                yield
        finally:
            reader.close()


def _publish(first: int, body: bytes) -> tuple[str, bytes]:
    size = int.from_bytes(body[:2], "big")
    assert first & 6 == 2
    return body[2 : 2 + size].decode(), body[2 + size : 4 + size]


def _events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _rows(hub: Hub, select: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(hub.data / "hub.db", timeout=30)) as db:
        return db.execute(select).fetchall()


def _read_after(hub: Hub, event: dict[str, Any], count: int) -> list[Event]:
    """So many events of a partition that follow one."""
    reader, found = EventReader(access(hub), "$Default"), queue.SimpleQueue[Any]()
    try:
        reader.start({event["partition"]: event["sequenceNumber"]}, found.put, found.put)
        return [found.get(timeout=30) for _ in range(count)]
    finally:
        reader.close()


def _kill_again_and_again(folder: Path, kills: int) -> None:
    chance = random.Random(kills)
    with running_hub(folder) as hub:
        key = str(Devices(access(hub), Rest(access(hub))).create("taker", Credential()).primary_key)
        all_ = Everybody(hub, key)
        monitoring = ("monitor", "mast-1", "--from", "start", "--json")
        with Process(folder, *monitoring, environment=environment(hub)) as monitor:
            wait_for(lambda: "reading events" in monitor.err, "the monitor")
            with working(all_.taker, all_.reader):
                with working(all_.registrar, all_.teller, all_.sender):
                    for _ in range(kills):
                        time.sleep(chance.uniform(0.05, 0.6))  # the moment of the kill is what is varied
                        hub.kill()
                        hub.start()
                    made, told, sent = len(all_.created), len(all_.told), len(all_.sent)
                    wait_for(
                        lambda: len(all_.created) > made and len(all_.told) > told and len(all_.sent) > sent,
                        "everybody to be served again",
                        60,
                    )
                wait_for(lambda: all_.sent <= all_.taken.keys(), "all messages to be taken", 60)
                wait_for(lambda: all_.sent <= all_.feedback.keys(), "all feedback", 60)
                wait_for(lambda: not _rows(hub, "SELECT 1 FROM feedback"), "the end of feedback")
            _check_registry(all_)
            _check_messages(all_)
            seen = _check_events(all_, monitor)
            assert monitor.end(signal.SIGINT) == 0, monitor.err
        again = masthead(*monitoring, "--count", str(len(seen)), environment=environment(hub))
        assert _events(again.stdout) == seen
        middle = seen[len(seen) // 2]
        following = [event["body"] for event in seen[len(seen) // 2 + 1 :]]
        assert [json.loads(e.body) for e in _read_after(hub, middle, len(following))] == following
        print(
            f"{kills} kills: {len(all_.created)} devices, {len(all_.told)} events, {len(all_.sent)} messages"
        )


def _check_registry(all_: Everybody) -> None:
    found = twins(all_.hub)
    assert all_.created.keys() <= found.keys()
    for name, value in all_.set_to.items():
        assert found[name]["properties"]["desired"].get("n", 0) >= value
        assert found[name]["properties"]["desired"]["$version"] >= 1 + value
    rows = dict(_rows(all_.hub, "SELECT device_id, primary_key FROM device"))
    assert {name: rows[name] for name in all_.created} == all_.created


def _check_messages(all_: Everybody) -> None:
    """Each is there once, was delivered, and that is what its sender was told."""
    states: dict[str, list[str]] = {}
    for message_id, state in _rows(all_.hub, "SELECT message_id, state FROM c2d"):
        states.setdefault(message_id, []).append(state)
    assert all_.sent <= states.keys()
    for message_id in all_.sent:
        assert states[message_id] == ["delivered"]
    assert {message_id: {"Success"} for message_id in all_.feedback} == all_.feedback


def _check_events(all_: Everybody, monitor: Process) -> list[dict[str, Any]]:
    """Each that was confirmed is shown, once and in order; none that was never sent."""
    wait_for(lambda: all_.told <= {e["body"]["n"] for e in _events(monitor.out)}, "the monitor", 90)
    seen = _events(monitor.out)
    assert [event["sequenceNumber"] for event in seen] == list(range(len(seen)))
    numbers = [event["body"]["n"] for event in seen]
    assert numbers == sorted(set(numbers))
    return seen


def test_fifteen_kills(tmp_path: Path) -> None:
    """Devices, twins, messages with their feedback, and events, as often as they were confirmed."""
    _kill_again_and_again(tmp_path, 15)


@pytest.mark.long
def test_a_hundred_kills(tmp_path: Path) -> None:
    """The same for longer."""
    _kill_again_and_again(tmp_path, 100)
