"""Whether the hub's tier takes what this configuration sends."""

from __future__ import annotations

from agent.config import Config
from agent.forecast import forecast

from .finding import Finding


def finding(config: Config) -> Finding:
    """The messages a day, of what one unit of the tier takes."""
    found = forecast(config)
    if found.fits:
        return Finding("forecast", "ok", str(found))
    remedy = "more than one unit takes; a longer telemetry.report_interval_s, or more units"
    return Finding("forecast", "failed", str(found), remedy)
