"""`stoker image`: a team's images where its workers start: on the server's machine, or on the nodes of a cluster."""

from __future__ import annotations

import click

from stoker.cli import output
from stoker.cli.connection import with_client
from stoker.client import Client
from stoker.client.shapes import ImageFoundJson, ImageJson, ImagesJson


@click.group()
def image() -> None:
    """Fetch images ahead of their workers, list and remove them."""


@image.command()
@click.argument("name", metavar="IMAGE")
@click.option("--credential", metavar="NAME", help="The registry credential with which it is pulled.")
@output.json_option
@with_client
def warm(client: Client, name: str, credential: str | None) -> None:
    """Begin to fetch IMAGE where workers start, so that none waits for it: on the server's machine, or on all nodes of its cluster.

    Of one that is here, what its tag means by now is fetched.
    """
    begun = client.warm_image(name, credential=credential)
    output.answer(begun, lambda _begun: output.say(f"fetching {name}; how far: stoker image ls"))


@image.command()
@click.argument("name", metavar="IMAGE")
@click.option("--credential", metavar="NAME", help="The registry credential with which it would be pulled.")
@click.option("--command", default="", metavar="TEXT", help="What would start a worker; for directories of the server.")
@output.json_option
@with_client
def check(client: Client, name: str, credential: str | None, command: str) -> None:
    """Look whether workers could have IMAGE: its registry is asked, with the credential; nothing is fetched."""
    found = client.check_image(name, command=command, credential=credential)
    output.answer(found, _show_found)


@image.command("ls")
@output.json_option
@with_client
def list_images(client: Client) -> None:
    """List the team's images: those fetched ahead, those on their way, and those that endpoints run."""
    output.answer(client.images(), _show_list)


@image.command("rm")
@click.argument("name", metavar="IMAGE")
@output.json_option
@with_client
def remove(client: Client, name: str) -> None:
    """Remove IMAGE, which no endpoint may use. One that is on its way is given up."""
    output.answer(client.remove_image(name), lambda _gone: output.say(f"removed {name}"))


def _show_found(found: ImageFoundJson) -> None:
    output.say(f"{found['image']}: {found['text']}")
    if found["digest"]:
        output.say(found["digest"])


def _show_list(found: ImagesJson) -> None:
    heads = ("NAME", "SIZE", "FETCHED", "USED", "ENDPOINTS", "STATE")
    rows = (
        (
            each["name"],
            f"{each['bytes'] / 1e6:.0f} MB" if each["bytes"] else "",
            output.ago(each["pulled_ms"]),
            output.ago(each["used_ms"]),
            ", ".join(each["endpoints"]),
            _state(each),
        )
        for each in found["images"]
    )
    output.table(heads, rows, nothing="no images yet; fetch one: stoker image warm IMAGE")


def _state(each: ImageJson) -> str:
    if not each["error"]:
        return each["progress"] or output.words(each["state"])
    again = "" if each["retry_ms"] is None else f"; tried again at {output.moment(each['retry_ms'])}"
    return f"{each['error']}{again}"
