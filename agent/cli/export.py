"""``masthead export``: the readings in a store as CSV."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from functools import partial
from itertools import chain, islice
from pathlib import Path

import click

from agent import export
from agent.config import Config
from agent.control import NoDaemon
from agent.outbox_file import STORE_NAME

from .common import ask, config_option, load_config, one_line_errors


@click.command("export")
@click.argument("store", required=False, type=click.Path(path_type=Path, dir_okay=False))
@config_option
def export_command(store: Path | None, config_path: Path | None) -> None:
    """Write the stored readings as CSV, oldest first: those that wait, and what was sent in the last weeks.

    STORE is an outbox.db: of another card, or one set aside as damaged. Unless given it is that of the
    configuration; a running agent is asked for it.

    \b
    Example:
      masthead export > readings.csv
    """
    with one_line_errors():
        read = _of_agent(load_config(config_path)) if store is None else partial(export.page, store)
        table = csv.writer(sys.stdout, lineterminator="\n")
        records = export.pages(read)
        first = list(islice(records, 1))  # what fails at once prints no heading
        table.writerow(export.COLUMNS)
        table.writerows(chain(first, records))


def _of_agent(config: Config) -> Callable[[int], list[export.Record]]:
    def read(after: int) -> list[export.Record]:
        try:
            records: list[export.Record] = ask(config, "export", after=after)["records"]
        except NoDaemon:
            records = export.page(config.state_directory / STORE_NAME, after)
        return records

    return read
