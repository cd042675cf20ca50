"""What the agent says of itself to its device's twin (agent/cloud/twin.py has its form). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import __version__
from .cloud import twin
from .config import SensorConfig
from .sampler import Sampler
from .timekeeping import BootClock
from .writer_status import WriterStatus


def reported(
    *,
    board: str,
    run: str,
    sensors: Sequence[tuple[SensorConfig, Sampler]],
    outbox: WriterStatus,
    wall: BootClock,
    link_trouble: twin.LastTrouble,
) -> dict[str, Any]:
    """The reported properties now; of several troubles the one that loses most: disk, sensor, link."""
    wrong = [twin.Trouble(f"outbox: {outbox.degraded}")] if outbox.degraded else []
    for _, sampler in sensors:
        now = sampler.status
        if now.lost_since_boot_s is not None and now.sample is not None:
            fault = f"sensor {sampler.sensor_id}: {now.sample.fault}"
            wrong.append(twin.Trouble(fault, wall.time_text(now.lost_since_boot_s)))
    if link_trouble is not None:
        wrong.append(twin.Trouble(f"hub link: {link_trouble[0]}", wall.time_text(link_trouble[1])))
    return twin.document(
        version=__version__,
        board=board,
        run=run,
        sensors=[
            twin.ReportedSensor(
                sensor.id, sensor.driver, getattr(sensor.settings, "model", None), sampler.calibration
            )
            for sensor, sampler in sensors
        ],
        backlog=outbox.backlog,
        dropped=outbox.dropped,
        rejected=outbox.stats.rejected,
        last_error=wrong[0] if wrong else None,
    )
