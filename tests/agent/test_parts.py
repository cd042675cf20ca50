"""Stanzas become what they describe, all of it or none."""

from __future__ import annotations

from typing import Any

import pytest

from agent.config import ConfigError, loads
from agent.parts import open_actuators, open_sensor
from hw.errors import DeviceMisconfigured, DeviceUnavailable
from hw.simulated.pins import SimulatedActuator
from hw.simulated.vane import SimulatedVane
from hw.simulated.wind import SimulatedAnemometer
from tests.clock import FakeClock

SENSOR = '[[sensor]]\nid = "top"\ndriver = "simulated"\n'
ACTUATORS = SENSOR + '[actuators.a]\ndriver = "simulated"\n[actuators.b]\ndriver = "simulated"\n'


def _closed(monkeypatch: pytest.MonkeyPatch, driver: type[Any]) -> list[Any]:
    """What of this driver is closed from here on."""
    closed: list[Any] = []

    def close(self: Any) -> None:
        closed.append(self)

    monkeypatch.setattr(driver, "close", close)
    return closed


def _second_raises(error: BaseException, opened: list[Any]) -> Any:
    def opening(settings: Any, clock: Any) -> Any:
        if opened:
            raise error
        opened.append(SimulatedActuator(settings))
        return opened[0]

    return opening


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (DeviceUnavailable("in use"), ConfigError),
        (RuntimeError("a driver's own mistake"), RuntimeError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_where_one_actuator_cannot_be_opened_none_stays_claimed(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, raised: type[BaseException]
) -> None:
    """Whatever it raises; a fault of the hardware is told with the table's name."""
    closed, opened = _closed(monkeypatch, SimulatedActuator), []  # type: ignore[var-annotated]
    monkeypatch.setattr(SimulatedActuator, "open", _second_raises(error, opened))
    with pytest.raises(raised) as caught:
        open_actuators(loads(ACTUATORS).actuators, FakeClock())
    assert closed == opened
    if raised is ConfigError:
        assert str(caught.value) == "actuators.b: in use"


def test_one_that_is_not_available_may_be_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the caller has the time; what a person must mend is told at once all the same."""
    config = loads(ACTUATORS).actuators
    for error in (DeviceUnavailable("in use"), DeviceMisconfigured("no such pin")):
        monkeypatch.setattr(SimulatedActuator, "open", _second_raises(error, []))
        if isinstance(error, DeviceMisconfigured):
            with pytest.raises(ConfigError, match="no such pin"):
                open_actuators(config, FakeClock(), wait=True)
        else:
            assert set(open_actuators(config, FakeClock(), wait=True)) == {"a", "b"}


def test_a_sensor_is_read_with_its_vane() -> None:
    """As one instrument; without a vane it is the driver itself."""
    clock = FakeClock()
    plain, vaned = (
        open_sensor(loads(SENSOR + vane).sensors[0], clock)
        for vane in ("", '[sensor.vane]\ndriver = "simulated"\nseed = 7\ndirection_deg = 90\n')
    )
    assert isinstance(plain, SimulatedAnemometer)
    sample = vaned.read(clock.monotonic())
    assert sample.raw["vane_seed"] == 7
    assert sample.direction_deg is not None


def test_where_the_vane_cannot_be_opened_the_anemometer_is_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its pin stayed in use when it is tried again."""

    def refuse(settings: Any, clock: Any) -> Any:
        raise DeviceMisconfigured("no such input")

    closed = _closed(monkeypatch, SimulatedAnemometer)
    monkeypatch.setattr(SimulatedVane, "open", refuse)
    with pytest.raises(DeviceMisconfigured, match="no such input"):
        open_sensor(loads(SENSOR + '[sensor.vane]\ndriver = "simulated"\n').sensors[0], FakeClock())
    assert len(closed) == 1
