"""``masthead check``: everything the agent needs, one line each, with a remedy for what fails."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import click

from agent.cloud.credentials import Credential, CredentialError, find
from agent.config import Config, ConfigError, SensorConfig, load, resolved
from agent.config import find as find_config
from agent.control import ControlClient, ControlError, NoDaemon
from agent.state import StateError, StateLock
from hw.board import detect
from hw.errors import HardwareError

from .common import config_option, json_option

_TIMEOUT_S = 5.0
_MQTT_PORT = 8883
_NAME_WIDTH = 16


@dataclass(frozen=True)
class Finding:
    """``good`` is None for what is worth knowing and no fault."""

    what: str
    good: bool | None
    text: str


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
    board = detect()
    yield Finding("board", None, board.model if board else "a desktop: no device tree")
    running = _running(config)
    yield running
    yield from _sensors(config, running.good is True)
    for actuator in config.actuators:
        yield Finding(f"actuator {actuator.name}", None, f"driver {actuator.driver}, not moved by this check")
    yield from _storage(config)
    yield _clock()
    yield from _hub(config)


def _running(config: Config) -> Finding:
    try:
        with ControlClient(config.state_directory) as client:
            status = client.ask("status")
    except NoDaemon:
        return Finding("agent", None, "not running")
    except ControlError as error:
        return Finding("agent", False, str(error))
    link, waiting = status["link"]["state"], status["outbox"]["backlog"]
    return Finding("agent", True, f"running, hub link {link}, {waiting} rows waiting")


def _sensors(config: Config, running: bool) -> Iterator[Finding]:
    if running:
        for sensor in config.sensors:
            owned = "in use by the running agent, see `masthead sample`"
            yield Finding(f"sensor {sensor.id}", None, f"{_driver(sensor)}, {owned}")
        return
    directory = config.state_directory
    try:
        with StateLock(directory) if directory.is_dir() else nullcontext():
            yield from map(_sensor, config.sensors)
    except StateError as error:
        yield Finding("sensors", False, f"not tried: {error}")


def _sensor(sensor: SensorConfig) -> Finding:
    from agent.parts import open_sensor
    from hw.clock import SystemClock

    what, clock = f"sensor {sensor.id}", SystemClock()
    try:
        with closing(open_sensor(sensor, clock)) as opened:
            sample = opened.read(clock.monotonic())
    except HardwareError as error:
        return Finding(what, False, f"{_driver(sensor)}: {error}")
    if sample.speed_mps is None:
        return Finding(what, False, f"{_driver(sensor)}: {sample.fault or 'no value'}")
    return Finding(what, True, f"{_driver(sensor)}: {sample.speed_mps:.1f} m/s")


def _driver(sensor: SensorConfig) -> str:
    return f"driver {sensor.driver}" + (" (SIMULATED: this is a desktop)" if sensor.auto else "")


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


def _clock() -> Finding:
    from agent.timekeeping import kernel_synchronised

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
        remedy = "set device.ca_file (or MASTHEAD_CA_FILE) to its CA, and look at this machine's clock"
        return f"{host} is not trusted ({error.verify_message}): {remedy}"
    if (
        isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError)
        or "NO_CERTIFICATE" in reason
    ):
        return f"{ca_file} (device.ca_file or MASTHEAD_CA_FILE) is no readable PEM file ({reason})"
    return f"{host} does not speak TLS as expected ({reason}): is it the hub?"
