"""`stoker worker`: look at workers and stop them."""

from __future__ import annotations

import click

from stoker.cli import output
from stoker.cli.connection import with_client
from stoker.client import Client
from stoker.client.shapes import WorkerJson, WorkersJson


@click.group()
def worker() -> None:
    """Look at workers and stop them."""


@worker.command("ls")
@click.argument("endpoint", required=False)
@output.json_option
@with_client
def list_workers(client: Client, endpoint: str | None) -> None:
    """List workers: all that are alive, or those of ENDPOINT with the last that went."""
    output.answer(client.workers(endpoint), _show_list)


@worker.command()
@click.argument("worker_id", metavar="ID")
@output.json_option
@with_client
def show(client: Client, worker_id: str) -> None:
    """Show a worker with the timeline of its life."""
    output.answer(client.worker(worker_id), _show)


@worker.command()
@click.argument("worker_id", metavar="ID")
@output.json_option
@with_client
def why(client: Client, worker_id: str) -> None:
    """Say what a worker does, how far its start is, or why it ended."""
    output.answer(client.why_worker(worker_id), output.explanation)


@worker.command()
@click.argument("worker_id", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on until the worker ends.")
@click.option(
    "--tail",
    metavar="N",
    type=click.IntRange(min=0),
    help="How many lines to start with; 100, or with --since all of that time.",
)
@output.since_option
@output.json_option
@with_client
def logs(client: Client, worker_id: str, follow: bool, tail: int | None, since_ms: int) -> None:
    """Print the output of a worker, also after it is gone."""
    lines = (100_000 if since_ms else 100) if tail is None else tail
    for line in client.worker_logs(worker_id, tail=lines, follow=follow, since_ms=since_ms):
        output.log_line(line)


@worker.command()
@click.argument("worker_id", metavar="ID")
@click.option("--now", is_flag=True, help="Do not let it finish: its jobs are queued again.")
@output.json_option
@with_client
def stop(client: Client, worker_id: str, now: bool) -> None:
    """Stop a worker once it has finished the jobs it holds."""
    output.answer(client.stop_worker(worker_id, now=now), lambda found: output.say(_sentence(found)))


# ── for people ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _show_list(found: WorkersJson) -> None:
    heads = ("ID", "ENDPOINT", "STATE", "JOBS", "GPUS", "STARTED", "SEEN", "WHY")
    rows = (
        (
            each["id"],
            each["endpoint"]["name"],
            each["state"],
            each["held"],
            " ".join(each["gpus"]),
            output.ago(each["launched_ms"]),
            output.ago(each["seen_ms"]),
            _why(each),
        )
        for each in found["workers"]
    )
    output.table(heads, rows, nothing="no workers")


def _why(each: WorkerJson) -> str:
    return each["detail"] or output.words(each["reason"])


def _sentence(each: WorkerJson) -> str:
    return output.one_line(f"worker {each['id']} is {each['state']}: {_why(each)}")


def _show(each: WorkerJson) -> None:
    cold_ms = None if each["ready_ms"] is None else each["ready_ms"] - (each["launched_ms"] or each["decided_ms"])
    output.facts(
        {
            "id": each["id"],
            "endpoint": each["endpoint"]["name"],
            "state": each["state"],
            "why": _why(each),
            "jobs": each["held"],
            "specification": each["specification"],
            "price": f"{each['price_per_hour']:g} per hour",
            "GPUs": " ".join(each["gpus"]),
            "release": each["release"],
            "SDK": each["sdk"],
            "decided": output.moment(each["decided_ms"]),
            "cold start": output.span(cold_ms),
            "seen": output.ago(each["seen_ms"]),
            "exit": each["exit"]["text"] if each["exit"] else None,
        }
    )
    output.say("")
    output.timeline(each.get("story", []))
