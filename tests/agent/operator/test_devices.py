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
    """Answers with ``body``, or with one page after the other of (body, continuation)."""

    def __init__(self, body: object, *more: tuple[object, str | None]) -> None:
        self._pages: list[tuple[object, str | None]] = [*more] or [(body, None)]
        self.asked: list[object] = []

    def call(self, *_arguments: object, continuation: str | None = None, **_options: object) -> Reply:
        self.asked.append(continuation)
        body, following = self._pages[min(len(self.asked), len(self._pages)) - 1]
        return Reply(body, {"x-ms-continuation": following} if following else {})


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
            devices.listed()
        with pytest.raises(HubUnavailable, match="is it an IoT Hub"):
            devices.found()


def test_what_is_found_is_asked_for_page_by_page() -> None:
    """Until there is no continuation; an empty page is not the last, and the same one twice is no hub's."""
    one, two = ({"deviceId": name, "status": "enabled", "authenticationType": "sas"} for name in "ab")
    rest = FakeRest(None, ([two], "1"), ([], "2"), ([one], None))
    found = Devices(ACCESS, rest).found()  # type: ignore[arg-type]
    assert ([device.device_id for device in found], rest.asked) == (["a", "b"], [None, "1", "2"])
    rest = FakeRest(None, ([one], "1"))
    with pytest.raises(HubUnavailable, match="the same page again"):
        Devices(ACCESS, rest).found()  # type: ignore[arg-type]


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
