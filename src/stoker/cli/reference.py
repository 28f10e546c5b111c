"""Writes `docs/reference/cli.md` from the commands themselves: `python -m stoker.cli.reference > docs/reference/cli.md`.

A test compares the file with this text, so that the page cannot fall behind.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from stoker.cli import program
from stoker.cli.exits import ExitStatus

_TOP = """\
# The `stoker` command

<!-- Written by `python -m stoker.cli.reference > docs/reference/cli.md`; a test fails when it is stale. -->

Every command but `serve` talks to a running server through the management API and needs an API key. Say once where the
server is and who you are:

```sh
export STOKER_URL=http://127.0.0.1:8700   # the default
export STOKER_API_KEY=sk_…                # `stoker serve` prints an admin key on its first start
```

The answer goes to standard output; remarks, progress and errors go to standard error. With `--json` the answer is the
API's JSON, and an error is its error JSON: `{"error", "code", "field", "next_step"}`.

Options of `stoker` itself stand before the command: `stoker --url http://box:8700 endpoint ls`.
"""


def text() -> str:
    """The whole page."""
    return "\n".join([_TOP, *_exit_statuses(), *_command(click.Context(program, info_name="stoker"), program)])


def _exit_statuses() -> Iterator[str]:
    yield "## Exit statuses\n"
    yield "| Status | Meaning |\n| --- | --- |"
    yield from (f"| {status.value} | {status.meaning} |" for status in ExitStatus)
    yield ""


def _command(context: click.Context, command: click.Command) -> Iterator[str]:
    """A command and those below it."""
    yield f"{'##' if isinstance(command, click.Group) else '###'} `{context.command_path}`\n"
    yield f"{inspect.cleandoc(command.help or '')}\n"
    yield f"```\n{context.command_path} {' '.join(command.collect_usage_pieces(context))}\n```\n"
    yield from _options(context, command)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None, "it was just listed"
            yield from _command(click.Context(below, info_name=name, parent=context), below)


def _options(context: click.Context, command: click.Command) -> Iterator[str]:
    records = [record for option in command.get_params(context) if (record := option.get_help_record(context))]
    told = [record for record in records if "--help" not in record[0]]
    if told:
        yield "| Option | Meaning |\n| --- | --- |"
        yield from (
            f"| `{names.replace('|', chr(92) + '|')}` | {help.replace('|', '&#124;')} |" for names, help in told
        )
        yield ""


if __name__ == "__main__":
    print(text(), end="")
