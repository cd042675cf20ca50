"""What the operator's commands need: the hub of the environment, errors as one line, arguments from files."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from agent.operator.access import Access

    _Type = click.ParamType[str]
else:
    _Type = click.ParamType  # no generic before click 8.2, and Debian 13 has 8.1

_PACKAGES = ("azure", "requests", "rich")


class DeviceId(_Type):
    """What a device may be called where its name is a part of a URL."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value in ("", ".", ".."):
            self.fail(f"{value!r} cannot be a device's id: no URL has it as a part", param, ctx)
        return str(value)


device_argument = click.argument("device_id", type=DeviceId(), metavar="ID")


@contextmanager
def operating() -> Iterator[Access]:
    """The hub that the environment names; what goes wrong with it is told in one line."""
    from agent.operator.access import from_environment
    from agent.operator.errors import OperatorError

    try:
        yield from_environment(os.environ)
    except OperatorError as error:
        raise click.ClickException(str(error)) from error
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing.partition(".")[0] not in _PACKAGES:
            raise
        raise click.ClickException(f"{missing} is missing: in a clone, pip install '.[operator]'") from error


def notice(text: str) -> None:
    """For a person, beside what a program reads."""
    click.echo(text, err=True)


def bytes_of(text: str) -> bytes:
    """An argument itself, or with ``@FILE`` and ``-`` what they stand for. Raises ClickException."""
    if text == "-":
        return sys.stdin.buffer.read()
    if text.startswith("@"):
        return file_bytes(Path(text[1:]))
    return os.fsencode(text)


def file_bytes(path: Path) -> bytes:
    """Raises ClickException."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from error


def json_of(text: str, what: str) -> Any:
    """An argument as JSON, with ``@FILE`` and ``-``. Raises UsageError."""
    try:
        return json.loads(bytes_of(text), parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"{what} is no JSON: {error} (a text needs its quotes: '\"on\"')") from None


def _refuse(name: str) -> float:
    raise ValueError(f"it has no {name}")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits} is too large a number")
    return value
