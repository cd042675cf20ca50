"""``masthead monitor``: what devices send, as it comes."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from .common import json_option, until_interrupted
from .operate import DeviceId, notice, operating

if TYPE_CHECKING:
    from agent.operator.access import Access
    from agent.operator.events import Start

    _Type = click.ParamType[Any]
else:
    _Type = click.ParamType  # no generic before click 8.2, and Debian 13 has 8.1


class _Start(_Type):
    name = "start"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from agent.operator.events import start_of

        try:
            return start_of(value, datetime.now(UTC)) if isinstance(value, str) else value
        except ValueError:
            self.fail(
                f"expected now, start, seconds ago (at most 604800), or a time such as "
                f"2026-11-20T17:34:00Z, got {value!r}",
                param,
                ctx,
            )


@click.command("monitor")
@click.argument("device_id", type=DeviceId(), metavar="[ID]", required=False)
@click.option(
    "--from",
    "start",
    type=_Start(),
    default="now",
    metavar="WHEN",
    help="now, start (all that the hub still has), seconds ago, or a time in ISO 8601.  [default: now]",
)
@click.option("--props", is_flag=True, help="With the properties, the system's in brackets.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N events.")
@click.option(
    "--consumer-group",
    default="$Default",
    metavar="NAME",
    help="Of the hub's event endpoint.  [default: $Default]",
)
@json_option
def monitor_command(
    *, device_id: str | None, start: Start, props: bool, count: int | None, consumer_group: str, as_json: bool
) -> None:
    """Show what devices send, all of them or one, until Ctrl-C.

    From all partitions, and without a gap where the connection breaks. With --json one event a line, always
    with its properties.

    \b
    Example:
      masthead monitor mast-1 --from 3600 --count 10
    """
    with operating() as access, until_interrupted(endless=count is None):
        from agent.operator.again import Again
        from agent.operator.amqp import EventReader
        from agent.operator.monitor import Monitor

        _check_device(access, device_id)
        monitor = Monitor(lambda: EventReader(access, consumer_group), start, Again(notice))
        shown = 0
        try:
            monitor.open()
            notice(f"reading events of {device_id or 'all devices'} at {access.host}; Ctrl-C ends it")
            while count is None or shown < count:
                event = monitor.poll(0.5)
                if event is not None and device_id in (None, event.device_id):
                    click.echo(json.dumps(event.as_json()) if as_json else event.as_text(props=props))
                    shown += 1
        finally:
            monitor.close()


def _check_device(access: Access, device_id: str | None) -> None:
    """Nothing comes of a device that there is not. Whether REST can be asked is another question."""
    if device_id is None:
        return
    from agent.operator.errors import HubRejected, HubUnavailable, NoDevice
    from agent.operator.rest import Rest
    from agent.operator.twins import get_twin

    with suppress(HubUnavailable, HubRejected):
        try:
            get_twin(Rest(access), device_id)
        except NoDevice as error:
            raise click.ClickException(str(error)) from error
