"""The command line: `stoker`, a client of the management API like any other (D13).

A group per noun, a file per group; `output` prints, `watch` follows a job, `connection` knows the server, `exits` says
how a command ends. Here they are put together, and here every error that we raise on purpose becomes a message and an
exit status.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from stoker import __version__
from stoker.cli import (
    backup,
    budget,
    chaos,
    completion,
    credential,
    dead_letter,
    doctor,
    events,
    image,
    jobs,
    key,
    member,
    migrate,
    queue,
    rate,
    release,
    secrets,
    serve,
    server,
    specification,
    template,
    usage,
    view,
    volume,
    webhook,
    worker,
)
from stoker.cli.connection import DEFAULT_URL, Connection, check_header, check_url
from stoker.cli.exits import ExitStatus, report, status_of
from stoker.cli.output import wants_json
from stoker.errors import InvalidInput, StokerError


class Program(click.Group):
    """A group that ends with our exit statuses."""

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


_COMMANDS: Final[tuple[click.Command, ...]] = (
    serve.serve,
    doctor.doctor,
    migrate.migrate,
    backup.backup,
    backup.restore,
    release.endpoint,  # with what `release` adds to it
    template.template,
    volume.volume,
    credential.credential,
    webhook.webhook,
    image.image,
    specification.specification,
    jobs.job,  # with what `capsule` and `jobs` add to it
    view.view,
    dead_letter.dead_letter,
    worker.worker,
    events.events,
    usage.usage,
    budget.budget,
    rate.rate,
    queue.queue,
    member.team,
    member.member,
    key.key,
    member.audit,
    secrets.secrets,
    server.settings,
    server.about,
    chaos.chaos,
    completion.completion,
)
for command in _COMMANDS:
    program.add_command(command)


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
