"""`stoker image`: the images on the server's machine."""

from __future__ import annotations

import click

from stoker.cli import output
from stoker.cli.connection import with_client
from stoker.client import Client
from stoker.client.shapes import ImageJson, ImagesJson


@click.group()
def image() -> None:
    """Fetch images ahead of their workers, list and remove them."""


@image.command()
@click.argument("name", metavar="IMAGE")
@output.json_option
@with_client
def warm(client: Client, name: str) -> None:
    """Begin to fetch IMAGE on the server's machine, so that no worker waits for it."""
    output.answer(client.warm_image(name), lambda _begun: output.say(f"fetching {name}; how far: stoker image ls"))


@image.command("ls")
@output.json_option
@with_client
def list_images(client: Client) -> None:
    """List the images that were fetched for workers, and those on their way."""
    output.answer(client.images(), _show_list)


@image.command("rm")
@click.argument("name", metavar="IMAGE")
@output.json_option
@with_client
def remove(client: Client, name: str) -> None:
    """Remove IMAGE, which no endpoint may use."""
    output.answer(client.remove_image(name), lambda _gone: output.say(f"removed {name}"))


def _show_list(found: ImagesJson) -> None:
    heads = ("NAME", "SIZE", "FETCHED", "USED", "STATE")
    rows = (
        (
            each["name"],
            f"{each['bytes'] / 1e6:.0f} MB",
            output.ago(each["pulled_ms"]),
            output.ago(each["used_ms"]),
            _state(each),
        )
        for each in found["images"]
    )
    output.table(heads, rows, nothing="no images yet; fetch one: stoker image warm IMAGE")


def _state(each: ImageJson) -> str:
    return each["progress"] or each["error"] or "here"
