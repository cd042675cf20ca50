"""What is used of the Azure SDK beyond its documented interface, and why its version is pinned exactly.

The client's ``_mqtt_pipeline`` (its events) and what is mended of its paho client stand in
agent/cloud/azure.py. Here: how the pipeline subscribes, the MQTT transport at its end, the function that
writes a message's properties into a topic, and the SDK's two threads. And the topics of direct methods, which
are taken from the SDK before it decodes their payloads.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from ..reading import Message

log = logging.getLogger(__name__)

METHODS = "$iothub/methods/"
"""What all topics of direct methods begin with, and no others.
https://learn.microsoft.com/azure/iot/iot-mqtt-connect-to-iot-hub"""

_CALL = re.compile(re.escape(METHODS) + r"POST/([^/]+)/\?\$rid=([^&]+)(?:&.*)?", re.DOTALL)


def topic_of(message: Message, device_id: str) -> str:
    """Where ``message`` is published: the properties are part of it."""
    from azure.iot.device import Message as SdkMessage
    from azure.iot.device.iothub.pipeline import mqtt_topic_iothub as topics

    carrier: Any = SdkMessage(b"", message.message_id, message.content_encoding, message.content_type)  # type: ignore[no-untyped-call]
    carrier.correlation_id = message.correlation_id
    carrier.custom_properties = message.properties
    base = topics.get_telemetry_topic_for_publish(device_id, None)  # type: ignore[no-untyped-call]
    return str(topics.encode_message_properties_in_topic(carrier, base))  # type: ignore[no-untyped-call]


def method_of(topic: str) -> tuple[str, str] | None:
    """The name of the method that is called, and the id of the request as it came; None without them."""
    match = _CALL.fullmatch(topic)
    return None if match is None else (unquote(match[1]), match[2])


def answer_topic(status: int, request_id: str) -> str:
    """Where the answer to a direct method is published."""
    return f"{METHODS}res/{status}/?$rid={request_id}"


def report_topic(request_id: int) -> str:
    """Where changes of the twin's reported properties are published."""
    return f"$iothub/twin/PATCH/properties/reported/?$rid={request_id}"


def subscribe(pipeline: Any) -> None:
    """To messages and direct methods, both at once: one round trip. Waits for the hub, however long it takes.

    What is refused is not told: the SDK takes any SUBACK for a yes.
    """
    from azure.iot.device.common.evented_callback import EventedCallback
    from azure.iot.device.iothub.pipeline import constant

    waiting: list[Any] = []
    for feature in (constant.C2D_MSG, constant.METHODS):
        waiting.append(EventedCallback())  # type: ignore[no-untyped-call]
        pipeline.enable_feature(feature, callback=waiting[-1])
    for answered in waiting:
        answered.wait_for_completion()


def dropped(code: int) -> BaseException:
    """What the SDK raises for paho's ``code`` of a disconnect."""
    from azure.iot.device.common.transport_exceptions import ConnectionDroppedError
    from paho.mqtt.client import error_string

    return ConnectionDroppedError(error_string(code))


def log_what_is_odd(error: BaseException) -> None:
    """The SDK's background exceptions. That a connection went is known before."""
    if type(error).__name__ != "ConnectionDroppedError":
        log.warning("the Azure SDK reports %s: %s", type(error).__name__, error)


def on_pipeline_thread(work: Callable[[], None]) -> None:
    """The one thread on which the SDK, for all clients, connects, disconnects and takes messages."""
    from azure.iot.device.common.pipeline import pipeline_thread

    pipeline_thread.invoke_on_pipeline_thread_nowait(work)()  # type: ignore[no-untyped-call]


def on_callback_thread(work: Callable[[], None]) -> None:
    """The one thread on which the SDK tells what happened, in its order."""
    from azure.iot.device.common.pipeline import pipeline_thread

    pipeline_thread.invoke_on_callback_thread_nowait(work)()  # type: ignore[no-untyped-call]


def behind_what_came(work: Callable[[], None]) -> None:
    """After all that has arrived and is not told yet: it passes through both of the SDK's threads."""
    on_pipeline_thread(lambda: on_callback_thread(work))


def transport_of(pipeline: Any) -> Any:
    """The SDK's MQTT transport, at the end of the pipeline."""
    stage = pipeline._pipeline
    while stage.next is not None:
        stage = stage.next
    return stage.transport


def resetting(work: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """``work`` on a socket, whose every failure is one of ConnectionError; would-block is none."""

    def on_socket(argument: Any) -> Any:
        try:
            return work(argument)
        except (BlockingIOError, ConnectionError):
            raise
        except OSError as error:
            raise ConnectionResetError(str(error)) from error

    return on_socket
