"""The recorded half hour through driver, quality control, statistics and sampler, as on the wire."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from agent.reading import Entry
from agent.sampler import Sampler
from hw.simulated.replay import ReplayAnemometer
from tests.clock import FakeClock

NAME = "finse-2018-07-20T1400-10hz.csv"
RECORDING = Path(os.environ.get("MASTHEAD_RECORDING", Path(__file__).parents[3] / "shared" / "data" / NAME))
NAMES = {
    "mean": "windSpeed", "std": "windSpeedStdDev", "gust3s": "windGust", "lull3s": "windLull",
    "vector_speed": "windVectorSpeed", "direction": "windDirection",
}  # fmt: skip


def replayed(rate_hz: float, interval_s: float) -> list[Entry]:
    """The readings of the whole recording."""
    clock = FakeClock()
    entries: list[Entry] = []
    sampler = Sampler(
        "top",
        lambda: ReplayAnemometer.open(ReplayAnemometer.Settings(file=str(RECORDING)), clock),
        rate_hz=rate_hz,
        report_interval_s=interval_s,
        put=entries.append,
    )
    end = clock.monotonic() + 1800
    while clock.monotonic() < end + 1e-6:
        clock.advance(sampler.step(clock.monotonic()) - clock.monotonic())
    return [entry for entry in entries if entry.kind == "reading"]


@pytest.fixture(scope="module")
def reference() -> Any:
    """The figures beside the recording."""
    if not RECORDING.is_file():
        pytest.skip("the recording is not here")
    return json.loads(RECORDING.with_suffix(".json").read_text())


AT_10_HZ = {"mean": 0.01, "std": 0.01, "gust3s": 0.01, "lull3s": 0.01, "vector_speed": 0.01, "direction": 0.1}
AT_4_HZ = {"mean": 0.05, "std": 0.05, "gust3s": 0.15, "lull3s": 0.15, "vector_speed": 0.05, "direction": 1.0}


@pytest.mark.parametrize(("rate_hz", "tolerances"), [(10.0, AT_10_HZ), (4.0, AT_4_HZ)])
@pytest.mark.parametrize("part", ["whole", "ten_min"])
def test_the_half_hour(reference: Any, rate_hz: float, tolerances: dict[str, float], part: str) -> None:
    """Every figure of a reading is that of the reference, sampled at its rate or at ours."""
    wanted = [reference["whole"]] if part == "whole" else reference["ten_min"]
    readings = replayed(rate_hz, 1800 / len(wanted))
    assert len(readings) == len(wanted)
    for reading, figures in zip(readings, wanted, strict=True):
        assert reading.simulated
        assert (reading.body["quality"], reading.body["flags"]) == ("good", [])
        for key, name in NAMES.items():
            difference = reading.body[name] - figures[key]
            print(f"{part} at {rate_hz:g} Hz: {name} differs by {difference:+.3f}")
            assert abs(difference) <= tolerances[key] + 1e-9, (name, reading.body[name], figures[key])
