"""`stoker chaos`: see for yourself that no accepted job is lost, whatever is killed."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stoker.chaos.faults import Fault
from stoker.cli import output
from stoker.cli.exits import ExitStatus

if TYPE_CHECKING:
    from stoker.chaos.report import Report

SEED_MOST = 10_000


@click.command()
@click.option(
    "--duration",
    metavar="SECONDS",
    type=click.FloatRange(10),
    default=60.0,
    show_default=True,
    help="How long there is load.",
)
@click.option("--rate", type=click.FloatRange(0.1, 1_000), default=20.0, show_default=True, help="Jobs a second.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    type=click.Choice([fault.value for fault in Fault]),
    help="A fault that strikes; may be given again. All of them when none is given.",
)
@click.option(
    "--seed", type=click.IntRange(0), help="The same seed strikes at the same moments; one is drawn and shown without."
)
@click.option(
    "--database",
    metavar="WHICH",
    default="",
    help="`postgres`: one of its own; `sqlite`; or the URL of an empty PostgreSQL database. By default PostgreSQL where its programs are found.",
)
@click.option("--database-kill", metavar="COMMAND", default="", help="Kills the database of the URL.")
@click.option("--database-start", metavar="COMMAND", default="", help="Starts it again, and waits until it is there.")
@click.option(
    "--servers", type=click.IntRange(1, 16), default=2, show_default=True, help="Servers on PostgreSQL; SQLite has one."
)
@click.option("--workers", type=click.IntRange(1, 64), default=3, show_default=True, help="The most workers.")
@click.option(
    "--settle",
    metavar="SECONDS",
    type=click.FloatRange(1),
    default=180.0,
    show_default=True,
    help="How long everything may take to end after the last strike.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("chaos-output"),
    show_default=True,
    help="Where the report with all ids and the servers' logs go.",
)
@output.json_option
def chaos(faults: tuple[str, ...], seed: int | None, settle: float, out: Path, **more: Any) -> int:
    """Run real load on servers of its own while faults strike, and account for every job that was accepted.

    Nothing of yours is touched: servers, workers, database and disk are its own, for as long as it runs. Ends with 1 when a job was lost,
    the end of one was not told, or one was made twice.
    """
    from stoker.chaos.day import Order, spend  # here, because no other command should wait for its import

    chosen = random.randrange(SEED_MOST) if seed is None else seed  # nosec B311  # it chooses faults, no secret
    order = Order(
        duration_s=more["duration"],
        rate=more["rate"],
        faults=[fault for fault in Fault if not faults or fault in faults],
        seed=chosen,
        workers=more["workers"],
        servers=more["servers"],
        settle_s=settle,
        database=more["database"],
        database_kill=more["database_kill"],
        database_start=more["database_start"],
        logs=out,
    )
    report = asyncio.run(spend(order, output.remark))
    found = asdict(report) | {"good": report.good}
    (out / "report.json").write_text(json.dumps(found, indent=2), "utf-8")
    output.answer(found, lambda _: _show(report, out))
    return ExitStatus.OK if report.good else ExitStatus.JOB_NOT_COMPLETED


def _show(report: Report, out: Path) -> None:
    from stoker.chaos.report import summary

    output.facts(dict(summary(report)) | {"by ids": out / "report.json"})


__all__ = ["chaos"]
