"""Driver names -> classes. Other people's packages add theirs by entry points,
groups ``masthead.anemometers``, ``masthead.vanes`` and ``masthead.actuators``.

A driver is a class with ``Settings`` (a frozen dataclass, see settings.py), a one-line docstring and

    @classmethod
    def open(cls, settings: Settings, clock: Clock) -> Anemometer | Vane | Actuator

Its module is imported only when the driver is used.
"""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import Any

from .errors import DeviceMisconfigured
from .settings import did_you_mean

ANEMOMETERS = {
    "gpio-pulse": "hw.gpio_pulse:PulseAnemometer",
    "ads1115": "hw.i2c.ads1x15:Ads1115Anemometer",
    "ads1015": "hw.i2c.ads1x15:Ads1015Anemometer",
    "mcp3421": "hw.i2c.mcp3421:Mcp3421Anemometer",
    "fs3000": "hw.i2c.fs3000:Fs3000",
    "sdp": "hw.i2c.sdp:SdpPitot",
    "pcf8583": "hw.i2c.pcf8583:PulseCounter",
    "simulated": "hw.simulated.wind:SimulatedAnemometer",
    "replay": "hw.simulated.replay:ReplayAnemometer",
}

VANES = {
    "ads1115": "hw.i2c.ads1x15:Ads1115Vane",
    "ads1015": "hw.i2c.ads1x15:Ads1015Vane",
    "mcp3421": "hw.i2c.mcp3421:Mcp3421Vane",
    "as5600": "hw.i2c.as5600:As5600",
    "as5048b": "hw.i2c.as5048b:As5048b",
    "simulated": "hw.simulated.vane:SimulatedVane",
}

ACTUATORS = {
    "relay": "hw.actuators.relay:Relay",
    "pwm": "hw.actuators.pwm:Pwm",
    "servo": "hw.actuators.servo:Servo",
    "simulated": "hw.simulated.pins:SimulatedActuator",
}

_KINDS = ((ANEMOMETERS, "anemometers"), (VANES, "vanes"), (ACTUATORS, "actuators"))


def names(table: dict[str, str]) -> dict[str, str]:
    """``table`` with the drivers that installed packages offer. Built-in names cannot be replaced."""
    kinds = [kind for drivers, kind in _KINDS if drivers is table]
    found = {e.name: e.value for kind in kinds for e in entry_points(group=f"masthead.{kind}")}
    return {**found, **table}


def load(table: dict[str, str], name: str) -> Any:
    """The driver class called ``name``.

    Raises DeviceMisconfigured if there is none, with the nearest name, or if its module cannot be imported.
    """
    known = names(table)
    if name not in known:
        raise DeviceMisconfigured(f"unknown driver {name!r}{did_you_mean(name, known)}")
    module, _, attribute = known[name].partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise DeviceMisconfigured(f"driver {name!r} cannot be loaded: {error}") from error
