"""A hub with its page, in this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from agent.localhub.hub import LocalHub
from agent.localhub.page import PageServer, start_page
from tests.e2e.browser import WAIT_S


class Site:
    """A hub with its page on an event loop of its own thread."""

    def __init__(self, directory: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="site")
        self._thread.start()
        self.hub = LocalHub(directory)
        self.run(self.hub.start())
        self.page: PageServer = self.run(start_page(self.hub, 0))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_S)

    def restart_page(self) -> None:
        port = int(self.page.address.rsplit(":", 1)[1].strip("/"))
        self.run(self.page.stop())
        self.page = self.run(start_page(self.hub, port))

    def close(self) -> None:
        self.run(self.page.stop())
        self.run(self.hub.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
