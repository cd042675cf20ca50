"""``masthead bundle``: one file with what somebody elsewhere needs to help, and no secret in it."""

from __future__ import annotations

import time
from pathlib import Path

import click

from agent import bundle
from agent.config import ConfigError, find

from .common import config_option


@click.command("bundle")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@config_option
def bundle_command(file: Path | None, config_path: Path | None) -> None:
    """Write a support file: log, configuration, state, versions and findings, without secrets or readings.

    FILE is masthead-DATE.tar.gz in this directory unless given. As root it has the log and the unit as well.

    \b
    Example:
      masthead bundle
    """
    path = file or Path(time.strftime("masthead-%Y%m%dT%H%M%SZ.tar.gz", time.gmtime()))
    try:
        members = bundle.write(path, find(config_path))
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise click.ClickException(f"{path} cannot be written: {reason}; give another FILE") from error
    for name, size in members:
        click.echo(f"{size:>9}  {name}")
    click.echo(
        f"{path.absolute()}: keys, passwords and signatures are masked; look it through before you send it"
    )
