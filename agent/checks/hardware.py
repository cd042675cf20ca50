"""What is found of this machine's board, pins and buses, and whether they keep up with the configuration."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator

from agent.config import Config
from hw import board, gpio
from hw.lgpio_pins import INSTALL

from .finding import Finding

_PULSED = ("pwm", "servo")


def machine(drivers: Collection[str] = ()) -> Iterator[Finding]:
    """The board, its gpiochips, what drives them, and its I2C buses; what stands in the way of use, also by
    actuators of these ``drivers``, is told with the remedy."""
    found = board.detect()
    yield Finding("board", "ok", str(found) if found else "a desktop: no device tree")
    for chip in gpio.chips():
        name = chip.path.rpartition("/")[2]
        if chip.fault is None:
            yield Finding(name, "ok", f"{chip.label}, {chip.lines} lines")
        else:
            yield Finding(name, "warning", chip.fault)
    if gpio.chips() and gpio.given_factory() is None:
        yield _outputs(drivers)
    for bus in board.buses():
        yield Finding(f"i2c-{bus.number}", "ok" if bus.fault is None else "warning", bus.fault or bus.name)


def findings(config: Config) -> Iterator[Finding]:
    """``machine``, and what this configuration wants of it."""
    yield from machine([actuator.driver for actuator in config.actuators])
    pulses = any(sensor.driver == "gpio-pulse" for sensor in config.sensors)
    if pulses and gpio.chips() and gpio.outputs_by() is not None and not gpio.has_gpiod():
        yield Finding(
            "edges",
            "warning",
            "through gpiozero, and pulses may be lost under load",
            "for none lost install gpiod 2 or newer "
            "(sudo apt install python3-libgpiod on Debian 13, deploy/install.sh, not the package, on 12)",
        )
    yield from _conversions(config)


def _outputs(drivers: Collection[str]) -> Finding:
    """What drives relays and pulses, and whether these actuators can do with it."""
    by = gpio.outputs_by()
    pulsed = [driver for driver in _PULSED if driver in drivers]
    if by == "lgpio":
        return Finding("outputs", "ok", "through lgpio")
    if by == "gpiod":
        text = "through libgpiod, for lgpio is not installed: relays, but no pwm and no servo"
        return Finding("outputs", "failed", text, INSTALL) if pulsed else Finding("outputs", "ok", text)
    text = "neither lgpio nor libgpiod 2 is installed: no pulses, relay, pwm or servo"
    if pulsed:
        return Finding("outputs", "failed", text, INSTALL)
    remedy = f"{INSTALL}; Debian 13: sudo apt install python3-libgpiod (relays)"
    return Finding("outputs", "failed" if "relay" in drivers else "ok", text, remedy)


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
