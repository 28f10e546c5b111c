"""`stoker budget`: what the team, or one of its endpoints, may cost in a day or a month."""

from __future__ import annotations

from collections.abc import Iterator

import click

from stoker.cli import output
from stoker.cli.connection import with_client
from stoker.client import Client
from stoker.client.shapes import BudgetJson, BudgetsJson

_team_option = click.option("--team", metavar="TEAM", help="Another team, by id or name; for the operator.")


@click.group()
def budget() -> None:
    """Say what the team, or one of its endpoints, may cost."""


@budget.command("ls")
@_team_option
@output.json_option
@with_client
def list_budgets(client: Client, team: str | None) -> None:
    """List the budgets of the team and of its endpoints, with what is spent."""
    output.answer(client.budgets(team=team), _show_list)


@budget.command("set")
@click.argument("endpoint", required=False)
@click.option(
    "--period", type=click.Choice(["day", "month"]), default="month", show_default=True, help="For how long, in UTC."
)
@click.option("--warn", metavar="AMOUNT", type=float, help="From here on the endpoint's why warns.")
@click.option("--queue", metavar="AMOUNT", type=float, help="From here on nothing new starts: jobs wait.")
@click.option("--refuse", metavar="AMOUNT", type=float, help="From here on new jobs are refused too.")
@_team_option
@output.json_option
@with_client
def set_budget(client: Client, /, endpoint: str | None, team: str | None, period: str, **amounts: float | None) -> None:
    """Set the budget of ENDPOINT, or of a whole team, in place of the one that there was.

    An admin sets those of the team's endpoints; that of a whole team is the operator's to set, an admin of the first team.
    """
    _check(endpoint, team)
    output.answer(client.set_budget(endpoint, {"period": period, **amounts}, team=team), _show)


@budget.command("rm")
@click.argument("endpoint", required=False)
@_team_option
@output.json_option
@with_client
def remove_budget(client: Client, endpoint: str | None, team: str | None) -> None:
    """Take away the budget of ENDPOINT, or of a whole team, which is the operator's to do."""
    _check(endpoint, team)
    output.answer(client.remove_budget(endpoint, team=team), lambda _: output.say("the budget is gone"))


def _check(endpoint: str | None, team: str | None) -> None:
    if endpoint is not None and team is not None:
        raise click.UsageError("name an endpoint or a team: the budgets of endpoints are for their own team to set")


def _show(found: BudgetJson) -> None:
    _show_list({"budgets": [found]})


def _show_list(found: BudgetsJson) -> None:
    heads = ("OF", "PERIOD", "SPENT", "WARN", "QUEUE", "REFUSE", "LEVEL", "UNTIL")
    output.table(heads, _rows(found), nothing="there is no budget: stoker budget set --queue AMOUNT")


def _rows(found: BudgetsJson) -> Iterator[tuple[object, ...]]:
    for each in found["budgets"]:
        of = "the team" if each["endpoint"] is None else each["endpoint"]["name"]
        amounts = ("" if each[name] is None else f"{each[name]:g}" for name in ("warn", "queue", "refuse"))
        yield of, each["period"], f"{each['spent']:.4f}", *amounts, each["level"], output.moment(each["until_ms"])


__all__ = ["budget"]
