"""Commands that ask the running agent, or drive the hardware itself where none runs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.config import Config
from agent.control import NoDaemon
from agent.status import describe, duration, value_text

from .common import Seconds, ask, config_option, json_option, load_config, one_line_errors, until_interrupted

if TYPE_CHECKING:
    from agent.commands.guard import Guard
    from agent.stopping import StopRequest
    from hw.clock import Clock

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

    No signal that can be caught leaves it driven, however often it comes.
    """
    from agent.commands.actuation import LOCAL, Refusal
    from agent.commands.guard import Guard
    from agent.parts import open_actuators
    from agent.state import StateLock
    from agent.stopping import StopRequest
    from hw.clock import SystemClock

    stopping, clock = StopRequest(), SystemClock()
    with StateLock(config.state_directory), stopping.instead_of_signals():
        wanted = [actuator for actuator in config.actuators if actuator.name == name]
        guard = Guard(open_actuators(wanted or config.actuators, clock), lambda _: None)
        try:
            guard.start(clock.monotonic())
            if not guard.is_safe(name, value):
                _let_it_rest(guard, name, clock, stopping)
            asked = guard.drive(name, value, for_s, LOCAL)
            guard.step(clock.monotonic())
            try:
                tell(asked.result(0))
            except Refusal as error:
                raise click.ClickException(str(error)) from error
            while guard.status[name].away and not stopping.is_set():
                due = guard.step(clock.monotonic())
                stopping.wait(min(due - clock.monotonic(), 1.0))
        finally:
            guard.stop(clock.monotonic())


def _let_it_rest(guard: Guard, name: str, clock: Clock, stopping: StopRequest) -> None:
    """Nobody knows what it did before we came."""
    for holder in guard.holders.get(name, ()):
        if holder.word == "min-off-time" and holder.until_boot_s is not None:
            click.echo(f"waiting: {holder.text}", err=True)
            stopping.wait(holder.until_boot_s - clock.monotonic())


@click.command("hold")
@click.option(
    "--for",
    "for_s",
    type=Seconds(min=0, min_open=True),
    metavar="SECONDS",
    help="How long; until `masthead release` if not given.",
)
@config_option
@json_option
def hold_command(for_s: float | None, config_path: Path | None, as_json: bool) -> None:
    """Manual mode: nothing moves away from its safe state for a command from the cloud.

    What the cloud has moved goes back to safe. It stands over restarts and power cuts, and only `masthead
    release` at the mast lifts it. Interlocks and moves towards safe still act: a hold is no lock-out. Cut the
    power of an actuator before you reach into it.

    \b
    Example:
      masthead hold --for 3600
    """
    _change_hold(config_path, as_json, "hold", {} if for_s is None else {"for": for_s})


@click.command("release")
@config_option
@json_option
def release_command(config_path: Path | None, as_json: bool) -> None:
    """End manual mode, whether it began here or from the cloud.

    \b
    Example:
      masthead release
    """
    _change_hold(config_path, as_json, "release", {})


def _change_hold(config_path: Path | None, as_json: bool, op: str, arguments: dict[str, float]) -> None:
    """By the running agent; where none runs, in what the next one will read."""
    config = load_config(config_path)
    with one_line_errors():
        try:
            answer = ask(config, op, **arguments)
        except NoDaemon:
            answer = _write_hold(config, arguments.get("for"), held=op == "hold")
    if as_json:
        click.echo(json.dumps({"held": op == "hold", **answer}))
    elif op == "hold":
        left = answer["secondsLeft"]
        until = "until `masthead release`" if left is None else f"for {duration(left)}"
        click.echo(f"held {until}: the cloud moves nothing away from its safe state")
    else:
        click.echo("released: the cloud may move actuators again")
    if not answer["durable"]:
        raise click.ClickException("the disk did not take it: after a restart it is as it was before")


def _write_hold(config: Config, for_s: float | None, *, held: bool) -> dict[str, Any]:
    from agent.commands import holds
    from agent.commands.actuation import Origin
    from agent.commands.memory import GuardMemory, Remembered
    from agent.state import StateLock
    from agent.timekeeping import read_boot_id
    from hw.clock import SystemClock

    with StateLock(config.state_directory):
        memory, now = GuardMemory(config.state_directory, read_boot_id()), SystemClock().monotonic()
        before = memory.load(now)
        if before.doubt is not None:
            raise click.ClickException(
                f"{before.doubt}: everything is held until the agent runs and is released"
            )
        after = holds.held(before.holds, Origin.MAST, holds.Hold(now, for_s)) if held else {}
        left = None
        if held and (until := after[Origin.MAST].until_boot_s) is not None:
            left = round(until - now, 1)
        return {
            "durable": memory.save(lambda: Remembered(after, before.alarms)),
            **({"secondsLeft": left} if held else {}),
        }


def _value(text: str) -> bool | float:
    words = {"on": True, "true": True, "off": False, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return float(text)
    except ValueError as error:
        raise click.BadParameter(f"expected on, off or a number, got {text!r}", param_hint="VALUE") from error
