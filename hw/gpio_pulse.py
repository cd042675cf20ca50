"""The anemometer that gives pulses on a GPIO pin."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import TypeVar

from . import catalogue
from .anemometer import WindSample
from .calibration import PulseCalibration
from .clock import Clock
from .edge_source import EdgeSource
from .edges import open_edges
from .errors import DeviceUnavailable, HardwareError
from .pulse import Edge, PulseMeter
from .settings import setting

T = TypeVar("T")

_REOPEN_S = 5.0
_HOLD_OFF_S = 0.001  # most of those who enter their own coefficients have a reed
_HIGHEST_MPS = 113.3  # no gust measured was faster: Barrow Island, 10 April 1996 (WMO)


class PulseAnemometer:
    """Cup or propeller anemometer with a pulse output, on a GPIO pin."""

    simulated = False
    has_direction = False

    @dataclass(frozen=True, kw_only=True)
    class Settings(PulseCalibration):
        """Which pin, and how pulses become speed: by model, slope and offset, or calibration points."""

        pin: int = setting(
            doc="GPIO number of the signal (BCM numbering on a Raspberry Pi)",
            minimum=0,
            maximum=1023,
            example=17,
        )
        chip: str | None = setting(
            None, doc="gpiochip that has the pin (the board's header, if absent)", example="gpiochip0"
        )
        pulses_per_rev: int | None = setting(
            None, doc="pulses a revolution (the model's, or 1)", minimum=1, maximum=1000, example=2
        )
        hold_off_s: float | None = setting(
            None,
            doc="quiet before an edge that counts, 0 for a signal that cannot bounce "
            "(the model's, or 0.001, but less for fast pulses)",
            minimum=0,
            maximum=0.05,
            example=0.001,
        )
        timeout_s: float = setting(5.0, doc="so long without a pulse is a calm", minimum=0.5, maximum=60)
        pull: str = setting("up", doc="the board's own resistor on the pin", choices=("up", "down", "none"))
        active: str | None = setting(
            None,
            doc="level of a closed contact (low, but high with pull = down)",
            choices=("low", "high"),
            example="low",
        )

        def __post_init__(self) -> None:
            """Raises ValueError if the keys tell too little, too much, or of a hold-off that eats pulses."""
            super().__post_init__()
            longest_s = self._shortest_period_s() / 2
            if self.hold_off_s is not None and self.hold_off_s > longest_s:
                raise ValueError(
                    f"hold_off_s = {self.hold_off_s:g} would take pulses for bounce, which come every "
                    f"{2 * longest_s:.2g} s at {_HIGHEST_MPS:g} m/s: set at most half of that, or 0 if the "
                    "signal cannot bounce"
                )

        def quiet_s(self) -> float:
            """The hold-off in use, in seconds.

            Up to half a period the longer phase of an even signal is still a rest, whatever the wind; what
            nobody has set is at most a quarter, as slots of a disc may be uneven.
            """
            if self.hold_off_s is not None:
                return self.hold_off_s
            usual_s = _HOLD_OFF_S if self.model is None else catalogue.pulse_model(self.model).hold_off_s
            return min(usual_s, self._shortest_period_s() / 4)

        def _shortest_period_s(self) -> float:
            """Between the pulses of the highest wind."""
            hertz = self.transfer()[0].figure(_HIGHEST_MPS)
            return 1 / hertz if hertz > 0 else math.inf

    @classmethod
    def open(cls, settings: Settings, clock: Clock) -> PulseAnemometer:
        """Raises DeviceUnavailable if the pin is missing or in use, DeviceMisconfigured if unsuitable."""
        return cls(settings, clock)

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._transfer, self.calibration = settings.transfer()
        model = None if settings.model is None else catalogue.pulse_model(settings.model)
        self._hold_off_s = settings.quiet_s()
        self._active_low = (settings.active or ("high" if settings.pull == "down" else "low")) == "low"
        self._lost_before = 0  # by sources that are gone
        self._closed = False
        self._closing = threading.Lock()  # whoever gives a source to close, or closes
        self._fault = ""
        self._reopen_at = 0.0
        self._source: EdgeSource | None = self._open_source()
        self._since_s = self._source.since_s
        self.source_name = self._source.name
        """Which of the sources of edges.py delivers: gpiod or gpiozero."""
        self._meter = PulseMeter(
            hold_off_s=self._hold_off_s,
            active_rising=not self._active_low,
            since_s=self._since_s,
            pulses_per_rev=_first(settings.pulses_per_rev, model.pulses_per_rev if model else 1),
            timeout_s=settings.timeout_s,
        )

    def _open_source(self) -> EdgeSource:
        chosen = self._settings
        return open_edges(
            chosen.pin,
            chip=chosen.chip,
            pull=chosen.pull,
            both=self._hold_off_s > 0,
            active_low=self._active_low,
            clock=self._clock,
        )

    def read(self, now: float) -> WindSample:
        """The speed by the pulses so far. ``raw``: edges, pulses and lost edges since the start, and hertz.

        Raises BadSample where the edges make no speed (the first revolution, also after a suspend; losses,
        noise), and DeviceUnavailable after ``close`` or while the pin is gone; it is opened again when it is
        back.
        """
        self._check_open()
        edges = self._edges(now)
        hertz, flags = self._meter.read(now, edges)
        lost = self._lost_before + (self._source.lost if self._source else 0)
        raw = {"edges": self._meter.edges, "pulses": self._meter.pulses, "hertz": hertz, "lost_edges": lost}
        return WindSample(now, self._transfer.speed(hertz), raw=raw, flags=flags)

    def _check_open(self) -> None:
        if self._closed:
            raise DeviceUnavailable(f"the anemometer on GPIO {self._settings.pin} is closed")

    def _edges(self, now: float) -> list[Edge]:
        source = self._source or self._reopened(now)
        try:
            edges = source.take()
        except HardwareError as error:
            self._lost_before += source.lost
            source.close()
            self._source, self._fault, self._reopen_at = None, str(error), now + _REOPEN_S
            raise
        if source.since_s != self._since_s:
            self._since_s = source.since_s
            self._meter.restart(self._since_s)
        return edges

    def _reopened(self, now: float) -> EdgeSource:
        if now < self._reopen_at:
            raise DeviceUnavailable(self._fault)
        self._reopen_at = now + _REOPEN_S
        source = self._open_source()
        with self._closing:
            if self._closed:
                source.close()
            self._check_open()
            self._source = source
        self.source_name = source.name
        return source

    def close(self) -> None:
        """Let go of the pin."""
        with self._closing:
            self._closed = True
            source = self._source
        if source is not None:
            source.close()


def _first(own: T | None, otherwise: T) -> T:
    return otherwise if own is None else own
