"""The configuration file: TOML -> frozen dataclasses, with every error at once.

Each error names the file, the key, what was expected there and, for a misspelt word, the likely one.
Driver settings are checked by the driver's own dataclass (hw/settings.py), so a driver brings its keys along.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hw.settings import SettingError, did_you_mean, parse, toml_text

from . import config_stanzas as stanzas
from .config_tables import (
    SECTIONS,
    ActuatorConfig,
    CommandsConfig,
    DeviceConfig,
    LoggingConfig,
    OutboxConfig,
    SamplingConfig,
    SensorConfig,
    TelemetryConfig,
)

__all__ = ["ActuatorConfig", "Config", "ConfigError", "SensorConfig", "find", "load", "loads", "resolved"]


_MOST_BYTES = 1 << 20  # more takes a small board longer to read than its watchdog waits


class ConfigError(Exception):
    """The configuration cannot be used. ``str()`` is one line an error, each with file and key.

    ``actuators``: those whose own tables are in order, and their pins no sensor's, for they can be made safe
    all the same.
    """

    def __init__(self, text: str, actuators: Iterable[ActuatorConfig] = ()) -> None:
        super().__init__(text)
        self.actuators = tuple(actuators)


@dataclass(frozen=True)
class Config:
    """The whole configuration, checked."""

    path: Path | None
    device: DeviceConfig = field(default_factory=DeviceConfig)
    sensors: tuple[SensorConfig, ...] = ()
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    telemetry: TelemetryConfig = field(default_factory=TelemetryConfig)
    outbox: OutboxConfig = field(default_factory=OutboxConfig)
    commands: CommandsConfig = field(default_factory=CommandsConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    actuators: tuple[ActuatorConfig, ...] = ()

    @property
    def state_directory(self) -> Path:
        """``device.state_directory``, else systemd's, else the system's or the user's own.

        A configuration under /etc is the system's, whoever reads it: all must find the same lock.
        """
        if self.device.state_directory:
            return Path(self.device.state_directory).expanduser()
        if given := os.environ.get("STATE_DIRECTORY"):
            return Path(given.split(":")[0])
        of_system = self.path is not None and self.path.absolute().is_relative_to("/etc")
        if of_system or getattr(os, "geteuid", lambda: 1)() == 0:
            return Path("/var/lib/masthead")
        return Path("~/.local/state/masthead").expanduser()


def find(given: Path | None) -> Path:
    """The configuration file: ``given``, else $MASTHEAD_CONFIG, the user's, the system's.

    Raises ConfigError if it does not exist.
    """
    if given is not None or os.environ.get("MASTHEAD_CONFIG"):
        path = given or Path(os.environ["MASTHEAD_CONFIG"])
        if not path.is_file():
            wrong = "is a directory, give the file in it" if path.is_dir() else "no such configuration file"
            raise ConfigError(f"{path}: {wrong}")
        return path
    places = [Path("~/.config/masthead/masthead.toml").expanduser(), Path("/etc/masthead/masthead.toml")]
    for path in places:
        with suppress(PermissionError):  # a home that is not this user's, as with sudo -u
            if path.is_file():
                return path
    raise ConfigError(
        f"no configuration file at {places[0]} or {places[1]}: copy deploy/masthead.toml to one of them, "
        "give --config FILE, or try `masthead demo`"
    )


def load(path: Path) -> Config:
    """The checked configuration in ``path``. Raises ConfigError with every error there is."""
    try:
        with path.open("rb") as file:
            found = file.read(_MOST_BYTES + 1)
        if len(found) > _MOST_BYTES:
            raise ConfigError(f"{path}: is longer than {_MOST_BYTES} bytes: this is no configuration")
        text = found.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 (byte {error.start})") from error
    return loads(text, path)


def loads(text: str, path: Path | None = None) -> Config:
    """The checked configuration in ``text``; ``path`` is where it came from, for messages."""
    where = path or Path("configuration")
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits is no TOMLDecodeError
        early = text.partition("[[sensor]]")[0]
        hint = "; [sensor.vane] goes below its [[sensor]]" if "[sensor.vane]" in early else ""
        raise ConfigError(f"{where}: not valid TOML: {error}{hint}") from error
    errors: list[SettingError] = []
    known = (*SECTIONS, "sensor", "actuators")
    for key in document:
        if key not in known:
            hint = ": below its [[sensor]] write [sensor.vane]" if key == "vane" else did_you_mean(key, known)
            errors.append(SettingError(key, f"unknown table{hint}"))
    parts: dict[str, Any] = {}
    for name, cls in SECTIONS.items():
        table = document.get(name, {})
        if not isinstance(table, Mapping):
            errors.append(SettingError(name, f"expected a table [{name}], got {table!r}"))
            continue
        parts[name], wrong = parse(cls, table, name)
        errors += wrong
    sensors = list(stanzas.sensors(document.get("sensor", []), errors))
    actuators = list(stanzas.actuators(document.get("actuators", {}), errors))
    errors += stanzas.used_twice(sensors, actuators)
    errors += stanzas.disagreeing(sensors, actuators)
    actuators = [stanzas.with_sensors(actuator, sensors) for actuator in actuators]
    if errors:
        sound = [
            actuator
            for actuator in actuators
            if actuator.settings is not None and not list(stanzas.used_twice(sensors, [actuator]))
        ]
        raise ConfigError("\n".join(f"{where}: {error}" for error in errors), sound)
    return Config(path, sensors=tuple(sensors), actuators=tuple(actuators), **parts)


def resolved(config: Config) -> str:
    """``config`` as TOML with every default and every resolved value in it; what has no value is left out."""
    device = dataclasses.replace(config.device, state_directory=str(config.state_directory))
    lines: list[str] = []
    for name in SECTIONS:
        lines += ["", f"[{name}]", *_assignments(device if name == "device" else getattr(config, name))]
    for sensor in config.sensors:
        lines += ["", "[[sensor]]", *_assignments(sensor), *_assignments(sensor.settings)]
        if sensor.vane is not None:
            lines += ["", "[sensor.vane]", *_assignments(sensor.vane), *_assignments(sensor.vane.settings)]
    for actuator in config.actuators:
        lines += ["", f"[actuators.{json.dumps(actuator.name)}]"]
        lines += [*_assignments(actuator), *_assignments(actuator.limits), *_assignments(actuator.settings)]
        if actuator.interlock is not None:
            lines += ["", f"[actuators.{json.dumps(actuator.name)}.interlock]"]
            lines += _assignments(actuator.interlock)
    return "\n".join(lines[1:])


_NO_KEYS = {"settings", "auto", "name", "vane", "limits", "interlock"}


def _assignments(settings: Any) -> Iterator[str]:
    """One line a setting; names, choices and tables that are not keys of this table are left out."""
    for field_ in dataclasses.fields(settings):
        value = getattr(settings, field_.name)
        if value is not None and field_.name not in _NO_KEYS:
            yield f"{field_.name} = {toml_text(value, field_.metadata)}"
