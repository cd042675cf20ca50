"""Every vane keeps hw.vane.Vane's contract. A new driver adds one rig to RIGS."""

from __future__ import annotations

import dataclasses

import pytest

from hw.errors import HardwareError
from hw.registry import VANES, load

from .lab import Bench, Lab
from .vane_rigs import RIGS


@pytest.fixture(params=sorted(RIGS))
def bench(request: pytest.FixtureRequest, lab: Lab) -> Bench:
    return _bench(request.param, lab)


def _bench(name: str, lab: Lab) -> Bench:
    return Bench(VANES, RIGS[name].driver or name, RIGS[name], lab)


def test_every_driver_has_a_rig() -> None:
    """No driver is registered without being held to the contract."""
    assert {rig.driver or name for name, rig in RIGS.items()} == set(VANES)


@pytest.mark.parametrize("name", sorted(VANES))
def test_a_driver_documents_itself_and_its_settings(name: str) -> None:
    """A driver has a docstring, and a frozen dataclass of settings with a line on each."""
    driver = load(VANES, name)
    assert driver.__doc__
    assert driver.Settings.__dataclass_params__.frozen
    assert all(field.metadata["doc"] for field in dataclasses.fields(driver.Settings))


def test_direction_lies_within_the_circle(bench: Bench) -> None:
    """All around, a direction is in [0, 360), and what the instrument said is numbers."""
    seen = set()
    for _ in range(240):
        bench.pass_by()
        sample = bench.read()
        assert 0 <= sample.direction_deg < 360
        assert sample.raw
        assert all(isinstance(value, (int, float)) for value in sample.raw.values())
        seen.add(sample.direction_deg)
    assert len(seen) > 10, "the rig's wind turns"


def test_a_vane_says_whether_it_is_real(bench: Bench) -> None:
    """Before the first read."""
    assert isinstance(bench.device.simulated, bool)


@pytest.mark.parametrize("name", sorted(name for name, rig in RIGS.items() if rig.unplug and rig.plug))
def test_a_fault_is_not_a_number_and_passes_by_itself(name: str, lab: Lab) -> None:
    """Without the instrument, at the start or later, read raises HardwareError; with it, it works."""
    bench = _bench(name, lab)
    rig = bench.rig
    assert rig.unplug is not None
    assert rig.plug is not None
    for _ in range(2):
        rig.unplug(lab)
        for _ in range(20):
            bench.pass_by()
            with pytest.raises(HardwareError) as caught:
                bench.read()
            assert str(caught.value)
        rig.plug(lab)
        bench.pass_by()
        assert 0 <= bench.read().direction_deg < 360


def test_a_closed_vane_reads_nothing(bench: Bench) -> None:
    """Closing twice does nothing more, reading raises, and the bus is free."""
    bench.pass_by()
    bench.read()
    bench.device.close()
    bench.device.close()
    with pytest.raises(HardwareError, match="closed"):
        bench.read()
    assert bench.lab.i2c.open_fds == 0
