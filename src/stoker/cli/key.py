"""`stoker key`: the API keys of the team."""

from __future__ import annotations

import click

from stoker.cli import output
from stoker.cli.connection import with_client
from stoker.client import Client, KeyJson, KeysJson
from stoker.team import Scope


@click.group()
def key() -> None:
    """Make and revoke API keys; needs a key with the scope admin."""


@key.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="What the key may do; repeatable.",
)
@output.json_option
@with_client
def create(client: Client, name: str, scopes: tuple[str, ...]) -> None:
    """Make an API key and print its secret, which is shown only now."""
    output.answer(client.create_key(name, scopes), _show_created)


@key.command("ls")
@output.json_option
@with_client
def list_keys(client: Client) -> None:
    """List the team's API keys, revoked ones included."""
    output.answer(client.keys(), _show_list)


@key.command()
@click.argument("key_id", metavar="ID")
@output.json_option
@with_client
def revoke(client: Client, key_id: str) -> None:
    """Make an API key useless, at once and for ever."""
    output.answer(client.revoke_key(key_id), lambda found: output.say(f"revoked {found['name']} ({found['id']})"))


# ── for people ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _show_created(made: KeyJson) -> None:
    output.say(made["secret"])
    output.remark(f"made the key {made['name']} ({made['id']}); its secret is not shown again")
    output.remark("  next: export STOKER_API_KEY=…")


def _show_list(found: KeysJson) -> None:
    heads = ("ID", "NAME", "SCOPES", "MADE", "REVOKED")
    rows = (
        (
            each["id"],
            each["name"],
            " ".join(each["scopes"]),
            output.ago(each["created_ms"]),
            output.ago(each["revoked_ms"]),
        )
        for each in found["keys"]
    )
    output.table(heads, rows, nothing="no keys")
