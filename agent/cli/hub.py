"""``masthead hub``: the local IoT Hub, until interrupted."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shlex
import signal
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from agent.localhub.faults import Fault
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
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="Misbehave in this way from the start; --fault help lists the ways.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object when ready.")
def hub_command(
    data: Path | None, host: str | None, devices: tuple[str, ...], faults: tuple[str, ...], as_json: bool
) -> None:
    """Run a local IoT Hub with its page, for this machine only, until Ctrl-C.

    It prints the page's address and the lines to paste into another terminal.

    \b
    Example:
      masthead hub --device mast-1
    """
    if "help" in faults:
        click.echo(_fault_table())
        return
    try:
        from agent.localhub.hub import LocalHub
        from agent.localhub.page import start_page  # noqa: F401  (is it all there?)
        from agent.localhub.records import HubError, InvalidRequest, UnknownFault, check_device_id
    except ModuleNotFoundError as error:
        missing = (error.name or "a package").partition(".")[0]
        raise click.ClickException(f"{missing} is missing: in a clone, pip install '.[hub]'") from error
    try:
        for device_id in devices:
            check_device_id(device_id)
        hub = LocalHub((data or _default_directory()).absolute(), host, faults=_parsed(faults))
        _log_to_stderr()
        asyncio.run(_serve(hub, devices, as_json))
    except (InvalidRequest, UnknownFault) as error:
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
            if faults := hub.faults.active():
                click.secho(
                    f"THIS HUB MISBEHAVES: {'; '.join(map(str, faults))}", err=True, fg="red", bold=True
                )
            click.echo(_as_json(hub, page, strings) if as_json else _as_text(hub, page, strings))
            sys.stdout.flush()
            await stop.wait()
        finally:
            await page.stop()
    finally:
        await hub.stop()


def _parsed(faults: tuple[str, ...]) -> list[Fault]:
    """Raises InvalidRequest, UnknownFault."""
    from agent.localhub.faults import Fault, Faults
    from agent.localhub.records import InvalidRequest

    parsed = [Fault.parse(text) for text in faults]
    if len(Faults(parsed).active()) < sum(not fault.is_action for fault in parsed):
        raise InvalidRequest(f"one fault is given twice in {' '.join(faults)}: leave one out")
    if any(fault.name == "kick" and fault.is_action for fault in parsed):
        raise InvalidRequest("kick: nobody is connected at the start: kick=SECONDS ends every connection")
    return parsed


def _fault_table() -> str:
    from agent.localhub.fault_table import TABLE

    lines = ["What --fault takes, and what a device then sees:"]
    for kind in TABLE.values():
        lines += ["", f"  {kind.usage}"]
        for text in (kind.sees, kind.takes):
            lines += textwrap.wrap(text, 90, initial_indent="    ", subsequent_indent="    ")
    lines += [
        "",
        "While the hub runs: PUT and DELETE of /api/faults/NAME at the page's address, with its token.",
    ]
    return "\n".join(lines)


def _connection_strings(hub: LocalHub, devices: tuple[str, ...]) -> dict[str, str]:
    return {hub.ensure_device(i).device_id: hub.device_connection_string(i) for i in devices}


def _as_json(hub: LocalHub, page: PageServer, strings: dict[str, str]) -> str:
    ready = {
        "host": hub.host,
        "connection_string": hub.service_connection_string,
        "ca_file": str(hub.ca_file),
        "page": page.url,
        "page_token": page.token,
        "https_port": hub.https_port,
        "devices": strings,
        "faults": [asdict(fault) for fault in hub.faults.active()],
    }
    return json.dumps(ready)


def _as_text(hub: LocalHub, page: PageServer, strings: dict[str, str]) -> str:
    from agent.localhub.ports import HTTPS_PORT

    ports = f"{hub.port} (MQTT), {hub.amqp_port} (AMQP), {hub.https_port} (HTTPS)"
    lines = [
        f"The local hub listens on {hub.address}, ports {ports}. Its page:",
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
    if hub.https_port != HTTPS_PORT:
        lines += [
            f"And for HTTPS, since port {HTTPS_PORT} cannot be had here (some tools know no other):",
            f"  export MASTHEAD_HTTPS_PORT={hub.https_port}",
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
