"""What is invented, said loudly."""

from __future__ import annotations

import logging
from collections.abc import Collection

from .config import Config

log = logging.getLogger(__name__)

SIMULATED = ("simulated", "replay")
"""The drivers of sensors and actuators that nothing is behind."""


def say_what_is_simulated(config: Config, inventing: Collection[str]) -> None:
    """``inventing``: the ids of the sensors that turned out to invent their values."""
    for sensor in config.sensors:
        if sensor.auto and sensor.id in inventing:
            log.warning(
                "SIMULATED WIND: this machine is a desktop, so sensor %r invents its values; "
                "every message says so (simulated = true)",
                sensor.id,
            )
    invented = {sensor.id for sensor in config.sensors if sensor.driver in SIMULATED}
    for actuator in config.actuators:
        watched = set(actuator.interlock.sensors) if actuator.interlock is not None else set()
        if watched & invented and actuator.driver not in SIMULATED:
            log.warning("%s: its interlock goes by a wind that nobody measures", actuator.name)
