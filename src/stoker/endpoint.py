"""What a customer configures: an endpoint, and the releases that its workers run.

An endpoint is a named group of identical workers with a queue. What its workers execute (image, command, environment,
GPUs) is a *release*: changing any of it makes a new one, which new workers use and old ones are replaced by. Everything
else changes in place.

Every range is here once, in `LIMITS`; it is served at `/api/limits`, documented, and enforced by `check`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from stoker import webhook
from stoker.checkup import HealthCheck
from stoker.checkup import check_path as check_health_path
from stoker.errors import InvalidInput
from stoker.ids import CredentialId, EndpointId, MemberId, ReleaseId, TeamId, TemplateId
from stoker.volume import Mount, check_mounts


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


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that nobody is shown."""

    sealed: str
    """As the vault sealed it; its text is safe to store."""


Env = Mapping[str, str | Secret]
"""Environment variables of workers by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """What a worker executes."""

    id: ReleaseId
    endpoint: EndpointId
    number: int
    image: str
    credential: CredentialId | None = None
    """With which the image is pulled."""
    entrypoint: str = ""
    """Put before the command; empty: what the image says."""
    command: str = ""
    env: Env = field(default_factory=dict)
    gpus_per_worker: int = 0
    specifications: tuple[str, ...] = ()
    """Ids of the instance specifications that a worker may be placed in, the preferred one first; empty for any."""
    cuda: str = ""
    """Which CUDA versions the machine's driver must offer: empty for any, `12.4, 12.6` for one of these, `>=12.4` for a least."""
    http_port: int = 0
    """Where the worker's own HTTP server listens, for the server's machine to reach; 0 when it has none."""
    health: HealthCheck | None = None
    """What a worker must answer at its HTTP port to get jobs."""
    volumes: tuple[Mount, ...] = ()
    """Storage that outlives workers: where they see which volume."""
    disk_gb: int = 0
    """The most that a worker may write to its own disk, in GiB; 0 for the server's own limit. For containers."""
    digest: str = ""
    """What the image's tag meant when the first worker of the release was launched; empty before."""
    made_by: MemberId | None = None
    """None for what was made before there were members."""
    created_ms: int

    @property
    def program(self) -> str:
        """Entrypoint and command in one line, for runtimes that start a program."""
        return f"{self.entrypoint} {self.command}".strip()


@dataclass(frozen=True, kw_only=True, slots=True)
class Template:
    """Fields of an endpoint under a name, to make endpoints from."""

    id: TemplateId
    team: TeamId
    name: str
    fields: Mapping[str, Any]
    """As they are stored, in JSON: a secret value of `env` is `{"sealed": TEXT}`."""
    created_ms: int
    updated_ms: int


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
    max_surge: int = 1
    """Workers beyond those that are wanted while a new release replaces an old one; 0 drains old ones first."""
    weight: int = 1
    """How much of a full machine it gets beside others that want it too."""
    slots: int = 1
    """Jobs that one worker may hold at once."""
    policy: Policy = field(default_factory=Policy)
    execution_timeout_ms: int = 600_000
    ttl_ms: int = 86_400_000
    retries: int = 1
    retention_s: int = 21_600
    webhook: str = ""
    """Told the end of jobs that name no webhook themselves; empty for none."""
    rate: int | None = None
    """Requests to `/run` that one key may make here in ten seconds, others in proportion; None: as the server says. The operator's to set."""
    deliver_ahead: int | None = None
    """Jobs that a worker may get besides those that it can begin at once; None for as many as are good, 0 for none."""
    version: int = 1
    """Counts the changes: a change names the version it was made from."""
    created_ms: int
    paused_ms: int | None = None
    """Since when its queue is kept and no worker runs."""
    deleted_ms: int | None = None

    @property
    def state(self) -> str:
        """`active`, `paused` or `deleted`."""
        if self.deleted_ms is not None:
            return "deleted"
        return "active" if self.paused_ms is None else "paused"

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
    "max_surge": Range(0, 100, "workers", "0 drains old workers before new ones start"),
    "weight": Range(1, 1_000, "parts", "an endpoint of weight 2 gets twice what one of weight 1 gets"),
    "rate": Range(1, 1_000_000, "requests in 10 s", "to /run; others in the proportion that Runpod has"),
    "idle_timeout_s": Range(1, 3_600, "seconds", "an idle worker costs what a busy one costs"),
    "slots": Range(1, 100, "jobs", "what the SDK's concurrency can use"),
    "gpus_per_worker": Range(0, 8, "GPUs", "0 runs on the CPU; 8 is the largest common box"),
    "policy.value": Range(1, 86_400, "jobs or seconds", "at most a day of waiting"),
    "execution_timeout_ms": Range(5_000, 604_800_000, "milliseconds", "5 s to 7 days, as on Runpod"),
    "ttl_ms": Range(10_000, 604_800_000, "milliseconds", "10 s to 7 days, as on Runpod"),
    "retries": Range(0, 10, "retries", "a job that kills workers must not do so for ever"),
    "disk_gb": Range(0, 65_536, "GiB", "0 is the limit of the server's settings"),
    "retention_s": Range(60, 604_800, "seconds", "results are kept on the server's disk"),
    "http_port": Range(0, 65_535, "port", "0 is none; 2222 to 2224 are taken, as on Novita"),
    "health.initial_delay_s": Range(0, 3_600, "seconds", "a worker that is not asked gets no jobs"),
    "health.period_s": Range(1, 300, "seconds", "a worker is asked at most once a second"),
    "health.timeout_s": Range(1, 60, "seconds", "who waits longer learns nothing more"),
    "health.successes": Range(1, 10, "answers", "1 believes the first"),
    "health.failures": Range(1, 100, "answers", "1 replaces a worker for the first"),
    "deliver_ahead": Range(0, 250, "jobs", "0 is off; more would not fit into the URL of a worker's ping"),
}

TEXT_MOST: Final[Mapping[str, int]] = {
    "name": 220,
    "app_name": 63,
    "image": 511,
    "entrypoint": 2_047,
    "command": 2_047,
    "cuda": 100,
    "webhook": webhook.URL_MOST,
    "env": 100,
    "env value": 32_768,
    "specifications": 16,
    "volumes": 16,
}
"""The most characters of each text; for `env`, `specifications` and `volumes` how many."""
PORTS_TAKEN: Final = range(2_222, 2_225)
"""Not for `http_port`, as on Novita."""
OF_RELEASE: Final = (
    "image",
    "credential",
    "entrypoint",
    "command",
    "env",
    "gpus_per_worker",
    "specifications",
    "cuda",
    "http_port",
    "health",
    "volumes",
    "disk_gb",
)
"""Fields whose change makes a release."""
OF_ENDPOINT: Final = (
    "name",
    "app_name",
    "min_workers",
    "max_workers",
    "idle_timeout_s",
    "max_surge",
    "weight",
    "slots",
    "policy",
    "execution_timeout_ms",
    "ttl_ms",
    "retries",
    "retention_s",
    "webhook",
    "deliver_ahead",
)
"""Fields that change in place."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_APP_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OURS = re.compile(
    r"(RUNPOD|NOVITA)_(WEBHOOK_.*|PING_INTERVAL|POD_ID|POD_HOSTNAME|AI_API_KEY|ENDPOINT_ID)|STOKER_VOLUME_.*"
)
_CUDA = re.compile(r"(>=)?[0-9]{1,2}\.[0-9]{1,2}|[0-9]{1,2}\.[0-9]{1,2}(, ?[0-9]{1,2}\.[0-9]{1,2})+")
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
    for name in (
        "min_workers",
        "max_workers",
        "max_surge",
        "weight",
        "idle_timeout_s",
        "slots",
        "execution_timeout_ms",
        "ttl_ms",
        "retries",
    ):
        check_range(name, getattr(endpoint, name))
    check_range("retention_s", endpoint.retention_s)
    for name in ("deliver_ahead", "rate"):
        if getattr(endpoint, name) is not None:
            check_range(name, getattr(endpoint, name))
    check_range("policy.value", endpoint.policy.value)
    for name in ("gpus_per_worker", "disk_gb"):
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
    for name in ("entrypoint", "command", "cuda"):
        _check_text(name, getattr(release, name))
    _check_specifications(release.specifications)
    _check_volumes(release.volumes)
    _check_env(release.env)
    _check_cuda(release.cuda)
    _check_port(release.http_port)
    _check_health(release)
    _check_webhook(endpoint.webhook)


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


def _check_cuda(cuda: str) -> None:
    if cuda and not _CUDA.fullmatch(cuda):
        raise InvalidInput(
            f"cuda is '{cuda}'; it must be empty, versions such as '12.4, 12.6', or a least one such as '>=12.4'",
            field="cuda",
        )


def _check_port(port: int) -> None:
    check_range("http_port", port)
    if port in PORTS_TAKEN:
        raise InvalidInput(
            f"http_port is {port}; {PORTS_TAKEN.start} to {PORTS_TAKEN.stop - 1} are taken",
            code="out_of_range",
            field="http_port",
            next_step="choose a value from 1 to 65535 except these, for example 8000",
        )


def _check_health(release: Release) -> None:
    health = release.health
    if health is None:
        return
    check_health_path(health.path)
    for name in ("initial_delay_s", "period_s", "timeout_s", "successes", "failures"):
        check_range(f"health.{name}", getattr(health, name))
    if not release.http_port:
        raise InvalidInput(
            "health.path is given, and http_port is 0: there is nobody to ask",
            field="http_port",
            next_step="set http_port to the port of the worker's HTTP server, or leave health.path empty",
        )


def _check_webhook(url: str) -> None:
    _check_text("webhook", url)
    if url:
        webhook.parse(url)


def _check_specifications(ids: tuple[str, ...]) -> None:
    if len(ids) > TEXT_MOST["specifications"]:
        most = TEXT_MOST["specifications"]
        raise InvalidInput(f"there are {len(ids)} specifications; at most {most} are allowed", field="specifications")
    if len(set(ids)) < len(ids):
        raise InvalidInput("a specification is named twice", field="specifications")


def _check_volumes(mounts: tuple[Mount, ...]) -> None:
    if len(mounts) > TEXT_MOST["volumes"]:
        raise InvalidInput(
            f"there are {len(mounts)} volumes; at most {TEXT_MOST['volumes']} are allowed", field="volumes"
        )
    check_mounts(mounts)


def _check_env(env: Env) -> None:
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
        if isinstance(value, str):  # a secret is checked before it is sealed
            check_env_value(name, value)


def check_env_value(name: str, value: str) -> None:
    """Raise `InvalidInput`, which does not quote it, for what cannot be the value of an environment variable."""
    try:
        _check_text("env value", value)
    except InvalidInput as error:
        raise InvalidInput(error.message, field=f"env.{name}") from None


def same_work(one: Release, other: Release) -> bool:
    """Whether workers of both releases would execute the same."""
    return all(getattr(one, name) == getattr(other, name) for name in OF_RELEASE)


def cuda_refusal(wanted: str, offered: str) -> str:
    """Why a driver that offers CUDA up to version `offered` will not do, in words; empty when it will. What is not known is given
    the benefit of the doubt."""
    if not wanted or not offered:
        return ""
    least = [wanted.removeprefix(">=")] if wanted.startswith(">=") else wanted.split(",")
    if any(_version(offered) >= _version(one) for one in least):
        return ""
    return f"cuda is '{wanted}'; the driver of this machine offers CUDA {offered}"


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.strip().split("."))
