"""Microsoft's own service library against the HTTPS port, as an independent client.

It has port 443 hard-coded, and there are builds of what it needs for few machines only.
"""

from __future__ import annotations

import base64
import json
import struct
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.localhub.hub import LocalHub
from agent.localhub.thread import HubThread

from .client import RawClient, publish, subscribe
from .rest_client import host_with_443

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    service = pytest.importorskip(
        "azure.iot.hub", reason="azure-iot-hub is for x86-64 only", exc_type=ImportError
    )
    models = pytest.importorskip("azure.iot.hub.models", exc_type=ImportError)
    errors = pytest.importorskip("msrest.exceptions", exc_type=ImportError)

KEYS = [base64.b64encode(letter * 32).decode() for letter in (b"p", b"s")]

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    thread = HubThread(LocalHub(tmp_path / "hub", host_with_443(), port=0, https_port=443))
    thread.start()
    try:
        yield thread.hub
    finally:
        thread.stop()


@pytest.fixture
def registry(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Microsoft's registry manager, which trusts the hub's authority."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(hub.ca_file))
    return service.IoTHubRegistryManager.from_connection_string(hub.service_connection_string)


def status_of(call: Any, *arguments: Any) -> int:
    """The status with which it is refused."""
    with pytest.raises(errors.HttpOperationError) as refused:
        call(*arguments)
    return int(refused.value.response.status_code)


def test_devices(registry: Any, hub: LocalHub) -> None:
    """Created with keys and with thumbprints, read, changed, listed, counted and deleted."""
    created = registry.create_device_with_sas("mast-1", KEYS[0], KEYS[1], "enabled", False, "new")
    assert (created.device_id, created.status, created.status_reason) == ("mast-1", "enabled", "new")
    assert created.authentication.symmetric_key.primary_key == KEYS[0]
    assert (created.connection_state, created.last_activity_time.year) == ("Disconnected", 1)
    assert registry.get_device("mast-1").etag == created.etag
    x509 = registry.create_device_with_x509("mast-2", "A" * 40, "B" * 64, "enabled")
    assert (x509.authentication.type, x509.authentication.symmetric_key.primary_key) == ("selfSigned", None)
    generated = registry.create_device_with_sas("mast-3", None, None, "enabled")
    assert len(base64.b64decode(generated.authentication.symmetric_key.secondary_key)) == 32

    changed = registry.update_device_with_sas("mast-1", created.etag, KEYS[1], KEYS[0], "disabled")
    assert (changed.status, changed.status_updated_time.year > 2000) == ("disabled", True)
    assert status_of(registry.update_device_with_sas, "mast-1", created.etag, *KEYS, "enabled") == 412
    assert status_of(registry.create_device_with_sas, "mast-1", *KEYS, "enabled") == 409
    assert registry.update_device_with_sas("mast-1", None, *KEYS, "enabled").status == "enabled"

    assert [device.device_id for device in registry.get_devices()] == ["mast-1", "mast-2", "mast-3"]
    assert [device.device_id for device in registry.get_devices(2)] == ["mast-1", "mast-2"]
    counted = registry.get_device_registry_statistics()
    assert (counted.total_device_count, counted.disabled_device_count) == (3, 0)
    assert registry.get_service_statistics().connected_device_count == 0

    assert status_of(registry.delete_device, "mast-3", "other") == 412
    registry.delete_device("mast-3", generated.etag)
    registry.delete_device("mast-2")
    assert status_of(registry.get_device, "mast-2") == 404
    assert [status.device.device_id for status in hub.devices()] == ["mast-1"]


def test_twins_and_queries(registry: Any, hub: LocalHub) -> None:
    """Read, merged, replaced with and without an ETag, and found in pages."""
    for number in range(1, 4):
        hub.create_device(f"mast-{number}")
    hub.store.twins.report("mast-1", {"version": "1.0"})
    twin = registry.get_twin("mast-1")
    assert twin.properties.reported["version"] == "1.0"
    patch = models.Twin(
        tags={"place": "ridge"}, properties=models.TwinProperties(desired={"x": 1, "y": {"z": 2}})
    )
    merged = registry.update_twin("mast-1", patch, twin.etag)
    assert (merged.tags, merged.properties.desired["y"]) == ({"place": "ridge"}, {"z": 2})
    assert status_of(registry.update_twin, "mast-1", patch, twin.etag) == 412
    replacement = models.Twin(tags={}, properties=models.TwinProperties(desired={"x": 2}))
    replaced = registry.replace_twin("mast-1", replacement)
    assert (replaced.tags, "y" in replaced.properties.desired) == ({}, False)

    query = models.QuerySpecification(query="SELECT * FROM devices")
    first = registry.query_iot_hub(query, None, 2)
    assert (first.type, [twin.device_id for twin in first.items]) == ("Twin", ["mast-1", "mast-2"])
    second = registry.query_iot_hub(query, first.continuation_token, 2)
    assert ([twin.device_id for twin in second.items], second.continuation_token) == (["mast-3"], None)
    assert status_of(registry.query_iot_hub, models.QuerySpecification(query="SELECT 1")) == 400


def test_methods(registry: Any, hub: LocalHub) -> None:
    """A device's answer comes back; one that is offline is 404, and a time-out below 5 s is 400."""
    hub.create_device("mast-1")
    call = models.CloudToDeviceMethod(method_name="ping", payload={"x": 1}, response_timeout_in_seconds=5)
    assert status_of(registry.invoke_device_method, "mast-1", call) == 404
    short = models.CloudToDeviceMethod(method_name="ping", response_timeout_in_seconds=4)
    assert status_of(registry.invoke_device_method, "mast-1", short) == 400
    with RawClient(hub) as client:
        client.login()
        client.send(subscribe(1, ("$iothub/methods/POST/#", 1)))
        client.receive()
        results: list[Any] = []
        caller = threading.Thread(
            target=lambda: results.append(registry.invoke_device_method("mast-1", call))
        )
        caller.start()
        called = client.message()
        assert json.loads(called.body) == {"x": 1}
        rid = called.topic.rpartition("/?$rid=")[2]
        client.send(publish(f"$iothub/methods/res/201/?$rid={rid}", b'{"y": [2]}'))
        assert client.receive() == (0x40, struct.pack("!H", 1))
        caller.join(20)
    assert [(result.status, result.payload) for result in results] == [(201, {"y": [2]})]


def test_feedback(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its other client takes feedback, and completes nothing."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(hub.ca_file))
    hub.create_device("mast-1")
    runtime = service.IoTHubHttpRuntimeManager.from_connection_string(hub.service_connection_string)
    assert runtime.receive_feedback_notification() is None
    hub.send_c2d("mast-1", b"x", message_id="m", ack="full")
    protocol = runtime.protocol.cloud_to_device_messages
    purged = protocol.purge_cloud_to_device_message_queue("mast-1")
    assert (purged.total_messages_purged, purged.device_id) == (1, "mast-1")
    taken = protocol.receive_feedback_notification(raw=True).response
    token = taken.headers["ETag"].strip('"')
    assert taken.json()[0]["originalMessageId"] == "m"
    protocol.abandon_feedback_notification(token)
    token = protocol.receive_feedback_notification(raw=True).response.headers["ETag"].strip('"')
    protocol.complete_feedback_notification(token)
    assert protocol.receive_feedback_notification(raw=True).response.status_code == 204


def test_policies(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy ``service`` reads twins and cannot create devices."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(hub.ca_file))
    hub.create_device("mast-1")
    key = hub.store.registry.policy_key("service")
    text = f"HostName={hub.host};SharedAccessKeyName=service;SharedAccessKey={key}"
    registry = service.IoTHubRegistryManager.from_connection_string(text)
    assert registry.get_twin("mast-1").device_id == "mast-1"
    assert status_of(registry.create_device_with_sas, "mast-2", *KEYS, "enabled") == 401
