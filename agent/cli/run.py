"""``masthead run``: the daemon, in the foreground."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import click

from agent import service
from agent.stopping import StopRequest

from .common import config_option, ends_process, load_config, one_line_errors

log = logging.getLogger(__name__)


@click.command("run")
@config_option
@click.option("--verbose", is_flag=True, help="One line for every confirmed message.")
@ends_process
def run_command(config_path: Path | None, verbose: bool) -> int:
    """Run the agent until Ctrl-C or SIGTERM.

    The device's connection string comes from IOTHUB_DEVICE_CONNECTION_STRING, the systemd credential
    connection-string, or device.connection_string_file.

    \b
    Example:
      masthead run --config deploy/masthead.toml --verbose
    """
    config = load_config(config_path)
    service.setup_logging(verbose=verbose, sdk=config.logging.sdk)
    stopping = StopRequest()
    stopping.on_signals()
    from agent.daemon import Daemon
    from agent.reading import Row, message_properties

    def show(row: Row, total: int) -> None:
        if verbose:
            properties = message_properties(row.entry, config.telemetry.properties)
            shown = " ".join(f"{name}={value}" for name, value in properties.items())
            log.info("confirmed %s %s, %d in all", row.object_id, shown, total)

    with one_line_errors():
        daemon = Daemon(config, os.environ.get("MASTHEAD_CA_FILE"), on_confirmed=show, stopping=stopping)
        return daemon.run()
