"""The sampler: one measuring point, sampled at a steady rate, reported at a steady interval.

Each sensor has its own, on its own thread, so that a stuck bus holds up nobody else's wind. A fault is a
missing sample with its cause, never a number, and never the end of the sampler.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

from hw.anemometer import Anemometer, WindSample
from hw.errors import DeviceMisconfigured, HardwareError

from .reading import Entry
from .service import event
from .wind.quality import HIGHEST_MPS, QualityControl
from .wind.statistics import WindReport, WindStatistics

log = logging.getLogger(__name__)

_LOST_AFTER_S = 5.0  # shorter gaps are in the flags, and no event
_REOPEN_S = 5.0
_EPSILON_S = 1e-6  # schedules are multiples, compared with sums


@dataclass(frozen=True, slots=True)
class SensorStatus:
    """A sensor as of its last sample. ``sampled``, ``reported``: counts since the start."""

    sample: WindSample | None = None
    sampled: int = 0
    reported: int = 0
    lost_since_boot_s: float | None = None


class _Presence:
    """Whether values come. ``lost_since``: when they ended, once that was _LOST_AFTER_S ago."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.lost_since: float | None = None
        self._bad_since: float | None = None

    def unknown(self) -> None:
        """Nobody can tell: what was missing before may be there."""
        if self.lost_since is None:
            self._bad_since = None

    def seen(self, now: float, fault: str | None) -> None:
        """There is a value (no ``fault``) or there is none."""
        if fault is None:
            self._bad_since = self.lost_since = None
            return
        if self._bad_since is None:
            self._bad_since = now
        if now - self._bad_since >= _LOST_AFTER_S:
            self.lost_since = self._bad_since


class Sampler:
    """Thread safety: ``step`` and ``close`` on one thread at a time; ``status`` from any."""

    step_bound_s = 2.0

    def __init__(
        self,
        sensor_id: str,
        open_sensor: Callable[[], Anemometer],
        *,
        rate_hz: float,
        report_interval_s: float,
        put: Callable[[Entry], None],
        height_m: float | None = None,
        max_speed_mps: float | None = None,
        watch: Callable[[str, float, float | None], None] = lambda *_: None,
    ) -> None:
        """``open_sensor`` may raise HardwareError: it is asked again until the sensor is there. ``watch`` is
        told of each sample: the sensor's id, its time (CLOCK_BOOTTIME seconds), and the speed in m/s to
        reckon with (QualityControl.at_least)."""
        self.name = f"sampler-{sensor_id}"
        self.sensor_id = sensor_id
        self._open_sensor = open_sensor
        self._period_s = 1.0 / rate_hz
        self._interval_s = report_interval_s
        self._put = put
        self._told = watch
        self._height_m = height_m
        self._statistics = WindStatistics(rate_hz)
        self._quality = QualityControl(has_direction=True, limit_mps=max_speed_mps or HIGHEST_MPS)
        self._sensor: Anemometer | None = None
        self.simulated = False
        self.calibration: str | None = None
        self._reopen_at = -math.inf
        self._fault: str | None = None
        self._speed = _Presence("sensor")
        self._direction = _Presence("vane")
        self._began: float | None = None  # the schedule's origin
        self._report_began = 0.0
        self._sampled = self._reported = 0
        self._reported_at = 0  # the number of samples by then
        self.status = SensorStatus()

    def open(self, now: float) -> None:
        """Open the sensor before the first step, if it is there already.

        Raises DeviceMisconfigured: that is for a person to mend, and not for ``step`` to try again.
        """
        try:
            self._opened(now)
        except DeviceMisconfigured:
            raise
        except HardwareError as error:
            self._fault = str(error)

    def step(self, now: float) -> float:
        """Take the sample that is due, close the report that is due; return when the next is."""
        if self._began is None:
            self._began = self._report_began = now
        boundary = self._boundary(now)
        if boundary - self._report_began > _EPSILON_S:
            self._report(boundary)
        measured = self._sample(now)
        self._told(self.sensor_id, measured.time_s, self._quality.at_least(measured))
        sample = self._quality.screen(measured)
        self._statistics.add(sample)
        self._sampled += 1
        self._watch(sample)
        self.status = SensorStatus(sample, self._sampled, self._reported, self._speed.lost_since)
        periods = math.floor((now - self._began + _EPSILON_S) / self._period_s) + 1
        return self._began + periods * self._period_s

    def report_early(self, now: float) -> None:
        """Close the report that has begun, for there will be no more samples; one without any is none."""
        if self._began is not None and self._sampled > self._reported_at:
            self._report(now)

    def close(self) -> None:
        """Let go of the sensor."""
        if self._sensor is not None:
            self._sensor.close()
            self._sensor = None

    def _boundary(self, now: float) -> float:
        """The last scheduled end of a report at or before ``now``."""
        assert self._began is not None  # noqa: S101  (set by step)
        return (
            self._began + math.floor((now - self._began + _EPSILON_S) / self._interval_s) * self._interval_s
        )

    def _sample(self, now: float) -> WindSample:
        try:
            return self._opened(now).read(now)
        except HardwareError as error:
            return WindSample(now, None, fault=str(error))

    def _opened(self, now: float) -> Anemometer:
        if self._sensor is None:
            if now < self._reopen_at:
                raise HardwareError(self._fault or "not open yet")
            self._reopen_at = now + _REOPEN_S
            self._sensor = self._open_sensor()
            self.simulated = self._sensor.simulated
            self.calibration = self._sensor.calibration
            self._quality.has_direction = self._sensor.has_direction
        return self._sensor

    def _watch(self, sample: WindSample) -> None:
        """Say once that a sensor, or its vane, is lost, and once that it is back."""
        now = sample.time_s
        self._fault = None if sample.speed_mps is not None else sample.fault or "no value"
        self._tell(self._speed, now, self._fault)
        if sample.direction_deg is not None:
            self._tell(self._direction, now, None)
        elif sample.speed_mps is not None and sample.fault is not None:
            self._tell(self._direction, now, sample.fault)
        else:
            self._direction.unknown()

    def _tell(self, presence: _Presence, now: float, fault: str | None) -> None:
        what, since = presence.what, presence.lost_since
        presence.seen(now, fault)
        if since is None and presence.lost_since is not None:
            log.warning("%s %s is lost: %s", what, self.sensor_id, fault, extra=event(f"{what}-lost"))
            self._event(now, f"{what}-lost", reason=fault)
        elif since is not None and presence.lost_since is None:
            after_s = now - since
            log.info("%s %s is back after %.0f s", what, self.sensor_id, after_s, extra=event(f"{what}-back"))
            self._event(now, f"{what}-back", lostSeconds=round(now - since, 1))

    def _event(self, now: float, event: str, **details: object) -> None:
        body = {"sensor": self.sensor_id, "event": event, **details}
        self._put(Entry("event", now, body, simulated=self.simulated, urgent=True))

    def _report(self, end: float) -> None:
        interval_s = end - self._report_began
        self._report_began = end
        report = self._statistics.close(interval_s)
        quality, flags = self._quality.assess(report)
        body = {
            "sensor": self.sensor_id,
            "interval": _number(interval_s, 3),
            **({} if self._height_m is None else {"height": _number(self._height_m, 2)}),
            **_figures(report),
            "quality": quality,
            "flags": list(flags),
        }
        self._reported += 1
        self._reported_at = self._sampled
        self._put(Entry("reading", end, body, simulated=self.simulated, calibration=self.calibration))


def _figures(report: WindReport) -> dict[str, float | None]:
    """The report's values under their names on the wire: m/s to 0.01, degrees to 0.1."""
    return {
        "windSpeed": _rounded(report.speed_mps, 2),
        "windGust": _rounded(report.gust_mps, 2),
        "windLull": _rounded(report.lull_mps, 2),
        "windSpeedStdDev": _rounded(report.speed_std_mps, 2),
        "windDirection": None if report.direction_deg is None else round(report.direction_deg, 1) % 360.0,
        "windVectorSpeed": _rounded(report.vector_speed_mps, 2),
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _number(value: float, digits: int) -> float | int:
    """A whole number without its ".0"."""
    rounded = round(value, digits)
    return int(rounded) if rounded == int(rounded) else rounded
