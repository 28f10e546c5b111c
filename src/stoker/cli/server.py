"""`stoker settings` and `stoker about`: what a running server was told, and what it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import click

from stoker.cli import output
from stoker.cli.connection import with_client
from stoker.client import Client


@click.command()
@click.option("--all", "whole", is_flag=True, help="Also those at their default.")
@output.json_option
@with_client
def settings(client: Client, *, whole: bool) -> None:
    """List settings of the running server, and where each came from; needs the role admin. Teams other than the first see what is about them."""

    def show(found: Mapping[str, Any]) -> None:
        heads = ("SETTING", "VALUE", "FROM")
        output.table(heads, _settings(found, whole=whole), nothing="every setting is at its default")

    output.answer(client.ask("GET", "settings"), show)


@click.command()
@output.json_option
@with_client
def about(client: Client) -> None:
    """Show the version of the server, and the licences of what is shipped with it."""
    output.answer(client.ask("GET", "about"), _show_about)


def _settings(found: Mapping[str, Any], *, whole: bool) -> Iterator[tuple[object, ...]]:
    for each in found["settings"]:
        if whole or each["origin"] != "default":
            yield each["name"], _value(each), each["origin"].replace("_", " ")


def _value(each: Mapping[str, Any]) -> str:
    if each["secret"]:
        return "(secret)" if each["is_set"] else ""
    return each["value"] if isinstance(each["value"], str) else json.dumps(each["value"])


def _show_about(found: Mapping[str, Any]) -> None:
    output.remark(f"Stoker {found['version']} on Python {found['python']}, with {found['database']}")
    rows = ((each["name"], each["version"], each["licence"], each["part"]) for each in found["licences"])
    output.table(("PACKAGE", "VERSION", "LICENCE", "PART"), rows, nothing="nothing of others is shipped")
