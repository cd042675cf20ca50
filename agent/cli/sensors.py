"""``masthead sensors``: the drivers, each with the stanza to copy."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

import click

from hw import registry
from hw.board import detect, resolve_auto
from hw.errors import HardwareError

from .common import json_option


@click.command("sensors")
@json_option
def sensors_command(as_json: bool) -> None:
    """List the drivers for sensors and actuators, with the stanza to copy into the configuration.

    \b
    Example:
      masthead sensors
    """
    kinds = {"sensor": registry.ANEMOMETERS, "actuator": registry.ACTUATORS}
    if as_json:
        click.echo(json.dumps({kind: _described(table) for kind, table in kinds.items()}))
        return
    board = detect()
    click.echo(f"This machine:    {board.model if board else 'a desktop'}")
    click.echo(f'driver = "auto": {resolve_auto().reason}')
    for kind, table in kinds.items():
        for name in registry.names(table):
            click.echo()
            click.echo("\n".join(stanza(kind, table, name)))


def stanza(kind: str, table: dict[str, str], name: str) -> Iterator[str]:
    """The lines that configure driver ``name`` of ``table``; ``kind`` is "sensor" or "actuator"."""
    try:
        driver = registry.load(table, name)
    except HardwareError as error:
        yield f"# {name}: {error}"
        return
    yield f"# {_summary(driver)}"
    yield from ("[[sensor]]", 'id = "top"') if kind == "sensor" else ("[actuators.beacon]",)
    yield f'driver = "{name}"'
    for field in dataclasses.fields(driver.Settings):
        yield setting_line(field)


def setting_line(field: dataclasses.Field[Any]) -> str:
    """One key as TOML with what it means, commented out where it has a default."""
    meta = field.metadata
    default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    required = default is dataclasses.MISSING
    value = meta["example"] if required or default is None else default
    text = f"{'' if required else '# '}{field.name} = {_toml(value)}"
    return f"{text:<32}  # {meta['doc']}{_limits(meta)}"


def _limits(meta: Mapping[str, Any]) -> str:
    if meta["choices"] is not None:
        return f" ({' | '.join(map(str, meta['choices']))})"
    low, high = meta["minimum"], meta["maximum"]
    if low is not None and high is not None:
        return f" ({low:.16g} to {high:.16g})"
    if low is not None:
        return f" (at least {low:.16g})"
    return "" if high is None else f" (at most {high:.16g})"


def _toml(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _described(table: dict[str, str]) -> dict[str, Any]:
    described: dict[str, Any] = {}
    for name in registry.names(table):
        try:
            driver = registry.load(table, name)
        except HardwareError as error:
            described[name] = {"error": str(error)}
            continue
        settings = {field.name: field.metadata["doc"] for field in dataclasses.fields(driver.Settings)}
        described[name] = {"summary": _summary(driver), "settings": settings}
    return described


def _summary(driver: type) -> str:
    return (driver.__doc__ or driver.__name__).strip().splitlines()[0]
