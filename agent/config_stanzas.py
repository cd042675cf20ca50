"""The stanzas of sensors and actuators: their common part, their driver's, and what must agree among them."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hw import catalogue, registry
from hw.board import resolve_auto
from hw.errors import HardwareError
from hw.settings import SettingError, did_you_mean, parse

from .config_tables import (
    ActuatorConfig,
    ActuatorHead,
    ActuatorLimits,
    InterlockConfig,
    SensorConfig,
    SensorHead,
    VaneConfig,
    VaneHead,
)

_NAME = re.compile(r"\w[\w.-]{0,63}")
_LEVELS = {"pwm", "simulated"}


def sensors(tables: Any, errors: list[SettingError]) -> Iterator[SensorConfig]:
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
        head, settings = _parsed(own, SensorHead, driver, path, errors)
        if head is not None and chosen is not None:
            yield SensorConfig(head.id, chosen, settings, head.height_m, head.max_speed_mps, auto, vane)


def _foreign(table: Mapping[str, Any], driver: Any) -> list[str]:
    """Keys of a sensor's table that only other drivers have."""
    own = {*SensorHead.__dataclass_fields__, *driver.Settings.__dataclass_fields__, "vane"}
    others = (registry.load(registry.ANEMOMETERS, name).Settings for name in registry.ANEMOMETERS)
    known = {key for settings in others for key in settings.__dataclass_fields__}
    return [key for key in table if key not in own and key in known]


def _vane(table: Any, path: str, errors: list[SettingError]) -> VaneConfig | None:
    if not isinstance(table, Mapping):
        got = "[[sensor.vane]]" if isinstance(table, list) else repr(table)
        errors.append(SettingError(path, f"expected a table [sensor.vane], got {got}"))
        return None
    driver = _driver(registry.VANES, table.get("driver"), path, errors)
    head, settings = _parsed(table, VaneHead, driver, path, errors)
    return None if head is None else VaneConfig(head.driver, settings)


def actuators(tables: Any, errors: list[SettingError]) -> Iterator[ActuatorConfig]:
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
        interlock = (
            _interlock(table["interlock"], f"{path}.interlock", errors) if "interlock" in table else None
        )
        own = {key: value for key, value in table.items() if key != "interlock"}
        head, settings = _parsed(own, ActuatorHead, driver, path, errors)
        if head is None:
            continue
        if interlock is not None and math.isinf(head.stale_sensor_s):
            wrong = "with an interlock it must end: a sensor that is lost counts as wind above the limit"
            errors.append(SettingError(f"{path}.stale_sensor_s", wrong))
        limits = ActuatorLimits(**{f.name: getattr(head, f.name) for f in dataclasses.fields(ActuatorLimits)})
        yield ActuatorConfig(name, head.driver, settings, limits, interlock)


def _interlock(table: Any, path: str, errors: list[SettingError]) -> InterlockConfig | None:
    if not isinstance(table, Mapping):
        got = f"[[{path}]]" if isinstance(table, list) else repr(table)
        errors.append(SettingError(path, f"expected a table [{path}], got {got}"))
        return None
    interlock, wrong = parse(InterlockConfig, table, path)
    errors += wrong
    return interlock


def with_sensors(actuator: ActuatorConfig, sensors: Iterable[SensorConfig]) -> ActuatorConfig:
    """An interlock that names no sensor goes by all of them."""
    interlock = actuator.interlock
    if interlock is None or interlock.sensors:
        return actuator
    every = dataclasses.replace(interlock, sensors=tuple(sensor.id for sensor in sensors))
    return dataclasses.replace(actuator, interlock=every)


def disagreeing(
    sensors: Iterable[SensorConfig], actuators: Iterable[ActuatorConfig]
) -> Iterator[SettingError]:
    """Words that name something elsewhere in the file: an interlock's sensors, a group's other members."""
    sensors = list(sensors)
    known = {sensor.id for sensor in sensors}
    actuators = list(actuators)
    groups = Counter(actuator.limits.exclusive for actuator in actuators)
    for actuator in actuators:
        path = f"actuators.{actuator.name}"
        group = actuator.limits.exclusive
        if group is not None and groups[group] == 1:
            others = {word for word in groups if word is not None and word != group}
            hint = did_you_mean(group, others, "")
            yield SettingError(f"{path}.exclusive", f"no other actuator has {group!r}{hint}")
        if group is not None and (off := _off_instead(actuator)) is not None:
            wrong = "exclusive is for what is without current when safe"
            got = json.dumps(actuator.settings.safe)
            text = f"{wrong}: expected safe = {off}, got {got}; or leave exclusive out"
            yield SettingError(f"{path}.exclusive", text)
        interlock = actuator.interlock
        if interlock is None:
            continue
        for name in interlock.sensors:
            if name not in known:
                wrong = f"no sensor {name!r}{did_you_mean(name, known)}"
                yield SettingError(f"{path}.interlock.sensors", wrong)
        for sensor in sensors:
            limit, trip = sensor.max_speed_mps, interlock.trip_mps
            watched = sensor.id in (interlock.sensors or known)
            if watched and limit is not None and limit <= trip:
                wrong = (
                    f"sensor {sensor.id!r} has max_speed_mps = {limit:g}: it would never be above {trip:g}"
                )
                yield SettingError(f"{path}.interlock.trip_mps", wrong)


def _off_instead(actuator: ActuatorConfig) -> str | None:
    """The value of "off" where an actuator is on when safe, else None.

    A servo's number is an angle, which is neither on nor off, and that of another package its own affair.
    """
    safe = getattr(actuator.settings, "safe", None)
    if isinstance(safe, bool):
        return "false" if safe else None
    return "0" if actuator.driver in _LEVELS and safe != 0 else None


def used_twice(
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
