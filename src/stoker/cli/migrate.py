"""`stoker migrate`: bring the database to the schema of this Stoker, without serving.

`stoker serve` does it too. This is for those who do it before, with another user of the database or in a step of its own.
"""

from __future__ import annotations

from pathlib import Path

import click

from stoker.cli.exits import ExitStatus, report
from stoker.cli.serve import DATABASE_HELP
from stoker.config import load
from stoker.errors import InvalidInput


@click.command()
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where the SQLite file lives.")
@click.option(
    "--config",
    "file",
    envvar="STOKER_CONFIG",
    show_envvar=True,
    type=click.Path(path_type=Path),
    help="A TOML file with settings.",
)
@click.option("--database", metavar="URL", help=DATABASE_HELP)
def migrate(data_dir: Path | None, file: Path | None, database: str | None) -> int:
    """Bring the database to the schema of this Stoker.

    Servers do it when they start; of several that start together one does it and the others wait. A database that a newer
    Stoker has used is refused.
    """
    try:
        settings = load(file, overrides={"data_dir": data_dir, "database": database})
    except InvalidInput as error:
        report(error, as_json=False)
        return ExitStatus.USAGE
    from stoker.server import migrate as bring_up_to_date  # here, because no other command should wait for its import

    bring_up_to_date(settings)
    click.echo("The database is up to date.")
    return ExitStatus.OK
