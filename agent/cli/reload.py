"""``masthead reload``: the running agent takes its configuration anew."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from agent.config import Config, ConfigError, find, load
from agent.control import ControlError, NoDaemon

from .common import ask, config_option, json_option, one_line_errors

_TIMEOUT_S = 60.0  # a start reads its store, and a bad card stalls
_LOOK_EVERY_S = 0.1


@click.command("reload")
@config_option
@json_option
def reload_command(config_path: Path | None, as_json: bool) -> None:
    """Have the running agent read its configuration anew; exit 1 if it stays with what it had.

    It stops and starts within its process: actuators go to safe, readings pause for some seconds, the link is
    made anew. What was half measured is stored, nothing is lost, holds and alarms stay. Another connection
    string or state directory takes a restart.

    \b
    Example:
      masthead reload
    """
    with one_line_errors():
        configuration = _reload(find(config_path))["configuration"]
    click.echo(json.dumps(configuration) if as_json else f"the agent goes by {configuration['file']}")


def _reload(path: Path) -> dict[str, Any]:
    """The status of the agent when it goes by ``path``. Raises ConfigError, ControlError."""
    try:
        config = load(path)
    except ConfigError as wrong:
        try:  # it is to know what is wrong, and says it itself
            ask(Config(path), "reload")
        except NoDaemon:
            raise wrong from None
        raise
    before = ask(config, "reload")["run"]
    deadline = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            status = ask(config, "status")
        except ControlError:  # between two runs
            status = {"run": before}
        if status["run"] != before:
            if refused := status["configuration"]["refused"]:
                raise ControlError(f"{refused}; the agent runs on with what it had")
            return status
        time.sleep(_LOOK_EVERY_S)
    raise ControlError(f"the agent has not come back within {_TIMEOUT_S:.0f} s: its log says why")
