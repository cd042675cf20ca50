"""Where edges come from: the kernel's line events, or gpiozero's callbacks.

| Source | Time stamps | Losses |
|---|---|---|
| ``GpiodEdges``, libgpiod ≥ 2 | the kernel's, at the interrupt | counted, by sequence numbers |
| ``GpiozeroEdges`` | with lgpio the kernel's | only seen where the level did not change between two edges |

The kernel keeps up to 1,024 events of a line, lgpio only 16: a busy machine loses pulses with gpiozero. With
libgpiod a process that is stopped for 1 s loses none up to 1,000 Hz where each pulse is one edge (hold_off_s
0), up to 500 Hz where it is two. Interrupts that the kernel merges before it stamps them have no number, and
are not counted as lost.
"""

from __future__ import annotations

from . import gpio
from .clock import Clock
from .edge_source import EdgeSource
from .gpiod_edges import GpiodEdges
from .gpiozero_edges import GpiozeroEdges


def open_edges(
    pin: int,
    *,
    chip: str | None = None,
    pull: str = "up",
    both: bool = True,
    active_low: bool = True,
    clock: Clock,
) -> EdgeSource:
    """The best source there is for GPIO ``pin`` (of ``chip``, see gpio.find_line).

    ``pull``: the board's own resistor, "up", "down" or "none". ``both``: rising and falling edges, else only
    those to the active level. ``clock`` stamps the edges. Where somebody has chosen gpiozero's factory it is
    used; otherwise libgpiod, if it is installed in version 2 or later; otherwise gpiozero.

    Raises DeviceUnavailable if there is no such pin now or it is in use, DeviceMisconfigured if it is not
    known which pin is meant, or that pin cannot tell of edges.
    """
    factory = gpio.given_factory()
    if factory is None:
        if gpio.has_gpiod() and gpio.chips():
            line = gpio.find_line(pin, chip)
            return GpiodEdges(line, pull=pull, both=both, active_low=active_low, clock=clock)
        factory = gpio.pin_factory(chip, pin)
    return GpiozeroEdges(pin, factory, pull=pull, both=both, active_low=active_low, clock=clock)
