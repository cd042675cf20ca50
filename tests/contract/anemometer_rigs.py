"""How each anemometer is built on the bench: one rig a driver, or more where it has several ways to work."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tests.hw.adc_chips import Ads1x15Chip, Mcp3421Chip
from tests.hw.chips import Fs3000Chip, Pcf8583Chip, SdpChip

from .lab import PERIOD_S, Lab, Rig


def _wave(lab: Lab, low: float, high: float) -> float:
    """Something between ``low`` and ``high`` that changes with time."""
    return (low + high) / 2 + (high - low) / 2 * math.sin(lab.clock.monotonic() / 3)


def on_bus(address: int, chip: Callable[[Lab], Any], **settings: Any) -> dict[str, Any]:
    """The parts of a rig whose chip is on /dev/i2c-1, and can be pulled out and put back."""
    shelf: dict[int, Any] = {}

    def wire(lab: Lab) -> Mapping[str, Any]:
        shelf.clear()
        lab.plug(address, chip(lab))
        return settings

    def unplug(lab: Lab) -> None:
        shelf[address] = lab.i2c.chips[1].pop(address)

    def plug(lab: Lab) -> None:
        lab.plug(address, shelf.pop(address))

    return {"wire": wire, "unplug": unplug, "plug": plug}


def _recording(lab: Lab, rows: int) -> Mapping[str, Any]:
    path = lab.folder / f"{rows}.csv"
    lines = [f"{k / 4},{5 + k % 7},{k * 11 % 360}" for k in range(rows)]
    path.write_text("time_s,wind_speed_mps,wind_direction_deg\n" + "\n".join(lines))
    return {"file": str(path)}


def _fs3000_blows(lab: Lab) -> None:
    for chip in lab.i2c.chips[1].values():
        chip.counts = round(_wave(lab, 409, 3686))


def _sdp_blows(lab: Lab) -> None:
    for chip in lab.i2c.chips[1].values():
        chip.pressure = round(_wave(lab, 0, 6000))


def _counter_turns(lab: Lab) -> None:
    for chip in lab.i2c.chips[1].values():
        chip.pulses(round(_wave(lab, 2, 20)))


def _cup_turns(pin: int, hertz: float) -> Callable[[Lab], None]:
    """Pulses of a reed that bounces once at each edge, on a line that is pulled up."""

    def live(lab: Lab) -> None:
        line = lab.gpio.pin(pin)
        count = round(hertz * PERIOD_S)
        for _ in range(count):
            part = PERIOD_S / count
            for wait_s, level in ((part / 2, 0), (0.0002, 1), (0.0002, 0), (part / 2 - 0.0006, 1)):
                lab.clock.advance(wait_s)
                line.drive_high() if level else line.drive_low()
            lab.clock.advance(0.0002)

    return live


def _sine_shaft(pin: int, hertz: float) -> Callable[[Lab], None]:
    """Clean edges, evenly spaced."""

    def live(lab: Lab) -> None:
        line = lab.gpio.pin(pin)
        count = round(hertz * PERIOD_S)
        for _ in range(count):
            lab.clock.advance(PERIOD_S / count / 2)
            line.drive_low()
            lab.clock.advance(PERIOD_S / count / 2)
            line.drive_high()

    return live


def _volts(low: float, high: float) -> Callable[[Lab], None]:
    def live(lab: Lab) -> None:
        for chip in lab.i2c.chips[1].values():
            chip.volts = _wave(lab, low, high)

    return live


RIGS = {
    "gpio-pulse": Rig(lambda _: {"pin": 17, "model": "davis-6410"}, live=_cup_turns(17, 8.0)),
    "gpio-pulse, clean edges": Rig(
        lambda _: {"pin": 17, "model": "vector-a100l2"}, driver="gpio-pulse", live=_sine_shaft(17, 400.0)
    ),
    "ads1115": Rig(
        **on_bus(0x48, lambda lab: Ads1x15Chip(lab.waits), model="adafruit-1733", input=2),
        live=_volts(0.45, 1.9),
    ),
    "ads1115, current loop": Rig(
        **on_bus(
            0x48, lambda lab: Ads1x15Chip(lab.waits), signal="4-20ma", shunt_ohm=165.0, full_mps=50.0, input=0
        ),
        driver="ads1115",
        live=_volts(0.7, 3.2),
    ),
    "ads1015": Rig(
        **on_bus(0x48, lambda lab: Ads1x15Chip(lab.waits, bits=12), slope=20.0, offset=-8.0, input=3),
        live=_volts(0.5, 1.9),
    ),
    "mcp3421": Rig(**on_bus(0x68, lambda lab: Mcp3421Chip(lab.waits), slope=20.0), live=_volts(0.1, 1.9)),
    "fs3000": Rig(**on_bus(0x28, lambda _: Fs3000Chip(), model="fs3000-1015"), live=_fs3000_blows),
    "sdp": Rig(**on_bus(0x25, lambda lab: SdpChip(lab.clock)), live=_sdp_blows),
    "pcf8583": Rig(**on_bus(0x50, lambda _: Pcf8583Chip(), model="sen-15901"), live=_counter_turns),
    "simulated": Rig(lambda _: {"seed": 1, "turbulence_intensity": 0.5}),
    "replay": Rig(lambda lab: _recording(lab, 1000)),
    "replay that ends": Rig(
        lambda lab: _recording(lab, 1000), driver="replay", unplug=lambda lab: lab.clock.advance(300.0)
    ),
}
