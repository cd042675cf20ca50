"""Commands that ask the running agent, or the hardware itself where none runs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from agent.config import Config
from agent.control import ControlClient, NoDaemon
from agent.status import describe, value_text

from .common import config_option, json_option, load_config, one_line_errors


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
    with one_line_errors(), ControlClient(config.state_directory) as client:
        while True:
            status = client.ask("status")
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
    with one_line_errors(), ControlClient(config.state_directory) as client:
        outbox = client.ask("outbox")
    if as_json:
        click.echo(json.dumps(outbox))
        return
    words = {
        "stored": "stored in this run",
        "confirmed": "confirmed by the hub in this run",
        "backlog": "waiting for the hub",
        "inFlight": "of those in flight",
        "oldestUnsent": "the oldest of them",
        "inMemory": "in memory only",
        "dropped": "dropped for want of room in this run",
        "keptSent": "sent and kept for export",
        "nextSequence": "next sequence number",
        "usedBytes": "bytes used",
        "maxBytes": "bytes allowed",
        "degraded": "the disk",
    }
    for key, text in words.items():
        if outbox[key] is not None:
            click.echo(f"{outbox[key]!s:>24}  {text}")


@click.command("sample")
@config_option
@json_option
@click.option("--count", type=click.IntRange(1), help="End after so many samples of each sensor.")
@click.option("--every", "every_s", type=click.FloatRange(0.1, 3600), default=1.0, show_default=True, help="Seconds.")
def sample_command(config_path: Path | None, as_json: bool, count: int | None, every_s: float) -> None:
    """Show the sensors live, what the instrument says beside m/s, with or without a running agent.

    \b
    Example:
      masthead sample --count 3
    """
    config = load_config(config_path)
    with one_line_errors(), _samples(config) as samples:
        number = 0
        while count is None or number < count:
            if number:
                time.sleep(every_s)
            for name, sample in next(samples).items():
                click.echo(json.dumps({"sensor": name, **sample}) if as_json else _sample_line(name, sample))
            number += 1


@click.command("actuate")
@click.argument("name")
@click.argument("value")
@click.option("--for", "for_s", type=click.FloatRange(min=0, min_open=True), help="Seconds; then back to safe.")
@config_option
@json_option
def actuate_command(name: str, value: str, for_s: float | None, config_path: Path | None, as_json: bool) -> None:
    """Drive an actuator: VALUE is on, off or a number.

    The agent must be running: only what stays can bring an actuator back to its safe state.

    \b
    Example:
      masthead actuate beacon on --for 10
    """
    config = load_config(config_path)
    with one_line_errors(), ControlClient(config.state_directory) as client:
        answer = client.ask("actuate", actuator=name, value=_value(value), **({} if for_s is None else {"for": for_s}))
    click.echo(json.dumps(answer) if as_json else f"{name} is {value_text(answer['value'])}")


def _value(text: str) -> bool | float:
    words = {"on": True, "true": True, "off": False, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return float(text)
    except ValueError as error:
        raise click.BadParameter(f"expected on, off or a number, got {text!r}", param_hint="VALUE") from error


@contextmanager
def _samples(config: Config) -> Iterator[Iterator[dict[str, Any]]]:
    """One dict of samples after another: from the agent if one runs, else from the sensors."""
    try:
        client = ControlClient(config.state_directory)
    except NoDaemon:
        client = None
    if client is not None:
        with client:
            yield (_from_agent(client.ask("sample")) for _ in iter(int, 1))
        return
    from agent.state import StateLock

    with StateLock(config.state_directory):
        yield from _own_samples(config)


def _from_agent(sensors: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {key: sensor[key] for key in ("time", "windSpeed", "windDirection", "fault", "raw", "simulated")}
        for name, sensor in sensors.items()
    }


def _own_samples(config: Config) -> Iterator[Iterator[dict[str, Any]]]:
    from agent.daemon import open_sensor
    from agent.timekeeping import Timekeeper, read_boot_id
    from hw.clock import SystemClock
    from hw.errors import HardwareError

    clock = SystemClock()
    timekeeper = Timekeeper(clock, read_boot_id())
    opened = {sensor.id: open_sensor(sensor, clock) for sensor in config.sensors}

    def read() -> Iterator[dict[str, Any]]:
        while True:
            samples = {}
            for name, sensor in opened.items():
                now = clock.monotonic()
                try:
                    sample = sensor.read(now)
                    speed, direction, fault, raw = sample.speed_mps, sample.direction_deg, sample.fault, sample.raw
                except HardwareError as error:
                    speed, direction, fault, raw = None, None, str(error), {}
                samples[name] = {
                    "time": timekeeper.read().time_text(now),
                    "windSpeed": None if speed is None else round(speed, 2),
                    "windDirection": None if direction is None else round(direction, 1),
                    "fault": fault,
                    "raw": dict(raw),
                    "simulated": sensor.simulated,
                }
            yield samples

    try:
        yield read()
    finally:
        for sensor in opened.values():
            sensor.close()


def _sample_line(name: str, sample: dict[str, Any]) -> str:
    raw = "  ".join(f"{key} {value:g}" for key, value in sample["raw"].items())
    if sample["windSpeed"] is None:
        text = f"no value: {sample['fault']}"
    else:
        text = f"{sample['windSpeed']:6.2f} m/s"
        if sample["windDirection"] is not None:
            text += f"  from {sample['windDirection']:5.1f}°"
    return f"{sample['time'][11:23]}  {name:<8}  {text}" + (f"  [{raw}]" if raw else "") + (
        "  (simulated)" if sample["simulated"] else ""
    )
