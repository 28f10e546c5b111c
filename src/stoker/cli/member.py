"""`stoker member`, `stoker team`, `stoker audit`: who is in the team, and who configured what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from stoker.cli import files, output
from stoker.cli.connection import with_client
from stoker.cli.offline import offline, settings_options
from stoker.client import Client
from stoker.team import Role

if TYPE_CHECKING:
    from stoker.config import Settings

_ROLES = click.Choice([role.value for role in Role])


@click.group()
def member() -> None:
    """Add, change and remove members of the team; needs the role admin."""


@member.command()
@click.argument("name")
@click.option("--role", type=_ROLES, default=Role.DEVELOPER.value, show_default=True, help="What the member may do.")
@output.json_option
@with_client
def add(client: Client, name: str, role: str) -> None:
    """Add a person or a program to the team. A key for it is another step: stoker key create --member."""
    made = client.ask("POST", "members", body={"name": name, "role": role})
    output.answer(made, lambda it: output.say(f"added {it['name']} ({it['id']}) as {it['role']}"))


@member.command("ls")
@output.json_option
@with_client
def list_members(client: Client) -> None:
    """List members, removed ones included."""
    output.answer(client.ask("GET", "members"), _show_members)


@member.command()
@click.argument("ref", metavar="NAME")
@click.option("--name", help="A new name.")
@click.option("--role", type=_ROLES, help="Another role; keys of the member do from now on what it allows.")
@output.json_option
@with_client
def update(client: Client, ref: str, name: str | None, role: str | None) -> None:
    """Change name or role of the member of that name or id."""
    body = {field: value for field, value in (("name", name), ("role", role)) if value is not None}
    if not body:
        raise click.UsageError("nothing to change was given: --name, --role")
    changed = client.ask("PATCH", "members", ref, body=body)
    output.answer(changed, lambda it: output.say(f"{it['name']} ({it['id']}) is {it['role']}"))


@member.command()
@click.argument("ref", metavar="NAME")
@click.option("--yes", is_flag=True, help="Do not ask.")
@output.json_option
@with_client
def remove(client: Client, ref: str, yes: bool) -> None:
    """Remove a member: all keys of it are revoked."""
    if output.agreed(yes, f"Remove the member '{ref}' and revoke its keys?"):
        gone = client.ask("DELETE", "members", ref)
        output.answer(gone, lambda it: output.say(f"removed {it['name']} ({it['id']})"))


@click.group()
def team() -> None:
    """Look at the team, rename it, make another one."""


@team.command()
@output.json_option
@with_client
def show(client: Client) -> None:
    """Show which team and member the API key belongs to, and what it may do."""
    output.answer(client.ask("GET", "me"), _show_me)


@team.command()
@click.argument("name")
@output.json_option
@with_client
def rename(client: Client, name: str) -> None:
    """Give the team another name; needs the role owner."""
    output.answer(client.ask("PATCH", "team", body={"name": name}), lambda it: output.say(f"renamed to {it['name']}"))


@team.command()
@click.argument("name")
@click.option("--owner", default="owner", show_default=True, help="Name of the first member.")
@settings_options
def create(name: str, owner: str, **where: Any) -> int:
    """Make another team, on the server's machine: it needs the settings of the server, not a key.

    Prints the secret of its owner's key, which is shown only now. Servers may run meanwhile.
    """

    def make(settings: Settings) -> None:
        from stoker.databases import create_team  # here, because no other command should wait for its import

        made, secret = create_team(settings, name, owner)
        output.say(secret)
        output.remark(f"made the team {name} ({made}); the key of its owner is not shown again")

    return offline(make, **where)


@click.group()
def audit() -> None:
    """Look at who configured what; needs the role admin."""


@audit.command("ls")
@click.option("--limit", type=int, default=50, show_default=True, help="How many lines, 1 to 1000.")
@click.option("--before", type=int, metavar="NUMBER", help="Only lines before this one, for the next page.")
@click.option("--thing", metavar="ID", help="Only lines about the endpoint, key, member … with this id.")
@output.json_option
@with_client
def list_lines(client: Client, limit: int, before: int | None, thing: str | None) -> None:
    """List changes, newest first."""
    params = {"limit": limit, "before": before, "thing": thing}
    output.answer(client.ask("GET", "audit", params=params), _show_lines)


@audit.command("show")
@click.argument("number", type=int)
@output.json_option
@with_client
def show_line(client: Client, number: int) -> None:
    """Show one line: what was different before and after."""
    found = client.ask("GET", "audit", params={"limit": 1, "before": number + 1})["lines"]
    if not found or found[0]["number"] != number:
        raise click.UsageError(f"there is no line {number}; list them: stoker audit ls")
    output.answer(found[0], _show_line)


# ── for people ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _show_members(found: dict[str, Any]) -> None:
    heads = ("ID", "NAME", "ROLE", "ADDED", "REMOVED")
    rows = (
        (each["id"], each["name"], each["role"], output.ago(each["created_ms"]), output.ago(each["removed_ms"]))
        for each in found["members"]
    )
    output.table(heads, rows, nothing="no members")


def _show_me(found: dict[str, Any]) -> None:
    key = found["key"]
    output.facts(
        {
            "team": f"{found['team']['name']} ({found['team']['id']})",
            "member": f"{found['member']['name']} ({found['member']['id']})",
            "role": found["member"]["role"],
            "key": f"{key['name']} ({key['id']})",
            "scopes": " ".join(key["scopes"]),
            "endpoints": " ".join(key["endpoints"]) or "all",
            "expires": "never" if key["expires_ms"] is None else output.moment(key["expires_ms"]),
        }
    )


def _show_lines(found: dict[str, Any]) -> None:
    heads = ("NUMBER", "WHEN", "WHO", "DID", "WHAT", "ID")
    rows = (
        (
            each["number"],
            output.moment(each["at_ms"]),
            each["member"]["name"],
            output.words(each["action"]),
            f"{each['kind']} {each['name']}",
            each["thing"],
        )
        for each in found["lines"]
    )
    output.table(heads, rows, nothing="nothing was configured yet")


def _show_line(each: dict[str, Any]) -> None:
    who = f"{each['member']['name']}, with the key {each['key']}" if each["key"] else each["member"]["name"]
    did = f"{output.words(each['action'])} the {each['kind']} {each['name']} ({each['thing']})"
    output.say(output.one_line(f"{output.moment(each['at_ms'])}: {who} {did}"))
    files.say_difference(each["before"] or {}, each["after"] or {})


__all__ = ["audit", "member", "team"]
