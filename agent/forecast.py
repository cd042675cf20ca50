"""What a configuration costs a day in hub messages, and how long an outage its outbox holds. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .batching import METERING_UNIT_BYTES, metered_bytes
from .config import Config, SensorConfig
from .outbox import OutboxStats
from .reading import Entry, Row, build_message
from .timekeeping import BootClock

DAILY_QUOTA = {"F1": 8_000, "S1": 400_000, "S2": 6_000_000, "S3": 300_000_000}
"""Messages a day and unit, by tier: https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-quotas-throttling"""

ROW_BYTES = 292.0
"""On disk, measured: 229,853 readings filled 64 MiB. Reckoned with until a store has enough of its own."""

_ENOUGH_ROWS = 1000
_DAY_S = 86_400.0
_SECONDS_OF_THE_DAY = 1_767_225_600.0  # any will do: all times are written alike


@dataclass(frozen=True, slots=True)
class Forecast:
    """``messages``: as the hub meters them, a day, readings alone; ``quota``: of one unit of the tier.

    ``outage_days``: how long the outbox keeps every reading without a hub; ``row_bytes``: what it reckons a
    reading takes on disk.
    """

    tier: str
    messages: int
    quota: int
    outage_days: float
    max_bytes: int
    row_bytes: float

    @property
    def fits(self) -> bool:
        """Whether one unit of the tier takes it all."""
        return self.messages <= self.quota

    def __str__(self) -> str:
        return (
            f"{self.messages:,} of {self.quota:,} messages a day on {self.tier}; the outbox holds "
            f"{self.outage_days:,.0f} days of outage ({self.max_bytes / 1e6:,.0f} MB, "
            f"{self.row_bytes:.0f} bytes a reading)"
        )


def forecast(config: Config, device_id: str | None = None, stats: OutboxStats | None = None) -> Forecast:
    """For readings sent as they are made; arrays make a backlog cheaper, and events come on top.

    ``stats``: of the store, whose own rows tell their size once there are enough of them.
    """
    reports = _DAY_S / config.telemetry.report_interval_s
    unit = METERING_UNIT_BYTES[config.device.hub_tier]
    units = sum(math.ceil(_size(config, sensor, device_id or "device-1") / unit) for sensor in config.sensors)
    rows = 0 if stats is None else stats.unsent + stats.sent
    row_bytes = ROW_BYTES if stats is None or rows < _ENOUGH_ROWS else stats.used_bytes / rows
    return Forecast(
        tier=config.device.hub_tier,
        messages=math.ceil(reports * units),
        quota=DAILY_QUOTA[config.device.hub_tier],
        outage_days=config.outbox.max_bytes / (reports * max(len(config.sensors), 1) * row_bytes),
        max_bytes=config.outbox.max_bytes,
        row_bytes=row_bytes,
    )


def _size(config: Config, sensor: SensorConfig, device_id: str) -> int:
    """Metered bytes of a reading of this sensor, with figures of the usual length."""
    figures = ("windSpeed", "windGust", "windLull", "windSpeedStdDev", "windDirection", "windVectorSpeed")
    body = {
        "sensor": sensor.id,
        "interval": config.telemetry.report_interval_s,
        **({} if sensor.height_m is None else {"height": sensor.height_m}),
        **dict.fromkeys(figures, 12.34),
        "quality": "good",
        "flags": [],
    }
    simulated = sensor.driver in ("simulated", "replay")
    calibration = (
        None if simulated else getattr(sensor.settings, "calibration", None) or "slope-0.62-offset-0.27"
    )
    entry = Entry("reading", 0.0, body, simulated=simulated, calibration=calibration)
    clock = BootClock(_SECONDS_OF_THE_DAY, True)
    row = Row(1_000_000, "0badcafe", "boot", entry)
    return metered_bytes(build_message(row, device_id, clock, config.telemetry.properties))
