"""What goes into the port and comes out of it: records of the domain with what is stored beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from stoker.ids import EndpointId, JobId, WorkerId
from stoker.job import Job
from stoker.worker import Worker

SUBMIT_KEY_LIFE_MS: Final = 86_400_000
"""How long an `Idempotency-Key` is remembered: a day."""


class NewJob(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A job to be stored, with what only the worker gets to see."""

    job: Job
    input: bytes
    """The customer's JSON, byte for byte."""
    webhook: str | None = None
    """URL that is told of the end; `job.receiver` names its host."""
    dialect: str = ""
    """In whose words: that in which the job was submitted."""
    s3_config: bytes | None = None
    """JSON; given to workers, never shown. Wiped when the job is completed or cancelled; a retry of a failed one needs it."""
    idempotency_key: str | None = None
    body_hash: str = ""
    """Of the whole submitted body; compared when the idempotency key is seen again."""


class Claim(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A job as it is handed to a worker."""

    job: Job
    input: bytes
    s3_config: bytes | None


class Claims(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Answer to a take."""

    worker: Worker
    """As it stands after the take."""
    claims: Sequence[Claim] = ()
    ready_now: bool = False
    """Whether this was the worker's first take."""
    full: bool = False
    """Whether the worker already holds as many jobs as it may."""
    lost: Sequence[Job] = ()
    """What the worker had lost, as it stands now."""


class Bodies(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Bodies that an event brings along; stored only if the event changes the job. None leaves what is stored."""

    output: bytes | None = None
    """JSON."""
    error: str | None = None


class Result(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A job with what its status shows."""

    job: Job
    output: bytes | None
    """JSON: the final output, or the latest progress while it runs."""
    error: str | None


class Parts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Unread parts of a job's stream, each JSON, in order."""

    job: Job
    parts: Sequence[bytes]
    closed: bool
    """Whether an earlier call already delivered the end."""


class StoryLine(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One line of the ledger."""

    at_ms: int
    kind: str
    """Such as `submitted`, `claimed`, `finished`, `launched`, `exited`."""
    reason: str
    state: str
    attempt: int | None = None
    job: JobId | None = None
    worker: WorkerId | None = None
    text: str = ""


class Counts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Counters of one endpoint: momentary for the first four, since its creation for the others."""

    queued: int = 0
    queued_low: int = 0
    ahead: int = 0
    """Delivered ahead, whatever their priority: they are not among the queued ones here."""
    running: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    timed_out: int = 0
    retried: int = 0

    @property
    def waiting(self) -> int:
        """Jobs that are queued to everybody outside."""
        return self.queued + self.queued_low + self.ahead


class Held(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A worker and how many jobs it holds, those it was told to stop included."""

    worker: Worker
    running: int
    stopping: int
    ahead: int = 0
    """Jobs that were delivered to it ahead."""

    @property
    def in_slots(self) -> int:
        """Slots in use."""
        return self.running + self.stopping

    @property
    def held(self) -> int:
        """Jobs that are with it: it is idle when there are none."""
        return self.in_slots + self.ahead


class Failures(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Launches of one release that ended before their first take, since one last got there."""

    count: int = 0
    last_ms: int | None = None
    text: str = ""
    crashes: int = 0
    """How many of them began to run and ended by themselves (`worker.CRASHES`)."""


class Stop(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A job that a worker was, or has to be, told to stop."""

    job: JobId
    worker: WorkerId
    asked_ms: int
    told_ms: int | None = None


class Decision(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The latest plan of the autoscaler for an endpoint, as it is shown."""

    endpoint: EndpointId
    at_ms: int
    reason: str
    text: str
    wanted: int


class Page(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Which rows of a long list: newest first, before the given id."""

    limit: int = 50
    before: str | None = None
