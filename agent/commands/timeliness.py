"""Whether a command comes in time: no command is obeyed late, whatever the clock says.

With a synchronised clock, wall time is compared with the expiry of the message and of the body. Without one
it means nothing, but the hub kept to the message's expiry when it delivered: such a command is good for a
moment after its receipt, counted by CLOCK_BOOTTIME. A direct method is live: its caller waits for the answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..timekeeping import Timekeeper
from .command import Command, parse_time
from .journal import Arrival

_METHOD_WAITS_S = 30.0
"""How long a direct method's caller waits unless it says otherwise, which the device is not told.
https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-direct-methods"""

Verdict = tuple[str, str]
"""An outcome's status and reason."""


@dataclass(frozen=True, slots=True)
class CommandRules:
    """``[commands]`` of the configuration."""

    require_expiry: bool = True
    untrusted_clock_max_age_s: float = 10.0


class Timeliness:
    """Thread safety: one thread, the executor's."""

    def __init__(self, rules: CommandRules, timekeeper: Timekeeper) -> None:
        self._rules = rules
        self._timekeeper = timekeeper

    def refusal(self, arrival: Arrival, command: Command, *, live: bool) -> Verdict | None:
        """Why this command may not be executed now, or None. ``live``: it is a direct method.

        A ping moves nothing: it is only late where that is certain.
        """
        moves = command.name != "ping"
        if arrival.command_id is None and moves:
            return "refused", "id-missing: give the body an id, or the message a message_id"
        hub_expiry = arrival.message.expires
        hub_expires_s = parse_time(hub_expiry) if hub_expiry else None
        if hub_expiry and hub_expires_s is None:
            return "refused", f"bad-expires: the message's expiry {hub_expiry!r} is no time"
        deadline_s = min(t for t in (hub_expires_s, command.expires_s, math.inf) if t is not None)
        if math.isinf(deadline_s) and moves and not live and self._rules.require_expiry:
            return "refused", "expiry-missing: give the message an expiry, or the body expires"
        now, clock = self._timekeeper.clock.monotonic(), self._timekeeper.read()
        age_s = now - arrival.message.received_boot_s
        late = clock.synchronised and clock.offset_s + now > deadline_s
        if late or (live and age_s > _METHOD_WAITS_S):
            return "expired", "it came too late"
        if clock.synchronised or not moves:
            return None
        return self._untrusted(arrival, command, age_s, live)

    def _untrusted(self, arrival: Arrival, command: Command, age_s: float, live: bool) -> Verdict | None:
        if command.expires_s is not None:
            return "refused", "clock-untrusted: expires cannot be judged yet, an expiry of the message can"
        old = arrival.boot_id != self._timekeeper.boot_id or age_s > self._rules.untrusted_clock_max_age_s
        if old and not live:
            return "refused", f"clock-untrusted: {age_s:.0f} s old, and the clock is not synchronised"
        return None
