"""``masthead send`` and ``masthead feedback``: messages to devices, and what became of them."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .common import Seconds, json_option, until_interrupted, unwound_by_sigterm
from .operate import bytes_of, device_argument, file_bytes, notice, operating
from .stages import failure, stages

if TYPE_CHECKING:
    from agent.operator.access import Access
    from agent.operator.messages import Ack, C2dMessage, Fate

_BEYOND_EXPIRY_S = 30.0  # a hub keeps feedback back for up to 15 s (64 records)


@click.command("send")
@device_argument
@click.argument("body", required=False)
@click.option("--file", "file", type=click.Path(path_type=Path), metavar="FILE", help="The body is in it.")
@click.option("--message-id", metavar="TEXT", help="[default: a new UUID]")
@click.option("--correlation-id", metavar="TEXT", help="Carried along for the receiver.")
@click.option(
    "--property", "properties", multiple=True, metavar="KEY=VALUE", help="An own property; as many as wanted."
)
@click.option(
    "--expires",
    "expires_s",
    type=Seconds(1, 172_800),
    default=60.0,
    metavar="SECONDS",
    help="Not delivered after so long, at least 1.  [default: 60]",
)
@click.option(
    "--ack",
    type=click.Choice(["none", "positive", "negative", "full"]),
    help="Which feedback the hub is asked for.  [default: none, with --wait full]",
)
@click.option("--wait", is_flag=True, help="Wait until it is delivered and the device has told the outcome.")
@click.option(
    "--timeout",
    "timeout_s",
    type=Seconds(0, 172_830, min_open=True),
    metavar="SECONDS",
    help="Wait no longer, with --wait.  [default: 30 longer than --expires]",
)
@json_option
def send_command(
    *,
    device_id: str,
    body: str | None,
    file: Path | None,
    message_id: str | None,
    correlation_id: str | None,
    properties: tuple[str, ...],
    expires_s: float,
    ack: Ack | None,
    wait: bool,
    timeout_s: float | None,
    as_json: bool,
) -> None:
    """Send a message to a device: BODY, or what is in a file.

    BODY may be @FILE, or - for standard input. With --wait three stages are shown apart: taken by the hub;
    delivered, as the hub's feedback has it; and the outcome that the device reports. It is a failure unless
    all three are good.

    \b
    Example:
      masthead send mast-1 '{"command": "set", "actuator": "heater", "value": true, "for": 30}' --wait
    """
    if (body is None) == (file is None):
        raise click.UsageError("give BODY or --file FILE" if body is None else "BODY or --file, not both")
    if wait and ack not in (None, "full"):
        raise click.UsageError("--wait needs --ack full, which it asks for itself")
    if timeout_s is not None and not wait:
        raise click.UsageError("--timeout is for --wait")
    if message_id == "":
        raise click.UsageError("--message-id is empty: leave it out for a new UUID")
    with operating() as access:
        from agent.operator.messages import C2dMessage

        message = C2dMessage(
            device_id,
            file_bytes(file) if file is not None else bytes_of(body or ""),
            str(uuid.uuid4()) if message_id is None else message_id,
            correlation_id,
            _pairs(properties),
            expires_s,
            "full" if wait else ack or "none",
        )
        if not wait:
            _send(access, message)
            _tell(message, as_json)
            return
        limit_s = timeout_s or expires_s + _BEYOND_EXPIRY_S
        fate = _followed(access, message, limit_s, as_json)
    if not fate.good:
        raise click.ClickException(failure(fate, message, limit_s))


def _send(access: Access, message: C2dMessage) -> None:
    from agent.operator.amqp import Sender

    sender = Sender(access)
    try:
        sender.open()
        sender.send(message)
    finally:
        sender.close()


def _tell(message: C2dMessage, as_json: bool) -> None:
    told = {"messageId": message.message_id, "correlationId": message.correlation_id, "taken": True}
    click.echo(json.dumps(told) if as_json else f"taken by the hub  {message.message_id}")


def _followed(access: Access, message: C2dMessage, limit_s: float, as_json: bool) -> Fate:
    from agent.operator.amqp import EventReader, FeedbackReader, Sender
    from agent.operator.delivery import Delivery, Hub

    hub = Hub(lambda: Sender(access), lambda: FeedbackReader(access), lambda: EventReader(access, "$Default"))
    with unwound_by_sigterm(), stages(message, as_json) as (show, say):
        fate = Delivery(hub, show, say).run(message, limit_s)
    if as_json:
        outcome = None if fate.outcome is None else dict(fate.outcome)
        told = {
            "messageId": message.message_id,
            "correlationId": message.correlation_id,
            "taken": fate.taken,
            "delivered": None if fate.feedback is None else fate.feedback.status_code,
            "outcome": None if outcome is None else outcome.get("status"),
            "result": outcome,
        }
        click.echo(json.dumps(told))
    return fate


def _pairs(properties: tuple[str, ...]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in properties:
        name, equals, value = text.partition("=")
        if not (equals and name):
            raise click.UsageError(f"--property {text!r}: expected KEY=VALUE")
        if name in pairs:
            raise click.UsageError(f"--property {name} is given twice")
        pairs[name] = value
    return pairs


@click.command("feedback")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N records.")
@json_option
def feedback_command(count: int | None, as_json: bool) -> None:
    """Show the hub's feedback on messages that asked for it, until Ctrl-C.

    What is shown is taken from the hub. Several readers share what comes.

    \b
    Example:
      masthead feedback --count 1 --json
    """
    with operating() as access, until_interrupted(endless=count is None):
        from agent.operator.again import Again
        from agent.operator.amqp import FeedbackReader
        from agent.operator.events import printable
        from agent.operator.feedback import FeedbackWatch

        watch = FeedbackWatch(lambda: FeedbackReader(access), Again(notice))
        shown = 0
        try:
            watch.open()
            notice(f"reading feedback of {access.host}; Ctrl-C ends it")
            while count is None or shown < count:
                for feedback in watch.poll():
                    for record in feedback.records:
                        words = (
                            record.enqueued_time,
                            record.device_id,
                            record.message_id,
                            record.status_code,
                        )
                        text = json.dumps(record.as_json()) if as_json else printable("  ".join(words))
                        click.echo(text)
                        shown += 1
                    watch.take(feedback)
        finally:
            watch.close()
