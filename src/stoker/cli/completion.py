"""`stoker completion`: what a shell needs to complete words of the command line."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from stoker.cli import output


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that lets a shell complete commands and options.

    In bash and zsh: eval "$(stoker completion bash)"; in fish: stoker completion fish | source.
    """
    kind = get_completion_class(shell)
    assert kind is not None, "click knows the shells that it offers"
    output.say(kind(context.find_root().command, {}, "stoker", "_STOKER_COMPLETE").source())


__all__ = ["completion"]
