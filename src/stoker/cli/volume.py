"""`stoker volume`: storage that outlives workers, and the files in it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from stoker.amounts import counted
from stoker.cli import output
from stoker.cli.connection import with_client
from stoker.client import Client

LISTED: Final = 1_000
"""Entries that are asked for at once."""


@click.group()
def volume() -> None:
    """Keep files that outlive workers: make volumes, list, upload and download."""


_SIZE = click.option("--size", "size_gb", metavar="GIB", type=int, help="Size in GiB. It may grow, never shrink.")
_MOUNT_PATH = click.option("--mount-path", metavar="PATH", help="Where workers see it, if their endpoint does not say.")


@volume.command()
@click.argument("name")
@_SIZE
@_MOUNT_PATH
@output.json_option
@with_client
def create(client: Client, name: str, size_gb: int | None, mount_path: str | None) -> None:
    """Make the volume NAME."""
    if size_gb is None:
        raise click.UsageError("say how large it may become: --size GIB")
    body = {"name": name, "size_gb": size_gb, "mount_path": mount_path}
    output.answer(client.ask("POST", "volumes", body=body), _show_created)


@volume.command("ls")
@output.json_option
@with_client
def list_volumes(client: Client) -> None:
    """List volumes, how full they are and who uses them."""
    output.answer(client.ask("GET", "volumes"), _show_list)


@volume.command()
@click.argument("name")
@output.json_option
@with_client
def show(client: Client, name: str) -> None:
    """Show a volume."""
    output.answer(client.ask("GET", "volumes", name), _show)


@volume.command()
@click.argument("name")
@_SIZE
@_MOUNT_PATH
@output.json_option
@with_client
def update(client: Client, /, name: str, **given: Any) -> None:
    """Make a volume larger, or change its mount path for endpoints that come to use it."""
    body = {field: value for field, value in given.items() if value is not None}
    if not body:
        raise click.UsageError("nothing to change was given; see: stoker volume update --help")
    output.answer(client.ask("PATCH", "volumes", name, body=body), _show)


@volume.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@output.json_option
@with_client
def delete(client: Client, name: str, yes: bool) -> None:
    """Delete a volume with everything in it; refused while an endpoint uses it."""
    if output.agreed(yes, f"Delete the volume '{name}' with everything in it?"):
        gone = client.ask("DELETE", "volumes", name)
        output.answer(gone, lambda it: output.say(f"deleted {it['name']} ({it['id']})"))


# ── files ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@volume.command("files")
@click.argument("name")
@click.argument("path", default="")
@output.json_option
@with_client
def list_files(client: Client, name: str, path: str) -> None:
    """List what is in a volume, or in its directory PATH."""
    output.answer({"path": path, "files": list(_entries(client, name, path))}, _show_files)


@volume.command()
@click.argument("name")
@click.argument("source", type=click.Path(exists=True))
@click.argument("path", default="")
@output.json_option
@with_client
def upload(client: Client, name: str, source: str, path: str) -> None:
    """Upload the file or directory SOURCE to PATH in a volume.

    Without a PATH, or with one that ends in a slash, it keeps its name. Each file appears whole or not at all; links in a directory
    are left out.
    """
    sent = [_upload(client, name, file, where) for file, where in _files(Path(source), path)]
    output.answer({"files": sent}, _show_sent)


@volume.command()
@click.argument("name")
@click.argument("path")
@click.argument("target", default="")
@with_client
def download(client: Client, name: str, path: str, target: str) -> None:
    """Download the file PATH of a volume to TARGET; - is standard output.

    Without a TARGET it keeps its name, in the current directory. It appears there whole or not at all.
    """
    if target == "-":
        for piece in client.download(name, path):
            sys.stdout.buffer.write(piece)
        return
    place = Path(target or path.rstrip("/").rpartition("/")[2])
    if place.is_dir():
        place = place / path.rstrip("/").rpartition("/")[2]
    _download(client, name, path, place)
    output.remark(f"downloaded {place}")


@volume.command("rm")
@click.argument("name")
@click.argument("path")
@click.option("-r", "--recursive", is_flag=True, help="A directory with everything in it.")
@output.json_option
@with_client
def remove(client: Client, name: str, path: str, recursive: bool) -> None:
    """Delete the file or directory PATH of a volume."""
    gone = client.delete_file(name, path, recursive=recursive)
    output.answer(gone, lambda it: output.say(f"deleted {it['path']}"))


def _entries(client: Client, name: str, path: str) -> Iterator[dict[str, Any]]:
    after, more = "", True
    while more:
        found = client.ask("GET", "volumes", name, "files", params={"path": path, "after": after, "limit": LISTED})
        yield from found["files"]
        more = found["more"] and bool(found["files"])
        after = found["files"][-1]["name"] if more else ""


def _files(source: Path, path: str) -> Iterator[tuple[Path, str]]:
    """Which file goes where."""
    where = f"{path}{source.resolve().name}" if path in ("", "/") or path.endswith("/") else path
    if not source.is_dir():
        yield source, where
        return
    for folder, _folders, names in os.walk(source):
        for each in sorted(names):
            file = Path(folder) / each
            if file.is_file() and not file.is_symlink():
                yield file, f"{where}/{file.relative_to(source).as_posix()}"


def _upload(client: Client, name: str, file: Path, path: str) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            client.upload(name, path, opened, size)
    except OSError as error:
        raise click.UsageError(f"cannot read {file}: {error.strerror}") from None
    return {"path": path, "size": size}


def _download(client: Client, name: str, path: str, place: Path) -> None:
    """Into a file beside it first: whoever looks at `place` never sees half of it."""
    half = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        with half.open("xb") as opened:
            for piece in client.download(name, path):
                opened.write(piece)
        half.replace(place)
    except OSError as error:
        raise click.UsageError(f"cannot write {place}: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            half.unlink()


# ── for people ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _show_created(made: Mapping[str, Any]) -> None:
    output.say(f"made {made['name']} ({made['id']}), {made['size_gb']} GiB at {made['mount_path']}")
    output.remark(f"  next: stoker volume upload {made['name']} FILE")
    output.remark(f"        stoker endpoint update ENDPOINT --volume {made['name']}")


def _show_list(found: Mapping[str, Any]) -> None:
    heads = ("NAME", "ID", "USED", "MEASURED", "MOUNT PATH", "USED BY")
    rows = (
        (
            each["name"],
            each["id"],
            _used(each),
            output.ago(each["measured_ms"]),
            each["mount_path"],
            " ".join(each["endpoints"]),
        )
        for each in found["volumes"]
    )
    output.table(heads, rows, nothing="no volumes yet; make one: stoker volume create NAME --size GIB")


def _show(each: Mapping[str, Any]) -> None:
    output.facts(
        {
            "name": each["name"],
            "id": each["id"],
            "used": _used(each),
            "measured": output.ago(each["measured_ms"]),
            "mount path": each["mount_path"],
            "used by": " ".join(each["endpoints"]),
            "made": output.ago(each["created_ms"]),
        }
    )


def _used(each: Mapping[str, Any]) -> str:
    full = " (over: uploads are refused)" if each["over"] else ""
    return f"{each['used_bytes'] / 1024**3:.2f} of {each['size_gb']} GiB{full}"


def _show_sent(sent: Mapping[str, Any]) -> None:
    output.say(f"uploaded {counted(len(sent['files']), 'file')}")


def _show_files(found: Mapping[str, Any]) -> None:
    rows = (
        (f"{each['name']}/" if each["kind"] == "directory" else each["name"], each["kind"], _size(each), _changed(each))
        for each in found["files"]
    )
    output.table(("NAME", "KIND", "BYTES", "CHANGED"), rows, nothing="nothing is here")


def _size(each: Mapping[str, Any]) -> int | None:
    return int(each["size"]) if each["kind"] == "file" else None


def _changed(each: Mapping[str, Any]) -> str:
    return output.ago(each["modified_ms"])


__all__ = ["volume"]
