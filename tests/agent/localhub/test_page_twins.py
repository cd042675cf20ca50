"""The twin as the page shows and edits it, against a real hub and a device on the wire."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from agent.localhub.hub import LocalHub
from agent.localhub.page.twins import changes

from .client import RawClient, publish, subscribe
from .page_client import Answer, PageClient, of, page_of

CHANGES = "$iothub/twin/PATCH/properties/desired/#"
ANSWERS = "$iothub/twin/res/#"
TWIN = of("mast-1", "/twin")


@pytest.fixture
def page(hub: LocalHub) -> Iterator[PageClient]:
    with page_of(hub) as client:
        yield client


def edit(page: PageClient, body: Any, etag: str | None = None) -> Answer:
    etag = page.hub.store.twins.get("mast-1").etag if etag is None else etag
    return page.ask("PUT", TWIN, body, If_Match=f'"{etag}"')


@pytest.mark.parametrize(
    ("before", "after", "patch"),
    [
        ({}, {}, None),
        ({"a": 1}, {"a": 1}, None),
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": 1}, {"a": True}, {"a": True}),
        ({"a": 1}, {"a": 1.0}, {"a": 1.0}),
        ({"a": 1, "b": 2}, {"b": 2}, {"a": None}),
        ({"a": 1}, {"a": None}, {"a": None}),
        ({}, {"a": None}, None),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, {"a": {"c": 3}}),
        ({"a": {"b": 1}}, {"a": {}}, {"a": {"b": None}}),
        ({"a": {"b": 1}}, {"a": 1}, {"a": 1}),
        ({"a": 1}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({}, {"a": {}}, {"a": {}}),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}, None),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, {"a": [1, {"b": 3}]}),
    ],
)
def test_the_patch_holds_what_differs_and_no_more(
    hub: LocalHub, before: dict[str, Any], after: dict[str, Any], patch: dict[str, Any] | None
) -> None:
    """And merged into what was there, it makes what was wanted."""
    assert changes(before, after) == patch
    if patch is not None:
        hub.store.twins.update("mast-1", desired=before)
        made = hub.store.twins.update("mast-1", desired=patch).desired.values
        assert json.dumps(made, sort_keys=True) == json.dumps(
            {k: v for k, v in after.items() if v is not None}, sort_keys=True
        )


def test_a_twin_is_shown_as_text_with_versions(page: PageClient) -> None:
    """Numbers stay as they are written, and letters are letters."""
    page.hub.identities.update_twin("mast-1", tags={"ort": "Süd"}, desired={"x": 1.0, "n": 2**52})
    page.hub.store.twins.report("mast-1", {"run": "9f3c01ab"})
    answer = page.ask("GET", TWIN)
    twin = page.hub.store.twins.get("mast-1")
    assert answer.headers["ETag"] == f'"{twin.etag}"'
    assert answer.json == {
        "etag": twin.etag,
        "version": 2,
        "tags": {"text": '{\n  "ort": "Süd"\n}', "version": None},
        "desired": {"text": f'{{\n  "x": 1.0,\n  "n": {2**52}\n}}', "version": 2},
        "reported": {"text": '{\n  "run": "9f3c01ab"\n}', "version": 2},
    }


def test_an_edit_is_stored_and_the_device_told_of_the_difference(page: PageClient) -> None:
    """The device gets the patch; tags are none of its business; open pages hear that the twin is another."""
    page.hub.identities.update_twin("mast-1", desired={"interval": {"s": 60, "jitter": 5}, "old": 1})
    with RawClient(page.hub) as device, page.stream() as lines:
        device.login()
        device.send(subscribe(1, (CHANGES, 1)))
        assert device.receive()[0] == 0x90
        lines.next()
        answer = edit(page, {"desired": {"interval": {"s": 30, "jitter": 5}}, "tags": {"place": "ridge"}})
        assert answer.status == 200
        told = json.loads(device.message().body)
        assert told == {"interval": {"s": 30}, "old": None, "$version": 3}
        assert lines.until("twin") == {"kind": "twin", "device": "mast-1"}
    twin = page.hub.store.twins.get("mast-1")
    assert answer.json["etag"] == twin.etag
    assert (twin.desired.values, twin.tags) == ({"interval": {"s": 30, "jitter": 5}}, {"place": "ridge"})


def test_an_edit_without_a_difference_changes_nothing(page: PageClient) -> None:
    """The ETag and the versions stay, and so does what is not given."""
    before = page.hub.identities.update_twin("mast-1", tags={"place": "ridge"}, desired={"x": 1.0})
    for body in ({}, {"desired": {"x": 1.0}}, {"tags": None}, {"desired": {"x": 1.0, "$version": 2}}):
        assert edit(page, body).status == 200
    assert page.hub.store.twins.get("mast-1") == before


def test_somebody_elses_change_is_not_overwritten(page: PageClient) -> None:
    """412 with an ETag of before, also when that is no ETag at all; and without one 400."""
    etag = page.ask("GET", TWIN).json["etag"]
    theirs = page.hub.identities.update_twin("mast-1", desired={"x": 1})
    for old in (etag, "*", "other"):
        answer = edit(page, {"desired": {"x": 2}}, old)
        assert (answer.status, answer.error) == (412, "the twin of 'mast-1' was changed meanwhile")
    answer = page.ask("PUT", TWIN, {"desired": {"x": 2}})
    assert (answer.status, "If-Match is missing" in answer.error) == (400, True)
    assert page.hub.store.twins.get("mast-1") == theirs


def test_a_change_between_reading_and_writing_is_not_overwritten(
    page: PageClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ETag is compared in the transaction that writes."""
    update = page.hub.identities.update_twin

    def late(device_id: str, **change: Any) -> Any:
        update(device_id, desired={"theirs": 1})
        return update(device_id, **change)

    monkeypatch.setattr(page.hub.identities, "update_twin", late)
    assert edit(page, {"desired": {"mine": 1}}).status == 412
    assert page.hub.store.twins.get("mast-1").desired.values == {"theirs": 1}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"desired": {"a": 1,}}', "the body is not JSON"),
        (b'{"desired": {"a": Infinity}}', "the body is not JSON"),
        (b'{"desired": {"a": 1e999}}', "the body is not JSON"),
        ({"desired": []}, "desired properties: expected a JSON object"),
        ({"tags": "x"}, "tags: expected a JSON object"),
        ({"desired": {"a.b": 1}}, "desired properties: 'a.b' is no name"),
        ({"tags": {"a": {"$b": 1}}}, "tags: '$b' is no name"),
        ({"desired": {"a": 2**53}}, "desired properties: a whole number beyond 2**52"),
        ({"desired": {"a": "x" * 4097}}, "a text of more than 4096 bytes"),
        ({"desired": {str(n): "x" * 4000 for n in range(9)}}, "bytes, at most 32768"),
        ({"tags": {str(n): "x" * 4000 for n in range(3)}}, "bytes, at most 8192"),
        ({"reported": {}}, "unknown key 'reported'; expected tags, desired"),
    ],
    ids=lambda part: str(part)[:40],
)
def test_what_no_twin_may_hold_is_refused_in_one_line(page: PageClient, body: Any, words: str) -> None:
    """400 with the rule that is broken, and the twin is as it was."""
    before = page.hub.store.twins.get("mast-1")
    answer = edit(page, body)
    assert answer.status == 400
    assert words in answer.error
    assert page.hub.store.twins.get("mast-1") == before


def test_what_a_device_reports_is_told(page: PageClient) -> None:
    """Open pages hear that the twin is another; a report that is refused tells them nothing."""
    report = "$iothub/twin/PATCH/properties/reported/?$rid="
    with RawClient(page.hub) as device, page.stream() as lines:
        device.login()
        device.send(subscribe(1, (ANSWERS, 1)))
        assert device.receive()[0] == 0x90
        lines.next()
        device.send(publish(f"{report}1", b"[]"))
        assert "/400/" in device.message().topic
        page.hub.send_c2d("mast-1", b"after the refused one")
        assert lines.until("command")["command"]["text"] == "after the refused one"
        device.receive()
        device.send(publish(f"{report}2", b'{"run": "9f3c01ab"}'))
        assert lines.until("twin")["device"] == "mast-1"
        assert page.ask("GET", TWIN).json["reported"]["version"] == 2
