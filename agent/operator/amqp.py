"""AMQP to the hub and its event endpoint; the only file that knows azure.eventhub.

The pin is exact: ``_pyamqp`` is private. What is worked round here:

1. ``receive_message_batch`` throws away what settling needs: feedback is read from ``_received_messages``.
2. Waiting for a link has no limit there: ``_opened`` has one.
3. Its own retries hide what is wrong: they are off, and whoever calls decides.
4. ``EventHubConsumerClient.receive`` spins until it has claimed partitions, serves them in turn, 0.2 s each,
   and gives an event only when its link was quiet for 0.2 s: it is asked about partitions, and each of them
   is read by a link and a thread of its own.
5. It logs what we explain, to standard error where nobody listens: it is given somebody.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlparse

from azure.eventhub import EventData, EventHubConsumerClient, TransportType
from azure.eventhub._pyamqp import ReceiveClient, SendClient
from azure.eventhub._pyamqp.authentication import SASLPlainAuth, SASTokenAuth
from azure.eventhub._pyamqp.constants import ReceiverSettleMode
from azure.eventhub._pyamqp.endpoints import ApacheFilters, Source
from azure.eventhub._pyamqp.error import AMQPLinkRedirect, RetryPolicy
from azure.eventhub._pyamqp.message import Message, Properties
from azure.eventhub._pyamqp.utils import amqp_string_value
from azure.eventhub._utils import event_position_selector

from .access import Access
from .bounded import closed, opened, within
from .errors import HubUnavailable, OperatorError
from .events import Event, data_of, event_of
from .explaining import explain
from .messages import C2dMessage, Feedback, feedback_records
from .monitor import Position

PORT = 5671
TIMEOUT_S = 30.0
_FEEDBACK_CREDIT = 50
_SELECTOR = ApacheFilters.selector_filter

logging.getLogger("azure").addHandler(logging.NullHandler())


class Sender:
    """A link for messages to devices. Thread safety: one thread at a time."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._client: Any = SendClient(
            access.host, f"amqps://{access.host}/messages/devicebound", **_options(access)
        )

    def open(self, timeout_s: float = TIMEOUT_S) -> None:
        """Raises HubRejected, HubUnavailable."""
        _open(self._client, self._access, PORT, timeout_s)

    def send(self, message: C2dMessage, timeout_s: float = TIMEOUT_S) -> None:
        """Returns when the hub has taken it. Raises HubRejected, HubUnavailable."""
        properties: dict[str | bytes, Any] = dict(message.properties.items())
        if message.ack != "none":
            properties["iothub-ack"] = message.ack
        sent = Message(
            properties=Properties(
                message_id=message.message_id,
                correlation_id=message.correlation_id,
                to=f"/devices/{quote(message.device_id, safe='')}/messages/devicebound",
                absolute_expiry_time=int((time.time() + message.expires_s) * 1000),
            ),
            application_properties=properties,
            data=[message.body],
        )
        try:
            within(timeout_s, lambda: self._client.send_message(sent, timeout=timeout_s))
        except Exception as error:
            raise explain(error, self._access, PORT, message.device_id) from error

    def close(self) -> None:
        closed(self._client)


class FeedbackReader:
    """A link to the hub's feedback, which all its readers share. Thread safety: one thread at a time."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._client: Any = ReceiveClient(
            access.host,
            f"amqps://{access.host}/messages/servicebound/feedback",
            link_credit=_FEEDBACK_CREDIT,
            **_options(access),
        )

    def open(self, timeout_s: float = TIMEOUT_S) -> None:
        """Raises HubRejected, HubUnavailable."""
        _open(self._client, self._access, PORT, timeout_s)

    def read(self) -> list[Feedback]:
        """What has come, after 0.2 s at most. Raises HubRejected, HubUnavailable."""
        try:
            return [
                Feedback(tuple(feedback_records(data_of(message.data))), int(frame[1]), bytes(frame[2]))
                for frame, message in _received(self._client)
            ]
        except Exception as error:
            raise explain(error, self._access, PORT) from error

    def settle(self, feedback: Feedback, *, taken: bool) -> None:
        """``taken`` it is gone; else another reader has it. Raises HubRejected, HubUnavailable."""
        outcome = "accepted" if taken else "released"
        try:
            self._client.settle_messages(feedback.delivery_id, feedback.tag, outcome)
        except Exception as error:
            raise explain(error, self._access, PORT) from error

    def close(self) -> None:
        closed(self._client)


class EventReader:
    """The hub's events, from all partitions. Thread safety: ``close`` from any thread."""

    def __init__(self, access: Access, consumer_group: str) -> None:
        """Asks the hub where its events are. Raises HubRejected, HubUnavailable."""
        endpoint = _event_endpoint(access)
        self._group = consumer_group
        self._name = urlparse(endpoint.address).path.removesuffix("/$management").strip("/")
        self._access = Access(endpoint.hostname, access.policy, access.key, access.ca_file)
        self._port = endpoint.port
        host = endpoint.network_host or endpoint.hostname
        self._options: dict[str, Any] = {"connection_verify": access.ca_file}
        if (host, self._port) != (endpoint.hostname, PORT):
            self._options["custom_endpoint_address"] = f"sb://{host}:{self._port}"
        self._client = EventHubConsumerClient.from_connection_string(
            f"Endpoint=sb://{endpoint.hostname}/;SharedAccessKeyName={access.policy}"
            f";SharedAccessKey={access.key};EntityPath={self._name}",
            consumer_group,
            transport_type=TransportType.Amqp,
            retry_total=0,
            **self._options,
        )
        self._closed = threading.Event()

    def partitions(self) -> list[str]:
        """Raises HubRejected, HubUnavailable."""
        return list(self._asked(self._client.get_partition_ids))

    def last_sequence(self, partition: str) -> int:
        """Of the newest event in it, -1 where there never was one. Raises HubRejected, HubUnavailable."""
        found = self._asked(lambda: self._client.get_partition_properties(partition))
        return int(found["last_enqueued_sequence_number"])

    def start(
        self,
        positions: Mapping[str, Position],
        on_event: Callable[[Event], None],
        on_error: Callable[[OperatorError], None],
    ) -> None:
        """Read each partition from its position on. Both are called on threads of this reader."""

        def run(partition: str, position: Position) -> None:
            try:
                self._read(partition, position, on_event)
            except Exception as error:  # noqa: BLE001  (told, whatever it is)
                on_error(explain(error, self._access, self._port))

        for item in positions.items():
            threading.Thread(target=run, args=item, name=f"events-{item[0]}", daemon=True).start()

    def close(self) -> None:
        """Its threads end soon after."""
        self._closed.set()
        closed(self._client)

    def _read(self, partition: str, position: Position, on_event: Callable[[Event], None]) -> None:
        host, uri = self._access.host, f"sb://{self._access.host}/{self._name}"
        source = Source(  # type: ignore[call-arg]  # its defaults are set later
            address=f"amqps://{host}/{self._name}/ConsumerGroups/{self._group}/Partitions/{partition}",
            filters={_SELECTOR: (_SELECTOR, amqp_string_value(event_position_selector(position)))},
        )
        client = ReceiveClient(
            host,
            source,
            auth=SASTokenAuth(uri, uri, self._access.policy, self._access.key),
            receive_settle_mode=ReceiverSettleMode.First,
            retry_policy=RetryPolicy(retry_total=0),
            **self._options,
        )
        try:
            _open(client, self._access, self._port, TIMEOUT_S)
            while not self._closed.is_set():
                for _frame, message in _received(client):
                    on_event(event_of(partition, EventData._from_message(message)))
        finally:
            closed(client)

    def _asked(self, question: Callable[[], Any]) -> Any:
        try:
            return within(TIMEOUT_S, question)
        except Exception as error:
            raise explain(error, self._access, self._port) from error


def _event_endpoint(access: Access) -> AMQPLinkRedirect:
    """The hub says where its events are by refusing the link to them (amqp:link:redirect)."""
    client = ReceiveClient(
        access.host, f"amqps://{access.host}/messages/events/$management", link_credit=1, **_options(access)
    )
    try:
        _open(client, access, PORT, TIMEOUT_S)
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            client.do_work()
    except AMQPLinkRedirect as redirect:
        return redirect
    except OperatorError as error:
        if isinstance(error.__cause__, AMQPLinkRedirect):
            return error.__cause__
        raise
    except Exception as error:
        raise explain(error, access, PORT) from error
    finally:
        closed(client)
    raise HubUnavailable(f"{access.host} does not say where its events are: is it an IoT Hub?")


def _options(access: Access) -> dict[str, Any]:
    user = f"{access.policy}@sas.root.{access.hub_name}"
    return {
        "auth": SASLPlainAuth(user, access.token(time.time())),
        "connection_verify": access.ca_file,
        "retry_policy": RetryPolicy(retry_total=0),
    }


def _received(client: Any) -> list[tuple[Any, Any]]:
    """Transfer frames and messages that have come, after 0.2 s at most."""
    client.do_work()
    found = []
    while not client._received_messages.empty():
        found.append(client._received_messages.get_nowait())
    return found


def _open(client: Any, access: Access, port: int, timeout_s: float) -> None:
    try:
        opened(client, timeout_s)
    except Exception as error:
        raise explain(error, access, port) from error
