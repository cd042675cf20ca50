"""Azure IoT Hub by the Azure SDK: with agent/cloud/sdk.py, the only importer of azure.iot.

The SDK is held at arm's length. Its own retry is off; what blocks in it (connecting, shutting down) runs on a
thread that nobody waits for; a client is used for one connection only. Messages go straight into the SDK's
MQTT transport: its ``send_message`` has no deadline and changes threads four times a message, which doubles
what sending costs. Cloud-to-device messages and direct methods are taken in the order of their arrival; the
SDK's handlers run in a pool of four threads and lose it. A message is acknowledged when it was taken: the SDK
acknowledges what it has only queued, and a process that ends then has lost it. Methods are taken from paho as
they came: the SDK decodes them, which merges keys that are there twice and answers nobody whose payload is no
JSON.
"""

from __future__ import annotations

import gc
import itertools
import logging
import queue
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from hw.clock import Clock

from ..reading import Message
from . import CloudMessage, Failure, HubError, MethodCall
from .credentials import Credential
from .explaining import explain
from .sdk import (
    METHODS,
    answer_topic,
    behind_what_came,
    dropped,
    log_what_is_odd,
    method_of,
    report_topic,
    resetting,
    subscribe,
    topic_of,
    transport_of,
)
from .twin import encoded

log = logging.getLogger(__name__)

_REFUSED_QOS = 0x80  # MQTT 3.1.1, 3.9.3


@dataclass(frozen=True, slots=True)
class HubOptions:
    """How to connect, apart from who we are. ``ca_pem``: PEM text of a private CA.

    ``keep_alive_s``: an idle link that is dead is noticed after twice that; cellular networks forget an idle
    one after two and a half minutes. ``token_ttl_s``: the uplink renews well before.
    """

    ca_pem: str | None = None
    product_info: str | None = None
    keep_alive_s: int = 60
    token_ttl_s: int = 3600


class AzureHubClient:
    """One connection to IoT Hub (satisfies HubClient)."""

    def __init__(
        self,
        credential: Credential,
        options: HubOptions,
        clock: Clock,
        on_message: Callable[[CloudMessage], None],
        on_method: Callable[[MethodCall], None],
        *,
        clock_trusted: Callable[[], bool] = lambda: True,
    ) -> None:
        """``on_message`` and ``on_method`` are called on a thread of their own, one after the other, in the
        order in which messages and methods came; they may write to disk. A message is acknowledged when
        ``on_message`` has returned.

        ``clock_trusted``: whether this machine's time can be believed; what it may have caused says so.
        """
        self._credential = credential
        self._clock = clock
        self._on_message = on_message
        self._on_method = on_method
        self._clock_trusted = clock_trusted
        self._arguments: dict[str, Any] = {
            "connection_retry": False,
            "auto_connect": False,
            "keep_alive": options.keep_alive_s,
            "sastoken_ttl": options.token_ttl_s,
        }
        if options.ca_pem:
            self._arguments["server_verification_cert"] = options.ca_pem
        if options.product_info:
            self._arguments["product_info"] = options.product_info
        self._lock = threading.Lock()  # guards the fields below
        self._client: Any = None
        self._transport: Any = None
        self._closing: Future[None] | None = None
        self._unconfirmed: set[Future[None]] = set()
        self._lost: HubError | None = None
        self._refused_subscription = False
        self._reports = itertools.count(1)
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._pass_on, name="azure-inbox", daemon=True)

    # --- connecting

    def connect(self) -> Future[None]:
        return _in_background("azure-connect", self._connect)

    @property
    def connected(self) -> bool:
        client = self._client
        return client is not None and bool(client.connected)

    @property
    def lost(self) -> HubError | None:
        return self._lost

    def _connect(self) -> None:
        # imported here: it takes a second on a small board, which no worker's step has
        from azure.iot.device import IoTHubDeviceClient

        try:
            client: Any = IoTHubDeviceClient.create_from_connection_string(
                self._credential.connection_string, **self._arguments
            )
            pipeline = client._mqtt_pipeline
            transport = transport_of(pipeline)
            with self._lock:
                late = self._closing is not None  # and whoever closed us had nothing to shut down
                if not late:
                    self._client, self._transport = client, transport
                    self._reader.start()
            if late:
                client.shutdown()
                raise self._closed()
            pipeline.on_background_exception = log_what_is_odd
            pipeline.on_c2d_message_received = self._received
            self._mend(transport._mqtt_client)
            client.connect()
            subscribe(pipeline)
        except Exception as error:  # noqa: BLE001  (whatever the SDK raises, the caller is told what to do)
            raise self._explain(error) from None
        if self._refused_subscription:
            raise HubError(
                Failure.UNSUBSCRIBED,
                f"{self._credential.address} refused the subscription to commands of device "
                f"{self._credential.device_id!r}: may it receive messages and direct methods (its policy, "
                "the hub's tier)?",
            )
        if not client.connected:
            raise self._lost or HubError(Failure.LOST, "the connection was closed while it was made")

    def _mend(self, paho: Any) -> None:
        """Hear what the SDK drops, acknowledge what was taken and nothing before, and have paho notice every
        broken connection: it knows ConnectionError only, and dies of the others (a TLS end of file,
        ETIMEDOUT) without a word. As it does of a topic that is no UTF-8."""
        on_message, on_subscribe, on_disconnect = paho.on_message, paho.on_subscribe, paho.on_disconnect
        acknowledge = paho._send_puback

        def note_message(client: Any, userdata: Any, message: Any) -> None:
            try:
                topic: str = message.topic
            except UnicodeDecodeError as error:
                log.debug("dropped what came with a topic that is no UTF-8: %s", error)
            else:
                if topic.startswith(METHODS):
                    self._called(topic, message.payload)
                else:
                    on_message(client, userdata, message)
            if message.qos:
                behind_what_came(lambda: self._inbox.put(partial(acknowledge, message.mid)))

        def note_subscription(client: Any, userdata: Any, mid: int, granted: tuple[int, ...]) -> None:
            self._refused_subscription |= _REFUSED_QOS in granted
            on_subscribe(client, userdata, mid, granted)

        def note_disconnect(client: Any, userdata: Any, code: int) -> None:
            if code:  # the SDK tells the reason later than that the connection went
                self._lost = self._lost or self._explain(dropped(code))
            on_disconnect(client, userdata, code)

        paho.on_message = note_message
        paho._send_puback = lambda _: 0  # which paho calls when on_message has returned
        paho.on_subscribe, paho.on_disconnect = note_subscription, note_disconnect
        paho._sock_send = resetting(paho._sock_send)
        paho._sock_recv = resetting(paho._sock_recv)

    # --- up

    def send(self, message: Message) -> Future[None]:
        return self._publish(lambda: topic_of(message, self._credential.device_id), message.body)

    def report(self, properties: Mapping[str, Any]) -> Future[None]:
        # IoT Hub merges what comes, and answers only those who subscribed to its answers: one round trip less
        return self._publish(lambda: report_topic(next(self._reports)), encoded(properties))

    def _publish(self, topic: Callable[[], str], body: bytes) -> Future[None]:
        future: Future[None] = Future()
        with self._lock:
            if self._client is None or self._closing is not None:
                future.set_exception(self._closed())
                return future
            self._unconfirmed.add(future)
            transport = self._transport

        def completed(cancelled: bool = False) -> None:
            """On paho's thread."""
            self._completed(future, self._lost or self._closed() if cancelled else None)

        try:
            # paho keeps the connection's window, and writes on a thread of its own
            transport.publish(topic=topic(), payload=body, callback=completed)
        except Exception as error:  # noqa: BLE001  (each message has its own answer)
            self._completed(future, error)
        return future

    def _completed(self, future: Future[None], error: BaseException | None) -> None:
        with self._lock:
            if future not in self._unconfirmed:
                return  # failed when we closed
            self._unconfirmed.remove(future)
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(self._explain(error))

    # --- down

    def _received(self, received: Any) -> None:
        """On the SDK's callback thread, of which there is one for all: nothing waits in here."""
        message = CloudMessage(
            body=received.data if isinstance(received.data, bytes) else str(received.data).encode(),
            received_boot_s=self._clock.monotonic(),
            message_id=received.message_id,
            correlation_id=received.correlation_id,
            expires=received.expiry_time_utc,
            properties={str(k): str(v) for k, v in (received.custom_properties or {}).items()},
        )
        self._inbox.put(partial(self._on_message, message))

    def _called(self, topic: str, payload: bytes) -> None:
        """On paho's thread, where nothing waits. It goes by the SDK's threads, as messages do, behind those
        that came before it."""
        if (method := method_of(topic)) is None:
            log.debug("dropped a direct method whose topic is %.200r", topic)
            return
        name, request_id = method

        def take() -> None:
            call = MethodCall(name, payload, self._clock.monotonic(), self._answer_to(request_id))
            self._inbox.put(partial(self._on_method, call))

        behind_what_came(take)

    def _answer_to(self, request_id: str) -> Callable[[int, bytes], None]:
        """What answers one request, once, on this connection or not at all.

        Published with QoS 0: nobody waits for a confirmation, and what wants one has to wait itself while the
        window is full.
        """
        unanswered = [request_id]

        def answer(status: int, payload: bytes) -> None:
            with self._lock:
                if not unanswered:
                    return
                unanswered.clear()
                transport = None if self._closing is not None else self._transport
            try:
                if transport is None:
                    raise self._closed()
                transport.publish(topic=answer_topic(status, request_id), payload=payload, qos=0)
            except Exception as error:  # noqa: BLE001  (whatever it is, there is nobody left to tell)
                log.debug("the answer to a direct method goes nowhere: %r", error)

        return answer

    def _pass_on(self) -> None:
        """Hand over one by one what came, in the order of its arrival; a slow card delays only that."""
        while (hand_over := self._inbox.get()) is not None:
            try:
                hand_over()
            except Exception:
                log.exception("what came from the hub could not be taken")

    # --- closing

    def close(self) -> Future[None]:
        with self._lock:
            if self._closing is not None:
                return self._closing
            self._closing = Future()
        return _in_background("azure-close", self._close, self._closing)

    def _close(self) -> None:
        client, self._client, self._transport = self._client, None, None
        if client is not None:
            for _ in range(2):  # a connection that goes meanwhile makes it give up half-way
                try:
                    client.shutdown()
                    break
                except Exception as error:  # noqa: BLE001  (it is given up in any case)
                    log.debug("the SDK did not shut down cleanly: %r", error)
            # what came is taken, though the hub may send it again
            behind_what_came(lambda: self._inbox.put(None))
            self._reader.join()
        with self._lock:
            left, self._unconfirmed = self._unconfirmed, set()
        for future in left:
            future.set_exception(self._closed())
        del client
        gc.collect()  # the SDK leaves sockets to the collector

    def _closed(self) -> HubError:
        return HubError(Failure.LOST, "the connection is closed")

    def _explain(self, error: BaseException) -> HubError:
        return explain(error, self._credential, clock_trusted=self._clock_trusted())


def _in_background(name: str, work: Callable[[], None], future: Future[None] | None = None) -> Future[None]:
    """The outcome of ``work`` on a thread of its own, which may never end."""
    outcome: Future[None] = future or Future()

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  (carried to whoever waits)
            error.__context__ = None  # an error that is remembered must not keep the SDK's client with it
            outcome.set_exception(error.with_traceback(None))
        else:
            outcome.set_result(None)

    threading.Thread(target=run, name=name, daemon=True).start()
    return outcome
