"""``masthead method`` and ``masthead twin``."""

from __future__ import annotations

import json
import time

import click

from .common import Seconds, json_option, until_interrupted
from .operate import device_argument, json_of, notice, operating


@click.command("method", context_settings={"ignore_unknown_options": True})  # PAYLOAD may be -1
@device_argument
@click.argument("name")
@click.argument("payload", required=False, default="null")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.IntRange(5, 300),
    default=30,
    metavar="SECONDS",
    help="For the answer, 5 to 300.  [default: 30]",
)
@click.option(
    "--connect-timeout",
    "connect_timeout_s",
    type=click.IntRange(0, 300),
    default=0,
    metavar="SECONDS",
    help="For the device to connect, 0 to 300.  [default: 0]",
)
@json_option
def method_command(
    *, device_id: str, name: str, payload: str, timeout_s: int, connect_timeout_s: int, as_json: bool
) -> None:
    """Call a direct method and print the status and payload of the answer.

    PAYLOAD is JSON; @FILE reads it from a file, - from standard input. A status of 400 or more is a failure.

    \b
    Example:
      masthead method mast-1 set '{"actuator": "heater", "value": true, "for": 30}'
    """
    given = json_of(payload, "PAYLOAD")
    with operating() as access:
        from agent.operator.rest import Rest
        from agent.operator.twins import call_method

        answer = call_method(
            Rest(access), device_id, name, given, timeout_s=timeout_s, connect_timeout_s=connect_timeout_s
        )
    if as_json:
        click.echo(json.dumps({"status": answer.status, "payload": answer.payload}))
    else:
        click.echo(f"status {answer.status}")
        click.echo(json.dumps(answer.payload, indent=2))
    if answer.status >= 400:
        raise click.exceptions.Exit(1)


@click.group("twin")
def twin_command() -> None:
    """Show, set and watch a device's twin.

    \b
    Example:
      masthead twin show mast-1
    """


@twin_command.command("show")
@device_argument
@json_option
def show_command(device_id: str, as_json: bool) -> None:
    """Print the twin: tags, desired and reported properties.

    With --json all that the hub has, on one line.

    \b
    Example:
      masthead twin show mast-1
    """
    with operating() as access:
        from agent.operator.rest import Rest
        from agent.operator.twins import get_twin, parts

        twin = get_twin(Rest(access), device_id)
        click.echo(json.dumps(twin) if as_json else json.dumps(parts(twin), indent=2))


@twin_command.command("set")
@device_argument
@click.argument("desired", metavar="DESIRED")
@json_option
def set_command(device_id: str, desired: str, as_json: bool) -> None:
    """Merge an object into the desired properties: null removes, all else replaces.

    DESIRED is JSON; @FILE reads it from a file, - from standard input.

    \b
    Example:
      masthead twin set mast-1 '{"reportInterval": 30}'
    """
    changes = json_of(desired, "DESIRED")
    if not isinstance(changes, dict):
        raise click.UsageError("desired properties are a JSON object: '{\"reportInterval\": 30}'")
    with operating() as access:
        from agent.operator.rest import Rest
        from agent.operator.twins import parts, set_desired

        twin = set_desired(Rest(access), device_id, changes)
        click.echo(json.dumps(twin) if as_json else json.dumps(parts(twin)["desired"], indent=2))


@twin_command.command("watch")
@device_argument
@click.option(
    "--every", "every_s", type=Seconds(0.1), default=2.0, metavar="SECONDS", help="How often.  [default: 2]"
)
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N changes.")
@json_option
def watch_command(device_id: str, every_s: float, count: int | None, as_json: bool) -> None:
    """Show what changes in a twin, until Ctrl-C.

    \b
    Example:
      masthead twin watch mast-1
    """
    with operating() as access, until_interrupted(endless=count is None):
        from agent.operator.again import Again
        from agent.operator.rest import Rest
        from agent.operator.twins import TwinWatch

        watch = TwinWatch(Rest(access), device_id, Again(notice))
        watch.open()
        notice(f"watching the twin of {device_id} at {access.host}; Ctrl-C ends it")
        shown = 0
        while count is None or shown < count:
            time.sleep(every_s)
            for change in watch.poll():
                click.echo(json.dumps(change.as_json()) if as_json else str(change))
                shown += 1
