"""`stoker view`: filters of jobs that the team has given a name."""

from __future__ import annotations

from typing import Any

import click

from stoker.cli import output
from stoker.cli.connection import with_client
from stoker.cli.jobs import selection, wanted_of
from stoker.client import Client


@click.group()
def view() -> None:
    """Keep filters of jobs under a name, for the whole team."""


@view.command("ls")
@output.json_option
@with_client
def list_views(client: Client) -> None:
    """List views. Use one: stoker job ls ENDPOINT --view NAME."""
    output.answer(client.ask("GET", "views"), _show_list)


@view.command()
@click.argument("name")
@selection
@output.json_option
@with_client
def save(client: Client, /, name: str, **given: Any) -> None:
    """Keep what the options choose under NAME, in place of a view of that name."""
    saved = client.ask("POST", "views", body={"name": name, **wanted_of(given)})
    output.answer(saved, lambda it: output.say(f"saved {it['name']}"))


@view.command("rm")
@click.argument("name")
@output.json_option
@with_client
def remove(client: Client, name: str) -> None:
    """Forget the view NAME."""
    output.answer(client.ask("DELETE", "views", name), lambda it: output.say(f"removed {it['name']}"))


def _show_list(found: dict[str, Any]) -> None:
    rows = (
        (
            each["name"],
            ", ".join(f"{name} {value}" for name, value in each["filters"].items()),
            output.ago(each["updated_ms"]),
        )
        for each in found["views"]
    )
    output.table(
        ("NAME", "CHOOSES", "CHANGED"), rows, nothing="no views yet; make one: stoker view save NAME --state failed"
    )


__all__ = ["view"]
