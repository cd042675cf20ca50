"""One connection's packets both ways, and the faults that can be made of them there.

Invariants:
1. Without a fault a packet goes out at once, and all PUBACKs of one commit in one write.
2. PUBACKs go out in the order of their messages, also when faults come and go while some of them wait.
3. A line that is frozen neither hands over nor sends anything any more; it can only end.
4. However much has come, everybody else has a turn after every ``_AT_A_TURN`` packets.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import Callable

from . import mqtt
from .faults import Fault, Faults

_MOST_DELAYED = 10_000
_AT_A_TURN = 16
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s
_AT_ONCE = ("kick", "freeze")

_NAMES: dict[type, str] = {
    mqtt.Connect: "connect",
    mqtt.Publish: "publish",
    mqtt.Puback: "c2d-puback",
    mqtt.Subscribe: "subscribe",
    mqtt.Pingreq: "pingreq",
}


class Line:
    """Thread safety: the hub's event loop only."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        faults: Faults,
        end: Callable[[str], None],
    ) -> None:
        """``end``: ends the connection for the reason given."""
        self.device = ""
        """As the CONNECT says, whether that is believed or not."""
        self._reader = reader
        self._writer = writer
        self._faults = faults
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._frozen_by = ""
        self._accepted_at: float | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._confirmations = _Later(self._loop)
        self._trickle = _Later(self._loop)
        self._read_bytes = 0
        self._received = 0
        self._ending: asyncio.Task[None] | None = None

    async def readexactly(self, count: int) -> bytes:
        """For ``mqtt.read_packet``: as a stream's, and counted."""
        content = await self._reader.readexactly(count)
        self._read_bytes += count
        return content

    async def receive(self, max_length: int) -> mqtt.Packet:
        """The next packet. Raises ProtocolError, OSError and EOFError."""
        self._read_bytes = 0
        self._received += 1
        if self._received % _AT_A_TURN == 0:
            await asyncio.sleep(0)  # to read what has come already is no wait
        packet = await mqtt.read_packet(self, max_length)
        if isinstance(packet, mqtt.Connect) and not self.device:
            self.device = packet.client_id
            self.reconsider()
        if self._faults or self._frozen_by:
            await self._mistreat(_NAMES.get(type(packet), ""))
        return packet

    async def _mistreat(self, name: str) -> None:
        await self.stand_still()
        if self._faults.take("reset", self.device, name):
            self._reset(name)
            raise ConnectionResetError
        if name == "connect" and self._faults.take("no-connack", self.device):
            self.freeze("no-connack")
        if (rate := self._rate()) is not None:
            await self._wait(self._read_bytes / rate)
        await self.stand_still()

    def accepted(self) -> None:
        """The CONNACK has been sent: what is due some time after it is timed from now."""
        self._accepted_at = self._loop.time()
        self.reconsider()

    def reconsider(self, cleared: frozenset[str] = frozenset()) -> None:
        """Faults were set, or those of these names were cleared."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        if self._frozen_by in cleared:
            self._end(f"the fault {self._frozen_by} was cleared")
            return
        for name in _AT_ONCE:
            fault = self._faults.peek(name, self.device)
            if fault is None or not self.device:
                continue
            if fault.value is None:
                self._strike(fault)
            elif self._accepted_at is not None:
                due = self._accepted_at + float(fault.value)
                self._timers[name] = self._loop.call_at(due, self._strike, fault)

    def _strike(self, fault: Fault) -> None:
        if self._frozen_by or self._writer.is_closing() or not self._faults.take(fault.name, self.device):
            return
        if fault.name == "freeze":
            self.freeze("freeze")
        else:
            self._end(f"fault: {fault}")

    def freeze(self, name: str) -> None:
        """From now on nobody is there, for the fault of that name."""
        self._frozen_by = name
        self._confirmations.forget()
        self._trickle.forget()

    async def stand_still(self) -> None:
        """Returns at once, but for a frozen line: that waits for its end and raises EOFError."""
        if self._frozen_by:
            await self._wait(None)

    async def _wait(self, seconds: float | None) -> None:
        """Let time pass. Raises EOFError when the connection ends meanwhile."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._closed())
        if (await asyncio.wait({self._ending}, timeout=seconds))[0]:
            raise EOFError

    async def _closed(self) -> None:
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def stop(self) -> None:
        """The connection is over."""
        for timer in self._timers.values():
            timer.cancel()
        self._confirmations.forget()
        self._trickle.forget()

    def confirm(self, pubacks: list[tuple[bytes, float]]) -> None:
        """Send PUBACKs, each not before its time (of the event loop's clock; 0: at once)."""
        if self._writer.is_closing():
            return
        if not (self._faults or self._frozen_by or self._confirmations):
            self._write(b"".join(packet for packet, _ in pubacks))
            return
        for packet, due in pubacks:
            late = self._faults.take("late-puback", self.device)
            if late is not None and isinstance(late.value, int | float):
                due = max(due, self._loop.time() + late.value)  # noqa: PLW2901
            self._confirmations.at(due, lambda packet=packet: self.send("puback", packet))  # type: ignore[misc]
        if len(self._confirmations) > _MOST_DELAYED:
            self._end(f"{_MOST_DELAYED} confirmations wait")

    def send(self, name: str, packet: bytes) -> None:
        """Send a packet; never raises nor waits (``drain`` does). ``name``: as ``reset`` has it, or not."""
        if not (self._faults or self._frozen_by or self._trickle):
            self._write(packet)
            return
        if self._frozen_by or self._writer.is_closing():
            return
        if self._faults.take("reset", self.device, name):
            self._reset(name)
        elif not (name in ("suback", "puback") and self._faults.take(f"no-{name}", self.device)):
            self._send_slowly(packet)
            if name in ("puback", "c2d") and self._faults.take(f"duplicate-{name}", self.device):
                self._send_slowly(mqtt.repeated(packet))

    async def drain(self) -> None:
        """Wait until the peer has taken enough of what was sent. Raises OSError."""
        await self._writer.drain()

    def _send_slowly(self, packet: bytes) -> None:
        rate = self._rate()
        self._trickle.after(0.0 if rate is None else len(packet) / rate, lambda: self._write(packet))

    def _rate(self) -> float | None:
        fault = self._faults.peek("slow", self.device)
        return None if fault is None or not isinstance(fault.value, int | float) else fault.value

    def _write(self, content: bytes) -> None:
        if content and not self._writer.is_closing():
            self._writer.write(content)

    def _reset(self, name: str) -> None:
        peer = self._writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        self._end(f"fault: reset={name}")


class _Later:
    """Does things at their times, and never one before another that was asked for earlier."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def at(self, due: float, action: Callable[[], None]) -> None:
        """Not before ``due`` (of the loop's clock); now if that is over and nothing waits."""
        if self._waiting:
            due = max(due, self._waiting[-1][0])
        elif due <= self._loop.time():
            action()
            return
        self._waiting.append((due, action))
        if self._timer is None:
            self._timer = self._loop.call_at(due, self._run)

    def after(self, wait_s: float, action: Callable[[], None]) -> None:
        """So long after now, or after the last that waits."""
        now = self._loop.time()
        self.at(max(now, self._waiting[-1][0] if self._waiting else now) + wait_s, action)

    def forget(self) -> None:
        """Do nothing of all that any more."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        self._timer = None
        while self._waiting and self._waiting[0][0] <= self._loop.time():
            self._waiting.popleft()[1]()
        if self._waiting and self._timer is None:
            self._timer = self._loop.call_at(self._waiting[0][0], self._run)
