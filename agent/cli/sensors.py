"""``masthead sensors``: the drivers, each with the stanza to copy."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

import click

from agent.checks.hardware import machine
from hw import catalogue, registry
from hw.board import resolve_auto
from hw.errors import HardwareError
from hw.settings import did_you_mean, toml_text

from .common import json_option

_KINDS = {"sensor": registry.ANEMOMETERS, "vane": registry.VANES, "actuator": registry.ACTUATORS}
_TAKE_MODELS = {
    "pulse": "gpio-pulse, pcf8583",
    "voltage": "ads1115, ads1015, mcp3421",
    "fs3000": "fs3000",
    "vane": "vane of an ADC",
}
_HEADS = {
    "sensor": ("[[sensor]]", 'id = "top"'),
    "vane": ("[sensor.vane]",),
    "actuator": ("[actuators.beacon]",),
}


@click.command("sensors")
@click.argument("name", required=False)
@json_option
def sensors_command(name: str | None, as_json: bool) -> None:
    """List this machine's pins and buses, the drivers, each with the stanza to copy, and the models.

    With NAME, of a driver or a model, only what goes by that name.

    \b
    Example:
      masthead sensors gpio-pulse
    """
    drivers = [(kind, table, driver) for kind, table in _KINDS.items() for driver in registry.names(table)]
    models = list(catalogue.models())
    if name is not None:
        known = {driver for _, _, driver in drivers} | {word for m in models for word in (m.key, *m.aliases)}
        drivers = [d for d in drivers if d[2] == name]
        models = [m for m in models if catalogue.is_called(m, name)]
        if not drivers and not models:
            hint = did_you_mean(name, known, " (`masthead sensors` lists them)")
            raise click.ClickException(f"no driver or model {name!r}{hint}")
    if as_json:
        described: dict[str, dict[str, Any]] = {kind: {} for kind in _KINDS}
        for kind, table, driver in drivers:
            described[kind][driver] = _described(table, driver)
        listed = [{"kind": model.kind, **dataclasses.asdict(model)} for model in models]
        click.echo(json.dumps({**described, "model": listed}))
        return
    if name is None:
        for finding in machine():
            click.echo(f"{finding.name:<16} {finding}")
        click.echo(f'driver = "auto"  {resolve_auto().reason}')
    for kind, table, driver in drivers:
        click.echo()
        click.echo("\n".join(stanza(kind, table, driver)))
    if models:
        click.echo('\n# Models: model = "…", in any spelling, with the drivers that take it')
    for model in models:
        click.echo(f"# {model.key:<20} {_TAKE_MODELS[model.kind]:<26} {model.name}")
        if name is not None:
            click.echo(f"#   {_coefficients(model)}")
            click.echo(f"#   {model.source}")


def _coefficients(model: catalogue.AnyModel) -> str:
    """What the catalogue knows, in a line."""
    if isinstance(model, catalogue.PulseModel):
        line = f"{model.slope:g} m/s per Hz" + (f" + {model.offset:g} m/s" if model.offset else "")
        revolution = f"{model.pulses_per_rev} a revolution, {model.signal}, hold-off {model.hold_off_s:g} s"
        return f"{line}; pulses: {revolution}"
    if isinstance(model, catalogue.VaneModel):
        ohms = ", ".join(f"{ohm:g}" for ohm in model.ladder_ohms)
        return f"ladder of {ohms} ohm" if ohms else f"potentiometer of {model.pot_ohms:g} ohm"
    unit = "V" if isinstance(model, catalogue.VoltageModel) else "counts"
    return ", ".join(f"{x:g} {unit}: {mps:g} m/s" for x, mps in model.points)


def stanza(kind: str, table: dict[str, str], name: str) -> Iterator[str]:
    """The lines that configure driver ``name`` of ``table``; ``kind`` is one of _KINDS."""
    try:
        driver = registry.load(table, name)
    except HardwareError as error:
        yield f"# {name}: {error}"
        return
    yield f"# {_summary(driver)}"
    yield from _HEADS[kind]
    yield f'driver = "{name}"'
    for field in sorted(dataclasses.fields(driver.Settings), key=lambda field: not _is_given(field)):
        yield setting_line(field)


def setting_line(field: dataclasses.Field[Any]) -> str:
    """One key as TOML with what it means, commented out where most people can do without."""
    meta = field.metadata
    default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    given = _is_given(field)
    value = meta["example"] if given or default is None else default
    text = f"{'' if given else '# '}{field.name} = {toml_text(value, meta)}"
    return f"{text:<32}  # {meta['doc']}{_limits(meta)}"


def _is_given(field: dataclasses.Field[Any]) -> bool:
    """Whether the stanza to copy has this key: there is no default, or most people give it."""
    default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
    return bool(field.metadata["suggested"]) or not default


def _limits(meta: Mapping[str, Any]) -> str:
    if meta["choices"] is not None:
        choices = (toml_text(choice, meta).strip('"') for choice in meta["choices"])
        return f" ({' | '.join(choices)})"
    low, high = meta["minimum"], meta["maximum"]
    never = ", inf: never" if meta["endless"] else ""
    if low is not None and high is not None:
        return f" ({_limit(low, meta)} to {_limit(high, meta)}{never})"
    if low is not None:
        return f" (at least {_limit(low, meta)}{never})"
    return "" if high is None else f" (at most {_limit(high, meta)})"


def _limit(number: float, meta: Mapping[str, Any]) -> str:
    return toml_text(number, meta) if meta["hexadecimal"] else f"{number:.16g}"


def _described(table: dict[str, str], name: str) -> dict[str, Any]:
    try:
        driver = registry.load(table, name)
    except HardwareError as error:
        return {"error": str(error)}
    settings = {field.name: field.metadata["doc"] for field in dataclasses.fields(driver.Settings)}
    return {"summary": _summary(driver), "settings": settings}


def _summary(driver: type) -> str:
    return (driver.__doc__ or driver.__name__).strip().splitlines()[0]
