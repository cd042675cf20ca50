"""The real azure-iot-device SDK over real TLS against the local hub."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.iot.device import IoTHubDeviceClient, Message
from azure.iot.device import exceptions as sdk

from agent.localhub.hub import LocalHub
from agent.localhub.store import Store
from agent.localhub.thread import HubThread
from tests.agent.localhub.client import eventually

pytestmark = [
    pytest.mark.filterwarnings("ignore:ssl.PROTOCOL_TLSv1_2 is deprecated:DeprecationWarning"),
    # paho leaves a pair of sockets to the garbage collector when a client connects a second time
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

HUB = "from agent.cli.hub import hub_command; hub_command()"

SENDER = """
import asyncio, json, pathlib, sys
from azure.iot.device.aio import IoTHubDeviceClient

async def send():
    client = IoTHubDeviceClient.create_from_connection_string(
        sys.argv[1],
        server_verification_cert=pathlib.Path(sys.argv[2]).read_text(),
        connection_retry=False,
        auto_connect=False,
    )
    await client.connect()

    async def one(sequence):
        await client.send_message(json.dumps({"run": "r", "sequence": sequence}))
        print(f"r-{sequence}", flush=True)

    await asyncio.gather(*map(one, range(600)), return_exceptions=True)
    await asyncio.sleep(3600)

asyncio.run(send())
"""


class Inbox:
    """What a client's C2D handler was given."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self._arrived = threading.Semaphore(0)

    def __call__(self, message: Any) -> None:
        self.messages.append(message)
        self._arrived.release()

    def next(self) -> Any:
        assert self._arrived.acquire(timeout=20), "no message came"
        return self.messages[-1]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "hub"


@pytest.fixture
def hub(directory: Path) -> Iterator[LocalHub]:
    thread = HubThread(LocalHub(directory))
    thread.start()
    thread.hub.ensure_device("mast-1")
    yield thread.hub
    thread.stop()


@pytest.fixture
def open_client() -> Iterator[Callable[..., Any]]:
    """Makes clients of the SDK and shuts them down in the end."""
    clients: list[Any] = []

    def make(connection_string: str, ca_file: Path, **options: Any) -> Any:
        options = {"connection_retry": False, "auto_connect": False} | options
        client = IoTHubDeviceClient.create_from_connection_string(
            connection_string, server_verification_cert=ca_file.read_text(), **options
        )
        clients.append(client)
        return client

    yield make
    while clients:
        clients.pop().shutdown()
    gc.collect()  # here, where what it finds is known and tolerated


def test_a_message_arrives_with_all_that_the_sdk_says_of_it(
    hub: LocalHub, open_client: Callable[..., Any]
) -> None:
    """Body, system properties and own properties are stored when send_message returns."""
    client = open_client(hub.device_connection_string("mast-1"), hub.ca_file, product_info="masthead/1.0")
    client.connect()
    body = '[{"run": "aa", "sequence": 1}, {"run": "bb", "sequence": 2}]'
    message = Message(body, message_id="aa-1..bb-2")  # type: ignore[no-untyped-call]
    message.correlation_id = "c/1&x=y"
    message.content_type = "application/json"
    message.content_encoding = "utf-8"
    message.custom_properties = {"site": "north ridge", "größe": "½ & more = all"}
    client.send_message(message)
    [event] = hub.store.events.after()
    assert event.properties == message.custom_properties
    assert {k: v for k, v in event.system.items() if not k.startswith("iothub-")} == {
        "message-id": "aa-1..bb-2",
        "correlation-id": "c/1&x=y",
        "content-type": "application/json",
        "content-encoding": "utf-8",
    }
    assert hub.store.events.object_ids("mast-1") == {"aa-1", "bb-2"}
    assert hub.store.events.object_ids("mast-1", run="bb") == {"bb-2"}


def test_a_command_arrives_with_all_that_was_said_of_it(
    hub: LocalHub, open_client: Callable[..., Any]
) -> None:
    """Body, ids, expiry, ack and properties reach the handler, and the hub notes the delivery."""
    client, inbox = open_client(hub.device_connection_string("mast-1"), hub.ca_file), Inbox()
    client.connect()
    client.on_message_received = inbox
    sent = hub.send_c2d(
        "mast-1",
        b'{"command": "set"}',
        message_id="id/1",
        correlation_id="a&b=c",
        expires_in_s=60,
        ack="full",
        properties={"who": "ann & bob", "größe": "½"},
    )
    message = inbox.next()
    assert (message.data, message.message_id, message.correlation_id, message.ack) == (
        b'{"command": "set"}',
        "id/1",
        "a&b=c",
        "full",
    )
    assert message.custom_properties == {"who": "ann & bob", "größe": "½"}
    assert message.expiry_time_utc.endswith("Z")
    eventually(lambda: _state(hub, sent.sequence) == "delivered")


def test_commands_queued_while_the_device_is_away_come_when_it_is_back(
    hub: LocalHub, open_client: Callable[..., Any]
) -> None:
    """What has expired by then never comes; the rest does."""
    client, inbox = open_client(hub.device_connection_string("mast-1"), hub.ca_file), Inbox()
    client.connect()
    client.on_message_received = inbox
    client.disconnect()
    late = hub.send_c2d("mast-1", b"late", expires_in_s=0.05)
    good = hub.send_c2d("mast-1", b"good")
    eventually(lambda: _state(hub, late.sequence) == "expired")
    client.connect()
    assert inbox.next().data == b"good"
    eventually(lambda: _state(hub, good.sequence) == "delivered")
    assert [m.data for m in inbox.messages] == [b"good"]


def test_a_subscription_outlives_a_restart_of_the_hub(
    directory: Path, open_client: Callable[..., Any]
) -> None:
    """The SDK never subscribes again after a reconnect, and gets its commands all the same."""
    first = HubThread(LocalHub(directory))
    first.start()
    first.hub.ensure_device("mast-1")
    client, inbox = open_client(first.hub.device_connection_string("mast-1"), first.hub.ca_file), Inbox()
    client.connect()
    client.on_message_received = inbox
    address = first.hub.address
    client.disconnect()
    first.stop()
    second = HubThread(LocalHub(directory, address))
    second.start()
    try:
        client.connect()
        second.hub.send_c2d("mast-1", b"after the restart")
        assert inbox.next().data == b"after the restart"
    finally:
        client.disconnect()
        second.stop()


def test_a_twin_is_read_reported_and_changed(hub: LocalHub, open_client: Callable[..., Any]) -> None:
    """What the SDK's three calls for twins do: get_twin, patch_twin_reported_properties, and the handler."""
    client, changes = open_client(hub.device_connection_string("mast-1"), hub.ca_file), Inbox()
    client.connect()
    hub.identities.update_twin("mast-1", tags={"site": "north"}, desired={"interval": 60})
    client.patch_twin_reported_properties({"interval": 60, "größe": {"höhe": "½"}})
    assert client.get_twin() == {
        "desired": {"interval": 60, "$version": 2},
        "reported": {"interval": 60, "größe": {"höhe": "½"}, "$version": 2},
    }
    client.on_twin_desired_properties_patch_received = changes
    hub.identities.update_twin("mast-1", desired={"interval": 10, "mode": None})
    assert changes.next() == {"interval": 10, "mode": None, "$version": 3}
    with pytest.raises(sdk.ClientError) as caught:
        client.patch_twin_reported_properties({"no name": 1})
    assert "400" in str(caught.value.__cause__)
    assert client.get_twin()["reported"]["$version"] == 2


def test_a_deleted_device_is_cut_off_and_refused(hub: LocalHub, open_client: Callable[..., Any]) -> None:
    """Deleted while it is connected: the connection ends, and the next one is refused."""
    text = hub.device_connection_string("mast-1")
    client = open_client(text, hub.ca_file)
    client.connect()
    hub.identities.delete("mast-1")
    eventually(lambda: not client.connected)
    with pytest.raises(sdk.CredentialError):
        open_client(text, hub.ca_file).connect()


@pytest.mark.parametrize("change", ["key", "device", "disabled"])
def test_wrong_credentials_are_refused(hub: LocalHub, open_client: Callable[..., Any], change: str) -> None:
    """A wrong key, an unknown device and a disabled one: the SDK says CredentialError."""
    text = hub.device_connection_string("mast-1")
    if change == "key":
        hub.ensure_device("mast-2")
        text = hub.device_connection_string("mast-2").replace("mast-2", "mast-1")
    elif change == "device":
        text = text.replace("mast-1", "mast-3")
    else:
        hub.set_device_enabled("mast-1", False)
    with pytest.raises(sdk.CredentialError):
        open_client(text, hub.ca_file).connect()


def test_the_secondary_key_is_as_good(hub: LocalHub, open_client: Callable[..., Any]) -> None:
    """Either key of a device lets it in."""
    device = hub.store.registry.get("mast-1")
    text = hub.device_connection_string("mast-1").replace(device.primary_key, device.secondary_key)
    open_client(text, hub.ca_file).connect()


def test_the_sdk_renews_its_token_in_time(hub: LocalHub, open_client: Callable[..., Any]) -> None:
    """With the shortest sensible life a token is renewed by reconnecting, and sending goes on."""
    client = open_client(
        hub.device_connection_string("mast-1"),
        hub.ca_file,
        sastoken_ttl=122,
        connection_retry=True,
        auto_connect=True,
    )
    client.connect()
    first = hub.store.registry.get("mast-1").last_activity_s
    eventually(lambda: hub.store.registry.get("mast-1").last_activity_s != first)
    client.send_message("still here")
    assert [e.body for e in hub.store.events.after()] == [b"still here"]


def test_what_was_acknowledged_survives_kill_9(directory: Path) -> None:
    """Of 600 messages sent at once, each whose send returned is in the store of a hub that was killed."""
    hub, ready = _start_hub(directory, "--device", "mast-1")
    # a process of its own: once the hub is gone, the SDK's sends and shutdown may wait for ever
    sender = subprocess.Popen(
        [sys.executable, "-c", SENDER, ready["devices"]["mast-1"], ready["ca_file"]],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert sender.stdout is not None
    confirmed = {sender.stdout.readline().strip() for _ in range(500)}
    hub.kill()
    hub.communicate()
    sender.kill()
    confirmed |= {line.strip() for line in sender.stdout.read().splitlines(keepends=True) if line[-1] == "\n"}
    sender.communicate()
    store = Store(directory)
    try:
        assert len(confirmed) >= 500
        assert confirmed <= store.events.object_ids("mast-1")
    finally:
        store.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_says_what_to_paste_and_ends_cleanly(directory: Path, number: int) -> None:
    """Its first line is one JSON object, its transitions go to stderr, a signal ends it with exit code 0."""
    hub, ready = _start_hub(directory, "--device", "mast-1", "--device", "mast-2")
    assert set(ready) == {
        "host",
        "connection_string",
        "ca_file",
        "page",
        "page_token",
        "https_port",
        "devices",
        "faults",
    }
    assert set(ready["devices"]) == {"mast-1", "mast-2"}
    assert ready["page"].endswith(ready["page_token"])
    client = IoTHubDeviceClient.create_from_connection_string(
        ready["devices"]["mast-2"], server_verification_cert=Path(ready["ca_file"]).read_text()
    )
    try:
        client.connect()
    finally:
        client.shutdown()
    hub.send_signal(number)
    out, err = hub.communicate(timeout=20)
    assert hub.returncode == 0
    assert out == ""
    assert "mast-2 connected" in err
    assert "Traceback" not in err


def test_the_lines_to_paste_work_in_a_shell(directory: Path) -> None:
    """Without --json it prints the page and exports that a shell understands, whatever the id is."""
    hub = _run_hub("--data", str(directory), "--device", "it's(1)")
    assert hub.stdout is not None
    lines = [hub.stdout.readline() for _ in range(7)]
    hub.terminate()
    hub.communicate(timeout=20)
    script = "".join(line for line in lines if line.startswith("  export "))
    names = "$IOTHUB_CONNECTION_STRING\n$MASTHEAD_CA_FILE\n$IOTHUB_DEVICE_CONNECTION_STRING"
    shown = subprocess.run(
        ["sh", "-c", f'{script}printf "%s" "{names}"'], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert shown[0].startswith("HostName=")
    assert Path(shown[1]).read_text().startswith("-----BEGIN CERTIFICATE")
    assert ";DeviceId=it's(1);" in shown[2]
    assert lines[1].strip().startswith("http://127.0.0.1:")


def test_without_the_extra_it_says_how_to_get_it() -> None:
    """One line with the remedy."""
    code = f"import sys; sys.modules['amqtt'] = None; {HUB}"
    hub = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=_environment(), check=False
    )
    assert hub.returncode == 1
    assert hub.stderr == "Error: amqtt is missing: in a clone, pip install '.[hub]'\n"


def test_the_data_directory_is_one_hubs_only(directory: Path) -> None:
    """A second hub is refused with one line and exit code 1."""
    hub, _ = _start_hub(directory)
    try:
        second = _run_hub("--data", str(directory))
        _, err = second.communicate(timeout=20)
        assert second.returncode == 1
        assert err.strip() == f"Error: another hub uses {directory}"
    finally:
        hub.terminate()
        hub.communicate()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--device", "a/b"], 2, "device id 'a/b'"),
        (["--host", "192.168.1.4"], 1, "only loopback"),
        (["--host", "mast"], 1, "expected localhost or an address"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    directory: Path, arguments: list[str], code: int, message: str
) -> None:
    """Wrong arguments: a line that says what was expected, no traceback."""
    hub = _run_hub("--data", str(directory), *arguments)
    _, err = hub.communicate(timeout=20)
    assert hub.returncode == code
    assert message in err.splitlines()[-1]


def _state(hub: LocalHub, sequence: int) -> str:
    message = hub.store.c2d.get(sequence)
    assert message is not None
    return message.state


def _run_hub(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HUB, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(),
    )


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}


def _start_hub(directory: Path, *arguments: str) -> tuple[subprocess.Popen[str], Any]:
    hub = _run_hub("--data", str(directory), "--json", *arguments)
    assert hub.stdout is not None
    line = hub.stdout.readline()
    if not line:
        pytest.fail(hub.communicate()[1])
    return hub, json.loads(line)
