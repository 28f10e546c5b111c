"""Commands that work on the database itself, with the settings of the server: for whoever is on its machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stoker.cli.exits import ExitStatus, report
from stoker.cli.output import Command
from stoker.cli.serve import DATABASE_HELP
from stoker.errors import InvalidInput

if TYPE_CHECKING:
    from stoker.config import Settings


def settings_options(command: Command) -> Command:
    """Give the command the options that say where the database is."""
    options = (
        click.option("--data-dir", type=click.Path(path_type=Path), help="The data directory of the server."),
        click.option(
            "--config",
            "file",
            envvar="STOKER_CONFIG",
            show_envvar=True,
            type=click.Path(path_type=Path),
            help="A TOML file with settings.",
        ),
        click.option("--database", metavar="URL", help=DATABASE_HELP),
    )
    for option in reversed(options):
        command = option(command)
    return command


def offline(work: Callable[[Settings], None], **where: Any) -> int:
    """Carry out `work` with the settings that the options lead to; the exit status. Raises `StokerError`."""
    from stoker.config import load  # here, because no other command should wait for its import

    try:
        settings = load(where.pop("file"), overrides=where)
    except InvalidInput as error:
        report(error, as_json=False)
        return ExitStatus.USAGE
    work(settings)
    return ExitStatus.OK


__all__ = ["offline", "settings_options"]
