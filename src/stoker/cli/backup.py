"""`stoker backup` and `stoker restore`: copies of the server's database, on its machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stoker.cli import output
from stoker.cli.offline import offline, settings_options

if TYPE_CHECKING:
    from stoker.config import Settings


@click.command()
@click.argument("copy", metavar="FILE", type=click.Path(path_type=Path))
@settings_options
def backup(copy: Path, **where: Any) -> int:
    """Write the SQLite database to FILE, while the server runs.

    FILE must not exist; it gets its name when it is whole and checked. The key for secrets is not in it: keep a copy of
    secrets.key in another place.
    """

    def write(settings: Settings) -> None:
        from stoker.backups import backup as write_to  # here, because no other command should wait for its import

        size = write_to(settings, copy)
        output.say(f"{copy}: {size} bytes, whole and checked; keep the key for secrets in another place")

    return offline(write, **where)


@click.command()
@click.argument("copy", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Put the database that is there aside.")
@settings_options
def restore(copy: Path, *, replace: bool, **where: Any) -> int:
    """Make the backup FILE the database, while no server runs.

    The backup is checked, brought to the schema of this Stoker, and the key for its secrets must be there, before anything is
    changed. Jobs are as they were at the time of the backup: those that have run since run again.
    """

    def bring_back(settings: Settings) -> None:
        from stoker.backups import restore as bring  # here, because no other command should wait for its import

        restored = bring(settings, copy, replace=replace)
        output.say(f"{copy} is the database of {settings.data_dir} now")
        if restored.aside is not None:
            output.say(f"the one before it is {restored.aside}")

    return offline(bring_back, **where)


__all__ = ["backup", "restore"]
