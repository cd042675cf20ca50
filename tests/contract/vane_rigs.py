"""How each vane is built on the bench."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from tests.hw.adc_chips import Ads1x15Chip, Mcp3421Chip
from tests.hw.chips import As5048bChip, As5600Chip

from .anemometer_rigs import on_bus
from .lab import Lab, Rig

_LADDER_OHMS = (
    33e3,
    6.57e3,
    8.2e3,
    891,
    1e3,
    688,
    2.2e3,
    1.41e3,
    3.9e3,
    3.14e3,
    16e3,
    14.12e3,
    120e3,
    42.12e3,
)


def _angles(top: int) -> Callable[[Lab], None]:
    """Round and round in 37 steps."""

    def live(lab: Lab) -> None:
        for chip in lab.i2c.chips[1].values():
            chip.angle = (chip.angle + top // 37) % top

    return live


def _volts(volts: Any) -> Callable[[Lab], None]:
    turn = itertools.cycle(volts)

    def live(lab: Lab) -> None:
        for chip in lab.i2c.chips[1].values():
            chip.volts = next(turn)

    return live


_LADDER_V = [3.3 * ohms / (ohms + 10e3) for ohms in _LADDER_OHMS]
_POT_V = [3.3 * k / 40 for k in range(40)]

RIGS = {
    "ads1115": Rig(
        **on_bus(0x48, lambda lab: Ads1x15Chip(lab.waits), input=1, model="sen-15901"), live=_volts(_LADDER_V)
    ),
    "ads1115, potentiometer": Rig(
        **on_bus(0x48, lambda lab: Ads1x15Chip(lab.waits), input=1, model="davis-6410"),
        driver="ads1115",
        live=_volts(_POT_V),
    ),
    "ads1015": Rig(
        **on_bus(0x48, lambda lab: Ads1x15Chip(lab.waits, bits=12), input=1, model="rmyoung-05103"),
        live=_volts(_POT_V),
    ),
    "mcp3421": Rig(
        **on_bus(0x68, lambda lab: Mcp3421Chip(lab.waits), model="davis-6410", supply_v=1.8),
        live=_volts([v * 1.8 / 3.3 for v in _POT_V]),
    ),
    "as5600": Rig(**on_bus(0x36, lambda _: As5600Chip()), live=_angles(4096)),
    "as5048b": Rig(**on_bus(0x40, lambda _: As5048bChip()), live=_angles(16384)),
    "simulated": Rig(lambda _: {"seed": 1}),
}
