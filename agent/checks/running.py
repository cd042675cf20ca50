"""Whether an agent runs here, and what it says of itself."""

from __future__ import annotations

from typing import Any

from agent import state
from agent.config import Config
from agent.control import ControlClient, ControlError, NoDaemon

from .finding import Finding

_HUNG = "try again; one that hangs is started anew after 90 s, and `journalctl -u masthead -n 50` says why"


def ask(config: Config) -> tuple[Finding, dict[str, Any] | None]:
    """(whether an agent runs, its status if it told it)."""
    try:
        with ControlClient(config.state_directory) as client:
            status = client.ask("status")
    except NoDaemon as error:
        if state.holder(config.state_directory) is not None:
            return Finding("agent", "failed", str(error), _HUNG), None
        return Finding("agent", "ok", "not running"), None
    except ControlError as error:
        not_asked = isinstance(error.__cause__, PermissionError)  # it may well be well
        return Finding(
            "agent", "warning" if not_asked else "failed", str(error), None if not_asked else _HUNG
        ), None
    link, outbox = status["link"], status["outbox"]
    text = f"running, hub link {link['state']}, {outbox['backlog']} rows waiting"
    if outbox["degraded"]:
        remedy = f"make room on {config.state_directory}, or replace the card"
        text += f", readings in memory only ({outbox['degraded']})"
        return Finding("agent", "failed", text, remedy), status
    if link["lastError"]:
        return Finding("agent", "warning", f"{text}: {link['lastError']}"), status
    return Finding("agent", "ok", text), status
