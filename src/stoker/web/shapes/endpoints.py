"""Answers about endpoints, their releases, templates and ranges."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from stoker.endpoint import PolicyType
from stoker.job import JobState
from stoker.web.shapes.common import Doer, JsonObject, Named


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
    rate: int | None
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
