"""The three stages of a message, as ``masthead send --wait`` shows them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from .operate import notice

if TYPE_CHECKING:
    from agent.operator.messages import C2dMessage, Fate


@contextmanager
def stages(
    message: C2dMessage, as_json: bool
) -> Iterator[tuple[Callable[[Fate], None], Callable[[str], None]]]:
    """What shows each stage when it is reached, and what tells of links that break; on a terminal also that
    something is being waited for."""
    if as_json:
        yield (lambda _fate: None), notice
        return
    shown: list[str] = []

    def news(fate: Fate) -> list[str]:
        lines = [line for line in _lines(fate, message) if line not in shown]
        shown.extend(lines)
        return lines

    if not sys.stdout.isatty():
        yield (lambda fate: click.echo("".join(f"{line}\n" for line in news(fate)), nl=False)), notice
        return
    from rich.console import Console

    console = Console(highlight=False)
    with console.status("connecting") as status:
        began = 0.0

        def show(fate: Fate) -> None:
            nonlocal began
            began = began or time.monotonic()
            for line in news(fate):
                console.print(f"{line}  (after {time.monotonic() - began:.1f} s)", markup=False)
            if fate.missing:
                status.update(f"waiting for {fate.missing}")

        yield show, lambda text: console.print(text, markup=False, style="yellow")


def _lines(fate: Fate, message: C2dMessage) -> list[str]:
    from agent.operator.events import printable

    lines = [f"taken by the hub  {message.message_id}"]
    if fate.feedback is not None:
        lines.append(f"delivered         {printable(fate.feedback.status_code)}")
    if fate.outcome is not None:
        told = {
            name: fate.outcome[name] for name in ("reason", "value") if fate.outcome.get(name) is not None
        }
        words = "".join(f"  {name}: {_plain(value)}" for name, value in told.items())
        lines.append(printable(f"outcome           {fate.outcome.get('status')}{words}"))
    return lines


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def failure(fate: Fate, message: C2dMessage, limit_s: float) -> str:
    """What is wrong with a fate that is not good, and what to look at."""
    from agent.operator.events import printable
    from agent.operator.messages import SUCCESS

    device = message.device_id
    if fate.feedback is not None and fate.feedback.status_code != SUCCESS:
        code = printable(fate.feedback.status_code)
        remedy = ": it was not connected in time" if code == "Expired" else ""
        return f"not delivered to {device}: {code}{remedy}"
    if fate.settled and fate.outcome is not None:
        reason = fate.outcome.get("reason")
        because = f": {printable(str(reason))}" if reason else ""
        return f"delivered, and {device} says {printable(str(fate.outcome.get('status')))}{because}"
    more = f"is it connected (masthead device show {device})?" * (fate.feedback is None)
    return f"time-out: missing after {limit_s:g} s: {fate.missing}: {more or 'does an agent run there?'}"
