"""`stoker template`: fields to make endpoints from."""

from __future__ import annotations

from typing import Any

import click

from stoker.cli import files, output
from stoker.cli.connection import with_client
from stoker.client import Client

OWN = ("name", "app_name", "type")
"""Fields of a document that a template has not."""


@click.group()
def template() -> None:
    """Keep fields of endpoints under a name, to make endpoints from."""


@template.command()
@click.argument("name")
@click.option("--endpoint", metavar="NAME", help="Take the fields of this endpoint, secrets included.")
@click.option("-f", "--file", metavar="FILE", help="Take those of this document, TOML or JSON; - reads standard input.")
@output.json_option
@with_client
def create(client: Client, name: str, endpoint: str | None, file: str | None) -> None:
    """Make the template NAME, from an endpoint or a document."""
    if (endpoint is None) is (file is None):
        raise click.UsageError("say where the fields come from: --endpoint NAME, or -f FILE")
    body: dict[str, Any] = {"name": name}
    if file is None:
        body["endpoint"] = endpoint
    else:
        body["fields"] = {field: value for field, value in files.read(file).items() if field not in OWN}
    output.answer(client.ask("POST", "templates", body=body), _show_created)


@template.command("ls")
@output.json_option
@with_client
def list_templates(client: Client) -> None:
    """List templates."""
    output.answer(client.ask("GET", "templates"), _show_list)


@template.command()
@click.argument("name")
@output.json_option
@with_client
def show(client: Client, name: str) -> None:
    """Print a template's fields as a document."""
    output.answer(client.ask("GET", "templates", name), lambda it: output.say(files.to_toml(it["fields"]).rstrip("\n")))


@template.command()
@click.argument("name")
@output.json_option
@with_client
def delete(client: Client, name: str) -> None:
    """Forget a template. Endpoints that were made from it stay."""
    gone = client.ask("DELETE", "templates", name)
    output.answer(gone, lambda it: output.say(f"deleted {it['name']} ({it['id']})"))


# ── for people ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _show_created(made: dict[str, Any]) -> None:
    output.say(f"made {made['name']} ({made['id']})")
    output.remark(f"  next: stoker endpoint create NAME --template {made['name']}")


def _show_list(found: dict[str, Any]) -> None:
    rows = (
        (each["name"], each["id"], each["fields"].get("image"), output.ago(each["updated_ms"]))
        for each in found["templates"]
    )
    output.table(("NAME", "ID", "IMAGE", "CHANGED"), rows, nothing="no templates yet")


__all__ = ["template"]
