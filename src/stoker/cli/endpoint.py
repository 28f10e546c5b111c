"""`stoker endpoint`: what customers configure."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any, Final

import click

from stoker.cli import files, output
from stoker.cli.connection import with_client
from stoker.cli.output import Command
from stoker.client import Client
from stoker.client.shapes import EndpointJson, EndpointsJson, WhyJson
from stoker.endpoint import LIMITS, PolicyType


@click.group()
def endpoint() -> None:
    """Create, change and look at endpoints."""


# ── what can be set ───────────────────────────────────────────────────────────────────────────────────────────────────


def _range(name: str, *, per: int = 1) -> str:
    limit = LIMITS[name]
    return f"{limit.least // per} to {limit.most // per}"


def _read_env(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> dict[str, str] | None:
    """`K=V` words as a mapping, None when there are none. A value may contain `=`."""
    for word in given:
        if not word.partition("=")[0] or "=" not in word:
            raise click.BadParameter(f"'{word}' is not of the form NAME=VALUE")
    return dict(word.split("=", 1) for word in given) or None


def read_secrets(
    _context: click.Context, _option: click.Parameter, given: tuple[str, ...]
) -> dict[str, dict[str, str]] | None:
    """`K=V` words as secret values; for `K` alone the value is taken from this environment, where nobody else sees it."""
    found = {}
    for word in given:
        name, separator, value = word.partition("=")
        if not separator:
            value = os.environ.get(name, "")
        if not name or not (separator or name in os.environ):
            raise click.BadParameter(f"'{name}' has no value: give NAME=VALUE, or set the variable NAME here")
        found[name] = {"secret": value}
    return found or None


def _read_list(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> list[str] | None:
    """None when nothing was given; an empty word is an empty list."""
    return [word for word in given if word] if given else None


def _most(name: str) -> int:
    return LIMITS[name].most


def _read_ahead(_context: click.Context, _option: click.Parameter, given: str | None) -> str | int | None:
    if given is None or given in ("auto", "off"):
        return given
    if not given.isdecimal():
        raise click.BadParameter(f"'{given}' is neither auto nor off nor a number")
    return int(given)


def _resolve_image(_context: click.Context, _option: click.Parameter, given: str | None) -> str | None:
    """A `dir:` image with an absolute path: the server's current directory is not the user's."""
    if given is None or not given.startswith("dir:"):
        return given
    return f"dir:{os.path.abspath(os.path.expanduser(given.removeprefix('dir:')))}"


_SETTINGS: Final = (
    click.option(
        "--image",
        callback=_resolve_image,
        help="What workers run: a container image, or dir:PATH for a directory on the server's machine.",
    ),
    click.option(
        "--command", help="Command that starts a worker; a dir: image needs one, a container image may have its own."
    ),
    click.option(
        "--env",
        metavar="K=V",
        multiple=True,
        callback=_read_env,
        help="Environment variable of the workers; repeatable. An update leaves the others as they are.",
    ),
    click.option(
        "--secret",
        "secrets",
        metavar="K[=V]",
        multiple=True,
        callback=read_secrets,
        help="Variable whose value nobody is shown; without =V that of this environment's variable. Repeatable.",
    ),
    click.option("--credential", metavar="NAME", help="Registry credential for the image; empty for none."),
    click.option("--entrypoint", help="Words before those of the command; empty for the image's own."),
    click.option(
        "--cuda",
        metavar="VERSIONS",
        help="CUDA versions that the machine must offer: '12.4, 12.6', or '>=12.4'; empty for any.",
    ),
    click.option(
        "--http-port",
        metavar="PORT",
        type=int,
        help=f"Port of the worker's own HTTP server, {_range('http_port')} but 2222 to 2224; 0 for none.",
    ),
    click.option(
        "--health-path",
        metavar="PATH",
        help="Health check: ask for PATH at --http-port; a worker that does not answer well gets no jobs. Empty for no check.",
    ),
    click.option(
        "--health-delay",
        "health_initial_delay_s",
        metavar="SECONDS",
        type=int,
        help=f"From a worker's launch to the first question, {_range('health.initial_delay_s')}.",
    ),
    click.option(
        "--health-period",
        "health_period_s",
        metavar="SECONDS",
        type=int,
        help=f"From one question to the next, {_range('health.period_s')}.",
    ),
    click.option(
        "--health-timeout",
        "health_timeout_s",
        metavar="SECONDS",
        type=int,
        help=f"For one answer, {_range('health.timeout_s')}.",
    ),
    click.option(
        "--health-successes",
        type=int,
        help=f"Good answers in a row that make a worker healthy, {_range('health.successes')}.",
    ),
    click.option(
        "--health-failures",
        type=int,
        help=f"Bad answers in a row for which a worker is replaced, {_range('health.failures')}.",
    ),
    click.option("--webhook", metavar="URL", help="Webhook of jobs that name none; empty for none."),
    click.option("--gpus", "gpus_per_worker", type=int, help=f"GPUs of each worker, {_range('gpus_per_worker')}."),
    click.option(
        "--specification",
        "specifications",
        metavar="ID",
        multiple=True,
        callback=_read_list,
        help="Instance specification to place workers in; repeatable, the preferred one first. Empty for any. An update replaces "
        "all with those given.",
    ),
    click.option(
        "--volume",
        "volumes",
        metavar="NAME[:PATH][:ro]",
        multiple=True,
        callback=_read_list,
        help="Volume of the team that workers see, at its own path or at PATH; or a directory of the server's machine, "
        "/DIRECTORY:PATH, that its settings allow. Repeatable. An update replaces all volumes with those given; --volume '' leaves none.",
    ),
    click.option(
        "--disk-gb",
        type=int,
        help="The most that a container may write to its own disk, in GiB; 0: no more than the server's limit.",
    ),
    click.option("--min-workers", type=int, help=f"Workers kept even without jobs, {_range('min_workers')}."),
    click.option("--max-workers", type=int, help=f"Most workers, {_range('max_workers')}."),
    click.option(
        "--idle-timeout",
        "idle_timeout_s",
        metavar="SECONDS",
        type=int,
        help=f"How long a worker may be idle before it goes, {_range('idle_timeout_s')}.",
    ),
    click.option(
        "--max-surge",
        type=int,
        help=f"Workers beyond those wanted while a new release replaces an old one, {_range('max_surge')}; 0 drains old ones first.",
    ),
    click.option(
        "--weight",
        type=int,
        help=f"Its part of a full machine beside other endpoints, {_range('weight')}.",
    ),
    click.option("--slots", type=int, help=f"Jobs that one worker may hold at once, {_range('slots')}."),
    click.option(
        "--policy",
        "policy_type",
        type=click.Choice([kind.value for kind in PolicyType]),
        help="What the number of workers follows: jobs per worker, or how long the oldest job waits.",
    ),
    click.option(
        "--policy-value",
        type=int,
        help=f"Jobs per worker (queue_requests) or seconds (queue_delay), {_range('policy.value')}.",
    ),
    click.option(
        "--execution-timeout",
        "execution_timeout_s",
        metavar="SECONDS",
        type=int,
        help=f"How long a job may run, {_range('execution_timeout_ms', per=1000)}.",
    ),
    click.option(
        "--ttl",
        "ttl_s",
        metavar="SECONDS",
        type=int,
        help=f"How long a job may wait and run together, {_range('ttl_ms', per=1000)}.",
    ),
    click.option(
        "--retries", type=int, help=f"How often a job that the platform lost runs again, {_range('retries')}."
    ),
    click.option(
        "--retention",
        "retention_s",
        metavar="SECONDS",
        type=int,
        help=f"How long results are kept, {_range('retention_s')}.",
    ),
    click.option(
        "--deliver-ahead",
        metavar="auto|off|N",
        callback=_read_ahead,
        help=f"Jobs that a worker may get besides those that it can begin at once: auto, off, or 1 to {_most('deliver_ahead')}.",
    ),
)


warm_option = click.option(
    "--warm/--no-warm",
    default=None,
    help="Fetch the image now, before the first worker needs it, or not. Without either: where workers are containers.",
)


def _settings(command: Command) -> Command:
    for option in reversed(_SETTINGS):
        command = option(command)
    return command


def _body(given: Mapping[str, Any]) -> dict[str, Any]:
    """The API's fields of the options that were given: seconds become milliseconds where the API counts in them."""
    body = {name: value for name, value in given.items() if value is not None}
    secrets = body.pop("secrets", None)
    if secrets:
        body["env"] = {**body.get("env", {}), **secrets}
    for name in ("execution_timeout", "ttl"):
        if f"{name}_s" in body:
            body[f"{name}_ms"] = body.pop(f"{name}_s") * 1000
    policy = {part: body.pop(f"policy_{part}") for part in ("type", "value") if f"policy_{part}" in body}
    health = {name.removeprefix("health_"): body.pop(name) for name in list(body) if name.startswith("health_")}
    return body | ({"policy": policy} if policy else {}) | ({"health": health} if health else {})


# ── commands ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@endpoint.command()
@click.argument("name", required=False)
@_settings
@click.option("--app-name", help="Added to the endpoint's id in its URL; cannot be changed later.")
@click.option("--template", metavar="NAME", help="Take from this template what is not given.")
@warm_option
@click.option("--yes", is_flag=True, help="On a terminal: do not show the plan and ask.")
@output.json_option
@with_client
def create(client: Client, /, name: str | None, yes: bool, warm: bool | None, **given: Any) -> None:
    """Create the endpoint NAME; without one it is named by 16 random hexadecimal characters.

    What is not given gets the server's default. A relative dir: image is taken from the current directory. On a terminal the
    plan is shown first, and nothing is done without a yes; elsewhere nothing is asked.
    """
    if given["image"] is None and given["template"] is None:
        raise click.UsageError("say what workers run: --image dir:PATH, or a container image")
    body = _body(given | {"name": name})
    if yes or not output.asks() or _agrees(client, body):
        output.answer(client.create_endpoint(body, warm=warm), _show_created)


def _agrees(client: Client, body: dict[str, Any]) -> bool:
    files.say_plan(client.ask("POST", "endpoints", body=body, params={"dry_run": True}))
    return output.agreed(False, "Create it?")


@endpoint.command("ls")
@output.json_option
@with_client
def list_endpoints(client: Client) -> None:
    """List endpoints with their workers and jobs."""
    output.answer(client.endpoints(), _show_list)


@endpoint.command("last-hour")
@output.json_option
@with_client
def last_hour(client: Client) -> None:
    """List how long jobs waited and ran within the last hour, and how many ended well."""
    output.answer(client.ask("GET", "last-hour"), _show_last_hour)


@endpoint.command()
@click.argument("name")
@output.json_option
@with_client
def show(client: Client, name: str) -> None:
    """Show an endpoint: settings, counters, and what the autoscaler last decided, or how far its image is."""
    output.answer(client.endpoint(name), lambda it: show_endpoint(it, client.why_endpoint(name)))


@endpoint.command()
@click.argument("name")
@click.option("--name", "new_name", help="A new name.")
@_settings
@click.option("--unset", metavar="NAME", multiple=True, help="Environment variable to take away; repeatable.")
@warm_option
@click.option("--dry-run", is_flag=True, help="Only print the difference.")
@output.json_option
@with_client
def update(
    client: Client,
    /,
    name: str,
    new_name: str | None,
    unset: tuple[str, ...],
    dry_run: bool,
    warm: bool | None,
    **given: Any,
) -> None:
    """Change an endpoint: only what is given.

    A new image, command, environment or number of GPUs makes a new release: new workers run it, old ones finish their
    jobs and go.
    """
    body = _body({"name": new_name, **given})
    if not body and not unset:
        raise click.UsageError("nothing to change was given; see: stoker endpoint update --help")
    if unset or body.keys() & {"policy", "env"}:  # the API takes these whole
        body |= _whole(client.endpoint(name), body, unset)
    if dry_run:
        plan = client.ask("PATCH", "endpoints", name, body=body, params={"dry_run": True})
        output.answer(plan, files.say_plan)
    else:
        output.answer(client.update_endpoint(name, body, warm=warm), show_endpoint)


def _whole(present: EndpointJson, body: Mapping[str, Any], unset: Collection[str]) -> dict[str, Any]:
    """Policy and environment as they will be, if they change; a secret of before goes back as the mark that stands for it."""
    for variable in unset:
        if variable not in present["env"]:
            raise click.UsageError(f"the endpoint '{present['name']}' has no variable '{variable}'")
    env = {name: value for name, value in present["env"].items() if name not in unset}
    return {
        **({"policy": present["policy"] | body["policy"]} if "policy" in body else {}),
        **({"env": env | body.get("env", {})} if unset or "env" in body else {}),
    }


@endpoint.command()
@click.argument("name")
@output.json_option
@with_client
def why(client: Client, name: str) -> None:
    """Say why an endpoint has the workers that it has, and why its jobs wait."""
    output.answer(client.why_endpoint(name), output.explanation)


@endpoint.command()
@click.argument("name")
@output.json_option
@with_client
def retry(client: Client, name: str) -> None:
    """Launch workers again after a crash loop: starts that failed until now do not count any more."""
    output.answer(client.retry_endpoint(name), show_endpoint)


@endpoint.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@output.json_option
@with_client
def delete(client: Client, name: str, yes: bool) -> None:
    """Delete an endpoint.

    Queued jobs are cancelled, workers finish the jobs they hold and go.
    """
    if output.agreed(yes, f"Delete the endpoint '{name}' and cancel its queued jobs?"):
        output.answer(client.delete_endpoint(name), lambda gone: output.say(f"deleted {gone['name']} ({gone['id']})"))


# ── for people ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _show_created(made: EndpointJson) -> None:
    output.say(f"created {made['name']} ({made['id']})")
    output.remark(f'  next: stoker job run {made["name"]} -d \'{{"prompt":"hello"}}\' --wait')


def _show_last_hour(found: Mapping[str, Any]) -> None:
    heads = ("NAME", "ENDED", "SUCCESS", "WAIT P50", "WAIT P95", "RUN P50", "RUN P95", "FAILED BECAUSE OF")
    output.table(heads, map(_hour, found["endpoints"]), nothing="there are no endpoints")


def _hour(each: Mapping[str, Any]) -> tuple[object, ...]:
    ended = each["looked_at"]
    times = [
        f"{each[of][rank] / 1000:g} s" if each[of] else "" for of in ("wait_ms", "run_ms") for rank in ("p50", "p95")
    ]
    causes = ", ".join(f"{one['reason']} ({one['count']})" for one in each["causes"])
    success = f"{each['completed'] / ended:.1%}" if ended else ""
    return each["endpoint"]["name"], f"{ended}{'' if each['complete'] else ' or more'}", success, *times, causes


def _show_list(found: EndpointsJson) -> None:
    heads = ("NAME", "ID", "WORKERS", "QUEUED", "RUNNING", "COMPLETED", "FAILED", "AUTOSCALER")
    rows = ((each["name"], each["id"], _workers(each), *_counts(each), _decided(each)) for each in found["endpoints"])
    output.table(heads, rows, nothing="no endpoints yet; make one: stoker endpoint create NAME --image dir:PATH")


def _workers(each: EndpointJson) -> str:
    return f"{each['workers']['total']} of {each['max_workers']}"


def _counts(each: EndpointJson) -> tuple[int, int, int, int]:
    jobs = each["jobs"]
    return jobs["queued"] + jobs["queued_low"] + jobs["ahead"], jobs["running"], jobs["completed"], jobs["failed"]


def _decided(each: Mapping[str, Any]) -> str:
    return str(each["decision"]["text"]) if each["decision"] else ""


def show_endpoint(each: Mapping[str, Any], why: WhyJson | None = None) -> None:
    """Print an endpoint for people. `why` is asked when only its image may be on its way: no decision tells that."""
    policy, release = each["policy"], each["release"]
    output.facts(
        {
            "name": each["name"],
            "id": each["id"],
            "app name": each["app_name"],
            "image": each["image"],
            "registry credential": each["credential"],
            "entrypoint": each["entrypoint"],
            "command": each["command"],
            "environment": " ".join(f"{name}={_value(value)}" for name, value in each["env"].items()),
            "release": f"{release['number']}, made {output.ago(release['created_ms'])}",
            "image as run": each["digest"],
            "volumes": " ".join(each["volumes"]),
            "disk": f"{each['disk_gb']} GiB" if each["disk_gb"] else "",
            "GPUs per worker": each["gpus_per_worker"],
            "specifications": ", then ".join(each["specifications"]) or "any",
            "price": _price(each["price"]),
            "CUDA": each["cuda"],
            "HTTP port": each["http_port"] or None,
            "health check": _health(each["health"]),
            "workers": f"{each['min_workers']} to {each['max_workers']}, idle for at most {each['idle_timeout_s']} s",
            "max surge": each["max_surge"],
            "weight": each["weight"],
            "rate": each["rate"],
            "slots": each["slots"],
            "policy": f"{policy['type']}, {policy['value']}",
            "execution timeout": output.span(each["execution_timeout_ms"]),
            "time to live": output.span(each["ttl_ms"]),
            "retries": each["retries"],
            "retention": output.span(each["retention_s"] * 1000),
            "webhook": each["webhook"],
            "delivered ahead": each["deliver_ahead"],
            "paused": output.ago(each["paused_ms"]),
            "workers now": _nonzero(each["workers"]),
            "jobs": _nonzero(each["jobs"]),
            "autoscaler": why["text"] if why and why["reason"] == "image_pulling" else _decided(each),
            **{f"URL {dialect}": url for dialect, url in each["urls"].items()},
        }
    )


def _price(price: Mapping[str, Any]) -> str:
    return f"{price['worker_per_hour']:g} per hour and worker, {price['now_per_hour']:g} per hour now"


def _health(check: Mapping[str, Any] | None) -> str:
    if check is None:
        return ""
    return (
        f"{check['path']} every {check['period_s']} s from {check['initial_delay_s']} s on, {check['timeout_s']} s each; "
        f"well after {check['successes']}, replaced after {check['failures']}"
    )


def _value(value: str | Mapping[str, bool]) -> str:
    return value if isinstance(value, str) else "(secret)"


def _nonzero(counts: Mapping[str, object]) -> str:
    return ", ".join(f"{count} {output.words(name)}" for name, count in counts.items() if count) or "none"
