"""Whether a command comes in time, by message and by method, with a clock to trust and without."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from agent.cloud import CloudMessage
from agent.commands.command import Command
from agent.commands.journal import Arrival
from agent.commands.timeliness import CommandRules, Timeliness
from agent.timekeeping import Timekeeper
from tests.clock import FakeClock

BOOT = "boot-1"


class Bench:
    """A command that came ``age_s`` ago; what is judged of it now."""

    def __init__(self, *, synchronised: bool = True, rules: CommandRules | None = None) -> None:
        self.clock = FakeClock()
        keeper = Timekeeper(self.clock, BOOT, lambda: synchronised)
        self.timeliness = Timeliness(rules or CommandRules(), keeper)

    def word(
        self,
        *,
        name: str = "set",
        live: bool = False,
        command_id: str | None = "c-1",
        age_s: float = 0.0,
        hub_expires_in_s: float | None = None,
        body_expires_in_s: float | None = None,
        hub_expires: str | None = None,
        boot_id: str = BOOT,
    ) -> str | None:
        """The status and the first word of the reason, or None where it is in time."""
        now, wall = self.clock.monotonic(), self.clock.wall()
        if hub_expires_in_s is not None:
            hub_expires = datetime.fromtimestamp(wall + hub_expires_in_s, UTC).isoformat()
        message = CloudMessage(b"{}", now - age_s, expires=hub_expires)
        expires_s = None if body_expires_in_s is None else wall + body_expires_in_s
        command = Command(name, "d", "beacon", True, command_id=command_id, expires_s=expires_s)
        arrival = Arrival(1, "t", command_id, "d", message, boot_id)
        verdict = self.timeliness.refusal(arrival, command, live=live)
        return None if verdict is None else f"{verdict[0]} {verdict[1].partition(':')[0]}"


LATE = "expired it came too late"
UNTRUSTED = "refused clock-untrusted"
NO_EXPIRY = "refused expiry-missing"


@pytest.mark.parametrize(
    ("given", "message", "method"),
    [
        ({"hub_expires_in_s": 60}, None, None),
        ({"hub_expires_in_s": 0}, None, None),
        ({"hub_expires_in_s": -0.1}, LATE, LATE),
        ({"body_expires_in_s": 60}, None, None),
        ({"body_expires_in_s": -0.1}, LATE, LATE),
        ({"hub_expires_in_s": 60, "body_expires_in_s": -0.1}, LATE, LATE),
        ({"hub_expires_in_s": -0.1, "body_expires_in_s": 60}, LATE, LATE),
        ({}, NO_EXPIRY, None),
        ({"age_s": 30}, NO_EXPIRY, None),
        ({"age_s": 30.1}, NO_EXPIRY, LATE),
        ({"age_s": 30.1, "body_expires_in_s": 60}, None, LATE),
        ({"age_s": 3600, "hub_expires_in_s": 60}, None, LATE),
        ({"hub_expires_in_s": 60, "boot_id": "boot-0"}, None, None),
        ({"hub_expires_in_s": 60, "command_id": None}, "refused id-missing", "refused id-missing"),
        ({"hub_expires": "tomorrow"}, "refused bad-expires", "refused bad-expires"),
        ({"hub_expires": ""}, NO_EXPIRY, None),
    ],
)
def test_with_a_clock_to_trust_the_expiry_decides(
    given: dict[str, Any], message: str | None, method: str | None
) -> None:
    """The earlier of the two, to the very second; a method has none but the patience of its caller."""
    assert Bench().word(**given) == message
    assert Bench().word(**given, live=True) == method


@pytest.mark.parametrize(
    ("given", "message", "method"),
    [
        ({"hub_expires_in_s": 60}, None, None),
        ({"hub_expires_in_s": -86400}, None, None),
        ({"hub_expires_in_s": 60, "age_s": 10}, None, None),
        ({"hub_expires_in_s": 60, "age_s": 10.1}, UNTRUSTED, None),
        ({"hub_expires_in_s": 60, "boot_id": "boot-0"}, UNTRUSTED, None),
        ({"body_expires_in_s": 60}, UNTRUSTED, UNTRUSTED),
        ({"body_expires_in_s": -60}, UNTRUSTED, UNTRUSTED),
        ({"body_expires_in_s": 60, "hub_expires_in_s": 60}, UNTRUSTED, UNTRUSTED),
        ({}, NO_EXPIRY, None),
        ({"age_s": 30}, NO_EXPIRY, None),
        ({"age_s": 30.1}, NO_EXPIRY, LATE),
        ({"hub_expires_in_s": 60, "command_id": None}, "refused id-missing", "refused id-missing"),
        ({"hub_expires": "tomorrow"}, "refused bad-expires", "refused bad-expires"),
    ],
)
def test_without_a_clock_to_trust_only_what_is_fresh_is_done(
    given: dict[str, Any], message: str | None, method: str | None
) -> None:
    """No wall time is compared: the hub has kept to its expiry, and nobody has kept to the body's."""
    assert Bench(synchronised=False).word(**given) == message
    assert Bench(synchronised=False).word(**given, live=True) == method


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize(
    ("given", "synchronised", "expected"),
    [
        ({"command_id": None}, True, None),
        ({"command_id": None}, False, None),
        ({"body_expires_in_s": -0.1}, True, LATE),
        ({"hub_expires_in_s": -0.1}, True, LATE),
        ({"body_expires_in_s": -60}, False, None),
        ({"hub_expires_in_s": -60}, False, None),
    ],
)
def test_a_ping_is_late_only_where_that_is_certain(
    given: dict[str, Any], synchronised: bool, expected: str | None, live: bool
) -> None:
    """It moves nothing."""
    assert Bench(synchronised=synchronised).word(name="ping", live=live, **given) == expected


def test_the_expiry_can_be_waived() -> None:
    """``require_expiry = false``: none is needed, and one that is given still counts."""
    bench = Bench(rules=CommandRules(require_expiry=False))
    assert bench.word(age_s=86400) is None
    assert bench.word(body_expires_in_s=-1) == LATE


@pytest.mark.parametrize("max_age_s", [0.0, 60.0])
def test_how_fresh_is_configured(max_age_s: float) -> None:
    """``untrusted_clock_max_age_s``, and not a moment more."""
    bench = Bench(synchronised=False, rules=CommandRules(untrusted_clock_max_age_s=max_age_s))
    assert bench.word(hub_expires_in_s=60, age_s=max_age_s) is None
    assert bench.word(hub_expires_in_s=60, age_s=max_age_s + 0.1) == UNTRUSTED


def test_a_release_has_to_come_in_time_too() -> None:
    """It lets others move what is held."""
    assert Bench().word(name="release") == NO_EXPIRY
    assert Bench().word(name="release", body_expires_in_s=-1) == LATE
