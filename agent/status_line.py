"""The agent in one line, for `systemctl status`. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from .sampler import Sampler
from .uplink import LinkStatus

_LINK = {"up": "hub connected", "connecting": "connecting to the hub"}


def status_line(
    samplers: Sequence[Sampler],
    link: LinkStatus | None,
    *,
    waiting: int,
    confirmed: str | None,
    held: Sequence[str],
    refused: str | None,
    degraded: str | None = None,
) -> str:
    """``link``: None without a credential; ``confirmed``: when the hub took something last; ``held``: who
    holds; ``refused``: why the configuration's file is not the configuration; ``degraded``: why readings are
    in memory only."""
    parts = [", ".join(f"{sampler.sensor_id} {_wind(sampler)}" for sampler in samplers), _hub(link)]
    parts[1] += f", {waiting} waiting" + (f", confirmed {confirmed}" if confirmed else "")
    parts += [f"held {where}" for where in held]
    if degraded is not None:
        parts.insert(0, f"READINGS IN MEMORY ONLY ({degraded})")
    if refused is not None:
        parts.insert(0, f"CONFIGURATION NOT TAKEN ({refused})")
    return "; ".join(parts)


def _wind(sampler: Sampler) -> str:
    sample = sampler.status.sample
    invented = " (simulated)" if sampler.simulated else ""
    if sample is None:
        return "no sample yet"
    return "no value" if sample.speed_mps is None else f"{sample.speed_mps:.1f} m/s{invented}"


def _hub(link: LinkStatus | None) -> str:
    if link is None:
        return "not sending"
    return _LINK.get(link.state) or f"hub link {link.state}" + (
        f" ({link.last_error})" if link.last_error else ""
    )
