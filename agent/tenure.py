"""What a process keeps from its first run to its last: its state directory, and where it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .control import ControlServer, Handler
from .state import StateLock


class Tenure:
    """The lock on a state directory, and the control socket. Whoever makes it ends it. One thread."""

    def __init__(self) -> None:
        self.follows = False
        """Whether there was a run before."""
        self._lock: StateLock | None = None
        self._control: ControlServer | None = None

    def begin(self, directory: Path) -> None:
        """A run is to begin on ``directory``, which stays the same from run to run. Raises StateError."""
        self._lock = self._lock or StateLock(directory)
        self._control = self._control or ControlServer(directory)

    def answer(self, handlers: Mapping[str, Handler]) -> None:
        """The run can be asked (see ControlServer)."""
        if self._control is not None:
            self._control.start(handlers)

    def fall_silent(self) -> None:
        """The run ends: whoever asks is told to try again."""
        if self._control is not None:
            self._control.pause()

    def hand_over(self) -> None:
        """The run has ended, and another is to follow."""
        self.follows = True

    def end(self) -> None:
        """There is no next run. May be called twice."""
        if self._control is not None:
            self._control.stop()
            self._control = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None
