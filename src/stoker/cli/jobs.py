"""`stoker job`, continued: many jobs at once, found by what is known of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import click
from click.decorators import FC

from stoker.cli import output
from stoker.cli.capsule import job
from stoker.cli.connection import with_client
from stoker.cli.job import show_list
from stoker.client import Client
from stoker.client.shapes import JobJson, JobsJson
from stoker.job import SHOWN, JobReason

PAGE: Final = 1_000

_SECONDS = click.FloatRange(min=0)
_SELECTION: Final = (
    click.option("--state", type=click.Choice([state.value for state in SHOWN]), help="Only jobs in this state."),
    click.option(
        "--reason",
        metavar="REASON",
        type=click.Choice([reason.value for reason in JobReason]),
        help="Only those that are as they are for this reason, such as worker_lost.",
    ),
    click.option("--worker", metavar="ID", help="Only those whose latest attempt this worker had."),
    click.option("--release", metavar="N", type=click.IntRange(min=1), help="Only those whose worker ran release N."),
    click.option("--key", metavar="ID", help="Only those that this API key submitted."),
    click.option("--ran", "ran_s", metavar="SECONDS", type=_SECONDS, help="Only those that ran so long or longer."),
    click.option(
        "--ran-below", "ran_below_s", metavar="SECONDS", type=_SECONDS, help="Only those that ran less than that."
    ),
    click.option(
        "--waited", "waited_s", metavar="SECONDS", type=_SECONDS, help="Only those that waited so long or longer."
    ),
    click.option(
        "--waited-below",
        "waited_below_s",
        metavar="SECONDS",
        type=_SECONDS,
        help="Only those that waited less than that.",
    ),
    click.option(
        "--ended-since",
        "ended_since_ms",
        metavar="TIME",
        callback=output.read_moment,
        help="Only those that ended then or later, such as 1h.",
    ),
    click.option(
        "--ended-before",
        "ended_before_ms",
        metavar="TIME",
        callback=output.read_moment,
        help="Only those that ended before that.",
    ),
    click.option("--text", help="Only those with this in their id, or in the error of those that failed."),
)

_FIELDS: Final = {
    "ran_s": "ran_least_ms",
    "ran_below_s": "ran_below_ms",
    "waited_s": "waited_least_ms",
    "waited_below_s": "waited_below_ms",
}


def selection(command: FC) -> FC:
    """The options that choose jobs."""
    for option in reversed(_SELECTION):
        command = option(command)
    return command


def wanted_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The API's fields of the options that were given."""
    wanted = {name: value for name, value in given.items() if value is not None}
    for name, field in _FIELDS.items():
        if name in wanted:
            wanted[field] = round(wanted.pop(name) * 1000)
    return wanted


@job.command("ls")
@click.argument("endpoint")
@selection
@click.option(
    "--limit", metavar="N", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many."
)
@click.option("--all", "everything", is_flag=True, help="All of them: with --json this is the way to export jobs.")
@click.option("--view", metavar="NAME", help="Those that a view of the team chooses; other options choose among them.")
@output.json_option
@with_client
def list_jobs(client: Client, /, endpoint: str, limit: int, everything: bool, view: str | None, **given: Any) -> None:
    """List the jobs of ENDPOINT, newest first."""
    wanted = ({} if view is None else client.ask("GET", "views", view)["filters"]) | wanted_of(given)
    jobs: list[JobJson] = []
    before: str | None = None
    while everything or len(jobs) < limit:
        most = PAGE if everything else min(PAGE, limit - len(jobs))
        page = client.jobs(endpoint, **wanted, limit=most, before=before)
        jobs += page["jobs"]
        before = page.get("next")
        if before is None:
            break
    output.answer(JobsJson(jobs=jobs, next=before), show_list)


@job.command()
@click.argument("endpoint")
@selection
@click.option("--yes", is_flag=True, help="Do not ask.")
@output.json_option
@with_client
def cancel_all(client: Client, /, endpoint: str, yes: bool, **given: Any) -> None:
    """Cancel the jobs of ENDPOINT that wait or run, those that the options choose."""
    if output.agreed(yes, f"Cancel these jobs of '{endpoint}'?"):
        _change(client, endpoint, "cancel", "cancelled", given)


@job.command()
@click.argument("endpoint")
@selection
@click.option("--yes", is_flag=True, help="Do not ask.")
@output.json_option
@with_client
def retry_all(client: Client, /, endpoint: str, yes: bool, **given: Any) -> None:
    """Queue the jobs of ENDPOINT again that failed or timed out, those that the options choose, under their ids."""
    if output.agreed(yes, f"Queue these jobs of '{endpoint}' again?"):
        _change(client, endpoint, "retry", "queued again", given)


def _change(client: Client, endpoint: str, what: str, done: str, given: Mapping[str, Any]) -> None:
    wanted = wanted_of(given)
    changed: list[str] = []
    failed: list[dict[str, str]] = []
    before: str | None = None
    while True:
        page = client.ask("POST", "endpoints", endpoint, "jobs", what, body=wanted | {"before": before})
        changed += page["jobs"]
        failed += page["failed"]
        before = page["next"]
        if before is None:
            break
    output.answer({"jobs": changed, "failed": failed}, lambda all_: _show(all_, done))


def _show(changed: Mapping[str, Any], done: str) -> None:
    output.say(f"{len(changed['jobs'])} {done}")
    for each in changed["failed"]:
        output.remark(f"{each['id']}: {each['error']}")


__all__ = ["job", "selection", "wanted_of"]
