"""The configuration file: TOML -> frozen dataclasses, with every error at once.

Each error names the file, the key, what was expected there and, for a misspelt word, the likely one.
Driver settings are checked by the driver's own dataclass (hw/settings.py), so a driver brings its keys along.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hw import catalogue, registry
from hw.board import resolve_auto
from hw.errors import HardwareError
from hw.settings import SettingError, did_you_mean, parse, setting, toml_text

MAX_PROPERTIES_BYTES = 2048  # leaves a 4-KB metering unit room for the reading itself
OWN_PROPERTIES = frozenset({"schema", "type", "simulated", "calibration"})  # agent/reading.py sets them
_NAME = re.compile(r"\w[\w.-]{0,63}")


class ConfigError(Exception):
    """The configuration cannot be used. ``str()`` is one line an error, each with file and key."""


@dataclass(frozen=True)
class DeviceConfig:
    """Who this agent is, and where it keeps what it must not lose."""

    state_directory: str | None = setting(
        None, doc="where readings and the command journal are kept", example="/var/lib/masthead"
    )
    connection_string_file: str | None = setting(
        None,
        doc="file (mode 0600) with the device's connection string",
        example="/etc/masthead/connection-string",
    )
    ca_file: str | None = setting(
        None,
        doc="PEM file of a private CA to trust instead of the system's",
        example="/etc/masthead/hub-ca.pem",
    )
    hub_tier: str = setting(
        "S1", doc="the hub's tier: its metering unit and daily quota", choices=("F1", "S1", "S2", "S3")
    )
    product_info: str | None = setting(
        None, doc="told to the hub when connecting; not together with model_id", example="masthead/1.0"
    )
    model_id: str | None = setting(
        None, doc="Plug and Play model, dtmi:…; not together with product_info", example="dtmi:org:mast;1"
    )

    def __post_init__(self) -> None:
        if self.product_info and self.model_id:
            raise ValueError("product_info and model_id share one field on the wire: give only one of them")
        if self.model_id and not self.model_id.startswith("dtmi:"):
            raise ValueError(f"model_id must start with 'dtmi:', got {self.model_id!r}")


@dataclass(frozen=True)
class TelemetryConfig:
    """What is sent, how often, and how long the hub may take."""

    report_interval_s: float = setting(60.0, doc="seconds between two readings", minimum=1, maximum=86400)
    batching: str = setting(
        "object",
        doc="one reading a message, arrays for a backlog (auto), or always arrays",
        choices=("object", "auto", "array"),
    )
    send_timeout_s: float = setting(
        30.0, doc="seconds until an unconfirmed message means a dead link", minimum=1, maximum=200
    )
    properties: dict[str, str] = setting({}, doc="added to every message")  # noqa: RUF009  (a field with a factory)

    def __post_init__(self) -> None:
        size = sum(len(k.encode()) + len(v.encode()) for k, v in self.properties.items())
        if size > MAX_PROPERTIES_BYTES:
            raise ValueError(f"properties are {size} bytes together, expected at most {MAX_PROPERTIES_BYTES}")
        for name in self.properties:
            if name in OWN_PROPERTIES:
                raise ValueError(f"properties: {name!r} is set by masthead itself, take another name")
            if not name or name.startswith(("$", "iothub-")) or not name.isascii() or not name.isprintable():
                raise ValueError(
                    f"properties: {name!r} is no name for a property (ASCII, not starting with $)"
                )


@dataclass(frozen=True)
class OutboxConfig:
    """How much may wait for the hub, and how long what was sent is kept."""

    max_bytes: int = setting(
        64 << 20, doc="most bytes on disk; the oldest rows go first", minimum=1 << 20, maximum=1 << 40
    )
    min_free_bytes: int = setting(
        64 << 20, doc="disk space left free for others: below it the store stops growing", minimum=0
    )
    keep_sent_days: float = setting(14.0, doc="days that sent rows stay for export", minimum=0, maximum=3650)
    max_age_days: float | None = setting(
        None, doc="drop unsent rows older than this (never, if absent)", minimum=0.01, example=30.0
    )


@dataclass(frozen=True)
class SamplingConfig:
    """How the wind is sampled."""

    rate_hz: float = setting(4.0, doc="samples a second (WMO-No. 8: 4)", minimum=1, maximum=20)


@dataclass(frozen=True)
class CommandsConfig:
    """Rules for commands from the cloud."""

    require_expiry: bool = setting(True, doc="refuse commands without an expiry, unless towards safe")
    untrusted_clock_max_age_s: float = setting(
        10.0, doc="while the clock is not synchronised: seconds a command stays valid", minimum=0, maximum=60
    )


@dataclass(frozen=True)
class LoggingConfig:
    """What is logged."""

    sdk: bool = setting(False, doc="also the Azure SDK's own log, keys and signatures masked")


@dataclass(frozen=True)
class VaneConfig:
    """The wind vane beside an anemometer."""

    driver: str
    settings: Any


@dataclass(frozen=True)
class SensorConfig:
    """One measuring point of the mast: ``settings`` are those of the driver that ``driver`` resolved to."""

    id: str
    driver: str
    settings: Any
    height_m: float | None = None
    max_speed_mps: float | None = None
    auto: bool = False
    """True where ``driver = "auto"`` chose the driver."""
    vane: VaneConfig | None = None


@dataclass(frozen=True)
class ActuatorConfig:
    """Something that commands may drive, and how far."""

    name: str
    driver: str
    settings: Any
    max_on_s: float | None = None


@dataclass(frozen=True)
class _SensorHead:
    id: str = setting(doc="name of this measuring point, in every reading", example="top")
    driver: str = setting("auto", doc="how it is read; `masthead sensors` lists them")
    height_m: float | None = setting(None, doc="height above ground", minimum=0, maximum=1000, example=10.0)
    max_speed_mps: float | None = setting(
        None, doc="values above are rejected (hard limit 113.3)", minimum=1, maximum=113.3, example=75.0
    )


@dataclass(frozen=True)
class _VaneHead:
    driver: str = setting(doc="how it is read; `masthead sensors` lists them", example="as5600")


@dataclass(frozen=True)
class _ActuatorHead:
    driver: str = setting(doc="how it is driven; `masthead sensors` lists them", example="simulated")
    max_on_s: float | None = setting(
        None, doc="longest time away from the safe state", minimum=0.1, maximum=31536000, example=1800.0
    )


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


SECTIONS: dict[str, type] = {
    "device": DeviceConfig,
    "sampling": SamplingConfig,
    "telemetry": TelemetryConfig,
    "outbox": OutboxConfig,
    "commands": CommandsConfig,
    "logging": LoggingConfig,
}
SENSOR_HEAD = _SensorHead
VANE_HEAD = _VaneHead
ACTUATOR_HEAD = _ActuatorHead


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
        if path.is_file():
            return path
    raise ConfigError(
        f"no configuration file at {places[0]} or {places[1]}: copy deploy/masthead.toml to one of them, "
        "give --config FILE, or try `masthead demo`"
    )


def load(path: Path) -> Config:
    """The checked configuration in ``path``. Raises ConfigError with every error there is."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
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
    sensors = list(_sensors(document.get("sensor", []), errors))
    actuators = list(_actuators(document.get("actuators", {}), errors))
    errors += _used_twice(sensors, actuators)
    if errors:
        raise ConfigError("\n".join(f"{where}: {error}" for error in errors))
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
        lines += [*_assignments(actuator), *_assignments(actuator.settings)]
    return "\n".join(lines[1:])


def _assignments(settings: Any) -> Iterator[str]:
    """One line a setting; names, choices and tables that are not keys of this table are left out."""
    for field_ in dataclasses.fields(settings):
        value = getattr(settings, field_.name)
        if value is not None and field_.name not in ("settings", "auto", "name", "vane"):
            yield f"{field_.name} = {toml_text(value, field_.metadata)}"


def _sensors(tables: Any, errors: list[SettingError]) -> Iterator[SensorConfig]:
    if not isinstance(tables, list) or not all(isinstance(t, Mapping) for t in tables):
        errors.append(SettingError("sensor", "expected one or more tables [[sensor]]"))
        return
    if not tables:
        errors.append(
            SettingError(
                "sensor", "expected at least one [[sensor]] with id and driver; `masthead sensors` lists them"
            )
        )
    seen: set[str] = set()
    for number, table in enumerate(tables):
        path = f"sensor[{number}]"
        name = table.get("id")
        if isinstance(name, str):
            if name and not _NAME.fullmatch(name):
                errors.append(SettingError(f"{path}.id", _name_expected(name)))
            if name in seen:
                errors.append(SettingError(f"{path}.id", f"{name!r} is used twice"))
            seen.add(name)
        auto = table.get("driver", "auto") == "auto"
        resolved = resolve_auto() if auto else None
        if resolved is not None and resolved.driver is None:
            errors.append(SettingError(f"{path}.driver", resolved.reason))
        chosen = resolved.driver if resolved is not None else table["driver"]
        driver = _driver(registry.ANEMOMETERS, chosen, path, errors)
        if auto and driver is not None and (foreign := _foreign(table, driver)):
            keys = " and ".join(foreign)
            text = (
                f'"auto" chose {chosen}, which has no {keys}: name the driver (`masthead sensors` lists them)'
            )
            errors.append(SettingError(f"{path}.driver", text))
            driver = None
        vane = _vane(table["vane"], f"{path}.vane", errors) if "vane" in table else None
        own = {key: value for key, value in table.items() if key != "vane"}
        head, settings = _parsed(own, _SensorHead, driver, path, errors)
        if head is not None and chosen is not None:
            yield SensorConfig(head.id, chosen, settings, head.height_m, head.max_speed_mps, auto, vane)


def _foreign(table: Mapping[str, Any], driver: Any) -> list[str]:
    """Keys of a sensor's table that only other drivers have."""
    own = {*_SensorHead.__dataclass_fields__, *driver.Settings.__dataclass_fields__, "vane"}
    others = (registry.load(registry.ANEMOMETERS, name).Settings for name in registry.ANEMOMETERS)
    known = {key for settings in others for key in settings.__dataclass_fields__}
    return [key for key in table if key not in own and key in known]


def _vane(table: Any, path: str, errors: list[SettingError]) -> VaneConfig | None:
    if not isinstance(table, Mapping):
        got = "[[sensor.vane]]" if isinstance(table, list) else repr(table)
        errors.append(SettingError(path, f"expected a table [sensor.vane], got {got}"))
        return None
    driver = _driver(registry.VANES, table.get("driver"), path, errors)
    head, settings = _parsed(table, _VaneHead, driver, path, errors)
    return None if head is None else VaneConfig(head.driver, settings)


def _actuators(tables: Any, errors: list[SettingError]) -> Iterator[ActuatorConfig]:
    if not isinstance(tables, Mapping):
        errors.append(SettingError("actuators", "expected tables [actuators.NAME]"))
        return
    for name, table in tables.items():
        path = f"actuators.{name}"
        if not isinstance(table, Mapping):
            errors.append(SettingError(path, f"expected a table [{path}], got {table!r}"))
            continue
        if not _NAME.fullmatch(name):
            errors.append(SettingError(path, _name_expected(name)))
        driver = _driver(registry.ACTUATORS, table.get("driver"), path, errors)
        head, settings = _parsed(table, _ActuatorHead, driver, path, errors)
        if head is not None:
            yield ActuatorConfig(name, head.driver, settings, head.max_on_s)


def _used_twice(
    sensors: Iterable[SensorConfig], actuators: Iterable[ActuatorConfig]
) -> Iterator[SettingError]:
    """A pin serves one purpose, and so does a chip on a bus, but for one with several inputs.

    What a driver of another package means by such keys is its own affair.
    """
    users: dict[tuple[Any, ...], tuple[str, str]] = {}
    named: list[tuple[str, Any]] = [
        *((f"sensor {s.id!r}", s) for s in sensors if s.driver in registry.ANEMOMETERS),
        *(
            (f"the vane of sensor {s.id!r}", s.vane)
            for s in sensors
            if s.vane and s.vane.driver in registry.VANES
        ),
        *((f"actuator {a.name!r}", a) for a in actuators if a.driver in registry.ACTUATORS),
    ]
    for name, user in named:
        settings = user.settings
        if (pin := getattr(settings, "pin", None)) is not None:
            chip = getattr(settings, "chip", None)
            first, _ = users.setdefault(("pin", chip and Path(chip).name, pin), (name, user.driver))
            if first != name:
                yield SettingError("pin", f"{pin} is used twice, by {first} and by {name}")
        if not (hasattr(settings, "bus") and hasattr(settings, "address")):
            continue
        place = settings.bus, settings.address
        first, driver = users.setdefault(("chip", *place), (name, user.driver))
        if first != name and (driver != user.driver or not hasattr(settings, "input")):
            what = f"0x{settings.address:02x} on bus {settings.bus} is used twice"
            yield SettingError("address", f"{what}, by {first} and by {name}")
        elif hasattr(settings, "input"):
            first, _ = users.setdefault(("input", *place, str(settings.input)), (name, driver))
            if first != name:
                yield SettingError("input", f"{settings.input} is used twice, by {first} and by {name}")


def _driver(drivers: dict[str, str], name: Any, path: str, errors: list[SettingError]) -> Any:
    """The driver's class, or None: what is no text is told by the table's common part."""
    if not isinstance(name, str):
        return None
    try:
        return registry.load(drivers, name)
    except HardwareError as error:
        model = any(catalogue.is_called(model, name) for model in catalogue.models())
        hint = f'{name!r} is a model: give its driver, and model = "{name}" (`masthead sensors {name}`)'
        errors.append(SettingError(f"{path}.driver", hint if model else str(error)))
        return None


def _parsed(
    table: Mapping[str, Any], head: type[Any], driver: Any, path: str, errors: list[SettingError]
) -> tuple[Any, Any]:
    """(the common part, the driver's own settings) of one table, None where wrong or not known."""
    common = set(head.__dataclass_fields__)
    values, wrong = parse(head, {k: v for k, v in table.items() if k in common}, path)
    errors += wrong
    if driver is None:
        return None, None
    known = common | set(driver.Settings.__dataclass_fields__)
    unknown = [k for k in table if k not in known]
    errors += [SettingError(f"{path}.{k}", f"unknown key{did_you_mean(k, known)}") for k in unknown]
    settings, wrong = parse(driver.Settings, {k: v for k, v in table.items() if k in known - common}, path)
    errors += wrong
    return values, settings


def _name_expected(name: str) -> str:
    return f"expected a name of letters, digits, '_', '-' and '.', at most 64, got {name!r}"
