"""The configuration file: checked as a whole, every error with file, key and what was expected."""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from agent.config import (
    Config,
    ConfigError,
    find,
    load,
    loads,
    resolved,
)
from agent.config_tables import (
    OWN_PROPERTIES,
    SECTIONS,
    ActuatorHead,
    InterlockConfig,
    SensorHead,
    VaneHead,
)
from hw import board, registry
from hw.simulated.wind import SimulatedAnemometer

SAMPLE = Path(__file__).parents[2] / "deploy" / "masthead.toml"
SENSOR = '[[sensor]]\nid = "top"\ndriver = "simulated"\n'


def errors(text: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        loads(text, Path("m.toml"))
    return str(refused.value).splitlines()


def error(text: str) -> str:
    found = errors(text)
    assert len(found) == 1, found
    return found[0]


@pytest.fixture(autouse=True)
def desktop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No device tree, whatever machine the tests run on."""
    monkeypatch.setattr(board, "DEVICE_TREE", tmp_path / "no-device-tree")


def test_defaults_need_only_a_sensor() -> None:
    """What is not given is as documented."""
    config = loads(SENSOR)
    assert config.telemetry.report_interval_s == 60.0
    assert config.sampling.rate_hz == 4.0
    assert config.commands.require_expiry is True
    assert config.sensors[0].settings == SimulatedAnemometer.Settings()
    assert config.actuators == ()


def test_a_whole_configuration() -> None:
    """Sensors in their order, the drivers' own settings, actuators by name."""
    config = loads(
        '[[sensor]]\nid = "top"\ndriver = "simulated"\nheight_m = 10\nseed = 1\n'
        '[[sensor]]\nid = "low"\ndriver = "replay"\nfile = "x.csv"\nmax_speed_mps = 60\n'
        '[telemetry]\nreport_interval_s = 1\n[telemetry.properties]\nsite = "ridge"\n'
        '[actuators.vent]\ndriver = "simulated"\nsafe = 5\nmaximum = 90\nmax_on_s = 60\n'
    )
    assert [(s.id, s.driver, s.height_m, s.max_speed_mps, s.auto) for s in config.sensors] == [
        ("top", "simulated", 10.0, None, False),
        ("low", "replay", None, 60.0, False),
    ]
    assert config.sensors[0].settings.seed == 1
    assert config.telemetry.properties == {"site": "ridge"}
    actuator = config.actuators[0]
    assert (actuator.name, actuator.settings.safe, actuator.limits.max_on_s) == ("vent", 5.0, 60.0)


def test_all_errors_at_once() -> None:
    """One line each, with file and key."""
    found = errors(
        "[telemetri]\n"
        '[device]\nhub_tier = "S4"\n'
        "[telemetry]\nreport_intervall_s = 3\nsend_timeout_s = 0\n"
        '[[sensor]]\ndriver = "simulatd"\nheight_m = "ten"\n'
        '[actuators.heater]\ndriver = "simulated"\nsafe = "off"\nmax_on = 3\n'
    )
    assert found == [
        "m.toml: telemetri: unknown table, did you mean 'telemetry'?",
        "m.toml: device.hub_tier: expected one of 'F1', 'S1', 'S2', 'S3', got 'S4'",
        "m.toml: telemetry.report_intervall_s: unknown key, did you mean 'report_interval_s'?",
        "m.toml: telemetry.send_timeout_s: expected a number from 1 to 200, got 0",
        "m.toml: sensor[0].driver: unknown driver 'simulatd', did you mean 'simulated'?",
        "m.toml: sensor[0].id: is missing: a text (name of this measuring point, in every reading)",
        "m.toml: sensor[0].height_m: expected a number from 0 to 1000, got 'ten'",
        "m.toml: actuators.heater.max_on: unknown key, did you mean 'max_on_s'?",
        "m.toml: actuators.heater.safe: expected true or false or a number, got 'off'",
    ]


@pytest.mark.parametrize("driver", ["", 'driver = "auto"\n', 'driver = "simulated"\n'])
def test_a_sensor_without_an_id_hides_no_other_error(driver: str) -> None:
    """Errors of the common keys, of the driver's own and unknown keys are all told."""
    found = errors(f"[[sensor]]\n{driver}sede = 1\nmean_mps = -1\nheight_m = false\n")
    assert [line.split(": ")[1] for line in found] == [
        "sensor[0].id", "sensor[0].height_m", "sensor[0].sede", "sensor[0].mean_mps",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sensor = 3", "sensor: expected one or more tables [[sensor]]"),
        ('[sensor]\nid = "top"', "sensor: expected one or more tables [[sensor]]"),
        ("sensor = [1]", "sensor: expected one or more tables [[sensor]]"),
        ("", "sensor: expected at least one [[sensor]] with id and driver"),
        (f"device = 1\n{SENSOR}", "device: expected a table [device], got 1"),
        (f"actuators = []\n{SENSOR}", "actuators: expected tables [actuators.NAME]"),
        (f"{SENSOR}[actuators]\nheater = true", "actuators.heater: expected a table [actuators.heater]"),
        (f"{SENSOR}[actuators.heater]", "actuators.heater.driver: is missing: a text"),
        (f"{SENSOR}[actuators.heater]\ndriver = 3", "actuators.heater.driver: expected a text, got 3"),
        (f"{SENSOR}[logging]\nsdk = 1", "logging.sdk: expected true or false, got 1"),
        (f"{SENSOR}[sampling]\nrate_hz = true", "sampling.rate_hz: expected a number from 1 to 20, got"),
        (f"{SENSOR}[sampling]\nrate_hz = nan", "sampling.rate_hz: expected a number from 1 to 20, got nan"),
        (f"{SENSOR}[sampling]\nrate_hz = inf", "sampling.rate_hz: expected a number from 1 to 20, got inf"),
        (f"{SENSOR}[outbox]\nmax_bytes = 1.5e9", "outbox.max_bytes: expected a whole number from"),
        (f"{SENSOR}[outbox]\nmax_bytes = 1000", "outbox.max_bytes: expected a whole number from"),
        (f"{SENSOR}[device]\nca_file = 1", "device.ca_file: expected a text, got 1"),
        (f'{SENSOR}[device]\nca_file = ""', "device.ca_file: expected a text, got ''"),
        (f'{SENSOR}[device]\nmodel_id = "mast"', "device: model_id must start with 'dtmi:', got 'mast'"),
        (f'{SENSOR}[device]\nmodel_id = "dtmi:a;1"\nproduct_info = "x"', "device: product_info and"),
        (f"{SENSOR}[telemetry.properties]\nn = 1", "telemetry.properties: expected a table of texts"),
        (f'{SENSOR}[telemetry.properties]\n"$x" = "1"', "telemetry: properties: '$x' is no name"),
        (f'{SENSOR}[telemetry.properties]\n"ö" = "1"', "telemetry: properties: 'ö' is no name"),
        (f'{SENSOR}[telemetry.properties]\ntype = "1"', "telemetry: properties: 'type' is set by"),
        (f'{SENSOR}[telemetry.properties]\nx = "{"x" * 2048}"', "telemetry: properties are 2049 bytes"),
        (f"{SENSOR}{SENSOR}", "sensor[1].id: 'top' is used twice"),
        ('[[sensor]]\nid = ""', "sensor[0].id: expected a text, got ''"),
        ('[[sensor]]\nid = "a b"', "sensor[0].id: expected a name of letters, digits"),
        (f'{SENSOR}[actuators."a/b"]\ndriver = "simulated"', "actuators.a/b: expected a name of letters"),
        (f'{SENSOR}[actuators.""]\ndriver = "simulated"', "actuators.: expected a name of letters"),
        (f'{SENSOR}seed = -1', "sensor[0].seed: expected a whole number from 0"),
        ('[[sensor]]\nid = "r"\ndriver = "replay"', "sensor[0].file: is missing: a text"),
        (f'{SENSOR}[actuators.v]\ndriver = "simulated"\nsafe = 3', "actuators.v: safe must be from 0 to 1"),
        ("a = [[", "not valid TOML: "),
        (f"a = {'9' * 5000}", "not valid TOML: "),
    ],
    ids=lambda value: value.replace(SENSOR, "")[:50],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(text: str, expected: str) -> None:
    """File, key, what was expected, and what stood there."""
    assert error(text).startswith(f"m.toml: {expected}")


def test_a_syntax_error_tells_the_line() -> None:
    """As TOML's parser counts."""
    assert "line 5" in error(f"{SENSOR}\nreport interval = 3\n")


def test_auto_simulates_on_a_desktop() -> None:
    """It is the default, and known to have been chosen."""
    sensor = loads('[[sensor]]\nid = "top"\nseed = 3').sensors[0]
    assert (sensor.driver, sensor.auto, sensor.settings.seed) == ("simulated", True, 3)


@pytest.mark.parametrize("driver", ["", 'driver = "auto"\n'])
def test_auto_is_an_error_on_a_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: str) -> None:
    """A board has to be told which sensor it has; other errors of the table are told too."""
    (tmp_path / "compatible").write_bytes(b"raspberrypi,5-model-b\0")
    (tmp_path / "model").write_bytes(b"Raspberry Pi 5\0")
    monkeypatch.setattr(board, "DEVICE_TREE", tmp_path)
    found = errors(f"[[sensor]]\n{driver}")
    assert found[0].startswith('m.toml: sensor[0].driver: "auto" names no sensor on a board (Raspberry Pi 5)')
    assert "`masthead sensors`" in found[0]
    assert found[1].startswith("m.toml: sensor[0].id: is missing")
    assert loads(SENSOR).sensors[0].auto is False


def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    """No file, no text, and one that takes longer to read than a watchdog waits."""
    path = tmp_path / "m.toml"
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(path)
    path.write_bytes(b"#" * (1 << 20))
    with pytest.raises(ConfigError, match="sensor: "):
        load(path)
    path.write_bytes(b"#" * (10 << 20))
    with pytest.raises(ConfigError, match="longer than 1048576 bytes: this is no configuration"):
        load(path)
    path.write_bytes(b"# caf\xe9\n")
    with pytest.raises(ConfigError, match=r"m\.toml: is not UTF-8 \(byte 5\)"):
        load(path)


def test_the_file_is_looked_for_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--config, $MASTHEAD_CONFIG, the user's; what is named must be there."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MASTHEAD_CONFIG", raising=False)
    own, named = tmp_path / ".config" / "masthead" / "masthead.toml", tmp_path / "named.toml"
    own.parent.mkdir(parents=True)
    own.write_text(SENSOR)
    assert find(None) == own
    monkeypatch.setenv("MASTHEAD_CONFIG", str(named))
    with pytest.raises(ConfigError, match=r"named\.toml: no such configuration file"):
        find(None)
    named.write_text(SENSOR)
    assert find(None) == named
    assert find(own) == own
    assert load(find(None)).path == named


def test_a_home_that_may_not_be_entered_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with `sudo -u masthead`, which may leave HOME as it was."""
    entered: list[Path] = []

    def is_file(path: Path) -> bool:
        entered.append(path)
        if path.is_relative_to(tmp_path):
            raise PermissionError(13, "Permission denied")
        return True

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MASTHEAD_CONFIG", raising=False)
    monkeypatch.setattr(Path, "is_file", is_file)
    assert find(None) == Path("/etc/masthead/masthead.toml")
    assert entered[0].is_relative_to(tmp_path)


@pytest.mark.parametrize("key", ["state_directory", "connection_string_file", "ca_file"])
@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("~nobody-here/x", "no user's home is '~nobody-here/x', give the whole path"),
        ("x\\u0000", "expected a path of printable characters, got 'x\\x00'"),
    ],
)
def test_what_no_file_can_be_called_is_named(key: str, path: str, wrong: str) -> None:
    """Before anything is opened."""
    with pytest.raises(ConfigError) as error:
        loads(f'{SENSOR}[device]\n{key} = "{path}"')
    assert str(error.value) == f"configuration: device: {key}: {wrong}"


@pytest.mark.parametrize("table", ['"a\\nb" = 1', '[actuators."a\\nb"]\ndriver = "simulated"'])
def test_a_key_with_a_line_feed_is_shown_in_one_line(table: str) -> None:
    """Escaped, as it is in the file."""
    with pytest.raises(ConfigError) as error:
        loads(f"{table}\n{SENSOR}")
    (line,) = str(error.value).splitlines()
    assert "a\\nb" in line


def test_where_there_is_none_the_places_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do about it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MASTHEAD_CONFIG", raising=False)
    if Path("/etc/masthead/masthead.toml").exists():
        pytest.skip("this machine has a configuration of its own")
    with pytest.raises(ConfigError, match=r"no configuration file at .* copy deploy/masthead\.toml"):
        find(None)


def test_the_state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configured one, systemd's, the user's, root's."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("STATE_DIRECTORY", "/a:/b")
    assert loads(f'{SENSOR}[device]\nstate_directory = "~/s"').state_directory == tmp_path / "s"
    config = loads(SENSOR)
    assert config.state_directory == Path("/a")
    monkeypatch.delenv("STATE_DIRECTORY")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert config.state_directory == tmp_path / ".local/state/masthead"
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert config.state_directory == Path("/var/lib/masthead")


# --- actuators

ACTUATOR = SENSOR + '[actuators.awning]\ndriver = "simulated"\n'
INTERLOCK = ACTUATOR + "[actuators.awning.interlock]\ntrip_mps = 10.7\n"


def test_an_actuators_limits_have_sane_defaults() -> None:
    """An hour at most, a moment without wind, a quarter of an hour without a link; no interlock."""
    (awning,) = loads(ACTUATOR).actuators
    limits = awning.limits
    assert (limits.max_on_s, limits.stale_sensor_s, limits.lost_link_s) == (3600.0, 10.0, 900.0)
    assert (limits.min_on_s, limits.min_off_s, limits.max_per_minute, limits.exclusive) == (0, 0, 60, None)
    assert awning.interlock is None


def test_inf_means_never() -> None:
    """Where there may be no limit, and nowhere else."""
    text = ACTUATOR + "max_on_s = inf\nlost_link_s = inf\nstale_sensor_s = inf\n"
    (awning,) = loads(text).actuators
    assert math.isinf(awning.limits.max_on_s)
    assert loads(resolved(loads(text))).actuators == (awning,)
    assert error(ACTUATOR + "max_on_s = -inf\n").endswith(
        "max_on_s: expected a number from 0.1 to 31536000, or inf for never, got -inf"
    )
    assert "min_off_s: expected a number from 0 to 86400, got inf" in error(ACTUATOR + "min_off_s = inf\n")


def test_an_interlock_goes_by_all_sensors_unless_it_names_some() -> None:
    """And is released at three quarters of its limit."""
    low = '[[sensor]]\nid = "low"\ndriver = "simulated"\n'
    (awning,) = loads(low + INTERLOCK).actuators
    assert awning.interlock is not None
    assert awning.interlock.sensors == ("low", "top")
    assert awning.interlock.release_below_mps == pytest.approx(8.025)
    (awning,) = loads(low + INTERLOCK + 'sensors = ["low"]\nrelease_mps = 7.9').actuators
    assert awning.interlock is not None
    assert (awning.interlock.sensors, awning.interlock.release_below_mps) == (("low",), 7.9)
    assert loads(resolved(loads(low + INTERLOCK))).actuators == loads(low + INTERLOCK).actuators


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ACTUATOR + "min_on_s = 9\nmax_on_s = 5", "min_on_s (9) must not be above max_on_s (5)"),
        (ACTUATOR + 'exclusive = "motor"', "exclusive: no other actuator has 'motor'"),
        (ACTUATOR + "stale_sensor_s = inf\n[actuators.awning.interlock]\ntrip_mps = 9", "it must end"),
        (ACTUATOR + "interlock = 9", "interlock: expected a table [actuators.awning.interlock], got 9"),
        (ACTUATOR + "[[actuators.awning.interlock]]", "got [[actuators.awning.interlock]]"),
        (ACTUATOR + "[actuators.awning.interlock]", "interlock.trip_mps: is missing"),
        (INTERLOCK + "release_mps = 11", "release_mps (11) must not be above trip_mps (10.7)"),
        (INTERLOCK + 'sensors = ["tip"]', "interlock.sensors: no sensor 'tip', did you mean 'top'?"),
        (INTERLOCK + "trip_s = 61", "interlock.trip_s: expected a number from 0 to 60, got 61"),
        (ACTUATOR + "stale_sensor_s = 1", "stale_sensor_s: expected a number from 2 to 86400, or inf"),
        (
            ACTUATOR + "max_per_minute = 6001",
            "max_per_minute: expected a whole number from 1 to 6000, got 6001",
        ),
        (INTERLOCK + "tripmps = 9", "interlock.tripmps: unknown key, did you mean 'trip_mps'?"),
    ],
)
def test_what_is_wrong_with_a_limit_is_said(text: str, said: str) -> None:
    """With its key, as anywhere in the file."""
    assert said in error(text)


@pytest.mark.parametrize(("limit", "sensors"), [("10.7", ""), ("9", 'sensors = ["top"]')])
def test_an_interlock_above_what_a_sensor_can_say_never_trips(limit: str, sensors: str) -> None:
    """So it is an error, for each sensor that it watches and for no other."""
    low = f'[[sensor]]\nid = "low"\ndriver = "simulated"\nmax_speed_mps = {limit}\n'
    said = f"has max_speed_mps = {limit}: it would never be above 10.7"
    assert f"actuators.awning.interlock.trip_mps: sensor 'low' {said}" in error(
        low + INTERLOCK + sensors.replace("top", "low")
    )
    loads(low + INTERLOCK + 'sensors = ["top"]')
    loads(low.replace(limit, "10.8") + INTERLOCK)


def test_what_is_switched_on_when_safe_excludes_nothing() -> None:
    """Both would be on at once at every stop; what is off when safe may be in a group."""
    pair = ACTUATOR + 'exclusive = "motor"\n{}[actuators.vent]\ndriver = "simulated"\nexclusive = "motor"\n'
    loads(pair.format(""))
    loads(pair.format("safe = 0.0\n"))
    said = "actuators.awning.exclusive: exclusive is for what is without current when safe: expected safe = "
    for text, expected in (
        ("safe = true", "false, got true"),
        ("safe = 0.3", "0, got 0.3"),
        ("minimum = -5\nsafe = -1", "0, got -1.0"),
    ):
        assert f"{said}{expected}; or leave exclusive out" in error(pair.format(f"{text}\n"))


@pytest.mark.parametrize(
    ("stanza", "said"),
    [
        ('driver = "pwm"\npin = 17\nsafe = 1.0', "expected safe = 0, got 1.0; or leave exclusive out"),
        ('driver = "pwm"\npin = 17\nsafe = 0.05', "expected safe = 0, got 0.05"),
        ('driver = "relay"\npin = 17\nsafe = true', "expected safe = false, got true"),
        ('driver = "pwm"\npin = 17\nsafe = 0', None),
        ('driver = "relay"\npin = 17\nactive = "low"', None),
        ('driver = "servo"\npin = 17\nsafe = 45', None),
    ],
)
def test_a_level_above_nothing_is_on_when_safe_but_an_angle_is_not(stanza: str, said: str | None) -> None:
    """Whatever the pin drives; a servo is away at one angle as at another, and none of them is off."""
    other = '[actuators.y]\ndriver = "relay"\npin = 18\nexclusive = "a"\n'
    pair = f'{SENSOR}{other}[actuators.x]\nexclusive = "a"\n{stanza}\n'
    if said is None:
        loads(pair)
    else:
        text = "actuators.x.exclusive: exclusive is for what is without current when safe"
        assert f"{text}: {said}" in error(pair)


def test_an_error_knows_the_actuators_that_are_in_order() -> None:
    """So that they can be made safe although nothing runs."""
    with pytest.raises(ConfigError) as refused:
        loads(ACTUATOR + '[actuators.vent]\ndriver = "simulated"\nmaximum = "x"\n[device]\nhub_tier = "S9"\n')
    assert [actuator.name for actuator in refused.value.actuators] == ["awning"]


def test_an_actuator_on_a_sensors_pin_is_not_in_order() -> None:
    """Nobody may drive what an instrument drives."""
    sensor = '[[sensor]]\nid = "top"\ndriver = "gpio-pulse"\nmodel = "davis-6410"\npin = 17\n'
    relays = "".join(f'[actuators.r{pin}]\ndriver = "relay"\npin = {pin}\n' for pin in (17, 18))
    with pytest.raises(ConfigError) as refused:
        loads(sensor + relays)
    assert [actuator.name for actuator in refused.value.actuators] == ["r18"]


# --- the sample file

KEY_LINE = re.compile(r"# (?:# )?(\w+) = .+")
NEED_OTHERS = {
    "offset": "goes with slope",
    "slope": "goes with offset",
    "shunt_ohm": "needs signal",
    "full_mps": "needs signal",
    "dead_band_deg": "is for potentiometers",
    "exclusive": "no other actuator has 'awning-motor'",
}
"""Keys that a stanza shows but cannot have as it stands, and what is said then."""


def sample_lines() -> list[str]:
    return SAMPLE.read_text().splitlines()


def with_key(number: int) -> str:
    """The sample with the key in this line given, and the stanza around it, where that is a comment too."""
    lines = sample_lines()
    first = last = number
    while lines[first - 1].strip():
        first -= 1
    while last < len(lines) and lines[last].strip():
        last += 1
    if any(re.fullmatch(r"# \[+[\w.]+\]+", line) for line in lines[first:number]):
        for n in range(first, last):
            lines[n] = lines[n].removeprefix("# ")
        while not lines[first].startswith("["):  # what the stanza is about stays a comment
            lines[first] = f"# {lines[first]}"
            first += 1
    lines[number] = lines[number].removeprefix("# ")
    return "\n".join(lines)


def test_the_sample_works_on_a_desktop() -> None:
    """As it stands: simulated wind and a simulated beacon, everything else at its default."""
    config = load(SAMPLE)
    assert [(s.id, s.auto) for s in config.sensors] == [("top", True)]
    assert [a.name for a in config.actuators] == ["beacon"]
    for name, section in SECTIONS.items():
        assert getattr(config, name) == section()


@pytest.mark.parametrize(
    "number",
    [n for n, line in enumerate(sample_lines()) if KEY_LINE.fullmatch(line)],
    ids=lambda n: sample_lines()[n],
)
def test_each_key_of_the_sample_is_valid_when_uncommented(number: int) -> None:
    """No example in it is wrong, and a default shown is the default."""
    text = with_key(number)
    tomllib.loads(text)
    try:
        config = loads(text, SAMPLE)
    except ConfigError as error:
        key = KEY_LINE.fullmatch(sample_lines()[number])
        assert key
        assert NEED_OTHERS.get(key[1], "no error") in str(error)  # noqa: PT017  (either way is right)
    else:
        assert isinstance(config, Config)


def test_every_key_is_in_the_sample() -> None:
    """Those of every table and of every driver, in the table they belong to."""
    wanted: set[tuple[str, str]] = set()

    def add(table: str, cls: Any) -> None:
        wanted.update((table, f.name) for f in dataclasses.fields(cls))

    for name, section in SECTIONS.items():
        add(name, section)
    wanted.remove(("telemetry", "properties"))
    add("sensor", SensorHead)
    add("actuators.beacon", ActuatorHead)
    add("actuators.beacon.interlock", InterlockConfig)
    for driver in registry.ANEMOMETERS:
        add("sensor", registry.load(registry.ANEMOMETERS, driver).Settings)
    add("sensor.vane", VaneHead)
    for driver in registry.VANES:
        add("sensor.vane", registry.load(registry.VANES, driver).Settings)
    for driver in registry.ACTUATORS:
        add("actuators.beacon", registry.load(registry.ACTUATORS, driver).Settings)
    found, table = set(), ""
    for line in sample_lines():
        if header := re.fullmatch(r"(?:# )?\[+([\w.]+)\]+", line):
            table = re.sub(r"actuators\.\w+", "actuators.beacon", header[1])
        elif key := re.fullmatch(r"(?:# ){0,2}(\w+) = .+", line):
            found.add((table, key[1]))
    assert wanted <= found
    assert found - wanted == {("telemetry.properties", "site")}


def test_defaults_shown_in_the_sample_are_the_defaults() -> None:
    """A line that is given as a comment says what holds without it, but for keys without a default."""
    for name, section in SECTIONS.items():
        shown = loads_section(name)
        for field in dataclasses.fields(section):
            if field.name in shown and field.default not in (None, dataclasses.MISSING):
                assert shown[field.name] == field.default, f"{name}.{field.name}"


def loads_section(name: str) -> dict[str, Any]:
    lines = sample_lines()
    start = lines.index(f"[{name}]")
    end = next((n for n in range(start + 1, len(lines)) if lines[n].startswith("[")), len(lines))
    return tomllib.loads(
        "\n".join(m[0].removeprefix("# ") for n in lines[start:end] if (m := KEY_LINE.fullmatch(n)))
    )


def test_the_agents_own_properties_are_all_reserved() -> None:
    """What a message carries of its own cannot be set by the user."""
    from agent.reading import Entry, Row, build_message
    from agent.timekeeping import BootClock

    entry = Entry("reading", 0.0, {}, simulated=True, calibration="c")
    message = build_message(Row(1, "r", "b", entry), "d", BootClock(0.0, True), {})
    assert set(message.properties) == OWN_PROPERTIES


def test_the_resolved_form_is_a_configuration_that_means_the_same(tmp_path: Path) -> None:
    """Every default is written out, "auto" is resolved, and loading it again changes nothing."""
    text = (
        f'[device]\nstate_directory = "{tmp_path}"\n'
        '[telemetry.properties]\n"site name" = "north \\"ridge\\""\n'
        '[[sensor]]\nid = "top"\nseed = 7\n[[sensor]]\nid = "low"\ndriver = "simulated"\nheight_m = 3.5\n'
        '[actuators."a.b"]\ndriver = "simulated"\nsafe = 0.5\nmax_on_s = 9\n'
    )
    first = loads(text)
    again = loads(resolved(first))
    assert resolved(again) == resolved(first)
    assert (again.telemetry, again.outbox, again.actuators) == (
        first.telemetry,
        first.outbox,
        first.actuators,
    )
    assert [(s.id, s.driver, s.settings) for s in again.sensors] == [
        (s.id, s.driver, s.settings) for s in first.sensors
    ]


# --- instruments and their vanes

CUP = '[[sensor]]\nid = "cup"\ndriver = "gpio-pulse"\nmodel = "davis-6410"\npin = 17\n'
VANE = '[sensor.vane]\ndriver = "ads1115"\nmodel = "sen-15901"\ninput = 1\n'


def test_a_vane_belongs_to_the_sensor_above_it() -> None:
    """With its own driver and keys; the others have none."""
    config = loads(SENSOR + CUP + VANE)
    assert [s.vane is None for s in config.sensors] == [True, False]
    vane = config.sensors[1].vane
    assert vane is not None
    assert (vane.driver, vane.settings.model, vane.settings.input) == ("ads1115", "sen-15901", 1)


def test_the_resolved_form_has_the_vane_and_what_people_write() -> None:
    """Addresses in base 16, lists as lists, the vane as a table of its own."""
    points = "[[6, 4], [25.4, 16]]"
    first = loads(CUP.replace('model = "davis-6410"', f"points = {points}") + VANE)
    text = resolved(first)
    assert "points = [[6.0, 4.0], [25.4, 16.0]]" in text
    assert "[sensor.vane]" in text
    assert "address = 0x48" in text
    again = loads(text)
    assert again.sensors == first.sensors


@pytest.mark.parametrize(
    ("stanza", "message"),
    [
        ("vane = 3\n", "sensor[0].vane: expected a table [sensor.vane], got 3"),
        ("[[sensor.vane]]\n", "sensor[0].vane: expected a table [sensor.vane], got [[sensor.vane]]"),
        ("[vane]\n", "vane: unknown table: below its [[sensor]] write [sensor.vane]"),
        ("[sensor.vane]\n", "sensor[0].vane.driver: is missing"),
        ('[sensor.vane]\ndriver = "as5601"\n', "unknown driver 'as5601', did you mean 'as5600'?"),
        (
            '[sensor.vane]\ndriver = "as5600"\nbuss = 1\n',
            "sensor[0].vane.buss: unknown key, did you mean 'bus'?",
        ),
        (VANE.replace("sen-15901", "sen-15902"), "sensor[0].vane: unknown model 'sen-15902', did you mean"),
        (VANE.replace("input = 1", "input = 9"), "sensor[0].vane: input must be 0 to 3"),
    ],
)
def test_a_wrong_vane_is_named(stanza: str, message: str) -> None:
    """By the path of its table."""
    with pytest.raises(ConfigError) as caught:
        loads(CUP + stanza)
    assert message in str(caught.value)


RELAY = '[actuators.heater]\ndriver = "relay"\npin = {}\n'
ANALOGUE = '[[sensor]]\nid = "volts"\ndriver = "ads1115"\nmodel = "adafruit-1733"\ninput = "1"\n'


def test_a_pin_or_an_input_is_used_once() -> None:
    """Both users are named; the same number on another chip is another pin."""
    with pytest.raises(ConfigError, match="pin: 17 is used twice, by sensor 'cup' and by actuator 'heater'"):
        loads(CUP + RELAY.format(17))
    chip = '17\nchip = "{}"'
    with pytest.raises(ConfigError, match="pin: 17 is used twice"):
        loads(CUP + chip.format("/dev/gpiochip2")[3:] + "\n" + RELAY.format(chip.format("gpiochip2")))
    with pytest.raises(ConfigError, match="input: 1 is used twice, by sensor 'volts' and by the vane of"):
        loads(ANALOGUE + VANE)
    loads(CUP + RELAY.format(chip.format("gpiochip2")))
    loads(ANALOGUE + VANE.replace("input = 1", "input = 1\naddress = 0x49"))
    loads(ANALOGUE + VANE.replace("input = 1", "input = 0"))


def test_a_chip_has_one_driver() -> None:
    """Two stanzas for one chip would read one wire as two things, or break each other's measurement."""
    hot = '[[sensor]]\nid = "{}"\ndriver = "fs3000"\nmodel = "fs3000-1015"\n'
    with pytest.raises(
        ConfigError, match="address: 0x28 on bus 1 is used twice, by sensor 'a' and by sensor 'b'"
    ):
        loads(hot.format("a") + hot.format("b"))
    loads(hot.format("a") + hot.format("b") + "bus = 2\n")
    vane = '[sensor.vane]\ndriver = "ads1015"\nmodel = "sen-15901"\ninput = 2\n'
    with pytest.raises(ConfigError, match="address: 0x48 on bus 1 is used twice"):
        loads(ANALOGUE + vane)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[sensor]]\nid = "a"\npin = 17\n', 'sensor[0].driver: "auto" chose simulated, which has no pin'),
        (CUP.replace("gpio-pulse", "davis-6410"), "'davis-6410' is a model: give its driver"),
        ('[sensor.vane]\ndriver = "as5600"\n' + CUP, "[sensor.vane] goes below its [[sensor]]"),
    ],
)
def test_what_people_forget_is_told(text: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver, that a model is none, and where a vane belongs."""
    monkeypatch.setattr(board, "detect", lambda tree=None: None)
    with pytest.raises(ConfigError) as caught:
        loads(text)
    assert message in str(caught.value)
