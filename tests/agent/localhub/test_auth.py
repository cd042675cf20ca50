"""Shared access signatures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.localhub.auth import Authenticator, BadCredentials, NotAuthorized
from agent.localhub.store import Store
from tests.clock import FakeClock

from .client import token

USERNAME = "localhost/mast-1/?api-version=2021-04-12&DeviceClientType=x"


class Door:
    """An authenticator with one device, and tokens for it."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store, self.clock = store, clock
        self.device = store.registry.ensure("mast-1")
        self.authenticator = Authenticator(store.registry, {"localhost", "127.0.0.2"}, clock.wall)

    def token(
        self,
        scope: str = "localhost/devices/mast-1",
        key: str | None = None,
        life_s: float = 60,
        policy: str | None = None,
    ) -> str:
        return token(key or self.device.primary_key, scope, self.clock.wall() + life_s, policy)

    def refusal(self, password: str | None, username: str = USERNAME, client_id: str = "mast-1") -> str:
        with pytest.raises((NotAuthorized, BadCredentials)) as caught:
            self.authenticator.admit(client_id, username, password)
        return f"{caught.type.__name__}: {caught.value}"


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    store = Store(tmp_path)
    yield Door(store, FakeClock())
    store.close()


@pytest.mark.parametrize(
    "scope", ["localhost/devices/mast-1", "LocalHost/devices/mast-1", "127.0.0.2/devices/mast-1", "localhost"]
)
def test_a_scope_that_covers_the_device_admits(door: Door, scope: str) -> None:
    """Either name of the host, in any case, or the whole hub; until the token ends."""
    admission = door.authenticator.admit("mast-1", USERNAME, door.token(scope))
    assert (admission.device, admission.expires_s) == (door.device, int(door.clock.wall() + 60))


def test_a_policy_that_may_connect_devices_admits(door: Door) -> None:
    """iothubowner and device do; service, whose key is as good, does not."""
    for name, good in (("iothubowner", True), ("device", True), ("service", False)):
        password = door.token("localhost", door.store.registry.policy_key(name), policy=name)
        if good:
            assert (
                door.authenticator.admit("mast-1", USERNAME, password)
                .system["iothub-connection-auth-method"]
                .startswith('{"scope": "hub"')
            )
        else:
            assert "another key" in door.refusal(password)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"scope": "localhost/devices/mast-2"}, "the token's scope is 'localhost/devices/mast-2'"),
        ({"scope": "localhost/devices/mast-11"}, "scope"),
        ({"scope": "localhost/devices/mast"}, "scope"),
        ({"scope": "elsewhere.net/devices/mast-1"}, "scope"),
        ({"scope": "localhost/devices/mast-1/x"}, "scope"),
        ({"scope": "localhost/devices/MAST-1"}, "scope"),
        ({"scope": ""}, "scope"),
        ({"key": "YWJj"}, "signed with another key"),
        ({"life_s": 0}, "expired 0 s ago"),
        ({"life_s": -90}, "expired 90 s ago"),
        ({"policy": "nobody"}, "another key"),
    ],
)
def test_a_wrong_token_is_refused_with_the_reason(door: Door, arguments: dict[str, str], reason: str) -> None:
    """Scope, key and expiry are each checked."""
    assert re.match(f"NotAuthorized: 'mast-1': .*{reason}", door.refusal(door.token(**arguments)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("username", "client_id", "reason"),
    [
        ("localhost/mast-1", "mast-1", "BadCredentials: user name"),
        ("localhost//?api-version=1", "mast-1", "BadCredentials: user name"),
        ("", "mast-1", "BadCredentials: user name"),
        ("other/mast-1/?api-version=1", "mast-1", "NotAuthorized: user name 'other/mast-1/"),
        (USERNAME, "mast-2", "NotAuthorized: client id 'mast-2' is not the device id 'mast-1'"),
        ("localhost/mast-2/?api-version=1", "mast-2", "NotAuthorized: no device 'mast-2'"),
    ],
)
def test_a_wrong_name_is_refused_with_the_reason(
    door: Door, username: str, client_id: str, reason: str
) -> None:
    """The user name is host, device and api-version, and the client id is the device's."""
    assert door.refusal(door.token(), username, client_id).startswith(reason)


@pytest.mark.parametrize(
    "password",
    [
        None,
        "",
        "secret",
        "SharedAccessSignature ",
        "SharedAccessSignature sr=a&sig=b",
        "SharedAccessSignature sr=a&sig=*&se=1",
        "SharedAccessSignature sr=a&sig=YWJj&se=soon",
        "SharedAccessSignature sr=a&sig=YWJj&se=-1",
        "SharedAccessSignature sr=a&sig=YWJj&se=²",
        "Bearer sr=a&sig=YWJj&se=1",
    ],
)
def test_a_password_that_is_no_token_is_named_so(door: Door, password: str | None) -> None:
    """Nothing that cannot be read is compared with a key."""
    assert door.refusal(password) == "BadCredentials: the password is no shared access signature"


def test_a_disabled_device_is_refused(door: Door) -> None:
    """However good its token is."""
    door.store.registry.set_enabled("mast-1", False)
    assert door.refusal(door.token()) == "NotAuthorized: 'mast-1' is disabled"
