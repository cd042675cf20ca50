from __future__ import annotations

import pytest
from azure.iot.device.iothub.pipeline import mqtt_topic_iothub as topics

from agent.cloud.sdk import METHODS, answer_topic, method_of


@pytest.mark.parametrize(
    ("topic", "method"),
    [
        ("$iothub/methods/POST/set/?$rid=1", ("set", "1")),
        ("$iothub/methods/POST/stop-all/?$rid=5f0c-9a", ("stop-all", "5f0c-9a")),
        ("$iothub/methods/POST/100%25%2FH%C3%B6he/?$rid=1", ("100%/Höhe", "1")),
        ("$iothub/methods/POST/a+b/?$rid=1", ("a+b", "1")),
        ("$iothub/methods/POST/%ff/?$rid=1", ("\ufffd", "1")),
        ("$iothub/methods/POST/set/?$rid=a%2fb", ("set", "a%2fb")),
        ("$iothub/methods/POST/set/?$rid=1&$later=2", ("set", "1")),
    ],
)
def test_the_topic_of_a_call(topic: str, method: tuple[str, str]) -> None:
    """The name is decoded; the request id is not, so that it goes back as it came."""
    assert method_of(topic) == method


@pytest.mark.parametrize(
    "topic",
    [
        METHODS,
        "$iothub/methods/POST",
        "$iothub/methods/POST/",
        "$iothub/methods/POST/set",
        "$iothub/methods/POST/set/",
        "$iothub/methods/POST/set/?$rid=",
        "$iothub/methods/POST/set/?rid=1",
        "$iothub/methods/POST//?$rid=1",
        "$iothub/methods/POST/set/more/?$rid=1",
        "$iothub/methods/res/200/?$rid=1",
        "devices/mast-1/messages/devicebound/$iothub/methods/POST/set/?$rid=1",
    ],
)
def test_a_topic_that_is_no_call(topic: str) -> None:
    """Without a name or a request id there is nothing to call and nobody to answer."""
    assert method_of(topic) is None


@pytest.mark.parametrize("request_id", ["1", "5f0c-9a"])
def test_topics_are_those_of_the_sdk(request_id: str) -> None:
    """What the SDK would make of the usual names and ids is what is made of them here."""
    topic = f"$iothub/methods/POST/stop%2Dall/?$rid={request_id}"
    assert topic.startswith(METHODS)
    assert topics.get_method_topic_for_subscribe().startswith(METHODS)
    assert method_of(topic) == (
        topics.get_method_name_from_topic(topic),
        topics.get_method_request_id_from_topic(topic),
    )
    assert answer_topic(404, request_id) == topics.get_method_topic_for_publish(request_id, 404)
