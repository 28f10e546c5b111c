"""`stoker migrate`: bring the database to the schema of this Stoker, without serving.

`stoker serve` does it too. This is for those who do it before, with another user of the database or in a step of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from stoker.cli.offline import offline, settings_options

if TYPE_CHECKING:
    from stoker.config import Settings


@click.command()
@settings_options
def migrate(**where: Any) -> int:
    """Bring the database to the schema of this Stoker.

    Servers do it when they start; of several that start together one does it and the others wait. A database that a newer
    Stoker has used is refused.
    """

    def bring(settings: Settings) -> None:
        from stoker.databases import (
            migrate as bring_up_to_date,  # here, because no other command should wait for its import
        )

        bring_up_to_date(settings)
        click.echo("The database is up to date.")

    return offline(bring, **where)
