"""``masthead`` with every hardware driver and vendor library loaded, as if all of them were on one mast.

    python -m tests.bench.with_drivers run --config FILE

A library that is not installed is left out; MISSING names them.
"""

from __future__ import annotations

import importlib
from contextlib import suppress
from importlib.util import find_spec

LIBRARIES = ("gpiozero", "lgpio", "gpiod", "smbus2")
MISSING = [name for name in LIBRARIES if find_spec(name) is None]


def load() -> None:
    """Import them all, the way the drivers do."""
    from hw import lgpio_pins, registry
    from hw.errors import DeviceUnavailable

    for table in (registry.ANEMOMETERS, registry.VANES, registry.ACTUATORS):
        for name in table:
            registry.load(table, name)
    with suppress(DeviceUnavailable):
        lgpio_pins._import_lgpio()  # it keeps lgpio's FIFO out of the working directory
    for name in LIBRARIES:
        if name not in MISSING:
            importlib.import_module(name)


if __name__ == "__main__":
    from agent.cli import main

    load()
    main()
