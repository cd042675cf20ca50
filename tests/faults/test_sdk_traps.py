"""The traps of the Azure SDK and of IoT Hub, one after the other: what the agent does not fall into.

The real SDK over TLS against a local hub that misbehaves on demand. Where it is quick, the bare SDK is shown
to fall into the trap: the test tells when a new version mends it. The numbers are those of this list:

 1 a send has no deadline           5 clients leave descriptors      9 a dead link is noticed late
 2 a refused reconnect is the last  6 sends in flight are unbounded 10 its threads are everybody's
 3 it never subscribes again        7 commands lose their order     11 one by one it is slow
 4 a client used again loses data   8 a short token life loops      12 the next version is another

13 a direct method is decoded before anybody sees it
14 an answer to one waits for what has nothing to do with it
15 a topic that is no UTF-8 ends the thread that reads
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.metadata
import logging
import os
import random
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from azure.iot.device import Message as SdkMessage
from azure.iot.device import MethodResponse
from paho.mqtt.client import MQTT_ERR_CONN_LOST

from agent.backoff import Backoff, Pace
from agent.batching import Batcher, Batching, metered_bytes
from agent.cloud import MAX_MESSAGE_BYTES, WINDOW, CloudMessage, Failure, MethodCall
from agent.cloud.azure import AzureHubClient, HubOptions
from agent.cloud.credentials import parse
from agent.cloud.sdk import on_callback_thread, transport_of
from agent.localhub.faults import Fault
from agent.localhub.hub import LocalHub
from agent.localhub.records import MethodResult
from agent.localhub.thread import HubThread
from agent.reading import Entry, Message, Row
from agent.uplink import HANDED_OVER, LinkTimes, Uplink
from hw.clock import SystemClock
from tests.e2e.harness import free_host
from tests.fakes import FakeRows, object_ids

PATIENCE_S = 90.0
DEVICE = "mast-1"
BARE = "bare-1"
QUICK = LinkTimes(connect_s=1.0, send_s=1.0)

# paho's thread may die of a TLS error while the hub hangs up: that is one of the traps
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


class Hasty(Backoff):
    """Tries again at once, whatever was wrong."""

    def next_delay(self, pace: Pace, worked_for_s: float = 0.0) -> float:
        super().next_delay(pace, worked_for_s)
        return 0.02


class Mast:
    """An uplink of the real SDK, stepped by the test as its thread would step it."""

    def __init__(
        self,
        hub: LocalHub,
        rows: int = 0,
        times: LinkTimes = QUICK,
        options: HubOptions | None = None,
        batching: Batching = "object",
        connection_string: str | None = None,
    ) -> None:
        self.hub = hub
        self.rows = FakeRows(rows)
        self.clients: list[AzureHubClient] = []
        self.received: list[CloudMessage] = []
        self.called: list[MethodCall] = []
        self.unstored: list[str] = []
        self.stored: set[str] = set()
        self._options = options or HubOptions(ca_pem=hub.ca_file.read_text(), keep_alive_s=2)
        self._text = connection_string or hub.device_connection_string(DEVICE)
        self._woken = threading.Event()
        self.uplink = Uplink(
            self.rows,
            self._new_client,
            batcher=Batcher(batching, 4096, DEVICE, {}),
            clock=SystemClock(),
            rng=random.Random(1),
            times=times,
            backoff=Hasty(random.Random(1)),
            on_confirmed=self._confirmed,
        )
        self.uplink.wake = self._woken.set

    def _new_client(self) -> AzureHubClient:
        credential = parse(self._text, "test")
        client = AzureHubClient(
            credential, self._options, SystemClock(), self.received.append, self.called.append
        )
        self.clients.append(client)
        return client

    def _confirmed(self, row: Row, total: int) -> None:
        """A row counts as sent: the hub must have it by now."""
        if row.object_id not in self.stored:
            self.stored = self.hub.store.events.object_ids(DEVICE)
        if row.object_id not in self.stored:
            self.unstored.append(row.object_id)

    def until(self, condition: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
        """Step until ``condition`` holds; fail if it does not come about."""
        deadline = time.monotonic() + patience_s
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain: {self.uplink.status}"
            now = SystemClock().monotonic()
            due = self.uplink.step(now)
            self._woken.wait(min(max(due - now, 0.0), 0.02))
            self._woken.clear()

    def until_up(self) -> None:
        self.until(lambda: self.uplink.status.state == "up")

    def until_all_arrived(self) -> None:
        """Every row is confirmed, and nothing was confirmed that the hub does not have."""
        self.until(lambda: len(self.rows.confirmed) == self.rows.added)
        assert self.unstored == []
        assert self.hub.store.events.object_ids(DEVICE) == {
            f"0badcafe-{n + 1}" for n in range(self.rows.added)
        }
        assert self.rows.rejected == []

    def until_error(self, begins: str) -> None:
        self.until(lambda: (self.uplink.status.last_error or "").startswith(begins))

    def copies(self) -> Counter[str]:
        """How often each row is stored."""
        return Counter(name for body in bodies(self.hub) for name in object_ids(Message(body, "")))

    def end(self) -> None:
        self.uplink.stop(SystemClock().monotonic())
        eventually(lambda: self.uplink.closed)


def bodies(hub: LocalHub) -> list[bytes]:
    return [event.body for event in hub.store.events.after(0, limit=100_000)]


def call(hub: LocalHub, device: str, payload: bytes = b"{}") -> Future[MethodResult]:
    """Call a direct method with any bytes: nothing checks here that they are JSON, as a hub does."""
    calling = hub._listener.call(device, "set", payload, PATIENCE_S)
    return asyncio.run_coroutine_threadsafe(calling, hub._loop)


def send(hub: LocalHub, device: str, packet: bytes) -> None:
    """Any packet, to the device that is connected."""
    hub._loop.call_soon_threadsafe(lambda: hub._listener._of_device[device]._line.send("method", packet))


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    thread = HubThread(LocalHub(tmp_path / "hub", free_host()))
    thread.start()
    thread.hub.ensure_device(DEVICE)
    thread.hub.ensure_device(BARE)
    try:
        yield thread.hub
    finally:
        thread.stop()


@pytest.fixture
def mast(hub: LocalHub) -> Iterator[Callable[..., Mast]]:
    """Makes masts, and has them let go of the hub in the end."""
    masts: list[Mast] = []

    def make(**arguments: Any) -> Mast:
        masts.append(Mast(hub, **arguments))
        return masts[-1]

    yield make
    hub.faults.clear()
    for one in masts:
        one.end()


@pytest.fixture
def bare(hub: LocalHub) -> Iterator[Callable[..., Any]]:
    """Makes clients of the SDK as its samples do, and shuts them down in the end."""
    from azure.iot.device import IoTHubDeviceClient

    clients: list[Any] = []

    def make(**options: Any) -> Any:
        client = IoTHubDeviceClient.create_from_connection_string(
            hub.device_connection_string(BARE), server_verification_cert=hub.ca_file.read_text(), **options
        )
        clients.append(client)
        return client

    yield make
    hub.faults.clear()
    while clients:
        with contextlib.suppress(Exception):
            clients.pop().shutdown()
    gc.collect()


def sending(client: Any, text: str) -> threading.Thread:
    """A send of the bare SDK, on a thread that it may hold for ever."""

    def send() -> None:
        with contextlib.suppress(Exception):
            client.send_message(text)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread


# --- 1


def test_trap_01_a_send_has_no_deadline_of_its_own(
    hub: LocalHub, mast: Callable[..., Mast], bare: Callable[..., Any]
) -> None:
    """A confirmation that stays away blocks the SDK's send; the uplink gives up its connection."""
    hub.faults.set(Fault("no-puback"))
    client = bare()
    client.connect()
    blocked = sending(client, '{"run": "bare", "sequence": 1}')
    eventually(lambda: hub.store.events.object_ids(BARE) == {"bare-1"})
    ours = mast(rows=3)
    ours.until_error("no confirmation within 1 s")
    assert blocked.is_alive(), "the SDK's send has a deadline now"
    hub.faults.clear("no-puback")
    ours.until(lambda: len(ours.rows.confirmed) == 3)
    assert ours.unstored == []


# --- 2


@pytest.mark.parametrize("code", [3, 4, 5])
def test_trap_02_a_refused_reconnect_is_not_the_last(
    hub: LocalHub, mast: Callable[..., Mast], code: int
) -> None:
    """Refused with rows in flight, however often: it is tried again, and everything arrives."""
    ours = mast(rows=30)
    ours.until_all_arrived()
    hub.faults.set(Fault("no-puback"))
    ours.rows.add(5)
    ours.until(lambda: ours.uplink.status.in_flight == 5)
    hub.faults.set(Fault("refuse", code, times=4))
    hub.faults.set(Fault("kick"))
    said = "that it is unavailable" if code == 3 else f"refused device {DEVICE!r}"
    ours.until(lambda: said in (ours.uplink.status.last_error or ""))
    hub.faults.clear("no-puback")
    ours.until_all_arrived()
    assert ours.uplink.status.last_error is None
    assert hub.faults.active() == []


def test_trap_02_the_bare_sdk_gives_up(hub: LocalHub, bare: Callable[..., Any]) -> None:
    """Once refused it does not come back by itself, although it retries connections."""
    client = bare()  # connection_retry is on
    client.connect()
    hub.faults.set(Fault("no-puback"))
    blocked = sending(client, "{}")
    eventually(lambda: len(bodies(hub)) == 1)
    hub.faults.set(Fault("refuse", 5, times=1))
    hub.faults.set(Fault("kick"))
    eventually(lambda: not hub.faults.peek("refuse", BARE))
    blocked.join(1.0)
    assert blocked.is_alive()
    assert not client.connected


# --- 3


def test_trap_03_it_subscribes_again_on_every_connection(hub: LocalHub, mast: Callable[..., Mast]) -> None:
    """A hub that forgot the subscriptions delivers commands all the same, on the next connection."""
    ours = mast()
    ours.until_up()
    hub.send_c2d(DEVICE, b"{}", message_id="before")
    ours.until(lambda: len(ours.received) == 1)
    hub.faults.set(Fault("lost-state"))
    ours.until(lambda: len(ours.clients) == 2)
    ours.until_up()
    hub.send_c2d(DEVICE, b"{}", message_id="after")
    ours.until(lambda: len(ours.received) == 2)
    assert [message.message_id for message in ours.received] == ["before", "after"]


def test_trap_03_a_refused_subscription_is_noticed(
    hub: LocalHub, mast: Callable[..., Mast], bare: Callable[..., Any]
) -> None:
    """The SDK ignores SUBACK 0x80 and would never get a command; we say so, and try again."""
    hub.faults.set(Fault("refuse-subscription"))
    deaf = bare(connection_retry=False)
    deaf.connect()
    deaf.on_message_received = lambda message: None  # and it is content
    deaf.shutdown()
    ours = mast()
    ours.until(lambda: "refused the subscription to commands" in (ours.uplink.status.last_error or ""))
    hub.faults.clear("refuse-subscription")
    ours.until_up()
    hub.send_c2d(DEVICE, b"{}", message_id="now")
    ours.until(lambda: len(ours.received) == 1)


def test_trap_03_a_subscription_that_is_not_answered_has_a_deadline(
    hub: LocalHub, mast: Callable[..., Mast]
) -> None:
    """Without SUBACK the connection is given up, and the next one is complete."""
    hub.faults.set(Fault("no-suback"))
    ours = mast(rows=3)
    ours.until_error("no answer within 1 s")
    hub.faults.clear("no-suback")
    ours.until_all_arrived()


# --- 4


def test_trap_04_the_bare_sdk_sends_what_it_gave_up(hub: LocalHub, bare: Callable[..., Any]) -> None:
    """A client that is used again repeats messages that nobody asked it to send any more."""
    client = bare(connection_retry=False, auto_connect=False)
    client.connect()
    hub.faults.set(Fault("no-puback"))
    sending(client, '{"run": "bare", "sequence": 1}')
    eventually(lambda: len(bodies(hub)) == 1)
    client.disconnect()
    hub.faults.clear("no-puback")
    client.connect()
    eventually(lambda: len(bodies(hub)) == 2)


@pytest.mark.parametrize("rounds", [4])
def test_trap_04_no_client_is_used_twice_and_nothing_is_confirmed_that_is_not_stored(
    hub: LocalHub, mast: Callable[..., Mast], rounds: int
) -> None:
    """Over kicks with confirmations late or lost, each row is stored once a connection at most."""
    ours = mast(rows=20)
    ours.until_all_arrived()
    for number in range(rounds):
        hub.faults.set(Fault("no-puback") if number % 2 else Fault("late-puback", 0.2))
        known = ours.rows.added
        ours.rows.add(10)
        ours.until(lambda known=known: len(hub.store.events.object_ids(DEVICE)) == known + 10)
        hub.faults.set(Fault("kick"))
        connections = len(ours.clients)
        ours.until(lambda connections=connections: len(ours.clients) > connections)
        hub.faults.clear()
        ours.until_all_arrived()
    assert len({id(client) for client in ours.clients}) == len(ours.clients) == rounds + 1
    assert max(ours.copies().values()) <= 2, "sent on two connections, stored more often: a ghost"


def test_trap_04_confirmations_that_come_twice_confirm_nothing_else(
    hub: LocalHub, mast: Callable[..., Mast]
) -> None:
    """A PUBACK too many never stands for another message."""
    hub.faults.set(Fault("duplicate-puback"))
    ours = mast(rows=300)
    ours.until_all_arrived()
    assert set(ours.copies().values()) == {1}


# --- 5


def sockets() -> int:
    """Descriptors, without the files of the hub's store, whose number depends on its threads."""
    found = 0
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208  (names, of which some are gone again)
        with contextlib.suppress(FileNotFoundError):
            found += os.readlink(f"/proc/self/fd/{number}").startswith("socket:")  # noqa: PTH115
    return found


class Broken:
    """A socket whose writes fail."""

    def __init__(self, sound: Any, error: Exception) -> None:
        self._sound = sound
        self._error = error

    def send(self, _: bytes) -> int:
        raise self._error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sound, name)


@pytest.mark.parametrize("idle", [False, True])
@pytest.mark.parametrize(
    "error",
    [ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), TimeoutError(110, "Connection timed out")],
)
def test_trap_05_a_write_that_fails_is_noticed_and_the_client_closed(
    hub: LocalHub, mast: Callable[..., Mast], error: Exception, idle: bool
) -> None:
    """Of such an error paho's thread dies: nobody would be told, and closing would wait for ever."""
    ours = mast(rows=3)
    ours.until_all_arrived()
    paho = ours.clients[0]._transport._mqtt_client

    thread, paho._sock = paho._thread, Broken(paho._sock, error)
    if idle:
        ours.until(lambda: len(ours.clients) == 2)  # at the next ping
    ours.rows.add(3)
    ours.until_all_arrived()
    assert not thread.is_alive()
    assert len(ours.clients) == 2
    ours.until(lambda: not ours.uplink._closing, 5.0)
    assert ours.uplink.status.abandoned_clients == 0


def test_trap_05_descriptors_and_threads_stay_flat(
    hub: LocalHub, mast: Callable[..., Mast], caplog: pytest.LogCaptureFixture
) -> None:
    """Twenty connections that ended with rows in flight leave nothing behind."""
    caplog.clear()
    caplog.set_level(logging.CRITICAL)  # a record may hold an error, its traceback a client and its socket
    ours = mast(rows=5)

    def cycle() -> None:
        connections = len(ours.clients)
        ours.rows.add(3)
        hub.faults.set(Fault("kick"))
        ours.until(lambda: len(ours.clients) > connections)
        ours.until_all_arrived()

    def settled() -> tuple[int, int]:
        ours.until(lambda: not ours.uplink._closing)
        eventually(lambda: not any(t.name.startswith("azure-c") for t in threading.enumerate()))
        gc.collect()
        return sockets(), sdk_threads()

    for _ in range(5):
        cycle()
    before = settled()
    for _ in range(20):
        cycle()
    after = settled()
    assert after[0] <= before[0] + 2
    assert after[1] <= before[1] + 1


# --- 6 and 10


def test_trap_06_no_more_is_in_flight_than_two_windows(hub: LocalHub, mast: Callable[..., Mast]) -> None:
    """With a backlog and no confirmation the SDK holds two windows, and the wire one."""
    hub.faults.set(Fault("no-puback"))
    ours = mast(rows=500, times=LinkTimes(send_s=30.0))
    ours.until(lambda: len(bodies(hub)) == 20)
    ours.until(lambda: ours.uplink.status.in_flight == HANDED_OVER)
    assert len(bodies(hub)) == 20
    assert len(ours.rows.taken) == HANDED_OVER


def sdk_threads() -> int:
    """All but the hub's pool, which is as large as its disk is slow."""
    return sum(not thread.name.startswith("asyncio_") for thread in threading.enumerate())


def test_trap_10_sends_in_flight_cost_no_thread(hub: LocalHub, mast: Callable[..., Mast]) -> None:
    """Two windows of messages without a confirmation, and as many threads as with none."""
    ours = mast(times=LinkTimes(send_s=30.0))
    ours.until_up()
    hub.faults.set(Fault("no-puback"))
    threads = sdk_threads()
    ours.rows.add(200)
    ours.until(lambda: ours.uplink.status.in_flight == HANDED_OVER)
    assert sdk_threads() == threads


# --- 7


def test_trap_07_commands_keep_their_order_over_connections(hub: LocalHub, mast: Callable[..., Mast]) -> None:
    """Kicked in the middle: each command is handed over, in the order in which they were sent."""
    ours = mast()
    ours.until_up()
    for number in range(40):
        hub.send_c2d(DEVICE, b"{}", message_id=f"c{number}")
        if number == 20:
            hub.faults.set(Fault("kick"))
    names = [f"c{number}" for number in range(40)]
    ours.until(lambda: {message.message_id for message in ours.received} == set(names))
    first = list(dict.fromkeys(message.message_id for message in ours.received))
    assert first == names


def test_trap_07_a_command_that_comes_twice_is_handed_over_as_it_came(
    hub: LocalHub, mast: Callable[..., Mast]
) -> None:
    """At least once is what MQTT gives: both copies have the same id, by which the journal knows them."""
    hub.faults.set(Fault("duplicate-c2d"))
    ours = mast()
    ours.until_up()
    hub.send_c2d(DEVICE, b"{}", message_id="c1")
    ours.until(lambda: len(ours.received) == 2)
    assert [message.message_id for message in ours.received] == ["c1", "c1"]


# --- 8, and what tokens do besides


def test_trap_08_the_token_lives_long_enough_for_the_sdk() -> None:
    """Below its margin of two minutes the SDK reconnects in a loop; ours is renewed before that."""
    from azure.iot.device.common.pipeline.pipeline_stages_base import SasTokenStage

    times, options = LinkTimes(), HubOptions()
    assert times.token_life_s == options.token_ttl_s
    latest = 0.9 * times.token_life_s + times.send_s
    assert latest < options.token_ttl_s - SasTokenStage.DEFAULT_TOKEN_UPDATE_MARGIN


def test_trap_08_renewals_lose_and_repeat_nothing(hub: LocalHub, mast: Callable[..., Mast]) -> None:
    """Several renewals while rows flow: each row is stored once, and no renewal is a failure."""
    ours = mast(times=LinkTimes(token_life_s=0.5))
    ours.until_up()
    while len(ours.clients) < 6:
        ours.rows.add(1)
        ours.until(lambda: not ours.rows.waiting)
    ours.until_all_arrived()
    assert set(ours.copies().values()) == {1}
    assert ours.uplink.status.last_error is None
    assert len(ours.clients) >= 6


def test_trap_08_renewals_are_spread(hub: LocalHub, mast: Callable[..., Mast]) -> None:
    """Two masts that connected in the same moment do not renew in the same moment."""
    ours = mast()
    due = set()
    for _ in range(5):
        connections = len(ours.clients)
        ours.until(lambda connections=connections: len(ours.clients) > connections)
        ours.until_up()
        due.add(round(ours.uplink._renew_at - ours.uplink.status.since_boot_s))
        hub.faults.set(Fault("kick"))
    assert len(due) >= 4
    assert all(0.75 * 3600 - 1 <= seconds <= 0.9 * 3600 + 1 for seconds in due)


def test_trap_08_a_token_that_expires_costs_nothing(hub: LocalHub, mast: Callable[..., Mast]) -> None:
    """The hub ends connections whose token has expired, with rows in flight: all of them arrive."""
    ours = mast(rows=20)
    ours.until_all_arrived()
    hub.faults.set(Fault("no-puback"))
    ours.rows.add(10)
    ours.until(lambda: ours.uplink.status.in_flight == 10)
    hub.faults.set(Fault("clock-skew", 3700))  # the hub's clock is past the end of the token
    ours.until(lambda: "expired token" in (ours.uplink.status.last_error or ""))
    hub.faults.clear()
    ours.until_all_arrived()


def test_trap_08_tokens_of_seconds_still_carry_everything(hub: LocalHub, mast: Callable[..., Mast]) -> None:
    """A hub whose clock is almost an hour ahead ends each connection after seconds; rows get through."""
    hub.faults.set(Fault("clock-skew", 3598))
    ours = mast()
    while len(ours.clients) < 3:
        ours.rows.add(1)
        ours.until(lambda: not ours.rows.waiting)
    ours.until_all_arrived()


# --- 9


def test_trap_09_a_half_open_link_is_found_by_its_pings(hub: LocalHub, mast: Callable[..., Mast]) -> None:
    """Idle and frozen: noticed within two keep-alives, told as dead, and left."""
    ours = mast(options=HubOptions(ca_pem=hub.ca_file.read_text(), keep_alive_s=1))
    ours.until_up()
    hub.faults.set(Fault("freeze"))
    ours.until(lambda: "the link is dead" in (ours.uplink.status.last_error or ""), 8.0)
    hub.faults.clear("freeze")
    ours.rows.add(3)
    ours.until_all_arrived()


def test_trap_09_why_it_went_is_known_as_soon_as_it_has_gone(hub: LocalHub) -> None:
    """The SDK tells the reason on another thread, later: a client that is down says why all the same."""
    credential = parse(hub.device_connection_string(DEVICE), "test")
    options = HubOptions(ca_pem=hub.ca_file.read_text(), keep_alive_s=1)
    client = AzureHubClient(credential, options, SystemClock(), lambda message: None, lambda call: None)
    busy = threading.Event()
    try:
        client.connect().result(PATIENCE_S)
        on_callback_thread(lambda: busy.wait(PATIENCE_S) and None)
        hub.faults.set(Fault("freeze"))
        eventually(lambda: not client.connected)
        lost = client.lost
    finally:
        busy.set()
        hub.faults.clear()
        client.close().result(PATIENCE_S)
    assert lost is not None
    assert lost.failure is Failure.DEAD


def test_trap_09_a_half_open_link_is_found_by_what_is_in_flight(
    hub: LocalHub, mast: Callable[..., Mast]
) -> None:
    """With rows in flight the confirmation that stays away is sooner than the ping."""
    ours = mast(rows=5, options=HubOptions(ca_pem=hub.ca_file.read_text(), keep_alive_s=60))
    ours.until_all_arrived()
    hub.faults.set(Fault("freeze"))
    ours.rows.add(3)
    ours.until_error("no confirmation within 1 s")
    hub.faults.clear("freeze")
    ours.until_all_arrived()


def test_trap_09_a_hub_that_never_answers_connect_is_left(hub: LocalHub, mast: Callable[..., Mast]) -> None:
    """The SDK would wait a minute for the CONNACK; the uplink has its own deadline."""
    hub.faults.set(Fault("no-connack"))
    ours = mast(rows=3)
    ours.until_error("no answer within 1 s")
    hub.faults.clear("no-connack")
    ours.until_all_arrived()


def test_trap_09_no_step_waits_for_the_sdk(hub: LocalHub, mast: Callable[..., Mast]) -> None:
    """While the SDK sits in its calls, the uplink's thread is somewhere else."""
    hub.faults.set(Fault("no-connack"))
    ours = mast(rows=3)
    ours.until(lambda: ours.uplink.status.state == "connecting")
    assert [t.name for t in threading.enumerate() if t.name == "azure-connect"] != []
    for _ in range(100):
        ours.uplink.step(SystemClock().monotonic())
    assert ours.uplink.status.state in ("connecting", "down")


# --- 11


def test_trap_11_a_backlog_goes_by_windows_in_order(hub: LocalHub, mast: Callable[..., Mast]) -> None:
    """A thousand rows over one connection, each once, in the order of their numbers."""
    ours = mast(rows=1000, times=LinkTimes())
    ours.until_all_arrived()
    assert len(ours.clients) == 1
    numbers = [int(name.split("-")[1]) for b in bodies(hub) for name in object_ids(Message(b, ""))]
    assert numbers == list(range(1, 1001))


# --- 12


def test_trap_12_the_version_is_pinned() -> None:
    """What is used beyond the documented interface is that of one version: the one that is installed."""
    needed = importlib.metadata.requires("masthead") or []
    installed = importlib.metadata.version("azure-iot-device")
    assert f"azure-iot-device=={installed}" in needed


# --- 13


def test_trap_13_a_key_that_is_there_twice_is_seen(
    hub: LocalHub, mast: Callable[..., Mast], bare: Callable[..., Any]
) -> None:
    """The SDK hands over what is left of such a payload; ours is what was sent, to be refused."""
    payload = b'{"value": true, "for": 5, "for": 500}'
    seen: list[Any] = []
    client = bare(connection_retry=False)
    client.connect()
    client.on_method_request_received = seen.append
    call(hub, BARE, payload)
    eventually(lambda: seen)
    assert seen[0].payload == {"value": True, "for": 500}
    ours = mast()
    ours.until_up()
    call(hub, DEVICE, payload)
    ours.until(lambda: ours.called)
    assert ours.called[0].payload == payload


@pytest.mark.parametrize("payload", [b"{", b"\xff", b"1" * 5000, b"[" * 100_000])
def test_trap_13_what_the_sdk_cannot_decode_is_answered(
    hub: LocalHub, mast: Callable[..., Mast], bare: Callable[..., Any], payload: bytes
) -> None:
    """In the SDK it raises where nobody sees it, and whoever called waits in vain; ours is handed over."""
    seen: list[Any] = []
    client = bare(connection_retry=False)
    client.connect()
    client.on_method_request_received = seen.append
    unanswered = call(hub, BARE, payload)
    call(hub, BARE, b'"next"')
    eventually(lambda: seen)
    assert [request.payload for request in seen] == ["next"]
    assert not unanswered.done()
    ours = mast(rows=1)
    ours.until_up()
    answer = call(hub, DEVICE, payload)
    ours.until(lambda: ours.called)
    assert ours.called[0].payload == payload
    ours.called[0].answer(400, b"{}")
    assert answer.result(PATIENCE_S).status == 400
    ours.until_all_arrived()
    assert len(ours.clients) == 1


# --- 14


def respond(client: Any, response: Any) -> None:
    with contextlib.suppress(Exception):
        client.send_method_response(response)


def test_trap_14_an_answer_does_not_wait_for_messages(
    hub: LocalHub, mast: Callable[..., Mast], bare: Callable[..., Any]
) -> None:
    """With a window of messages unconfirmed the SDK keeps its answer back; ours arrives."""
    hub.faults.set(Fault("no-puback"))
    client = bare(connection_retry=False)
    client.connect()
    requests: list[Any] = []
    client.on_method_request_received = requests.append
    for number in range(WINDOW):
        sending(client, f'{{"run": "bare", "sequence": {number}}}')
    eventually(lambda: len(bodies(hub)) == WINDOW)
    unanswered = call(hub, BARE)
    eventually(lambda: requests)
    response = MethodResponse.create_from_method_request(requests[0], 200, {})
    responding = threading.Thread(target=respond, args=(client, response), daemon=True)
    responding.start()
    paho = transport_of(client._mqtt_pipeline)._mqtt_client
    eventually(lambda: len(paho._out_messages) == WINDOW + 1)
    ours = mast(rows=2 * WINDOW, times=LinkTimes(send_s=30.0))
    ours.until(lambda: ours.uplink.status.in_flight == HANDED_OVER)
    ours.until(lambda: len(bodies(hub)) == 2 * WINDOW)
    answer = call(hub, DEVICE)
    ours.until(lambda: ours.called)
    ours.called[0].answer(200, b"{}")
    assert answer.result(PATIENCE_S).status == 200
    assert responding.is_alive()
    assert not unanswered.done()
    assert ours.uplink.status.in_flight == HANDED_OVER


# --- 15


def test_trap_15_a_topic_that_is_no_utf8_ends_nothing(
    hub: LocalHub, mast: Callable[..., Mast], bare: Callable[..., Any]
) -> None:
    """paho's thread dies of it, and the SDK stays connected to nobody; ours drops it and goes on."""
    packet = b"\x30\x05\x00\x02\xff\xfe{"  # PUBLISH, QoS 0, a topic of two bytes
    client = bare(connection_retry=False)
    client.connect()
    paho = transport_of(client._mqtt_pipeline)._mqtt_client
    reader = paho._thread
    send(hub, BARE, packet)
    reader.join(PATIENCE_S)
    assert not reader.is_alive()
    assert client.connected
    paho.on_disconnect(paho, None, MQTT_ERR_CONN_LOST)  # else nothing would ever end it
    ours = mast(rows=3)
    ours.until_up()
    send(hub, DEVICE, packet)
    answer = call(hub, DEVICE)
    ours.until(lambda: ours.called)  # behind it
    ours.called[0].answer(200, b"{}")
    assert answer.result(PATIENCE_S).status == 200
    ours.until_all_arrived()
    assert len(ours.clients) == 1


# --- sizes, names and certificates


def largest_row(note_bytes: int) -> Row:
    return Row(1, "0badcafe", "boot", Entry("reading", 1001.0, {"sensor": "top", "note": "x" * note_bytes}))


def test_size_the_largest_message_is_sent_although_the_sdk_would_not(
    hub: LocalHub, mast: Callable[..., Mast], bare: Callable[..., Any]
) -> None:
    """The SDK refuses by an estimate of Python objects; what the hub takes is sent."""
    ours = mast()
    batcher = Batcher("object", 4096, DEVICE, {})
    [(small, _)], _ = batcher.build([largest_row(0)], 1, ours.rows.boot_clock)
    row = largest_row(MAX_MESSAGE_BYTES - metered_bytes(small))
    [(message, _)], _ = batcher.build([row], 1, ours.rows.boot_clock)
    assert metered_bytes(message) == MAX_MESSAGE_BYTES
    client = bare(connection_retry=False)
    client.connect()
    same = SdkMessage(message.body, message.message_id, message.content_encoding, message.content_type)  # type: ignore[no-untyped-call]
    same.custom_properties = dict(message.properties)
    with pytest.raises(ValueError, match="256"):
        client.send_message(same)
    client.shutdown()
    ours.rows.waiting.append(row)
    ours.rows.added = 1
    ours.until_all_arrived()
    assert len(ours.clients) == 1


def test_size_a_message_beyond_the_limit_costs_neither_link_nor_queue(
    hub: LocalHub, mast: Callable[..., Mast]
) -> None:
    """The hub would end the connection; it is rejected here, and everything else arrives."""
    ours = mast(rows=5)
    ours.rows.add(1, note="x" * MAX_MESSAGE_BYTES)
    ours.rows.add(5)
    ours.until(lambda: len(ours.rows.confirmed) == 10)
    assert [row.sequence for row, _ in ours.rows.rejected] == [6]
    assert len(ours.clients) == 1


def test_size_long_ids_stay_below_the_hubs_limit() -> None:
    """The id of an array names its first and last row, and has 128 characters at most."""
    row = Row(2**63 - 1, "0badcafe", "boot", Entry("reading", 1.0, {}))
    assert len(f"{row.object_id}..{row.object_id}") <= 128


def test_metering_arrays_stay_below_a_unit(hub: LocalHub, mast: Callable[..., Mast]) -> None:
    """What travels, its properties as the hub stored them included, is one unit a message."""
    ours = mast(rows=400, batching="auto", times=LinkTimes())
    ours.until_all_arrived()
    events = hub.store.events.after(0, limit=100_000)
    assert len(events) < 400 / 6
    for event in events:
        system = {k: v for k, v in event.system.items() if not k.startswith("iothub-")}
        names = {"message-id": "$.mid", "content-type": "$.ct", "content-encoding": "$.ce"}
        named = {**event.properties, **{names[k]: v for k, v in system.items()}}
        assert len(event.body) + sum(len(k) + len(v) for k, v in named.items()) <= 4096


def test_keep_alive_is_short_enough_for_a_cellular_link() -> None:
    """Cellular networks forget an idle connection after two and a half minutes, hubs take 1,177 s at most."""
    assert HubOptions().keep_alive_s <= min(75, 1177)


def test_a_model_id_takes_the_place_of_the_product(hub: LocalHub, mast: Callable[..., Mast]) -> None:
    """One argument of the SDK for both: the model is announced in the user name, and rows arrive."""
    pem = hub.ca_file.read_text()
    ours = mast(rows=2, options=HubOptions(ca_pem=pem, product_info="dtmi:masthead:Mast;1"))
    ours.until_up()
    user_name = ours.clients[0]._transport._mqtt_client._username
    assert b"model-id=dtmi%3Amasthead%3AMast%3B1" in user_name
    ours.until_all_arrived()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("other-certificate", "is not trusted"),
        ("expired-certificate", "is no longer valid: check this machine's clock"),
        ("future-certificate", "is not yet valid: check this machine's clock"),
    ],
)
def test_tls_a_certificate_that_is_wrong_is_told_and_left(
    hub: LocalHub, mast: Callable[..., Mast], fault: str, said: str
) -> None:
    """No message leaves over a connection that is not trusted; once it is right, all arrives."""
    hub.faults.set(Fault(fault))
    ours = mast(rows=3)
    ours.until(lambda: said in (ours.uplink.status.last_error or ""))
    assert bodies(hub) == []
    hub.faults.clear(fault)
    ours.until_all_arrived()


def test_tls_another_hosts_certificate_is_not_trusted(hub: LocalHub, mast: Callable[..., Mast]) -> None:
    """The name is checked: a good certificate of another host is none."""
    third, fourth = hub.host.split(".")[2:]
    alias = f"127.0.{256 * int(third) + int(fourth)}"  # the same address, by a name not in the certificate
    text = f"{hub.device_connection_string(DEVICE)};GatewayHostName={alias}"
    ours = mast(connection_string=text, rows=1)
    ours.until(lambda: f"{alias} is not trusted" in (ours.uplink.status.last_error or ""))
    assert bodies(hub) == []
