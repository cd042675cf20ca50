"""Feedback over HTTPS."""

from __future__ import annotations

import pytest

from agent.localhub.hub import LocalHub

from .rest_client import RestClient

FEEDBACK = "/messages/serviceBound/feedback"


@pytest.fixture
def rest(hub: LocalHub) -> RestClient:
    return RestClient(hub, "service")


def purge(rest: RestClient, count: int) -> None:
    """Make so many records."""
    for number in range(count):
        rest.hub.send_c2d("mast-1", b"x", message_id=f"m{number}", ack="full")
    rest.delete("/devices/mast-1/commands")


def test_a_batch_is_taken_and_completed(rest: RestClient) -> None:
    """200 with the records and a lock token, then nothing more for anybody; 204 when there is none."""
    assert (rest.get(FEEDBACK).status, rest.get(FEEDBACK).body) == (204, b"")
    purge(rest, 2)
    taken = rest.get(FEEDBACK)
    assert (taken.status, taken.headers["Content-Type"]) == (
        200,
        "application/vnd.microsoft.iothub.feedback.json",
    )
    assert [(r["originalMessageId"], r["statusCode"]) for r in taken.json] == [
        ("m0", "Purged"),
        ("m1", "Purged"),
    ]
    assert taken.headers["iothub-deliverycount"] == "0"
    assert rest.get(FEEDBACK).status == 204
    token = taken.headers["ETag"].strip('"')
    assert rest.delete(f"{FEEDBACK}/{token}").status == 204
    assert rest.get(FEEDBACK).status == 204


def test_a_batch_is_given_back(rest: RestClient) -> None:
    """Whoever asks next has it, counted once more."""
    purge(rest, 1)
    first = rest.get(FEEDBACK)
    token = first.headers["ETag"].strip('"')
    assert rest.post(f"{FEEDBACK}/{token}/abandon").status == 204
    second = rest.get(FEEDBACK)
    assert (second.json, second.headers["iothub-deliverycount"]) == (first.json, "1")
    assert second.headers["ETag"] != first.headers["ETag"]


def test_a_lock_that_is_over_is_412(rest: RestClient) -> None:
    """Completed or given back already, or never there."""
    purge(rest, 1)
    token = rest.get(FEEDBACK).headers["ETag"].strip('"')
    rest.post(f"{FEEDBACK}/{token}/abandon")
    for gone in (token, "never", "%FF"):
        assert rest.delete(f"{FEEDBACK}/{gone}").error == (412, "DeviceMessageLockLost")
        assert rest.post(f"{FEEDBACK}/{gone}/abandon").error == (412, "DeviceMessageLockLost")
    assert rest.get(FEEDBACK).status == 200
