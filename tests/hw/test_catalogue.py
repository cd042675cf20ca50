"""What the catalogue knows, and how it is asked."""

from __future__ import annotations

import dataclasses

import pytest

from hw import catalogue

# m/s at 5 and at 25 Hz, worked out from the makers' figures
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
KINDS = [catalogue.pulse_models, catalogue.voltage_models, catalogue.fs3000_models, catalogue.vane_models]


@pytest.mark.parametrize("name", REFERENCE)
def test_a_model_gives_the_speed_its_maker_states(name: str) -> None:
    """At 0, 5 and 25 Hz."""
    transfer = catalogue.pulse_model(name).transfer
    assert transfer.speed(0) == 0
    assert (transfer.speed(5), transfer.speed(25)) == pytest.approx(REFERENCE[name], abs=1e-4)


@pytest.mark.parametrize(
    ("spelt", "key"),
    [
        ("sen15901", "sen-15901"),
        ("SEN-15901", "sen-15901"),
        ("davis_6410", "davis-6410"),
        ("Davis 7911", "davis-6410"),
        ("05106", "rmyoung-05103"),
        ("NRG #40H", "nrg-40c"),
        ("A100R", "vector-a100r"),
    ],
)
def test_any_spelling_finds_a_model(spelt: str, key: str) -> None:
    """Case and punctuation do not matter, and siblings share a record."""
    assert catalogue.pulse_model(spelt).key == key


def test_a_model_nobody_knows_is_an_error_that_helps() -> None:
    """With the nearest name, or where they are listed."""
    with pytest.raises(ValueError, match=r"unknown model 'davs-6410', did you mean 'davis-6410'\?"):
        catalogue.pulse_model("davs-6410")
    with pytest.raises(ValueError, match=r"unknown model 'x' \(`masthead sensors` lists them\)"):
        catalogue.pulse_model("x")
    with pytest.raises(ValueError, match="unknown model 'davis-6410'"):
        catalogue.voltage_model("davis-6410")
    with pytest.raises(ValueError, match="unknown model ''"):
        catalogue.vane_model("")


def test_every_model_is_sound() -> None:
    """It has a name and a source, and its transfer function makes sense."""
    for models in KINDS:
        assert models()
        for key, model in models().items():
            assert key == model.key == key.lower()
            assert model.name
            assert model.source
            with pytest.raises(dataclasses.FrozenInstanceError):
                model.name = "another"  # type: ignore[misc]
    for pulse in catalogue.pulse_models().values():
        assert 0 < pulse.transfer.speed(10) < 15
        assert pulse.pulses_per_rev >= 1
        assert (
            pulse.hold_off_s == {"reed": 0.001, "contact": 0.001, "sine": 0.0001, "square": 0}[pulse.signal]
        )


def test_no_two_models_of_a_kind_share_a_name() -> None:
    """Else one of them could not be found."""
    for models in KINDS:
        names = [name for model in models().values() for name in (model.key, *model.aliases)]
        plain = ["".join(c for c in name if c.isalnum()) for name in names]
        assert len(set(plain)) == len(plain)


def test_the_voltage_model() -> None:
    """0.4 V is calm, 2.0 V is full scale."""
    model = catalogue.voltage_model("Adafruit-1733")
    assert model.transfer.speed(0.4) == 0
    assert model.transfer.speed(1.0) == pytest.approx(12.15)
    assert model.transfer.speed(2.0) == pytest.approx(32.4)
    assert 0 < model.fault_below_volts < 0.4


def test_the_fs3000_models() -> None:
    """Linear between the counts of the table, held at its ends."""
    small, large = (
        catalogue.fs3000_model("FS3000-1005").transfer,
        catalogue.fs3000_model("fs3000_1015").transfer,
    )
    assert [small.speed(raw) for raw in (0, 409, 915, 3686, 4095)] == [0, 0, 1.07, 7.23, 7.23]
    assert small.speed(2048) == pytest.approx(2.9672, abs=1e-4)
    assert [large.speed(raw) for raw in (0, 409, 3686, 4095)] == [0, 0, 15, 15]
    assert large.speed(915) == pytest.approx(1.2746, abs=1e-4)
    assert large.speed(2048) == pytest.approx(4.5018, abs=1e-4)


def test_the_vanes() -> None:
    """A ladder of sixteen steps, or a potentiometer."""
    ladder = catalogue.vane_model("sen15901")
    assert len(ladder.ladder_ohms) == len(set(ladder.ladder_ohms)) == 16
    assert ladder.pot_ohms is None
    ratios = [ohms / (ohms + 10_000) for ohms in ladder.ladder_ohms]
    at = {0: 0.76744, 22.5: 0.3965, 90: 0.09091, 157.5: 0.12358, 180: 0.28058, 270: 0.92308}
    assert {angle: ratios[round(angle / 22.5)] for angle in at} == pytest.approx(at, abs=1e-5)
    assert catalogue.vane_model("davis-6410").pot_ohms == 20_000
    assert catalogue.vane_model("davis-6410").dead_band_deg is None
    assert catalogue.vane_model("05103").dead_band_deg == (355, 360)


def test_all_models_can_be_listed() -> None:
    """With their kinds, and each is called by its own name."""
    models = list(catalogue.models())
    assert {model.kind for model in models} == {"pulse", "voltage", "fs3000", "vane"}
    assert len(models) == sum(len(of_kind()) for of_kind in KINDS)
    assert all(catalogue.is_called(model, model.key.upper()) for model in models)
    assert [model.kind for model in models if catalogue.is_called(model, "Davis 7911")] == ["pulse", "vane"]
