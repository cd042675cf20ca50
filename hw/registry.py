"""Driver names -> classes. Other people's packages add theirs by entry points,
groups ``masthead.anemometers`` and ``masthead.actuators``.

A driver is a class with ``Settings`` (a frozen dataclass, see settings.py), a one-line docstring and

    @classmethod
    def open(cls, settings: Settings, clock: Clock) -> Anemometer | Actuator

Its module is imported only when the driver is used.
"""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import Any

from .errors import DeviceMisconfigured
from .settings import did_you_mean

ANEMOMETERS = {
    "simulated": "hw.simulated.wind:SimulatedAnemometer",
    "replay": "hw.simulated.replay:ReplayAnemometer",
}

ACTUATORS = {
    "simulated": "hw.simulated.pins:SimulatedActuator",
}


def names(table: dict[str, str]) -> dict[str, str]:
    """``table`` with the drivers that installed packages offer. Built-in names cannot be replaced."""
    kind = "anemometer" if table is ANEMOMETERS else "actuator"
    found = {e.name: e.value for e in entry_points(group=f"masthead.{kind}s")}
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
