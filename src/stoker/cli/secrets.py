"""`stoker secrets`: the key that seals secrets in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from stoker.amounts import counted
from stoker.cli import output
from stoker.cli.offline import offline, settings_options

if TYPE_CHECKING:
    from stoker.config import Settings


@click.group()
def secrets() -> None:
    """Look after the key that seals secrets in the database."""


@secrets.command()
@settings_options
def rotate(**where: Any) -> int:
    """Seal every secret with another key, on the server's machine.

    With a key file: a new key is made and put into it, and the one before it stays behind it for servers that run, which look
    again every 30 seconds. Other servers on the database need the same file at once. With the setting secrets_key: the key
    in it that does not seal yet is used. A rotation that was cut off is repeated.
    """

    def turn(settings: Settings) -> None:
        from stoker.databases import rotate_secrets  # here, because no other command should wait for its import

        rotation = rotate_secrets(settings)
        output.say(f"the key {rotation.key} seals from now on, {counted(rotation.resealed, 'row')} sealed anew")

    return offline(turn, **where)


__all__ = ["secrets"]
