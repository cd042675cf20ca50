"""Every fault, as a device sees it."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable

import pytest

from agent.localhub.fault_table import PACKETS
from agent.localhub.faults import Fault
from agent.localhub.hub import LocalHub
from agent.localhub.notices import C2dChanged
from agent.localhub.thread import HubThread

from .client import RawClient, connect, eventually, packet, publish, subscribe, token

EVENTS = "devices/mast-1/messages/events/"
DEVICEBOUND = "devices/mast-1/messages/devicebound/#"


def silent(client: RawClient) -> bool:
    """Whether nothing comes, not even the end, for a moment."""
    client._socket.settimeout(0.2)
    try:
        return client._socket.recv(1) is None
    except TimeoutError:
        return True
    finally:
        client._socket.settimeout(10)


def bodies(hub: LocalHub) -> list[bytes]:
    return [event.body for event in hub.store.events.after()]


def puback(packet_id: int) -> tuple[int, bytes]:
    return 0x40, struct.pack("!H", packet_id)


def assert_reset(client: RawClient) -> None:
    """The connection ends by a TCP reset, which TLS libraries may report as an end of file."""
    plain = client._socket
    eventually(lambda: plain.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET)


@pytest.mark.parametrize("code", [3, 4, 5])
def test_refuse(hub: LocalHub, code: int) -> None:
    """The right credentials get the code that was asked for, then the end; afterwards all is well."""
    hub.faults.set(Fault("refuse", code, times=1))
    with RawClient(hub) as client:
        assert client.login() == (0, code)
        assert client.is_closed()
    with RawClient(hub) as client:
        assert client.login() == (0, 0)


def test_no_connack(hub: LocalHub) -> None:
    """Silence until the fault is cleared, which ends the connection; pings are not answered either."""
    hub.faults.set(Fault("no-connack"))
    with RawClient(hub) as client:
        client._socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.login()
        client.send(packet(0xC0))
        assert silent(client)
        assert hub.connected() == frozenset()
        hub.faults.clear("no-connack")
        assert client.is_closed()


def test_no_suback(hub: LocalHub) -> None:
    """The subscription works and is never confirmed."""
    hub.faults.set(Fault("no-suback"))
    with RawClient(hub) as client:
        client.login()
        client.send(subscribe(1, (DEVICEBOUND, 1)))
        client.ping()
        hub.send_c2d("mast-1", b"x")
        assert client.message().body == b"x"


def test_refuse_subscription(hub: LocalHub) -> None:
    """0x80 once; nothing is delivered, now nor in the session that goes on; the next SUBSCRIBE works."""
    hub.faults.set(Fault("refuse-subscription", times=1))
    hub.send_c2d("mast-1", b"x")
    with RawClient(hub) as client:
        client.login(clean=False)
        client.send(subscribe(1, (DEVICEBOUND, 1)))
        assert client.receive() == (0x90, b"\x00\x01\x80")
        client.ping()
    with RawClient(hub) as client:
        assert client.login(clean=False) == (1, 0)
        client.ping()
        client.send(subscribe(2, (DEVICEBOUND, 1)))
        assert client.receive() == (0x90, b"\x00\x02\x01")
        assert client.message().body == b"x"


def test_no_puback(hub: LocalHub) -> None:
    """Stored, never confirmed; the connection lives."""
    hub.faults.set(Fault("no-puback", times=2))
    with RawClient(hub) as client:
        client.login()
        for number in (1, 2, 3):
            client.send(publish(EVENTS, b"%d" % number, number))
        assert client.receive() == puback(3)
    assert bodies(hub) == [b"1", b"2", b"3"]


def test_late_puback(hub: LocalHub) -> None:
    """Confirmed in order after the time, and the connection answers meanwhile."""
    hub.faults.set(Fault("late-puback", 0.3))
    with RawClient(hub) as client:
        client.login()
        started = time.monotonic()
        client.send(publish(EVENTS, b"1", 1) + publish(EVENTS, b"2", 2))
        client.ping()
        assert [client.receive(), client.receive()] == [puback(1), puback(2)]
        assert time.monotonic() - started >= 0.3
    assert bodies(hub) == [b"1", b"2"]


def test_confirmations_that_wait_are_not_overtaken(hub: LocalHub) -> None:
    """When the fault is cleared, later messages are confirmed after those that still wait."""
    hub.faults.set(Fault("late-puback", 0.3))
    with RawClient(hub) as client:
        client.login()
        client.send(publish(EVENTS, b"1", 1))
        eventually(lambda: bodies(hub))
        client.ping()
        hub.faults.clear()
        client.send(publish(EVENTS, b"2", 2))
        assert [client.receive(), client.receive()] == [puback(1), puback(2)]


def test_duplicate_puback(hub: LocalHub) -> None:
    """Each confirmation comes twice."""
    hub.faults.set(Fault("duplicate-puback"))
    with RawClient(hub) as client:
        client.login()
        client.send(publish(EVENTS, b"1", 1) + publish(EVENTS, b"2", 2))
        assert [client.receive() for _ in range(4)] == [puback(1)] * 2 + [puback(2)] * 2


def test_kick_now(hub: LocalHub) -> None:
    """Whoever is connected is cut off, once."""
    with RawClient(hub) as client:
        client.login()
        hub.faults.set(Fault("kick"))
        assert client.is_closed()
    assert hub.faults.active() == []
    with RawClient(hub) as client:
        client.login()
        client.ping()


def test_kick_after_a_while(hub: LocalHub) -> None:
    """Each connection ends so long after its CONNACK, also one that stood before the fault was set."""
    with RawClient(hub) as first:
        first.login()
        hub.faults.set(Fault("kick", 0.2))
        assert first.is_closed()
    with RawClient(hub) as second:
        assert second.login() == (0, 0)
        assert second.is_closed()
        hub.faults.clear("kick")
    with RawClient(hub) as third:
        third.login()
        assert silent(third)
        third.ping()


def test_freeze(hub: LocalHub) -> None:
    """Nothing is stored nor answered, new connections stand still too; cleared, all those end."""
    with RawClient(hub) as old, RawClient(hub) as new:
        old.login()
        hub.faults.set(Fault("freeze"))
        old.send(publish(EVENTS, b"x") + packet(0xC0))
        assert silent(old)
        new._socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            new.login()
        assert bodies(hub) == []
        hub.faults.clear("freeze")
        assert old.is_closed()
        new._socket.settimeout(10)
        assert new.is_closed()
    with RawClient(hub) as client:
        client.login()
        client.send(publish(EVENTS, b"y"))
        assert client.receive() == puback(1)
    assert bodies(hub) == [b"y"]


def test_freeze_after_a_while(hub: LocalHub) -> None:
    """The connection works first."""
    hub.faults.set(Fault("freeze", 0.3))
    with RawClient(hub) as client:
        client.login()
        client.ping()
        time.sleep(0.4)
        client.send(packet(0xC0))
        assert silent(client)


@pytest.mark.parametrize("content", [b"", packet(0xC0)])
def test_a_frozen_connection_outlives_its_keep_alive(hub: LocalHub, content: bytes) -> None:
    """Nobody is there who could miss the device, whether it says something or not."""
    with RawClient(hub) as client:
        client.login(keep_alive_s=1)
        hub.faults.set(Fault("freeze"))
        client.send(content)
        time.sleep(1.8)
        assert silent(client)


def test_a_connect_that_is_not_answered_waits_without_end(
    hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time that a device has for its CONNECT is not the time that the hub has for its answer."""
    monkeypatch.setattr("agent.localhub.connection._CONNECT_WITHIN_S", 0.2)
    hub.faults.set(Fault("no-connack"))
    with RawClient(hub) as client:
        client._socket.settimeout(0.4)
        with pytest.raises(TimeoutError):
            client.login()
        assert silent(client)


def test_a_frozen_connection_gives_way_to_a_new_one(hub: LocalHub) -> None:
    """Once the times are over the device can come back, and what it had not confirmed comes again."""
    with RawClient(hub) as old, RawClient(hub) as new:
        old.login(clean=False)
        old.send(subscribe(1, (DEVICEBOUND, 1)))
        old.receive()
        hub.faults.set(Fault("freeze", times=1))
        hub.send_c2d("mast-1", b"x")
        assert silent(old)
        assert new.login(clean=False) == (1, 0)
        assert new.message().body == b"x"
        assert old.is_closed()


def test_a_device_that_leaves_a_frozen_connection_leaves_nothing_behind(hub: LocalHub) -> None:
    """The hub lets go of it as well, so that one that comes again and again does not use it up."""
    hub.faults.set(Fault("freeze"))
    for _ in range(5):
        with RawClient(hub) as client:
            client._socket.settimeout(0.05)
            with pytest.raises(TimeoutError):
                client.login()
    eventually(lambda: not hub._listener._open)


def test_confirmations_do_not_pile_up_without_bound(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that goes on sending while its confirmations are late loses its connection."""
    monkeypatch.setattr("agent.localhub.line._MOST_DELAYED", 50)
    hub.faults.set(Fault("late-puback", 3600))
    with RawClient(hub) as client:
        client.login()
        client.send(publish(EVENTS, b"x") * 51)
        assert client.is_closed()


def test_a_hub_with_frozen_connections_stops(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Neither those that stand still nor those that wait for a CONNACK keep it from ending."""
    thread = HubThread(LocalHub(tmp_path_factory.mktemp("hub"), "127.0.0.1", port=0))
    thread.start()
    thread.hub.ensure_device("mast-1")
    with RawClient(thread.hub) as old, RawClient(thread.hub) as new:
        old.login()
        thread.hub.faults.set(Fault("freeze"))
        new._socket.settimeout(0.1)
        with pytest.raises(TimeoutError):
            new.login()
        thread.stop()
        thread.hub.faults.set(Fault("refuse"))
        thread.hub.faults.set(Fault("lost-state"))
        thread.hub.faults.clear()


def test_slow(hub: LocalHub) -> None:
    """A message of 1,000 bytes takes its time at 2,000 bytes a second, and so does one to the device."""
    with RawClient(hub) as client:
        client.login()
        hub.faults.set(Fault("slow", 2000))
        started = time.monotonic()
        client.send(publish(EVENTS, bytes(1000)))
        assert client.receive() == puback(1)
        middle = time.monotonic()
        assert middle - started >= 0.5
        client.send(subscribe(1, (DEVICEBOUND, 1)))
        assert client.receive()[0] == 0x90
        hub.send_c2d("mast-1", bytes(1000))
        assert client.message().body == bytes(1000)
        assert time.monotonic() - middle >= 0.5


def test_a_slow_connection_can_be_ended(hub: LocalHub) -> None:
    """Also while the hub takes half an hour for a packet: the device may come back at once."""
    with RawClient(hub) as client:
        client.login()
        hub.faults.set(Fault("slow", 100))
        client.send(publish(EVENTS, bytes(200_000)))
        assert silent(client)
        hub.faults.set(Fault("kick"))
        eventually(lambda: not hub.connected())
    assert bodies(hub) == []


def test_throttle(hub: LocalHub) -> None:
    """The first is confirmed at once, others later and later; one more than ten waiting ends it all."""
    hub.faults.set(Fault("throttle", 5))
    with RawClient(hub) as client:
        client.login()
        started = time.monotonic()
        client.send(b"".join(publish(EVENTS, b"%d" % n, n) for n in range(1, 8)))
        assert [client.receive() for _ in range(7)] == [puback(n) for n in range(1, 8)]
        assert time.monotonic() - started >= 0.35
        client.send(b"".join(publish(EVENTS, b"x", n) for n in range(1, 30)))
        assert client.is_closed()
    assert len(bodies(hub)) < 7 + 29


def test_quota(hub: LocalHub) -> None:
    """4,097 bytes are two messages; what does not fit is not stored and ends the connection, the device may
    connect again, and the next day begins anew."""
    hub.faults.set(Fault("quota", 3))
    with RawClient(hub) as client:
        client.login()
        client.send(publish(EVENTS, bytes(4096), 1) + publish(EVENTS, bytes(4097), 2))
        assert [client.receive(), client.receive()] == [puback(1), puback(2)]
        client.send(publish(EVENTS, b"x", 3))
        assert client.is_closed()
    assert len(bodies(hub)) == 2
    with RawClient(hub) as client:
        assert client.login() == (0, 0)
        client.send(publish(EVENTS, b"x", 3))
        assert client.is_closed()
    hub.faults.set(Fault("clock-skew", 86_400))
    with RawClient(hub) as client:
        key = hub.store.registry.get("mast-1").primary_key
        client.log_in_with("mast-1", token(key, "localhost/devices/mast-1", time.time() + 2 * 86_400))
        client.send(publish(EVENTS, b"x", 3))
        assert client.receive() == puback(3)


@pytest.mark.parametrize(("qos", "marks"), [(1, [False, True]), (0, [False, False])])
def test_duplicate_c2d(hub: LocalHub, qos: int, marks: list[bool]) -> None:
    """Twice with the same packet id, the second marked as a repetition where MQTT allows that; an answer to
    each is fine."""
    hub.faults.set(Fault("duplicate-c2d"))
    with RawClient(hub) as client:
        client.login()
        client.send(subscribe(1, (DEVICEBOUND, qos)))
        client.receive()
        message = hub.send_c2d("mast-1", b"x")
        twice = [client.message(), client.message()]
        assert [m.body for m in twice] == [b"x", b"x"]
        assert [m.duplicate for m in twice] == marks
        assert twice[0].packet_id == twice[1].packet_id
        if qos:
            client.acknowledge(twice[0])
            client.acknowledge(twice[1])
        client.ping()
    eventually(lambda: hub.store.c2d.get(message.sequence).state == "delivered")  # type: ignore[union-attr]


@pytest.mark.parametrize("qos", [1, 0])
def test_reject_c2d(hub: LocalHub, qos: int) -> None:
    """What waits is rejected when it would be sent, so often and no more; the next message comes, and the
    sender is told of each."""
    hub.faults.set(Fault("reject-c2d", times=2))
    messages = [hub.send_c2d("mast-1", b"%d" % n, message_id=f"m{n}", ack="full") for n in range(3)]
    with RawClient(hub) as client:
        client.login()
        client.ping()
        assert [hub.store.c2d.get(m.sequence).state for m in messages] == ["queued"] * 3  # type: ignore[union-attr]
        client.send(subscribe(1, (DEVICEBOUND, qos)))
        client.receive()
        came = client.message()
        assert came.body == b"2"
        if qos:
            client.acknowledge(came)
        client.ping()
    eventually(lambda: hub.store.c2d.get(messages[2].sequence).state == "delivered")  # type: ignore[union-attr]
    states = [(m.state, m.delivery_count) for m in hub.store.c2d.latest("mast-1")]
    assert states == [("rejected", 1), ("rejected", 1), ("delivered", 1)]
    batch = hub.store.feedback.take()
    assert batch is not None
    assert [record["statusCode"] for record in json.loads(batch.body)] == ["Rejected", "Rejected", "Success"]
    assert hub.faults.active() == []


def test_reject_c2d_is_told_as_it_happens(hub: LocalHub) -> None:
    """Whoever listens hears of the message as rejected, as of any other end."""
    told: list[str] = []
    done = threading.Event()

    async def listen() -> None:
        async for notice in (subscription := hub.subscribe()):
            if isinstance(notice, C2dChanged):
                told.append(notice.message.state)
            if told[-1:] == ["rejected"]:
                subscription.close()
                done.set()
                return

    hub.faults.set(Fault("reject-c2d"))
    with RawClient(hub) as client:
        client.login()
        client.send(subscribe(1, (DEVICEBOUND, 1)))
        client.receive()
        listening = asyncio.run_coroutine_threadsafe(listen(), hub._loop)
        client.ping()
        hub.send_c2d("mast-1", b"x")
        assert done.wait(30)
        listening.result(30)
    assert set(told) == {"queued", "rejected"}


def test_lost_state(hub: LocalHub) -> None:
    """The connection ends; session, subscriptions and what waited are gone; events and devices stay."""
    with RawClient(hub) as client:
        client.login(clean=False)
        client.send(publish(EVENTS, b"kept") + subscribe(1, (DEVICEBOUND, 1)))
        client.receive()
        client.receive()
        lost = hub.send_c2d("mast-1", b"x")
        client.message()
        hub.faults.set(Fault("lost-state"))
        assert client.is_closed()
    assert hub.faults.active() == []
    assert hub.store.c2d.get(lost.sequence) is None
    with RawClient(hub) as client:
        assert client.login(clean=False) == (0, 0)
        hub.send_c2d("mast-1", b"y")
        client.ping()
        client.send(subscribe(1, (DEVICEBOUND, 1)))
        assert client.receive()[0] == 0x90
        assert client.message().body == b"y"
    assert bodies(hub) == [b"kept"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("other-certificate", "unable to get local issuer certificate|self-signed|authority"),
        ("expired-certificate", "certificate has expired"),
        ("future-certificate", "certificate is not yet valid"),
    ],
)
def test_certificates(hub: LocalHub, name: str, reason: str) -> None:
    """A client that trusts the hub's authority refuses what it is shown; others' connections stand."""
    with RawClient(hub) as before:
        before.login()
        hub.faults.set(Fault(name, times=2))
        for _ in range(2):
            with pytest.raises(ssl.SSLCertVerificationError, match=reason):
                RawClient(hub)
        before.ping()
    with RawClient(hub) as client:
        assert client.login() == (0, 0)


def test_certificates_for_a_client_that_names_no_host(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A hub at an address other than localhost is connected to without a server name in the handshake."""
    thread = HubThread(LocalHub(tmp_path_factory.mktemp("hub"), "127.0.0.78", port=0))
    thread.start()
    try:
        thread.hub.faults.set(Fault("expired-certificate", times=1))
        with pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"):
            RawClient(thread.hub)
        RawClient(thread.hub).__exit__()
    finally:
        thread.stop()


def test_the_other_authority_can_be_trusted(hub: LocalHub) -> None:
    """Its certificate is sound but for who made it: with its authority trusted the hub answers."""
    hub.faults.set(Fault("other-certificate"))
    with pytest.raises(ssl.SSLCertVerificationError):
        RawClient(hub)
    context = ssl.create_default_context(cafile=str(hub.ca_file.parent / "other-authority" / "ca.pem"))
    with (
        socket.create_connection((hub.address, hub.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=hub.host) as tls,
    ):
        assert tls.version() is not None


@pytest.mark.parametrize(("skew_s", "answer"), [(7200, (0, 5)), (1800, (0, 0)), (-7200, (0, 0))])
def test_clock_skew(hub: LocalHub, skew_s: int, answer: tuple[int, int]) -> None:
    """A token for an hour is over for a hub two hours ahead; events carry the hub's time."""
    hub.faults.set(Fault("clock-skew", skew_s))
    with RawClient(hub) as client:
        assert client.login() == answer
        if answer == (0, 0):
            client.send(publish(EVENTS, b"x"))
            client.receive()
            assert abs(hub.store.events.after()[0].enqueued_s - time.time() - skew_s) < 60


def test_clock_skew_ends_what_stands(hub: LocalHub) -> None:
    """A connection whose token the new clock calls over ends, also while it is quiet."""
    with RawClient(hub) as client:
        client.login()
        hub.faults.set(Fault("clock-skew", 7200))
        assert client.is_closed()


def test_clock_skew_expires_waiting_messages(hub: LocalHub) -> None:
    """A message to the device that expires in an hour expires now."""
    message = hub.send_c2d("mast-1", b"x", expires_in_s=3600)
    time.sleep(0.3)  # the hub has looked at it, and looks again in a minute
    hub.faults.set(Fault("clock-skew", 7200))
    eventually(lambda: hub.store.c2d.get(message.sequence).state == "expired")  # type: ignore[union-attr]


def _subscribed(client: RawClient) -> None:
    client.send(subscribe(1, (DEVICEBOUND, 1)))
    client.receive()


PROVOKE: dict[str, Callable[[LocalHub, RawClient], object]] = {
    "subscribe": lambda hub, client: client.send(subscribe(1, (DEVICEBOUND, 1))),
    "suback": lambda hub, client: client.send(subscribe(1, (DEVICEBOUND, 1))),
    "publish": lambda hub, client: client.send(publish(EVENTS, b"x")),
    "puback": lambda hub, client: client.send(publish(EVENTS, b"x")),
    "pingreq": lambda hub, client: client.send(packet(0xC0)),
    "pingresp": lambda hub, client: client.send(packet(0xC0)),
    "c2d": lambda hub, client: (_subscribed(client), hub.send_c2d("mast-1", b"x")),
    "c2d-puback": lambda hub, client: (
        _subscribed(client),
        hub.send_c2d("mast-1", b"x"),
        client.acknowledge(client.message()),
    ),
}


@pytest.mark.parametrize("name", PACKETS)
def test_reset(hub: LocalHub, name: str) -> None:
    """A TCP reset at that packet, once; a message is stored only if it was its answer that was lost."""
    hub.faults.set(Fault("reset", name, times=1))
    with RawClient(hub) as client:
        if name in ("connect", "connack"):
            key = hub.store.registry.get("mast-1").primary_key
            password = token(key, "localhost/devices/mast-1", time.time() + 60)
            client.send(connect("mast-1", "localhost/mast-1/?api-version=1", password, clean=False))
        else:
            assert client.login(clean=False) == (0, 0)
            PROVOKE[name](hub, client)
        assert_reset(client)
    assert bodies(hub) == ([b"x"] if name == "puback" else [])
    eventually(lambda: not hub.connected())
    assert hub.faults.active() == []
    known = name in ("connack", "subscribe", "suback", "publish", "puback", "pingreq", "pingresp")
    with RawClient(hub) as client:
        if name.startswith("c2d"):
            assert client.login(clean=False) == (1, 0)
            again = client.message()
            assert (again.body, again.duplicate) == (b"x", True)
        else:
            assert client.login(clean=False) == (int(known), 0)


def test_other_devices_are_untouched(hub: LocalHub) -> None:
    """With everything wrong for one device, another connects, sends, subscribes and stays."""
    hub.ensure_device("mast-9")
    theirs = "devices/mast-9/messages/devicebound/#"
    with RawClient(hub) as good:
        good.login("mast-9")
        for text in (
            *("refuse", "no-connack", "no-suback", "refuse-subscription", "no-puback", "late-puback=9"),
            *("duplicate-puback", "kick", "kick=0", "freeze", "slow=100", "throttle=0.01", "quota=0"),
            *("duplicate-c2d", "reject-c2d", "lost-state", *(f"reset={name}" for name in PACKETS)),
        ):
            fault = Fault.parse(text)
            hub.faults.set(Fault(fault.name, fault.value, "mast-1"))
        for client in (good, RawClient(hub)):
            if client is not good:
                client.login("mast-9")
            client.send(publish("devices/mast-9/messages/events/", b"x") * 20 + subscribe(9, (theirs, 1)))
            got = [client.receive() for _ in range(21)]
            assert sorted(got) == [puback(1)] * 20 + [(0x90, b"\x00\x09\x01")]
            hub.send_c2d("mast-9", b"y")
            client.acknowledge(client.message())
            client.ping()
        client.__exit__()


def test_every_pair_of_faults_leaves_a_hub_that_works(
    hub: LocalHub, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever two come together, nothing fails inside the hub, and once cleared it serves."""
    texts = [
        *("refuse", "no-connack", "no-suback", "refuse-subscription", "no-puback", "late-puback=0.01"),
        *("duplicate-puback", "kick", "kick=0.01", "freeze", "freeze=0.01", "slow=5000", "throttle=100"),
        *("quota=1", "duplicate-c2d", "reject-c2d", "lost-state", "clock-skew=7200", "other-certificate"),
        *(f"reset={name}" for name in ("connack", "publish", "puback", "c2d")),
    ]
    for i, first in enumerate(texts):
        for second in texts[i + 1 :: 3]:
            hub.faults.set(Fault.parse(first))
            hub.faults.set(Fault.parse(second))
            hub.send_c2d("mast-1", b"y", expires_in_s=1e-3)
            try:
                with RawClient(hub) as client:
                    client._socket.settimeout(0.02)
                    client.login()
                    client.send(publish(EVENTS, b"x") + subscribe(1, (DEVICEBOUND, 1)) + packet(0xC0))
                    while True:
                        client.receive()
            except (OSError, EOFError):
                pass
            hub.faults.clear()
    with RawClient(hub) as client:
        client.login()
        client.ping()
    assert not [r for r in caplog.records if r.exc_info or r.levelname == "ERROR"]


def test_a_hub_starts_ill_if_told_so_and_is_well_after_a_restart(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Faults given at the start hold from the first connection, and are not kept."""
    folder = tmp_path_factory.mktemp("hub")
    for faults, answer in (((Fault("refuse", 3),), 3), ((), 0)):
        thread = HubThread(LocalHub(folder, "127.0.0.1", port=0, faults=faults))
        thread.start()
        try:
            thread.hub.ensure_device("mast-1")
            with RawClient(thread.hub) as client:
                assert client.login() == (0, answer)
        finally:
            thread.stop()


def test_state_is_lost_at_a_start(tmp_path_factory: pytest.TempPathFactory) -> None:
    """``lost-state`` at the start: what the hub before had queued is gone."""
    folder = tmp_path_factory.mktemp("hub")
    for faults, waiting in (((), 1), ((Fault("lost-state"),), 0)):
        thread = HubThread(LocalHub(folder, "127.0.0.1", port=0, faults=faults))
        thread.start()
        try:
            thread.hub.ensure_device("mast-1")
            if not faults:
                thread.hub.send_c2d("mast-1", b"x")
            assert thread.hub.store.c2d.pending("mast-1") == waiting
        finally:
            thread.stop()
