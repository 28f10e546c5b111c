"""Shapes of the answers, as the command line knows them; times are milliseconds since the Unix epoch."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class NamedJson(TypedDict):
    """A reference to an endpoint or a member."""

    id: str
    name: str


class StoryLineJson(TypedDict):
    """One line of a job's or worker's story."""

    at_ms: int
    kind: str
    state: str
    reason: str
    attempt: int | None
    worker: str | None
    text: str


class EventJson(TypedDict):
    """Something that happened to an endpoint, a worker or a job."""

    id: str
    at_ms: int
    about: str
    kind: str
    endpoint: NamedJson
    job: str | None
    worker: str | None
    state: str
    reason: str
    attempt: int | None
    wanted: int | None
    text: str


class EventsJson(TypedDict):
    """Events, oldest first, and after which id the next ones are."""

    events: list[EventJson]
    next: str
    more: bool


class ExpectedStartJson(TypedDict):
    """When a waiting job will start, in seconds from now, and how many ended jobs say so."""

    p50_s: float
    p90_s: float
    samples: int


class WhyJson(TypedDict):
    """Why something is as it is: a code, a sentence, what to do, and for jobs that wait when they will start."""

    reason: str
    text: str
    next_step: str | None
    expected_start: ExpectedStartJson | None


class PolicyJson(TypedDict):
    """The elastic policy."""

    type: str
    value: int


class JobCountsJson(TypedDict):
    """Jobs of an endpoint by state."""

    queued: int
    queued_low: int
    ahead: int
    running: int
    completed: int
    failed: int
    cancelled: int
    timed_out: int
    retried: int


class WorkerCountsJson(TypedDict):
    """Workers of an endpoint by what they do."""

    starting: int
    idle: int
    busy: int
    draining: int
    total: int


class DecisionJson(TypedDict):
    """The latest decision of the autoscaler."""

    at_ms: int
    reason: str
    text: str
    wanted: int


class ReleaseJson(TypedDict):
    """Which release an endpoint's new workers run."""

    id: str
    number: int
    created_ms: int


class PriceJson(TypedDict):
    """What a worker costs in the specification that the endpoint prefers, and what its living workers cost together."""

    specification: str | None
    worker_per_hour: float
    now_per_hour: float


class EndpointJson(TypedDict):
    """An endpoint with its counters."""

    id: str
    name: str
    app_name: str
    version: int
    release: ReleaseJson
    image: str
    credential: str | None
    entrypoint: str
    command: str
    env: dict[str, str | dict[str, bool]]
    gpus_per_worker: int
    specifications: list[str]
    cuda: str
    http_port: int
    health: dict[str, Any] | None
    volumes: list[str]
    disk_gb: int
    digest: str
    min_workers: int
    max_workers: int
    idle_timeout_s: int
    max_surge: int
    weight: int
    slots: int
    policy: PolicyJson
    execution_timeout_ms: int
    ttl_ms: int
    retries: int
    retention_s: int
    webhook: str
    deliver_ahead: int | str
    rate: int | None
    paused_ms: int | None
    created_ms: int
    price: PriceJson
    jobs: JobCountsJson
    workers: WorkerCountsJson
    decision: DecisionJson | None
    urls: dict[str, str]


class ImageJson(TypedDict):
    """An image of the team, on the server's machine or on its way there."""

    name: str
    state: str
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


class ImagesJson(TypedDict):
    """Images."""

    images: list[ImageJson]


class NamedImageJson(TypedDict):
    """The image that was asked for."""

    image: str


class ImageFoundJson(TypedDict):
    """Where workers could have an image from, and what its name means now."""

    image: str
    text: str
    digest: str


class ExitJson(TypedDict):
    """How a worker's process ended; `code` None when nobody could see it."""

    code: int | None
    text: str


class WorkerJson(TypedDict):
    """A worker; `held` counts the jobs it holds. `story` only when it was asked for by its id."""

    id: str
    endpoint: NamedJson
    release: str
    state: str
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
    exit: ExitJson | None
    story: NotRequired[list[StoryLineJson]]


class JobJson(TypedDict):
    """A job. Items of a list lack what is not required here; `output` of a running job is its latest progress."""

    id: str
    endpoint: NamedJson
    state: str
    reason: str
    low_priority: bool
    attempt: int
    attempts_most: int
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
    output: NotRequired[Any]
    error: NotRequired[Any]
    position: NotRequired[int | None]
    cost: NotRequired[float | None]
    why: NotRequired[WhyJson]
    story: NotRequired[list[StoryLineJson]]


class UsageTotalJson(TypedDict):
    """What was used, and its cost in the operator's currency."""

    running_s: float
    idle_s: float
    storage_gib_h: float
    cost: float


class UsageLineJson(UsageTotalJson):
    """Usage of a period; what rows are told apart by is there if it was asked for."""

    at_ms: int
    endpoint: NotRequired[NamedJson | None]
    release: NotRequired[str | None]
    specification: NotRequired[str | None]
    use: NotRequired[str]
    key: NotRequired[str | None]
    volume: NotRequired[str | None]


class UsageJson(TypedDict):
    """Usage by hour or day, oldest first."""

    from_ms: int
    to_ms: int
    by: str
    rows: list[UsageLineJson]
    total: UsageTotalJson


class BudgetJson(TypedDict):
    """A budget; without an endpoint that of the team. Amounts are in the operator's currency."""

    endpoint: NamedJson | None
    period: str
    warn: float | None
    queue: float | None
    refuse: float | None
    spent: float
    level: str
    until_ms: int


class BudgetsJson(TypedDict):
    """The team's budget, then those of its endpoints."""

    budgets: list[BudgetJson]


class JobWhyJson(WhyJson):
    """Why a job is in its state."""

    state: str


class KeyJson(TypedDict):
    """An API key; `secret` only in the answer that made it."""

    id: str
    name: str
    member: NamedJson
    scopes: list[str]
    endpoints: list[str]
    created_ms: int
    expires_ms: int | None
    used_ms: int | None
    old_until_ms: int | None
    revoked_ms: int | None
    rate: int | None
    secret: NotRequired[str]


class RatedJson(TypedDict):
    """An endpoint or a key, with its rate; None: it has none of its own."""

    id: str
    name: str
    rate: int | None


class LogLineJson(TypedDict):
    """One line of a worker's output."""

    at_ms: int
    text: str


class EndpointsJson(TypedDict):
    """All endpoints of the team."""

    endpoints: list[EndpointJson]


class WorkersJson(TypedDict):
    """Workers, oldest first."""

    workers: list[WorkerJson]


class JobsJson(TypedDict):
    """Jobs, newest first; the page goes on before `next`."""

    jobs: list[JobJson]
    next: NotRequired[str | None]


class KeysJson(TypedDict):
    """API keys, oldest first."""

    keys: list[KeyJson]


class PurgedJson(TypedDict):
    """How many jobs were removed from the queue."""

    removed: int


__all__ = [
    "BudgetJson",
    "BudgetsJson",
    "DecisionJson",
    "EndpointJson",
    "EndpointsJson",
    "ExitJson",
    "ImageJson",
    "ImagesJson",
    "JobCountsJson",
    "JobJson",
    "JobWhyJson",
    "JobsJson",
    "KeyJson",
    "KeysJson",
    "LogLineJson",
    "NamedImageJson",
    "NamedJson",
    "PolicyJson",
    "PurgedJson",
    "RatedJson",
    "ReleaseJson",
    "StoryLineJson",
    "UsageJson",
    "UsageLineJson",
    "UsageTotalJson",
    "WhyJson",
    "WorkerCountsJson",
    "WorkerJson",
    "WorkersJson",
]
