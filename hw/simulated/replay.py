"""A recorded series of wind, played back in time with the clock.

The recording is a CSV file with the header ``time_s,wind_speed_mps,wind_direction_deg`` (the last column may
be left out). Times are seconds from any origin and rise; gaps are allowed. An empty cell is a missing value.
Blank lines and lines that begin with ``#`` are skipped. Nothing is filled in: where the recording has no
value, neither has the replay.
"""

from __future__ import annotations

import csv
import math
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..anemometer import WindSample
from ..clock import Clock
from ..errors import BadSample, DeviceMisconfigured, DeviceUnavailable
from ..settings import setting

HEADER = ("time_s", "wind_speed_mps", "wind_direction_deg")

_REACH = 0.55  # of the median spacing: half, and room for time stamps that jitter
_MISSING = math.nan


class _Recording:
    """The columns of the file; NaN where a cell is empty."""

    def __init__(self) -> None:
        self.time_s = array("d")
        self.speed_mps = array("d")
        self.direction_deg = array("d")

    def nearest(self, time_s: float) -> int:
        """Index of the row nearest to ``time_s``."""
        after = bisect_left(self.time_s, time_s)
        if after == 0:
            return 0
        if after == len(self.time_s):
            return after - 1
        before = after - 1
        return before if time_s - self.time_s[before] <= self.time_s[after] - time_s else after

    def spacing_s(self) -> float:
        """Median distance between two rows."""
        times = self.time_s
        gaps = sorted(times[i + 1] - times[i] for i in range(len(times) - 1))
        return gaps[len(gaps) // 2]


class ReplayAnemometer:
    """Plays back a recorded series of wind from a CSV file."""

    simulated = True
    calibration: str | None = None

    @dataclass(frozen=True)
    class Settings:
        """Which recording, and how it is played."""

        file: str = setting(
            doc="CSV file with time_s, wind_speed_mps, wind_direction_deg", example="recording.csv"
        )
        speed: float = setting(
            1.0, doc="seconds of the recording per second of the clock", minimum=0.001, maximum=10_000
        )
        loop: bool = setting(False, doc="begin again at the end")

    @classmethod
    def open(cls, settings: Settings, clock: Clock) -> ReplayAnemometer:  # noqa: ARG003  (every driver is given it)
        """Reads the whole file. Raises DeviceMisconfigured with the line that is wrong."""
        path = Path(settings.file).expanduser().absolute()
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                recording = _parse(file)
        except OSError as error:
            raise DeviceMisconfigured(f"{path}: cannot be read: {error.strerror}") from error
        except (ValueError, csv.Error) as error:  # UnicodeDecodeError is a ValueError
            raise DeviceMisconfigured(f"{path}: {error}") from error
        return cls(recording, settings.speed, settings.loop)

    def __init__(self, recording: _Recording, speed: float, loop: bool) -> None:
        self._recording: _Recording | None = recording
        self._speed = speed
        self._loop = loop
        self._first_read_s: float | None = None
        self._spacing_s = recording.spacing_s()
        self._length_s = recording.time_s[-1] - recording.time_s[0]
        self.has_direction = not all(math.isnan(d) for d in recording.direction_deg)

    def read(self, now: float) -> WindSample:
        """The recorded row nearest to where the playback is; the first read is its start.

        Raises BadSample in a gap, where the cell is empty, and after the end.
        """
        recording = self._recording
        if recording is None:
            raise DeviceUnavailable("the recording is closed")
        if self._first_read_s is None:
            self._first_read_s = now
        time_s = recording.time_s[0] + self._position_s((now - self._first_read_s) * self._speed)
        row = recording.nearest(time_s)
        recorded_s = recording.time_s[row]
        if abs(recorded_s - time_s) > _REACH * self._spacing_s:
            if row == len(recording.time_s) - 1:
                raise BadSample(f"the recording ended at {recorded_s:g} s")
            raise BadSample(f"gap in the recording at {time_s:.1f} s")
        if math.isnan(recording.speed_mps[row]):
            raise BadSample(f"no speed in the recording at {recorded_s:g} s")
        direction: float | None = recording.direction_deg[row]
        fault = None
        if math.isnan(recording.direction_deg[row]):
            direction = None
            fault = f"no direction in the recording at {recorded_s:g} s" if self.has_direction else None
        return WindSample(now, recording.speed_mps[row], direction, fault, {"recorded_s": recorded_s})

    def _position_s(self, played_s: float) -> float:
        """Seconds from the first row. A lap of a loop is one spacing longer than from first to last row."""
        if not self._loop:
            return played_s
        lap_s = self._length_s + self._spacing_s
        position_s = played_s % lap_s
        return position_s - lap_s if position_s > lap_s - self._spacing_s / 2 else position_s

    def close(self) -> None:
        """Let go of the recording."""
        self._recording = None


def _parse(lines: Iterable[str]) -> _Recording:
    """The recording in ``lines``. Raises ValueError with the line number and what is wrong there."""
    recording = _Recording()
    reader = csv.reader(lines)
    columns = 0
    for cells in reader:
        row = [cell.strip() for cell in cells]
        if not any(row) or row[0].startswith("#"):
            continue
        try:
            if not columns:
                columns = _header(row)
            else:
                _append(recording, row, columns)
        except ValueError as error:
            raise ValueError(f"line {reader.line_num}: {error}") from error
    if len(recording.time_s) < 2:
        raise ValueError("expected the header and at least two rows" if columns else "is empty")
    return recording


def _header(row: list[str]) -> int:
    if tuple(row) not in (HEADER, HEADER[:2]):
        raise ValueError(f"expected the header {','.join(HEADER)}, got {','.join(row)}")
    return len(row)


def _append(recording: _Recording, row: list[str], columns: int) -> None:
    if len(row) != columns:
        raise ValueError(f"expected {columns} cells, got {len(row)}")
    time_s, speed_mps, direction_deg = (_number(cell) for cell in (*row, "")[:3])
    if math.isnan(time_s):
        raise ValueError("time_s is empty")
    if recording.time_s and time_s <= recording.time_s[-1]:
        raise ValueError(f"time_s must rise, got {time_s:g} after {recording.time_s[-1]:g}")
    if speed_mps < 0:
        raise ValueError(f"wind_speed_mps must not be negative, got {speed_mps:g}")
    if not (math.isnan(direction_deg) or 0 <= direction_deg <= 360):
        raise ValueError(f"wind_direction_deg must be from 0 to 360, got {direction_deg:g}")
    recording.time_s.append(time_s)
    recording.speed_mps.append(speed_mps)
    recording.direction_deg.append(direction_deg % 360)


def _number(cell: str) -> float:
    """A finite number; NaN for an empty cell."""
    if not cell:
        return _MISSING
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"expected a number, got {cell!r}")
    return number
