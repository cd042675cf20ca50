"""The service enabled and started, and its first reading waited for."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Any

from agent.control import ControlError

from .places import SetupError

_UNIT = "masthead.service"
_START_S = 180.0  # a first start on a slow card
_SPARE_S = 60.0  # beyond the interval of the readings: a connection, and its first try may fail
_LOOK_EVERY_S = 0.5


def start() -> None:
    """Enable it and start it anew; it is ready when this returns. Raises SetupError."""
    for verb in (["daemon-reload"], ["enable", "--quiet", _UNIT], ["restart", _UNIT]):
        _systemctl(*verb)
    os.sync()  # systemctl does not, and a power cut a moment later would leave a mast that does not start
    state = _systemctl("is-active", _UNIT, fails=False)
    if state != "active":
        raise SetupError(f"the service is {state or 'not active'}: journalctl -u masthead -n 20")


def wait_for_reading(
    status: Callable[[], Mapping[str, Any]],
    interval_s: float,
    tell: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Mapping[str, Any]:
    """The first reading that the hub confirmed (of the status of agent/daemon.py).

    ``tell`` gets each trouble of the link as soon as there is one. Raises SetupError with what is missing:
    for the longest ``interval_s`` seconds and a minute.
    """
    deadline = now() + interval_s + _SPARE_S
    told: Mapping[str, Any] = {}
    why = "the agent does not answer: journalctl -u masthead -n 20"
    troubles: set[str | None] = {None}
    while now() < deadline:
        try:
            told = status()
        except ControlError as error:
            why = str(error)
        else:
            if told["lastReading"] is not None:
                reading: Mapping[str, Any] = told["lastReading"]
                return reading
            if told["link"]["state"] == "off":
                raise SetupError(f"nothing is sent: {told['link']['lastError']}")
            why = _missing(told)
            trouble = None if told["link"]["state"] == "up" else told["link"]["lastError"]
            if trouble not in troubles:
                troubles.add(trouble)
                tell(why)
        sleep(_LOOK_EVERY_S)
    raise SetupError(
        f"no reading is confirmed yet: {why}; the service goes on trying: masthead status. With another "
        "connection string: run setup again"
    )


def _missing(told: Mapping[str, Any]) -> str:
    link = told["link"]
    if link["state"] != "up":
        return f"hub link {link['state']}" + (f": {link['lastError']}" if link["lastError"] else "")
    return f"connected, {told['outbox']['backlog']} rows wait"


def _systemctl(*words: str, fails: bool = True) -> str:
    """What it prints. Raises SetupError, if it may not fail."""
    try:
        done = subprocess.run(
            ["systemctl", *words],
            capture_output=True,
            timeout=_START_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError as error:
        raise SetupError("there is no systemd: start the agent with `masthead run`") from error
    except subprocess.TimeoutExpired as error:
        raise SetupError(f"systemctl {words[0]}: no end within {_START_S:.0f} s") from error
    if fails and done.returncode != 0:
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise SetupError(f"systemctl {' '.join(words)} failed: {said or done.returncode}")
    return done.stdout.decode(errors="replace").strip()
