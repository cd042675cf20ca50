"""What `masthead check` and `masthead sensors` say of this machine's pins and buses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agent.config import Config
from hw import board, gpio


@dataclass(frozen=True)
class Finding:
    """``good`` is None for what is worth knowing and no fault."""

    what: str
    good: bool | None
    text: str


def machine() -> Iterator[Finding]:
    """The board, its gpiochips and its I2C buses; what may not be used is told with the remedy."""
    found = board.detect()
    yield Finding("board", None, str(found) if found else "a desktop: no device tree")
    for chip in gpio.chips():
        name = chip.path.rpartition("/")[2]
        yield Finding(name, None, chip.fault or f"{chip.label}, {chip.lines} lines")
    for bus in board.buses():
        yield Finding(f"i2c-{bus.number}", None, bus.fault or bus.name)


def hardware(config: Config) -> Iterator[Finding]:
    """``machine``, and what this configuration wants of it."""
    yield from machine()
    pulses = any(sensor.driver == "gpio-pulse" for sensor in config.sensors)
    if pulses and gpio.chips() and not gpio.has_gpiod():
        yield Finding(
            "edges",
            None,
            "through gpiozero, and pulses may be lost under load: for none lost install gpiod 2 or newer "
            "(sudo apt install python3-libgpiod on Debian 13, or pip install gpiod)",
        )
