"""The pulse anemometer as it is configured, over a mock of the board's pins."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import gpiozero
import gpiozero.pins.mock
import pytest

from hw import gpio_pulse
from hw.anemometer import WindSample
from hw.catalogue import pulse_models
from hw.errors import BadSample, DeviceUnavailable
from hw.gpio_pulse import PulseAnemometer
from hw.pulse import Edge, PulseMeter
from hw.settings import parse
from tests.clock import FakeClock

# model -> m/s at 5 and at 25 Hz, worked out from the makers' figures
REFERENCE = {
    "davis-6410": (5.0292, 25.146),
    "sen-15901": (3.3333, 16.6667),
    "inspeed-vortex": (5.588, 27.94),
    "nrg-40c": (4.175, 19.475),
    "thies-first-class": (0.441, 1.365),
    "vector-a100l2": (0.2572, 1.2861),
    "met-one-014a": (4.447, 20.447),
    "rmyoung-05103": (0.49, 2.45),
    "vaisala-waa151": (0.833, 2.853),
}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def factory(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The board's pins, on the test's clock."""
    monkeypatch.setattr(gpiozero.pins.mock, "monotonic", clock.monotonic)
    factory = gpiozero.pins.mock.MockFactory()
    monkeypatch.setattr(gpiozero.Device, "pin_factory", factory)
    yield factory
    factory.reset()


def settings(**table: Any) -> PulseAnemometer.Settings:
    parsed, errors = parse(PulseAnemometer.Settings, {"pin": 17, **table})
    assert errors == []
    assert parsed is not None
    return parsed


def fault(**table: Any) -> str:
    parsed, errors = parse(PulseAnemometer.Settings, {"pin": 17, **table}, "sensor[0]")
    assert parsed is None
    [error] = errors
    return str(error)


class Cup:
    """Turns at ``hertz`` pulses a second in front of the anemometer that ``table`` describes."""

    def __init__(self, clock: FakeClock, factory: Any, **table: Any) -> None:
        self._clock = clock
        self.anemometer = PulseAnemometer.open(settings(**table), clock)
        self._pin = factory.pin("GPIO17")
        self._active_high = self._pin.pull == "down"
        self._read_s = clock.monotonic()
        self.samples: list[WindSample] = []

    def turn(self, hertz: float, seconds: float) -> WindSample:
        """The sample at the end; others are taken meanwhile."""
        for _ in range(round(hertz * seconds)):
            self._pass(0.3 / hertz)
            self._pin.drive_high() if self._active_high else self._pin.drive_low()
            self._pass(0.4 / hertz)
            self._pin.drive_low() if self._active_high else self._pin.drive_high()
            self._pass(0.3 / hertz)
        return self.read()

    def wait(self, seconds: float) -> WindSample:
        self._pass(seconds)
        return self.read()

    def _pass(self, seconds: float) -> None:
        """Sampled as an agent does."""
        for part in [0.25] * int(seconds / 0.25) + [seconds % 0.25]:
            self._clock.advance(part)
            if self._clock.monotonic() - self._read_s >= 0.25:
                with contextlib.suppress(BadSample):
                    self.read()

    def read(self) -> WindSample:
        self._read_s = self._clock.monotonic()
        self.samples.append(self.anemometer.read(self._read_s))
        return self.samples[-1]


@pytest.mark.parametrize("model", REFERENCE)
def test_a_model_measures_as_its_maker_states(clock: FakeClock, factory: Any, model: str) -> None:
    """At 5 and 25 Hz, and 0 when it stands; named in the data as its calibration."""
    cup = Cup(clock, factory, model=model)
    assert cup.anemometer.calibration == model
    for hertz, expected in zip((5, 25), REFERENCE[model], strict=True):
        cup.turn(hertz, 4)
        sample = cup.turn(hertz, 4)
        assert sample.speed_mps == pytest.approx(expected, abs=1e-4)
        assert sample.raw["hertz"] == pytest.approx(hertz)
    assert cup.wait(5).speed_mps == 0
    cup.anemometer.close()


def test_raw_tells_what_came_over_the_wire(clock: FakeClock, factory: Any) -> None:
    """Running totals of edges, pulses and losses, and the frequency."""
    cup = Cup(clock, factory, model="davis-6410")
    sample = cup.turn(10, 2)
    assert sample.raw == {"edges": 40, "pulses": 20, "hertz": pytest.approx(10), "lost_edges": 0}
    assert cup.turn(10, 2).raw["pulses"] == 40
    assert cup.anemometer.source_name == "gpiozero"
    cup.anemometer.close()


def test_a_clean_signal_is_listened_to_by_one_edge(clock: FakeClock, factory: Any) -> None:
    """Half the work, twice the buffer."""
    cup = Cup(clock, factory, model="vector-a100m")
    sample = cup.turn(100, 1)
    assert sample.speed_mps == pytest.approx(10)
    assert (sample.raw["edges"], sample.raw["pulses"]) == (100, 100)
    cup.anemometer.close()


@pytest.mark.parametrize(
    ("table", "low"),
    [
        ({}, True),
        ({"pull": "none"}, True),
        ({"pull": "down"}, False),
        ({"pull": "down", "active": "low"}, True),
        ({"active": "high"}, False),
    ],
)
def test_the_active_level_follows_the_pull(
    clock: FakeClock, factory: Any, table: dict[str, Any], low: bool
) -> None:
    """A contact pulls against the resistor, unless it is said otherwise."""
    cup = Cup(clock, factory, model="vector-a100m", **table)
    assert factory.pin("GPIO17").edges == ("falling" if low else "rising")
    cup.anemometer.close()


def test_a_certificate_takes_the_place_of_the_model(clock: FakeClock, factory: Any) -> None:
    """Its coefficients, and its name in the data; the model's signal stays."""
    cup = Cup(clock, factory, model="windsensor-p2546a", slope=0.6, offset=0.3, calibration="C-2041")
    assert cup.anemometer.calibration == "C-2041"
    assert cup.turn(10, 2).speed_mps == pytest.approx(6.3)
    cup.anemometer.close()


def test_what_the_model_says_of_the_signal_can_be_set(clock: FakeClock, factory: Any) -> None:
    """Pulses a revolution and hold-off, where the instrument at hand differs."""
    cup = Cup(clock, factory, model="sen-15901")
    with pytest.raises(BadSample, match="2 so far"):
        cup.turn(10, 0.2)
    cup.anemometer.close()
    cup = Cup(clock, factory, model="sen-15901", pulses_per_rev=1, hold_off_s=0)
    assert factory.pin("GPIO17").edges == "falling"
    assert cup.turn(10, 0.2).raw["hertz"] == pytest.approx(10)
    cup.anemometer.close()


def test_points_are_joined(clock: FakeClock, factory: Any) -> None:
    """A table of calibration points, named by its checksum."""
    cup = Cup(clock, factory, points=[[6, 4], [10, 7], [30, 20]])
    assert cup.anemometer.calibration is not None
    assert cup.anemometer.calibration.startswith("points-")
    assert cup.turn(8, 2).speed_mps == pytest.approx(5.5)
    assert cup.wait(5).speed_mps == 0
    cup.anemometer.close()


def test_coefficients_are_named_where_nobody_did(clock: FakeClock, factory: Any) -> None:
    """By themselves."""
    for table, name in (
        ({"slope": 0.62, "offset": 0.27}, "slope-0.62-offset-0.27"),
        ({"slope": 0.62}, "slope-0.62"),
        ({"model": "nrg40", "slope": 0.75}, "slope-0.75-offset-0.35"),
        ({"model": "NRG 40"}, "nrg-40c"),
    ):
        anemometer = PulseAnemometer.open(settings(**table), clock)
        assert anemometer.calibration == name
        anemometer.close()


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, 'set model = "…"'),
        ({"offset": 0.3}, "offset goes with slope"),
        ({"model": "davs-6410"}, "did you mean 'davis-6410'?"),
        ({"slope": 1.0, "points": [[1, 1], [2, 2]]}, "set either"),
        ({"offset": 1.0, "points": [[1, 1], [2, 2]]}, "set either"),
        ({"slope": 0.0}, "slope must be a positive number"),
        ({"points": []}, "at least two"),
        ({"points": [[1, 1]]}, "at least two"),
        ({"points": [[2, 1], [1, 2]]}, "must rise"),
        ({"points": [[6.0, 4.0], [25.4, 1.6]]}, "the speed must rise"),
        ({"points": [[2, 1], [3]]}, "number 2 has 1 figures"),
    ],
)
def test_settings_that_make_no_speed_are_refused(table: dict[str, Any], words: str) -> None:
    """With the remedy, before any pin is touched."""
    message = fault(**table)
    assert message.startswith("sensor[0]: ")
    assert words in message


def test_a_pin_in_use_is_told(clock: FakeClock, factory: Any) -> None:
    """Two anemometers cannot share one."""
    first = PulseAnemometer.open(settings(model="davis-6410"), clock)
    with pytest.raises(DeviceUnavailable, match="GPIO 17 is in use"):
        PulseAnemometer.open(settings(model="davis-6410"), clock)
    first.close()


def test_no_pulses_yet_are_no_calm(clock: FakeClock, factory: Any) -> None:
    """Until the timeout has passed."""
    cup = Cup(clock, factory, model="davis-6410", timeout_s=3)
    with pytest.raises(BadSample, match="waiting for the first pulses"):
        cup.read()
    assert cup.wait(3).speed_mps == 0
    cup.anemometer.close()


class Broken:
    """A source whose chip goes and comes. Satisfies EdgeSource."""

    name = "gpiod"

    def __init__(self, since_s: float) -> None:
        self.since_s = since_s
        self.lost = 3
        self.fault: str | None = None
        self.edges: list[Edge] = []
        self.closed = False

    def take(self) -> list[Edge]:
        if self.fault:
            raise DeviceUnavailable(self.fault)
        edges, self.edges = self.edges, []
        return edges

    def close(self) -> None:
        self.closed = True


def test_a_chip_that_comes_back_is_used_again(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for every 5 s, and measured afresh; the counts go on."""
    sources: list[Broken] = []
    missing = False

    def open_edges(*_: object, **__: object) -> Broken:
        if missing:
            raise DeviceUnavailable("there is no /dev/gpiochip1")
        sources.append(Broken(clock.monotonic()))
        return sources[-1]

    monkeypatch.setattr(gpio_pulse, "open_edges", open_edges)
    anemometer = PulseAnemometer.open(settings(model="vector-a100m"), clock)
    start = clock.monotonic()
    sources[0].edges = [Edge(start + 1 + k / 100, False) for k in range(100)]
    clock.advance(2)
    assert anemometer.read(clock.monotonic()).speed_mps == pytest.approx(10)
    sources[0].fault = "GPIO 17 is gone"
    missing = True
    for waited_s, words in (
        (0, "is gone"),
        (1, "is gone"),
        (4.1, "there is no"),
        (1, "is gone"),
        (3, "is gone"),
    ):
        clock.advance(waited_s)
        with pytest.raises(DeviceUnavailable, match=words):
            anemometer.read(clock.monotonic())
    assert sources[0].closed
    missing = False
    clock.advance(2)
    with pytest.raises(BadSample, match="waiting"):
        anemometer.read(clock.monotonic())
    start = clock.monotonic()
    sources[1].edges = [Edge(start + k / 50, False) for k in range(10)]
    clock.advance(0.2)
    sample = anemometer.read(clock.monotonic())
    assert sample.speed_mps == pytest.approx(5)
    assert sample.raw == {"edges": 110, "pulses": 110, "hertz": pytest.approx(50), "lost_edges": 6}
    anemometer.close()


def test_a_loss_is_flagged(clock: FakeClock, factory: Any) -> None:
    """A repeated level means that an edge is missing: that sample is a fault, and the next is flagged."""
    cup = Cup(clock, factory, model="davis-6410")
    cup.turn(10, 1)
    clock.advance(0.1)
    factory.pin("GPIO17").when_changed(factory.ticks(), True)
    clock.advance(0.1)
    factory.pin("GPIO17").when_changed(factory.ticks(), False)
    with pytest.raises(BadSample, match="1 edge lost"):
        cup.read()
    clock.advance(0.1)
    factory.pin("GPIO17").when_changed(factory.ticks(), True)
    sample = cup.turn(10, 1)
    assert sample.raw["lost_edges"] == 1
    assert [sample.flags for sample in cup.samples if sample.flags] == [("edges-lost",)]
    cup.anemometer.close()


def test_after_a_stop_nothing_is_made_of_what_comes_late(clock: FakeClock, factory: Any) -> None:
    """gpiozero's thread brings some of the missed edges after the first read: no calm, no lull of them."""
    cup = Cup(clock, factory, model="sen-15901")
    assert cup.turn(20, 2).speed_mps == pytest.approx(13.333, abs=0.01)
    pin = factory.pin("GPIO17")
    stamps = []
    for _ in range(3):
        clock.advance(2)
        stamps.append(factory.ticks())
    with pytest.raises(BadSample, match="waiting"):
        cup.read()
    for ticks in stamps:
        pin.when_changed(ticks - 0.02, False)
        pin.when_changed(ticks, True)
    known = len(cup.samples)
    assert cup.turn(20, 2).speed_mps == pytest.approx(13.333, abs=0.01)
    speeds = [sample.speed_mps for sample in cup.samples[known:]]
    assert speeds == pytest.approx([13.333] * len(speeds), abs=0.01)
    cup.anemometer.close()


def test_after_a_sleep_of_the_machine_it_begins_afresh(
    clock: FakeClock, factory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listened: neither a calm nor a light air."""
    behind_s = 0.0
    monkeypatch.setattr(gpiozero.pins.mock, "monotonic", lambda: clock.monotonic() - behind_s)
    cup = Cup(clock, factory, model="sen-15901")
    cup.turn(20, 2)
    known = len(cup.samples)
    clock.advance(60)
    behind_s = 60.0
    with pytest.raises(BadSample, match="waiting"):
        cup.read()
    cup.turn(20, 2)
    assert min(s.speed_mps or 0 for s in cup.samples[known:]) == pytest.approx(13.333, abs=0.01)
    cup.anemometer.close()


def test_light_air_from_the_start_is_no_lost_sensor(clock: FakeClock, factory: Any) -> None:
    """0.22 Hz, and a long timeout: no fault lasts the 5 s after which a sensor is lost."""
    cup = Cup(clock, factory, model="sen-15901", timeout_s=30)
    cup.wait(4.5)
    known = len(cup.samples)
    cup.turn(0.22, 20)
    for gap in zip(cup.samples[known:], cup.samples[known + 1 :], strict=False):
        assert gap[1].time_s - gap[0].time_s < 5
    assert cup.samples[0].speed_mps == 0
    assert cup.samples[-1].speed_mps == pytest.approx(0.22 * 0.6667, abs=0.01)
    cup.anemometer.close()


def test_an_anemometer_closed_while_its_pin_is_opened_again_lets_it_go(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon stops just then: the pin is free afterwards, and the read says that it is closed."""
    sources: list[Broken] = []

    def open_edges(*_: object, **__: object) -> Broken:
        if sources:
            anemometer.close()
        sources.append(Broken(clock.monotonic()))
        return sources[-1]

    monkeypatch.setattr(gpio_pulse, "open_edges", open_edges)
    anemometer = PulseAnemometer.open(settings(model="vector-a100m"), clock)
    sources[0].fault = "GPIO 17 is gone"
    with pytest.raises(DeviceUnavailable, match="gone"):
        anemometer.read(clock.monotonic())
    clock.advance(6)
    with pytest.raises(DeviceUnavailable, match="closed"):
        anemometer.read(clock.monotonic())
    assert [source.closed for source in sources] == [True, True]


# --- hold-off


@pytest.mark.parametrize(
    ("table", "hold_off_s"),
    [
        ({"slope": 1.0}, 0.001),
        ({"slope": 0.05}, 0.05 / 4 / 113.3),
        ({"slope": 0.05, "offset": 0.3}, 0.05 / 4 / 113.0),
        ({"points": [[6, 4], [25.4, 16]]}, 0.001),
        ({"points": [[100, 5], [200, 10]]}, 1 / 4 / 2266),
        ({"model": "davis-6410", "slope": 0.05}, 0.05 / 4 / 113.3),
        ({"slope": 0.05, "hold_off_s": 0.0002}, 0.0002),
        ({"slope": 1.0, "offset": 200.0}, 0.001),
    ],
)
def test_the_hold_off_leaves_the_pulses_of_any_wind(table: dict[str, Any], hold_off_s: float) -> None:
    """A quarter of the period at the highest gust ever measured, and no more than a reed needs."""
    assert settings(**table).quiet_s() == pytest.approx(hold_off_s)


@pytest.mark.parametrize("model", sorted(pulse_models()))
def test_every_model_has_the_hold_off_of_its_signal(model: str) -> None:
    """None is fast enough to need less."""
    assert settings(model=model).quiet_s() == pulse_models()[model].hold_off_s


@pytest.mark.parametrize(
    "table",
    [{"slope": 0.05, "hold_off_s": 0.001}, {"model": "davis-6410", "hold_off_s": 0.02}],
)
def test_a_hold_off_that_eats_pulses_is_refused(table: dict[str, Any]) -> None:
    """At a speed that a wind can have it would read low, with nobody noticing."""
    message = fault(**table)
    assert f"hold_off_s = {table['hold_off_s']:g} would take pulses for bounce" in message
    assert "set at most half of that, or 0" in message


@pytest.mark.parametrize("uneven", [0.0, 0.15])
@pytest.mark.parametrize("hertz", [400, 490, 500, 510, 600, 1200, 2266])
def test_a_fast_disc_is_measured_by_its_coefficients_alone(hertz: float, uneven: float) -> None:
    """Slope 0.05, slots uneven by 15 %, stamps that jitter: right at every speed up to 113 m/s."""
    rng = random.Random(2)
    subject = PulseMeter(hold_off_s=settings(slope=0.05).quiet_s(), active_rising=False, since_s=0.0)
    slots = [1 + uneven * rng.uniform(-1, 1) for _ in range(20)]
    edges, t = [], 0.1
    for n in range(40 * 20):
        period_s = slots[n % 20] / (sum(slots) / 20) / hertz
        for after_s, rising in ((0.0, False), (period_s / 2, True)):
            edges.append(Edge(t + after_s + abs(rng.gauss(0, 1e-5)), rising))
        t += period_s
    assert subject.read(t, edges)[0] == pytest.approx(hertz, rel=0.005)


def test_a_closed_anemometer_lets_its_pin_go(clock: FakeClock, factory: Any) -> None:
    """It reads nothing, and another may have the pin."""
    cup = Cup(clock, factory, model="davis-6410")
    cup.turn(10, 1)
    cup.anemometer.close()
    cup.anemometer.close()
    with pytest.raises(DeviceUnavailable, match="closed"):
        cup.read()
    Cup(clock, factory, model="davis-6410").anemometer.close()
