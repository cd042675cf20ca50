"""``masthead check``: everything the agent needs, one line each, with a remedy for what fails."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from agent.cloud.credentials import Credential, CredentialError, find
from agent.config import Config, ConfigError, load
from agent.config import find as find_config
from agent.control import ControlClient, ControlError, NoDaemon
from hw.board import detect
from hw.errors import HardwareError

from .common import config_option, json_option

_TIMEOUT_S = 5.0
_MQTT_PORT = 8883


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
    failed = False
    for finding in findings(config_path):
        failed |= finding.good is False
        if as_json:
            click.echo(json.dumps({"check": finding.what, "ok": finding.good is not False, "text": finding.text}))
        else:
            mark = {True: click.style("ok  ", fg="green"), False: click.style("FAIL", fg="red"), None: "note"}
            click.echo(f"{mark[finding.good]}  {finding.what:<14}{finding.text}")
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
    yield from _hardware(config, running.good is True)
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
    return Finding("agent", True, f"running, link {status['link']['state']}, {status['outbox']['backlog']} rows waiting")


def _hardware(config: Config, running: bool) -> Iterator[Finding]:
    from agent.daemon import open_sensor
    from hw.clock import SystemClock

    clock = SystemClock()
    for sensor in config.sensors:
        what = f"sensor {sensor.id}"
        note = "SIMULATED: this is a desktop; " if sensor.auto else ""
        if running:
            yield Finding(what, None, f"{note}driver {sensor.driver}, owned by the running agent: see `masthead sample`")
            continue
        try:
            opened = open_sensor(sensor, clock)
            try:
                sample = opened.read(clock.monotonic())
            finally:
                opened.close()
        except HardwareError as error:
            yield Finding(what, False, f"driver {sensor.driver}: {error}")
        else:
            yield Finding(what, True, f"{note}driver {sensor.driver}: {sample.speed_mps or 0.0:.1f} m/s")
    for actuator in config.actuators:
        yield Finding(f"actuator {actuator.name}", None, f"driver {actuator.driver}, not moved by this check")


def _storage(config: Config) -> Iterator[Finding]:
    directory = config.state_directory
    if directory.is_dir():
        yield Finding("state", os.access(directory, os.W_OK) or False, _writable(directory))
    else:
        yield Finding("state", None, f"{directory} does not exist yet: `masthead run` makes it")
    existing = next(p for p in (directory, *directory.parents) if p.exists())
    free = shutil.disk_usage(existing).free
    needed = config.outbox.min_free_bytes
    text = f"{free / 1e6:,.0f} MB free"
    if free < needed:
        text += f": below outbox.min_free_bytes ({needed / 1e6:,.0f} MB) the store stops growing; free some space"
    yield Finding("disk", free >= needed, text)


def _writable(directory: Path) -> str:
    if os.access(directory, os.W_OK):
        return str(directory)
    return f"{directory} cannot be written by this user: chown it, or set device.state_directory"


def _clock() -> Finding:
    from agent.timekeeping import kernel_synchronised

    if kernel_synchronised():
        return Finding("clock", True, "synchronised")
    return Finding("clock", None, "not synchronised: readings say so; is a time service running (timedatectl)?")


def _hub(config: Config) -> Iterator[Finding]:
    try:
        credential = find(config.device.connection_string_file)
    except CredentialError as error:
        yield Finding("credential", False, str(error))
        return
    yield Finding("credential", True, f"device {credential.device_id} at {credential.address}, from {credential.source}")
    steps: list[tuple[str, Callable[[], str]]] = [
        ("name", lambda: _resolve(credential)),
        ("hub", lambda: _reach(credential)),
        ("TLS", lambda: _trust(credential, os.environ.get("MASTHEAD_CA_FILE") or config.device.ca_file)),
    ]
    for what, step in steps:
        try:
            yield Finding(what, True, step())
        except OSError as error:
            yield Finding(what, False, _remedy(what, error, credential))
            return


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
        return f"{secured.version()}, certificate trusted by {ca_file or 'the system'}"


def _remedy(what: str, error: OSError, credential: Credential) -> str:
    host = credential.address
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{host}: {error.verify_message}: set device.ca_file (or MASTHEAD_CA_FILE) to its CA; is the clock right?"
    if what == "name":
        return f"{host} cannot be resolved ({error.strerror}): check the network, DNS and the name"
    if what == "hub":
        return f"{host}:{_MQTT_PORT} cannot be reached ({error.strerror or error}): is the port open, the hub running?"
    return f"{host}: {error}"
