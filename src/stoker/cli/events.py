"""`stoker events`: what happens to endpoints, workers and jobs."""

from __future__ import annotations

from typing import Final

import click

from stoker.cli import output
from stoker.cli.connection import with_client
from stoker.client import Client, Params
from stoker.client.shapes import EventJson

WAIT_S: Final = 30
"""How long one request waits for the next event."""


@click.command()
@click.argument("endpoint", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until you interrupt it.")
@click.option("--job", metavar="ID", help="Only events of this job.")
@click.option("--worker", metavar="ID", help="Only events of this worker, and of the jobs that it had.")
@click.option(
    "--about",
    multiple=True,
    type=click.Choice(["endpoint", "job", "worker"]),
    help="Only events about these; may be given several times.",
)
@click.option("--kind", metavar="KIND", multiple=True, help="Only events of these kinds, such as finished; likewise.")
@click.option(
    "--after",
    metavar="ID",
    help="Begin after this event: everything that is kept, or with --follow what comes from now on.",
)
@output.since_option
@click.option("--until", "until_ms", metavar="TIME", callback=output.read_moment, help="Only what is older; likewise.")
@output.json_option
@with_client
def events(
    client: Client,
    endpoint: str | None,
    follow: bool,
    job: str | None,
    worker: str | None,
    about: tuple[str, ...],
    kind: tuple[str, ...],
    after: str | None,
    since_ms: int,
    until_ms: int | None,
) -> None:
    """Print what happened to endpoints, workers and jobs: of all, or of ENDPOINT alone."""
    if follow and until_ms is not None:
        raise click.UsageError("--until has no place beside --follow, which goes on until you interrupt it")
    query: Params = {
        "endpoint": endpoint,
        "job": job,
        "worker": worker,
        "about": list(about),
        "kind": list(kind),
        "since_ms": since_ms or None,
        "until_ms": until_ms,
    }
    after = after or (None if follow or since_ms else "0")
    while True:
        page = client.events(query, after=after, wait_s=WAIT_S if follow else 0)
        for event in page["events"]:
            _print(event)
        after = page["next"]
        if not follow and not page["more"]:
            return


def _print(event: EventJson) -> None:
    """At once: somebody may be following."""
    if output.wants_json(click.get_current_context()):
        print(output.json_text(event), flush=True)
        return
    whose = event["endpoint"]["name"] or event["endpoint"]["id"]
    what = " ".join(filter(None, [event["about"], event["job"] or event["worker"]]))
    said = [output.words(event["kind"]), event["state"], output.words(event["reason"]), event["text"]]
    told = ", ".join(dict.fromkeys(word for word in said if word))
    print(output.one_line(f"{output.moment(event['at_ms'])}  {whose}  {what}  {told}"), flush=True)
