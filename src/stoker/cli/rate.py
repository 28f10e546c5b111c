"""`stoker rate`: how much may be asked of an endpoint, and by a key."""

from __future__ import annotations

import click

from stoker.cli import output
from stoker.cli.connection import with_client
from stoker.client import Client
from stoker.client.shapes import RatedJson


def _rate(_context: click.Context, _option: click.Parameter, given: str) -> int | None:
    """A number of requests, or None for `default`."""
    if given == "default":
        return None
    if not given.isascii() or not given.isdecimal():
        raise click.BadParameter(f"'{given}' is neither a number of requests nor 'default'")
    return int(given)


@click.group()
def rate() -> None:
    """Say how much may be asked of an endpoint, or by a key: requests to /run in ten seconds, others in proportion."""


@rate.command("endpoint")
@click.argument("name")
@click.argument("rate", callback=_rate)
@click.option("--team", metavar="TEAM", help="Whose endpoint it is, by id or name; yours if left out.")
@output.json_option
@with_client
def endpoint_rate(client: Client, name: str, rate: int | None, team: str | None) -> None:
    """Set how much each key may ask of the endpoint NAME: RATE, or `default` for what the server allows. For the operator."""
    output.answer(client.set_endpoint_rate(name, rate, team=team), _show)


@rate.command("key")
@click.argument("key_id", metavar="ID")
@click.argument("rate", callback=_rate)
@output.json_option
@with_client
def key_rate(client: Client, key_id: str, rate: int | None) -> None:
    """Let a key ask less of each endpoint than the endpoint allows: RATE, or `default` for what that is."""
    output.answer(client.set_key_rate(key_id, rate), _show)


def _show(found: RatedJson) -> None:
    told = "no rate of its own" if found["rate"] is None else f"{found['rate']} requests to /run in 10 s"
    output.say(f"{found['name']} ({found['id']}): {told}")
