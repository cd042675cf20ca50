"""What `masthead check` looks at: one file a subject, one function a check.

Nothing here is moved, sent or changed but for a small file that is written in the state directory and removed
again. Beside a running agent its hardware is asked for over its socket and left alone. Every check is bounded
in time (agent/checks/finding.py), so that all of them end whatever hangs.
Thread safety: one thread at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from agent.config import ConfigError, load

from . import clock, hardware, hub, instruments, permissions, quota, running, storage, unit
from .finding import AS_ROOT, Finding, State, broken

__all__ = ["Finding", "State", "run"]


def run(config_path: Path, *, network: bool = True) -> Iterator[Finding]:
    """One finding after the other, in this order, each looked for when it is asked for.

    Without a usable configuration its errors are all there is, but for the unit. Without ``network`` what
    asks the network is left out: the hub's name, port and certificate.
    """
    try:
        config = load(config_path)
    except ConfigError as error:
        remedy = AS_ROOT if isinstance(error.__cause__, PermissionError) else None
        for line in str(error).splitlines():
            yield Finding("configuration", "failed", line, remedy)
        yield unit.finding()
        return
    yield Finding("configuration", "ok", str(config_path))
    yield from _whole("hardware", hardware.findings(config))
    finding, status = running.ask(config)
    yield finding
    if status is not None:
        yield from _whole("instruments", instruments.in_use(config, status))
    else:
        yield from _whole("instruments", instruments.findings(config))
    yield from _whole("storage", storage.findings(config))
    yield quota.finding(config)
    yield from _whole("clock", clock.findings())
    yield from _whole("permissions", permissions.findings(config))
    yield from _whole("hub", hub.findings(config, status, network=network))
    yield unit.finding()


def _whole(name: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """``findings``, and that they end early where they do: the checks after them are made all the same."""
    try:
        yield from findings
    except Exception as error:  # noqa: BLE001  (told, whatever it is)
        yield broken(name, error)
