"""`stoker budget`: what the team, or one of its endpoints, may cost in a day or a month."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from stoker.cli import output
from stoker.cli.connection import with_client
from stoker.client import Client


@click.group()
def budget() -> None:
    """Say what the team, or one of its endpoints, may cost."""


@budget.command("ls")
@output.json_option
@with_client
def list_budgets(client: Client) -> None:
    """List the budgets of the team and of its endpoints, with what is spent."""
    output.answer(client.ask("GET", "budgets"), _show_list)


@budget.command("set")
@click.argument("endpoint", required=False)
@click.option(
    "--period", type=click.Choice(["day", "month"]), default="month", show_default=True, help="For how long, in UTC."
)
@click.option("--warn", metavar="AMOUNT", type=float, help="From here on the endpoint's why warns.")
@click.option("--queue", metavar="AMOUNT", type=float, help="From here on nothing new starts: jobs wait.")
@click.option("--refuse", metavar="AMOUNT", type=float, help="From here on new jobs are refused too.")
@output.json_option
@with_client
def set_budget(
    client: Client, endpoint: str | None, period: str, warn: float | None, queue: float | None, refuse: float | None
) -> None:
    """Set the budget of ENDPOINT, or of the whole team, in place of the one that there was."""
    body = {"period": period, "warn": warn, "queue": queue, "refuse": refuse}
    output.answer(client.ask("PUT", *_path(endpoint), body=body), _show)


@budget.command("rm")
@click.argument("endpoint", required=False)
@output.json_option
@with_client
def remove_budget(client: Client, endpoint: str | None) -> None:
    """Take away the budget of ENDPOINT, or of the whole team."""
    output.answer(client.ask("DELETE", *_path(endpoint)), lambda _: output.say("the budget is gone"))


def _path(endpoint: str | None) -> tuple[str, ...]:
    return ("budget",) if endpoint is None else ("endpoints", endpoint, "budget")


def _show(found: Mapping[str, Any]) -> None:
    _show_list({"budgets": [found]})


def _show_list(found: Mapping[str, Any]) -> None:
    heads = ("OF", "PERIOD", "SPENT", "WARN", "QUEUE", "REFUSE", "LEVEL", "UNTIL")
    output.table(heads, _rows(found), nothing="there is no budget: stoker budget set --queue AMOUNT")


def _rows(found: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
    for each in found["budgets"]:
        of = "the team" if each["endpoint"] is None else each["endpoint"]["name"]
        amounts = ("" if each[name] is None else f"{each[name]:g}" for name in ("warn", "queue", "refuse"))
        yield of, each["period"], f"{each['spent']:.4f}", *amounts, each["level"], output.moment(each["until_ms"])


__all__ = ["budget"]
