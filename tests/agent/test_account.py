"""What a run says of itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from agent.account import Account
from agent.config import loads
from agent.timekeeping import Timekeeper
from agent.uplink import LinkStatus
from agent.wiring import Parts, Run
from tests.clock import FakeClock

DAY = 86_400.0


def account(clock: FakeClock, degraded: str | None = None) -> Account:
    parts: Any = SimpleNamespace(
        samplers=[],
        uplink=SimpleNamespace(status=LinkStatus("down", 0.0)),
        writer=SimpleNamespace(status=SimpleNamespace(backlog=3, degraded=degraded)),
        guard=SimpleNamespace(remembered=SimpleNamespace(holds={})),
    )
    run = Run("run00001", Timekeeper(clock, "boot-1", lambda: True), simulated=False)
    config = loads('[[sensor]]\nid = "top"\ndriver = "simulated"\n')
    return Account(config, run, cast("Parts", parts), None, None)


@pytest.mark.parametrize(
    ("later_s", "expected"),
    [(60.0, "confirmed 00:16:40 UTC"), (9 * DAY, "confirmed 1970-01-01 00:16:40 UTC")],
)
def test_the_last_confirmation_has_its_date_where_that_is_not_today(later_s: float, expected: str) -> None:
    """A link that is down for days does not look as if it went down today."""
    clock = FakeClock(wall=1000.0)
    confirmed = clock.monotonic()
    said = account(clock)
    clock.advance(later_s)
    assert said.line(confirmed, None).endswith(expected)


def test_readings_in_memory_are_in_the_line() -> None:
    """They are lost if somebody stops the agent now."""
    assert "IN MEMORY ONLY (disk I/O error)" in account(FakeClock(), "disk I/O error").line(None, None)
