"""``masthead completion``: what a shell needs to complete masthead's words."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

_SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command("completion")
@click.argument("shell", type=click.Choice(list(_SHELLS)))
def completion_command(shell: str) -> None:
    """Print the script that completes masthead's commands and options in SHELL.

    \b
    For good:
      bash   eval "$(masthead completion bash)" in ~/.bashrc
      zsh    eval "$(masthead completion zsh)" in ~/.zshrc
      fish   masthead completion fish > ~/.config/fish/completions/masthead.fish

    \b
    Example:
      masthead completion bash
    """
    root = click.get_current_context().find_root().command
    script = _SHELLS[shell](root, {}, "masthead", "_MASTHEAD_COMPLETE")
    click.echo(script.source_template % script.source_vars())  # source() asks bash for its version first
