"""What a customer configures: an endpoint, and the releases that its workers run.

An endpoint is a named group of identical workers with a queue. What its workers execute (image, command, environment,
GPUs) is a *release*: changing any of it makes a new one, which new workers use while the old ones drain. Everything
else changes in place.

Every range is here once, in `LIMITS`; it is served at `/api/limits`, documented, and enforced by `check`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from stoker.errors import InvalidInput
from stoker.ids import EndpointId, ReleaseId, TeamId


class PolicyType(StrEnum):
    """Which load the number of workers follows."""

    QUEUE_REQUESTS = "queue_requests"
    """`value` = jobs that each worker should have, queued and running together."""
    QUEUE_DELAY = "queue_delay"
    """`value` = seconds that the oldest job may wait before a worker is added."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """The elastic policy."""

    type: PolicyType = PolicyType.QUEUE_REQUESTS
    value: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """What a worker executes."""

    id: ReleaseId
    endpoint: EndpointId
    number: int
    image: str
    command: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    gpus_per_worker: int = 0
    entrypoint: str = ""
    """Instead of the image's, like `command`. This and what follows is for containers; other runtimes ignore it."""
    volumes: tuple[str, ...] = ()
    """Storage that outlives workers, each `SOURCE:TARGET` or `SOURCE:TARGET:ro`."""
    http_port: int = 0
    """A port inside that the server's machine shall reach; 0 for none."""
    disk_gb: int = 0
    """The most that a worker may write to its own disk, in GiB; 0 for the server's own limit."""
    digest: str = ""
    """What the image's tag meant when the first worker of the release was launched; empty before."""
    created_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """An endpoint as it stands."""

    id: EndpointId
    team: TeamId
    name: str
    app_name: str = ""
    release: ReleaseId
    min_workers: int = 0
    max_workers: int = 3
    idle_timeout_s: int = 60
    slots: int = 1
    """Jobs that one worker may hold at once."""
    policy: Policy = field(default_factory=Policy)
    execution_timeout_ms: int = 600_000
    ttl_ms: int = 86_400_000
    retries: int = 1
    retention_s: int = 21_600
    deliver_ahead: int | None = None
    """Jobs that a worker may get besides those that it can begin at once; None for as many as are good, 0 for none."""
    version: int = 1
    """Counts the changes: a change names the version it was made from."""
    created_ms: int
    deleted_ms: int | None = None

    def answers_to(self, word: str) -> bool:
        """Whether `word`, taken from a URL, means this endpoint: its name, its id, or `{id}-{appName}`."""
        return word in (self.name, self.id) or (bool(self.app_name) and word == f"{self.id}-{self.app_name}")


@dataclass(frozen=True, slots=True)
class Range:
    """An inclusive range of integers, with its unit and why it ends where it does."""

    least: int
    most: int
    unit: str
    why: str


LIMITS: Final[Mapping[str, Range]] = {
    "min_workers": Range(0, 100, "workers", "0 lets the endpoint scale to zero"),
    "max_workers": Range(1, 100, "workers", "one server starts at most this many workers of an endpoint"),
    "idle_timeout_s": Range(1, 3_600, "seconds", "an idle worker costs what a busy one costs"),
    "slots": Range(1, 100, "jobs", "what the SDK's concurrency can use"),
    "gpus_per_worker": Range(0, 8, "GPUs", "0 runs on the CPU; 8 is the largest common box"),
    "policy.value": Range(1, 86_400, "jobs or seconds", "at most a day of waiting"),
    "execution_timeout_ms": Range(5_000, 604_800_000, "milliseconds", "5 s to 7 days, as on Runpod"),
    "ttl_ms": Range(10_000, 604_800_000, "milliseconds", "10 s to 7 days, as on Runpod"),
    "retries": Range(0, 10, "retries", "a job that kills workers must not do so for ever"),
    "http_port": Range(0, 65_535, "port", "0 publishes none; 2222 to 2224 are taken on the platforms that images know"),
    "disk_gb": Range(0, 65_536, "GiB", "0 is the limit of the server's settings"),
    "retention_s": Range(60, 604_800, "seconds", "results are kept on the server's disk"),
    "deliver_ahead": Range(0, 250, "jobs", "0 is off; more would not fit into the URL of a worker's ping"),
}

TEXT_MOST: Final[Mapping[str, int]] = {
    "name": 220,
    "app_name": 63,
    "image": 511,
    "command": 2_047,
    "env": 100,
    "env value": 32_768,
    "entrypoint": 2_047,
    "volumes": 16,
    "volume": 1_024,
}
"""The most characters of each text; for `env` and `volumes` how many."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_APP_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_VOLUME = re.compile(r"(/[^:]+|[A-Za-z0-9][A-Za-z0-9_.-]*):/[^:]+(:ro)?")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OURS = re.compile(r"(RUNPOD|NOVITA)_(WEBHOOK_.*|PING_INTERVAL|POD_ID|POD_HOSTNAME|AI_API_KEY|ENDPOINT_ID)")
_MODE_SWITCHES = re.compile(r"RUNPOD_(REALTIME_PORT|REALTIME_CONCURRENCY|USE_CORE|CORE_PATH|SLS_CORE)")


def check_range(name: str, value: int) -> None:
    """Raise `InvalidInput` when `value` is outside `LIMITS[name]`."""
    limit = LIMITS[name]
    if not limit.least <= value <= limit.most:
        raise InvalidInput(
            f"{name} is {value}; it must be from {limit.least} to {limit.most} {limit.unit}",
            code="out_of_range",
            field=name,
            next_step=f"choose a value from {limit.least} to {limit.most} ({limit.why})",
        )


def check(endpoint: Endpoint, release: Release) -> None:
    """Raise `InvalidInput` for the first value that is not allowed."""
    _check_names(endpoint)
    for name in ("min_workers", "max_workers", "idle_timeout_s", "slots", "execution_timeout_ms", "ttl_ms", "retries"):
        check_range(name, getattr(endpoint, name))
    check_range("retention_s", endpoint.retention_s)
    if endpoint.deliver_ahead is not None:
        check_range("deliver_ahead", endpoint.deliver_ahead)
    check_range("policy.value", endpoint.policy.value)
    for name in ("gpus_per_worker", "http_port", "disk_gb"):
        check_range(name, getattr(release, name))
    if endpoint.min_workers > endpoint.max_workers:
        raise InvalidInput(
            f"min_workers is {endpoint.min_workers}, more than max_workers, which is {endpoint.max_workers}",
            code="out_of_range",
            field="min_workers",
            next_step="lower min_workers or raise max_workers",
        )
    _check_text("image", release.image)
    if not release.image:
        raise InvalidInput("image is empty", field="image", next_step="name an image, for example dir:examples/hello")
    _check_text("command", release.command)
    _check_text("entrypoint", release.entrypoint)
    _check_volumes(release.volumes)
    if 2_222 <= release.http_port <= 2_224:
        raise InvalidInput("http_port may not be 2222 to 2224", code="out_of_range", field="http_port")
    _check_env(release.env)


def _check_text(name: str, value: str) -> None:
    if len(value) > TEXT_MOST[name]:
        raise InvalidInput(f"{name} has {len(value)} characters; at most {TEXT_MOST[name]} are allowed", field=name)
    if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise InvalidInput(f"{name} contains a NUL character or half of a surrogate pair", field=name)


def _check_names(endpoint: Endpoint) -> None:
    _check_text("name", endpoint.name)
    if not _NAME.fullmatch(endpoint.name):
        raise InvalidInput(
            "name may use letters, digits, '.', '_' and '-', and starts with a letter or digit: it is part of the URL",
            field="name",
        )
    _check_text("app_name", endpoint.app_name)
    if endpoint.app_name and not _APP_NAME.fullmatch(endpoint.app_name):
        raise InvalidInput("app_name may use lower-case letters, digits and hyphens", field="app_name")


def _check_volumes(volumes: tuple[str, ...]) -> None:
    if len(volumes) > TEXT_MOST["volumes"]:
        raise InvalidInput(
            f"there are {len(volumes)} volumes; at most {TEXT_MOST['volumes']} are allowed", field="volumes"
        )
    for volume in volumes:
        _check_text("volume", volume)
        if not _VOLUME.fullmatch(volume) or "/../" in f"{volume}/".replace(":", "/"):
            raise InvalidInput(
                f"'{volume[:100]}' is no volume",
                field="volumes",
                next_step="write SOURCE:TARGET or SOURCE:TARGET:ro; SOURCE is a name or an absolute path, TARGET an absolute path",
            )


def _check_env(env: Mapping[str, str]) -> None:
    if len(env) > TEXT_MOST["env"]:
        raise InvalidInput(f"env has {len(env)} variables; at most {TEXT_MOST['env']} are allowed", field="env")
    for name, value in env.items():
        if not _ENV_NAME.fullmatch(name):
            raise InvalidInput(f"'{name}' is no name of an environment variable", field=f"env.{name}")
        if _OURS.fullmatch(name) or _MODE_SWITCHES.fullmatch(name):
            raise InvalidInput(
                f"{name} is set by Stoker or switches the worker SDK into a mode without a queue",
                code="reserved_variable",
                field=f"env.{name}",
                next_step=f"remove {name}",
            )
        _check_text("env value", value)


def same_work(one: Release, other: Release) -> bool:
    """Whether workers of both releases would execute the same."""
    return replace(one, id=other.id, number=other.number, digest=other.digest, created_ms=other.created_ms) == other
