"""``masthead demo``: the whole of it on one machine, in a folder that is gone afterwards."""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent import service
from agent.status import value_text
from agent.stopping import StopRequest

from .common import Seconds, ends_process, one_line_errors

if TYPE_CHECKING:
    from agent.daemon import Daemon
    from agent.localhub.hub import LocalHub
    from agent.reading import Row

_DEVICE = "demo-mast"
_SETTLE_S = 15.0
_CONFIG = """\
[device]
state_directory = "{state}"
connection_string_file = "{secret}"
ca_file = "{ca}"

[[sensor]]
id = "top"
driver = "simulated"

[telemetry]
report_interval_s = 1

[actuators.beacon]
driver = "simulated"
"""
_COMPASS = (
    "N",
    "NNE",
    "NE",
    "ENE",
    "E",
    "ESE",
    "SE",
    "SSE",
    "S",
    "SSW",
    "SW",
    "WSW",
    "W",
    "WNW",
    "NW",
    "NNW",
)


@dataclass(frozen=True)
class _Result:
    sampled: int
    reported: int
    stored: int
    sent: int
    confirmed: int
    commands: int
    first_confirmed_s: float | None


@click.command("demo")
@click.option("--for", "for_s", type=Seconds(1, 86400), metavar="SECONDS", help="End after so long.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object at the end, and nothing else (with --for)."
)
@ends_process
def demo_command(for_s: float | None, as_json: bool) -> int:
    """Run a local hub, a device, simulated wind and the page, until Ctrl-C.

    With --for it sends a command half-way, ends by itself and tells whether everything arrived.

    \b
    Example:
      masthead demo
      masthead demo --for 20 --json
    """
    if as_json and for_s is None:
        raise click.UsageError("--json tells the result at the end: give --for SECONDS too")
    try:
        from agent.localhub.hub import LocalHub
        from agent.localhub.records import HubError
        from agent.localhub.thread import HubThread
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error.name} is missing: in a clone, pip install '.[hub]'") from error
    began = time.monotonic()
    service.setup_logging()
    for name in ("IOTHUB_DEVICE_CONNECTION_STRING", "CREDENTIALS_DIRECTORY", "MASTHEAD_CA_FILE"):
        os.environ.pop(name, None)  # a demo talks to its own hub
    stop = StopRequest()
    stop.on_signals()
    with tempfile.TemporaryDirectory(prefix="masthead-demo-") as folder, one_line_errors():
        hub = LocalHub(Path(folder) / "hub")
        thread = HubThread(hub, page=True)
        try:
            thread.start()
        except HubError as error:
            raise click.ClickException(str(error)) from error
        try:
            return _Demo(Path(folder), hub, thread.page_url or "", as_json, began).run(stop, for_s)
        finally:
            thread.stop()


class _Demo:
    def __init__(self, folder: Path, hub: LocalHub, page_url: str, quiet: bool, began: float) -> None:
        from agent.config import load
        from agent.daemon import Daemon

        self._hub = hub
        self._quiet = quiet
        self._page_url = page_url
        self._began = began
        self._first_confirmed_s: float | None = None
        self._output_gone = False
        hub.ensure_device(_DEVICE)
        secret = folder / "connection-string"
        secret.touch(0o600)
        secret.write_text(hub.device_connection_string(_DEVICE))
        self._config = folder / "masthead.toml"
        self._config.write_text(_CONFIG.format(state=folder / "state", secret=secret, ca=hub.ca_file))
        self._daemon: Daemon = Daemon(load(self._config), on_confirmed=self._confirmed)

    def run(self, stop: StopRequest, for_s: float | None) -> int:
        """Until ``stop`` is set, or for ``for_s`` seconds; the exit code."""
        if not self._quiet:
            click.echo(f"The page:  {self._page_url}")
            click.echo(f"Status:    masthead status --config {self._config}")
            click.echo("Ctrl-C ends all of it.\n")
        self._daemon.start()
        commands = 0
        try:
            if for_s is not None:
                command = None
                if not self._wait(stop, for_s / 2):
                    command = self._send_command()
                self._wait(stop, for_s)
                self._daemon.stop_sampling()
                commands = self._settle(command)
            else:
                self._wait(stop, math.inf)
        finally:
            self._daemon.shut_down()
        if for_s is None:
            return 0 if self._daemon.alive else 1
        result = self._result(commands)
        self._tell(result)
        return 0 if result.stored == result.confirmed and result.commands == 1 else 1

    def _wait(self, stop: StopRequest, at_s: float) -> bool:
        """Wait until so long after the start; True if the demo is to end before."""
        while (left_s := self._began + at_s - time.monotonic()) > 0:
            if stop.wait(min(left_s, 0.5)) or not self._daemon.alive or self._output_gone:
                return True
        return False

    def _confirmed(self, row: Row, _total: int) -> None:
        if self._first_confirmed_s is None:
            self._first_confirmed_s = round(time.monotonic() - self._began, 3)
        if not self._quiet and not self._output_gone:
            try:
                click.echo(_line(row))
            except OSError:  # `| head` has seen enough
                self._output_gone = True

    def _send_command(self) -> str:
        command = {"command": "set", "actuator": "beacon", "value": True, "for": 3}
        command_id = str(uuid.uuid4())
        self._hub.send_c2d(_DEVICE, json.dumps(command).encode(), message_id=command_id, expires_in_s=60)
        return command_id

    def _settle(self, command_id: str | None) -> int:
        """Wait for the command's outcome and for every row's confirmation; how many commands are done."""
        deadline = time.monotonic() + _SETTLE_S
        done = 0
        while time.monotonic() < deadline and self._daemon.alive:
            done = self._done(command_id)
            if self._daemon.idle and (done or command_id is None):
                break
            time.sleep(0.05)
        return done

    def _done(self, command_id: str | None) -> int:
        outcomes = [
            json.loads(e.body)
            for e in self._hub.store.events.latest(_DEVICE, 500)
            if b'"commandId"' in e.body
        ]
        return sum(1 for o in outcomes if o.get("commandId") == command_id and o.get("status") == "done")

    def _result(self, commands: int) -> _Result:
        status = self._daemon.writer.status
        samplers = [s.status for s in self._daemon.samplers]
        return _Result(
            sampled=sum(s.sampled for s in samplers),
            reported=sum(s.reported for s in samplers),
            stored=status.stored,
            sent=status.confirmed,
            confirmed=len(self._hub.store.events.object_ids(_DEVICE, self._daemon.run_id)),
            commands=commands,
            first_confirmed_s=self._first_confirmed_s,
        )

    def _tell(self, result: _Result) -> None:
        if self._quiet:
            click.echo(json.dumps(result.__dict__))
            return
        good = result.stored == result.confirmed
        click.echo(
            f"\n{result.sampled} samples, {result.reported} readings; {result.stored} rows stored, "
            f"{result.confirmed} of them in the hub{'' if good else ': SOME ARE MISSING'}; "
            f"{result.commands} command done"
        )


def _line(row: Row) -> str:
    """One confirmed row as a line for a person."""
    body = row.entry.body
    clock = datetime.now().astimezone().strftime("%H:%M:%S")
    if row.entry.kind == "reading":
        return f"{clock}  {_wind(body)}  #{row.sequence} confirmed"
    if row.entry.kind == "outcome":
        reason = f" ({body['reason']})" if body["reason"] else ""
        return f"{clock}  command {body['command']} {body['actuator']}: {body['status']}{reason}"
    if body["event"] == "actuator-safe":
        return f"{clock}  {body['actuator']} is {value_text(body['value'])} again ({body['reason']})"
    details = ", ".join(f"{k} {body[k]}" for k in ("sensor", "reason", "version") if k in body)
    return f"{clock}  {body['event']}" + (f" ({details})" if details else "")


def _wind(body: Any) -> str:
    speed, gust, direction = body["windSpeed"], body["windGust"], body["windDirection"]
    if speed is None:
        return f"{body['sensor']}: no value ({', '.join(body['flags'])})"
    gust_text = "    –" if gust is None else f"{gust:5.1f}"
    compass = (
        "calm" if direction is None else f"{direction:3.0f}° {_COMPASS[round(direction / 22.5) % 16]:<3}"
    )
    return f"wind {speed:5.1f} m/s  3-s gust {gust_text}  from {compass}  {body['quality']}"
