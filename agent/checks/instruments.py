"""What each sensor says and where each actuator's line is: tried, or told by the agent that has them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from agent.config import ActuatorConfig, Config, SensorConfig
from agent.state import StateError, StateLock
from agent.status import figure_text, value_text, wind_text
from hw.errors import BadSample, HardwareError

from .finding import AS_ROOT, Finding, hidden, within

if TYPE_CHECKING:
    from hw.anemometer import Anemometer, WindSample

_FIRST_VALUE_S = 6.0  # longer than a cup may stand still before it counts as calm
_SAMPLE_EVERY_S = 0.25
_SENSOR_S = 20.0  # with the opening, on a bus whose every transfer times out
_WIRING = "see its wiring and power, and the field guide (deploy/README.md)"


def in_use(config: Config, status: Mapping[str, Any]) -> Iterator[Finding]:
    """What the running agent says of its hardware; what it was not started with is said to be new."""
    for sensor in config.sensors:
        name, told = f"sensor {sensor.id}", status["sensors"].get(sensor.id)
        if told is None:
            yield _not_started_with(name)
            continue
        text = f"{_driver(sensor)}, in use by the running agent: {wind_text(told)}"
        yield Finding(name, "failed" if told["fault"] else "ok", text)
    for actuator in config.actuators:
        name, told = f"actuator {actuator.name}", status["actuators"].get(actuator.name)
        if told is None:
            yield _not_started_with(name)
            continue
        state = f"FAULT: {told['fault']}" if told["fault"] else value_text(told["value"])
        text = f"driver {actuator.driver}, in use by the running agent: {state}"
        yield Finding(name, "failed" if told["fault"] else "ok", text)


def _not_started_with(name: str) -> Finding:
    remedy = "`sudo systemctl restart masthead`"
    return Finding(name, "warning", "not known to the running agent: the configuration is newer", remedy)


def findings(config: Config) -> Iterator[Finding]:
    """A value of each sensor, and the line of each actuator, while no agent has them."""
    directory = config.state_directory
    if hidden(directory) or (directory.exists() and not os.access(directory, os.W_OK | os.X_OK)):
        text = f"not tried: this user cannot see whether {directory} is in use"
        yield Finding("sensors", "warning", text, AS_ROOT)
    else:
        try:
            # a lock file that root made would shut out the service's user
            with StateLock(directory) if (directory / "lock").exists() else nullcontext():
                for sensor in config.sensors:
                    yield within(_SENSOR_S, f"sensor {sensor.id}", partial(_sensor, sensor))
        except StateError as error:
            yield Finding("sensors", "failed", f"not tried: {error}")
    for actuator in config.actuators:
        yield _actuator(actuator)


def _sensor(sensor: SensorConfig) -> Finding:
    """A first value may take a while: a cup has to turn, a chip has to measure."""
    from agent.parts import open_sensor
    from hw.clock import SystemClock

    name, clock = f"sensor {sensor.id}", SystemClock()
    until = clock.monotonic() + _FIRST_VALUE_S
    try:
        with closing(open_sensor(sensor, clock)) as opened:
            while True:
                sample = _read(opened, clock.monotonic())
                if sample.fault is None or clock.monotonic() > until:
                    break
                time.sleep(_SAMPLE_EVERY_S)
    except HardwareError as error:
        return Finding(name, "failed", f"{_driver(sensor)}: {error}")
    raw = ", ".join(f"{what} {figure_text(value)}" for what, value in sample.raw.items())
    told = {"windSpeed": sample.speed_mps, "windDirection": sample.direction_deg, "fault": sample.fault}
    text = f"{_driver(sensor)}: {wind_text(told)}" + (f"  [{raw}]" if raw else "")
    return Finding(name, "ok", text) if sample.fault is None else Finding(name, "failed", text, _WIRING)


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

    name, text = f"actuator {actuator.name}", f"driver {actuator.driver}, not moved by this check"
    pin = getattr(actuator.settings, "pin", None)
    if pin is None or given_factory() is not None:
        return Finding(name, "ok", text)
    try:
        line = find_line(pin, getattr(actuator.settings, "chip", None))
    except HardwareError as error:
        return Finding(name, "failed", f"driver {actuator.driver}: {error}")
    return Finding(name, "ok", f"{text}: GPIO {pin} is line {line.offset} of {line.path}")


def _driver(sensor: SensorConfig) -> str:
    vane = f" with vane {sensor.vane.driver}" if sensor.vane is not None else ""
    return f"driver {sensor.driver}{vane}" + (" (SIMULATED: this is a desktop)" if sensor.auto else "")
