"""`stoker specification`: the kinds of places that there are for workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from stoker.cli import output
from stoker.cli.connection import with_client
from stoker.client import Client


@click.group()
def specification() -> None:
    """Look at what workers can be placed in."""


@specification.command("ls")
@output.json_option
@with_client
def list_specifications(client: Client) -> None:
    """List the kinds of places for workers: how many there are, how many are free, and what one costs."""
    output.answer(client.ask("GET", "specifications"), _show_list)


def _show_list(found: Mapping[str, Any]) -> None:
    heads = ("ID", "NAME", "FREE", "GPU MEMORY", "CPUS", "MEMORY", "PRICE PER HOUR")
    output.table(heads, _rows(found), nothing="there is no place for workers")
    if not any(each["type"] == "gpu" for each in found["specifications"]) and found["text"]:
        output.remark(found["text"])


@specification.command("gpus")
@output.json_option
@with_client
def list_gpus(client: Client) -> None:
    """List the GPUs: memory and power now, and which worker holds each."""
    output.answer(client.ask("GET", "gpus"), _show_gpus)


def _show_gpus(found: Mapping[str, Any]) -> None:
    rows = (
        (
            each["id"],
            each["name"],
            _memory(each),
            "" if each["power_w"] is None else f"{each['power_w']:.0f} W",
            each["endpoint"]["name"] if each["endpoint"] else "(another's)" if each["held"] else "free",
            each["worker"],
        )
        for each in found["gpus"]
    )
    output.table(("ID", "NAME", "MEMORY", "POWER", "ENDPOINT", "WORKER"), rows, nothing="no GPUs")


def _memory(each: Mapping[str, Any]) -> str:
    used, whole = each["memory_used_bytes"], each["memory_bytes"]
    return "" if used is None or whole is None else f"{used / 1024**3:.1f} of {whole / 1024**3:.0f} GiB"


def _rows(found: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
    for each in found["specifications"]:
        gpus = f"{each['gpu_memory_gb']} GB" if each["gpu_memory_gb"] else ""
        memory = f"{each['memory_gb']:g} GiB" if each["memory_gb"] else ""
        yield each["id"], each["name"], free_of(each), gpus, each["cpus"] or "", memory, f"{each['price_per_hour']:g}"


def free_of(each: Mapping[str, Any]) -> str:
    """How much of it is free, for people."""
    if each["free"] is None:
        return "not known"
    what = "GPUs" if each["type"] == "gpu" else "places"
    return f"{each['free']} {what}" if each["total"] is None else f"{each['free']} of {each['total']} {what}"
