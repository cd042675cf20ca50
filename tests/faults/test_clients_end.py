"""Clients of the SDK whose connection went in ways that neither the SDK nor paho expects."""

from __future__ import annotations

import errno
import gc
import ssl
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.iot.device import IoTHubDeviceClient
from azure.iot.device.common.alarm import Alarm
from paho.mqtt.client import MQTT_ERR_CONN_LOST

from agent.cloud import Failure, HubError
from agent.cloud.azure import AzureHubClient, HubOptions
from agent.cloud.credentials import parse
from agent.cloud.sdk import on_pipeline_thread
from agent.localhub.hub import LocalHub
from agent.localhub.thread import HubThread
from agent.reading import Message
from hw.clock import SystemClock
from tests.e2e.harness import free_host

TIMEOUT_S = 10.0


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    """A hub that is well."""
    thread = HubThread(LocalHub(tmp_path_factory.mktemp("hub"), free_host()))
    thread.start()
    thread.hub.ensure_device("mast-1")
    yield thread.hub
    thread.stop()


def client(text: str, ca_file: Path) -> AzureHubClient:
    options = HubOptions(ca_pem=ca_file.read_text(), keep_alive_s=1)
    return AzureHubClient(parse(text, "test"), options, SystemClock(), lambda _: None, lambda _: None)


BROKEN = {
    "timed out": lambda: TimeoutError(errno.ETIMEDOUT, "Connection timed out"),  # TCP gave up sending again
    "no route": lambda: OSError(errno.EHOSTUNREACH, "No route to host"),
    "no network": lambda: OSError(errno.ENETUNREACH, "Network is unreachable"),
    "end of file": lambda: ssl.SSLEOFError(8, "EOF occurred in violation of protocol"),  # TLS had not said so
}


@pytest.mark.parametrize("where", ["send", "recv"])
@pytest.mark.parametrize("error", BROKEN)
def test_a_socket_that_breaks_is_a_lost_connection(
    hub: LocalHub, error: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a read or a write on the socket fails with, the client is down at once and can be closed."""
    one = client(hub.device_connection_string("mast-1"), hub.ca_file)
    one.connect().result(TIMEOUT_S)
    paho = one._transport._mqtt_client
    reader, told = paho._thread, threading.Event()

    def broken(*_: Any) -> None:
        raise BROKEN[error]()

    try:
        with monkeypatch.context() as patch:
            patch.setattr(ssl.SSLSocket, where, broken)
            sending = one.send(Message(b"{}", "m-1"))
            reader.join(TIMEOUT_S)
        on_pipeline_thread(told.set)  # behind what paho's thread had to tell
        assert told.wait(TIMEOUT_S)
        assert not one.connected
        with pytest.raises(HubError) as caught:
            sending.result(TIMEOUT_S)
        assert caught.value.failure is Failure.LOST
    finally:
        if one.connected:  # else nothing would ever end it
            paho.on_disconnect(paho, None, MQTT_ERR_CONN_LOST)
        one.close().result(TIMEOUT_S)


def test_an_error_keeps_no_client(hub: LocalHub) -> None:
    """Whoever remembers why a connection failed does not hold what is left of it."""
    good = hub.device_connection_string("mast-1")
    one = client(good.rsplit("SharedAccessKey=", 1)[0] + "SharedAccessKey=d3Jvbmc=", hub.ca_file)
    error = one.connect().exception(TIMEOUT_S)
    one.close().result(TIMEOUT_S)
    left = weakref.ref(one)
    del one
    gc.collect()
    assert isinstance(error, HubError)
    assert left() is None


def test_a_client_that_is_closed_while_it_is_made(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making one may take long, for the SDK has one thread for all: nothing is left of what came too late."""
    made, closed = threading.Event(), threading.Event()
    make = IoTHubDeviceClient.create_from_connection_string

    def slowly(*arguments: Any, **others: Any) -> Any:
        client = make(*arguments, **others)
        made.set()
        closed.wait(TIMEOUT_S)
        return client

    monkeypatch.setattr(IoTHubDeviceClient, "create_from_connection_string", slowly)
    one = client(hub.device_connection_string("mast-1"), hub.ca_file)
    connecting = one.connect()
    assert made.wait(TIMEOUT_S)
    [renewal] = [thread for thread in threading.enumerate() if isinstance(thread, Alarm)]
    try:
        one.close().result(TIMEOUT_S)
        closed.set()
        with pytest.raises(HubError):
            connecting.result(TIMEOUT_S)
        assert renewal.finished.is_set()
    finally:
        renewal.cancel()
