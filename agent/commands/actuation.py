"""What the guard is asked for, what it guards, and what it says of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from hw.actuator import Actuator, Value

from ..config_tables import ActuatorLimits, InterlockConfig


class Refusal(Exception):
    """The guard does not do that. The text is a word for programs, then the reason for people."""


class Ending(Refusal):
    """The guard has ended: everything is in its safe state, or on its way there."""


class Origin(Enum):
    """Where somebody who asks is."""

    MAST = "at the mast"
    CLOUD = "from the cloud"


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: a person at the mast, or a command from the cloud with its id."""

    origin: Origin
    command_id: str | None = None

    def __str__(self) -> str:
        if self.origin is Origin.MAST:
            return "local"
        return f"command {self.command_id or 'without an id'}"


LOCAL = Asker(Origin.MAST)


@dataclass(frozen=True, slots=True)
class Guarded:
    """An actuator and how far anybody may go with it. An interlock's ``sensors`` are named."""

    actuator: Actuator
    limits: ActuatorLimits = field(default_factory=ActuatorLimits)
    interlock: InterlockConfig | None = None


@dataclass(frozen=True, slots=True)
class Holder:
    """Something that keeps an actuator in its safe state: ``word`` for programs, ``text`` for people.

    ``until_boot_s``: when it ends if nothing changes, or None. ``cloud_only``: a person at the mast may move
    it all the same.
    """

    word: str
    text: str
    until_boot_s: float | None = None
    cloud_only: bool = False

    def keeps(self, origin: Origin) -> bool:
        """Whether somebody there may not move it away from safe."""
        return origin is Origin.CLOUD or not self.cloud_only


@dataclass(frozen=True, slots=True)
class ActuatorStatus:
    """``value`` is None if the actuator could not be driven: ``fault`` says why, and it is tried again.

    ``why``: who or what made it so; ``by``: who has moved it away from safe, or None.
    ``away_since_boot_s``: when it left its safe state, or None.
    ``until_boot_s``: when it goes back, because of ``limit`` ("time-up" or "max-on-time"), or None.
    """

    value: Value | None
    safe: Value
    since_boot_s: float
    why: str
    simulated: bool
    by: Asker | None = None
    away_since_boot_s: float | None = None
    until_boot_s: float | None = None
    limit: str | None = None
    fault: str | None = None

    @property
    def away(self) -> bool:
        """Whether it is, or may be, away from its safe state."""
        return self.value != self.safe
