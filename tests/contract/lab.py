"""A bench for drivers: a clock moved by hand, I2C adapters and GPIO pins below the vendors' libraries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from gpiozero import Device
from gpiozero.pins import mock
from gpiozero.pins.mock import MockFactory, MockPWMPin

from hw.registry import load
from hw.settings import parse
from tests.clock import FakeClock
from tests.hw.adc_chips import Waiting, waiting
from tests.i2c import FakeI2C, install

PERIOD_S = 0.25


@dataclass
class Lab:
    """What a rig is built on."""

    clock: FakeClock
    folder: Path
    i2c: FakeI2C
    gpio: MockFactory
    waits: Waiting

    def plug(self, address: int, chip: Any) -> None:
        """Wire a chip to /dev/i2c-1."""
        self.i2c.chips[1][address] = chip


def _nothing(lab: Lab) -> None:
    """Nothing to be done."""


@dataclass(frozen=True)
class Rig:
    """A sensor's driver on the bench.

    ``wire``: build what it is connected to, and say how it is configured. ``live``: what the world does in
    PERIOD_S; the clock then moves to its end. ``unplug`` and ``plug``: make it fail, and work again; None
    where nothing can fail, or cannot be mended.
    """

    wire: Callable[[Lab], Mapping[str, Any]]
    driver: str | None = None
    """Its name in the registry, where it is not that of the rig."""
    live: Callable[[Lab], None] = _nothing
    unplug: Callable[[Lab], None] | None = None
    plug: Callable[[Lab], None] | None = None


class Bench:
    """A rig with its driver, opened."""

    def __init__(self, table: dict[str, str], name: str, rig: Rig, lab: Lab) -> None:
        self.lab = lab
        self.rig = rig
        driver = load(table, name)
        settings, errors = parse(driver.Settings, rig.wire(lab))
        assert errors == []
        self.open = lambda: driver.open(settings, lab.clock)
        self.device: Any = self.open()

    def pass_by(self, seconds: float = PERIOD_S) -> None:
        """Let the world go on."""
        for _ in range(round(seconds / PERIOD_S)):
            end = self.lab.clock.monotonic() + PERIOD_S
            self.rig.live(self.lab)
            self.lab.clock.advance(end - self.lab.clock.monotonic())

    def read(self) -> Any:
        return self.device.read(self.lab.clock.monotonic())


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """An empty bench."""
    clock = FakeClock()
    monkeypatch.setattr(mock, "monotonic", clock.monotonic)
    factory = MockFactory(pin_class=MockPWMPin)
    monkeypatch.setattr(Device, "pin_factory", factory)
    yield Lab(clock, tmp_path, install(monkeypatch), factory, waiting(monkeypatch))
    factory.reset()
