"""Keys and thumbprints that are given, and what a hub describes."""

from __future__ import annotations

import base64

import pytest

from agent.operator.access import Access
from agent.operator.devices import Devices, key_of, thumbprint_of
from agent.operator.errors import BadMessage, HubUnavailable
from agent.operator.rest import Reply

ACCESS = Access("hub", "iothubowner", "AAAA")


class FakeRest:
    def __init__(self, body: object) -> None:
        self._body = body

    def call(self, *_arguments: object, **_options: object) -> Reply:
        return Reply(self._body, {})


def test_a_key_is_base64_of_16_to_64_bytes() -> None:
    """As Azure takes them; the key is in no error."""
    for size in (16, 32, 64):
        key = base64.b64encode(bytes(size)).decode()
        assert key_of(f" {key}\n") == key
    for wrong in ("", "hunter2!", base64.b64encode(bytes(15)).decode(), base64.b64encode(bytes(65)).decode()):
        with pytest.raises(BadMessage) as error:
            key_of(wrong)
        assert not wrong or wrong not in str(error.value)


def test_a_thumbprint_is_taken_as_openssl_prints_it() -> None:
    """With colons or without, SHA-1 or SHA-256."""
    assert thumbprint_of(":".join(["aB"] * 20)) == "AB" * 20
    assert thumbprint_of("0f" * 32) == "0F" * 32
    for wrong in ("", "zz" * 20, "ab" * 21):
        with pytest.raises(BadMessage, match="openssl x509 -noout -fingerprint"):
            thumbprint_of(wrong)


@pytest.mark.parametrize(
    "body", [None, 7, [], {}, {"deviceId": "x"}, {"deviceId": "x", "status": "enabled", "authentication": 7}]
)
def test_an_answer_that_describes_no_device_is_an_error(body: object) -> None:
    """Of whoever answered: it may be no hub at all."""
    devices = Devices(ACCESS, FakeRest(body))  # type: ignore[arg-type]
    with pytest.raises(HubUnavailable, match="is it an IoT Hub"):
        devices.get("x")
    if body != []:
        with pytest.raises(HubUnavailable, match="is it an IoT Hub"):
            devices.all()


def test_what_a_hub_leaves_out_has_a_meaning() -> None:
    """As Azure writes it for a device that never connected."""
    described = {
        "deviceId": "x",
        "status": "enabled",
        "authentication": {"symmetricKey": {"primaryKey": "K"}},
    }
    device = Devices(ACCESS, FakeRest(described)).get("x")  # type: ignore[arg-type]
    assert device.as_json() == {
        "deviceId": "x",
        "primaryKey": "K",
        "secondaryKey": None,
        "connectionString": "HostName=hub;DeviceId=x;SharedAccessKey=K",
        "status": "enabled",
        "connectionState": "Disconnected",
        "lastActivityTime": "0001-01-01T00:00:00Z",
        "cloudToDeviceMessageCount": 0,
        "isManaged": False,
        "authMethod": "sas",
    }
    assert not {"primaryKey", "secondaryKey", "connectionString"} & device.as_json(keys=False).keys()
