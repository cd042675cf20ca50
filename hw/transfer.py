"""From an instrument's own figure to a wind speed: a straight line, or a table of calibration points.

A figure is whatever the instrument says: hertz, volts, milliamperes, counts. Speeds are in m/s, and never
negative. A figure that is not a number gives a speed that is not one, for quality control to reject.
"""

from __future__ import annotations

import math
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol


class Transfer(Protocol):
    """Thread safety: any thread, nothing changes."""

    def speed(self, x: float) -> float:
        """Wind speed in m/s, never negative, at the figure ``x``."""
        ...


@dataclass(frozen=True, slots=True)
class Line:
    """``slope``·x + ``offset`` where x > 0, else 0: an anemometer that stands still tells of no wind.

    ``slope``: m/s per unit of x; ``offset``: m/s. Raises ValueError unless both are finite and the slope
    is positive.
    """

    slope: float
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.slope) and self.slope > 0):
            raise ValueError(f"slope must be a positive number, got {self.slope:g}")
        if not math.isfinite(self.offset):
            raise ValueError(f"offset must be a number, got {self.offset:g}")

    def speed(self, x: float) -> float:
        """m/s at ``x``."""
        if x <= 0:
            return 0.0
        speed = self.slope * x + self.offset
        return 0.0 if speed < 0 else speed

    def figure(self, speed_mps: float) -> float:
        """The x of a speed, in m/s."""
        return (speed_mps - self.offset) / self.slope


@dataclass(frozen=True, slots=True)
class Points:
    """Linear between the points (x, m/s) of a calibration table.

    Beyond its ends it goes on along the end segments; or, with ``clamp``, keeps the end values. Without
    ``clamp`` an x that is neither positive nor within the table gives 0, and so does an x of 0 where the
    table begins: pulses that do not come tell of no wind, whatever line the table was fitted to.

    Raises ValueError if there are fewer than two points, if x or the speed does not rise from each to the
    next, or if a figure is not finite or a speed negative.
    """

    points: tuple[tuple[float, float], ...]
    clamp: bool = False

    def __post_init__(self) -> None:
        if len(self.points) < 2:
            raise ValueError(f"points: at least two are needed, got {len(self.points)}")
        for n, point in enumerate(self.points, 1):
            if len(point) != 2:
                raise ValueError(f"points: each is a pair [x, m/s], number {n} has {len(point)} figures")
            x, mps = point
            if not (math.isfinite(x) and math.isfinite(mps)):
                raise ValueError(f"points: number {n} is not finite: [{x:g}, {mps:g}]")
            if mps < 0:
                raise ValueError(f"points: number {n} has a negative speed: [{x:g}, {mps:g}]")
        for (x, mps), (next_x, next_mps) in pairwise(self.points):
            if next_x <= x:
                raise ValueError(f"points: x must rise from point to point, {next_x:g} follows {x:g}")
            if next_mps <= mps:
                raise ValueError(
                    f"points: the speed must rise from point to point, {next_mps:g} m/s follows {mps:g} m/s"
                )

    def speed(self, x: float) -> float:
        """m/s at ``x``."""
        points = self.points
        if self.clamp:
            x = points[0][0] if x < points[0][0] else points[-1][0] if x > points[-1][0] else x
        elif x <= 0 and x <= points[0][0]:
            return 0.0
        above = bisect_right(points, x, 1, len(points) - 1, key=lambda point: point[0])
        (x0, v0), (x1, v1) = points[above - 1], points[above]
        speed = v0 + (v1 - v0) * (x - x0) / (x1 - x0)
        return 0.0 if speed < 0 else speed

    def figure(self, speed_mps: float) -> float:
        """The x of a speed, in m/s; beyond the table as if it were not clamped."""
        points = self.points
        above = bisect_right(points, speed_mps, 1, len(points) - 1, key=lambda point: point[1])
        (x0, v0), (x1, v1) = points[above - 1], points[above]
        return x0 + (x1 - x0) * (speed_mps - v0) / (v1 - v0)


def calibration_id(transfer: Line | Points) -> str:
    """A name for coefficients that came without one: ``slope-0.62-offset-0.27``, ``points-1a2b3c4d``.

    The same coefficients have the same name on every machine; the name of points ends in the CRC-32 of their
    figures.
    """
    if isinstance(transfer, Line):
        offset = f"-offset-{_figure(transfer.offset)}" if transfer.offset else ""
        return f"slope-{_figure(transfer.slope)}{offset}"
    text = ";".join(f"{_figure(x)},{_figure(mps)}" for x, mps in transfer.points)
    return f"points-{zlib.crc32((text + ';clamp' * transfer.clamp).encode()):08x}"


def _figure(number: float) -> str:
    return f"{number:.12g}"


def chosen(
    model: tuple[Line | Points, str] | None,
    slope: float | None,
    offset: float | None,
    points: Sequence[Sequence[float]] | None,
) -> tuple[Line | Points, str]:
    """The transfer function that settings tell, and its calibration id.

    One's own coefficients stand in place of those of ``model`` (transfer function and id); of a straight line
    either alone may be replaced. Raises ValueError if there are none, or too many.
    """
    own_line = slope is not None or offset is not None
    if points is not None:
        if own_line:
            raise ValueError("points stand in place of slope and offset: set either")
        own: Line | Points = Points(tuple(tuple(point) for point in points))  # type: ignore[misc]  # it checks
        return own, calibration_id(own)
    if not own_line:
        if model is None:
            raise ValueError(
                'set model = "…" (`masthead sensors` lists them), or slope and offset, or points'
            )
        return model
    line = model[0] if model is not None and isinstance(model[0], Line) else None
    if slope is None and line is None:
        raise ValueError("offset goes with slope: set both")
    slope = slope if slope is not None else line.slope if line else 0.0
    own = Line(slope, offset if offset is not None else line.offset if line else 0.0)
    return own, calibration_id(own)
