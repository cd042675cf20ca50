"""The command line: one file a command group, each imported only when its command is used."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import click

from agent import __version__

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_COMMANDS = {
    "run": ("agent.cli.run:run_command", "Run the agent."),
    "setup": ("agent.cli.setup:setup_command", "Set up a mast: sensor, credential, service."),
    "demo": ("agent.cli.demo:demo_command", "Show it all on this machine: hub, agent, simulated wind, page."),
    "check": ("agent.cli.check:check_command", "Check configuration, sensors, storage and hub."),
    "bundle": ("agent.cli.bundle:bundle_command", "Write a support file, without secrets."),
    "sensors": ("agent.cli.sensors:sensors_command", "List the drivers, with the stanza to copy."),
    "sample": ("agent.cli.sample:sample_command", "Show the sensors live."),
    "status": ("agent.cli.device:status_command", "Show how the running agent is."),
    "actuate": ("agent.cli.device:actuate_command", "Drive an actuator."),
    "hold": ("agent.cli.device:hold_command", "Manual mode: the cloud moves nothing."),
    "release": ("agent.cli.device:release_command", "End manual mode."),
    "reload": ("agent.cli.reload:reload_command", "Have the running agent read its configuration anew."),
    "outbox": ("agent.cli.device:outbox_command", "Show what waits for the hub."),
    "export": ("agent.cli.export:export_command", "Write the stored readings as CSV."),
    "hub": ("agent.cli.hub:hub_command", "Run a local IoT Hub."),
    "device": ("agent.cli.devices:device_command", "Create, show and delete the hub's devices."),
    "send": ("agent.cli.send:send_command", "Send a message to a device."),
    "feedback": ("agent.cli.send:feedback_command", "Show what became of messages to devices."),
    "monitor": ("agent.cli.monitor:monitor_command", "Show what devices send."),
    "method": ("agent.cli.twins:method_command", "Call a direct method of a device."),
    "twin": ("agent.cli.twins:twin_command", "Show, set and watch a device's twin."),
    "completion": ("agent.cli.completion:completion_command", "Complete these words in your shell."),
}
_DEBUG = "--debug"


class _LazyGroup(click.Group):
    """Knows every command by name and one line; imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        from hw.settings import did_you_mean

        if cmd_name not in _COMMANDS:
            ctx.fail(f"no such command {cmd_name!r}{did_you_mean(cmd_name, _COMMANDS)}")
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(n, help=line) for n, (_, line) in _COMMANDS.items() if n.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  (click's)
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])


@click.group(
    cls=_LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option(_DEBUG, is_flag=True, help="Show tracebacks instead of one-line errors (with any command).")
@click.version_option(__version__, prog_name="masthead")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:  # noqa: ARG001  (``main`` looks for it before anything can fail)
    """masthead measures the wind, tells Azure IoT Hub, and obeys commands without doing harm.

    \b
    Example:
      masthead demo
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        ctx.exit(2)


def main() -> None:
    """The console script: 0 done, 1 failed, 2 wrong usage, 130 interrupted; errors are one line."""
    arguments = [argument for argument in sys.argv[1:] if argument != _DEBUG]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        code = cli(arguments, prog_name="masthead", standalone_mode=False)
    except click.Abort:
        click.echo("interrupted", err=True)
        code = 130
    except click.ClickException as error:
        if debug and error.__cause__ is not None:
            raise error.__cause__ from None
        error.show()
        code = error.exit_code
    except Exception as error:
        if debug:
            raise
        click.echo(f"Error: {type(error).__name__}: {error}  (--debug shows where)", err=True)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)
