"""Commands that ask the running agent, or drive the hardware itself where none runs."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import click

from agent.config import Config
from agent.control import NoDaemon
from agent.status import describe, value_text

from .common import Seconds, ask, config_option, json_option, load_config, one_line_errors, until_interrupted

_OUTBOX_WORDS = {
    "stored": "stored in this run",
    "confirmed": "confirmed by the hub in this run",
    "backlog": "waiting for the hub",
    "inFlight": "of those in flight",
    "oldestUnsent": "the oldest of them",
    "inMemory": "in memory only",
    "dropped": "dropped for want of room in this run",
    "rejected": "set aside: the hub does not take them",
    "keptSent": "sent and kept for export",
    "nextSequence": "next sequence number",
    "usedBytes": "bytes used",
    "maxBytes": "bytes allowed",
    "degraded": "what the disk says",
}


@click.command("status")
@config_option
@json_option
@click.option("--watch", is_flag=True, help="Show it again every second, until Ctrl-C.")
def status_command(config_path: Path | None, as_json: bool, watch: bool) -> None:
    """Show how the running agent is: link, backlog, sensors, actuators.

    \b
    Example:
      masthead status --watch
    """
    config = load_config(config_path)
    with one_line_errors(), until_interrupted(endless=watch):
        while True:
            status = ask(config, "status")
            if watch and not as_json:
                click.clear()
            click.echo(json.dumps(status) if as_json else describe(status))
            if not watch:
                return
            time.sleep(1.0)


@click.command("outbox")
@config_option
@json_option
def outbox_command(config_path: Path | None, as_json: bool) -> None:
    """Show what the running agent has stored, sent and still keeps.

    \b
    Example:
      masthead outbox --json
    """
    config = load_config(config_path)
    with one_line_errors():
        outbox = ask(config, "outbox")
    if as_json:
        click.echo(json.dumps(outbox))
        return
    for key, words in _OUTBOX_WORDS.items():
        if outbox[key] is not None:
            click.echo(f"{outbox[key]!s:>24}  {words}")
    for rejected in outbox["lastRejected"]:
        click.echo(f"{rejected['objectId']:>24}  rejected at {rejected['time']}: {rejected['reason']}")


@click.command("actuate", context_settings={"ignore_unknown_options": True})  # VALUE may be -5
@click.argument("name")
@click.argument("value")
@click.option(
    "--for",
    "for_s",
    type=Seconds(min=0, min_open=True),
    metavar="SECONDS",
    help="How long; then back to safe.",
)
@config_option
@json_option
def actuate_command(
    name: str, value: str, for_s: float | None, config_path: Path | None, as_json: bool
) -> None:
    """Drive an actuator: VALUE is on, off or a number.

    A running agent is asked to do it, within its limits. Where none runs, this command does it itself, and
    stays until the time is over or Ctrl-C, for only what stays can bring an actuator back to its safe state.

    \b
    Example:
      masthead actuate beacon on --for 10
    """
    wanted = _value(value)
    config = load_config(config_path)

    def tell(taken: object) -> None:
        told = json.dumps({"actuator": name, "value": taken})
        click.echo(told if as_json else f"{name} is {value_text(taken)}")

    with one_line_errors():
        try:
            arguments = {} if for_s is None else {"for": for_s}
            tell(ask(config, "actuate", actuator=name, value=wanted, **arguments)["value"])
        except NoDaemon:
            _drive(config, name, wanted, for_s, tell)


def _drive(
    config: Config, name: str, value: bool | float, for_s: float | None, tell: Callable[[object], None]
) -> None:
    """Drive an actuator without an agent, and back to safe at the end of its time or of our own.

    SIGTERM ends it as Ctrl-C does: no way out leaves the actuator driven.
    """
    from agent.commands.guard import Guard, Refusal
    from agent.parts import open_actuators
    from agent.state import StateLock
    from hw.clock import SystemClock

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    clock = SystemClock()
    with StateLock(config.state_directory):
        wanted = [actuator for actuator in config.actuators if actuator.name == name]
        guard = Guard(open_actuators(wanted or config.actuators, clock), lambda _: None)
        try:
            guard.start(clock.monotonic())
            asked = guard.request(name, value, for_s)
            guard.step(clock.monotonic())
            try:
                tell(asked.result(0))
            except Refusal as error:
                raise click.ClickException(str(error)) from error
            with until_interrupted(endless=True):
                while guard.status[name].value != guard.status[name].safe:
                    due = guard.step(clock.monotonic())
                    time.sleep(max(0.0, min(due - clock.monotonic(), 1.0)))
        finally:
            guard.stop(clock.monotonic())
            signal.signal(signal.SIGTERM, before)


def _value(text: str) -> bool | float:
    words = {"on": True, "true": True, "off": False, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return float(text)
    except ValueError as error:
        raise click.BadParameter(f"expected on, off or a number, got {text!r}", param_hint="VALUE") from error
