"""What setup writes into a configuration, and what it leaves to its owner."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.config import loads
from agent.setup.editing import is_sample, with_ca, with_sensor
from agent.setup.places import SetupError
from agent.setup.sensor import Sensor, named, value_of

ROOT = Path(__file__).parents[3]
SAMPLES = [ROOT / "deploy" / "masthead.toml", *ROOT.glob("deploy/debian/masthead.toml")]
CUP = Sensor("gpio-pulse", {"model": "davis-6410", "pin": 17})


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.parent.name)
def test_the_samples_stanza_is_replaced_and_nothing_else(sample: Path) -> None:
    """Every other line of an installed configuration stays, comments too, and it can be loaded."""
    before = sample.read_text()
    after = with_sensor(before, CUP, "masthead.toml")
    assert is_sample(before)
    assert not is_sample(after)
    added = ['driver = "gpio-pulse"', 'model = "davis-6410"', "pin = 17"]
    lines = after.splitlines()
    (place,) = [i for i in range(len(lines)) if lines[i : i + 3] == added]
    assert [*lines[:place], 'driver = "auto"', *lines[place + 3 :]] == before.splitlines()
    (sensor,) = loads(after).sensors
    assert (sensor.id, sensor.driver, sensor.settings.pin) == ("top", "gpio-pulse", 17)


def test_done_again_it_is_as_it_was() -> None:
    """The same sensor a second time changes nothing."""
    once = with_sensor(SAMPLES[0].read_text(), CUP, "masthead.toml")
    assert with_sensor(once, CUP, "masthead.toml") == once


@pytest.mark.parametrize(
    "text",
    [
        '[[sensor]]\nid = "mine"\ndriver = "simulated"\n',
        '[[sensor]]\nid = "top"\ndriver = "gpio-pulse"\nmodel = "davis-6410"\npin = 18\n',
        '[[sensor]]\nid = "top"\n[[sensor]]\nid = "mine"\ndriver = "auto"\n',
        "[outbox]\n",
        "sensor = 3\n",
    ],
)
def test_a_persons_own_sensors_are_left_alone(text: str) -> None:
    """With words on what to do."""
    with pytest.raises(SetupError, match=r"no longer as it was installed.*masthead sensors gpio-pulse"):
        with_sensor(text, CUP, "masthead.toml")


def test_a_sensor_that_stands_in_no_line_of_its_own_is_left_alone() -> None:
    """What cannot be found cannot be replaced."""
    with pytest.raises(SetupError, match="no single line"):
        with_sensor('sensor = [{id = "top", driver = "auto"}]\n', CUP, "masthead.toml")


def test_what_a_person_wrote_beside_it_stays() -> None:
    """Behind the driver, behind the table's name, and where another CA is only talked of."""
    device = '[device]  # mine\n# ca_file = "/old.pem" was the first hub\n'
    text = f'{device}[[sensor]]\nid = "top"\ndriver = "auto"  # ask Bob\n'
    after = with_ca(with_sensor(text, CUP, "masthead.toml"), "/new.pem", "masthead.toml")
    for remark in ("# mine", '/old.pem" was the first hub', 'driver = "gpio-pulse"  # ask Bob\nmodel'):
        assert remark in after
    again = with_ca('[device]  # mine\n[[sensor]]\nid = "top"\n', "/new.pem", "masthead.toml")
    assert again.startswith('[device]  # mine\nca_file = "/new.pem"\n')


def test_broken_toml_is_said() -> None:
    """And left alone."""
    with pytest.raises(SetupError, match="not valid TOML"):
        is_sample("[[sensor]\n")


@pytest.mark.parametrize(
    "before",
    [
        *(sample.read_text() for sample in SAMPLES),
        '[device]  # mine\nhub_tier = "S2"\n[[sensor]]\nid = "top"\n',
        '[[sensor]]\nid = "top"\n',
        '# ca_file = "/elsewhere"\n[[sensor]]\nid = "top"\n',
    ],
)
def test_a_ca_is_put_in(before: str) -> None:
    """Where the sample has it, below the table, or with a table of its own; a second time changes nothing."""
    after = with_ca(before, "/etc/masthead/hub-ca.pem", "masthead.toml")
    config = loads(after)
    assert config.device.ca_file == "/etc/masthead/hub-ca.pem"
    assert config.sensors == loads(before).sensors
    assert with_ca(after, "/etc/masthead/hub-ca.pem", "masthead.toml") == after


def test_another_ca_stays() -> None:
    """It is a person's."""
    with pytest.raises(SetupError, match=r"device\.ca_file is '/mine' already"):
        with_ca('[device]\nca_file = "/mine"\n', "/etc/masthead/hub-ca.pem", "masthead.toml")


def test_a_device_table_that_cannot_be_extended_is_said() -> None:
    """Dotted keys are the owner's business."""
    with pytest.raises(SetupError, match=r"below its \[device\]"):
        with_ca('device.hub_tier = "S1"\n', "/ca.pem", "masthead.toml")


@pytest.mark.parametrize(
    ("name", "driver", "settings", "missing"),
    [
        ("davis-6410", "gpio-pulse", {"model": "davis-6410"}, ["pin"]),
        ("Davis 6410", "gpio-pulse", {"model": "davis-6410"}, ["pin"]),
        ("adafruit-1733", "ads1115", {"model": "adafruit-1733"}, ["input"]),
        ("simulated", "simulated", {}, []),
    ],
)
def test_a_sensor_goes_by_its_model_or_driver(
    name: str, driver: str, settings: dict[str, object], missing: list[str]
) -> None:
    """With what a person has to give yet."""
    sensor = named(name)
    assert (sensor.driver, dict(sensor.settings)) == (driver, settings)
    assert [field.name for field in sensor.missing] == missing


def test_an_unknown_sensor_is_named_with_the_likely_one() -> None:
    """A typing error is no reason to read a list."""
    with pytest.raises(SetupError, match="did you mean 'davis-6410'"):
        named("davis-6401")


def test_wrong_settings_are_all_said() -> None:
    """Before anything is written."""
    with pytest.raises(SetupError, match=r"gpio-pulse: pim: unknown key.*; pin: expected"):
        Sensor("gpio-pulse", {"model": "davis-6410", "pin": -1, "pim": 3}).check()


def test_one_setting_is_judged_by_itself() -> None:
    """Whatever is missing yet; what only all of them together can show is told without a parser's words."""
    with pytest.raises(SetupError, match=r"^pin: expected a whole number"):
        Sensor("gpio-pulse", {"pin": "seventeen"}).check_setting("pin")
    Sensor("gpio-pulse", {"pin": 17}).check_setting("pin")
    with pytest.raises(SetupError, match=r"^gpio-pulse: set model"):
        Sensor("gpio-pulse", {"pin": 17}).check()


@pytest.mark.parametrize(
    ("typed", "value"),
    [("17", 17), ("0x48", 0x48), ("true", True), ("low", "low"), ('"0-1"', "0-1"), ("", "")],
)
def test_what_is_typed_is_a_toml_value_or_a_text(typed: str, value: object) -> None:
    """Nobody has to put quotes round a word."""
    assert value_of(typed) == value
