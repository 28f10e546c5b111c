"""`stoker endpoint`, continued: releases, pausing, and endpoints as documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from stoker.cli import files, output
from stoker.cli.connection import with_client
from stoker.cli.endpoint import endpoint, read_secrets, show_endpoint, warm_option
from stoker.client import Client


@endpoint.command()
@click.argument("name")
@output.json_option
@with_client
def releases(client: Client, name: str) -> None:
    """List what workers ran over time: the releases, who made each and when."""
    output.answer(client.ask("GET", "endpoints", name, "releases"), _show_releases)


@endpoint.command()
@click.argument("name")
@click.argument("number", type=int)
@click.option("--since", type=int, metavar="NUMBER", help="Compare with this release; the one before if left out.")
@output.json_option
@with_client
def diff(client: Client, name: str, number: int, since: int | None) -> None:
    """Show what the release NUMBER changed."""
    found = client.ask("GET", "endpoints", name, "releases", str(number), "difference", params={"since": since})
    output.answer(found, lambda it: files.say_difference(it["before"], it["after"]))


@endpoint.command("roll-back")
@click.argument("name")
@click.argument("number", type=int)
@output.json_option
@with_client
def roll_back(client: Client, name: str, number: int) -> None:
    """Make a new release that does what the release NUMBER did.

    New workers run it, old ones finish their jobs and go. Numbers of workers and timeouts stay as they are.
    """
    output.answer(client.ask("POST", "endpoints", name, "releases", str(number), "roll-back"), show_endpoint)


@endpoint.command()
@click.argument("name")
@output.json_option
@with_client
def pause(client: Client, name: str) -> None:
    """Pause an endpoint: workers finish their jobs and go; the queue is kept, and jobs still come in."""
    output.answer(client.ask("POST", "endpoints", name, "pause"), lambda it: output.say(f"paused {it['name']}"))


@endpoint.command()
@click.argument("name")
@output.json_option
@with_client
def resume(client: Client, name: str) -> None:
    """Go on with a paused endpoint's queue."""
    output.answer(client.ask("POST", "endpoints", name, "resume"), lambda it: output.say(f"resumed {it['name']}"))


@endpoint.command()
@click.argument("name")
@click.option("-o", "--output", "file", type=click.Path(path_type=Path), help="Write to this file, not to the screen.")
@output.json_option
@with_client
def export(client: Client, name: str, file: Path | None) -> None:
    """Print an endpoint as a document for `stoker endpoint apply`.

    Secret values are not in it: `{ secret = true }` marks where one is.
    """
    document = client.ask("GET", "endpoints", name, "export")
    if file is None:
        output.answer(document, lambda it: output.say(files.to_toml(it).rstrip("\n")))
        return
    as_json = output.wants_json(click.get_current_context()) or file.suffix == ".json"
    file.write_text(output.json_text(document, indent=2) + "\n" if as_json else files.to_toml(document), "utf-8")
    output.remark(f"wrote {file}")


@endpoint.command()
@click.option("-f", "--file", required=True, metavar="FILE", help="A TOML or JSON document; - reads standard input.")
@click.option(
    "--secret",
    "secrets",
    metavar="K[=V]",
    multiple=True,
    callback=read_secrets,
    help="Value of a secret variable of the document; without =V that of this environment's variable. Repeatable.",
)
@warm_option
@click.option("--dry-run", is_flag=True, help="Only print the difference.")
@output.json_option
@with_client
def apply(client: Client, file: str, secrets: dict[str, Any] | None, warm: bool | None, dry_run: bool) -> None:
    """Make an endpoint as a document says, and print the difference.

    It is created, changed where it differs, or left alone: applying twice does no more than once. Fields that the document
    leaves out keep their values. A relative dir: image is taken from where the file is.
    """
    document = files.read(file)
    if secrets:
        document["env"] = {**document.get("env", {}), **secrets}
    plan = client.ask("POST", "endpoints", "apply", body=document, params={"dry_run": dry_run, "warm": warm})
    output.answer(plan, files.say_plan)


@endpoint.command()
@output.json_option
@with_client
def limits(client: Client) -> None:
    """List the range of every field."""
    output.answer(client.ask("GET", "limits"), _show_limits)


# ── for people ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _show_releases(found: dict[str, Any]) -> None:
    heads = ("NUMBER", "IMAGE", "COMMAND", "BY", "MADE")
    rows = (
        (each["number"], each["image"], each["command"], each["made_by"]["name"], output.ago(each["created_ms"]))
        for each in found["releases"]
    )
    output.table(heads, rows, nothing="no releases")


def _show_limits(found: dict[str, Any]) -> None:
    rows = (
        (name, ", ".join(one["choices"]), "", "")
        if "choices" in one
        else (name, f"{one['least']} to {one['most']}", one["unit"], one["why"])
        for name, one in found.items()
    )
    output.table(("FIELD", "RANGE", "UNIT", "WHY"), rows, nothing="no limits")


__all__ = ["endpoint"]
