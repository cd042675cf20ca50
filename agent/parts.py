"""From stanzas of the configuration to what they describe: instruments, actuators, credential, CA."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hw import registry
from hw.actuator import Actuator, SafeLine
from hw.anemometer import Anemometer
from hw.clock import Clock
from hw.errors import DeviceUnavailable, HardwareError
from hw.vane import VanedAnemometer

from . import __version__
from .cloud.credentials import Credential, CredentialError, find
from .commands.actuation import Guarded
from .commands.late import LateActuator
from .config import ActuatorConfig, Config, ConfigError, SensorConfig
from .safe_file import SafeFile


def open_sensor(sensor: SensorConfig, clock: Clock) -> Anemometer:
    """The instrument that a stanza describes, with its vane. Raises HardwareError."""
    driver = registry.load(registry.ANEMOMETERS, sensor.driver)
    anemometer: Anemometer = driver.open(sensor.settings, clock)
    if sensor.vane is None:
        return anemometer
    try:
        vane = registry.load(registry.VANES, sensor.vane.driver).open(sensor.vane.settings, clock)
    except BaseException:
        anemometer.close()
        raise
    return VanedAnemometer(anemometer, vane)


def open_actuators(
    actuators: Sequence[ActuatorConfig],
    clock: Clock,
    *,
    wait: bool = False,
    safe_file: SafeFile | None = None,
) -> dict[str, Guarded]:
    """The actuators that stanzas describe, all of them or none.

    With ``wait`` one that is not available now is opened later (LateActuator). ``safe_file`` is given by the
    daemon alone, and has their lines before one is claimed. Raises ConfigError.
    """
    if safe_file is not None:
        write_safe_file(safe_file, actuators)
    guarded: dict[str, Guarded] = {}
    for actuator in actuators:
        try:
            guarded[actuator.name] = Guarded(
                _open_actuator(actuator, clock, wait, safe_file), actuator.limits, actuator.interlock
            )
        except BaseException as error:
            for opened in guarded.values():
                opened.actuator.close()
            if isinstance(error, HardwareError):
                raise ConfigError(f"actuators.{actuator.name}: {error}") from error
            raise
    return guarded


def write_safe_file(safe_file: SafeFile, actuators: Sequence[ActuatorConfig]) -> None:
    """The lines of these actuators, as far as they can be found, into ``safe_file``."""
    lines: dict[str, tuple[SafeLine, ...]] = {}
    for actuator in actuators:
        with suppress(HardwareError):  # whoever opens it is told
            lines[actuator.name] = _safe_lines(actuator)
    safe_file.write(lines)


def _safe_lines(config: ActuatorConfig) -> tuple[SafeLine, ...]:
    driver = registry.load(registry.ACTUATORS, config.driver)
    find: Callable[[Any], tuple[SafeLine, ...]] = getattr(driver, "safe_lines", lambda _: ())
    return find(config.settings)


def _open_actuator(config: ActuatorConfig, clock: Clock, wait: bool, safe_file: SafeFile | None) -> Actuator:
    driver = registry.load(registry.ACTUATORS, config.driver)

    def opening() -> Actuator:
        if safe_file is not None:
            safe_file.add(config.name, _safe_lines(config))
        actuator: Actuator = driver.open(config.settings, clock)
        return actuator

    try:
        return opening()
    except DeviceUnavailable as error:
        safe = getattr(config.settings, "safe", None)
        if not wait or safe is None:
            raise
        return LateActuator(opening, safe, error, clock)


def find_credential(config: Config) -> tuple[Credential | None, str | None]:
    """(the credential, or None and why not): without one the agent samples, stores and says so."""
    try:
        return find(config.device.connection_string_file), None
    except CredentialError as error:
        return None, str(error)


def read_ca(ca_file: str | None) -> str | None:
    """The private CA to trust as PEM text, or None for the system's. Raises CredentialError."""
    if ca_file is None:
        return None
    remedy = "set device.ca_file (or MASTHEAD_CA_FILE) to the PEM file of the hub's CA"
    try:
        text = Path(ca_file).expanduser().read_text()
    except UnicodeDecodeError as error:
        raise CredentialError(f"the CA file {ca_file} cannot be read (not a text file): {remedy}") from error
    except (OSError, ValueError, RuntimeError) as error:  # no such file, no file's name, no such user's home
        reason = error.strerror if isinstance(error, OSError) else error
        raise CredentialError(f"the CA file {ca_file} cannot be read ({reason}): {remedy}") from error
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise CredentialError(f"the CA file {ca_file} holds no certificate: {remedy}")
    return text


def product_info(config: Config) -> str:
    """One field on the wire for both: a Plug and Play model takes the place of the product."""
    return config.device.model_id or config.device.product_info or f"masthead/{__version__}"
