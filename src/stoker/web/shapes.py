"""What answers of the management API look like, for its description and for the clients that are made from it.

Routes build their answers from records; nothing is converted here, and nothing here is called while a request is served. A test
compares the real answers with these shapes. All times are milliseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NotRequired, TypedDict

import msgspec

from stoker.budget import Level, Span
from stoker.endpoint import PolicyType
from stoker.job import JobState
from stoker.team import Role, Scope
from stoker.usage import Period
from stoker.webhook import NoticeState
from stoker.worker import WorkerState

JsonObject = dict[str, Any]


class Named(TypedDict):
    """A thing by id, and its name."""

    id: str
    name: str


class Doer(TypedDict):
    """A member by id and name; without an id it was the server itself."""

    id: str | None
    name: str


# ── who comes in ──────────────────────────────────────────────────────────────────────────────────────────────────────


class MemberOfMe(TypedDict):
    """The member whose key it is."""

    id: str
    name: str
    role: Role


class Key(TypedDict):
    """An API key, without its secret."""

    id: str
    name: str
    member: Doer
    scopes: list[Scope]
    endpoints: list[str]
    created_ms: int
    expires_ms: int | None
    used_ms: int | None
    old_until_ms: int | None
    revoked_ms: int | None


class NewKey(Key):
    """A key with its secret, which is shown only now."""

    secret: str


class Me(TypedDict):
    """Who asks, and what they may do."""

    team: Named
    member: MemberOfMe
    key: Key
    may: list[Scope]


class Session(TypedDict):
    """A session that has begun."""

    key: str
    expires_ms: int


class MemberShown(TypedDict):
    """A member."""

    id: str
    name: str
    role: Role
    created_ms: int
    removed_ms: int | None


class AuditLine(TypedDict):
    """One change of what is configured."""

    number: int
    at_ms: int
    member: Doer
    key: str | None
    action: str
    kind: str
    thing: str
    name: str
    before: JsonObject | None
    after: JsonObject | None


class Keys(TypedDict):
    """All keys."""

    keys: list[Key]


class Members(TypedDict):
    """All members."""

    members: list[MemberShown]


class AuditLines(TypedDict):
    """A page of the audit log."""

    lines: list[AuditLine]


# ── endpoints ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class PolicyShown(TypedDict):
    """What the number of workers follows."""

    type: PolicyType
    value: int


class HealthShown(TypedDict):
    """The health check."""

    path: str
    initial_delay_s: int
    period_s: int
    timeout_s: int
    successes: int
    failures: int


class OfRelease(TypedDict):
    """What workers execute. A variable that is secret is `{"secret": true}`."""

    image: str
    credential: str | None
    entrypoint: str
    command: str
    env: dict[str, str | dict[str, bool]]
    gpus_per_worker: int
    specifications: list[str]
    cuda: str
    http_port: int
    health: HealthShown | None
    volumes: list[str]
    disk_gb: int


class Document(OfRelease):
    """Everything about an endpoint that can be configured."""

    type: str
    name: str
    app_name: str
    min_workers: int
    max_workers: int
    idle_timeout_s: int
    max_surge: int
    weight: int
    slots: int
    policy: PolicyShown
    execution_timeout_ms: int
    ttl_ms: int
    retries: int
    retention_s: int
    webhook: str
    deliver_ahead: str | int


class ReleaseOf(TypedDict):
    """The present release of an endpoint."""

    id: str
    number: int
    created_ms: int


class JobCounts(TypedDict):
    """Jobs of an endpoint: the first four as they are now, the others since its creation."""

    queued: int
    queued_low: int
    ahead: int
    running: int
    completed: int
    failed: int
    cancelled: int
    timed_out: int
    retried: int


class WorkerCounts(TypedDict):
    """Workers of an endpoint that are not gone."""

    starting: int
    idle: int
    busy: int
    draining: int
    total: int


class DecisionShown(TypedDict):
    """The latest decision about the number of workers, and its reason."""

    at_ms: int
    reason: str
    text: str
    wanted: int


class Urls(TypedDict):
    """Base URLs of the job API in two dialects."""

    v1: str
    v2: str


class Price(TypedDict):
    """What a worker costs in the specification that the endpoint prefers, and what its living workers cost together."""

    specification: str | None
    worker_per_hour: float
    now_per_hour: float


class EndpointShown(Document):
    """An endpoint."""

    id: str
    version: int
    release: ReleaseOf
    digest: str
    paused_ms: int | None
    created_ms: int
    price: Price
    jobs: JobCounts
    workers: WorkerCounts
    decision: DecisionShown | None
    urls: Urls


class EndpointList(TypedDict):
    """All endpoints, by name."""

    endpoints: list[EndpointShown]


class Percentiles(TypedDict):
    """Milliseconds that half of the jobs, and 95 of 100, did not exceed."""

    p50: int
    p95: int


class Ends(TypedDict):
    """How many jobs ended well, and how many badly."""

    good: int
    bad: int


class CauseShown(TypedDict):
    """Jobs that ended badly for one reason, and the id of the newest."""

    state: JobState
    reason: str
    count: int
    newest: str


class LastHourShown(TypedDict):
    """The last hour of an endpoint; `ends` in equal parts of the hour, oldest first."""

    endpoint: Named
    looked_at: int
    complete: bool
    completed: int
    wait_ms: Percentiles | None
    run_ms: Percentiles | None
    oldest_queued_ms: int | None
    ends: list[Ends]
    causes: list[CauseShown]


class LastHourList(TypedDict):
    """The last hour of all endpoints."""

    span_ms: int
    endpoints: list[LastHourShown]


class SpecificationShown(TypedDict):
    """A kind of place for workers: `gpu` or `cpu`. Numbers that nobody can tell are null; the price is that of one GPU, or of one
    worker without any."""

    id: str
    name: str
    type: str
    total: int | None
    free: int | None
    gpu_memory_gb: int
    cpus: float
    memory_gb: float
    price_per_hour: float


class SpecificationList(TypedDict):
    """What there is; the newest CUDA version of the driver; why there are no GPUs, if there are none."""

    specifications: list[SpecificationShown]
    cuda: str
    text: str


class Choice(SpecificationShown):
    """Where a worker may go, and what it costs there."""

    worker_per_hour: float


class Fit(TypedDict):
    """How a worker fits on the machine, the places that it prefers first."""

    gpus_needed: int
    choices: list[Choice]


class Planned(TypedDict):
    """What was done, or would be: `create`, `update` or `nothing`."""

    action: str
    before: JsonObject
    after: JsonObject
    endpoint: JsonObject
    new_release: bool
    fit: Fit


class ReleaseShown(OfRelease):
    """A release."""

    id: str
    number: int
    made_by: Doer
    created_ms: int


class Releases(TypedDict):
    """All releases, newest first."""

    releases: list[ReleaseShown]


class ReleaseDifference(TypedDict):
    """What a release changed."""

    since: int
    number: int
    before: JsonObject
    after: JsonObject


class Removed(TypedDict):
    """How many."""

    removed: int


class TemplateShown(TypedDict):
    """A template."""

    id: str
    name: str
    fields: JsonObject
    created_ms: int
    updated_ms: int


class Templates(TypedDict):
    """All templates, by name."""

    templates: list[TemplateShown]


class Limit(TypedDict):
    """A range, or choices."""

    least: NotRequired[int]
    most: NotRequired[int]
    unit: NotRequired[str]
    why: NotRequired[str]
    choices: NotRequired[list[str]]


class CredentialShown(TypedDict):
    """A registry credential, without its password."""

    id: str
    name: str
    registry: str
    username: str
    password: dict[str, bool]
    endpoints: list[str]
    created_ms: int
    updated_ms: int


class Credentials(TypedDict):
    """All registry credentials."""

    credentials: list[CredentialShown]


class ImageShown(TypedDict):
    """An image of the team, on the server's machine or on its way there."""

    name: str
    state: Literal["fetching", "here", "failed", "not_fetched"]
    progress: str
    error: str | None
    code: str | None
    retry_ms: int | None
    credential: str | None
    digest: str
    endpoints: list[str]
    asked_ms: int | None
    bytes: int | None
    pulled_ms: int | None
    used_ms: int | None


class ImageList(TypedDict):
    """All images of the team."""

    images: list[ImageShown]


# ── volumes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class VolumeShown(TypedDict):
    """A volume."""

    id: str
    name: str
    size_gb: int
    mount_path: str
    used_bytes: int | None
    measured_ms: int | None
    over: bool
    endpoints: list[str]
    created_ms: int
    updated_ms: int


class Volumes(TypedDict):
    """All volumes, by name."""

    volumes: list[VolumeShown]


class FileShown(TypedDict):
    """An entry of a directory."""

    name: str
    kind: str
    size: int
    modified_ms: int


class Files(TypedDict):
    """Part of a directory."""

    path: str
    files: list[FileShown]
    more: bool


# ── workers and jobs ──────────────────────────────────────────────────────────────────────────────────────────────────


class StoryLine(TypedDict):
    """One line of what happened."""

    at_ms: int
    kind: str
    state: str
    reason: str
    attempt: int | None
    worker: str | None
    text: str


class ExitShown(TypedDict):
    """How a worker ended."""

    code: int | None
    text: str


class WorkerShown(TypedDict):
    """A worker."""

    id: str
    endpoint: Named
    release: str
    state: WorkerState
    reason: str
    detail: str
    held: int
    gpus: list[str]
    specification: str
    price_per_hour: float
    sdk: str
    decided_ms: int
    launched_ms: int | None
    ready_ms: int | None
    idle_ms: int | None
    gone_ms: int | None
    seen_ms: int | None
    unhealthy_ms: int | None
    exit: ExitShown | None


class WorkerInFull(WorkerShown):
    """A worker and its story."""

    story: list[StoryLine]


class WorkerList(TypedDict):
    """Workers, those that are gone last."""

    workers: list[WorkerShown]


class UsageTotal(TypedDict):
    """What was used, and its cost in the operator's currency."""

    running_s: float
    idle_s: float
    storage_gib_h: float
    cost: float


class UsageLine(UsageTotal):
    """Usage of a period; what rows are told apart by is there if it was asked for."""

    at_ms: int
    endpoint: NotRequired[Named | None]
    release: NotRequired[str | None]
    specification: NotRequired[str | None]
    use: NotRequired[str]
    key: NotRequired[str | None]
    volume: NotRequired[str | None]


class UsageShown(TypedDict):
    """Usage by hour or day, oldest first."""

    from_ms: int
    to_ms: int
    by: Period
    rows: list[UsageLine]
    total: UsageTotal


class BudgetShown(TypedDict):
    """A budget; without an endpoint that of the team. Amounts are in the operator's currency."""

    endpoint: Named | None
    period: Span
    warn: float | None
    queue: float | None
    refuse: float | None
    spent: float
    level: Level
    until_ms: int


class BudgetList(TypedDict):
    """The team's budget, then those of its endpoints."""

    budgets: list[BudgetShown]


class JobShown(TypedDict):
    """A job, without its bodies."""

    id: str
    endpoint: Named
    state: JobState
    reason: str
    low_priority: bool
    attempt: int
    losses: int
    worker: str | None
    key: str | None
    created_ms: int
    queued_ms: int
    claimed_ms: int | None
    finished_ms: int | None
    expires_ms: int
    delay_ms: int | None
    execution_ms: int | None


class Because(TypedDict):
    """A reason code and its sentence."""

    reason: str
    text: str


class JobInFull(JobShown):
    """A job with everything about it."""

    output: NotRequired[Any]
    error: NotRequired[str]
    position: int | None
    why: Because
    story: list[StoryLine]


class JobList(TypedDict):
    """A page of jobs, newest first."""

    jobs: list[JobShown]


class JobWhy(Because):
    """Why a job is as it is."""

    state: JobState


# ── webhooks ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class TryShown(TypedDict):
    """One attempt to tell a receiver; `status` None when it did not answer."""

    at_ms: int
    status: int | None
    duration_ms: int
    error: str


class NoticeShown(TypedDict):
    """What a job's receiver was told, or will be."""

    id: str
    url: str
    dialect: str
    job_state: JobState
    ended_ms: int
    state: NoticeState
    next_try_ms: int | None
    delivered_ms: int | None
    tries: list[TryShown]


class NoticeList(TypedDict):
    """Notices of a job, oldest first."""

    notices: list[NoticeShown]


class WebhookSecret(TypedDict):
    """Whether a team's notices are signed, and since when."""

    signs: bool
    made_ms: int | None
    old_until_ms: int | None


class WebhookSecretMade(WebhookSecret):
    """A secret that was made just now."""

    secret: str


# ── the server ────────────────────────────────────────────────────────────────────────────────────────────────────────


class SettingShown(TypedDict):
    """A setting; `value` of a secret one is None, and `is_set` says whether there is one."""

    name: str
    value: Any
    is_set: bool
    secret: bool
    origin: Literal["command_line", "environment", "file", "default"]
    description: str


class SettingList(TypedDict):
    """All settings, in the order of the documentation."""

    settings: list[SettingShown]


class Licence(TypedDict):
    """A package that is shipped; `text` where the licence asks for it."""

    part: Literal["server", "console"]
    name: str
    version: str
    licence: str
    text: str


class About(TypedDict):
    """What a server is."""

    version: str
    python: str
    database: str
    licences: list[Licence]


ANSWERS: Final[Mapping[str, Any]] = {
    "POST /api/session": Session,
    "GET /api/me": Me,
    "PATCH /api/team": Named,
    "GET /api/members": Members,
    "POST /api/members": MemberShown,
    "PATCH /api/members/{member}": MemberShown,
    "DELETE /api/members/{member}": MemberShown,
    "GET /api/keys": Keys,
    "POST /api/keys": NewKey,
    "POST /api/keys/{key_id}/rotate": NewKey,
    "DELETE /api/keys/{key_id}": Key,
    "GET /api/audit": AuditLines,
    "GET /api/usage": UsageShown,
    "GET /api/budgets": BudgetList,
    "PUT /api/budget": BudgetShown,
    "DELETE /api/budget": BudgetShown,
    "PUT /api/endpoints/{endpoint}/budget": BudgetShown,
    "DELETE /api/endpoints/{endpoint}/budget": BudgetShown,
    "GET /api/limits": dict[str, Limit],
    "GET /api/endpoints": EndpointList,
    "GET /api/last-hour": LastHourList,
    "POST /api/endpoints": EndpointShown,  # a dry run answers as `apply` does
    "POST /api/endpoints/apply": Planned,
    "GET /api/endpoints/{endpoint}": EndpointShown,
    "PATCH /api/endpoints/{endpoint}": EndpointShown,
    "DELETE /api/endpoints/{endpoint}": EndpointShown,
    "GET /api/endpoints/{endpoint}/export": JsonObject,
    "POST /api/endpoints/{endpoint}/pause": EndpointShown,
    "POST /api/endpoints/{endpoint}/resume": EndpointShown,
    "POST /api/endpoints/{endpoint}/retry": EndpointShown,
    "POST /api/endpoints/{endpoint}/purge-queue": Removed,
    "GET /api/endpoints/{endpoint}/releases": Releases,
    "GET /api/endpoints/{endpoint}/releases/{number}/difference": ReleaseDifference,
    "POST /api/endpoints/{endpoint}/releases/{number}/roll-back": EndpointShown,
    "GET /api/templates": Templates,
    "POST /api/templates": TemplateShown,
    "GET /api/templates/{template}": TemplateShown,
    "PUT /api/templates/{template}": TemplateShown,
    "DELETE /api/templates/{template}": TemplateShown,
    "GET /api/credentials": Credentials,
    "POST /api/credentials": CredentialShown,
    "GET /api/credentials/{credential}": CredentialShown,
    "PATCH /api/credentials/{credential}": CredentialShown,
    "DELETE /api/credentials/{credential}": CredentialShown,
    "GET /api/images": ImageList,
    "GET /api/specifications": SpecificationList,
    "GET /api/volumes": Volumes,
    "GET /api/volumes/{volume}": VolumeShown,
    "POST /api/volumes": VolumeShown,
    "PATCH /api/volumes/{volume}": VolumeShown,
    "GET /api/volumes/{volume}/files": Files,
    "GET /api/workers": WorkerList,
    "GET /api/endpoints/{endpoint}/workers": WorkerList,
    "GET /api/workers/{worker}": WorkerInFull,
    "POST /api/workers/{worker}/stop": WorkerShown,
    "GET /api/endpoints/{endpoint}/jobs": JobList,
    "POST /api/endpoints/{endpoint}/jobs": JobInFull,
    "GET /api/jobs/{job}": JobInFull,
    "GET /api/jobs/{job}/why": JobWhy,
    "POST /api/jobs/{job}/cancel": JobInFull,
    "POST /api/jobs/{job}/retry": JobInFull,
    "GET /api/jobs/{job}/notices": NoticeList,
    "GET /api/settings": SettingList,
    "GET /api/about": About,
    "GET /api/webhooks/secret": WebhookSecret,
    "POST /api/webhooks/secret/rotate": WebhookSecretMade,
}
"""The shape of a good answer, by route. Routes that are not here answer with what their description says, or with lines."""


def describe(document: JsonObject) -> JsonObject:
    """The OpenAPI document with the shapes of `ANSWERS` in it."""
    names = [name for name in ANSWERS if _operation(document, name) is not None]
    shapes, parts = msgspec.json.schema_components(
        [ANSWERS[name] for name in names], ref_template="#/components/schemas/{name}"
    )
    document.setdefault("components", {}).setdefault("schemas", {}).update(parts)
    for name, shape in zip(names, shapes, strict=True):
        operation = _operation(document, name)
        assert operation is not None
        good = next(status for status in operation["responses"] if status.startswith("2"))
        operation["responses"][good]["content"] = {"application/json": {"schema": shape}}
    return document


def _operation(document: JsonObject, name: str) -> JsonObject | None:
    method, path = name.split()
    found: JsonObject | None = document["paths"].get(path, {}).get(method.lower())
    return found


__all__ = ["ANSWERS", "describe"]
