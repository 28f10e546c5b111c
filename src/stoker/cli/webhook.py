"""`stoker webhook`: what receivers were told, telling it again, and the secret that signs it."""

from __future__ import annotations

from typing import Any

import click

from stoker.cli import output
from stoker.cli.connection import with_client
from stoker.client import Client


@click.group()
def webhook() -> None:
    """See what webhooks were told, and sign it."""


@webhook.command("ls")
@click.argument("job")
@output.json_option
@with_client
def list_notices(client: Client, job: str) -> None:
    """List what a job's webhook was told, with every try."""
    output.answer(client.ask("GET", "jobs", job, "notices"), _show_notices)


@webhook.command()
@click.argument("job")
@click.option("--notice", metavar="ID", help="Which one; the last one if left out.")
@output.json_option
@with_client
def redeliver(client: Client, job: str, notice: str | None) -> None:
    """Tell a job's webhook once more, whatever came of it before."""
    body = {} if notice is None else {"notice": notice}
    told = client.ask("POST", "jobs", job, "redeliver", body=body)
    output.answer(told, lambda it: output.say(f"{it['id']} is delivered again to {it['url']}"))


@webhook.command()
@output.json_option
@with_client
def secret(client: Client) -> None:
    """Say whether webhooks are signed, and since when."""
    output.answer(client.ask("GET", "webhooks", "secret"), _show_secret)


@webhook.command("rotate-secret")
@click.option(
    "--overlap",
    "overlap_s",
    type=click.IntRange(min=0),
    metavar="SECONDS",
    default=86_400,
    show_default=True,
    help="How long webhooks are signed with the old secret too.",
)
@output.json_option
@with_client
def rotate_secret(client: Client, overlap_s: int) -> None:
    """Make the secret that signs the team's webhooks, or another one."""
    made = client.ask("POST", "webhooks", "secret", "rotate", body={"overlap_s": overlap_s})
    output.answer(made, _show_made)


# ── for people ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _show_made(made: dict[str, Any]) -> None:
    output.say(made["secret"])
    output.remark("  shown only now: give it to the receivers, which verify with it")


def _show_secret(found: dict[str, Any]) -> None:
    if not found["signs"]:
        output.say("webhooks are not signed")
        output.remark("  next: stoker webhook rotate-secret")
    else:
        output.say(f"webhooks are signed with a secret made {output.ago(found['made_ms'])}")


def _show_notices(found: dict[str, Any]) -> None:
    heads = ("NOTICE", "JOB", "STATE", "TRY", "ANSWER", "MS", "WHAT WENT WRONG")
    rows = [
        (each["id"], each["job_state"], each["state"], output.ago(tried["at_ms"]), *_answer(tried))
        for each in found["notices"]
        for tried in each["tries"] or [{"at_ms": None, "status": None, "duration_ms": None, "error": "not tried yet"}]
    ]
    output.table(heads, rows, nothing="its webhook was told nothing: it has none, or the job has not ended")


def _answer(tried: dict[str, Any]) -> tuple[str, str, str]:
    status, duration_ms = tried["status"], tried["duration_ms"]
    return ("" if status is None else str(status), "" if duration_ms is None else str(duration_ms), tried["error"])


__all__ = ["webhook"]
