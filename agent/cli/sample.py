"""``masthead sample``: the sensors live, for a person who checks the wiring at the mast."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.config import Config, SensorConfig
from agent.control import ControlClient, NoDaemon
from agent.status import figure_text

from .common import Seconds, ask, config_option, json_option, load_config, one_line_errors, until_interrupted

if TYPE_CHECKING:
    from agent.timekeeping import Timekeeper
    from hw.anemometer import Anemometer, WindSample

Samples = dict[str, dict[str, Any]]


@click.command("sample")
@config_option
@json_option
@click.option("--count", type=click.IntRange(1), help="End after so many samples of each sensor.")
@click.option(
    "--every",
    "every_s",
    type=Seconds(0.1, 3600),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two samples.",
)
def sample_command(config_path: Path | None, as_json: bool, count: int | None, every_s: float) -> None:
    """Show the sensors live: m/s and degrees, and beside them what the instrument itself says.

    That is edges, hertz, volts or counts, so that the wiring can be checked at the mast. A running agent is
    asked for its samples; where none runs, the sensors are read here.

    \b
    Example:
      masthead sample --count 3
    """
    config = load_config(config_path)
    with one_line_errors(), until_interrupted(endless=count is None), _sampling(config) as take:
        number = 0
        while count is None or number < count:
            for name, sample in take(every_s, first=number == 0).items():
                line = json.dumps({"sensor": name, **sample}) if as_json else sample_line(name, sample)
                click.echo(line)
            number += 1


Take = Callable[..., Samples]
"""(seconds to wait before, unless it is the ``first``) -> a sample of each sensor."""


@contextmanager
def _sampling(config: Config) -> Iterator[Take]:
    """What takes the samples: from the agent if one runs, else from the hardware."""
    try:
        ControlClient(config.state_directory).close()
    except NoDaemon:
        with _hardware(config) as take:
            yield take
    else:
        yield lambda wait_s, first: _from_agent(config, 0.0 if first else wait_s)


def _from_agent(config: Config, wait_s: float) -> Samples:
    time.sleep(wait_s)
    keys = ("time", "windSpeed", "windDirection", "fault", "flags", "raw", "simulated")
    return {name: {key: sensor[key] for key in keys} for name, sensor in ask(config, "sample").items()}


@contextmanager
def _hardware(config: Config) -> Iterator[Take]:
    """The sensors themselves, sampled at the configured rate also between what is shown."""
    from agent.state import StateLock
    from agent.timekeeping import Timekeeper, read_boot_id
    from hw.clock import SystemClock

    clock = SystemClock()
    timekeeper = Timekeeper(clock, read_boot_id())
    period_s = 1.0 / config.sampling.rate_hz
    with StateLock(config.state_directory), ExitStack() as stack:
        sensors = [_Sensor(sensor, timekeeper) for sensor in config.sensors]
        for sensor in sensors:
            stack.callback(sensor.close)

        def take(wait_s: float, first: bool) -> Samples:
            due = clock.monotonic()
            until = due + wait_s
            samples = {sensor.name: sensor.sample() for sensor in sensors}
            while any(s["windSpeed"] is None for s in samples.values()) if first else True:
                due = min(due + period_s, until)
                if (now := clock.monotonic()) >= until:
                    break
                time.sleep(max(0.0, due - now))  # to the schedule: reading takes its time, too
                samples = {sensor.name: sensor.sample() for sensor in sensors}
            return samples

        yield take


class _Sensor:
    """One sensor, opened when it is first needed and again whenever that failed."""

    def __init__(self, config: SensorConfig, timekeeper: Timekeeper) -> None:
        self.name = config.id
        self._config = config
        self._timekeeper = timekeeper
        self._opened: Anemometer | None = None

    def sample(self) -> dict[str, Any]:
        now = self._timekeeper.clock.monotonic()
        sample = self._read(now)
        return {
            "time": self._timekeeper.read().time_text(now),
            "windSpeed": None if sample.speed_mps is None else round(sample.speed_mps, 2),
            "windDirection": None if sample.direction_deg is None else round(sample.direction_deg, 1),
            "fault": sample.fault,
            "flags": list(sample.flags),
            "raw": dict(sample.raw),
            "simulated": self._opened is not None and self._opened.simulated,
        }

    def _read(self, now: float) -> WindSample:
        from agent.parts import open_sensor
        from hw.anemometer import WindSample
        from hw.errors import HardwareError

        try:
            if self._opened is None:
                self._opened = open_sensor(self._config, self._timekeeper.clock)
            return self._opened.read(now)
        except HardwareError as error:
            return WindSample(now, None, fault=str(error))

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()


def sample_line(name: str, sample: dict[str, Any]) -> str:
    """A sample in one line for a person."""
    speed, direction, fault = sample["windSpeed"], sample["windDirection"], sample["fault"]
    words = f"{speed:6.2f} m/s" if speed is not None else "no value" if direction is None else "no speed"
    if direction is not None:
        words += f"  from {direction:5.1f}°"
    if speed is None or fault:
        words += f": {fault or 'not sampled yet'}"
    raw = ", ".join(f"{key} {figure_text(value)}" for key, value in sample["raw"].items())
    parts = [(sample["time"] or "")[11:23], f"{name:<8}", words, f"[{raw}]" if raw else ""]
    parts += [*sample["flags"], "(simulated)" if sample["simulated"] else ""]
    return "  ".join(part for part in parts if part)
