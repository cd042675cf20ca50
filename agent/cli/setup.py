"""``masthead setup``: from an installed package to the first reading in the hub."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from agent.cloud.credentials import Credential, CredentialError, parse
from agent.config import Config, load, loads
from agent.redact import scrub
from agent.setup import certificates, editing, service
from agent.setup import credential as credentials
from agent.setup.places import READ_ONLY, Places, SetupError, back_up, put
from agent.setup.sensor import Sensor, named, value_of

from .common import ask, one_line_errors

PLACES = Places()
T = TypeVar("T")
_SENSOR = "--sensor"
_SECRET = "--connection-string-file"  # noqa: S105  (an option's name)


@dataclass(frozen=True)
class _Given:
    """The options. ``asking``: whether a person is there to be asked for what they leave out."""

    path: Path
    sensor: str | None
    settings: Mapping[str, Any]
    string_file: Any
    ca_file: Path | None
    asking: bool


@dataclass(frozen=True)
class _Plan:
    """What is to be done; nothing of it is yet. ``ca``: the private CA's certificates, if one is given."""

    path: Path
    before: str
    text: str
    credential: Credential | None
    ca: str | None

    @property
    def ca_path(self) -> Path:
        """Where the service can read it, which no home directory is."""
        return self.path.with_name("hub-ca.pem")


@click.command("setup")
@click.option(_SENSOR, "sensor_name", metavar="NAME", help="Model or driver (`masthead sensors` lists them).")
@click.option(
    "--pin", type=click.IntRange(0, 1023), metavar="N", help="GPIO number of its signal: as --set pin=N."
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Another setting of its driver.")
@click.option(
    _SECRET,
    "string_file",
    type=click.Path(allow_dash=True),
    metavar="FILE",
    help="The device's connection string; - is standard input, which at a terminal is not shown. It is asked "
    "for if not given.",
)
@click.option(
    "--ca-file", type=click.Path(path_type=Path), metavar="FILE", help="PEM file of the hub's private CA."
)
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Configuration file that the service reads.  [default: /etc/masthead/masthead.toml]",
)
@click.option("--yes", is_flag=True, help="Ask nothing.")
def setup_command(
    *,
    sensor_name: str | None,
    pin: int | None,
    settings: tuple[str, ...],
    string_file: str | None,
    ca_file: Path | None,
    config_path: Path | None,
    yes: bool,
) -> None:
    """Set up this machine as a mast: sensor, credential, service, first reading. It takes root: sudo.

    It asks for what is not given as an option. What is there already stays, so it can be run again. The
    connection string goes to systemd's credentials, encrypted where systemd-creds serves.

    \b
    Example:
      masthead setup --sensor davis-6410 --pin 17
    """
    asking = not yes and sys.stdin.isatty()
    named_settings = dict(_pair(text) for text in settings) | ({} if pin is None else {"pin": pin})
    given = _Given(config_path or PLACES.config, sensor_name, named_settings, string_file, ca_file, asking)
    try:
        plan = _planned(given)
        if asking:
            _confirm(plan)
        config = _apply(plan)
        _check(plan.path, asking)
        click.echo("starting the service …")
        service.start()
        every = config.telemetry.report_interval_s
        click.echo(
            f"waiting for the first reading to be confirmed by the hub; one is made every {every:g} s …"
        )
        reading = service.wait_for_reading(lambda: ask(config, "status"), every, click.echo)
    except SetupError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"confirmed by the hub: {_shown(reading)}\nthe mast is set up; `masthead status` shows it")


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"expected KEY=VALUE, got {text!r}", param_hint="--set")
    return name.strip(), value_of(value.strip())


def _planned(given: _Given) -> _Plan:
    """Everything asked for and checked, nothing changed. Raises SetupError."""
    path = given.path
    if path.parent.is_dir() and not os.access(path.parent, os.W_OK):
        if os.statvfs(path.parent).f_flag & os.ST_RDONLY:
            raise SetupError(f"{path.parent} is on a read-only file system: {READ_ONLY}")
        raise SetupError(f"{path.parent} cannot be written by this user: sudo masthead setup")
    try:
        before = text = path.read_text(encoding="utf-8-sig")  # some editors begin with a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SetupError(f"{path} cannot be read ({reason}): is masthead installed?") from error
    sensor = _sensor(text, given)
    if sensor is not None:
        text = editing.with_sensor(text, sensor, str(path))
    plan = _Plan(
        path, before, text, None, None if given.ca_file is None else certificates.read(given.ca_file)
    )
    if plan.ca is not None:
        text = editing.with_ca(text, str(plan.ca_path), str(path))
    with one_line_errors():
        config = loads(text, path)
    credential = _credential(config, given)
    if text == before:
        names = ", ".join(f"{sensor.id} ({sensor.driver})" for sensor in config.sensors)
        click.echo(f"{path} stays as it is: {names}")
    return _Plan(path, before, text, credential, plan.ca)


def _sensor(text: str, given: _Given) -> Sensor | None:
    """None where the configuration has one. Raises SetupError."""
    if given.sensor is None and given.settings:
        raise SetupError(f"settings without a sensor: give {_SENSOR} too")
    if given.sensor is not None:
        return _described(given.sensor, given)
    if not editing.is_sample(text):
        return None
    if not given.asking:
        raise SetupError(f"no sensor: give {_SENSOR} NAME (`masthead sensors` lists them)")
    click.echo(
        "Which sensor? A model or a driver (`masthead sensors` lists them); simulated to try the link."
    )
    return _answered("Sensor", lambda name: _described(name, given))


def _described(name: str, given: _Given) -> Sensor:
    """With what a person is asked for yet. Raises SetupError."""
    sensor = named(name.strip())
    for key, value in given.settings.items():
        sensor = sensor.with_setting(key, value)
    for field in sensor.missing:
        if not given.asking:
            raise SetupError(
                f"{sensor.driver} needs {field.name} ({field.metadata['doc']}): --set {field.name}=…"
            )
        sensor = _answered(
            f"{field.name}: {field.metadata['doc']}",
            partial(_with_setting, sensor, field.name),
            default=field.metadata["example"],
        )
    sensor.check()
    return sensor


def _with_setting(sensor: Sensor, name: str, typed: str) -> Sensor:
    sensor = sensor.with_setting(name, value_of(typed.strip()))
    sensor.check_setting(name)
    return sensor


def _answered(question: str, judged: Callable[[str], T], **prompt: Any) -> T:
    """What ``judged`` makes of the answer; after a wrong one (SetupError) it is asked again."""
    while True:
        typed = click.prompt(question, type=str, **prompt)
        try:
            return judged(str(typed))
        except SetupError as error:
            click.echo(f"Error: {error}", err=True)


def _credential(config: Config, given: _Given) -> Credential | None:
    """What is to be stored; None where it is stored already. Raises SetupError."""
    if given.string_file == "-" and sys.stdin.isatty():
        return _typed()
    if given.string_file is not None:
        return _parsed(_read(given.string_file), given.string_file)
    if (file := config.device.connection_string_file) is not None:
        click.echo(f"the connection string is in {file}, as the configuration says")
        return None
    if (place := credentials.stored(PLACES)) is not None:
        click.echo(f"the connection string is stored already: {place}")
        if not given.asking or click.confirm("Keep it?", default=True):
            return None
    if not given.asking:
        raise SetupError(f"no connection string: give {_SECRET} FILE, or - for standard input")
    return _typed()


def _typed() -> Credential:
    return _answered(
        "The device's connection string (it is not shown)",
        lambda typed: _parsed(typed, "what was typed"),
        hide_input=True,
    )


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise SetupError(f"{file}: the connection string cannot be read: {reason}") from error


def _parsed(text: str, source: str) -> Credential:
    try:
        return parse(text.strip("\ufeff \t\r\n;\"'"), source)  # as it was copied out of a script
    except CredentialError as error:
        raise SetupError(scrub(str(error))) from error  # a lone key would be named in it


def _confirm(plan: _Plan) -> None:
    if plan.credential is not None:
        click.echo(f"device {plan.credential.device_id} at {plan.credential.address}")
    work = [] if plan.text == plan.before else [f"write {plan.path}"]
    work += [] if plan.ca is None else [f"write {plan.ca_path}"]
    work += [] if plan.credential is None else ["store the connection string"]
    question = ", ".join([*work, "start the service?"])
    if not click.confirm(question[0].upper() + question[1:], default=True):
        raise SetupError("nothing was changed")


def _apply(plan: _Plan) -> Config:
    """Each file at once; the configuration last, for with it the service may start. Raises SetupError."""
    if plan.ca is not None:
        put(plan.ca_path, plan.ca, 0o644)
    if plan.credential is not None:
        place = credentials.store(plan.credential.connection_string, PLACES)
        click.echo(f"connection string of {plan.credential.device_id}: {place}")
    if plan.text != plan.before:
        copy = back_up(plan.path)
        put(plan.path, plan.text, plan.path.stat().st_mode & 0o777)
        click.echo(f"{plan.path} written; as it was before: {copy}")
    with one_line_errors():
        return load(plan.path)


def _check(path: Path, asking: bool) -> None:
    """Show what `masthead check` finds; a person may stop at a failure, for a mast can start without."""
    from agent.checks import run

    from .check import show

    failed = 0
    for finding in run(path):
        failed += finding.state == "failed"
        show(finding)
    if (
        failed
        and asking
        and not click.confirm(f"{failed} failed. Start the service all the same?", default=False)
    ):
        raise SetupError("not started: mend what failed and run setup again, it goes on from here")


def _shown(reading: Mapping[str, Any]) -> str:
    speed, direction = reading.get("windSpeed"), reading.get("windDirection")
    wind = "no value" if speed is None else f"{speed:g} m/s"
    return (
        f"{reading['sensor']} {wind}"
        + ("" if direction is None else f" from {direction:.0f}°")
        + f", {reading['time']}"
    )
