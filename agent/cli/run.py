"""``masthead run``: the daemon, in the foreground."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from agent import service
from agent.config import ActuatorConfig, Config, ConfigError, find, load
from agent.stopping import StopRequest

from .common import config_option, ends_process, one_line_errors

log = logging.getLogger(__name__)


@click.command("run")
@config_option
@click.option("--verbose", is_flag=True, help="One line for every confirmed message.")
@ends_process
def run_command(config_path: Path | None, verbose: bool) -> int:
    """Run the agent until Ctrl-C or SIGTERM. As a service SIGHUP has it take its configuration anew.

    The device's connection string comes from IOTHUB_DEVICE_CONNECTION_STRING, the systemd credential
    connection-string, or device.connection_string_file.

    \b
    Example:
      masthead run --config deploy/masthead.toml --verbose
    """
    stopping = StopRequest()
    stopping.on_signals(hangup_reloads=service.is_managed())
    with one_line_errors():
        try:
            config = load(find(config_path))
        except ConfigError as error:
            _tell_exit_program(error.actuators)
            raise
    service.setup_logging(verbose=verbose, sdk=config.logging.sdk)
    from agent.daemon import Daemon
    from agent.reading import Row, message_properties
    from agent.reloading import Reloads, run_all
    from agent.tenure import Tenure

    def new_run(config: Config, reloads: Reloads, tenure: Tenure) -> Daemon:
        def show(row: Row, total: int) -> None:
            if verbose:
                properties = message_properties(row.entry, config.telemetry.properties)
                shown = " ".join(f"{name}={value}" for name, value in properties.items())
                log.info("confirmed %s %s, %d in all", row.object_id, shown, total)

        service.show_sdk(config.logging.sdk)
        return Daemon(
            config,
            os.environ.get("MASTHEAD_CA_FILE"),
            on_confirmed=show,
            stopping=stopping,
            reloads=reloads,
            tenure=tenure,
        )

    with one_line_errors():
        return run_all(config, new_run, stopping)


def _tell_exit_program(actuators: Sequence[ActuatorConfig]) -> None:
    """What of a wrong configuration is in order can be made safe (agent/safe_file.py); we cannot run.

    Where an agent runs, or nothing is in order, the file stays as it is.
    """
    from agent.parts import write_safe_file
    from agent.safe_file import SafeFile
    from agent.state import StateError, StateLock

    safe_file = SafeFile.of_service()
    if safe_file is None or not actuators:
        return
    with suppress(StateError), StateLock(Config(None).state_directory):
        write_safe_file(safe_file, actuators)
