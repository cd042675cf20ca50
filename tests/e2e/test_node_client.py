"""Microsoft's service library for Node.js against the local hub, over TLS: another client entirely.

It is installed once into ``tests/e2e/node/node_modules``, as its package-lock.json has it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from azure.iot.device import IoTHubDeviceClient

from agent.localhub.hub import LocalHub
from agent.localhub.records import UnknownDevice
from agent.localhub.thread import HubThread
from tests.agent.localhub.rest_client import host_with_443

from .harness import wait_for

FOLDER = Path(__file__).with_name("node")
LOCK = FOLDER / "package-lock.json"
INSTALLED = FOLDER / "node_modules" / "installed.json"


def missing(what: str) -> NoReturn:
    """Skips; but fails in CI, which is to have everything."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="module")
def node() -> str:
    """Node.js, the library beside the scripts that it is to run."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        missing("no node or no npm: apt install nodejs npm")
    if not INSTALLED.exists() or INSTALLED.read_bytes() != LOCK.read_bytes():
        install = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
        done = subprocess.run(install, cwd=FOLDER, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode != 0:
            missing(f"npm ci failed: is its registry to be reached? {done.stderr[-500:]}")
        shutil.copyfile(LOCK, INSTALLED)
    return node


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    """On the ports that the library has hard-coded: 443 and 5671."""
    try:
        host = host_with_443()
    except pytest.skip.Exception as error:
        missing(str(error))
    thread = HubThread(LocalHub(tmp_path / "hub", host))
    thread.start()
    yield thread.hub
    thread.stop()


def run(node: str, script: str, hub: LocalHub, policy: str) -> list[tuple[str, Any]]:
    """What a script tells of its steps, in order."""
    key = hub.store.registry.policy_key(policy)
    done = subprocess.run(
        [node, script, f"HostName={hub.host};SharedAccessKeyName={policy};SharedAccessKey={key}"],
        cwd=FOLDER,
        env={**os.environ, "NODE_EXTRA_CA_CERTS": str(hub.ca_file)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [(told["step"], told["result"]) for told in map(json.loads, done.stdout.splitlines())]


def test_the_registry(node: str, hub: LocalHub) -> None:
    """Devices are made, read, listed, changed and deleted; what is there twice or not at all is an error."""
    hub.ensure_device("mast-1")
    told = dict(run(node, "registry.js", hub, "registryReadWrite"))
    [device] = [device for device in hub.store.registry.all() if device.device_id != "mast-1"]
    assert told["create"]["deviceId"] == device.device_id == "node-1"
    keys = {"primaryKey": device.primary_key, "secondaryKey": device.secondary_key}
    for step, status in (("create", "enabled"), ("get", "enabled"), ("update", "disabled")):
        assert told[step]["authentication"]["symmetricKey"] == keys
        assert told[step]["status"] == status
    assert told["get"]["etag"] == told["create"]["etag"]
    assert told["update"]["etag"] == device.etag != told["create"]["etag"]
    assert (device.enabled, device.status_reason) == (False, "rest")
    assert told["list"] == ["mast-1", "node-1", "node-2"]
    assert told["create again"] == "DeviceAlreadyExistsError"
    assert told["get what is deleted"] == "DeviceNotFoundError"
    with pytest.raises(UnknownDevice):
        hub.store.registry.get("node-2")


def test_messages_and_their_feedback(node: str, hub: LocalHub) -> None:
    """A real device takes one, another expires: both have their feedback, and nobody has none."""
    hub.ensure_device("mast-1")
    hub.ensure_device("mast-2")
    taken: list[Any] = []
    device = IoTHubDeviceClient.create_from_connection_string(
        hub.device_connection_string("mast-1"), server_verification_cert=hub.ca_file.read_text()
    )
    device.on_message_received = taken.append
    try:
        device.connect()
        told = run(node, "messages.js", hub, "service")
        wait_for(lambda: taken, "the message at the device")
    finally:
        device.shutdown()

    assert [result for step, result in told if step == "send"] == ["node-1", "node-2"]
    assert ("send to nobody", "DeviceNotFoundError") in told
    records = {result["originalMessageId"]: result for step, result in told if step == "feedback"}
    assert {name: record["statusCode"] for name, record in records.items()} == {
        "node-1": "Success",
        "node-2": "Expired",
    }
    assert records["node-1"]["deviceId"] == "mast-1"
    generation = hub.store.registry.get("mast-2").generation_id
    assert records["node-2"]["deviceGenerationId"] == generation
    assert hub.store.feedback.take() is None  # the library has settled it

    [message] = taken
    assert (message.data, message.message_id, message.correlation_id) == (b"hello", "node-1", "correlation_1")
    assert (message.content_type, message.custom_properties) == ("text/plain", {"site": "north ridge"})
    stored = {m.message_id: m for name in ("mast-1", "mast-2") for m in hub.store.c2d.latest(name)}
    assert {name: (m.device_id, m.state) for name, m in stored.items()} == {
        "node-1": ("mast-1", "delivered"),
        "node-2": ("mast-2", "expired"),
    }
    assert stored["node-1"].ack == "full"
