"""`stoker usage`: what workers and volumes were used for, and what that cost."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

import click

from stoker.cli import output
from stoker.cli.connection import with_client
from stoker.client import Client
from stoker.client.shapes import UsageJson, UsageLineJson

PARTS = ("endpoint", "release", "specification", "use", "key", "volume")


@click.command()
@click.argument("endpoint", required=False)
@click.option("--by", type=click.Choice(["hour", "day"]), default="day", show_default=True, help="What is summed up.")
@click.option(
    "--part",
    "parts",
    multiple=True,
    type=click.Choice(PARTS),
    help="Tell rows apart by this; may be given several times. Without: by endpoint, or by use if ENDPOINT is named.",
)
@output.since_option
@click.option("--csv", "as_csv", is_flag=True, help="Print a table for spreadsheets.")
@output.json_option
@with_client
def usage(client: Client, endpoint: str | None, by: str, parts: tuple[str, ...], since_ms: int, as_csv: bool) -> None:
    """Show what workers and volumes were used for, and what that cost: of ENDPOINT, or of the whole team.

    Without --since the last 30 days, by hour the last 24 hours. Days are those of UTC.
    """
    told = parts or ("endpoint" if endpoint is None else "use",)
    params: Any = {"by": by, "part": list(told), "endpoint": endpoint, "from_ms": since_ms or None}
    if as_csv:
        sys.stdout.write(client.usage_as_csv(params))
    else:
        output.answer(cast(UsageJson, client.ask("GET", "usage", params=params)), _show)


def _show(found: UsageJson) -> None:
    told = [name for name in PARTS if found["rows"] and name in found["rows"][0]]
    heads = ("FROM", *(name.upper() for name in told), "RUNNING", "IDLE", "GIB HOURS", "COST")
    output.table(heads, _rows(found, told), nothing="nothing was used")
    total = found["total"]
    if found["rows"]:
        running, idle = output.span(int(total["running_s"] * 1000)), output.span(int(total["idle_s"] * 1000))
        output.remark(f"all together: {running} running, {idle} idle, cost {output.amount(total['cost'])}")


def _rows(found: UsageJson, told: list[str]) -> Iterator[tuple[object, ...]]:
    form = "%Y-%m-%d" if found["by"] == "day" else "%Y-%m-%d %H:%M"
    for each in found["rows"]:
        begins = datetime.fromtimestamp(each["at_ms"] / 1000, UTC).strftime(form)
        spans = (output.span(int(each["running_s"] * 1000)), output.span(int(each["idle_s"] * 1000)))
        yield (
            begins,
            *(_word(each, name) for name in told),
            *spans,
            f"{each['storage_gib_h']:g}",
            output.amount(each["cost"]),
        )


def _word(each: UsageLineJson, name: str) -> object:
    value = cast(dict[str, Any], each)[name]
    return value["name"] if isinstance(value, dict) else value


__all__ = ["usage"]
