"""What the back end changes of a device is told to whoever listens."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent.localhub.device_settings import DeviceSettings
from agent.localhub.faults import Faults
from agent.localhub.identities import Identities
from agent.localhub.listener import Listener
from agent.localhub.notices import C2dChanged, DeviceChanged, FaultsChanged, Notice, NoticeBoard, TwinChanged
from agent.localhub.records import DeviceExists, InvalidRequest, PreconditionFailed, UnknownDevice
from agent.localhub.store import Store
from tests.clock import FakeClock


def test_every_change_is_told_once_and_a_refused_one_never(tmp_path: Path) -> None:
    """Devices, twins, and the messages that are purged, by themselves or with their device; in order."""

    async def listen() -> list[Notice]:
        clock = FakeClock()
        store = Store(tmp_path / "hub", clock.wall)
        board = NoticeBoard()
        loop = asyncio.get_running_loop()
        identities = Identities(store, Listener(store, board, Faults(), clock.wall), loop)
        told = board.subscribe()
        identities.create("a")
        with pytest.raises(DeviceExists):
            identities.create("a")
        identities.update("a", DeviceSettings(status_reason="moved"))
        with pytest.raises(PreconditionFailed):
            identities.update("a", DeviceSettings(), "other")
        identities.set_enabled("a", False)
        identities.update_twin("a", tags={"place": "ridge"})
        with pytest.raises(InvalidRequest):
            identities.update_twin("a", desired=[])
        for name in ("first", "second"):
            store.c2d.add("a", b"x", message_id=name)
        assert identities.purge("a") == 2
        assert identities.purge("a") == 0
        store.c2d.add("a", b"x", message_id="third")
        with pytest.raises(PreconditionFailed):
            identities.delete("a", "other")
        identities.delete("a")
        for change in (identities.delete, identities.purge):
            with pytest.raises(UnknownDevice):
                change("a")
        loop.call_soon(board.post, FaultsChanged())
        notices: list[Notice] = []
        while (notice := await told.get()) != FaultsChanged():
            notices.append(notice)
        told.close()
        store.close()
        return notices

    notices = asyncio.run(listen())
    assert [n for n in notices if not isinstance(n, C2dChanged)] == [
        DeviceChanged("a"),
        DeviceChanged("a"),
        DeviceChanged("a"),
        TwinChanged("a"),
        DeviceChanged("a"),
    ]
    purged = [n.message for n in notices if isinstance(n, C2dChanged)]
    assert [(m.message_id, m.state) for m in purged] == [(m, "purged") for m in ("first", "second", "third")]
    assert notices[-1] == DeviceChanged("a")
