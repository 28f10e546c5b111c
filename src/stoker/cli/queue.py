"""`stoker queue`: the jobs of an endpoint that wait."""

from __future__ import annotations

import click

from stoker.cli import output
from stoker.cli.connection import with_client
from stoker.client import Client
from stoker.client.shapes import PurgedJson


@click.group()
def queue() -> None:
    """Empty the queue of an endpoint."""


@queue.command()
@click.argument("endpoint")
@click.option("--yes", is_flag=True, help="Do not ask.")
@output.json_option
@with_client
def purge(client: Client, endpoint: str, yes: bool) -> None:
    """Cancel every queued job of ENDPOINT; running jobs go on."""
    if output.agreed(yes, f"Cancel every queued job of '{endpoint}'?"):
        output.answer(client.purge_queue(endpoint), _show)


def _show(purged: PurgedJson) -> None:
    count = purged["removed"]
    output.say(f"removed {count} queued {'job' if count == 1 else 'jobs'}")
