"""Instruments by model: what models.toml knows of each, found by any spelling of its name.

The file is read at the first question. A key is the model's calibration id: it travels with the data.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, ClassVar, TypeVar

from .settings import did_you_mean
from .transfer import Line, Points


@dataclass(frozen=True, slots=True)
class PulseModel:
    """An anemometer that gives pulses: speed = ``slope``·f + ``offset`` while it turns (m/s per Hz, m/s).

    ``pulses_per_rev``: pulses a revolution, which may be unevenly spaced. ``signal``: reed, contact, sine
    or square. ``hold_off_s``: the quiet before an edge that counts, in seconds. ``name``: for people.
    ``source``: where the figures come from.
    """

    kind: ClassVar[str] = "pulse"

    key: str
    name: str
    slope: float
    signal: str
    hold_off_s: float
    source: str
    offset: float = 0.0
    pulses_per_rev: int = 1
    aliases: tuple[str, ...] = ()

    @property
    def transfer(self) -> Line:
        """Hz -> m/s."""
        return Line(self.slope, self.offset)


@dataclass(frozen=True, slots=True)
class VoltageModel:
    """An anemometer with an analogue output. ``points``: (volts, m/s).

    ``fault_below_volts``: less than it gives even in a calm, so that the circuit must be open.
    """

    kind: ClassVar[str] = "voltage"

    key: str
    name: str
    points: tuple[tuple[float, float], ...]
    fault_below_volts: float
    source: str
    aliases: tuple[str, ...] = ()

    @property
    def transfer(self) -> Points:
        """Volts -> m/s."""
        return Points(self.points)


@dataclass(frozen=True, slots=True)
class Fs3000Model:
    """A variant of the Renesas FS3000. ``points``: (raw count, m/s)."""

    kind: ClassVar[str] = "fs3000"

    key: str
    name: str
    points: tuple[tuple[float, float], ...]
    source: str
    aliases: tuple[str, ...] = ()

    @property
    def transfer(self) -> Points:
        """Raw count -> m/s, held at the ends of the table."""
        return Points(self.points, clamp=True)


@dataclass(frozen=True, slots=True)
class VaneModel:
    """A wind vane whose resistance tells the direction, by a ladder of resistors or by a potentiometer.

    ``ladder_ohms``: at 0, 22.5 … 337.5°, empty for a potentiometer. ``pot_ohms``: end to end, None for a
    ladder. ``dead_band_deg``: (from, to) where a potentiometer's wiper touches nothing, None if there is
    no such arc.
    """

    kind: ClassVar[str] = "vane"

    key: str
    name: str
    source: str
    ladder_ohms: tuple[float, ...] = ()
    pot_ohms: float | None = None
    dead_band_deg: tuple[float, float] | None = None
    aliases: tuple[str, ...] = ()


AnyModel = PulseModel | VoltageModel | Fs3000Model | VaneModel
Model = TypeVar("Model", bound=AnyModel)


def pulse_models() -> Mapping[str, PulseModel]:
    """Key -> model, in the order of the file."""
    return _models(PulseModel)


def voltage_models() -> Mapping[str, VoltageModel]:
    """Key -> model, in the order of the file."""
    return _models(VoltageModel)


def fs3000_models() -> Mapping[str, Fs3000Model]:
    """Key -> model, in the order of the file."""
    return _models(Fs3000Model)


def vane_models() -> Mapping[str, VaneModel]:
    """Key -> model, in the order of the file."""
    return _models(VaneModel)


def pulse_model(name: str) -> PulseModel:
    """The anemometer that ``name`` means. Raises ValueError if there is none, with the nearest name."""
    return _find(pulse_models(), name)


def voltage_model(name: str) -> VoltageModel:
    """The anemometer that ``name`` means. Raises ValueError if there is none, with the nearest name."""
    return _find(voltage_models(), name)


def fs3000_model(name: str) -> Fs3000Model:
    """The variant that ``name`` means. Raises ValueError if there is none, with the nearest name."""
    return _find(fs3000_models(), name)


def vane_model(name: str) -> VaneModel:
    """The vane that ``name`` means. Raises ValueError if there is none, with the nearest name."""
    return _find(vane_models(), name)


def models() -> Iterator[AnyModel]:
    """Every model of every kind, in the order of the file."""
    for kind in (pulse_models(), voltage_models(), fs3000_models(), vane_models()):
        yield from kind.values()


def is_called(model: AnyModel, name: str) -> bool:
    """Whether ``name`` means this model, by its key or an alias, in any spelling."""
    return _plain(name) in map(_plain, (model.key, *model.aliases))


def _find(known: Mapping[str, Model], name: str) -> Model:
    for model in known.values():
        if is_called(model, name):
            return model
    words = [word for model in known.values() for word in (model.key, *model.aliases)]
    raise ValueError(f"unknown model {name!r}{did_you_mean(name, words, ' (`masthead sensors` lists them)')}")


def _plain(name: str) -> str:
    """Letters and digits only, in lower case: davis_6410 and Davis 6410 are davis6410."""
    return "".join(c for c in name.casefold() if c.isalnum())


@functools.cache
def _models(model: type[Model]) -> Mapping[str, Model]:
    return {key: model(key=key, **_frozen(table)) for key, table in _file()[model.kind].items()}


@functools.cache
def _file() -> dict[str, dict[str, dict[str, Any]]]:
    text = resources.files(__package__).joinpath("models.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def _frozen(value: Any) -> Any:
    """TOML's lists as tuples, tables as they are."""
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    return {key: _frozen(item) for key, item in value.items()} if isinstance(value, dict) else value
