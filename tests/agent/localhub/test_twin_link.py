"""The twin over a device's connection, by a client that need not behave."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from agent.localhub.hub import LocalHub
from agent.localhub.thread import HubThread

from .client import RawClient, eventually, packet, publish, subscribe, text

ANSWERS = "$iothub/twin/res/#"
CHANGES = "$iothub/twin/PATCH/properties/desired/#"
GET = "$iothub/twin/GET/?$rid="
REPORT = "$iothub/twin/PATCH/properties/reported/?$rid="


def _subscribed(hub: LocalHub, *filters: str, clean: bool = True) -> RawClient:
    client = RawClient(hub)
    client.login(clean=clean)
    client.send(subscribe(1, *((topic, 1) for topic in filters)))
    assert client.receive()[0] == 0x90
    return client


def _asked(client: RawClient, topic: str, body: bytes = b"") -> tuple[str, Any]:
    """The answer's topic and JSON; its PUBACK comes after it."""
    client.send(publish(topic, body, packet_id=5))
    answer = client.message()
    assert answer.packet_id == 0
    assert client.receive() == (0x40, b"\x00\x05")
    return answer.topic, json.loads(answer.body) if answer.body else None


def test_a_device_reads_its_twin(hub: LocalHub) -> None:
    """Desired and reported properties with their versions, and no tags; the answer bears the request's id."""
    hub.identities.update_twin("mast-1", tags={"site": "north"}, desired={"interval": {"s": 60}})
    hub.store.twins.report("mast-1", {"run": "0badcafe"})
    with _subscribed(hub, ANSWERS) as client:
        assert _asked(client, GET + "a-7%20x") == (
            "$iothub/twin/res/200/?$rid=a-7%20x",
            {
                "desired": {"interval": {"s": 60}, "$version": 2},
                "reported": {"run": "0badcafe", "$version": 2},
            },
        )


def test_a_device_reports(hub: LocalHub) -> None:
    """204 with the new version means that it is stored; null removes, objects merge."""
    with _subscribed(hub, ANSWERS) as client:
        assert _asked(client, REPORT + "1", b'{"a": {"b": 1, "c": 2}}') == (
            "$iothub/twin/res/204/?$rid=1&$version=2",
            None,
        )
        assert hub.store.twins.get("mast-1").reported.values == {"a": {"b": 1, "c": 2}}
        assert _asked(client, REPORT + "2", b'{"a": {"b": null}, "$version": 1}')[0].endswith("&$version=3")
    assert hub.store.twins.get("mast-1").reported.values == {"a": {"c": 2}}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[1]",
        b"7",
        b"\xff",
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"a": 9007199254740993}',
        b'{"a.b": 1}',
        b'{"$a": 1}',
        b"[" * 100_000,
        b'{"a": ' + b"1" * 5000 + b"}",
        b'{"a":' * 11 + b"1" + b"}" * 11,
        json.dumps({"a": "x" * 5000}).encode(),
        json.dumps({str(n): "x" * 4000 for n in range(9)}).encode(),
    ],
    ids=range(15),
)
def test_a_report_that_breaks_a_rule_changes_nothing(hub: LocalHub, body: bytes) -> None:
    """400 with the request's id, and the connection goes on."""
    with _subscribed(hub, ANSWERS) as client:
        topic, answer = _asked(client, REPORT + "1", body)
        assert topic == "$iothub/twin/res/400/?$rid=1"
        assert answer["message"].startswith("reported properties")
        client.ping()
    assert hub.store.twins.get("mast-1").reported.version == 1


def test_answers_go_only_to_a_subscriber(hub: LocalHub) -> None:
    """Whoever is not subscribed gets its PUBACKs, and what it reports holds."""
    with RawClient(hub) as client:
        client.login()
        for number, (topic, body) in enumerate([(GET, b""), (REPORT, b'{"a": 1}'), (REPORT, b"{")], 1):
            client.send(publish(topic + "1", body, packet_id=number))
            assert client.receive() == (0x40, struct.pack("!H", number))
        client.send(publish(REPORT + "2", b'{"b": 2}', first=0x30))
        client.ping()
    assert hub.store.twins.get("mast-1").reported.values == {"a": 1, "b": 2}


def test_a_change_of_desired_properties_is_told(hub: LocalHub) -> None:
    """As it was made, with its version; one of tags alone is not told; what is replaced away is null."""
    with _subscribed(hub, CHANGES) as client:
        hub.identities.update_twin("mast-1", desired={"a": 1, "b": {"c": 2, "d": 3}})
        change = client.message()
        assert change.topic == "$iothub/twin/PATCH/properties/desired/?$version=2"
        assert json.loads(change.body) == {"a": 1, "b": {"c": 2, "d": 3}, "$version": 2}
        hub.identities.update_twin("mast-1", tags={"site": "north"})
        hub.identities.update_twin("mast-1", desired={"a": None, "$version": 2, "$metadata": {}})
        assert json.loads(client.message().body) == {"a": None, "$version": 3}
        hub.identities.update_twin("mast-1", desired={"b": {"d": 4}, "e": 5}, replace=True)
        assert json.loads(client.message().body) == {"b": {"c": None, "d": 4}, "e": 5, "$version": 4}
        client.ping()
    assert hub.store.twins.get("mast-1").desired.values == {"b": {"d": 4}, "e": 5}


def test_changes_are_told_in_the_order_of_their_versions(hub: LocalHub) -> None:
    """However fast they come, none is left out."""
    with _subscribed(hub, CHANGES) as client:
        for number in range(50):
            hub.identities.update_twin("mast-1", desired={"n": number})
        told = [json.loads(client.message().body) for _ in range(50)]
    assert told == [{"n": number, "$version": number + 2} for number in range(50)]


def test_subscriptions_outlive_connection_and_hub(hub: LocalHub) -> None:
    """Both filters are of the persistent session; UNSUBSCRIBE ends them."""
    _subscribed(hub, ANSWERS, CHANGES, clean=False).__exit__()
    with RawClient(hub) as client:
        assert client.login(clean=False) == (1, 0)
        hub.identities.update_twin("mast-1", desired={"a": 1})
        assert client.message().topic.endswith("?$version=2")
        assert _asked(client, GET + "1")[0].startswith("$iothub/twin/res/200/")
        client.send(packet(0xA2, b"\x00\x02" + text(ANSWERS) + text(CHANGES)))
        assert client.receive() == (0xB0, b"\x00\x02")
        hub.identities.update_twin("mast-1", desired={"a": 2})
        client.send(publish(GET + "2", b"", first=0x30))
        client.ping()


def test_what_is_reported_outlives_the_hub(tmp_path: Path) -> None:
    """A hub started again on the same folder has it, with its version."""
    for expected in ("2", "3"):
        thread = HubThread(LocalHub(tmp_path, "127.0.0.1", port=0))
        thread.start()
        try:
            thread.hub.ensure_device("mast-1")
            with _subscribed(thread.hub, ANSWERS) as client:
                topic, _ = _asked(client, REPORT + "1", b'{"v%s": 1}' % expected.encode())
                assert topic.endswith(f"&$version={expected}")
            assert len(thread.hub.store.twins.get("mast-1").reported.values) == int(expected) - 1
        finally:
            thread.stop()


@pytest.mark.parametrize(
    "topic",
    [
        "$iothub/twin/",
        "$iothub/twin/GET/",
        "$iothub/twin/GET/?$rid=",
        "$iothub/twin/GET/?rid=1",
        "$iothub/twin/PATCH/properties/desired/?$rid=1",
        "$iothub/twin/PATCH/properties/reported/?$rid=" + "1" * 300,
        "$iothub/twin/res/200/?$rid=1",
    ],
)
def test_other_topics_of_twins_end_the_connection(hub: LocalHub, topic: str) -> None:
    """As every topic does that is not the device's."""
    with _subscribed(hub, ANSWERS) as client:
        client.send(publish(topic, b"{}"))
        assert client.is_closed()


def test_who_reads_nothing_is_cut_off(hub: LocalHub) -> None:
    """What a device is told and does not read costs the hub a bound, not more."""
    large = {str(n): "x" * 4000 for n in range(7)}
    with _subscribed(hub, CHANGES):
        for number in range(2000):
            if not hub.connected():
                break
            hub.identities.update_twin("mast-1", desired={**large, "n": number})
        assert not hub.connected()
        assert number > 20


def test_what_cannot_be_stored_is_neither_answered_nor_acknowledged(hub: LocalHub) -> None:
    """On a full disk the device loses its connection instead, and its twin is as before."""
    with _subscribed(hub, ANSWERS) as client:
        hub.store._database._writer.execute("PRAGMA max_page_count = 1")  # as small as it is now
        client.send(publish(REPORT + "1", json.dumps({str(n): "x" * 4000 for n in range(7)}).encode()))
        with pytest.raises((EOFError, OSError)):
            client.receive()
    hub.store._database._writer.execute("PRAGMA max_page_count = 1000000")
    assert hub.store.twins.get("mast-1").reported.version == 1


def test_an_answer_is_never_older_than_what_was_told_before(
    hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Desired properties that change while the twin is read are in the answer that follows the change."""
    get = hub.store.twins.get

    def slowly(device_id: str) -> Any:
        twin = get(device_id)
        monkeypatch.setattr(hub.store.twins, "get", get)
        hub.identities.update_twin("mast-1", desired={"a": 1})
        link = hub._listener._of_device["mast-1"]._twin
        eventually(lambda: link._told == 2)
        return twin

    with _subscribed(hub, ANSWERS, CHANGES) as client:
        monkeypatch.setattr(hub.store.twins, "get", slowly)
        client.send(publish(GET + "1", b"", first=0x30))
        assert json.loads(client.message().body) == {"a": 1, "$version": 2}
        assert json.loads(client.message().body)["desired"] == {"a": 1, "$version": 2}
