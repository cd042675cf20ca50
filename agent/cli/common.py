"""What several commands need: the configuration option, errors as one line, leaving in time."""

from __future__ import annotations

import functools
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from agent.config import Config, ConfigError, find, load
from agent.service import flush_logging

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE",
    help="Configuration file.  [default: $MASTHEAD_CONFIG, else masthead.toml in ~/.config/masthead, "
    "else in /etc/masthead]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")


class Seconds(click.FloatRange):
    """A finite number of seconds."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        converted = super().convert(value, param, ctx)
        if not math.isfinite(converted):
            self.fail(f"expected a number of seconds, got {value!r}", param, ctx)
        return converted


def load_config(path: Path | None) -> Config:
    """The configuration of this call. Raises ClickException, one line an error."""
    with one_line_errors():
        return load(find(path))


@contextmanager
def one_line_errors() -> Iterator[None]:
    """What a person can mend is told in lines, not in a traceback."""
    from agent.cloud.credentials import CredentialError
    from agent.control import ControlError
    from agent.export import ExportError
    from agent.outbox_file import StoreUnreadable
    from agent.state import StateError
    from hw.errors import HardwareError

    try:
        yield
    except (
        ConfigError,
        StateError,
        StoreUnreadable,
        ControlError,
        ExportError,
        HardwareError,
        CredentialError,
    ) as error:
        raise click.ClickException(str(error)) from error


@contextmanager
def until_interrupted(endless: bool) -> Iterator[None]:
    """Ctrl-C is how an ``endless`` command ends, and no failure."""
    try:
        yield
    except KeyboardInterrupt:
        if not endless:
            raise


@contextmanager
def unwound_by_sigterm() -> Iterator[None]:
    """SIGTERM ends it as Ctrl-C does, which leaves a terminal as it was. On the main thread only."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def ends_process(command: Callable[..., int]) -> Callable[..., None]:
    """For commands that ran the SDK: leave with their exit code, without waiting for the SDK's threads.

    The interpreter would join them at its exit, and one of them may sit in a connect for a minute.
    Everything of ours is closed by then. An exception leaves as usual: then nothing was started.
    """

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        try:
            code = command(*args, **kwargs)
        finally:
            flush_logging()
        with suppress(OSError, AttributeError):  # where it was closed there is none
            sys.stdout.flush()
        os._exit(code)

    return wrapper


def ask(config: Config, op: str, **arguments: Any) -> dict[str, Any]:
    """One question to the running agent, on a connection of its own: it may have been started again since
    the last. Raises ControlError, NoDaemon."""
    from agent.control import ControlClient

    with ControlClient(config.state_directory) as client:
        return client.ask(op, **arguments)
