"""The command line: `stoker`, a client of the management API like any other (D13).

A group per noun, a file per group; `output` prints, `watch` follows a job, `connection` knows the server, `exits` says
how a command ends. Here they are put together, each loaded when it is asked for, so that neither `stoker --help` nor a server waits
for all of them; and here every error that we raise on purpose becomes a message and an exit status.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from stoker import __version__
from stoker.cli.connection import DEFAULT_URL, Connection, check_header, check_url
from stoker.cli.exits import ExitStatus, report, status_of
from stoker.cli.output import wants_json
from stoker.errors import InvalidInput, StokerError

_COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "about": ("server", "Show the version of the server, and the licences of what is shipped with it."),
    "audit": ("member", "Look at who configured what."),
    "backup": ("backup", "Write the SQLite database to FILE, while the server runs."),
    "budget": ("budget", "Say what the team, or one of its endpoints, may cost."),
    "chaos": ("chaos", "Run real load on servers of its own while faults strike."),
    "completion": ("completion", "Print a script that lets a shell complete commands and options."),
    "credential": ("credential", "Store names and passwords for registries of images."),
    "dead-letter": ("dead_letter", "Look at jobs that ended for the platform's reasons, and run them again."),
    "doctor": ("doctor", "Check engine, GPUs, disk, port, clock and firewall of this machine."),
    "endpoint": ("release", "Create, change and look at endpoints."),
    "events": ("events", "Print what happened to endpoints, workers and jobs."),
    "image": ("image", "Fetch images ahead of their workers, list and remove them."),
    "job": ("jobs", "Submit jobs and follow them."),
    "key": ("key", "Make, rotate and revoke API keys."),
    "member": ("member", "Add, change and remove members of the team."),
    "migrate": ("migrate", "Bring the database to the schema of this Stoker."),
    "queue": ("queue", "Empty the queue of an endpoint."),
    "rate": ("rate", "Say how much may be asked of an endpoint, or by a key."),
    "restore": ("backup", "Make the backup FILE the database, while no server runs."),
    "secrets": ("secrets", "Look after the key that seals secrets in the database."),
    "serve": ("serve", "Run the server until it is told to stop."),
    "settings": ("server", "List settings of the running server, and where each came from."),
    "specification": ("specification", "Look at what workers can be placed in."),
    "team": ("member", "Look at the team, rename it, make another one."),
    "template": ("template", "Keep fields of endpoints under a name, to make endpoints from."),
    "usage": ("usage", "Show what workers and volumes were used for, and what that cost."),
    "view": ("view", "Keep filters of jobs under a name, for the whole team."),
    "volume": ("volume", "Keep files that outlive workers."),
    "webhook": ("webhook", "See what webhooks were told, and sign it."),
    "worker": ("worker", "Look at workers and stop them."),
}
"""Each command: the module here that has it, and how its own help begins."""


class Program(click.Group):
    """A group that loads a command when it is asked for, and ends with our exit statuses."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, from its module; None if there is none."""
        if cmd_name not in _COMMANDS:
            return None
        module, _ = _COMMANDS[cmd_name]
        found = getattr(importlib.import_module(f"stoker.cli.{module}"), cmd_name.replace("-", "_"))
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What the help says of the commands, which it does not load."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, says) for name, (_, says) in _COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Errors are told on standard error and leave with their status."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # here, where a closed pipe can still be told from success
        except StokerError as error:
            report(error, as_json=wants_json(ctx))
            ctx.exit(status_of(error))
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush when Python ends
            ctx.exit(ExitStatus.PIPE_CLOSED)
        return result


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="stoker", message="%(prog)s %(version)s")
@click.option(
    "--url",
    envvar="STOKER_URL",
    default=DEFAULT_URL,
    show_default=True,
    show_envvar=True,
    callback=check_url,
    help="Where the server is.",
)
@click.option(
    "--api-key",
    envvar="STOKER_API_KEY",
    show_envvar=True,
    callback=check_header,
    help="The API key. Better in the environment: others on this machine can read command lines.",
)
@click.pass_context
def program(context: click.Context, url: str, api_key: str | None) -> None:
    """Async serverless GPU endpoints on machines you own."""
    context.obj = Connection(url=url, api_key=api_key)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line, that of the process by default; the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # no terminal is too old for an error message
    try:
        result = program.main(args=arguments, prog_name="stoker", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return ExitStatus.USAGE
    except click.ClickException as error:
        report(_misuse(error), as_json=wants_json(getattr(error, "ctx", None)))
        return ExitStatus.USAGE
    except click.Abort:
        return ExitStatus.INTERRUPTED
    return int(result or ExitStatus.OK)


def _misuse(error: click.ClickException) -> InvalidInput:
    """What click says about a command line, as an error like the server's."""
    context = getattr(error, "ctx", None)
    parameter = getattr(error, "param", None)
    return InvalidInput(
        error.format_message(),
        code="usage",
        field=parameter.name if isinstance(parameter, click.Parameter) else None,
        next_step=f"{context.command_path} --help" if isinstance(context, click.Context) else None,
    )


__all__ = ["main", "program"]
