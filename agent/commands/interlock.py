"""An interlock: while the wind is too strong, or not known, an actuator has to be in its safe state. Pure.

Invariants, each with a test of its name in tests/agent/commands/test_interlock.py:

 1. trips      the mean wind of any sensor over ``trip_s`` above ``trip_mps`` is an alarm, as soon as it is.
 2. blind      a sensor without a valid value for ``lost_after_s`` is an alarm; until every sensor has been
               measured for ``trip_s``, it holds without being one.
 3. releases   an alarm ends when every sensor was below ``release_mps`` for ``release_s`` without a break,
               and in no other way.
 4. names      an alarm names what is the cause now, a wind above the limit before a sensor that is lost;
               where neither is, the last one. That it began, had its first wind, and ended is told once each.

With the default ``trip_s`` of 3 s the mean is the gust of WMO-No. 8: 3 s above the limit always trip it, and
so does a squall that is shorter and stronger by as much.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace

from ..config_tables import InterlockConfig

_EPSILON_S = 1e-6


@dataclass(frozen=True, slots=True)
class Alarm:
    """Why the actuator is held safe. ``wind_mps`` is None where the sensor is lost, or not known yet.

    ``since_boot_s``: CLOCK_BOOTTIME seconds, whatever is the cause by now. ``sensor`` is None in an alarm
    from before a restart.
    """

    since_boot_s: float
    sensor: str | None
    wind_mps: float | None
    reason: str


class _Wind:
    """One sensor's running mean over ``span_s``, without it while there is none to be trusted."""

    def __init__(self, span_s: float) -> None:
        self._span_s = span_s
        self._values: deque[tuple[float, float]] = deque()
        self._unbroken_since = math.inf
        self.last_s = -math.inf
        """When the last valid value was."""

    def add(self, time_s: float, speed_mps: float, lost_after_s: float) -> None:
        if time_s - self.last_s > lost_after_s:
            self._unbroken_since = time_s
            self._values.clear()
        self.last_s = time_s
        self._values.append((time_s, speed_mps))
        while self._values[0][0] <= time_s - self._span_s and len(self._values) > 1:
            self._values.popleft()

    @property
    def mean_mps(self) -> float | None:
        """None before it is known for as long as it should."""
        if self.last_s < self._unbroken_since + self._span_s - _EPSILON_S:
            return None
        return math.fsum(speed for _, speed in self._values) / len(self._values)


class Interlock:
    """Thread safety: one thread, the guard's."""

    def __init__(
        self, rule: InterlockConfig, lost_after_s: float, now: float, *, tripped: bool = False
    ) -> None:
        """``tripped``: it was in alarm when an earlier process ended."""
        self._rule = rule
        self._lost_after_s = lost_after_s
        self._began = now
        self._winds = {sensor: _Wind(rule.trip_s) for sensor in rule.sensors}
        self._exceeded: dict[str, float] = {}
        self._silent: list[str] = []
        """Those that were lost at the last look."""
        self._stormy = False
        """Whether a wind of this alarm was told."""
        self._calm_since: float | None = None
        self.alarm = Alarm(now, None, None, "as before the restart") if tripped else None

    def observe(self, sensor: str, time_s: float, speed_mps: float | None) -> None:
        """A sample; None is a fault. What is not among its sensors is none of its business."""
        wind = self._winds.get(sensor)
        if wind is None or speed_mps is None:
            return
        wind.add(time_s, speed_mps, self._lost_after_s)
        mean_mps = wind.mean_mps
        if mean_mps is None:
            return
        if mean_mps >= self._rule.release_below_mps:
            self._calm_since = None
        if mean_mps > self._rule.trip_mps:
            self._exceeded.setdefault(sensor, mean_mps)

    def step(self, now: float) -> bool:
        """Whether there is something to tell: an alarm began or ended, or one without a wind has its first.

        ``alarm`` may name another cause without that.
        """
        lost, blind = self._lost(now), self._blind()
        exceeded, self._exceeded = {**self._above(lost), **self._exceeded}, {}
        silent, self._silent = self._silent, lost
        if lost or blind:
            self._calm_since = None
        if exceeded:
            return self._storm(now, exceeded)
        if lost:
            return self._silence(now, lost)
        if self.alarm is None:
            return False
        if silent and self.alarm.wind_mps is None:
            self.alarm = replace(self.alarm, reason=f"no wind was known from {', '.join(silent)}")
        return not blind and self._release(now)

    @property
    def holds(self) -> str | None:
        """Why the actuator has to be safe, or None."""
        if self.alarm is not None:
            rule = self._rule
            low = f"below {rule.release_below_mps:g} m/s for {rule.release_s:g} s"
            return f"{self.alarm.reason}; released when {low}"
        blind = self._blind()
        return f"the wind is not known yet at {', '.join(blind)}" if blind else None

    @property
    def release_at(self) -> float | None:
        """When the alarm ends if the wind stays low; None while it is not low, or there is no alarm."""
        if self.alarm is None or self._calm_since is None:
            return None
        return self._calm_since + self._rule.release_s

    @property
    def due(self) -> float:
        """When something happens even if no sample comes."""
        lost = [self._lost_at(wind) for sensor, wind in self._winds.items() if sensor not in self._silent]
        return min([*lost, self.release_at or math.inf])

    def _storm(self, now: float, exceeded: dict[str, float]) -> bool:
        before, told = self.alarm, self._stormy
        if before is None or before.wind_mps is None or before.sensor not in exceeded:
            sensor, mean_mps = next(iter(exceeded.items()))
            reason = f"{mean_mps:.1f} m/s at {sensor}, above {self._rule.trip_mps:g}"
            self.alarm = Alarm(self._since(now), sensor, round(mean_mps, 2), reason)
        self._stormy = True
        return not told

    def _silence(self, now: float, lost: list[str]) -> bool:
        began = self.alarm is None
        self.alarm = Alarm(self._since(now), lost[0], None, f"no wind is known from {', '.join(lost)}")
        return began

    def _since(self, now: float) -> float:
        return now if self.alarm is None else self.alarm.since_boot_s

    def _release(self, now: float) -> bool:
        if not self._low():
            return False
        if self._calm_since is None:
            self._calm_since = now
        if now < self._calm_since + self._rule.release_s - _EPSILON_S:
            return False
        self.alarm = self._calm_since = None
        self._stormy = False
        return True

    def _low(self) -> bool:
        means = [wind.mean_mps for wind in self._winds.values()]
        return all(mean is not None and mean < self._rule.release_below_mps for mean in means)

    def _above(self, lost: list[str]) -> dict[str, float]:
        """Which are above the limit as of now, also where no sample came since the last look."""
        means = {sensor: wind.mean_mps for sensor, wind in self._winds.items() if sensor not in lost}
        return {s: mean for s, mean in means.items() if mean is not None and mean > self._rule.trip_mps}

    def _blind(self) -> list[str]:
        return [sensor for sensor, wind in self._winds.items() if wind.mean_mps is None]

    def _lost(self, now: float) -> list[str]:
        return [sensor for sensor, wind in self._winds.items() if now >= self._lost_at(wind)]

    def _lost_at(self, wind: _Wind) -> float:
        return max(wind.last_s, self._began) + self._lost_after_s
