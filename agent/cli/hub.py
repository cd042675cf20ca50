"""``masthead hub``: the local IoT Hub, until interrupted."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from agent.localhub.hub import LocalHub
    from agent.localhub.page import PageServer


@click.command("hub")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the hub keeps its state.  [default: ~/.local/share/masthead-hub]",
)
@click.option("--host", help="Loopback address to serve.  [default: 127.0.0.1, or the next that is free]")
@click.option("--device", "devices", multiple=True, metavar="ID", help="A device to create if missing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object when ready.")
def hub_command(data: Path | None, host: str | None, devices: tuple[str, ...], as_json: bool) -> None:
    """Run a local IoT Hub with its page, for this machine only, until Ctrl-C.

    It prints the page's address and the lines to paste into another terminal.

    \b
    Example:
      masthead hub --device mast-1
    """
    try:
        from agent.localhub.hub import LocalHub
        from agent.localhub.page import start_page  # noqa: F401  (is it all there?)
        from agent.localhub.records import HubError, InvalidRequest, check_device_id
    except ModuleNotFoundError as error:
        missing = (error.name or "a package").partition(".")[0]
        raise click.ClickException(f"{missing} is missing: pip install 'masthead[hub]'") from error
    _log_to_stderr()
    try:
        for device_id in devices:
            check_device_id(device_id)
        asyncio.run(_serve(LocalHub(data or _default_directory(), host), devices, as_json))
    except InvalidRequest as error:
        raise click.UsageError(str(error)) from error
    except (HubError, OSError) as error:
        raise click.ClickException(str(error)) from error


async def _serve(hub: LocalHub, devices: tuple[str, ...], as_json: bool) -> None:
    from agent.localhub.page import start_page

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await hub.start()
    try:
        page = await start_page(hub)
        try:
            strings = await asyncio.to_thread(_connection_strings, hub, devices)
            click.echo(_as_json(hub, page, strings) if as_json else _as_text(hub, page, strings))
            sys.stdout.flush()
            await stop.wait()
        finally:
            await page.stop()
    finally:
        await hub.stop()


def _connection_strings(hub: LocalHub, devices: tuple[str, ...]) -> dict[str, str]:
    return {hub.ensure_device(i).device_id: hub.device_connection_string(i) for i in devices}


def _as_json(hub: LocalHub, page: PageServer, strings: dict[str, str]) -> str:
    ready = {
        "host": hub.host,
        "connection_string": hub.service_connection_string,
        "ca_file": str(hub.ca_file),
        "page": page.url,
        "page_token": page.token,
        "https_port": None,
        "devices": strings,
    }
    return json.dumps(ready)


def _as_text(hub: LocalHub, page: PageServer, strings: dict[str, str]) -> str:
    lines = [
        f"The local hub listens on {hub.address}:{hub.port}. Its page:",
        f"  {page.url}",
        "Lines to paste into another terminal:",
        f"  export IOTHUB_CONNECTION_STRING={shlex.quote(hub.service_connection_string)}",
        f"  export MASTHEAD_CA_FILE={shlex.quote(str(hub.ca_file))}",
    ]
    for device_id, text in strings.items():
        lines += [
            f"And for the device {device_id}:",
            f"  export IOTHUB_DEVICE_CONNECTION_STRING={shlex.quote(text)}",
        ]
    return "\n".join(lines)


def _default_directory() -> Path:
    data_home = os.environ.get("XDG_DATA_HOME")
    return (Path(data_home) if data_home else Path.home() / ".local" / "share") / "masthead-hub"


def _log_to_stderr() -> None:
    from agent.service import LineFormatter, under_journald

    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter(under_journald()))
    logger = logging.getLogger("agent.localhub")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
