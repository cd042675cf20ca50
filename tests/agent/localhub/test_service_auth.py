"""Who may use the service side."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from agent.localhub.auth import BadCredentials, NotAuthorized
from agent.localhub.registry import POLICIES
from agent.localhub.service_auth import RIGHTS, LacksRight, Right, ServiceAuthenticator, demand
from agent.localhub.store import Store
from tests.clock import FakeClock

HOUR_S = 3600


class Door:
    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.store = Store(folder)
        self.authenticator = ServiceAuthenticator(
            self.store.registry, {"localhost", "127.0.0.1"}, self.clock.wall
        )

    def key(self, policy: str) -> str:
        key = self.store.registry.policy_key(policy)
        assert key is not None
        return key

    def token(
        self,
        scope: str = "localhost",
        policy: str | None = "service",
        *,
        signed: str | None = None,
        secret: bytes | None = None,
        life_s: float = HOUR_S,
    ) -> str:
        """``scope``: as it is in the token; ``signed``: as it is signed, if otherwise."""
        expires = str(int(self.clock.wall() + life_s))
        secret = secret or base64.b64decode(self.key(policy or "service"))
        digest = hmac.digest(secret, f"{signed or scope}\n{expires}".encode(), "sha256")
        name = f"&skn={policy}" if policy else ""
        signature = quote(base64.b64encode(digest), safe="")
        return f"SharedAccessSignature sr={scope}&sig={signature}&se={expires}{name}"


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    door = Door(tmp_path)
    yield door
    door.store.close()


@pytest.mark.parametrize(
    "scope",
    [
        "localhost",
        "127.0.0.1",
        "LocalHost",
        "localhost:8443",
        "localhost%2Fdevices",
        "sb%3A%2F%2Flocalhost%2Fmessages%2Fevents",
        "amqps://localhost:5671/messages",
        "https%3a%2f%2flocalhost",
        "localhost/",
    ],
)
def test_every_way_of_calling_the_hub_is_taken(door: Door, scope: str) -> None:
    """Quoted or not, with a port, a scheme or a path; the answer is the policy and until when."""
    assert door.authenticator.admit(door.token(scope))[:2] == ("service", int(door.clock.wall() + HOUR_S))


def test_every_way_of_signing_is_taken(door: Door) -> None:
    """The scope quoted or not, the key decoded or not."""
    for signed in ("localhost/messages", "localhost%2Fmessages"):
        for secret in (base64.b64decode(door.key("service")), door.key("service").encode()):
            for scope in ("localhost%2Fmessages", "localhost/messages"):
                assert door.authenticator.admit(door.token(scope, signed=signed, secret=secret))


def test_the_policy_may_be_named_outside(door: Door) -> None:
    """As SASL PLAIN does; without any name nobody is let in."""
    assert door.authenticator.admit(door.token(policy=None), "service")[0] == "service"
    with pytest.raises(NotAuthorized, match="names no policy"):
        door.authenticator.admit(door.token(policy=None))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scope": "example.com"}, "scope is 'example.com', another hub's"),
        ({"scope": "localhost.example.com"}, "another hub's"),
        ({"scope": ""}, "another hub's"),
        ({"policy": "nobody", "secret": b"x"}, "no policy 'nobody': there are iothubowner"),
        ({"secret": b"x" * 32}, "not signed with the key of policy 'service'"),
        ({"signed": "localhost2"}, "not signed with the key"),
        ({"life_s": 0}, "expired 0 s ago"),
        ({"life_s": -90}, "expired 90 s ago"),
        ({"scope": "\udcff"}, "another hub's"),
    ],
)
def test_what_is_wrong_is_said(door: Door, options: dict[str, object], words: str) -> None:
    """Each kind of wrong token."""
    if options.get("scope") == "\udcff":
        text = door.token().replace("sr=localhost", "sr=\udcff")
    else:
        text = door.token(**options)  # type: ignore[arg-type]
    with pytest.raises(NotAuthorized, match=words):
        door.authenticator.admit(text)


def test_surrogates_are_no_signature(door: Door) -> None:
    """Bytes that are no UTF-8, as HTTP headers carry them, are refused like any other."""
    text = door.token().replace("sr=localhost", "sr=localhost/\udcff")
    with pytest.raises(NotAuthorized, match="not signed"):
        door.authenticator.admit(text)
    with pytest.raises(NotAuthorized, match="not the key"):
        door.authenticator.admit_key("service", "\udcff")


@pytest.mark.parametrize(
    "text", ["", "Bearer x", "SharedAccessSignature", "SharedAccessSignature sr=localhost"]
)
def test_what_is_no_token_is_bad(door: Door, text: str) -> None:
    """It cannot even be read."""
    with pytest.raises(BadCredentials):
        door.authenticator.admit(text)


@pytest.mark.parametrize(
    ("scope", "resource", "admitted"),
    [
        ("localhost", "/devices/mast-1", True),
        ("localhost/", "/devices/mast-1", True),
        ("localhost/devices", "/devices", True),
        ("localhost/devices", "/devices/mast-1", True),
        ("localhost/devices/MAST-1", "/devices/mast-1", True),
        ("localhost/devices", "/devices2", False),
        ("localhost/devices/mast-1", "/devices/mast-10", False),
        ("localhost/devices/mast-1", "/devices", False),
        ("localhost/devices/mast-1", "/twins/mast-1", False),
    ],
)
def test_a_scope_is_for_what_is_below_it(door: Door, scope: str, resource: str, admitted: bool) -> None:
    """By whole segments, in any case of letters."""
    token = door.token(quote(scope, safe=""))
    if admitted:
        assert door.authenticator.admit(token, resource=resource)
        return
    with pytest.raises(NotAuthorized, match="which is not for"):
        door.authenticator.admit(token, resource=resource)


def test_a_raw_key_is_as_good(door: Door) -> None:
    """The key itself in place of a token, and nothing else."""
    assert door.authenticator.admit_key("device", door.key("device")) == "device"
    for policy, key in (("device", door.key("service")), ("nobody", "x"), ("device", "")):
        with pytest.raises(NotAuthorized):
            door.authenticator.admit_key(policy, key)


def test_policies_have_azures_rights() -> None:
    """``service`` cannot create devices, ``device`` can do nothing here; the refusal says who could."""
    assert tuple(RIGHTS) == POLICIES
    demand("iothubowner", Right.REGISTRY_WRITE)
    demand("service", Right.SERVICE_CONNECT)
    with pytest.raises(LacksRight, match="'service' lacks the right RegistryWrite, which iothubowner, "):
        demand("service", Right.REGISTRY_WRITE)
    for right in set(Right) - {Right.DEVICE_CONNECT}:
        with pytest.raises(LacksRight):
            demand("device", right)
    with pytest.raises(LacksRight):
        demand("nobody", Right.DEVICE_CONNECT)
