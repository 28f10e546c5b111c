"""`stoker key`: the API keys of the team."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from stoker.cli import output
from stoker.cli.connection import with_client
from stoker.client import Client
from stoker.client.shapes import KeyJson, KeysJson
from stoker.team import Scope


@click.group()
def key() -> None:
    """Make, rotate and revoke API keys; needs a key with the scope admin."""


@key.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="What the key may do, as far as its member's role allows; repeatable.",
)
@click.option("--member", metavar="NAME", help="Whose key it will be, by name or id; yours if left out.")
@click.option("--endpoint", "endpoints", metavar="NAME", multiple=True, help="Only for this endpoint; repeatable.")
@click.option(
    "--expires-in", "expires_in_s", metavar="SECONDS", type=int, help="How long it works; for ever if left out."
)
@output.json_option
@with_client
def create(client: Client, /, name: str, scopes: tuple[str, ...], endpoints: tuple[str, ...], **given: Any) -> None:
    """Make an API key and print its secret, which is shown only now."""
    wish = {field: value for field, value in given.items() if value is not None}
    output.answer(
        client.create_key({"name": name, "scopes": list(scopes), "endpoints": list(endpoints), **wish}), _show_created
    )


@key.command()
@click.argument("key_id", metavar="ID")
@click.option(
    "--grace",
    "grace_s",
    metavar="SECONDS",
    type=int,
    default=3_600,
    show_default=True,
    help="How long the old one works.",
)
@output.json_option
@with_client
def rotate(client: Client, key_id: str, grace_s: int) -> None:
    """Give an API key a new secret and print it; the old one goes on working for a while."""
    output.answer(client.rotate_key(key_id, grace_s=grace_s), _show_rotated)


@key.command("ls")
@output.json_option
@with_client
def list_keys(client: Client) -> None:
    """List the team's API keys, revoked ones included."""
    found = client.keys()
    bound = any(each["endpoints"] for each in found["keys"])
    names = {each["id"]: each["name"] for each in client.endpoints()["endpoints"]} if bound else {}
    output.answer(found, lambda keys: _show_list(keys, names))


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


def _show_rotated(made: KeyJson) -> None:
    output.say(made["secret"])
    until = output.moment(made["old_until_ms"] or 0)
    output.remark(f"rotated the key {made['name']} ({made['id']}); the old secret works until {until}")


def _show_list(found: KeysJson, names: Mapping[str, str]) -> None:
    """`names` of endpoints by id; one that is deleted has none."""
    heads = ("ID", "NAME", "MEMBER", "SCOPES", "ENDPOINTS", "MADE", "USED", "EXPIRES", "REVOKED", "RATE")
    rows = (
        (
            each["id"],
            each["name"],
            each["member"]["name"],
            " ".join(each["scopes"]),
            " ".join(names.get(one, one) for one in each["endpoints"]) or "all",
            output.ago(each["created_ms"]),
            output.ago(each["used_ms"]),
            "-" if each["expires_ms"] is None else output.moment(each["expires_ms"]),
            output.ago(each["revoked_ms"]),
            "-" if each["rate"] is None else each["rate"],
        )
        for each in found["keys"]
    )
    output.table(heads, rows, nothing="no keys")
