"""The packet codec's strictness."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.localhub import mqtt

from .client import packet, publish, subscribe


def _read(content: bytes, limit: int = 1000) -> mqtt.Packet:
    async def read() -> mqtt.Packet:
        reader = asyncio.StreamReader()
        reader.feed_data(content)
        reader.feed_eof()
        return await mqtt.read_packet(reader, limit)

    return asyncio.run(read())


def test_packets_are_understood() -> None:
    """One of each kind that a device sends after its CONNECT."""
    assert _read(publish("a", b"b", 7, first=0x3B)) == mqtt.Publish("a", b"b", 7, True)
    assert _read(subscribe(1, ("a/#", 1), ("b", 0))) == mqtt.Subscribe(1, (("a/#", 1), ("b", 0)))
    assert _read(packet(0xA2, b"\x00\x01\x00\x01a")) == mqtt.Unsubscribe(1, ("a",))
    assert _read(packet(0x40, b"\x12\x34")) == mqtt.Puback(0x1234)
    assert _read(packet(0xC0)) == mqtt.Pingreq()
    assert _read(packet(0xE0)) == mqtt.Disconnect()


def test_a_will_is_read_over() -> None:
    """CONNECT with a will, a user name and a password."""
    head = b"\x00\x04MQTT\x04\xce\x00\x0a"
    fields = b"".join(len(f).to_bytes(2, "big") + f for f in (b"id", b"topic", b"\xff", b"user", b"word"))
    assert _read(packet(0x10, head + fields)) == mqtt.Connect("id", "user", "word", 10, True)


def test_length_is_judged_before_the_body_comes() -> None:
    """A packet that announces too much is refused without waiting for it."""
    with pytest.raises(mqtt.ProtocolError, match="packet of 1001 bytes, at most 1000"):
        _read(packet(0x30, bytes(1001))[:3])


def test_a_stream_that_ends_is_no_protocol_error() -> None:
    """Half a packet is what a broken link leaves."""
    with pytest.raises(EOFError):
        _read(publish("a", b"b")[:-1])


@given(st.binary(max_size=80))
def test_any_bytes_are_a_packet_or_a_protocol_error(content: bytes) -> None:
    """Nothing else is ever raised."""
    try:
        _read(content)
    except (mqtt.ProtocolError, EOFError):
        return


@given(st.integers(0, 15), st.integers(0, 15), st.binary(max_size=80))
def test_any_body_is_a_packet_or_a_protocol_error(kind: int, flags: int, body: bytes) -> None:
    """Nothing else is ever raised, whatever the fixed header says."""
    try:
        _read(packet(kind << 4 | flags, body))
    except mqtt.ProtocolError:
        return
