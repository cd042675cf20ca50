"""``masthead check``: everything the agent needs, one line each, with a remedy for what fails."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.cloud.credentials import Credential, CredentialError, find
from agent.cloud.explaining import explain
from agent.config import ActuatorConfig, Config, ConfigError, SensorConfig, load, resolved
from agent.config import find as find_config
from agent.control import ControlClient, ControlError, NoDaemon
from agent.state import StateError, StateLock
from agent.status import figure_text, value_text, wind_text
from agent.timekeeping import kernel_synchronised
from hw.errors import BadSample, HardwareError

from .common import config_option, json_option
from .hardware import Finding, hardware

if TYPE_CHECKING:
    from hw.anemometer import Anemometer, WindSample

_TIMEOUT_S = 5.0
_MQTT_PORT = 8883
_NAME_WIDTH = 16
_FIRST_VALUE_S = 6.0  # longer than a cup may stand still before it counts as calm
_SAMPLE_EVERY_S = 0.25


@click.command("check")
@config_option
@json_option
@click.pass_context
def check_command(ctx: click.Context, config_path: Path | None, as_json: bool) -> None:
    """Check configuration, board, sensors, actuators, storage, clock and hub; exit 1 if anything fails.

    \b
    Example:
      masthead check --config deploy/masthead.toml
    """
    if not as_json:
        with suppress(ConfigError):  # what is wrong with it is the first finding
            click.echo(f"# The configuration as resolved:\n{resolved(load(find_config(config_path)))}\n")
    failed = False
    for finding in findings(config_path):
        failed |= finding.good is False
        if as_json:
            ok = finding.good is not False
            click.echo(json.dumps({"check": finding.what, "ok": ok, "text": finding.text}))
        else:
            mark = {True: click.style("ok  ", fg="green"), False: click.style("FAIL", fg="red"), None: "note"}
            click.echo(f"{mark[finding.good]}  {finding.what:<{_NAME_WIDTH}}  {finding.text}")
    ctx.exit(1 if failed else 0)


def findings(config_path: Path | None) -> Iterator[Finding]:
    """One finding after the other; what depends on a failed one is left out."""
    try:
        path = find_config(config_path)
        config = load(path)
    except ConfigError as error:
        for line in str(error).splitlines():
            yield Finding("configuration", False, line)
        return
    yield Finding("configuration", True, str(path))
    yield from hardware(config)
    running, status = _running(config)
    yield running
    if status is None:
        yield from _sensors(config)
        yield from map(_actuator, config.actuators)
    else:
        yield from _in_use(config, status)
    yield from _storage(config)
    yield _forecast(config)
    yield _clock()
    yield from _hub(config)


def _running(config: Config) -> tuple[Finding, dict[str, Any] | None]:
    """(whether an agent runs, its status if it does)."""
    try:
        with ControlClient(config.state_directory) as client:
            status = client.ask("status")
    except NoDaemon:
        return Finding("agent", None, "not running"), None
    except ControlError as error:
        return Finding("agent", False, str(error)), None
    link, waiting, trouble = status["link"]["state"], status["outbox"]["backlog"], status["link"]["lastError"]
    text = f"running, hub link {link}, {waiting} rows waiting" + (f": {trouble}" if trouble else "")
    return Finding("agent", None if trouble else True, text), status


def _in_use(config: Config, status: dict[str, Any]) -> Iterator[Finding]:
    """What the running agent says of its hardware; sensors that it was not started with are left out."""
    for sensor in config.sensors:
        told = status["sensors"].get(sensor.id)
        if told is not None:
            text = f"{_driver(sensor)}, in use by the running agent: {wind_text(told)}"
            yield Finding(f"sensor {sensor.id}", not told["fault"], text)
    for actuator in config.actuators:
        told = status["actuators"].get(actuator.name)
        if told is not None:
            state = f"FAULT: {told['fault']}" if told["fault"] else value_text(told["value"])
            text = f"driver {actuator.driver}, in use by the running agent: {state}"
            yield Finding(f"actuator {actuator.name}", not told["fault"], text)


def _sensors(config: Config) -> Iterator[Finding]:
    directory = config.state_directory
    try:
        with StateLock(directory) if directory.is_dir() else nullcontext():
            yield from map(_sensor, config.sensors)
    except StateError as error:
        yield Finding("sensors", False, f"not tried: {error}")


def _sensor(sensor: SensorConfig) -> Finding:
    """A first value may take a while: a cup has to turn, a chip has to measure."""
    from agent.parts import open_sensor
    from hw.clock import SystemClock

    what, clock = f"sensor {sensor.id}", SystemClock()
    until = clock.monotonic() + _FIRST_VALUE_S
    try:
        with closing(open_sensor(sensor, clock)) as opened:
            while True:
                sample = _read(opened, clock.monotonic())
                if sample.fault is None or clock.monotonic() > until:
                    break
                time.sleep(_SAMPLE_EVERY_S)
    except HardwareError as error:
        return Finding(what, False, f"{_driver(sensor)}: {error}")
    raw = ", ".join(f"{name} {figure_text(value)}" for name, value in sample.raw.items())
    told = {"windSpeed": sample.speed_mps, "windDirection": sample.direction_deg, "fault": sample.fault}
    text = f"{_driver(sensor)}: {wind_text(told)}" + (f"  [{raw}]" if raw else "")
    return Finding(what, sample.fault is None, text)


def _read(sensor: Anemometer, now: float) -> WindSample:
    """A sample, or a fault that waiting may mend. Raises the others."""
    from hw.anemometer import WindSample

    try:
        return sensor.read(now)
    except BadSample as error:
        return WindSample(now, None, fault=str(error))


def _actuator(actuator: ActuatorConfig) -> Finding:
    """Nothing is moved: only whether its line is there and may be used."""
    from hw.gpio import find_line, given_factory

    what, text = f"actuator {actuator.name}", f"driver {actuator.driver}, not moved by this check"
    pin = getattr(actuator.settings, "pin", None)
    if pin is None or given_factory() is not None:
        return Finding(what, None, text)
    try:
        line = find_line(pin, getattr(actuator.settings, "chip", None))
    except HardwareError as error:
        return Finding(what, False, f"driver {actuator.driver}: {error}")
    return Finding(what, True, f"{text}: GPIO {pin} is line {line.offset} of {line.path}")


def _driver(sensor: SensorConfig) -> str:
    vane = f" with vane {sensor.vane.driver}" if sensor.vane is not None else ""
    return f"driver {sensor.driver}{vane}" + (" (SIMULATED: this is a desktop)" if sensor.auto else "")


def _storage(config: Config) -> Iterator[Finding]:
    directory = config.state_directory
    if not directory.is_dir():
        yield Finding("state", None, f"{directory} does not exist yet: `masthead run` makes it")
    elif os.access(directory, os.W_OK):
        yield Finding("state", True, str(directory))
    else:
        remedy = "chown it, or set device.state_directory"
        yield Finding("state", False, f"{directory} cannot be written by this user: {remedy}")
    existing = next(p for p in (directory, *directory.parents) if p.exists())
    free, needed = shutil.disk_usage(existing).free, config.outbox.min_free_bytes
    text = f"{free / 1e6:,.0f} MB free"
    if free < needed:
        text += f", below outbox.min_free_bytes ({needed / 1e6:,.0f} MB): the store cannot grow, make room"
    yield Finding("disk", free >= needed, text)


def _forecast(config: Config) -> Finding:
    from agent.forecast import forecast

    found = forecast(config)
    remedy = (
        ""
        if found.fits
        else ": more than one unit takes; a longer telemetry.report_interval_s, or more units"
    )
    return Finding("forecast", None if found.fits else False, f"{found}{remedy}")


def _clock() -> Finding:
    if kernel_synchronised():
        return Finding("clock", True, "synchronised")
    return Finding(
        "clock", None, "not synchronised, and readings say so: does a time service run (timedatectl)?"
    )


def _hub(config: Config) -> Iterator[Finding]:
    try:
        credential = find(config.device.connection_string_file)
    except CredentialError as error:
        yield Finding("credential", False, str(error))
        return
    who = f"device {credential.device_id} at {credential.address}"
    yield Finding("credential", True, f"{who}, from {credential.source}")
    ca_file = os.environ.get("MASTHEAD_CA_FILE") or config.device.ca_file
    steps: list[tuple[str, Callable[[], str]]] = [
        ("name", lambda: _resolve(credential)),
        ("hub", lambda: _reach(credential)),
        ("certificate", lambda: _trust(credential, ca_file)),
    ]
    for what, step in steps:
        try:
            yield Finding(what, True, step())
        except (OSError, UnicodeError) as error:
            yield Finding(what, False, _remedy(what, error, credential, ca_file))
            return
    yield Finding("key", None, "not tried here: `masthead status` says whether the hub takes it")


def _resolve(credential: Credential) -> str:
    found = socket.getaddrinfo(credential.address, _MQTT_PORT, type=socket.SOCK_STREAM)
    return f"{credential.address} is {found[0][4][0]}"


def _reach(credential: Credential) -> str:
    with socket.create_connection((credential.address, _MQTT_PORT), _TIMEOUT_S):
        return f"port {_MQTT_PORT} answers"


def _trust(credential: Credential, ca_file: str | None) -> str:
    context = ssl.create_default_context(cafile=None if ca_file is None else str(Path(ca_file).expanduser()))
    with (
        socket.create_connection((credential.address, _MQTT_PORT), _TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=credential.address) as secured,
    ):
        return f"trusted by {ca_file or 'the system'}, {secured.version()}"


def _remedy(what: str, error: Exception, credential: Credential, ca_file: str | None) -> str:
    host = credential.address
    reason = getattr(error, "strerror", None) or str(error)
    if what == "name":
        return f"{host} cannot be resolved ({reason}): check the network, its DNS and the name"
    if what == "hub":
        return f"{host}:{_MQTT_PORT} cannot be reached ({reason}): is the hub running, the port open?"
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(explain(error, credential, clock_trusted=kernel_synchronised()))
    if (
        isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError)
        or "NO_CERTIFICATE" in reason
    ):
        return f"{ca_file} (device.ca_file or MASTHEAD_CA_FILE) is no readable PEM file ({reason})"
    return f"{host} does not speak TLS as expected ({reason}): is it the hub?"
