"""`stoker credential`: who may pull images from where."""

from __future__ import annotations

import sys
from typing import Any

import click

from stoker.cli import output
from stoker.cli.connection import with_client
from stoker.client import Client

TEST_PATIENCE_S = 30
"""A registry and its token service are asked up to three times."""


@click.group()
def credential() -> None:
    """Store names and passwords for registries of images."""


def _password(_context: click.Context, _option: click.Parameter, given: bool) -> str | None:
    """The first line of standard input; nobody else on this machine sees it there."""
    if not given:
        return None
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, err=True))
    return sys.stdin.readline().rstrip("\r\n")


_STDIN = click.option(
    "--password-stdin",
    "password",
    is_flag=True,
    callback=_password,
    help="Read the password from standard input; on a terminal it is asked for.",
)


@credential.command()
@click.argument("name")
@click.option("--registry", required=True, help="Host as in the name of an image: ghcr.io, docker.io, box:5000.")
@click.option("--username", required=True, help="Name at the registry.")
@_STDIN
@output.json_option
@with_client
def create(client: Client, name: str, registry: str, username: str, password: str | None) -> None:
    """Store a name and a password for a registry."""
    if password is None:
        raise click.UsageError("say where the password comes from: --password-stdin")
    body = {"name": name, "registry": registry, "username": username, "password": password}
    output.answer(client.ask("POST", "credentials", body=body), _show_created)


@credential.command("ls")
@output.json_option
@with_client
def list_credentials(client: Client) -> None:
    """List registry credentials and who uses them."""
    output.answer(client.ask("GET", "credentials"), _show_list)


@credential.command()
@click.argument("ref", metavar="NAME")
@output.json_option
@with_client
def show(client: Client, ref: str) -> None:
    """Show a registry credential, without its password, and which endpoints use it."""
    output.answer(client.ask("GET", "credentials", ref), lambda found: _show_list({"credentials": [found]}))


@credential.command()
@click.argument("ref", metavar="NAME")
@click.option("--name", help="A new name.")
@click.option("--registry", help="Another registry.")
@click.option("--username", help="Another name at the registry.")
@_STDIN
@output.json_option
@with_client
def update(client: Client, /, ref: str, **given: Any) -> None:
    """Change what is given. Workers that are launched from now on use it."""
    body = {field: value for field, value in given.items() if value is not None}
    if not body:
        raise click.UsageError("nothing to change was given; see: stoker credential update --help")
    changed = client.ask("PATCH", "credentials", ref, body=body)
    output.answer(changed, lambda it: output.say(f"changed {it['name']} ({it['id']})"))


@credential.command()
@click.argument("ref", metavar="NAME")
@output.json_option
@with_client
def delete(client: Client, ref: str) -> None:
    """Forget a registry credential; refused while an endpoint uses it."""
    gone = client.ask("DELETE", "credentials", ref)
    output.answer(gone, lambda it: output.say(f"deleted {it['name']} ({it['id']})"))


@credential.command()
@click.argument("ref", metavar="NAME")
@output.json_option
@with_client
def test(client: Client, ref: str) -> None:
    """Ask the registry whether it lets the credential in."""
    answer = client.ask("POST", "credentials", ref, "test", patience_s=TEST_PATIENCE_S)
    output.answer(answer, lambda _it: output.say("the registry accepts it"))


# ── for people ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _show_created(made: dict[str, Any]) -> None:
    output.say(f"stored {made['name']} ({made['id']})")
    output.remark(f"  next: stoker credential test {made['name']}")


def _show_list(found: dict[str, Any]) -> None:
    heads = ("NAME", "ID", "REGISTRY", "USERNAME", "USED BY", "CHANGED")
    rows = (
        (
            each["name"],
            each["id"],
            each["registry"],
            each["username"],
            " ".join(each["endpoints"]),
            output.ago(each["updated_ms"]),
        )
        for each in found["credentials"]
    )
    output.table(heads, rows, nothing="no registry credentials yet")


__all__ = ["credential"]
