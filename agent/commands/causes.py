"""What lies outside an actuator and keeps it in its safe state: the wind, the link, and manual mode."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

from ..reading import Entry
from ..service import event
from .actuation import Asker, Guarded, Holder, Refusal
from .holds import Hold, Holds, held, lifted, standing
from .interlock import Interlock
from .memory import Remembered

log = logging.getLogger(__name__)


class Causes:
    """Thread safety: ``wind``, ``link`` from any thread; the rest on the guard's."""

    def __init__(
        self,
        guarded: Mapping[str, Guarded],
        sensors: Sequence[str],
        tell: Callable[..., None],
        put: Callable[[Entry], None],
    ) -> None:
        """``sensors``: the ids that ``wind`` will tell of. ``tell``: Outputs.tell."""
        self._guarded = guarded
        self._sensors = sensors
        self._tell = tell
        self._put = put
        self._lock = threading.Lock()  # guards what is told from other threads
        self._samples: list[tuple[str, float, float]] = []
        self._valid_at: dict[str, float] = {}
        self._soonest_stale_s = min((g.limits.stale_sensor_s for g in guarded.values()), default=math.inf)
        self._link_lost_since: float | None = None
        self._holds: Holds = {}
        self._interlocks: dict[str, Interlock] = {}

    # --- any thread

    def wind(self, sensor: str, time_s: float, speed_mps: float | None) -> bool:
        """A sample of a sensor, None is a fault; whether the guard should look at once."""
        if speed_mps is None or not math.isfinite(speed_mps):  # a mean with NaN is above nothing
            return False
        with self._lock:
            back = time_s >= self._valid_at.get(sensor, time_s) + self._soonest_stale_s
            self._valid_at[sensor] = time_s
            if self._interlocks:
                self._samples.append((sensor, time_s, speed_mps))
        return back or bool(self._interlocks)

    def link(self, up: bool, now: float) -> None:
        """Whether commands from the cloud can come."""
        with self._lock:
            if up:
                self._link_lost_since = None
            elif self._link_lost_since is None:
                self._link_lost_since = now

    # --- the guard's thread

    def start(self, now: float, remembered: Remembered) -> None:
        """Begin where an earlier process ended."""
        self._holds = standing(remembered.holds, now)
        self._link_lost_since = now
        self._valid_at = dict.fromkeys(self._sensors, now)
        for name, guarded in self._guarded.items():
            if guarded.interlock is not None:
                tripped = name in remembered.alarms or remembered.doubt is not None
                self._interlocks[name] = Interlock(
                    guarded.interlock, guarded.limits.stale_sensor_s, now, tripped=tripped
                )
        for origin in self._holds:
            log.warning(
                "held %s, since before the start: the cloud moves nothing away from safe",
                origin.value,
                extra=event("held"),
            )

    def step(self, now: float) -> None:
        """Judge the wind, and end holds whose time is up."""
        with self._lock:
            samples, self._samples = self._samples, []
        for sample in samples:
            for interlock in self._interlocks.values():
                interlock.observe(*sample)
        for name, interlock in self._interlocks.items():
            before = interlock.alarm
            if interlock.step(now):
                self._tell_alarm(name, interlock, before.since_boot_s if before is not None else now, now)
        left = standing(self._holds, now)
        for origin in self._holds.keys() - left.keys():
            log.warning("the hold %s is over: its time is up", origin.value, extra=event("released"))
            self._tell_hold("released", now, by=origin.name.lower(), reason="time-up")
        self._holds = left

    def hold(self, for_s: float | None, by: Asker, now: float) -> Hold:
        """Begin manual mode; the hold that counts."""
        self._holds = held(self._holds, by.origin, Hold(now, for_s))
        text = "held %s (%s): the cloud moves nothing away from safe"
        log.warning(text, by.origin.value, by, extra=event("held"))
        self._tell_hold("held", now, by=by.origin.name.lower(), **({} if for_s is None else {"for": for_s}))
        return self._holds[by.origin]

    def release(self, by: Asker, now: float) -> None:
        """End manual mode. Raises Refusal where only the mast can."""
        remaining = lifted(self._holds, by.origin)
        if remaining and by.origin not in self._holds:
            raise Refusal("held-at-the-mast: lifted only there, by `masthead release`")
        if remaining != self._holds:
            log.warning("released %s (%s)", by.origin.value, by, extra=event("released"))
            self._tell_hold("released", now, by=by.origin.name.lower())
        self._holds = remaining

    def holders(self, name: str, now: float) -> Iterator[Holder]:
        """What keeps an actuator in its safe state, and brings it back; the strongest first."""
        limits, interlock = self._guarded[name].limits, self._interlocks.get(name)
        if interlock is not None and (reason := interlock.holds) is not None:
            yield Holder("interlock", reason, interlock.release_at)
        with self._lock:
            newest, sensors = max(self._valid_at.values(), default=math.inf), list(self._valid_at)
            link_lost_since = self._link_lost_since
        if interlock is None and now >= newest + limits.stale_sensor_s:
            yield Holder("stale-sensor", f"no wind is known from {', '.join(sensors)}")
        for origin, hold in self._holds.items():
            yield Holder("hold", f"held {origin.value}", hold.until_boot_s, cloud_only=True)
        if link_lost_since is not None and now >= link_lost_since + limits.lost_link_s:
            yield Holder("lost-link", f"no link for {limits.lost_link_s:g} s", cloud_only=True)

    def dues(self) -> Iterator[float]:
        """When something may change although nobody tells; some may be over."""
        with self._lock:
            valid_at, link_lost_since = list(self._valid_at.values()), self._link_lost_since
        for hold in self._holds.values():
            if hold.until_boot_s is not None:
                yield hold.until_boot_s
        for interlock in self._interlocks.values():
            yield interlock.due
        for guarded in self._guarded.values():
            for at in valid_at:
                yield at + guarded.limits.stale_sensor_s
            if link_lost_since is not None:
                yield link_lost_since + guarded.limits.lost_link_s

    @property
    def remembered(self) -> Remembered:
        """What has to be known after a restart."""
        alarms = (name for name, interlock in self._interlocks.items() if interlock.alarm is not None)
        return Remembered(dict(self._holds), frozenset(alarms))

    def _tell_alarm(self, name: str, interlock: Interlock, since: float, now: float) -> None:
        alarm = interlock.alarm
        if alarm is None:
            log.info("%s: the wind alarm is over", name, extra=event("wind-alarm-over"))
            self._tell("wind-alarm-over", now, name, alarmSeconds=round(now - since, 1))
            return
        log.warning("%s: wind alarm: %s", name, alarm.reason, extra=event("wind-alarm"))
        details = {"sensor": alarm.sensor, "windSpeed": alarm.wind_mps, "reason": alarm.reason}
        self._tell("wind-alarm", now, name, **details)

    def _tell_hold(self, event: str, now: float, **details: object) -> None:
        self._put(Entry("event", now, {"event": event, **details}, urgent=True))
