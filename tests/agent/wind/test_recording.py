"""Half an hour of real wind, replayed through driver, quality and statistics, against its published figures.

The recording is not part of this project: MASTHEAD_RECORDING names the CSV file, beside which lies the JSON
file with the figures. Without it these tests are skipped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.wind.quality import QualityControl
from agent.wind.statistics import WindReport, WindStatistics
from hw.simulated.replay import ReplayAnemometer
from tests.clock import FakeClock

_BESIDE = Path(__file__).parents[4] / "shared" / "data" / "finse-2018-07-20T1400-10hz.csv"
RECORDING = Path(os.environ.get("MASTHEAD_RECORDING", _BESIDE))
HALF_HOUR_S = 1800

pytestmark = pytest.mark.skipif(
    not RECORDING.with_suffix(".json").is_file(), reason="no recording: MASTHEAD_RECORDING names it"
)


def _replay(rate_hz: float, interval_s: int) -> Iterator[tuple[WindReport, tuple[str, tuple[str, ...]]]]:
    """(report, assessment) of each interval of the half hour, sampled at ``rate_hz`` by a clock."""
    clock = FakeClock()
    anemometer = ReplayAnemometer.open(ReplayAnemometer.Settings(str(RECORDING)), clock)
    figures, quality = WindStatistics(rate_hz), QualityControl(anemometer.has_direction)
    per_interval = round(interval_s * rate_hz)
    for k in range(1, round(HALF_HOUR_S * rate_hz) + 1):
        figures.add(quality.screen(anemometer.read(clock.monotonic())))
        clock.advance(1 / rate_hz)
        if k % per_interval == 0:
            report = figures.close(interval_s)
            yield report, quality.assess(report)


def _published() -> dict[str, Any]:
    figures: dict[str, Any] = json.loads(RECORDING.with_suffix(".json").read_text())
    return figures


def _differences(report: WindReport, published: dict[str, float]) -> dict[str, float]:
    """Ours minus theirs, by the published name."""
    ours = {
        "mean": report.speed_mps,
        "std": report.speed_std_mps,
        "gust3s": report.gust_mps,
        "lull3s": report.lull_mps,
        "vector_speed": report.vector_speed_mps,
        "direction": report.direction_deg,
    }
    return {name: value - published[name] for name, value in ours.items() if value is not None}


def _pairs(rate_hz: float) -> Iterator[tuple[str, WindReport, dict[str, float]]]:
    published = _published()
    [(whole, assessment)] = _replay(rate_hz, HALF_HOUR_S)
    assert assessment == ("good", ())
    yield "30 min", whole, published["whole"]
    for number, (report, assessment) in enumerate(_replay(rate_hz, 600), start=1):
        assert assessment == ("good", ())
        yield f"10 min no. {number}", report, published["ten_min"][number - 1]


def test_sampled_at_its_own_rate_every_figure_is_the_published_one() -> None:
    """At 10 Hz, the half hour and each ten minutes: to 0.01 m/s, directions to 0.05°."""
    for name, report, published in _pairs(10.0):
        assert report.samples_valid == published["samples"], name
        differences = _differences(report, published)
        assert len(differences) == 6, name
        assert abs(differences.pop("direction")) < 0.05, name
        assert all(abs(d) < 0.01 for d in differences.values()), (name, differences)


def test_sampled_at_4_hz_it_is_nearly_the_same_wind() -> None:
    """Mean and deviation to 0.05 m/s, gust to 0.15; the differences are printed."""
    print()
    for name, report, published in _pairs(4.0):
        differences = _differences(report, published)
        print(f"4 Hz − 10 Hz, {name}: " + ", ".join(f"{k} {v:+.3f}" for k, v in differences.items()))
        assert abs(differences["mean"]) < 0.05, name
        assert abs(differences["std"]) < 0.05, name
        assert abs(differences["gust3s"]) < 0.15, name
