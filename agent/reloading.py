"""The configuration read anew, by SIGHUP and by `masthead reload`.

Invariants, each with a test of its name in tests/agent/test_reloading.py:

 1. kept       a file that cannot be used, or a time when a stop would lose readings, changes nothing but what
               the agent says of itself.
 2. gapless    a reload stores what is half measured, under the next sequence number; nothing is lost.
 3. safe       every actuator is driven safe before it is let go of, and again by the next run.
 4. back       where the new configuration does not start, the old one runs again.
 5. alone      nobody else gets hold of the state directory between two runs, and whoever asks the agent then
               is told to try again (tenure.py).
 6. afresh     a run that lost its command journal makes way for one that opens it again, by the same
               configuration: at first after a minute, then ever more seldom, for it may not help.

A reload is a whole stop and a whole start in one process: no part is ever in between two configurations.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from hw.errors import HardwareError

from . import service
from .config import Config, ConfigError, load
from .outbox_file import StoreUnreadable
from .redact import redact
from .state import StateError
from .stopping import StopRequest
from .tenure import Tenure

log = logging.getLogger(__name__)

_PATIENCE_S = 60.0
_MOST_PATIENCE_S = 86_400.0


class Reloads:
    """What became of the configuration's file since the process began. Thread safety: any thread."""

    def __init__(self) -> None:
        self.refused: str | None = None
        """Why what the file says now is not what the agent goes by; None while it does."""
        self._patience_s = _PATIENCE_S

    def take_afresh(self, age_s: float, *, has_journal: bool, degraded: str | None) -> bool:
        """Whether a run of this age is to make way for another by the same configuration.

        After each that is, the next has to be four times as old.
        """
        if has_journal:
            self._patience_s = _PATIENCE_S
            return False
        if degraded is not None or age_s < self._patience_s:
            return False
        self._patience_s = min(4 * self._patience_s, _MOST_PATIENCE_S)
        return True

    def reread(self, used: Config, degraded: str | None) -> Config | None:
        """What the file of ``used`` says now; None if the agent stays with what it has.

        ``degraded``: why readings are in memory only, if they are.
        """
        try:
            if used.path is None:
                raise ConfigError("this agent's configuration is in no file")
            found = load(used.path)
            if found.state_directory != used.state_directory:
                raise ConfigError(f"{used.path}: device.state_directory: another one takes a restart")
            if degraded is not None:
                raise ConfigError(f"readings are in memory only ({degraded}), a reload would lose them")
        except Exception as error:  # noqa: BLE001  (nothing that stands in a file ends the agent)
            self.refuse(error)
            return None
        self.refused = None
        return found

    def refuse(self, error: Exception) -> None:
        """The agent stays with what it has."""
        expected = isinstance(error, (ConfigError, StateError, StoreUnreadable, HardwareError))
        first, *more = (str(error) if expected else f"{type(error).__name__}: {error}").splitlines()
        self.refused = redact(first) + (f" (and {len(more)} more: masthead check)" if more else "")
        log.error(
            "the configuration is not taken, the agent runs on with what it had: %s",
            self.refused,
            exc_info=None if expected else error,
            extra=service.event("reload-refused"),
        )

    def told(self, used: Config) -> dict[str, Any]:
        """For the status."""
        return {"file": None if used.path is None else str(used.path), "refused": self.refused}


class Run(Protocol):
    """A run of the agent (agent/daemon.py)."""

    following: Config | None

    def start(self) -> None: ...

    def serve(self) -> int: ...


NewRun = Callable[[Config, Reloads, Tenure], Run]


def run_all(config: Config, new_run: NewRun, stopping: StopRequest) -> int:
    """One run after the other, the first by ``config``, until ``stopping`` is set; the last one's exit code.

    Raises what the first does at its start, and what an old configuration does that does not start again.
    """
    reloads, tenure = Reloads(), Tenure()

    def started(config: Config) -> Run:
        run = new_run(config, reloads, tenure)
        run.start()
        return run

    try:
        run = started(config)
        while True:
            code = run.serve()
            following = run.following
            if following is None or stopping.is_set() or code != 0:
                return code
            if following is not config:
                log.info("the configuration is read anew: %s", following.path, extra=service.event("reload"))
            try:
                run = started(following)
                config = following
            except Exception as error:  # noqa: BLE001  (whatever it is, the old one is to go on)
                reloads.refuse(error)
                run = started(config)
    finally:
        tenure.end()
