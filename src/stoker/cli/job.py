"""`stoker job`: submit jobs, follow them, and learn why they are as they are."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from stoker.cli import output, watch
from stoker.cli.connection import check_header, with_client
from stoker.client import Client
from stoker.client.shapes import JobJson, JobsJson


@click.group()
def job() -> None:
    """Submit jobs and follow them."""


# ── submit and wait ───────────────────────────────────────────────────────────────────────────────────────────────────


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _read_input(_context: click.Context, _option: click.Parameter, given: str) -> str:
    """JSON text from the word itself, `@file`, or `-`; kept as it was written. Raises `BadParameter`."""
    try:
        if given == "-":
            text = sys.stdin.buffer.read().decode("utf-8-sig")
        elif given.startswith("@"):
            text = Path(given[1:]).read_bytes().decode("utf-8-sig")
        else:
            text = given.encode().decode()
        json.loads(text, parse_constant=_refuse_constant)
    except OSError as error:
        raise click.BadParameter(f"cannot read {given[1:]}: {error.strerror}") from None
    except UnicodeError:
        raise click.BadParameter("the input is not UTF-8") from None
    except RecursionError:
        raise click.BadParameter("the input is nested too deeply") from None
    except ValueError as error:
        raise click.BadParameter(f"the input is not JSON: {error}") from None
    return text


_TIMEOUT = click.option(
    "--timeout",
    "timeout_s",
    metavar="SECONDS",
    type=click.IntRange(min=0),
    help="Stop waiting after this long; the job goes on.",
)


@job.command()
@click.argument("endpoint")
@click.option(
    "-d",
    "--data",
    metavar="JSON|@FILE|-",
    required=True,
    callback=_read_input,
    help="The job's input: JSON, @FILE to read it from a file, - from standard input.",
)
@click.option("--wait", is_flag=True, help="Wait for the end and print the output.")
@_TIMEOUT
@click.option("--low-priority", is_flag=True, help="Run after the others; does not start workers.")
@click.option("--execution-timeout", "execution_timeout_s", metavar="SECONDS", type=int, help="How long it may run.")
@click.option("--ttl", "ttl_s", metavar="SECONDS", type=int, help="How long it may wait and run together.")
@click.option(
    "--idempotency-key", metavar="KEY", callback=check_header, help="Submitting twice with one key makes one job."
)
@output.json_option
@with_client
def run(
    client: Client,
    endpoint: str,
    data: str,
    wait: bool,
    timeout_s: int | None,
    low_priority: bool,
    execution_timeout_s: int | None,
    ttl_s: int | None,
    idempotency_key: str | None,
) -> None:
    """Submit a job to ENDPOINT and print its id, or with --wait its output.

    The output is printed as JSON and is all that goes to standard output. While it waits, a terminal shows the job's
    state, the reason in words, the time, and the progress that the handler reports.
    """
    if timeout_s is not None and not wait:
        raise click.UsageError("--timeout is about waiting: add --wait")
    policy = _policy(low_priority, execution_timeout_s, ttl_s)
    submitted = client.submit(endpoint, data, policy=policy, idempotency_key=idempotency_key)
    if wait:
        follow(client, submitted, timeout_s)
    else:
        output.answer(submitted, show_submitted)


@job.command("wait")
@click.argument("job_id", metavar="ID")
@_TIMEOUT
@output.json_option
@with_client
def wait_for(client: Client, job_id: str, timeout_s: int | None) -> None:
    """Wait for the end of a job and print its output, as run --wait does."""
    follow(client, client.job(job_id), timeout_s)


def _policy(low_priority: bool, execution_timeout_s: int | None, ttl_s: int | None) -> dict[str, Any]:
    """The words of Runpod's job policy; durations in milliseconds."""
    policy: dict[str, Any] = {}
    if low_priority:
        policy["lowPriority"] = True
    if execution_timeout_s is not None:
        policy["executionTimeout"] = execution_timeout_s * 1000
    if ttl_s is not None:
        policy["ttl"] = ttl_s * 1000
    return policy


def follow(client: Client, present: JobJson, timeout_s: int | None) -> None:
    """Wait for the end, print the answer, and raise unless the job completed."""
    ended = watch.wait(client, present, timeout_s=timeout_s)
    if output.wants_json(click.get_current_context()):
        output.say_json(ended)
        watch.require_completed(ended)
    else:
        watch.require_completed(ended)
        output.say_json(ended.get("output"))


# ── look ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@job.command()
@click.argument("job_id", metavar="ID")
@output.json_option
@with_client
def status(client: Client, job_id: str) -> None:
    """Say in one line where a job is."""
    output.answer(client.job(job_id), lambda found: output.say(watch.sentence(found)))


@job.command()
@click.argument("job_id", metavar="ID")
@output.json_option
@with_client
def show(client: Client, job_id: str) -> None:
    """Show a job with the timeline of its life."""
    output.answer(client.job(job_id), _show)


@job.command(name="input")
@click.argument("job_id", metavar="ID")
@output.json_option
@with_client
def input_(client: Client, job_id: str) -> None:
    """Print what was submitted, as JSON: to run it again, perhaps changed."""
    output.answer(client.input(job_id), lambda given: click.echo(json.dumps(given, ensure_ascii=False)))


@job.command()
@click.argument("job_id", metavar="ID")
@output.json_option
@with_client
def why(client: Client, job_id: str) -> None:
    """Say why a job waits, runs, or ended as it did."""
    output.answer(client.why(job_id), output.explanation)


@job.command()
@click.argument("job_id", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job ends.")
@output.since_option
@output.json_option
@with_client
def logs(client: Client, job_id: str, follow: bool, since_ms: int) -> None:
    """Print what the job's workers wrote about it, also after they are gone.

    Of workers with one slot that is everything from the begin of its turn to its end. Where several jobs run at once it is the lines that
    bear the job's id, which the SDK's logger writes.
    """
    for line in client.job_logs(job_id, follow=follow, since_ms=since_ms):
        output.log_line(line)


# ── change ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@job.command()
@click.argument("job_id", metavar="ID")
@output.json_option
@with_client
def cancel(client: Client, job_id: str) -> None:
    """Cancel a job."""
    output.answer(client.cancel(job_id), lambda found: output.say(watch.sentence(found)))


@job.command()
@click.argument("job_id", metavar="ID")
@output.json_option
@with_client
def retry(client: Client, job_id: str) -> None:
    """Queue a failed or timed-out job again, with the same id."""
    output.answer(client.retry(job_id), lambda found: output.say(watch.sentence(found)))


# ── for people ────────────────────────────────────────────────────────────────────────────────────────────────────────


def show_submitted(submitted: JobJson) -> None:
    """Print the id of a new job."""
    output.say(submitted["id"])
    output.remark(f"  next: stoker job wait {submitted['id']}")


def show_list(found: JobsJson) -> None:
    """Print jobs as a table."""
    heads = ("ID", "STATE", "REASON", "ATTEMPT", "WAITED", "RAN", "SUBMITTED", "WORKER")
    rows = (
        (
            each["id"],
            each["state"],
            output.words(each["reason"]),
            each["attempt"],
            output.span(each["delay_ms"]),
            output.span(each["execution_ms"]),
            output.ago(each["created_ms"]),
            each["worker"],
        )
        for each in found["jobs"]
    )
    output.table(heads, rows, nothing="no such jobs")


def _show(found: JobJson) -> None:
    output.facts(
        {
            "id": found["id"],
            "endpoint": found["endpoint"]["name"],
            "state": found["state"],
            "why": watch.reason(found),
            "priority": "low" if found["low_priority"] else "normal",
            "jobs before it": found.get("position"),
            "attempt": f"{found['attempt']} of at most {found['attempts_most']}",
            "losses": found["losses"],
            "worker": found["worker"],
            "submitted": output.moment(found["created_ms"]),
            "waited": output.span(found["delay_ms"]),
            "ran": output.span(found["execution_ms"]),
            "cost": output.amount(found.get("cost")),
            "output": _brief(found.get("output")),
            "error": _brief(found.get("error")),
        }
    )
    output.say("")
    output.timeline(found.get("story", []))


def _brief(value: object) -> str | None:
    """A value as JSON, cut where it would fill the screen; `job wait` and --json print all of it."""
    return None if value is None else watch.cut(value if isinstance(value, str) else output.json_text(value), 2_000)
