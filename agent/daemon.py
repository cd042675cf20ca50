"""The composition root: everything is built, wired, started and stopped here, and nowhere else.

Start: lock, journal, outbox, actuators safe, sensors, control socket, threads, READY. The hub is never
waited for. Stop, within five seconds even if the hub is silent: actuators safe first, then samplers, what is
in flight gets a moment, everything stored is closed; what the SDK still does ends with the process.
"""

from __future__ import annotations

import logging
import random
import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from hw.board import detect
from hw.clock import Clock, SystemClock
from hw.errors import DeviceMisconfigured

from . import __version__, service, status
from .batching import METERING_UNIT_BYTES, Batcher
from .cloud import HubClient, twin
from .cloud.azure import AzureHubClient, HubOptions
from .cloud.credentials import Credential, CredentialError
from .commands.actuation import Guarded, Origin
from .commands.at_the_mast import AtTheMast
from .commands.executor import Executor
from .commands.guard import Guard
from .commands.holds import Hold
from .commands.journal import Journal
from .commands.memory import GuardMemory, Remembered
from .commands.timeliness import CommandRules
from .config import Config, ConfigError
from .control import ControlServer
from .forecast import forecast
from .outbox import Outbox
from .parts import find_credential, open_actuators, open_sensor, product_info, read_ca
from .reading import Entry, Row
from .reported import reported
from .safe_file import SafeFile
from .sampler import Sampler
from .state import StateLock
from .stopping import StopRequest
from .storage import Storage, is_damaged, set_aside
from .timekeeping import Timekeeper, read_boot_id
from .uplink import LinkTimes, Uplink
from .worker import Worker, WorkerThread
from .writer import OutboxWriter

log = logging.getLogger(__name__)

SIMULATED = ("simulated", "replay")
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
        on_confirmed: Callable[[Row, int], None] = lambda *_: None,
        stopping: StopRequest | None = None,
    ) -> None:
        """Build everything; nothing runs yet. ``ca_file`` overrides the configuration's; ``run`` comes to its
        end when ``stopping`` is set.

        Raises ConfigError, StateError.
        """
        self._clock = clock or SystemClock()
        self._started = self._clock.monotonic()
        self._config = config
        self._simulated = any(sensor.driver in SIMULATED for sensor in config.sensors)
        self._stopping = stopping or StopRequest()
        self._died: str | None = None
        self.run_id = secrets.token_hex(4)
        self._board = str(detect() or "desktop")
        self._timekeeper = Timekeeper(self._clock, read_boot_id())
        self._ids_known = True
        self._credential, self._no_credential = find_credential(config)
        options = HubOptions(product_info=product_info(config))
        try:
            options = replace(options, ca_pem=read_ca(ca_file or config.device.ca_file))
        except CredentialError as error:
            self._credential, self._no_credential = None, str(error)
        self.lock = StateLock(config.state_directory)
        self._has_stored = any(config.state_directory.glob("outbox.db*"))
        try:
            actuators = open_actuators(
                config.actuators, self._clock, wait=True, safe_file=SafeFile.of_service()
            )
        except BaseException:
            self.lock.release()
            raise
        self._build(config, actuators, options, on_confirmed)

    def _build(
        self,
        config: Config,
        actuators: Mapping[str, Guarded],
        options: HubOptions,
        on_confirmed: Callable[[Row, int], None],
    ) -> None:
        """Wire it all. Nothing here fails, so nothing is left open."""
        state = config.state_directory
        boot_id, run = self._timekeeper.boot_id, self.run_id
        storage = Storage(
            state / "outbox.db",
            lambda path: Outbox(
                path,
                run=run,
                boot_id=boot_id,
                max_bytes=config.outbox.max_bytes,
                min_free_bytes=config.outbox.min_free_bytes,
                simulated=self._simulated,
            ),
            run,
            boot_id,
            simulated=self._simulated,
        )
        max_age_days = config.outbox.max_age_days
        self.writer = OutboxWriter(
            storage,
            self._timekeeper,
            keep_sent_s=config.outbox.keep_sent_days * 86400,
            max_age_s=None if max_age_days is None else max_age_days * 86400,
        )
        self.guard = Guard(actuators, self.writer.put, [sensor.id for sensor in config.sensors])
        self._memory = GuardMemory(state, boot_id)
        self.at_the_mast = AtTheMast(self.guard, self._memory, self._clock)
        self.executor = Executor(
            journal=self._open_journal(state / "commands.db"),
            guard=self.guard,
            memory=self._memory,
            timekeeper=self._timekeeper,
            rules=CommandRules(config.commands.require_expiry, config.commands.untrusted_clock_max_age_s),
            put=self.writer.put,
            status=self._told_by_method,
        )
        self.samplers = [
            Sampler(
                sensor.id,
                partial(open_sensor, sensor, self._clock),
                rate_hz=config.sampling.rate_hz,
                report_interval_s=config.telemetry.report_interval_s,
                put=self.writer.put,
                height_m=sensor.height_m,
                max_speed_mps=sensor.max_speed_mps,
                watch=self.guard.wind,
            )
            for sensor in config.sensors
        ]
        self.uplink: Uplink | None = None
        if self._credential is not None:
            self.uplink = self._build_uplink(config, self._credential, options, on_confirmed)
        self._control = ControlServer(state, self._handlers())
        workers: list[Worker] = [self.guard, self.writer, self.executor, *self.samplers]
        if self.uplink is not None:
            workers.append(self.uplink)
        self._threads = [WorkerThread(worker, self._clock, self._worker_died) for worker in workers]
        for wired in (self.guard, self.writer, self.executor):
            wired.wake = self._thread_of(wired).wake
        self.guard.remember = self.executor.wake
        if self.uplink is not None:
            self.uplink.wake = self.writer.wake_uplink = self._thread_of(self.uplink).wake

    def _build_uplink(
        self,
        config: Config,
        credential: Credential,
        options: HubOptions,
        on_confirmed: Callable[[Row, int], None],
    ) -> Uplink:
        def new_client() -> HubClient:
            return AzureHubClient(
                credential,
                options,
                self._clock,
                self.executor.receive,
                self.executor.call,
                clock_trusted=lambda: self._timekeeper.read().synchronised,
            )

        return Uplink(
            self.writer,
            new_client,
            batcher=Batcher(
                config.telemetry.batching,  # type: ignore[arg-type]  # one of its choices, as configured
                METERING_UNIT_BYTES[config.device.hub_tier],
                credential.device_id,
                config.telemetry.properties,
            ),
            clock=self._clock,
            times=LinkTimes(send_s=config.telemetry.send_timeout_s),
            rng=random.Random(),  # noqa: S311  (jitter, no secret)
            on_confirmed=on_confirmed,
            on_link=self.guard.link,
            describe=self._describe,
        )

    def _open_journal(self, path: Path) -> Journal | None:
        boot_id = self._timekeeper.boot_id
        try:
            try:
                journal = Journal(path, boot_id)
                if journal.is_new and self._has_stored:
                    self._ids_known = False
                    self._announce("journal-damaged", reason="it was missing")
                return journal
            except sqlite3.Error as error:
                if not is_damaged(error):
                    raise
                aside = set_aside(path)
                log.error(
                    "the command journal is damaged (%s): set aside as %s, a new one begins", error, aside
                )
                self._announce("journal-damaged", reason=str(error), setAside=aside.name)
                self._ids_known = False
                return Journal(path, boot_id)
        except (sqlite3.Error, OSError) as error:
            log.error("no command journal (%s): only commands towards safe are obeyed", error)
            self._announce("journal-lost", reason=str(error))
            return None

    # --- life

    def start(self) -> None:
        """Make everything safe and run. Raises StoreUnreadable, ConfigError."""
        now = self._clock.monotonic()
        try:
            self.guard.start(now, self._remembered(now))
            self._memory.save(lambda: self.guard.remembered)
            for sampler in self.samplers:
                try:
                    sampler.open(now)
                except DeviceMisconfigured as error:
                    raise ConfigError(f"sensor {sampler.sensor_id!r}: {error}") from error
            self._say_what_is_simulated()
            self.writer.open(now)
            self._announce(
                "started",
                version=__version__,
                sensors=[s.sensor_id for s in self.samplers],
                actuators={name: status.value for name, status in self.guard.status.items()},
            )
            self.executor.recover()
        except BaseException:
            self._let_go()
            raise
        if self._no_credential is not None:
            log.warning("not sending: %s", self._no_credential)
        self._control.start()
        for thread in self._threads:
            thread.start()

    def _remembered(self, now: float) -> Remembered:
        """What the guard has to know. Without the ids of earlier commands, held from the cloud: whoever sends
        a `release` knows what may come again."""
        remembered = self._memory.load(now)
        if self._ids_known:
            return remembered
        log.warning("the ids of earlier commands are lost: held from the cloud until it sends `release`")
        return replace(remembered, holds={**remembered.holds, Origin.CLOUD: Hold(now)})

    def run(self) -> int:
        """Start, feed the watchdog until stopped, stop. The exit code: 1 if a worker died."""
        self.start()
        try:
            self._wait_for_first_samples()
            service.notify(f"READY=1\nSTATUS={self._summary()}")
            log.info("running: %s", self._summary())
            interval_s = min(service.watchdog_interval_s() or _SUPERVISE_S, _SUPERVISE_S)
            stuck_before: list[str] = []
            while not self._stopping.wait(interval_s):
                stuck_before = self._supervise(stuck_before)
        finally:
            self.shut_down()
        return 1 if self._died else 0

    def _supervise(self, stuck_before: list[str]) -> list[str]:
        """Feed the watchdog while every worker keeps the bound of its step; those that do not."""
        now = self._clock.monotonic()
        stuck = [t.worker.name for t in self._threads if not t.healthy(now)]
        if not stuck:
            service.notify(f"WATCHDOG=1\nSTATUS={self._summary()}")
        else:
            service.notify(f"STATUS=stuck: {', '.join(stuck)}")
        if self.guard.name in stuck:  # nobody brings an actuator back any more: not for as long as a watchdog
            log.critical(
                "the guard hangs in a driver: the process ends so that its actuators can be made safe"
            )
            self._worker_died(self.guard.name)
        if stuck != stuck_before:
            log.log(
                logging.ERROR if stuck else logging.INFO, "stuck: %s", ", ".join(stuck) or "nothing any more"
            )
        return stuck

    def stop(self) -> None:
        """Have ``run`` come to its end. May be called twice, and from a signal handler."""
        self._stopping.set()

    def stop_sampling(self, until: float | None = None) -> None:
        """No more readings; everything else goes on. ``until``: time.monotonic() to wait for them at most."""
        until = time.monotonic() + _THREAD_STOP_S if until is None else until
        for sampler in self.samplers:
            self._thread_of(sampler).ask_to_stop()
        for sampler in self.samplers:
            self._thread_of(sampler).stop(until - time.monotonic())

    @property
    def alive(self) -> bool:
        """Whether every worker still works."""
        return self._died is None

    def shut_down(self) -> None:
        """Actuators safe, samplers ended, what is in flight given a moment, the stores closed.

        Each part has its share of STOP_S, so that whatever hangs, the end comes in time.
        """
        began = time.monotonic()
        self._stopping.set()
        service.notify("STOPPING=1")
        self._thread_of(self.executor).ask_to_stop()
        for sampler in self.samplers:
            self._thread_of(sampler).ask_to_stop()
        self._thread_of(self.guard).stop(_THREAD_STOP_S)
        self.guard.stop(self._clock.monotonic())
        self.stop_sampling(max(began + _THREAD_STOP_S, time.monotonic() + _LEAST_S))
        for sampler in self.samplers:
            sampler.close()
        self._control.stop()
        self._drain(began + _DRAINED_S)
        if (uplink := self.uplink) is not None:
            self._thread_of(uplink).stop(_CLOSE_S)
            uplink.stop(self._clock.monotonic())
            self._wait(lambda: uplink.closed, _CLOSE_S)
        self._thread_of(self.executor).stop(began + STOP_S - time.monotonic())
        if self._thread_of(self.writer).stop(max(began + STOP_S - time.monotonic(), _LEAST_S)):
            self.writer.close(self._clock.monotonic())
        else:
            log.error("the disk does not answer: what was not yet stored is lost")
        # last: what the hub was told that we have is journalled, and answered after the next start
        self.executor.close(max(0.0, began + STOP_S - time.monotonic()))
        log.info("stopped: %d rows wait for the next start", self.writer.status.stats.unsent)
        self.lock.release()

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
        self.lock.release()

    def _wait_for_first_samples(self) -> None:
        self._wait(
            lambda: self._stopping.is_set() or all(s.status.sampled for s in self.samplers),
            Sampler.step_bound_s,
        )

    def _wait(self, condition: Callable[[], bool], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.01)

    def _thread_of(self, worker: Worker) -> WorkerThread:
        return next(thread for thread in self._threads if thread.worker is worker)

    def _worker_died(self, name: str) -> None:
        self._died = name
        self._stopping.set()

    def _announce(self, event: str, **details: Any) -> None:
        body = {"event": event, **details}
        self.writer.put(Entry("event", self._clock.monotonic(), body, simulated=self._simulated, urgent=True))

    def _say_what_is_simulated(self) -> None:
        for sensor, sampler in zip(self._config.sensors, self.samplers, strict=True):
            if sensor.auto and sampler.simulated:
                log.warning(
                    "SIMULATED WIND: this machine is a desktop, so sensor %r invents its values; "
                    "every message says so (simulated = true)",
                    sensor.id,
                )

        invented = {s.id for s in self._config.sensors if s.driver in SIMULATED}
        for actuator in self._config.actuators:
            watched = set(actuator.interlock.sensors) if actuator.interlock is not None else set()
            if watched & invented and actuator.driver not in SIMULATED:
                log.warning("%s: its interlock goes by a wind that nobody measures", actuator.name)

    def _summary(self) -> str:
        link = self.uplink.status.state if self.uplink is not None else "off"
        winds = [
            f"{s.sensor_id} {s.status.sample.speed_mps:.1f} m/s"
            if s.status.sample and s.status.sample.speed_mps is not None
            else f"{s.sensor_id} no value"
            for s in self.samplers
        ]
        held = "".join(f"; held {origin.value}" for origin in self.guard.remembered.holds)
        return f"{', '.join(winds)}; hub link {link}; {self.writer.status.backlog} waiting{held}"

    # --- the control socket

    def snapshot(self) -> dict[str, Any]:
        """The agent now (agent/status.py)."""
        return status.snapshot(
            clock=self._clock,
            started_boot_s=self._started,
            device_id=self._credential.device_id if self._credential else None,
            host=self._credential.address if self._credential else None,
            run=self.run_id,
            timekeeper=self._timekeeper,
            samplers=self.samplers,
            writer=self.writer,
            uplink=self.uplink,
            executor=self.executor,
            guard=self.guard,
            no_credential=self._no_credential,
            forecast=forecast(
                self._config,
                self._credential.device_id if self._credential else None,
                self.writer.status.stats,
            ),
        )

    def _describe(self, trouble: twin.LastTrouble) -> dict[str, Any]:
        return reported(
            board=self._board,
            run=self.run_id,
            sensors=list(zip(self._config.sensors, self.samplers, strict=True)),
            outbox=self.writer.status,
            wall=self._timekeeper.read(),
            link_trouble=trouble,
        )

    def _told_by_method(self) -> dict[str, Any]:
        """The snapshot without the bodies of what was rejected: an answer has 128 KB."""
        snapshot = self.snapshot()
        del snapshot["outbox"]["lastRejected"]
        return snapshot

    def _handlers(self) -> dict[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]]:
        return {
            "status": lambda _: self.snapshot(),
            "sample": lambda _: self.snapshot()["sensors"],
            "outbox": lambda _: self.snapshot()["outbox"],
            **self.at_the_mast.operations,
        }
