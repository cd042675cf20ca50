"""What is found of this machine's board, pins and buses, and whether they keep up with the configuration."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from agent.config import Config
from hw import board, gpio

from .finding import Finding


def machine() -> Iterator[Finding]:
    """The board, its gpiochips and its I2C buses; what may not be used is told with the remedy."""
    found = board.detect()
    yield Finding("board", "ok", str(found) if found else "a desktop: no device tree")
    for chip in gpio.chips():
        name = chip.path.rpartition("/")[2]
        if chip.fault is None:
            yield Finding(name, "ok", f"{chip.label}, {chip.lines} lines")
        else:
            yield Finding(name, "warning", chip.fault)
    for bus in board.buses():
        yield Finding(f"i2c-{bus.number}", "ok" if bus.fault is None else "warning", bus.fault or bus.name)


def findings(config: Config) -> Iterator[Finding]:
    """``machine``, and what this configuration wants of it."""
    yield from machine()
    pulses = any(sensor.driver == "gpio-pulse" for sensor in config.sensors)
    if pulses and gpio.chips() and not gpio.has_gpiod():
        yield Finding(
            "edges",
            "warning",
            "through gpiozero, and pulses may be lost under load",
            "for none lost install gpiod 2 or newer "
            "(sudo apt install python3-libgpiod on Debian 13, or pip install gpiod)",
        )
    yield from _conversions(config)


def _conversions(config: Config) -> Iterator[Finding]:
    """Converters that cannot keep the sampling rate: one does one conversion after the other."""
    period_s = 1 / config.sampling.rate_hz
    of_chip: dict[str, float] = defaultdict(float)
    of_sensor: dict[str, float] = defaultdict(float)
    for sensor in config.sensors:
        for part in (sensor, sensor.vane):
            settings = getattr(part, "settings", None)
            conversion_s = getattr(settings, "conversion_s", 0.0)
            of_sensor[sensor.id] += conversion_s
            if (
                settings is not None
                and conversion_s
                and hasattr(settings, "bus")
                and hasattr(settings, "address")
            ):
                of_chip[f"{settings.address:#x} on bus {settings.bus}"] += conversion_s
    slow = [(f"the converter {chip}", taken_s) for chip, taken_s in of_chip.items() if taken_s > period_s]
    slow += [(f"sensor {name}", taken_s) for name, taken_s in of_sensor.items() if taken_s > period_s]
    for what, taken_s in slow:
        text = (
            f"{what} takes {taken_s:.2f} s for a sample, one is due every {period_s:g} s: gusts are missing"
        )
        remedy = "choose a higher data_rate_sps, fewer bits or a lower sampling.rate_hz"
        yield Finding("sampling", "failed", text, remedy)
