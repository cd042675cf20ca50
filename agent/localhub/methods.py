"""Direct methods: calls to one connected device, their answers, and what became of the last of them.

Invariants:
1. A call ends once: with its own answer, at its time-out, or at once with the connection it was made on.
2. An answer that nobody waits for changes nothing, on whichever connection it comes.
3. Without a subscription nothing is sent.

Limits: https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-direct-methods; the length of a name:
MethodRequestValidator.cs of https://github.com/Azure/iotedge.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import replace

from . import mqtt, topics
from .line import Line
from .notices import MethodChanged, NoticeBoard
from .records import DeviceOffline, InvalidRequest, MethodCall, MethodResult, MethodState, MethodTimeout

MIN_TIMEOUT_S = 5.0
MAX_TIMEOUT_S = 300.0
MAX_BYTES = 131_072
MAX_NAME = 100
KEPT_CALLS = 100

_NAME = re.compile(r"[A-Za-z0-9!#%&'*+\-.^_`|~]+")


def check_call(name: str, payload: bytes, timeout_s: float) -> None:
    """Raises InvalidRequest for what IoT Hub would refuse."""
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"method name {name[:60]!r}: expected 1 to {MAX_NAME} of A-Z a-z 0-9 ! # % & ' * + - . ^ _ ` | ~"
        )
    if len(payload) > MAX_BYTES:
        raise InvalidRequest(f"payload of {len(payload)} bytes, at most {MAX_BYTES}")
    if not _is_json(payload):
        raise InvalidRequest("the payload is not JSON")
    if not MIN_TIMEOUT_S <= timeout_s <= MAX_TIMEOUT_S:
        raise InvalidRequest(f"time-out {timeout_s:g} s: expected {MIN_TIMEOUT_S:g} to {MAX_TIMEOUT_S:g}")


def payload_bytes(content: object) -> bytes:
    """A payload as it goes to the device: JSON in UTF-8, in which only lone surrogates are escaped."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace")


class Methods:
    """The calls on one connection. Thread safety: the hub's event loop only."""

    def __init__(self, device_id: str, line: Line) -> None:
        self._device_id = device_id
        self._line = line
        self._subscribed = False
        self._waiting: dict[str, asyncio.Future[MethodResult]] = {}

    def subscribed(self, wanted: bool) -> None:
        """The device wants calls, or no longer. It may still answer those that it has."""
        self._subscribed = wanted

    def end(self) -> None:
        """The connection is over."""
        self._subscribed = False
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(DeviceOffline(f"{self._device_id!r} disconnected and has not answered"))

    async def call(self, name: str, payload: bytes, timeout_s: float) -> MethodResult:
        """Call the device (QoS 0, as IoT Hub does) and wait. Raises DeviceOffline, MethodTimeout."""
        # never the same again: a device may repeat an answer on its next connection
        request_id = secrets.token_hex(8)
        answer: asyncio.Future[MethodResult] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_s):
                await self._line.drain()  # first: what a device does not read stays bounded
                if not self._subscribed:
                    raise DeviceOffline(f"{self._device_id!r} is not subscribed to methods")
                self._waiting[request_id] = answer
                self._line.send("method", mqtt.publish(topics.method(name, request_id), payload))
                return await answer
        except TimeoutError as error:
            raise MethodTimeout(f"{self._device_id!r} has not answered within {timeout_s:g} s") from error
        except OSError as error:
            raise DeviceOffline(f"{self._device_id!r} disconnected before it was called") from error
        finally:
            self._waiting.pop(request_id, None)

    def answered(self, topic: str, payload: bytes) -> None:
        """The device has published to a topic of answers. Raises ProtocolError if it is no answer."""
        parts = topics.method_answer(topic)
        if parts is None:
            raise mqtt.ProtocolError(f"PUBLISH to {topic[:200]!r}, which is no answer to a method")
        if len(payload) > MAX_BYTES:
            raise mqtt.ProtocolError(f"a method's answer of {len(payload)} bytes, at most {MAX_BYTES}")
        if payload and not _is_json(payload):
            raise mqtt.ProtocolError("a method's answer that is not JSON")
        status, request_id = parts
        answer = self._waiting.get(request_id)
        if answer is not None and not answer.done():
            answer.set_result(MethodResult(status, payload))


class CallLog:
    """The last calls of all devices, in memory: whoever starts a hub again starts a new log.

    Thread safety: the hub's event loop only, but for ``latest``: any thread.
    """

    def __init__(self, board: NoticeBoard, now: Callable[[], float]) -> None:
        self._board = board
        self._now = now
        self._number = 0
        self._calls: dict[int, MethodCall] = {}

    def begin(self, device_id: str, name: str, payload: bytes) -> int:
        """A call is made; returns its number."""
        self._number += 1
        now_s = self._now()
        self._put(MethodCall(self._number, device_id, name, payload, now_s, "called", now_s, None))
        if len(self._calls) > KEPT_CALLS:
            del self._calls[next(iter(self._calls))]
        return self._number

    def settle(self, number: int, state: MethodState, result: MethodResult | None) -> None:
        """The call of that number is over."""
        call = self._calls.get(number)
        if call is not None:
            self._put(replace(call, state=state, state_s=self._now(), result=result))

    def latest(self, device_id: str) -> list[MethodCall]:
        """The last calls to the device, oldest first."""
        return [call for call in self._calls.copy().values() if call.device_id == device_id]

    def _put(self, call: MethodCall) -> None:
        self._calls[call.number] = call
        self._board.post(MethodChanged(call))


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
