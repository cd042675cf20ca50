"""One finding of a check, and how a check is kept from taking for ever. Thread safety: any thread."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

State = Literal["ok", "warning", "failed"]
AS_ROOT = "`sudo masthead check` can"
TOOL_S = 5.0
"""How long a program of the system may take to answer."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: one line for a person.

    ``name``: the check. ``state``: ``failed`` keeps the agent from its work, ``warning`` is worth a look.
    ``remedy``: what to do; None where nothing is to be done, or where ``text`` says it already.
    """

    name: str
    state: State
    text: str
    remedy: str | None = None

    def __str__(self) -> str:
        return self.text if self.remedy is None else f"{self.text}: {self.remedy}"


def broken(name: str, error: Exception) -> Finding:
    """What is said of a check that does not work."""
    text = f"this check itself failed ({type(error).__name__}: {error})"
    return Finding(name, "failed", text, "please report it, with `masthead bundle`")


def within(seconds: float, name: str, check: Callable[[], Finding]) -> Finding:
    """What ``check`` finds, or that it found nothing in ``seconds``; it is then left to itself."""
    found: list[Finding] = []

    def run() -> None:
        try:
            found.append(check())
        except Exception as error:  # noqa: BLE001  (one check that fails keeps nobody from the others)
            found.append(broken(name, error))

    thread = threading.Thread(target=run, name=f"check-{name}", daemon=True)
    thread.start()
    thread.join(seconds)
    if found:
        return found[0]
    remedy = "what it waits for hangs: try again; if it stays so, start the machine again"
    return Finding(name, "failed", f"no answer within {seconds:g} s", remedy)


def hidden(path: Path) -> bool:
    """Whether this user may not even see if there is something at ``path``."""
    try:
        path.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def told_by(command: Sequence[str], seconds: float = TOOL_S) -> str | None:
    """What a program of the system prints; None if it is not there, fails or does not answer."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
