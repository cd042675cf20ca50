"""MQTT connections: their port with TLS, one connection a device, and the clock that lets messages expire."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from typing import Any

from .auth import Authenticator
from .ca import ServerFiles
from .certificates import server_context
from .connection import Connection
from .faults import Faults
from .limits import Limits
from .notices import C2dChanged, DeviceConnected, DeviceDisconnected, FaultsChanged, NoticeBoard
from .records import C2dMessage, DeviceOffline, HubError, MethodResult, StoreFailed
from .store import Store
from .storing import Storing

_HANDSHAKE_WITHIN_S = 10.0
_SUBSCRIBES_WITHIN_S = 0.5  # a device that has come, for a call that waits for it
_RECHECK_S = 60.0  # the wall clock may be set meanwhile

logger = logging.getLogger(__name__)


class Listener:
    """Thread safety: the hub's event loop only, but for ``connected`` and ``since_s``: any thread."""

    def __init__(
        self,
        store: Store,
        board: NoticeBoard,
        faults: Faults,
        now: Callable[[], float],
    ) -> None:
        """``now``: the hub's clock, Unix seconds."""
        self.store = store
        self.faults = faults
        self.now = now
        self.limits = Limits(faults, now)
        self.authenticator = Authenticator(store.registry, (), now)
        self.board = board
        self.storing = Storing(store.events, board)
        self._open: set[Connection] = set()
        self._of_device: dict[str, Connection] = {}
        self._entering: dict[str, Connection] = {}
        self._since: dict[str, float] = {}
        self._came = asyncio.Event()
        self._queued = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False
        self._stopping = False
        self._server: asyncio.Server | None = None

    async def start(self, address: IPv4Address, port: int, files: ServerFiles) -> int:
        """Listen; returns the port. Raises OSError if it is taken."""
        self.authenticator = Authenticator(self.store.registry, {"localhost", str(address)}, self.now)
        self._server = await asyncio.start_server(
            self.serve,
            str(address),
            port,
            ssl=server_context(files, address, self.faults, ask_for_certificate=True),
            ssl_handshake_timeout=_HANDSHAKE_WITHIN_S,
            ssl_shutdown_timeout=1.0,
        )
        self._tasks = [asyncio.create_task(self.storing.run()), asyncio.create_task(self._expire())]
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close every connection; what has arrived is stored when this returns."""
        if self._server is None:
            return
        self._server.close()
        self._closing = True
        for connection in list(self._open):
            connection.close("the hub stopped")
        await asyncio.gather(*(connection.finished.wait() for connection in list(self._open)))
        self.storing.close()
        self._stopping = True
        self._queued.set()
        await asyncio.gather(*self._tasks)

    def connected(self) -> frozenset[str]:
        """The ids of the devices that are connected now."""
        return frozenset(self._of_device.copy())

    def strangers(self) -> int:
        """How many connections there are on which nobody has logged in yet."""
        return sum(not connection.device_id for connection in self._open)

    def since_s(self, device_id: str) -> float | None:
        """Since when the device is connected or not (Unix seconds); None: before this hub was started."""
        return self._since.get(device_id)

    def queued(self, message: C2dMessage) -> None:
        """A message to a device was added to the store."""
        self.board.post(C2dChanged(message))
        self._queued.set()
        if message.device_id in self._of_device:
            self._of_device[message.device_id].wake()

    def desired_changed(self, device_id: str, changes: Mapping[str, Any], version: int) -> None:
        """The back end has made these changes of the device's desired properties, which have that version
        now."""
        if device_id in self._of_device:
            self._of_device[device_id].desired_changed(changes, version)

    async def call(
        self, device_id: str, name: str, payload: bytes, timeout_s: float, connect_within_s: float = 0.0
    ) -> MethodResult:
        """Call a direct method of the device, which may take so long to connect. Raises DeviceOffline,
        MethodTimeout."""
        if connect_within_s:
            await self._wait_for(device_id, connect_within_s)
        connection = self._of_device.get(device_id)
        if connection is None:
            raise DeviceOffline(f"{device_id!r} is not connected")
        return await connection.call(name, payload, timeout_s)

    async def _wait_for(self, device_id: str, within_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while device_id not in self._of_device:
                    await self._came.wait()
            age_s = max(self.now() - self._since[device_id], 0.0)
            await asyncio.sleep(_SUBSCRIBES_WITHIN_S - age_s)

    def drop(self, device_id: str | None, reason: str) -> None:
        """Close the connection of the device, or of all (None), where there is one; also one that is being
        let in."""
        for connection in list(self._open):
            if connection.device_id and device_id in (None, connection.device_id):
                connection.close(reason)

    def faults_changed(self, cleared: frozenset[str]) -> None:
        """Faults were set, or those of these names were cleared."""
        for connection in list(self._open):
            connection.faults_changed(cleared)
        self._queued.set()  # the hub's clock may be another
        self.board.post(FaultsChanged())

    async def enter(self, connection: Connection) -> None:
        """Make this the one connection of its device; an older one is over when this returns. Raises
        ConnectionAbortedError if a newer one came meanwhile."""
        self._entering[connection.device_id] = connection
        while (older := self._of_device.get(connection.device_id)) is not None:
            older.close("taken over by a new connection")
            await older.finished.wait()
            if self._entering.get(connection.device_id) is not connection:
                raise ConnectionAbortedError("taken over by a newer connection")
        del self._entering[connection.device_id]
        self._of_device[connection.device_id] = connection
        self._since[connection.device_id] = self.now()
        self._came.set()
        self._came.clear()
        logger.info("%s connected", connection.device_id)
        self.board.post(DeviceConnected(connection.device_id))

    def leave(self, connection: Connection) -> None:
        """The connection, once entered, is over."""
        del self._of_device[connection.device_id]
        self._since[connection.device_id] = self.now()
        self._queued.set()
        logger.info("%s disconnected: %.300s", connection.device_id, connection.reason)
        self.board.post(DeviceDisconnected(connection.device_id, connection.reason))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a peer until either side has enough, on whatever carries its bytes."""
        if self._closing:
            writer.transport.abort()
            return
        connection = Connection(self, reader, writer)
        self._open.add(connection)
        try:
            await connection.run()
        except HubError as error:
            logger.warning("refused a connection: %.300s", error)
        finally:
            self._open.discard(connection)

    async def _expire(self) -> None:
        """Give messages their final state when their time is up, whether their device is here or not."""
        while not self._stopping:
            self._queued.clear()
            try:
                wait_s = await self._settle()
            except StoreFailed as error:
                logger.error("%s", error)
                wait_s = _RECHECK_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._queued.wait()

    async def _settle(self) -> float:
        """Settle what is overdue; returns in how many seconds to look again."""
        for message in await asyncio.to_thread(self.store.c2d.settle_overdue):
            logger.info("message %s to %s: %s", message.sequence, message.device_id, message.state)
            self.board.post(C2dChanged(message))
        next_s = await asyncio.to_thread(self.store.c2d.next_expiry_s)
        left_s = _RECHECK_S if next_s is None else next_s - self.now()
        # what is overdue still is in flight, and waits for its answer or the end of its lock
        return min(left_s + 0.001, _RECHECK_S) if left_s > 0 else 1.0


def is_taken(error: OSError) -> bool:
    """Whether a port could not be had because someone has it, or this machine lacks the address."""
    return error.errno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL)
