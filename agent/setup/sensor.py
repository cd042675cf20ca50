"""The sensor that a person names, as keys of the configuration. Pure but for loading drivers."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hw import catalogue, registry
from hw.errors import DeviceMisconfigured
from hw.settings import SettingError, did_you_mean, parse, toml_text

from .places import SetupError

_DRIVERS = {"pulse": "gpio-pulse", "voltage": "ads1115", "fs3000": "fs3000"}
"""What reads a model of each kind, as most people wire it."""


@dataclass(frozen=True)
class Sensor:
    """A driver, and what is known of its settings."""

    driver: str
    settings: Mapping[str, Any]

    @property
    def fields(self) -> dict[str, dataclasses.Field[Any]]:
        """The driver's settings by name."""
        return {
            f.name: f for f in dataclasses.fields(registry.load(registry.ANEMOMETERS, self.driver).Settings)
        }

    @property
    def missing(self) -> list[dataclasses.Field[Any]]:
        """What a person has to give yet."""
        return [
            field
            for name, field in self.fields.items()
            if name not in self.settings
            and field.default is dataclasses.MISSING
            and field.default_factory is dataclasses.MISSING
        ]

    @property
    def lines(self) -> list[str]:
        """Its lines in the configuration."""
        known = self.fields
        settings = [
            f"{name} = {toml_text(value, known[name].metadata)}" for name, value in self.settings.items()
        ]
        return [f'driver = "{self.driver}"', *settings]

    def with_setting(self, name: str, value: Any) -> Sensor:
        return Sensor(self.driver, {**self.settings, name: value})

    def check(self) -> None:
        """Raises SetupError with everything that is wrong with its settings."""
        if wrong := self._wrong():
            raise SetupError(f"{self.driver}: " + "; ".join(map(str, wrong)).replace("(top level): ", ""))

    def check_setting(self, name: str) -> None:
        """Raises SetupError with what is wrong with this one, whatever is missing yet."""
        if wrong := [error for error in self._wrong() if error.key == name]:
            raise SetupError("; ".join(map(str, wrong)))

    def _wrong(self) -> list[SettingError]:
        return parse(registry.load(registry.ANEMOMETERS, self.driver).Settings, dict(self.settings))[1]


def named(name: str) -> Sensor:
    """The sensor of a driver's name, or of a model's in any spelling. Raises SetupError."""
    drivers = registry.names(registry.ANEMOMETERS)
    if name in drivers:
        try:
            registry.load(registry.ANEMOMETERS, name)
        except DeviceMisconfigured as error:
            raise SetupError(str(error)) from error
        return Sensor(name, {})
    models = list(catalogue.models())
    for model in models:
        if catalogue.is_called(model, name) and model.kind in _DRIVERS:
            return Sensor(_DRIVERS[model.kind], {"model": model.key})
    words = {*drivers, *(word for m in models if m.kind in _DRIVERS for word in (m.key, *m.aliases))}
    raise SetupError(f"no sensor {name!r}{did_you_mean(name, words, ' (`masthead sensors` lists them)')}")


def value_of(text: str) -> Any:
    """What somebody typed, as TOML has it; what is no TOML value is a text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
