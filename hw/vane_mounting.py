"""From what a vane's electrics say to where the wind comes from: how the vane was mounted."""

from __future__ import annotations


def direction(electrical_deg: float, north_offset_deg: float, clockwise: bool = True) -> float:
    """Degrees clockwise from true north, in [0, 360).

    ``electrical_deg``: the angle the vane's electrics tell. ``north_offset_deg``: where the vane points when
    they tell 0. ``clockwise``: whether their angle rises as the vane, seen from above, turns clockwise.
    """
    turned = electrical_deg if clockwise else -electrical_deg
    degrees = (turned + north_offset_deg) % 360.0
    return degrees if degrees < 360.0 else 0.0  # −1e-15 % 360 is 360.0
