"""A hub on a thread of its own, for programs that have no event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from .hub import LocalHub

_Result = TypeVar("_Result")


class HubThread:
    """Runs a hub, and its page if wanted, until stopped.

    Thread safety: any thread; ``hub`` is for calls that may come from any thread (see there).
    """

    def __init__(self, hub: LocalHub, page: bool = False) -> None:
        self.hub = hub
        self.page_url: str | None = None
        self._page = page
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="local-hub", daemon=True)

    def start(self) -> None:
        """Returns when the hub listens. Raises what kept it from that (HubError, OSError)."""
        self._thread.start()
        self._started.result()

    def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """What a coroutine of the hub (``call_method``, say) returns or raises. Not on the hub's thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def stop(self) -> None:
        """End the hub and wait for it. May be called twice."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # carried to the caller of start
            if self._started.done():
                raise
            self._started.set_exception(error)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        await self.hub.start()
        try:
            page = None
            if self._page:
                from .page import start_page

                page = await start_page(self.hub)
                self.page_url = page.url
            self._started.set_result(None)
            await self._stop.wait()
            if page is not None:
                await page.stop()
        finally:
            await self.hub.stop()
