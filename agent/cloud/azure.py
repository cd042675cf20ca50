"""Azure IoT Hub by the Azure SDK: the only importer of azure.iot.

The SDK is held at arm's length: its own retry is off, one private event-loop thread runs its aio client,
every call is a future, and a client is used for one connection only. Cloud-to-device messages are taken one
after the other, which keeps their order (the SDK's handlers run in a pool of four threads).
"""

from __future__ import annotations

import asyncio
import gc
import logging
import ssl
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import Any

from hw.clock import Clock

from ..reading import Message
from . import WINDOW, CloudMessage, HubError, HubRefused, HubUnavailable, HubUntrusted
from .credentials import Credential

log = logging.getLogger(__name__)

_TOKEN_TTL_S = 3600
_KEEP_ALIVE_S = 60
_CLOSE_TIMEOUT_S = 90.0  # the SDK may sit in a handshake for 60 s, and leaks what is not waited for


@dataclass(frozen=True, slots=True)
class HubOptions:
    """How to connect, apart from who we are. ``ca_pem``: PEM text of a private CA."""

    ca_pem: str | None = None
    product_info: str | None = None
    token_ttl_s: int = _TOKEN_TTL_S


class AzureLoop:
    """The one thread that runs the SDK's aio clients. Thread safety: any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="azure-loop", daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, None]) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def stop(self, timeout_s: float) -> None:
        """Cancel what still runs and end the thread, as far as it ends within ``timeout_s``."""

        async def cancel() -> None:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=timeout_s) if tasks else None

        try:
            self.submit(cancel()).result(timeout_s)
        except (FutureTimeout, RuntimeError):
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout_s)
        if not self._thread.is_alive():
            self._loop.close()


class AzureHubClient:
    """One connection to IoT Hub (satisfies HubClient)."""

    def __init__(
        self,
        loop: AzureLoop,
        credential: Credential,
        options: HubOptions,
        clock: Clock,
        on_message: Callable[[CloudMessage], None],
    ) -> None:
        """``on_message`` is called on a pool thread, one message after the other; it may write to disk."""
        self._loop = loop
        self._credential = credential
        self._clock = clock
        self._on_message = on_message
        self._received: asyncio.Queue[CloudMessage] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._places = asyncio.Semaphore(WINDOW)
        self._client: Any = None
        self._arguments: dict[str, Any] = {
            "connection_retry": False,
            "auto_connect": False,
            "keep_alive": _KEEP_ALIVE_S,
            "sastoken_ttl": options.token_ttl_s,
        }
        if options.ca_pem:
            self._arguments["server_verification_cert"] = options.ca_pem
        if options.product_info:
            self._arguments["product_info"] = options.product_info

    @property
    def connected(self) -> bool:
        """Also False when messages from the cloud are no longer listened to."""
        client, tasks = self._client, self._tasks
        listening = bool(tasks) and not any(task.done() for task in tasks)
        return client is not None and bool(client.connected) and listening

    def connect(self) -> Future[None]:
        return self._loop.submit(self._connect())

    async def _connect(self) -> None:
        # imported here: it takes a second on a small board, which no worker's step has
        from azure.iot.device.aio import IoTHubDeviceClient

        try:
            client = self._client = IoTHubDeviceClient.create_from_connection_string(
                self._credential.connection_string, **self._arguments
            )
            await client.connect()
            await client._enable_feature("c2d")
        except Exception as error:  # noqa: BLE001  (whatever the SDK raises, the caller is told what to do)
            raise explain(error, self._credential) from None
        if self._client is None:
            raise HubUnavailable("the connection was closed while it was made")
        self._tasks = [asyncio.create_task(self._receive(client)), asyncio.create_task(self._pass_on())]

    async def _receive(self, client: Any) -> None:
        """Take messages from the SDK as they arrive, and stamp them.

        The SDK calls ``receive_message`` deprecated, but its successor, a handler, loses the order.
        """
        while True:
            received = await client.receive_message()
            message = CloudMessage(
                body=received.data if isinstance(received.data, bytes) else str(received.data).encode(),
                received_boot_s=self._clock.monotonic(),
                message_id=received.message_id,
                correlation_id=received.correlation_id,
                expires=received.expiry_time_utc,
                properties={str(k): str(v) for k, v in (received.custom_properties or {}).items()},
            )
            self._received.put_nowait(message)

    async def _pass_on(self) -> None:
        """Hand messages over one by one, in the order of their arrival; a slow card delays only them."""
        loop = asyncio.get_running_loop()
        while True:
            message = await self._received.get()
            try:
                await loop.run_in_executor(None, self._on_message, message)
            except Exception:
                log.exception("a message from the hub could not be taken")
            self._received.task_done()

    def send(self, message: Message) -> Future[None]:
        return self._loop.submit(self._send(message))

    async def _send(self, message: Message) -> None:
        from azure.iot.device import Message as SdkMessage

        client = self._client
        if client is None:
            raise HubUnavailable("the connection is closed")
        outgoing: Any = SdkMessage(  # type: ignore[no-untyped-call]
            message.body, message.message_id, message.content_encoding, message.content_type
        )
        outgoing.correlation_id = message.correlation_id
        outgoing.custom_properties = dict(message.properties)
        try:
            async with self._places:
                if self._client is not client:  # closed while this one waited its turn: it is sent elsewhere
                    raise HubUnavailable("the connection is closed")
                await client.send_message(outgoing)
        except Exception as error:  # noqa: BLE001  (whatever the SDK raises, the caller is told what to do)
            raise explain(error, self._credential) from None

    def close(self) -> Future[None]:
        return self._loop.submit(self._close())

    async def _close(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        try:
            await asyncio.wait_for(client.shutdown(), _CLOSE_TIMEOUT_S)
            await asyncio.wait_for(self._hand_over(client), _CLOSE_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001  (it is given up in any case)
            log.debug("the SDK did not shut down cleanly: %r", error)
        for task in self._tasks:
            task.cancel()
        del client
        gc.collect()  # the SDK leaves sockets to the collector

    async def _hand_over(self, client: Any) -> None:
        """Wait until all that the SDK has acknowledged to the hub was handed over: nobody sends it again."""
        if self._tasks:
            inbox = client._inbox_manager.get_c2d_message_inbox()
            while not inbox.empty():
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)  # the last one is on its way from the SDK's loop to ours
            await self._received.join()


def explain(error: BaseException, credential: Credential) -> HubError:  # noqa: PLR0911  (one line a cause)
    """What the SDK raised, as what to do next. The SDK wraps the cause; the innermost one is the truth."""
    chain = _chain(error)
    host = credential.address
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return HubUntrusted(
                f"{host} is not trusted: {cause.verify_message}; for a private CA set device.ca_file "
                "(or MASTHEAD_CA_FILE); else check this machine's clock"
            )
        if isinstance(cause, OSError) and type(cause).__name__ == "gaierror":
            return HubUnavailable(
                f"the name {host} cannot be resolved: check the network, its DNS and the host name"
            )
        if isinstance(cause, ConnectionRefusedError):
            return HubUnavailable(f"nobody listens at {host}:8883: is the hub running, is the port open?")
        if isinstance(cause, OSError) and cause.errno is not None and not isinstance(cause, ssl.SSLError):
            return HubUnavailable(f"{host} cannot be reached: {cause.strerror or cause}")
    names = {type(cause).__name__ for cause in chain}
    if names & {"CredentialError", "UnauthorizedError"}:
        return HubRefused(
            f"{host} refused device {credential.device_id!r}: wrong key, unknown or disabled device, "
            "or this machine's clock is wrong (the token carries it)"
        )
    if isinstance(error, HubError):
        return error
    return HubUnavailable(f"connection to {host} lost ({type(error).__name__}: {error})".rstrip(": )") + ")")


def _chain(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain
