"""``masthead check``: everything the agent needs, one line each, with a remedy for what fails."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import click

from agent.checks import Finding, run
from agent.config import ConfigError, find, load, resolved

from .common import config_option, json_option

_NAME_WIDTH = 16
_MARKS = {"ok": ("ok  ", "green"), "warning": ("WARN", "yellow"), "failed": ("FAIL", "red")}


@click.command("check")
@config_option
@json_option
@click.pass_context
def check_command(ctx: click.Context, config_path: Path | None, as_json: bool) -> None:
    """Check configuration, board, sensors, actuators, storage, clock, permissions, hub and unit.

    Exit 1 if anything fails; a warning is no failure.

    \b
    Example:
      masthead check --config deploy/masthead.toml
    """
    try:
        path = find(config_path)
    except ConfigError as error:
        show(Finding("configuration", "failed", str(error)), as_json=as_json)
        ctx.exit(1)
    if not as_json:
        with suppress(ConfigError):  # what is wrong with it is the first finding
            click.echo(f"# The configuration as resolved:\n{resolved(load(path))}\n")
    failed = False
    for finding in run(path):
        failed |= finding.state == "failed"
        show(finding, as_json=as_json)
    ctx.exit(1 if failed else 0)


def show(finding: Finding, *, as_json: bool = False) -> None:
    """One line."""
    if as_json:
        told = {"check": finding.name, "ok": finding.state != "failed", "state": finding.state}
        click.echo(json.dumps({**told, "text": finding.text, "remedy": finding.remedy}))
        return
    mark, colour = _MARKS[finding.state]
    click.echo(f"{click.style(mark, fg=colour)}  {finding.name:<{_NAME_WIDTH}}  {finding}")
