"""`stoker dead-letter`: jobs that ended for the platform's reasons, not for their handler's."""

from __future__ import annotations

from typing import Any, cast

import click

from stoker.amounts import counted
from stoker.cli import output
from stoker.cli.connection import with_client
from stoker.cli.job import show_list
from stoker.client import Client
from stoker.client.shapes import JobsJson

_REASON = click.option(
    "--reason",
    "reasons",
    multiple=True,
    type=click.Choice(["retries_exhausted", "ttl_passed", "execution_limit"]),
    help="Only those that ended for this; may be given several times.",
)


@click.group("dead-letter")
def dead_letter() -> None:
    """Look at jobs that ended for the platform's reasons, and run them again."""


@dead_letter.command("ls")
@click.argument("endpoint")
@_REASON
@click.option(
    "--limit", metavar="N", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many."
)
@output.json_option
@with_client
def list_letters(client: Client, endpoint: str, reasons: tuple[str, ...], limit: int) -> None:
    """List the dead letters of ENDPOINT, those that ended last first."""
    params: Any = {"reason": list(reasons) or None, "limit": limit}
    found = client.ask("GET", "endpoints", endpoint, "dead-letters", params=params)
    output.answer(cast(JobsJson, found), show_list)


@dead_letter.command()
@click.argument("endpoint")
@_REASON
@output.json_option
@with_client
def retry(client: Client, endpoint: str, reasons: tuple[str, ...]) -> None:
    """Queue all dead letters of ENDPOINT again, under their ids."""
    retried: list[str] = []
    failed: list[dict[str, str]] = []
    more = True
    while more:
        done = client.ask("POST", "endpoints", endpoint, "dead-letters", "retry", body={"reasons": list(reasons)})
        retried += done["retried"]
        failed += done["failed"]
        more = done["more"]
    output.answer({"retried": retried, "failed": failed}, _show_retried)


def _show_retried(done: dict[str, Any]) -> None:
    output.say(f"retried: {counted(len(done['retried']), 'job')}")
    for each in done["failed"]:
        output.remark(output.one_line(f"{each['id']} does not: {each['error']}"))


__all__ = ["dead_letter"]
