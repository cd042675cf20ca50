"""A run of the agent: opened, started, supervised and stopped here, and nowhere else (wiring.py: what of).

Start: lock, journal, outbox, actuators safe, sensors, control socket, threads, READY. The hub is never
waited for. Stop, within five seconds even if the hub is silent: actuators safe first, then samplers, what is
in flight gets a moment, everything stored is closed; what the SDK still does ends with the process.

A reload (reloading.py) is such a stop, with the readings that are half made stored first, and another run.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from hw.clock import Clock, SystemClock
from hw.errors import DeviceMisconfigured

from . import __version__, export, service
from .account import Account
from .cloud import twin
from .cloud.azure import HubOptions
from .cloud.credentials import CredentialError
from .commands.actuation import Origin
from .commands.at_the_mast import AtTheMast
from .commands.holds import Hold
from .commands.memory import Remembered
from .config import Config, ConfigError
from .control import ControlError
from .outbox_file import STORE_NAME
from .parts import find_credential, open_actuators, product_info, read_ca
from .reading import Entry, Row
from .reloading import Reloads
from .safe_file import SafeFile
from .sampler import Sampler
from .simulation import SIMULATED, say_what_is_simulated
from .stopping import StopRequest
from .tenure import Tenure
from .threads import Threads
from .timekeeping import Timekeeper, read_boot_id
from .wiring import JOURNAL_NAME, Run, discard_journal, hub_client, open_journal, wire
from .worker import Worker

log = logging.getLogger(__name__)

STOP_S = 4.5
"""A stop takes no longer, whatever hangs."""

_THREAD_STOP_S = 1.0
_DRAINED_S = 2.0  # from the start of the stop: until then what is in flight may still be confirmed
_CLOSE_S = 0.5
_LEAST_S = 0.2  # what a thread that is not stuck is given, whatever the others took
_SUPERVISE_S = 10.0


class Daemon:
    """Thread safety: ``run`` on the main thread; ``stop`` and ``snapshot`` from any."""

    def __init__(
        self,
        config: Config,
        ca_file: str | None = None,
        clock: Clock | None = None,
        *,
        on_confirmed: Callable[[Row, int], None] = lambda *_: None,
        stopping: StopRequest | None = None,
        reloads: Reloads | None = None,
        tenure: Tenure | None = None,
    ) -> None:
        """Build everything; nothing runs yet. ``ca_file`` overrides the configuration's; ``run`` comes to its
        end when ``stopping`` is set, or asked for a reload. A ``tenure`` that is given stays.

        Raises ConfigError, StateError.
        """
        self._clock = clock or SystemClock()
        self._config = config
        self._on_confirmed = on_confirmed
        self._stopping = stopping or StopRequest()
        self._reloads = reloads or Reloads()
        self._tenure = tenure or Tenure()
        self._ends_tenure = tenure is None
        self.following: Config | None = None
        """What the next run goes by, where this one ended for a reload."""
        self._died: str | None = None
        self._confirmed_boot_s: float | None = None
        self._last_reading: Row | None = None
        self._said = ""
        self._began = self._clock.monotonic()
        self.run_id = secrets.token_hex(4)
        self._timekeeper = Timekeeper(self._clock, read_boot_id())
        credential, self._no_credential = find_credential(config)
        options = HubOptions(product_info=product_info(config))
        try:
            options = replace(options, ca_pem=read_ca(ca_file or config.device.ca_file))
        except CredentialError as error:
            credential, self._no_credential = None, str(error)
        self._tenure.begin(config.state_directory)
        has_stored = any(config.state_directory.glob(f"{STORE_NAME}*"))
        try:
            actuators = open_actuators(
                config.actuators, self._clock, wait=True, safe_file=SafeFile.of_service()
            )
        except BaseException:
            self._leave()
            raise
        # from here on nothing fails, so nothing is left open
        simulated = any(sensor.driver in SIMULATED for sensor in config.sensors)
        self._run = Run(self.run_id, self._timekeeper, simulated, self._tenure.follows)
        self._journal = open_journal(
            config.state_directory / JOURNAL_NAME, self._timekeeper.boot_id, expected=has_stored
        )
        parts = self._parts = wire(
            config,
            self._run,
            actuators,
            self._journal.journal,
            None if credential is None else hub_client(credential, options, self._timekeeper),
            device_id="" if credential is None else credential.device_id,
            status=self._told_by_method,
            describe=self._reported,
            on_confirmed=self._confirmed,
        )
        self._account = Account(config, self._run, parts, credential, self._no_credential)
        self.writer, self.guard, self.executor = parts.writer, parts.guard, parts.executor
        self.samplers, self.uplink = parts.samplers, parts.uplink
        self.at_the_mast = AtTheMast(self.guard, parts.memory, self._clock)
        self._threads = Threads(parts.workers, self._clock, self._worker_died)
        parts.wake_by(lambda worker: self._threads.of(worker).wake)

    # --- life

    def start(self) -> None:
        """Make everything safe and run. Raises StoreUnreadable, ConfigError."""
        now = self._clock.monotonic()
        try:
            self.guard.start(now, self._remembered(now))
            self._parts.memory.save(lambda: self.guard.remembered)
            for sampler in self.samplers:
                try:
                    sampler.open(now)
                except DeviceMisconfigured as error:
                    raise ConfigError(f"sensor {sampler.sensor_id!r}: {error}") from error
            say_what_is_simulated(self._config, {s.sensor_id for s in self.samplers if s.simulated})
            self.writer.open(now)
            if self._journal.event is not None:
                self._announce(self._journal.event)
            sensors = [s.sensor_id for s in self.samplers]
            actuators = {name: status.value for name, status in self.guard.status.items()}
            self._announce(
                {"event": "started", "version": __version__, "sensors": sensors, "actuators": actuators}
            )
            self.executor.recover()
        except BaseException:
            self._let_go()
            raise
        if self._no_credential is not None:
            log.warning("not sending: %s", self._no_credential, extra=service.event("no-credential"))
        self._tenure.answer(self._handlers())
        self._threads.start()

    def _remembered(self, now: float) -> Remembered:
        """What the guard has to know. Without the ids of earlier commands, held from the cloud: whoever sends
        a `release` knows what may come again."""
        remembered = self._parts.memory.load(now)
        if self._journal.ids_known:
            return remembered
        log.warning("the ids of earlier commands are lost: held from the cloud until it sends `release`")
        return replace(remembered, holds={**remembered.holds, Origin.CLOUD: Hold(now)})

    def run(self) -> int:
        """``start`` and ``serve``."""
        self.start()
        return self.serve()

    def serve(self) -> int:
        """Feed the watchdog until stopped or ``following`` is known, stop. The exit code: 1 if a worker died,
        or did not end where another run is to follow."""
        ended = False
        try:
            self._wait_for_first_samples()
            self._say(self._status_line(), "READY=1")
            log.info("running: %s", self._said, extra=service.event("ready"))
            interval_s = min(service.watchdog_interval_s() or _SUPERVISE_S, _SUPERVISE_S)
            stuck: list[str] = []
            while not self._stopping.wait(interval_s) and not self._reload_asked():
                stuck = self._supervise(stuck)
        finally:
            ended = self.shut_down()
        return 1 if self._died or (self.following is not None and not ended) else 0

    def _reload_asked(self) -> bool:
        """Whether this run has to make way for one that goes by ``following``."""
        if self._stopping.take_reload():
            self.following = self._reloads.reread(self._config, self.writer.status.degraded)
        elif self._reloads.take_afresh(
            self._clock.monotonic() - self._began,
            has_journal=self.executor.has_journal,
            degraded=self.writer.status.degraded,
        ):
            log.warning("without a command journal: the agent begins afresh", extra=service.event("afresh"))
            self.following = self._config
        return self.following is not None

    def _supervise(self, stuck_before: list[str]) -> list[str]:
        """Feed the watchdog while every worker keeps the bound of its step; those that do not."""
        stuck = self._threads.stuck(self._clock.monotonic())
        fed = [] if stuck else ["WATCHDOG=1"]
        self._say(f"stuck: {', '.join(stuck)}" if stuck else self._status_line(), *fed)
        if self.guard.name in stuck:  # nobody brings an actuator back any more: not for as long as a watchdog
            log.critical(
                "the guard hangs in a driver: the process ends so that its actuators can be made safe",
                extra=service.event("failed"),
            )
            self._worker_died(self.guard.name)
        if stuck != stuck_before:
            level = logging.ERROR if stuck else logging.INFO
            log.log(level, "stuck: %s", ", ".join(stuck) or "nothing any more", extra=service.event("stuck"))
        return stuck

    def _say(self, line: str, *assignments: str) -> None:
        """Tell the service manager ``assignments`` and, if it is another, the unit's status line."""
        if line != self._said:
            self._said = line
            assignments = (*assignments, service.status_assignment(line))
        if assignments:
            service.notify("\n".join(assignments))

    def stop(self) -> None:
        """Have ``run`` come to its end. May be called twice, and from a signal handler."""
        self._stopping.set()

    def stop_sampling(self, until: float | None = None) -> bool:
        """No more readings; everything else goes on. ``until``: time.monotonic() to wait for them at most.
        Whether they ended by then."""
        until = time.monotonic() + _THREAD_STOP_S if until is None else until
        for sampler in self.samplers:
            self._threads.of(sampler).ask_to_stop()
        ended = [self._threads.of(sampler).stop(until - time.monotonic()) for sampler in self.samplers]
        return all(ended)

    @property
    def alive(self) -> bool:
        """Whether every worker still works."""
        return self._died is None

    def shut_down(self) -> bool:
        """Actuators safe, samplers ended, what is in flight given a moment, the stores closed; whether every
        worker ended.

        Each part has its share of STOP_S, so that whatever hangs, the end comes in time.
        """
        began = time.monotonic()
        if self.following is None:
            self._stopping.set()
            service.notify("STOPPING=1")
        else:
            service.notify_reloading()
        soon: list[Worker] = [self.executor, self._parts.health, *self.samplers]
        for worker in soon:
            self._threads.of(worker).ask_to_stop()
        ended = self._threads.of(self.guard).stop(_THREAD_STOP_S)
        self.guard.stop(self._clock.monotonic())
        sampled = self.stop_sampling(max(began + _THREAD_STOP_S, time.monotonic() + _LEAST_S))
        for sampler in self.samplers:
            if self.following is not None and sampled:
                sampler.report_early(self._clock.monotonic())
            sampler.close()
        self._tenure.fall_silent()
        self._drain(began + _DRAINED_S)
        if (uplink := self.uplink) is not None:
            ended &= self._threads.of(uplink).stop(_CLOSE_S)
            uplink.stop(self._clock.monotonic())
            self._wait(lambda: uplink.closed, _CLOSE_S)
        ended &= self._threads.of(self.executor).stop(began + STOP_S - time.monotonic())
        if self._threads.of(self.writer).stop(max(began + STOP_S - time.monotonic(), _LEAST_S)):
            self.writer.close(self._clock.monotonic())
        else:
            log.error(
                "the disk does not answer: what was not yet stored is lost", extra=service.event("rows-lost")
            )
            ended = False
        # last: what the hub was told that we have is journalled, and answered after the next start
        self.executor.close(max(0.0, began + STOP_S - time.monotonic()))
        if self.executor.journal_damaged:
            discard_journal(self._config.state_directory / JOURNAL_NAME)
        waiting = self.writer.status.stats.unsent
        log.info("stopped: %d rows wait for the next start", waiting, extra=service.event("stopped"))
        if self.following is not None:
            self._tenure.hand_over()
        self._leave()
        return ended and sampled

    def _drain(self, until: float) -> None:
        """Let the hub confirm what it can, if it is there."""
        uplink = self.uplink
        if uplink is not None and uplink.status.state == "up" and self._died is None:
            self._wait(lambda: uplink.status.state != "up" or self.idle, until - time.monotonic())

    @property
    def idle(self) -> bool:
        """Whether everything stored is confirmed."""
        return self.writer.idle and (self.uplink is None or self.uplink.status.in_flight == 0)

    def _let_go(self) -> None:
        self.guard.stop(self._clock.monotonic())
        for sampler in self.samplers:
            sampler.close()
        self.executor.close()
        self._leave()

    def _leave(self) -> None:
        if self._ends_tenure:
            self._tenure.end()

    def _wait_for_first_samples(self) -> None:
        self._wait(
            lambda: self._stopping.is_set() or all(s.status.sampled for s in self.samplers),
            Sampler.step_bound_s,
        )

    def _wait(self, condition: Callable[[], bool], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.01)

    def _worker_died(self, name: str) -> None:
        self._died = name
        self._stopping.set()

    def _announce(self, body: Mapping[str, Any]) -> None:
        now = self._clock.monotonic()
        self.writer.put(Entry("event", now, body, simulated=self._run.simulated, urgent=True))

    def _confirmed(self, row: Row, total: int) -> None:
        self._confirmed_boot_s = self._clock.monotonic()
        if row.entry.kind == "reading":
            self._last_reading = row
        self._on_confirmed(row, total)

    # --- what it says of itself

    def _status_line(self) -> str:
        return self._account.line(self._confirmed_boot_s, self._reloads.refused)

    def snapshot(self) -> dict[str, Any]:
        """The agent now (agent/status.py), the last reading that the hub has, the configuration's file."""
        return self._account.snapshot() | {
            "lastReading": self._last_reading and self._account.reading(self._last_reading),
            "configuration": self._reloads.told(self._config),
        }

    def _told_by_method(self) -> Mapping[str, Any]:
        return self._account.told_by_method()

    def _reported(self, trouble: twin.LastTrouble) -> dict[str, Any]:
        return self._account.reported(trouble)

    def _handlers(self) -> dict[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]]:
        return {
            "status": lambda _: self.snapshot(),
            "sample": lambda _: self.snapshot()["sensors"],
            "outbox": lambda _: self.snapshot()["outbox"],
            "export": self._export,
            "reload": lambda _: self._ask_reload(),
            **self.at_the_mast.operations,
        }

    def _export(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        store = self._config.state_directory / STORE_NAME
        return {"records": export.page(store, int(request["after"]))}

    def _ask_reload(self) -> Mapping[str, Any]:
        """Raises ControlError, with what is wrong, if the configuration stays as it is."""
        if self._reloads.reread(self._config, self.writer.status.degraded) is None:
            self._say(self._status_line())
            raise ControlError(f"{self._reloads.refused}; the agent runs on with what it had")
        self._stopping.ask_reload()
        return {"run": self.run_id}
