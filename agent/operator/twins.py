"""Device twins and direct methods, by REST.

https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-device-twins
https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-direct-methods
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from .again import Again
from .errors import HubUnavailable
from .rest import Rest

_ABSENT = object()


@dataclass(frozen=True, slots=True)
class MethodAnswer:
    """``status``: the device's, 400 and above for what it has not done. ``payload``: its JSON."""

    status: int
    payload: Any


def get_twin(rest: Rest, device_id: str) -> dict[str, Any]:
    """As the hub describes it. Raises HubRejected, HubUnavailable."""
    path = f"/twins/{quote(device_id, safe='')}"
    return _object(rest.call("GET", path, right="ServiceConnect", device_id=device_id).body)


def set_desired(rest: Rest, device_id: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge into the desired properties (null removes); the twin after it. Raises as ``get_twin``."""
    path, body = f"/twins/{quote(device_id, safe='')}", {"properties": {"desired": changes}}
    reply = rest.call("PATCH", path, right="ServiceConnect", device_id=device_id, body=body, if_match="*")
    return _object(reply.body)


def call_method(
    rest: Rest, device_id: str, name: str, payload: Any, *, timeout_s: int, connect_timeout_s: int
) -> MethodAnswer:
    """``timeout_s``: for the answer, 5 to 300; ``connect_timeout_s``: for the device to connect, 0 to 300.
    Raises HubRejected, HubUnavailable; the status of an answer raises nothing."""
    body = {
        "methodName": name,
        "payload": payload,
        "responseTimeoutInSeconds": timeout_s,
        "connectTimeoutInSeconds": connect_timeout_s,
    }
    reply = rest.call(
        "POST",
        f"/twins/{quote(device_id, safe='')}/methods",
        right="ServiceConnect",
        device_id=device_id,
        body=body,
        timeout_s=timeout_s + connect_timeout_s + 15,
    )
    answer = _object(reply.body)
    try:
        return MethodAnswer(int(answer["status"]), answer.get("payload"))
    except (KeyError, TypeError, ValueError) as error:
        raise HubUnavailable(f"the hub's answer to {name!r} has no status: is it an IoT Hub?") from error


@dataclass(frozen=True, slots=True)
class Change:
    """A value of a twin that is another one now; ``path`` as in ``reported.link.state``. None: absent."""

    path: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.path}: {json.dumps(self.before)} -> {json.dumps(self.after)}"

    def as_json(self) -> dict[str, Any]:
        return {"path": self.path, "before": self.before, "after": self.after}


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """What differs in tags, desired and reported properties; versions and metadata aside."""
    return list(_differences("", parts(before), parts(after)))


def parts(twin: Mapping[str, Any]) -> dict[str, Any]:
    """What people put into a twin: tags, desired and reported properties, without the hub's metadata."""
    properties = twin.get("properties") or {}
    found = {
        "tags": twin.get("tags"),
        "desired": properties.get("desired"),
        "reported": properties.get("reported"),
    }
    return {
        part: {name: value for name, value in (values or {}).items() if name != "$metadata"}
        for part, values in found.items()
    }


def _differences(path: str, before: Any, after: Any) -> Iterator[Change]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in {**before, **after}:
            if not name.startswith("$"):
                inner = f"{path}.{name}" if path else name
                yield from _differences(inner, before.get(name, _ABSENT), after.get(name, _ABSENT))
    elif before is _ABSENT or after is _ABSENT or before != after or type(before) is not type(after):
        yield Change(path, None if before is _ABSENT else before, None if after is _ABSENT else after)


class TwinWatch:
    """What changes in a twin from one look to the next. Thread safety: one thread."""

    def __init__(self, rest: Rest, device_id: str, again: Again) -> None:
        self._rest = rest
        self._device_id = device_id
        self._again = again
        self._twin: dict[str, Any] = {}

    def open(self) -> None:
        """The first look. Raises HubRejected, HubUnavailable."""
        self._twin = get_twin(self._rest, self._device_id)

    def poll(self) -> list[Change]:
        """Look again. Raises HubRejected."""
        before = self._twin
        try:
            self.open()
        except HubUnavailable as error:
            self._again.until_open(error, self.open)
        else:
            self._again.backoff.forget()
        return changes(before, self._twin)


def _object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise HubUnavailable("the hub's answer is no JSON object: is it an IoT Hub?")
    return body
