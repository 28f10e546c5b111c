"""`stoker serve`: run the server until it is told to stop."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from stoker import memory
from stoker.cli.exits import ExitStatus, report
from stoker.errors import InvalidInput

RUNTIMES: Final = ("auto", "docker", "kubernetes", "process", "none")

DATABASE_HELP = (
    "A PostgreSQL database, postgresql://USER:PASSWORD@HOST:PORT/NAME; empty: a SQLite file in the data directory. "
    "Better in the environment (STOKER_DATABASE): others on this machine can read command lines."
)


@click.command()
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where the database, workers and logs live.")
@click.option(
    "--config",
    "file",
    envvar="STOKER_CONFIG",
    show_envvar=True,
    type=click.Path(path_type=Path),
    help="A TOML file with settings.",
)
@click.option("--database", metavar="URL", help=DATABASE_HELP)
@click.option("--processes", type=click.IntRange(1, 64), help="How many servers share the port; they need PostgreSQL.")
@click.option("--runtime", type=click.Choice(RUNTIMES), help="What runs workers.")
def serve(
    host: str | None,
    port: int | None,
    data_dir: Path | None,
    file: Path | None,
    database: str | None,
    processes: int | None,
    runtime: str | None,
) -> int:
    """Run the server until it is told to stop (Ctrl-C or SIGTERM).

    Settings come from here, else from the environment (STOKER_HOST, STOKER_PORT, …), else from the file, else they have
    their defaults. All of them: docs/reference/settings.md.
    """
    from stoker.config import load  # here, because no other command should wait for its import

    overrides = {
        "host": host,
        "port": port,
        "data_dir": data_dir,
        "database": database,
        "processes": processes,
        "runtime": runtime,
    }
    try:
        settings = load(file, overrides=overrides)
    except InvalidInput as error:
        report(error, as_json=False)
        return ExitStatus.USAGE
    with memory.sparing():
        if settings.processes > 1:
            from stoker.processes import serve as serve_until_stopped
        else:
            from stoker.server import serve as serve_until_stopped  # here: no other command should wait for its import
    return serve_until_stopped(settings)
