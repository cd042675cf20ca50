"""One device's connection, by a client that need not behave."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.localhub.device_settings import DeviceSettings
from agent.localhub.hub import LocalHub
from agent.localhub.registry import Registry

from .client import RawClient, connect, eventually, packet, publish, subscribe, token

EVENTS = "devices/mast-1/messages/events/"
DEVICEBOUND = "devices/mast-1/messages/devicebound/#"


def test_a_message_is_stored_with_its_properties_before_it_is_acknowledged(hub: LocalHub) -> None:
    """A PUBACK means that the event is in the store, with system and own properties told apart."""
    with RawClient(hub) as client:
        assert client.login() == (0, 0)
        client.send(
            publish(EVENTS + "%24.mid=a%2Fb&site=north%20ridge&empty=&bare", b"\x00\xff", packet_id=7)
        )
        assert client.receive() == (0x40, b"\x00\x07")
    [event] = hub.store.events.after()
    assert event.body == b"\x00\xff"
    assert event.properties == {"site": "north ridge", "empty": "", "bare": ""}
    assert event.system["message-id"] == "a/b"
    assert event.system["iothub-connection-device-id"] == "mast-1"


def test_pubacks_come_in_the_order_of_the_messages(hub: LocalHub) -> None:
    """A hundred messages at once are acknowledged in the order in which they were sent."""
    with RawClient(hub) as client:
        client.login()
        client.send(b"".join(publish(EVENTS, b"x", packet_id=n) for n in range(1, 101)))
        assert [client.receive()[1] for _ in range(100)] == [struct.pack("!H", n) for n in range(1, 101)]


def test_qos_0_is_stored_and_not_acknowledged(hub: LocalHub) -> None:
    """A PUBLISH of QoS 0 gets no PUBACK and is stored."""
    with RawClient(hub) as client:
        client.login()
        client.send(publish(EVENTS, b"quiet", first=0x30) + publish(EVENTS, b"loud"))
        assert client.receive()[0] == 0x40
    assert [e.body for e in hub.store.events.after()] == [b"quiet", b"loud"]


def test_a_repeated_message_is_taken_again(hub: LocalHub) -> None:
    """DUP changes nothing: at-least-once leaves duplicates to whoever reads the events."""
    with RawClient(hub) as client:
        client.login()
        client.send(publish(EVENTS, b"x") + publish(EVENTS, b"x", first=0x3A))
        assert [client.receive()[0] for _ in range(2)] == [0x40, 0x40]


def test_a_retained_message_is_an_event_that_says_so(hub: LocalHub) -> None:
    """RETAIN becomes the application property by which IoT Hub passes it on."""
    with RawClient(hub) as client:
        client.login()
        client.send(publish(EVENTS, b"x", first=0x33))
        client.receive()
    assert hub.store.events.after()[0].properties == {"mqtt-retain": "true"}


def test_an_array_of_the_largest_size_is_taken_and_one_byte_more_is_not(hub: LocalHub) -> None:
    """256 KB are stored; a larger message ends the connection."""
    with RawClient(hub) as client:
        client.login()
        client.send(publish(EVENTS, bytes(262_144)))
        assert client.receive()[0] == 0x40
        client.send(publish(EVENTS, bytes(262_145)))
        assert client.is_closed()
    assert len(hub.store.events.after()) == 1


def test_what_cannot_be_stored_is_not_acknowledged(hub: LocalHub) -> None:
    """On a full disk the device loses its connection instead, and sends again later."""
    hub.store._database._writer.execute("PRAGMA max_page_count = 1")  # as small as it is now
    with RawClient(hub) as client:
        client.login()
        client.send(publish(EVENTS, bytes(200_000)))
        assert client.is_closed()
    eventually(lambda: not hub.connected())
    hub.store._database._writer.execute("PRAGMA max_page_count = 1000000")
    with RawClient(hub) as client:
        client.login()
        client.send(publish(EVENTS, b"again", packet_id=2))
        assert client.receive() == (0x40, b"\x00\x02")


def test_foreign_filters_are_refused_one_by_one(hub: LocalHub) -> None:
    """SUBACK grants what is the device's, with QoS 1 at most, and says 0x80 to the rest."""
    with RawClient(hub) as client:
        client.login()
        client.send(
            subscribe(
                9, (DEVICEBOUND, 2), ("devices/mast-2/messages/devicebound/#", 1), ("$iothub/twin/res/#", 0)
            )
        )
        assert client.receive() == (0x90, b"\x00\x09\x01\x80\x00")


def test_a_command_waits_for_its_device_and_is_sent_until_acknowledged(hub: LocalHub) -> None:
    """Queued offline, delivered in order, repeated with DUP on the next connection, then done with."""
    first = hub.send_c2d("mast-1", b"one", message_id="m/1", properties={"a b": "c=d&e"})
    second = hub.send_c2d("mast-1", b"two")
    with RawClient(hub) as client:
        client.login(clean=False)
        client.send(subscribe(1, (DEVICEBOUND, 1)))
        assert client.receive()[0] == 0x90
        one, two = client.message(), client.message()
        assert (one.body, one.duplicate, two.body) == (b"one", False, b"two")
        assert "%24.mid=m%2F1&" in one.topic
        assert one.topic.endswith("&iothub-ack=none&a%20b=c%3Dd%26e")
        assert "&%24.to=%2Fdevices%2Fmast-1%2Fmessages%2FdeviceBound&" in one.topic
        client.acknowledge(two)
        client.ping()
    with RawClient(hub) as client:
        assert client.login(clean=False) == (1, 0)
        again = client.message()
        assert (again.body, again.duplicate, again.packet_id) == (b"one", True, one.packet_id)
        client.acknowledge(again)
        client.ping()
    for message, count in ((first, 2), (second, 1)):
        now = hub.store.c2d.get(message.sequence)
        assert now is not None
        assert (now.state, now.delivery_count) == ("delivered", count)


def test_a_clean_session_forgets_subscriptions_and_keeps_messages(hub: LocalHub) -> None:
    """After CleanSession the device must subscribe again, and then gets what waited."""
    with RawClient(hub) as client:
        client.login(clean=False)
        client.send(subscribe(1, (DEVICEBOUND, 1)))
        client.receive()
    hub.send_c2d("mast-1", b"one")
    with RawClient(hub) as client:
        assert client.login(clean=True) == (0, 0)
        client.ping()
        client.send(subscribe(1, (DEVICEBOUND, 1)))
        assert client.receive()[0] == 0x90
        assert client.message().body == b"one"


def test_with_qos_0_a_message_is_delivered_by_sending_it(hub: LocalHub) -> None:
    """A device that subscribed with QoS 0 gets each message once, without acknowledgement."""
    with RawClient(hub) as client:
        client.login()
        client.send(subscribe(1, (DEVICEBOUND, 0)))
        client.receive()
        sent = [hub.send_c2d("mast-1", b"%d" % n) for n in range(12)]
        assert [client.message().body for _ in sent] == [m.body for m in sent]


def test_after_unsubscribing_messages_wait(hub: LocalHub) -> None:
    """UNSUBSCRIBE stops the deliveries."""
    with RawClient(hub) as client:
        client.login(clean=False)
        client.send(subscribe(1, (DEVICEBOUND, 1)))
        client.receive()
        client.send(packet(0xA2, b"\x00\x02" + struct.pack("!H", len(DEVICEBOUND)) + DEVICEBOUND.encode()))
        assert client.receive() == (0xB0, b"\x00\x02")
        hub.send_c2d("mast-1", b"one")
        client.ping()
    assert hub.store.c2d.pending("mast-1") == 1


def test_only_so_many_messages_are_in_flight(hub: LocalHub) -> None:
    """The eleventh message comes when one of ten has been acknowledged."""
    for n in range(11):
        hub.send_c2d("mast-1", b"%d" % n)
    with RawClient(hub) as client:
        client.login()
        client.send(subscribe(1, (DEVICEBOUND, 1)))
        client.receive()
        ten = [client.message() for _ in range(10)]
        client.ping()
        client.acknowledge(ten[0])
        assert client.message().body == b"10"


def test_a_second_connection_takes_over(hub: LocalHub) -> None:
    """The same device connecting again ends its older connection; what was in flight there comes again."""
    hub.send_c2d("mast-1", b"one")
    with RawClient(hub) as old, RawClient(hub) as new:
        old.login(clean=False)
        old.send(subscribe(1, (DEVICEBOUND, 1)))
        old.receive()
        assert old.message().body == b"one"
        assert new.login(clean=False) == (1, 0)
        assert old.is_closed()
        assert new.message().body == b"one"
        assert hub.connected() == {"mast-1"}


def test_of_those_that_wait_to_take_over_the_newest_does(hub: LocalHub) -> None:
    """The others end without an answer: each would cost the disk what nobody needs any more."""
    may_end = threading.Event()
    with RawClient(hub) as old:
        old.login()
        stands = hub._listener._of_device["mast-1"]
        release = stands._delivery._queue.release
        stands._delivery._queue = SimpleNamespace(release=lambda *_: (may_end.wait(30), release("mast-1")))  # type: ignore[assignment]
        key = hub.store.registry.get("mast-1").primary_key
        password = token(key, "localhost/devices/mast-1", time.time() + 3600)
        comers = [RawClient(hub) for _ in range(4)]
        try:
            for number, comer in enumerate(comers):
                comer.send(connect("mast-1", "localhost/mast-1/?api-version=2019-10-01", password))
                eventually(lambda n=number: len(hub._listener._open) - hub._listener.strangers() == n + 2)  # type: ignore[misc]
            may_end.set()
            for comer in comers[:-1]:
                with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
                    assert comer._socket.recv(1) == b""
            assert comers[-1].receive() == (0x20, b"\0\0")
            comers[-1].ping()
        finally:
            may_end.set()
            for comer in comers:
                comer.__exit__()
    assert hub._listener._entering == {}


def test_a_silent_device_is_dropped(hub: LocalHub) -> None:
    """After one and a half times its keep-alive the hub gives a device up."""
    with RawClient(hub) as client:
        client.login(keep_alive_s=1)
        assert client.is_closed()


def test_a_token_that_ends_ends_the_connection(hub: LocalHub) -> None:
    """A device must come back with a new token."""
    key = hub.store.registry.get("mast-1").primary_key
    with RawClient(hub) as client:
        assert client.log_in_with("mast-1", token(key, "localhost/devices/mast-1", time.time() + 2)) == (0, 0)
        assert client.is_closed()


def test_disabling_a_device_cuts_it_off(hub: LocalHub) -> None:
    """It is disconnected, and refused when it comes back."""
    with RawClient(hub) as client:
        client.login()
        hub.set_device_enabled("mast-1", False)
        assert client.is_closed()
    with RawClient(hub) as client:
        assert client.login() == (0, 5)


def test_a_deleted_device_is_cut_off(hub: LocalHub) -> None:
    """At once, and refused when it comes back; made anew, it is another one with other keys."""
    key = hub.store.registry.get("mast-1").primary_key
    with RawClient(hub) as client:
        client.login()
        hub.identities.delete("mast-1")
        assert client.is_closed()
    password = token(key, "localhost/devices/mast-1", time.time() + 3600)
    for _ in range(2):
        with RawClient(hub) as client:
            assert client.log_in_with("mast-1", password) == (0, 5)
        hub.ensure_device("mast-1")


@pytest.mark.parametrize(
    "change",
    [
        lambda registry: registry.set_enabled("mast-1", False),
        lambda registry: registry.update("mast-1", DeviceSettings(primary_key="QUJD" * 8)),
        lambda registry: registry.delete("mast-1"),
    ],
    ids=["disabled", "new-key", "deleted"],
)
def test_a_device_that_was_changed_while_it_was_let_in_is_refused(
    hub: LocalHub, monkeypatch: pytest.MonkeyPatch, change: Callable[[Registry], object]
) -> None:
    """Changed between its credentials and its session: CONNACK 5, and nothing of a connection is left."""
    begin = hub.store.registry.begin_session

    def late(*arguments: Any) -> Any:
        change(hub.store.registry)
        return begin(*arguments)

    monkeypatch.setattr(hub.store.registry, "begin_session", late)
    with RawClient(hub) as client:
        assert client.login() == (0, 5)
        assert client.is_closed()
    eventually(lambda: not hub.connected())


@pytest.mark.parametrize(
    ("username", "password", "code"),
    [
        ("localhost", "x", 4),
        ("localhost/mast-1/?api-version=1", "x", 4),
        ("localhost/mast-1/?api-version=1", "SharedAccessSignature sr=a&sig=%%%&se=1", 4),
        ("localhost/mast-1/?api-version=1", f"SharedAccessSignature sr=a&sig=AAAA&se={'9' * 400}", 4),
        ("elsewhere.net/mast-1/?api-version=1", "SharedAccessSignature sr=a&sig=AAAA&se=1", 5),
        ("localhost/mast-2/?api-version=1", "SharedAccessSignature sr=a&sig=AAAA&se=1", 5),
    ],
)
def test_a_refusal_has_its_code(hub: LocalHub, username: str, password: str, code: int) -> None:
    """4 for credentials that cannot be read, 5 for wrong ones, and the connection ends."""
    with RawClient(hub) as client:
        client.send(connect("mast-1", username, password))
        assert client.receive() == (0x20, bytes([0, code]))
        assert client.is_closed()


def test_another_version_of_mqtt_is_refused(hub: LocalHub) -> None:
    """MQTT 5 gets code 1."""
    with RawClient(hub) as client:
        client.send(connect("mast-1", "u", "p", level=5))
        assert client.receive() == (0x20, b"\x00\x01")


MALFORMED: dict[str, Callable[[], bytes]] = {
    "unknown topic": lambda: publish("devices/mast-1/elsewhere", b""),
    "another device's topic": lambda: publish("devices/mast-2/messages/events/", b""),
    "wildcard": lambda: publish(EVENTS + "#", b""),
    "QoS 2": lambda: publish(EVENTS, b"", first=0x34),
    "QoS 3": lambda: publish(EVENTS, b"", first=0x36),
    "DUP with QoS 0": lambda: publish(EVENTS, b"", first=0x38),
    "packet id 0": lambda: publish(EVENTS, b"", packet_id=0),
    "broken UTF-8": lambda: packet(0x32, b"\x00\x02\xff\xfe\x00\x01"),
    "U+0000": lambda: publish(EVENTS + "\0", b""),
    "string past the end": lambda: packet(0x32, b"\x00\xffdevices"),
    "SUBSCRIBE with wrong flags": lambda: packet(0x80, b"\x00\x01\x00\x01a\x00"),
    "SUBSCRIBE without filters": lambda: packet(0x82, b"\x00\x01"),
    "SUBSCRIBE with reserved bits": lambda: packet(0x82, b"\x00\x01\x00\x01a\x04"),
    "UNSUBSCRIBE without filters": lambda: packet(0xA2, b"\x00\x01"),
    "PUBACK with a tail": lambda: packet(0x40, b"\x00\x01\x00"),
    "SUBSCRIBE with no flags": lambda: packet(0x80, subscribe(1, (DEVICEBOUND, 1))[2:]),
    "UNSUBSCRIBE with wrong flags": lambda: packet(0xA0, b"\x00\x01\x00\x01a"),
    "PUBACK with flags": lambda: packet(0x42, b"\x00\x01"),
    "PINGREQ with flags": lambda: packet(0xC1),
    "DISCONNECT with flags": lambda: packet(0xE1),
    "QoS 2 to the twin": lambda: publish("$iothub/twin/GET/?$rid=1", b"", first=0x34),
    "another hub's topic": lambda: publish("$iothub/modules/twin/GET/?$rid=1", b""),
    "a report of more than fits a packet": lambda: packet(0x32, bytes(400_000))[:9],
    "PINGREQ with a body": lambda: packet(0xC0, b"\x00"),
    "a second CONNECT": lambda: connect("mast-1", "u", "p"),
    "a packet for clients": lambda: packet(0x20, b"\x00\x00"),
    "type 0": lambda: packet(0x00),
    "type 15": lambda: packet(0xF0),
    "PUBREL": lambda: packet(0x62, b"\x00\x01"),
    "remaining length of five bytes": lambda: b"\x32\xff\xff\xff\xff\x01",
    "a packet of 256 MB": lambda: b"\x32\xff\xff\xff\x7f",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_breaks_the_protocol_ends_its_own_connection_only(
    hub: LocalHub, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The offender is cut off with one line in the log; another device goes on."""
    hub.ensure_device("mast-9")
    with RawClient(hub) as bad, RawClient(hub) as good:
        good.login("mast-9")
        bad.login()
        with caplog.at_level("INFO", "agent.localhub"):
            bad.send(MALFORMED[name]())
            assert bad.is_closed()
            eventually(lambda: hub.connected() == {"mast-9"})
            good.ping()
    [line] = caplog.records
    assert line.getMessage().startswith("mast-1 disconnected: ")
    assert line.exc_info is None
    assert "the link broke" not in line.getMessage()
    assert "\n" not in line.getMessage()


@pytest.mark.parametrize(
    "content",
    [
        packet(0xC0),
        publish(EVENTS, b""),
        packet(0x10, b"\x00\x04MQTT\x04\x03\x00\x3c\x00\x06mast-1"),  # reserved flag
        packet(0x10, b"\x00\x04MQTT\x04\x42\x00\x3c\x00\x06mast-1\x00\x01p"),  # password without user name
        packet(0x10, b"\x00\x04MQTT\x04\x0a\x00\x3c\x00\x06mast-1"),  # will QoS without will
        packet(0x10, b"\x00\x04MQTT\x04\xc2\x00\x3c\x00\x06mast-1"),  # announced fields missing
        packet(0x10, b"\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"),  # no client id
        packet(0x10, bytes(20_000)),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_a_connection_begins_with_a_sound_connect(hub: LocalHub, content: bytes) -> None:
    """Anything else first ends the connection without an answer."""
    with RawClient(hub) as client:
        client.send(content)
        with pytest.raises((EOFError, OSError)):
            client.receive()


def test_plain_bytes_on_the_tls_port_disturb_nobody(hub: LocalHub, caplog: pytest.LogCaptureFixture) -> None:
    """A peer without TLS is dropped, without a traceback."""
    with RawClient(hub) as good:
        good.login()
        with socket.create_connection((hub.address, hub.port), timeout=10) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
            while plain.recv(1024):
                pass
        good.ping()
    assert not [r for r in caplog.records if r.exc_info]


def test_a_device_that_does_not_read_blocks_nobody(hub: LocalHub) -> None:
    """One that sends and never reads its acknowledgements does not keep another from being served."""
    hub.ensure_device("mast-9")
    with RawClient(hub) as deaf, RawClient(hub) as good:
        deaf.login()
        deaf.send(publish(EVENTS, b"x") * 20_000)
        good.login("mast-9")
        good.ping()


noise = st.one_of(
    st.binary(max_size=64),
    st.builds(packet, st.integers(0, 255), st.binary(max_size=64)),
    st.builds(
        lambda content, at, byte: (
            content[: at % len(content)] + bytes([byte]) + content[at % len(content) + 1 :]
        ),
        st.sampled_from(
            [
                publish(EVENTS, b"x"),
                publish("$iothub/twin/PATCH/properties/reported/?$rid=1", b'{"a": [1, {"b": null}]}'),
                subscribe(1, (DEVICEBOUND, 1)),
                connect("mast-1", "localhost/mast-1/?api", "p"),
            ]
        ),
        st.integers(0, 100),
        st.integers(0, 255),
    ),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.booleans(), content=noise)
def test_noise_never_disturbs_others(
    hub: LocalHub, caplog: pytest.LogCaptureFixture, before: bool, content: bytes
) -> None:
    """Whatever bytes come, before or after CONNECT: no traceback, and the hub answers the next client."""
    hub.ensure_device("mast-9")
    with RawClient(hub) as bad, RawClient(hub) as good:
        if not before:
            bad.login()
        bad.send(content)
        good.login("mast-9")
        good.ping()
    assert not [r for r in caplog.records if r.exc_info]
    caplog.clear()
