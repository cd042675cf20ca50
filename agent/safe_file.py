"""What the exit program needs to know when we cannot run: the file ``safe`` in $RUNTIME_DIRECTORY.

deploy/safe-outputs reads it after the agent has ended, however it did, and drives each line in it to its safe
level. A line of text for each line of a gpiochip:

    # masthead-safe 1: chip, line, safe level, actuator
    /dev/gpiochip0 23 1 heater

1. A line stands in the file before an actuator claims it.
2. The file is whole at any time: what is there is replaced in one step.
3. A line has one level. Where two actuators disagree about it neither is believed, and it is left out.
4. What cannot be written is told, and keeps nothing from working.

$RUNTIME_DIRECTORY is memory, and gone after a power cut: nothing here waits for a disk.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from hw.actuator import SafeLine

log = logging.getLogger(__name__)

NAME = "safe"
HEADER = "# masthead-safe 1: chip, line, safe level, actuator"
"""The first line of the file. Another version of what follows has another number."""

Lines = Mapping[str, Iterable[SafeLine]]


class SafeFile:
    """The file of the process that holds the state lock; nobody else may write it. One thread at a time."""

    def __init__(self, directory: Path) -> None:
        """``directory``: where the file is to be; it exists."""
        self._path = directory / NAME
        self._lines: dict[str, tuple[SafeLine, ...]] = {}
        self._told: set[tuple[str, int]] = set()

    @classmethod
    def of_service(cls) -> SafeFile | None:
        """The one in $RUNTIME_DIRECTORY; None without it, for then there is no exit program either."""
        given = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
        return cls(Path(given)) if given else None

    def write(self, lines: Lines) -> None:
        """``lines`` of each actuator, by its name, in the place of all that stood there."""
        self._lines = {name: tuple(lines_) for name, lines_ in lines.items()}
        self._store()

    def add(self, name: str, lines: Iterable[SafeLine]) -> None:
        """The lines of one actuator more, or other ones of an actuator that is known."""
        added = tuple(lines)
        if self._lines.get(name, ()) != added:
            self._lines[name] = added
            self._store()

    def _store(self) -> None:
        new = self._path.with_suffix(".new")
        try:
            new.write_text("\n".join([HEADER, *self._rows(), ""]), encoding="utf-8")
            new.replace(self._path)
        except OSError as error:
            log.error(
                "%s cannot be written (%s): what drives actuators safe after a crash will not know of %s",
                self._path,
                error.strerror,
                ", ".join(self._lines) or "their end",
            )

    def _rows(self) -> Iterator[str]:
        levels: dict[tuple[str, int], tuple[bool, str]] = {}
        disputed: dict[tuple[str, int], str] = {}
        for name, lines in self._lines.items():
            for line in lines:
                place = line.path, line.offset
                level, first = levels.setdefault(place, (line.level, name))
                if level != line.level:
                    disputed.setdefault(place, f"{first} and {name}")
        for (path, offset), (level, name) in levels.items():
            if (path, offset) not in disputed:
                yield f"{path} {offset} {int(level)} {' '.join(name.split())}"
        for place in disputed.keys() - self._told:
            self._told.add(place)
            log.error(
                "line %d of %s is not driven safe after a crash: %s disagree about its safe level",
                place[1],
                place[0],
                disputed[place],
            )
