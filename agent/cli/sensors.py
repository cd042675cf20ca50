"""``masthead sensors``: the drivers, each with the stanza to copy."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
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
        found = {kind: {name: _described(table, name) for name in registry.names(table)} for kind, table in kinds.items()}
        click.echo(json.dumps(found))
        return
    board = detect()
    auto = resolve_auto()
    click.echo(f"This machine: {board.model if board else 'a desktop (no device tree)'}")
    click.echo(f'driver = "auto": {auto.reason}\n')
    for kind, table in kinds.items():
        for name in registry.names(table):
            click.echo("\n".join(_stanza(kind, table, name)) + "\n")


def _described(table: dict[str, str], name: str) -> dict[str, Any]:
    try:
        driver = registry.load(table, name)
    except HardwareError as error:
        return {"error": str(error)}
    return {"summary": _summary(driver), "settings": {f.name: f.metadata["doc"] for f in dataclasses.fields(driver.Settings)}}


def _stanza(kind: str, table: dict[str, str], name: str) -> Iterator[str]:
    try:
        driver = registry.load(table, name)
    except HardwareError as error:
        yield f"# {name}: {error}"
        return
    yield f"# {_summary(driver)}"
    if kind == "sensor":
        yield "[[sensor]]"
        yield 'id = "top"'
    else:
        yield "[actuators.beacon]"
    yield f'driver = "{name}"'
    for field in dataclasses.fields(driver.Settings):
        yield setting_line(field)


def setting_line(field: dataclasses.Field[Any]) -> str:
    """One key as TOML, commented out where it has a default."""
    meta = field.metadata
    default = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
    required = default is dataclasses.MISSING
    value = meta["example"] if required or default is None else default
    text = f"{field.name} = {_toml(value)}"
    return f"{text if required else '# ' + text:<40}  # {meta['doc']}"


def _toml(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _summary(driver: type) -> str:
    return (driver.__doc__ or driver.__name__).strip().splitlines()[0]
