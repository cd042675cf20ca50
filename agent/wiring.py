"""The parts of one run of the agent, each given what it needs of the others. Nothing runs yet."""

from __future__ import annotations

import logging
import random
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from . import service
from .batching import METERING_UNIT_BYTES, Batcher
from .cloud import HubClient, twin
from .cloud.azure import AzureHubClient, HubOptions
from .cloud.credentials import Credential
from .commands.actuation import Guarded
from .commands.executor import Executor
from .commands.guard import Guard
from .commands.journal import Journal
from .commands.memory import GuardMemory
from .commands.timeliness import CommandRules
from .config import Config
from .health import Health
from .outbox import Outbox
from .outbox_file import STORE_NAME
from .parts import open_sensor
from .reading import Row
from .sampler import Sampler
from .storage import Storage, is_damaged, set_aside
from .timekeeping import Timekeeper
from .uplink import LinkTimes, Uplink
from .worker import Worker
from .writer import OutboxWriter

log = logging.getLogger(__name__)

JOURNAL_NAME = "commands.db"
"""The command journal in the state directory."""


@dataclass(frozen=True)
class Run:
    """What all parts of a run have in common. ``simulated``: whether a sensor of it invents its values;
    ``follows``: whether there was a run before in this process."""

    id: str
    timekeeper: Timekeeper
    simulated: bool
    follows: bool = False


@dataclass(frozen=True)
class OpenedJournal:
    """The command journal, or None where the disk has none to offer. ``event``: what is to be told of it;
    ``ids_known``: whether it has the ids of all earlier commands."""

    journal: Journal | None
    event: Mapping[str, Any] | None = None
    ids_known: bool = True


@dataclass(frozen=True)
class Parts:
    """Everything that works; ``uplink`` is None without a credential."""

    writer: OutboxWriter
    guard: Guard
    memory: GuardMemory
    executor: Executor
    health: Health
    samplers: list[Sampler]
    uplink: Uplink | None

    @property
    def workers(self) -> list[Worker]:
        """Those that get a thread, in the order of their start."""
        uplink = [] if self.uplink is None else [self.uplink]
        return [self.guard, self.writer, self.executor, self.health, *self.samplers, *uplink]

    def wake_by(self, waking: Callable[[Worker], Callable[[], None]]) -> None:
        """Tell them how to wake each other: ``waking`` gives the way to wake a worker."""
        for worker in (self.guard, self.writer, self.executor):
            worker.wake = waking(worker)
        self.guard.remember = waking(self.executor)
        if self.uplink is not None:
            self.uplink.wake = self.writer.wake_uplink = waking(self.uplink)


def open_journal(path: Path, boot_id: str, *, expected: bool) -> OpenedJournal:
    """The journal at ``path``; a damaged one is set aside. ``expected``: whether it is odd if it is new."""
    try:
        try:
            journal = Journal(path, boot_id)
            if not (journal.is_new and expected):
                return OpenedJournal(journal)
            event = {"event": "journal-damaged", "reason": "it was missing"}
            return OpenedJournal(journal, event, ids_known=False)
        except sqlite3.Error as error:
            if not is_damaged(error):
                raise
            aside = set_aside(path)
            log.error(
                "the command journal is damaged (%s): set aside as %s, a new one begins",
                error, aside, extra=service.event("journal-damaged"),
            )  # fmt: skip
            event = {"event": "journal-damaged", "reason": str(error), "setAside": aside.name}
            return OpenedJournal(Journal(path, boot_id), event, ids_known=False)
    except (sqlite3.Error, OSError) as error:
        log.error(
            "no command journal (%s): only commands towards safe are obeyed",
            error,
            extra=service.event("journal-lost"),
        )
        return OpenedJournal(None, {"event": "journal-lost", "reason": str(error)})


def discard_journal(path: Path) -> None:
    """Set a damaged journal aside that nobody has open: the next run finds none, and says so."""
    try:
        aside = set_aside(path)
    except OSError as error:
        log.error("the command journal is damaged and cannot be set aside: %s", error)
    else:
        log.error(
            "the command journal is damaged: set aside as %s", aside, extra=service.event("journal-damaged")
        )


def wire(
    config: Config,
    run: Run,
    actuators: Mapping[str, Guarded],
    journal: Journal | None,
    new_client: Callable[[Executor], HubClient] | None,
    *,
    device_id: str,
    status: Callable[[], Mapping[str, Any]],
    describe: Callable[[twin.LastTrouble], dict[str, Any]],
    on_confirmed: Callable[[Row, int], None],
) -> Parts:
    """Nothing here fails, so nothing is left open.

    ``new_client``: a connection whose commands go to that executor; None without a credential. ``status``:
    what the direct method of that name answers; ``describe``: what the twin is told.
    """
    writer = _writer(config, run)
    guard = Guard(actuators, writer.put, [sensor.id for sensor in config.sensors])
    memory = GuardMemory(config.state_directory, run.timekeeper.boot_id)
    executor = Executor(
        journal=journal,
        guard=guard,
        memory=memory,
        timekeeper=run.timekeeper,
        rules=CommandRules(config.commands.require_expiry, config.commands.untrusted_clock_max_age_s),
        put=writer.put,
        status=status,
    )
    samplers = [
        Sampler(
            sensor.id,
            partial(open_sensor, sensor, run.timekeeper.clock),
            rate_hz=config.sampling.rate_hz,
            report_interval_s=config.telemetry.report_interval_s,
            put=writer.put,
            height_m=sensor.height_m,
            max_speed_mps=sensor.max_speed_mps,
            watch=guard.wind,
        )
        for sensor in config.sensors
    ]
    health = Health(
        writer.put,
        run.timekeeper.clock.monotonic(),
        state_directory=config.state_directory,
        boot_id=run.timekeeper.boot_id,
        outbox=lambda: writer.status,
        clock=run.timekeeper.read,
        simulated=run.simulated,
        follows=run.follows,
    )

    def on_link(up: bool, now: float) -> None:
        guard.link(up, now)
        health.link(up, now)

    uplink = new_client and Uplink(
        writer,
        partial(new_client, executor),
        batcher=Batcher(
            config.telemetry.batching,  # type: ignore[arg-type]  # one of its choices, as configured
            METERING_UNIT_BYTES[config.device.hub_tier],
            device_id,
            config.telemetry.properties,
        ),
        clock=run.timekeeper.clock,
        times=LinkTimes(send_s=config.telemetry.send_timeout_s),
        rng=random.Random(),  # noqa: S311  (jitter, no secret)
        on_confirmed=on_confirmed,
        on_link=on_link,
        describe=describe,
    )
    return Parts(writer, guard, memory, executor, health, samplers, uplink)


def _writer(config: Config, run: Run) -> OutboxWriter:
    boot_id, outbox = run.timekeeper.boot_id, config.outbox
    storage = Storage(
        config.state_directory / STORE_NAME,
        lambda path: Outbox(
            path,
            run=run.id,
            boot_id=boot_id,
            max_bytes=outbox.max_bytes,
            min_free_bytes=outbox.min_free_bytes,
            simulated=run.simulated,
        ),
        run.id,
        boot_id,
        simulated=run.simulated,
    )
    return OutboxWriter(
        storage,
        run.timekeeper,
        keep_sent_s=outbox.keep_sent_days * 86400,
        max_age_s=None if outbox.max_age_days is None else outbox.max_age_days * 86400,
    )


def hub_client(
    credential: Credential, options: HubOptions, timekeeper: Timekeeper
) -> Callable[[Executor], HubClient]:
    """How to make a connection of this device to its hub."""

    def new_client(executor: Executor) -> HubClient:
        return AzureHubClient(
            credential,
            options,
            timekeeper.clock,
            executor.receive,
            executor.call,
            clock_trusted=lambda: timekeeper.read().synchronised,
        )

    return new_client
