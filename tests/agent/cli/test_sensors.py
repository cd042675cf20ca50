"""`masthead sensors`: what is printed can be pasted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.cli.sensors import stanza
from agent.config import ConfigError, loads
from hw import board, registry
from hw.settings import setting

from .conftest import Masthead

CONVERTERS = ("ads1115", "ads1015", "mcp3421")
NEED_OTHERS = dict.fromkeys(("slope", "offset", "shunt_ohm", "full_mps", "dead_band_deg"), CONVERTERS)
"""Keys for another kind of signal or vane than the stanza shows."""

SENSOR = '[[sensor]]\nid = "other"\ndriver = "simulated"\n'
KINDS = {"sensor": registry.ANEMOMETERS, "vane": registry.VANES, "actuator": registry.ACTUATORS}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, table in KINDS.items() for name in table])
@pytest.mark.parametrize("uncommented", [False, True])
def test_each_stanza_is_configuration(kind: str, name: str, uncommented: bool) -> None:
    """As printed, and with each of its keys given as shown."""
    lines = list(stanza(kind, KINDS[kind], name))
    assert lines[0].startswith("# ")
    optional = [n for n, line in enumerate(lines) if n and line.startswith("# ")]
    for n in optional if uncommented else [0]:
        text = "\n".join(line.removeprefix("# ") if i == n and i else line for i, line in enumerate(lines))
        if n and name in NEED_OTHERS.get(lines[n].split()[1], ()):
            with pytest.raises(ConfigError, match=r"needs signal|is for potentiometers|goes with"):
                loads(SENSOR + text)
            continue
        config = loads(SENSOR + text)
        vanes = {s.vane.driver for s in config.sensors if s.vane is not None}
        assert name in {s.driver for s in config.sensors} | vanes | {a.driver for a in config.actuators}


def test_all_drivers_are_listed(masthead: Masthead) -> None:
    """With what "auto" means here."""
    result = masthead("sensors")
    assert result.code == 0
    assert result.out.startswith("board            a desktop: no device tree\n")
    assert 'driver = "auto"  no device tree' in result.out
    for table in KINDS.values():
        assert all(f'driver = "{name}"' in result.out for name in table)


def test_on_a_board_it_says_what_to_set(
    masthead: Masthead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its model, and that "auto" names nothing."""
    (tmp_path / "compatible").write_bytes(b"x\0")
    (tmp_path / "model").write_bytes(b"Raspberry Pi 5\0")
    monkeypatch.setattr(board, "DEVICE_TREE", tmp_path)
    result = masthead("sensors")
    assert result.out.startswith("board            Raspberry Pi 5\n")
    assert '"auto" names no sensor on a board' in result.out


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gpio-pulse", 'driver = "gpio-pulse"'),
        ("as5600", "[sensor.vane]"),
        ("Davis_6410", "davis-6410           gpio-pulse"),
        ("nrg-40c", "#   0.765 m/s per Hz + 0.35 m/s; pulses: 2 a revolution, sine, hold-off 0.0001 s"),
        ("adafruit-1733", "#   0.4 V: 0 m/s, 2 V: 32.4 m/s"),
        ("sen-15901", "#   ladder of 33000, 6570, 8200, 891, "),
        ("rmyoung-05103", "#   potentiometer of 10000 ohm"),
    ],
)
def test_a_name_shows_only_what_is_called_so(masthead: Masthead, name: str, said: str) -> None:
    """A driver's stanza, or a model with the drivers that take it."""
    result = masthead("sensors", name)
    assert result.code == 0
    assert said in result.out
    assert 'driver = "replay"' not in result.out
    assert "a desktop" not in result.out


def test_a_name_that_is_none_is_answered_with_the_nearest(masthead: Masthead) -> None:
    """Of drivers and models alike."""
    result = masthead("sensors", "davis-6411")
    assert (result.code, result.out) == (1, "")
    assert "did you mean 'davis-6410'?" in result.err


def test_as_json(masthead: Masthead) -> None:
    """One object: kinds, drivers, what they are and their settings."""
    found = json.loads(masthead("sensors", "--json").out)
    assert set(found["sensor"]) >= set(registry.ANEMOMETERS)
    assert set(found["vane"]) >= set(registry.VANES)
    davis = [model for model in found["model"] if model["key"] == "davis-6410"]
    assert {model["kind"]: model.get("slope") for model in davis} == {"pulse": 1.00584, "vane": None}
    assert found["actuator"]["simulated"]["settings"]["safe"].startswith("value that does no harm")


class Odd:
    """A driver with every kind of limit."""

    @dataclass(frozen=True)
    class Settings:
        mode: str = setting("a", doc="which", choices=("a", "b"))
        low: float = setting(1.0, doc="low", minimum=0)
        high: float = setting(1.0, doc="high", maximum=2)
        pins: tuple[int, ...] = setting((1, 2), doc="pins")
        name: str | None = setting(None, doc="name", example="ä")
        address: int = setting(0x48, doc="where", choices=(0x48, 0x49), hexadecimal=True)
        model: str | None = setting(None, doc="model", example="m", suggested=True)


def test_limits_and_broken_drivers_are_shown(masthead: Masthead, monkeypatch: pytest.MonkeyPatch) -> None:
    """Choices, one-sided limits, lists; a driver that does not load says why and hides no other."""
    monkeypatch.setitem(registry.ANEMOMETERS, "odd", f"{__name__}:Odd")
    monkeypatch.setitem(registry.ANEMOMETERS, "gone", "no_such_module:Driver")
    out = masthead("sensors").out
    for line in ("which (a | b)", "low (at least 0)", "high (at most 2)", "# pins = [1, 2]", '# name = "ä"'):
        assert line in out
    assert "# address = 0x48                  # where (0x48 | 0x49)" in out
    assert '\nmodel = "m" ' in out
    assert "# gone: driver 'gone' cannot be loaded" in out
    assert "error" in json.loads(masthead("sensors", "--json").out)["sensor"]["gone"]
