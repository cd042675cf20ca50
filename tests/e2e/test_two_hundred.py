"""Two hundred devices at once on one hub: each tells, is told, and nothing is lost."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

import pytest
from azure.iot.device import IoTHubDeviceClient

from agent.operator.amqp import Sender
from agent.operator.devices import Credential, Devices
from agent.operator.messages import C2dMessage
from agent.operator.rest import Rest
from tests.agent.localhub.client import subscribe

from .harness import Hub, Process, running_hub, wait_for
from .remote import Device, access, environment

COUNT = 200
AT_ONCE = 16


class Client(Protocol):
    """A device that is connected and listens."""

    def say(self, body: bytes) -> None:
        """Send telemetry; returns when it is confirmed."""
        ...

    def heard(self) -> tuple[list[bytes], list[int]]:
        """The messages that came, and the values of ``n`` that the twin was given."""
        ...

    def close(self) -> None: ...


class Bare:
    """A connection and no more."""

    def __init__(self, hub: Hub, device_id: str, key: str) -> None:
        self._device = Device(hub, device_id, key)
        self._device._socket.settimeout(60)
        self._messages: list[bytes] = []
        self._values: list[int] = []
        self._confirmed = 0
        filters = (f"devices/{device_id}/messages/devicebound/#", "$iothub/twin/PATCH/properties/desired/#")
        self._device.send(subscribe(1, *((topic, 1) for topic in filters)))
        assert self._device.receive() == (0x90, b"\0\1\1\1")

    def say(self, body: bytes) -> None:
        self._device.tell(body)
        while not self._confirmed:
            self._take()

    def heard(self) -> tuple[list[bytes], list[int]]:
        while not (self._messages and self._values):
            self._take()
        self._device.ping()
        return self._messages, self._values

    def _take(self) -> None:
        first, body = self._device.receive()
        if first >> 4 == 4:
            self._confirmed += 1
            return
        assert first >> 4 == 3, (first, body)
        size = int.from_bytes(body[:2], "big")
        topic, rest = body[2 : 2 + size].decode(), body[2 + size :]
        if first & 6:
            self._device.send(b"\x40\2" + rest[:2])
            rest = rest[2:]
        if topic.startswith("$iothub/twin/"):
            self._values.append(json.loads(rest)["n"])
        else:
            self._messages.append(rest)

    def close(self) -> None:
        self._device.__exit__()


class Sdk:
    """Microsoft's client."""

    def __init__(self, hub: Hub, device_id: str, key: str) -> None:
        self._messages: list[bytes] = []
        self._values: list[int] = []
        self._client = IoTHubDeviceClient.create_from_connection_string(
            f"HostName={hub.ready['host']};DeviceId={device_id};SharedAccessKey={key}",
            server_verification_cert=Path(hub.ready["ca_file"]).read_text(),
            connection_retry=False,
        )
        self._client.connect()
        self._client.on_message_received = lambda message: self._messages.append(message.data)
        self._client.on_twin_desired_properties_patch_received = lambda patch: self._values.append(patch["n"])

    def say(self, body: bytes) -> None:
        self._client.send_message(body.decode())

    def heard(self) -> tuple[list[bytes], list[int]]:
        wait_for(lambda: self._messages and self._values, "a message and a twin", 60)
        return self._messages, self._values

    def close(self) -> None:
        self._client.shutdown()


@contextmanager
def everybody(hub: Hub, keys: dict[str, str], real: int) -> Iterator[dict[str, Client]]:
    """All of them connected at once, ``real`` of them by the SDK."""
    kinds = {name: Sdk if number < real else Bare for number, name in enumerate(keys)}
    with ThreadPoolExecutor(AT_ONCE) as pool, ExitStack() as stack:

        def connect(name: str) -> Client:
            client: Client = kinds[name](hub, name, keys[name])
            stack.callback(client.close)
            return client

        yield dict(zip(keys, pool.map(connect, keys), strict=True))


def _create(hub: Hub) -> dict[str, str]:
    """Their keys, by id."""
    devices = Devices(access(hub), Rest(access(hub)))
    names = [f"mast-{number:03}" for number in range(COUNT)]
    return {name: str(devices.create(name, Credential()).primary_key) for name in names}


def _send_all(hub: Hub, names: list[str]) -> None:
    """A message to each."""
    sender = Sender(access(hub))
    sender.open()
    for name in names:
        sender.send(C2dMessage(name, f"to {name}".encode(), f"to-{name}", None, {}, 600.0, "none"))
    sender.close()


def _set_all(hub: Hub, names: list[str]) -> None:
    """The twin of each."""
    rest = Rest(access(hub))
    for number, name in enumerate(names):
        body = {"properties": {"desired": {"n": number}}}
        rest.call("PATCH", f"/twins/{name}", right="ServiceConnect", body=body, if_match="*")


def _resident_mb(process: Process) -> float:
    lines = Path(f"/proc/{process.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1000


def _run(folder: Path, real: int) -> None:
    began = time.monotonic()

    def passed() -> str:
        return f"{time.monotonic() - began:.1f} s"

    with running_hub(folder) as hub:
        assert hub.process is not None
        keys = _create(hub)
        said = [f"created after {passed()}"]
        before = _resident_mb(hub.process)
        with Process(folder, "monitor", "--json", environment=environment(hub)) as monitor:
            wait_for(lambda: "reading events" in monitor.err, "the monitor")
            with everybody(hub, keys, real) as clients, ThreadPoolExecutor(AT_ONCE) as pool:
                counted = Rest(access(hub)).call("GET", "/statistics/service", right="RegistryRead").body
                assert counted == {"connectedDeviceCount": COUNT}
                said.append(f"connected after {passed()}")
                list(pool.map(lambda item: item[1].say(f'"from {item[0]}"'.encode()), clients.items()))
                said.append(f"told after {passed()}")
                for done in [pool.submit(work, hub, list(clients)) for work in (_send_all, _set_all)]:
                    done.result()
                heard = dict(
                    zip(clients, pool.map(lambda client: client.heard(), clients.values()), strict=True)
                )
                said.append(f"heard after {passed()}")
                grown = _resident_mb(hub.process) - before
            assert heard == {name: ([f"to {name}".encode()], [number]) for number, name in enumerate(clients)}
            wait_for(lambda: monitor.out.count("\n") >= COUNT, "all events", 60)
            seen = Counter(json.loads(line)["body"] for line in monitor.out.splitlines())
            assert seen == Counter(f"from {name}" for name in clients)
    assert grown < COUNT * 0.5, f"the hub grew by {grown:.0f} MB"
    print(f"{COUNT} devices, {real} of them by the SDK: {', '.join(said)}; the hub grew by {grown:.0f} MB")


def test_two_hundred_devices(tmp_path: Path) -> None:
    """A few by the real SDK: telemetry up, a message and a twin's change down, each once."""
    _run(tmp_path, real=10)


@pytest.mark.long
def test_two_hundred_real_devices(tmp_path: Path) -> None:
    """All by the real SDK."""
    _run(tmp_path, real=COUNT)
