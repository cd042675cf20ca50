"""A driver in somebody else's package: installed beside masthead, it is used like our own."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Masthead

MODULE = '''\
from dataclasses import dataclass

from hw.anemometer import WindSample
from hw.errors import DeviceUnavailable
from hw.settings import setting
from hw.vane import VaneSample


class Sonic:
    """Sonic anemometer on a serial line."""

    simulated = False
    calibration = "sonic-1"
    has_direction = False

    @dataclass(frozen=True)
    class Settings:
        port: str = setting(doc="serial port", example="/dev/ttyUSB0")

    @classmethod
    def open(cls, settings, clock):
        return cls(settings)

    def __init__(self, settings):
        self.port = settings.port

    def read(self, now):
        if self.port == "/dev/none":
            raise DeviceUnavailable("no answer on /dev/none")
        return WindSample(now, 6.5, raw={"counts": 650})

    def close(self):
        pass


class Arrow(Sonic):
    """Arrow on a serial line."""

    def read(self, now):
        return VaneSample(90.0, {"counts": 900})


class Horn:
    """Horn on a serial line."""

    simulated = False
    safe = False
    Settings = Sonic.Settings

    @classmethod
    def open(cls, settings, clock):
        return cls()

    def check(self, value):
        return bool(value)

    def drive(self, value):
        pass

    def close(self):
        pass
'''

ENTRY_POINTS = """\
[masthead.anemometers]
acme-sonic = acme_wind:Sonic

[masthead.vanes]
acme-arrow = acme_wind:Arrow

[masthead.actuators]
acme-horn = acme_wind:Horn
"""

STANZAS = """\
[[sensor]]
id = "sonic"
driver = "acme-sonic"
port = "/dev/ttyS0"
[sensor.vane]
driver = "acme-arrow"
port = "/dev/ttyS1"
[actuators.horn]
driver = "acme-horn"
port = "/dev/ttyS2"
"""


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What pip leaves behind when it has installed such a package."""
    site = tmp_path / "site-packages"
    info = site / "acme_wind-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "acme_wind.py").write_text(MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-wind\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    yield
    sys.modules.pop("acme_wind", None)


def _configure(config: Path, stanzas: str) -> None:
    device = config.read_text().partition("[[sensor]]")[0]
    config.write_text(device + stanzas)


def test_it_is_listed_with_its_stanza(masthead: Masthead) -> None:
    """Of every kind, with the settings it declares."""
    out = masthead("sensors").out
    for driver in ("acme-sonic", "acme-arrow", "acme-horn"):
        assert f'driver = "{driver}"' in out
    assert "# Sonic anemometer on a serial line." in out
    assert 'port = "/dev/ttyUSB0"' in out


def test_it_is_configured_and_read(masthead: Masthead, config: Path) -> None:
    """By its name, with its own keys; nothing about it is simulated."""
    _configure(config, STANZAS)
    sample = json.loads(masthead("sample", "--count", 1, "--json", "--config", config).out)
    assert (sample["sensor"], sample["windSpeed"], sample["windDirection"]) == ("sonic", 6.5, 90.0)
    assert sample["raw"] == {"counts": 650, "vane_counts": 900}
    assert sample["simulated"] is False
    driven = masthead("actuate", "horn", "on", "--for", "0.01", "--config", config)
    assert (driven.code, driven.out) == (0, "horn is on\n")


def test_its_keys_are_checked_and_its_faults_told(masthead: Masthead, config: Path) -> None:
    """As those of our own drivers."""
    _configure(config, STANZAS.replace('port = "/dev/ttyS1"', "prot = 1"))
    wrong = masthead("sample", "--config", config).err
    assert "sensor[0].vane.port: is missing" in wrong
    assert "sensor[0].vane.prot: unknown key, did you mean 'port'?" in wrong
    _configure(config, STANZAS.replace("/dev/ttyS0", "/dev/none"))
    assert "no answer on /dev/none" in masthead("check", "--config", config).out


def test_its_keys_may_mean_what_it_likes(masthead: Masthead, config: Path) -> None:
    """A pin or an address of its own is none of ours, however often it is used."""
    module = (config.parent / "site-packages" / "acme_wind.py").read_text()
    module = module.replace(
        'port: str = setting(doc="serial port", example="/dev/ttyUSB0")',
        'pin: int = setting(doc="pin")\n        chip: int = setting(doc="chip")\n'
        '        bus: str = setting(doc="bus")\n        address: str = setting(doc="address")',
    ).replace("self.port = settings.port", "self.port = settings.bus")
    (config.parent / "site-packages" / "acme_wind.py").write_text(module)
    keys = 'pin = 17\nchip = 1\nbus = "/dev/ttyS0"\naddress = "A"\n'
    sonic = '[[sensor]]\nid = "{}"\ndriver = "acme-sonic"\n'
    _configure(config, sonic.format("a") + keys + sonic.format("b") + keys)
    assert masthead("sample", "--count", 1, "--config", config).out.count("6.50 m/s") == 2
