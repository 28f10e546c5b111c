"""`stoker job`, continued: a job in one file, and running it again from there."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Final, Literal

import click
import msgspec

from stoker.cli import output
from stoker.cli.connection import Connection, with_client
from stoker.cli.job import follow, job, show_submitted
from stoker.client import Client
from stoker.errors import InvalidInput, NotFound

WORD_BYTES_MOST: Final = 128 * 1024 - 1
"""The longest word that Linux hands to a program."""


class _Endpoint(msgspec.Struct):
    name: str


class _Job(msgspec.Struct):
    endpoint: _Endpoint


class _Capsule(msgspec.Struct):
    """What a replay needs of the file; the input as its client wrote it."""

    capsule: Literal[1]
    job: _Job
    input: msgspec.Raw


@job.command()
@click.argument("job_id", metavar="ID")
@click.option(
    "-o", "--output", "file", type=click.Path(path_type=Path), help="Where to write it; ID.capsule.json if left out."
)
@with_client
def capsule(client: Client, job_id: str, file: Path | None) -> None:
    """Write a job to one file: input, end, release, timeline and log, without values of variables."""
    content = client.capsule(job_id)
    target = file or Path(f"{job_id}.capsule.json")
    try:
        with target.open("xb") as made:
            made.write(content)
    except OSError as error:
        raise click.BadParameter(f"cannot write {target}: {error.strerror}", param_hint="--output") from None
    output.say(str(target))


@job.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--endpoint", metavar="NAME", help="Where to run it; the endpoint it came from if left out.")
@click.option(
    "--local",
    "command",
    metavar="COMMAND",
    help="Run the worker's own program here instead, such as 'python -u handler.py'.",
)
@click.option("--wait", is_flag=True, help="Wait for the end and print the output.")
@output.json_option
@click.pass_obj
def replay(connection: Connection, file: Path, endpoint: str | None, command: str | None, wait: bool) -> int:
    """Run the job of a capsule again, as a new job of an endpoint or with --local as a test of the Runpod SDK.

    With --local no server is asked: the program is started with --test_input, its output is shown, and its exit status is
    that of this command.
    """
    found = _read(file)
    given = bytes(found.input).decode()
    if command is not None:
        return _run_here(command, given)
    with connection.open() as client:
        submitted = client.submit(endpoint or found.job.endpoint.name, given, policy={}, idempotency_key=None)
        if wait:
            follow(client, submitted, None)
        else:
            output.answer(submitted, show_submitted)
    return 0


def _read(file: Path) -> _Capsule:
    """A capsule. Raises `InvalidInput` for what is none, `NotFound`."""
    try:
        found = msgspec.json.decode(file.read_bytes(), type=_Capsule)
    except FileNotFoundError:
        raise NotFound(f"there is no file {file}", code="no_such_capsule", field="file") from None
    except (OSError, ValueError, RecursionError):
        raise _no_capsule(file) from None
    if bytes(found.input) == b"null":
        raise _no_capsule(file)
    return found


def _no_capsule(file: Path) -> InvalidInput:
    return InvalidInput(
        f"{file} is no capsule with an input",
        code="no_capsule",
        field="file",
        next_step="write one with: stoker job capsule ID",
    )


def _run_here(command: str, given: str) -> int:
    """The worker's program as the SDK tests it, with the job's input; its exit status."""
    word = f'{{"input": {given}}}'
    if len(word.encode()) > WORD_BYTES_MOST:
        raise InvalidInput(
            f"the input has {len(word.encode())} bytes; a program can be given {WORD_BYTES_MOST} in one word",
            code="input_too_large_for_local",
            next_step="replay it on a server of this machine: stoker job replay FILE --endpoint NAME",
        )
    ours = ("RUNPOD_WEBHOOK", "STOKER_API_KEY")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    try:
        return subprocess.run([*shlex.split(command), "--test_input", word], env=environment, check=False).returncode
    except OSError as error:
        raise InvalidInput(
            f"cannot start '{command}': {error.strerror}", code="cannot_run_here", field="command"
        ) from None


__all__ = ["capsule", "job", "replay"]
