"""Who may use the hub's service side: shared access policies and their rights.

https://learn.microsoft.com/azure/iot-hub/authenticate-authorize-sas
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
import re
import time
from collections.abc import Callable, Collection
from enum import Enum
from typing import NamedTuple
from urllib.parse import quote, unquote

from .auth import NotAuthorized, Token
from .registry import Registry


class Right(Enum):
    """What a policy may allow, as Azure spells it."""

    REGISTRY_READ = "RegistryRead"
    REGISTRY_WRITE = "RegistryWrite"
    SERVICE_CONNECT = "ServiceConnect"
    DEVICE_CONNECT = "DeviceConnect"


RIGHTS: dict[str, frozenset[Right]] = {
    "iothubowner": frozenset(Right),
    "service": frozenset({Right.SERVICE_CONNECT}),
    "device": frozenset({Right.DEVICE_CONNECT}),
    "registryRead": frozenset({Right.REGISTRY_READ}),
    "registryReadWrite": frozenset({Right.REGISTRY_READ, Right.REGISTRY_WRITE}),
}
"""The policies that every hub is created with."""


_SCHEME = re.compile(r"\A(?:sb|amqps|https)://", re.IGNORECASE)


class Proof(NamedTuple):
    """What a signature proves: a policy, until when (Unix seconds), and at or below which path; "" is all of
    the hub."""

    policy: str
    until_s: float
    path: str


class LacksRight(Exception):
    """The policy is known and does not allow this. The text names it and the right."""


class ServiceAuthenticator:
    """Thread safety: any thread; may wait for the disk."""

    def __init__(
        self, registry: Registry, host_names: Collection[str], now: Callable[[], float] = time.time
    ) -> None:
        """``host_names``: by which a signature may call this hub, without a port."""
        self._registry = registry
        self._host_names = frozenset(name.lower() for name in host_names)
        self._now = now

    def admit(self, token: str, policy: str | None = None, resource: str | None = None) -> Proof:
        """What a shared access signature proves.

        ``policy``: the one that was named outside the token, where that is so. ``resource``: the path that is
        asked for, which the token's scope must be or be above; None for any. Clients sign a scope that is
        quoted or not, with a key that is decoded from base64 or not: all four are right. Raises NotAuthorized
        and BadCredentials (of auth.py) with the reason.
        """
        parsed = Token.parse(token)
        name = parsed.policy or policy
        if name is None:
            raise NotAuthorized("the token names no policy (skn)")
        key = self._key(name)
        path = self.path_of(parsed.scope)
        if resource is not None and not is_below(resource, path):
            scope = unquote(parsed.scope)
            raise NotAuthorized(f"the token's scope is {scope[:120]!r}, which is not for {resource[:120]!r}")
        if not _is_signed_with(parsed, key):
            raise NotAuthorized(f"the token is not signed with the key of policy {name!r}")
        overdue_s = self._now() - parsed.expires_s
        if overdue_s >= 0:
            raise NotAuthorized(f"the token expired {overdue_s:.0f} s ago")
        return Proof(name, float(parsed.expires_s), path)

    def path_of(self, resource: str) -> str:
        """What of this hub a scope or an audience names: ``sb://host:port/path``, quoted or not; scheme, port
        and path may be missing. Raises NotAuthorized if it is another hub's."""
        plain = unquote(resource)
        host, _, path = _SCHEME.sub("", plain).lower().partition("/")
        if host.partition(":")[0] not in self._host_names:
            raise NotAuthorized(f"the token's scope is {plain[:120]!r}, another hub's")
        return path.strip("/")

    def admit_key(self, policy: str, key: str) -> str:
        """The policy whose raw key this is. Raises NotAuthorized."""
        if not hmac.compare_digest(self._key(policy).encode(), key.encode(errors="replace")):
            raise NotAuthorized(f"that is not the key of policy {policy!r}")
        return policy

    def _key(self, policy: str) -> str:
        key = self._registry.policy_key(policy)
        if key is None:
            raise NotAuthorized(f"no policy {policy[:64]!r}: there are {', '.join(RIGHTS)}")
        return key


def demand(policy: str, right: Right) -> None:
    """Raises LacksRight unless ``policy`` has ``right``."""
    if right not in RIGHTS.get(policy, frozenset()):
        able = ", ".join(name for name, rights in RIGHTS.items() if right in rights)
        raise LacksRight(f"policy {policy!r} lacks the right {right.value}, which {able} have")


def is_below(resource: str, path: str) -> bool:
    """Whether a resource of a hub is at or below a path of it, by whole segments, in any case of letters."""
    above = path.strip("/").lower()
    return not above or f"{resource.strip('/').lower()}/".startswith(f"{above}/")


def _is_signed_with(token: Token, key: str) -> bool:
    plain = unquote(token.scope)
    scopes = {token.scope, plain, quote(plain, safe="", errors="replace")}
    keys = [key.encode()]
    with contextlib.suppress(binascii.Error):
        keys.append(base64.b64decode(key, validate=True))
    found = False
    for scope in scopes:
        for secret in keys:
            expected = hmac.digest(secret, f"{scope}\n{token.expires}".encode(errors="replace"), "sha256")
            found |= hmac.compare_digest(expected, token.signature)
    return found
