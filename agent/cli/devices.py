"""``masthead device``: the identities of a hub."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .common import json_option
from .operate import device_argument, file_bytes, notice, operating

if TYPE_CHECKING:
    from agent.operator.devices import Credential, Devices, Identity

_key_file = click.Path(path_type=Path, dir_okay=False, readable=False)


@click.group("device")
def device_command() -> None:
    """Create, show and delete the hub's devices.

    The hub is the one of IOTHUB_CONNECTION_STRING.

    \b
    Example:
      masthead device create mast-1
      masthead device list
    """


@device_command.command("create")
@device_argument
@click.option(
    "--primary-key-file", type=_key_file, metavar="FILE", help="Its own key, base64 of 16 to 64 bytes."
)
@click.option(
    "--secondary-key-file", type=_key_file, metavar="FILE", help="Its own second key, else a random one."
)
@click.option(
    "--x509-thumbprint",
    "thumbprints",
    multiple=True,
    metavar="HEX",
    help="It is known by a certificate of this SHA-1 or SHA-256 thumbprint; twice for a second one.",
)
@json_option
def create_command(
    device_id: str,
    primary_key_file: Path | None,
    secondary_key_file: Path | None,
    thumbprints: tuple[str, ...],
    as_json: bool,
) -> None:
    """Create a device and print its keys and its connection string.

    Without a key or a thumbprint the hub makes the keys.

    \b
    Example:
      masthead device create mast-1
    """
    if thumbprints and (primary_key_file or secondary_key_file):
        raise click.UsageError("a device has keys or a certificate: leave one of both out")
    if len(thumbprints) > 2:
        raise click.UsageError("a device has two thumbprints at most")
    if secondary_key_file and not primary_key_file:
        raise click.UsageError("--secondary-key-file needs --primary-key-file")
    with _devices() as devices:
        credential = _credential(primary_key_file, secondary_key_file, thumbprints)
        _show(devices.create(device_id, credential), as_json)


@device_command.command("show")
@device_argument
@json_option
def show_command(device_id: str, as_json: bool) -> None:
    """Print a device with its keys and its connection string.

    \b
    Example:
      masthead device show mast-1 --json
    """
    with _devices() as devices:
        _show(devices.get(device_id), as_json)


@device_command.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List the devices, without their keys.

    \b
    Example:
      masthead device list
    """
    from agent.operator.devices import NEVER

    with _devices() as devices:
        found = _all(devices)
    if as_json:
        click.echo(json.dumps([device.as_json(keys=False) for device in found]))
        return
    if not found:
        notice("no devices: masthead device create ID")
    width = max((len(device.device_id) for device in found), default=0)
    for device in found:
        active = "never" if device.last_activity_time.startswith(NEVER[:10]) else device.last_activity_time
        waiting = f"  {device.cloud_to_device_message_count} waiting" * bool(
            device.cloud_to_device_message_count
        )
        click.echo(
            f"{device.device_id:<{width}}  {device.status:<8}  {device.connection_state:<12}  "
            f"{device.auth_method:<10}  last active {active}{waiting}"
        )


def _switch(name: str, enabled: bool, line: str) -> click.Command:
    @device_command.command(name, help=f"{line}\n\n\b\nExample:\n  masthead device {name} mast-1")
    @device_argument
    @json_option
    def switch_command(device_id: str, as_json: bool) -> None:
        with _devices() as devices:
            device = devices.set_enabled(device_id, enabled)
        click.echo(json.dumps(device.as_json(keys=False)) if as_json else f"{device_id} is {device.status}")

    return switch_command


enable_command = _switch("enable", True, "Let a device connect again.")
disable_command = _switch("disable", False, "Cut a device off, and let it not connect until enabled.")


@device_command.command("delete")
@device_argument
def delete_command(device_id: str) -> None:
    """Delete a device, its keys, its twin and what waits for it.

    \b
    Example:
      masthead device delete mast-1
    """
    with _devices() as devices:
        devices.delete(device_id)
    click.echo(f"{device_id} is deleted")


def _all(devices: Devices) -> list[Identity]:
    """What the registry lists, and where that is not all, what a query finds beside it."""
    from agent.operator.devices import LIST_LIMIT
    from agent.operator.errors import OperatorError

    listed = devices.listed()
    if len(listed) < LIST_LIMIT:
        return listed
    try:
        by_id = {device.device_id: device for device in [*devices.found(), *listed]}
    except OperatorError as error:
        notice(f"these are {LIST_LIMIT}, and there may be more: {error}")
        return listed
    return [by_id[name] for name in sorted(by_id)]


@contextmanager
def _devices() -> Iterator[Devices]:
    with operating() as access:
        from agent.operator.devices import Devices
        from agent.operator.rest import Rest

        yield Devices(access, Rest(access))


def _credential(primary: Path | None, secondary: Path | None, thumbprints: tuple[str, ...]) -> Credential:
    from agent.operator.devices import Credential, key_of, new_key, thumbprint_of

    if thumbprints:
        prints = [thumbprint_of(text) for text in thumbprints]
        return Credential(primary_thumbprint=prints[0], secondary_thumbprint=(*prints, None)[1])
    if primary is None:
        return Credential()
    second = new_key() if secondary is None else _read(secondary, key_of)  # a hub takes two keys or none
    return Credential(_read(primary, key_of), second)


def _read(path: Path, key_of: Callable[[str], str]) -> str:
    from agent.operator.errors import BadMessage

    try:
        return key_of(file_bytes(path).decode(errors="replace"))
    except BadMessage as error:
        raise BadMessage(f"{path}: {error}") from error


def _show(device: Identity, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(device.as_json()))
        return
    lines = {
        "deviceId": device.device_id,
        "primaryKey": device.primary_key,
        "secondaryKey": device.secondary_key,
        "connectionState": device.connection_state,
        "status": device.status,
        "lastActivityTime": device.last_activity_time,
        "cloudToDeviceMessageCount": device.cloud_to_device_message_count,
        "isManaged": device.is_managed,
        "authMethod": device.auth_method,
        "connectionString": device.connection_string,
    }
    for name, value in lines.items():
        click.echo(f"{name:<26}{'-' if value is None else value}")
