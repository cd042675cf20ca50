"""The threads of a run's workers, as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hw.clock import Clock

from .worker import Worker, WorkerThread


class Threads:
    """Thread safety: any thread."""

    def __init__(self, workers: Sequence[Worker], clock: Clock, on_death: Callable[[str], None]) -> None:
        """``on_death`` is told the name of a worker that failed."""
        self._threads = [WorkerThread(worker, clock, on_death) for worker in workers]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def of(self, worker: Worker) -> WorkerThread:
        """This worker's."""
        return next(thread for thread in self._threads if thread.worker is worker)

    def stuck(self, now: float) -> list[str]:
        """The names of the workers that do not keep the bound of their step, or ended."""
        return [thread.worker.name for thread in self._threads if not thread.healthy(now)]
