"""The tables of the configuration file: what each key means, its default and its limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hw.settings import setting

MAX_PROPERTIES_BYTES = 2048  # leaves a 4-KB metering unit room for the reading itself
OWN_PROPERTIES = frozenset({"schema", "type", "simulated", "calibration"})  # agent/reading.py sets them


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
        for name in ("state_directory", "connection_string_file", "ca_file"):
            _check_path(name, getattr(self, name))
        if self.product_info and self.model_id:
            raise ValueError("product_info and model_id share one field on the wire: give only one of them")
        if self.model_id and not self.model_id.startswith("dtmi:"):
            raise ValueError(f"model_id must start with 'dtmi:', got {self.model_id!r}")


def _check_path(name: str, value: str | None) -> None:
    """Raises ValueError for what no file can be called."""
    try:
        path = str(Path(value or "").expanduser())
    except RuntimeError:
        raise ValueError(f"{name}: no user's home is {value!r}, give the whole path") from None
    if "\0" in path or not path.isprintable():
        raise ValueError(f"{name}: expected a path of printable characters, got {value!r}")


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
class ActuatorLimits:
    """How far an actuator may go, whoever asks, and what brings it back to its safe state."""

    max_on_s: float = setting(
        3600.0, doc="longest time away from the safe state", minimum=0.1, maximum=31536000, endless=True
    )
    min_on_s: float = setting(
        0.0, doc="shortest `for` away from the safe state", minimum=0, maximum=86400, example=5.0
    )
    min_off_s: float = setting(
        0.0, doc="rest in the safe state, after a start too", minimum=0, maximum=86400, example=30.0
    )
    max_per_minute: int = setting(
        60, doc="moves away from the safe state in any minute", minimum=1, maximum=6000
    )
    exclusive: str | None = setting(
        None, doc="of all with this word only one may be away from its safe state", example="awning-motor"
    )
    lost_link_s: float = setting(
        900.0, doc="without a link: back to safe, if the cloud moved it", minimum=1, endless=True
    )
    stale_sensor_s: float = setting(
        10.0, doc="without a valid wind speed: back to safe", minimum=2, maximum=86400, endless=True
    )

    def __post_init__(self) -> None:
        if self.min_on_s > self.max_on_s:
            raise ValueError(f"min_on_s ({self.min_on_s:g}) must not be above max_on_s ({self.max_on_s:g})")


@dataclass(frozen=True)
class InterlockConfig:
    """When the wind forbids an actuator to be away from its safe state.

    The defaults are those of awnings: EN 13561 has limits of 7.9, 10.7 and 13.8 m/s (classes 1 to 3) and
    asks for a trip within 3 s; 10 to 15 minutes pass before it is released.
    """

    trip_mps: float = setting(
        doc="safe, and held there, while the mean over trip_s is above",
        minimum=0.1,
        maximum=113.3,
        example=10.7,
    )
    trip_s: float = setting(3.0, doc="3 s: the gust of WMO-No. 8; 0: every sample", minimum=0, maximum=60)
    release_mps: float | None = setting(
        None, doc="released below this (0.75 of trip_mps, if absent)", minimum=0.1, maximum=113.3, example=7.9
    )
    release_s: float = setting(600.0, doc="when it was below for so long", minimum=0, maximum=86400)
    sensors: tuple[str, ...] = setting(
        (), doc="the worst of these, or of all; one that is lost counts as above", example=["top"]
    )

    def __post_init__(self) -> None:
        if self.release_below_mps > self.trip_mps:
            raise ValueError(
                f"release_mps ({self.release_mps:g}) must not be above trip_mps ({self.trip_mps:g})"
            )

    @property
    def release_below_mps(self) -> float:
        """Wind speed in m/s under which it is released."""
        return 0.75 * self.trip_mps if self.release_mps is None else self.release_mps


@dataclass(frozen=True)
class ActuatorConfig:
    """Something that commands may drive, and how far: ``interlock.sensors`` names at least one."""

    name: str
    driver: str
    settings: Any
    limits: ActuatorLimits = field(default_factory=ActuatorLimits)
    interlock: InterlockConfig | None = None


@dataclass(frozen=True)
class SensorHead:
    """What every [[sensor]] has, beside its driver's own keys."""

    id: str = setting(doc="name of this measuring point, in every reading", example="top")
    driver: str = setting("auto", doc="how it is read; `masthead sensors` lists them")
    height_m: float | None = setting(None, doc="height above ground", minimum=0, maximum=1000, example=10.0)
    max_speed_mps: float | None = setting(
        None, doc="values above are rejected (hard limit 113.3)", minimum=1, maximum=113.3, example=75.0
    )


@dataclass(frozen=True)
class VaneHead:
    """What every [sensor.vane] has, beside its driver's own keys."""

    driver: str = setting(doc="how it is read; `masthead sensors` lists them", example="as5600")


@dataclass(frozen=True, kw_only=True)
class ActuatorHead(ActuatorLimits):
    """What every [actuators.NAME] has, beside its driver's own keys."""

    driver: str = setting(doc="how it is driven; `masthead sensors` lists them", example="simulated")


SECTIONS: dict[str, type] = {
    "device": DeviceConfig,
    "sampling": SamplingConfig,
    "telemetry": TelemetryConfig,
    "outbox": OutboxConfig,
    "commands": CommandsConfig,
    "logging": LoggingConfig,
}
