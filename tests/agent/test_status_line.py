"""The line of `systemctl status`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from agent.status_line import status_line
from agent.uplink import LinkStatus
from hw.anemometer import WindSample

UP = LinkStatus("up", 0.0)


def sampler(name: str, sample: WindSample | None, *, simulated: bool = False) -> Any:
    return SimpleNamespace(sensor_id=name, status=SimpleNamespace(sample=sample), simulated=simulated)


def line(link: LinkStatus | None = UP, **more: Any) -> str:
    top = sampler("top", WindSample(1.0, 7.04))
    told: dict[str, Any] = {"waiting": 0, "confirmed": None, "held": (), "refused": None}
    return status_line([top], link, **(told | more))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (line(confirmed="17:34:02 UTC"), "top 7.0 m/s; hub connected, 0 waiting, confirmed 17:34:02 UTC"),
        (line(None, waiting=12), "top 7.0 m/s; not sending, 12 waiting"),
        (line(LinkStatus("connecting", 0.0)), "top 7.0 m/s; connecting to the hub, 0 waiting"),
        (line(LinkStatus("down", 0.0)), "top 7.0 m/s; hub link down, 0 waiting"),
        (
            line(LinkStatus("down", 0.0, last_error="nobody listens"), waiting=3),
            "top 7.0 m/s; hub link down (nobody listens), 3 waiting",
        ),
        (line(held=("at the mast",)), "top 7.0 m/s; hub connected, 0 waiting; held at the mast"),
        (
            line(refused="masthead.toml: not valid TOML"),
            "CONFIGURATION NOT TAKEN (masthead.toml: not valid TOML); top 7.0 m/s; hub connected, 0 waiting",
        ),
        (
            line(degraded="database or disk is full"),
            "READINGS IN MEMORY ONLY (database or disk is full); top 7.0 m/s; hub connected, 0 waiting",
        ),
    ],
)
def test_a_person_reads_it(said: str, expected: str) -> None:
    """Wind, hub, what waits, and first of all what a person has to mend."""
    assert said == expected


def test_every_sensor_is_in_it() -> None:
    """With its value, that it has none, or that it is invented."""
    sensors = [
        sampler("top", WindSample(1.0, 7.0), simulated=True),
        sampler("low", WindSample(1.0, None, fault="no answer")),
        sampler("new", None),
    ]
    said = status_line(sensors, UP, waiting=0, confirmed=None, held=(), refused=None)
    assert said.startswith("top 7.0 m/s (simulated), low no value, new no sample yet; ")
