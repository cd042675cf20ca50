"""The twin of one connected device: what it asks, what it reports, and what it is told.

Invariants:
1. An answer says what is on the disk; a report that breaks a rule changes nothing.
2. Without a subscription nothing is sent; what was reported holds all the same.
3. An answer to GET is never older than a change that the device was told of before.

https://learn.microsoft.com/azure/iot/iot-mqtt-connect-to-iot-hub
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping
from typing import Any

from . import mqtt, topics
from .line import Line
from .notices import NoticeBoard, TwinChanged
from .records import InvalidRequest
from .twins import Twin, TwinStore

OK, NO_CONTENT, BAD_REQUEST = 200, 204, 400


class TwinLink:
    """Thread safety: the hub's event loop only; the disk is waited for in threads."""

    def __init__(self, twins: TwinStore, board: NoticeBoard, device_id: str, line: Line) -> None:
        self._twins = twins
        self._board = board
        self._device_id = device_id
        self._line = line
        self._wants_answers = False
        self._wants_changes = False
        self._told = 0  # the newest version of desired properties that went to the device

    def subscribed(self, filters: Collection[str]) -> None:
        """The device wants what these filters stand for, from now on."""
        self._wants_answers |= topics.TWIN_ANSWERS_FILTER in filters
        self._wants_changes |= topics.TWIN_CHANGES_FILTER in filters

    def unsubscribed(self, filters: Collection[str]) -> None:
        """The device does not want it any more."""
        self._wants_answers &= topics.TWIN_ANSWERS_FILTER not in filters
        self._wants_changes &= topics.TWIN_CHANGES_FILTER not in filters

    def changed(self, changes: Mapping[str, Any], version: int) -> None:
        """The back end has made these changes of desired properties (QoS 0, as IoT Hub tells them)."""
        if self._wants_changes:
            self._told = version
            self._publish(topics.twin_change(version), _json({**changes, "$version": version}))

    async def asked(self, topic: str, body: bytes) -> None:
        """The device has published to a topic of twins.

        Raises ProtocolError for one that is none, UnknownDevice, StoreFailed.
        """
        request = topics.twin_request(topic)
        if request is None:
            raise mqtt.ProtocolError(f"PUBLISH to {topic[:200]!r}, which is no request to a twin")
        kind, request_id = request
        if kind == "get":
            twin = await self._twin()
            content = {"desired": twin.desired.for_device, "reported": twin.reported.for_device}
            self._answer(OK, request_id, _json(content))
            return
        try:
            reported = await asyncio.to_thread(self._twins.report, self._device_id, _parsed(body))
        except InvalidRequest as error:
            self._answer(BAD_REQUEST, request_id, _json({"message": str(error)}))
        else:
            self._board.post(TwinChanged(self._device_id))
            self._answer(NO_CONTENT, request_id, b"", reported.version)

    async def _twin(self) -> Twin:
        twin = await asyncio.to_thread(self._twins.get, self._device_id)
        if twin.desired.version < self._told:  # told of while this was read
            twin = await asyncio.to_thread(self._twins.get, self._device_id)
        return twin

    def _answer(self, status: int, request_id: str, body: bytes, version: int | None = None) -> None:
        if self._wants_answers:
            self._publish(topics.twin_answer(status, request_id, version), body)

    def _publish(self, topic: str, body: bytes) -> None:
        self._line.send("twin", mqtt.publish(topic, body))


def _parsed(body: bytes) -> Any:
    """Raises InvalidRequest."""
    try:
        return json.loads(body.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("reported properties: not JSON") from error


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
