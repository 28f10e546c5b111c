"""`stoker webhook`: what receivers were told, telling it again, and the secret that signs it."""

from __future__ import annotations

from typing import Any, Final

import click

from stoker.cli import output
from stoker.cli.connection import with_client
from stoker.client import Client, Params
from stoker.webhook import NoticeState

PAGE: Final = 1_000


@click.group()
def webhook() -> None:
    """See what webhooks were told, and sign it."""


@webhook.command("ls")
@click.argument("job", required=False)
@click.option("--endpoint", metavar="NAME", help="Only what is told about jobs of this endpoint.")
@click.option("--state", type=click.Choice([state.value for state in NoticeState]), help="Only notices in this state.")
@click.option(
    "--limit", metavar="N", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many."
)
@output.json_option
@with_client
def list_notices(client: Client, job: str | None, endpoint: str | None, state: str | None, limit: int) -> None:
    """List what the webhook of JOB was told, with every try; without JOB what all of the team's were told, newest first."""
    if job is None:
        found = _find(client, {"endpoint": endpoint, "state": state}, limit)
        output.answer({"notices": found}, _show_all)
    elif endpoint or state:
        raise click.UsageError("--endpoint and --state choose among all notices: leave JOB out")
    else:
        output.answer(client.ask("GET", "jobs", job, "notices"), _show_notices)


def _find(client: Client, wanted: Params, limit: int) -> list[dict[str, Any]]:
    """The newest of them, page by page."""
    found: list[dict[str, Any]] = []
    before: int | None = None
    while len(found) < limit:
        params = {**wanted, "before": before, "limit": min(PAGE, limit - len(found))}
        page = client.ask("GET", "notices", params=params)
        found += page["notices"]
        before = page["next"]
        if before is None:
            break
    return found


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


def _show_all(found: dict[str, Any]) -> None:
    heads = ("NOTICE", "ENDPOINT", "JOB", "STATE", "LAST TRY", "ANSWER", "MS", "WHAT WENT WRONG")
    rows = [
        (each["id"], each["endpoint"]["name"], each["job_state"], each["state"], *_told(each["last_try"]))
        for each in found["notices"]
    ]
    output.table(heads, rows, nothing="no webhook was told anything like this")


def _show_notices(found: dict[str, Any]) -> None:
    heads = ("NOTICE", "JOB", "STATE", "TRY", "ANSWER", "MS", "WHAT WENT WRONG")
    rows = [
        (each["id"], each["job_state"], each["state"], *_told(tried))
        for each in found["notices"]
        for tried in each["tries"] or [None]
    ]
    output.table(heads, rows, nothing="its webhook was told nothing: it has none, or the job has not ended")


def _told(tried: dict[str, Any] | None) -> tuple[str, str, str, str]:
    """When, and what came of it."""
    if tried is None:
        return ("", "", "", "not tried yet")
    status = "" if tried["status"] is None else str(tried["status"])
    return (output.ago(tried["at_ms"]), status, str(tried["duration_ms"]), tried["error"])


__all__ = ["webhook"]
