"""An agent that dies by SIGKILL at one step of one command's life, and keeps a list of what it drove.

    python crashing.py STEP DRIVES run --config …

The command is the one with the id ``victim``. STEP is a key of STEPS, or ``none``: then it is the agent as it
is. DRIVES: a file that gets a line for each drive, the process's id and the value.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from agent.cli import main
from agent.commands import executor
from agent.commands.guard import Guard
from agent.commands.journal import Journal
from agent.commands.memory import GuardMemory
from agent.writer import OutboxWriter
from hw.simulated.pins import SimulatedActuator

VICTIM = "victim"
FIRST = 1
"""Its number in the journal: nothing else comes before it."""

Is = Callable[..., bool]


def _is_named(_: object, command_id: str | None, *__: object) -> bool:
    return command_id == VICTIM


def _is_asked_by(_: object, *asked: Any) -> bool:
    return bool(asked[-1].command_id == VICTIM)


def _is_its_outcome(_: object, number: int, outcome: Any) -> bool:
    return bool(outcome["commandId"] == VICTIM)


def _is_on(_: object, value: object) -> bool:
    return value is True


def _is_first(_: object, number: int) -> bool:
    return number == FIRST


def _is_confirmed(_: object, rows: Any) -> bool:
    return any(row.entry.correlation_id == VICTIM for row in rows)


def _is_held(_: object, picture: Callable[[], Any]) -> bool:
    return bool(picture().holds)


def _is_answered(outcome: Any) -> bool:
    return bool(outcome["commandId"] == VICTIM)


STEPS: dict[str, tuple[Any, str, str, Is]] = {
    "received": (Journal, "add", "before", _is_named),
    "journalled": (Journal, "add", "after", _is_named),
    "judged": (Guard, "drive", "before", _is_asked_by),
    "driven": (SimulatedActuator, "drive", "after", _is_on),
    "driven, not finished": (Journal, "finish", "before", _is_its_outcome),
    "finished, not posted": (Journal, "finish", "after", _is_its_outcome),
    "posted, not marked": (Journal, "mark_posted", "before", _is_first),
    "marked, not confirmed": (Journal, "mark_posted", "after", _is_first),
    "sent, not confirmed": (OutboxWriter, "confirm", "before", _is_confirmed),
    "posted, not answered": (executor, "_number", "before", _is_answered),
    "held, not saved": (GuardMemory, "save", "before", _is_held),
    "held and saved": (GuardMemory, "save", "after", _is_held),
}
"""Where it happens, whether before or after that, and for which calls."""


def die_at(step: str) -> None:
    owner, name, moment, is_it = STEPS[step]
    original = getattr(owner, name)

    def dying(*arguments: Any, **more: Any) -> Any:
        if moment == "before" and is_it(*arguments):
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **more)
        if is_it(*arguments):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, dying)


def note_drives(path: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    drive = SimulatedActuator.drive

    def noted(actuator: SimulatedActuator, value: Any) -> None:
        drive(actuator, value)
        os.write(descriptor, f"{os.getpid()} {value}\n".encode())

    SimulatedActuator.drive = noted  # type: ignore[method-assign]


if __name__ == "__main__":
    step, drives, *sys.argv[1:] = sys.argv[1:]
    note_drives(drives)
    if step != "none":
        die_at(step)
    main()
