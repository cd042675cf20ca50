"""What a configuration costs a day, and how long an outage its outbox holds."""

from __future__ import annotations

import dataclasses

import pytest

from agent.batching import METERING_UNIT_BYTES, Batcher, metered_bytes
from agent.config import loads
from agent.forecast import DAILY_QUOTA, ROW_BYTES, _size, forecast
from agent.outbox import OutboxStats
from agent.reading import Row
from agent.sampler import Sampler
from agent.timekeeping import BootClock
from hw.simulated.wind import SimulatedAnemometer

SENSOR = '[[sensor]]\nid = "top"\ndriver = "simulated"\nheight_m = 10.0\n'
STATS = OutboxStats(
    unsent=0, sent=0, next_sequence=1, used_bytes=36864, max_bytes=1 << 26, dropped=0, oldest_unsent=None
)


def test_one_reading_a_minute_is_1440_messages_a_day() -> None:
    """On any tier whose unit holds a reading."""
    for tier in ("S1", "S2", "S3"):
        found = forecast(loads(f'[device]\nhub_tier = "{tier}"\n' + SENSOR))
        assert (found.messages, found.quota, found.fits) == (1440, DAILY_QUOTA[tier], True)


def test_each_sensor_and_each_begun_unit_counts() -> None:
    """On F1 a unit is 512 bytes: a user's long properties make a reading cost two."""
    text = '[device]\nhub_tier = "F1"\n' + SENSOR + SENSOR.replace("top", "low")
    assert forecast(loads(text)).messages == 2 * 1440
    long = '[telemetry.properties]\nsite = "' + "x" * 200 + '"\n'
    assert forecast(loads(text + long)).messages == 2 * 2 * 1440


def test_a_quota_that_does_not_suffice_is_told() -> None:
    """8,640 messages a day, one every ten seconds, are too many for the free tier."""
    found = forecast(loads('[device]\nhub_tier = "F1"\n[telemetry]\nreport_interval_s = 10\n' + SENSOR))
    assert (found.messages, found.quota, found.fits) == (8640, 8000, False)
    assert str(found).startswith("8,640 of 8,000 messages a day on F1; the outbox holds ")


def test_days_of_outage_follow_from_bytes_a_row() -> None:
    """As measured in the store, once it has rows enough; before that as measured once for all."""
    config = loads(SENSOR)
    assert forecast(config).outage_days == pytest.approx((64 << 20) / (1440 * ROW_BYTES))
    few = dataclasses.replace(STATS, unsent=10)
    assert forecast(config, stats=few).row_bytes == ROW_BYTES
    many = dataclasses.replace(STATS, unsent=1500, sent=500, used_bytes=800_000)
    assert forecast(config, stats=many).row_bytes == 400
    assert forecast(config, stats=many).outage_days == pytest.approx((64 << 20) / (1440 * 400))


def test_the_size_reckoned_with_is_that_of_a_real_reading() -> None:
    """Within a few bytes of what the sampler makes and the hub meters."""
    config = loads(SENSOR)
    entries = []
    settings = SimulatedAnemometer.Settings(seed=1)
    sampler = Sampler(
        "top",
        lambda: SimulatedAnemometer(settings),
        rate_hz=4.0,
        report_interval_s=60.0,
        put=entries.append,
        height_m=10.0,
    )
    now = 1000.0
    while not entries:
        now = sampler.step(now)
    batcher = Batcher("object", METERING_UNIT_BYTES["S1"], "device-1", {})
    row = Row(1_000_000, "0badcafe", "boot", entries[0])
    message, _ = batcher.alone(row, lambda boot: BootClock(1_790_000_000.0, True))
    assert _size(config, config.sensors[0], "device-1") == pytest.approx(metered_bytes(message), abs=12)
