"""Drivers are found by name, and those of other packages join in without replacing any."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hw import registry
from hw.errors import DeviceMisconfigured
from hw.simulated.pins import SimulatedActuator
from hw.simulated.vane import SimulatedVane
from hw.simulated.wind import SimulatedAnemometer

ENTRY_POINTS = """
[masthead.anemometers]
windy = windy_driver:Windy
simulated = windy_driver:Windy
broken = windy_driver:NoSuchClass
absent = no_such_module_anywhere:Driver
"""


@pytest.fixture
def other_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package on the path that offers drivers by entry points."""
    (tmp_path / "windy_driver.py").write_text("class Windy:\n    pass\n")
    info = tmp_path / "windy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: windy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "windy_driver", raising=False)
    return tmp_path


def test_built_in_drivers_load() -> None:
    """Names lead to classes, the same name in each table to its own."""
    assert registry.load(registry.ANEMOMETERS, "simulated") is SimulatedAnemometer
    assert registry.load(registry.VANES, "simulated") is SimulatedVane
    assert registry.load(registry.ACTUATORS, "simulated") is SimulatedActuator


@pytest.mark.parametrize("table", [registry.ANEMOMETERS, registry.VANES, registry.ACTUATORS])
def test_every_built_in_name_loads_a_driver(table: dict[str, str]) -> None:
    """Each row of the tables names a class that keeps the convention."""
    for name in table:
        driver = registry.load(table, name)
        assert callable(driver.open)
        assert isinstance(driver.Settings, type)


def test_an_unknown_driver_is_answered_with_the_nearest_name() -> None:
    """A slip of the finger is pointed out."""
    with pytest.raises(DeviceMisconfigured, match=r"unknown driver 'simulatd', did you mean 'simulated'\?"):
        registry.load(registry.ANEMOMETERS, "simulatd")


def test_a_name_like_no_other_is_answered_with_all_names() -> None:
    """Where nothing is near, the list helps."""
    with pytest.raises(DeviceMisconfigured, match=r"unknown driver 'xyz' \(known: replay, simulated\)"):
        registry.load({"simulated": "a:B", "replay": "a:C"}, "xyz")


def test_other_packages_add_drivers(other_package: Path) -> None:
    """An entry point's driver loads by its name."""
    assert registry.names(registry.ANEMOMETERS)["windy"] == "windy_driver:Windy"
    assert registry.load(registry.ANEMOMETERS, "windy").__name__ == "Windy"
    assert "windy" not in registry.names(registry.ACTUATORS)


def test_other_packages_replace_no_built_in_driver(other_package: Path) -> None:
    """The name ``simulated`` stays ours."""
    assert registry.load(registry.ANEMOMETERS, "simulated") is SimulatedAnemometer


@pytest.mark.parametrize(
    ("name", "reason"), [("broken", "NoSuchClass"), ("absent", "no_such_module_anywhere")]
)
def test_a_driver_that_cannot_be_loaded_says_why(other_package: Path, name: str, reason: str) -> None:
    """A missing module or class is a configuration error that names it."""
    with pytest.raises(DeviceMisconfigured, match=f"driver '{name}' cannot be loaded: .*{reason}"):
        registry.load(registry.ANEMOMETERS, name)
