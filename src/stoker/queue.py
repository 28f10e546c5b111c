"""What clients do with jobs: submit, read, wait, cancel, retry, purge, read the stream.

Called by the web layer with a team that has been authenticated and an endpoint that has been resolved. Every operation
reads the clock once, lets `job.advance` decide inside the store's transaction, and wakes whoever waits after the commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from stoker import ids, webhook
from stoker.clock import Clock
from stoker.endpoint import Endpoint, check_range
from stoker.errors import Conflict, InvalidInput, NotFound, Refused
from stoker.headroom import NO_DISK, Headroom
from stoker.ids import EndpointId, JobId, KeyId, TeamId
from stoker.job import CANCELLED, FAILED, QUEUED, TIMED_OUT, Cancelled, Job, JobState, Retried
from stoker.polls import HOLD_S, Polls
from stoker.signals import Signals
from stoker.span import Parent
from stoker.store import Counts, NewJob, Page, Parts, Result, Store, StoryLine
from stoker.vault import JOBS, NO_VAULT, Vault
from stoker.why import Why
from stoker.why.jobs import explain_end, explain_job

POLL_S = 2.0
"""How often a held status looks at the store although nobody woke it: another server may have changed the job."""
IDEMPOTENCY_KEY_MOST = 255


class Submission(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a client asks for."""

    input: bytes
    """JSON, kept byte for byte."""
    sync: bool = False
    """Whether it came through `/runsync`; shows in the id only."""
    execution_timeout_ms: int | None = None
    ttl_ms: int | None = None
    low_priority: bool = False
    webhook: str | None = None
    dialect: str = "v2"
    """In whose words the webhook is told."""
    s3_config: bytes | None = None
    idempotency_key: str | None = None
    body_hash: str = ""
    parent: Parent | None = None
    """The span of the client's own trace that it comes from."""
    key: KeyId | None = None
    """Who asks: the time that its attempts take is booked on it."""


class Queue:
    """Operations of clients on jobs."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        signals: Signals,
        vault: Vault = NO_VAULT,
        *,
        headroom: Headroom = NO_DISK,
    ) -> None:
        self._vault = vault
        self._headroom = headroom
        self._store = store
        self._clock = clock
        self._signals = signals
        self._polls = Polls()

    async def submit(self, endpoint: Endpoint, submission: Submission) -> Job:
        """Store a job and wake a worker for it. It is durable when this returns (D2).

        Raises `InvalidInput` for a policy out of range, `Conflict` for an idempotency key used with another body, `DiskFull`.
        """
        now_ms = self._clock.now_ms()
        _check(submission)
        self._headroom.check()
        url = submission.webhook or endpoint.webhook or None
        job = Job(
            id=ids.new_job_id(now_ms, sync=submission.sync),
            team=endpoint.team,
            endpoint=endpoint.id,
            low_priority=submission.low_priority,
            created_ms=now_ms,
            queued_ms=now_ms,
            expires_ms=now_ms + (submission.ttl_ms or endpoint.ttl_ms),
            execution_limit_ms=submission.execution_timeout_ms or endpoint.execution_timeout_ms,
            retention_ms=endpoint.retention_s * 1000,
            retry_limit=endpoint.retries,
            receiver=None if url is None else webhook.parse(url).receiver,
            key=submission.key,
        )
        if submission.parent is not None:
            await self._store.trace_parents.add(job.id, submission.parent, now_ms)
        storing = self._store.jobs.submit(
            NewJob(
                job=job,
                input=submission.input,
                webhook=url,
                dialect="" if url is None else submission.dialect,
                s3_config=self._sealed(submission.s3_config),
                idempotency_key=submission.idempotency_key,
                body_hash=submission.body_hash,
            )
        )
        taken = self._signals.job_coming(
            endpoint.id
        )  # its take shares the job's transaction, and is not answered before
        stored = await storing
        if not taken:
            self._signals.job_queued(endpoint.id)
        else:
            self._signals.scale(endpoint.id)
        return stored

    def _sealed(self, s3_config: bytes | None) -> bytes | None:
        return None if s3_config is None else self._vault.seal(s3_config.decode(), JOBS).encode()

    async def status(self, team: TeamId, endpoint: EndpointId | None, job: JobId) -> Result:
        """The job as it stands. Raises `NotFound`."""
        result = await self._store.jobs.result(team, endpoint, job)
        if result is None or _expired(result.job, self._clock):
            raise no_such_job(job)
        if _lacks_words(result):
            return replace(result, error=explain_end(result.job, await self._store.jobs.story(job)))
        return result

    def known_poll(self, team: TeamId, endpoint: EndpointId | None, job: JobId) -> Result | None:
        """What `poll` returns, if that is known without waiting for anything: not for who was told the same a moment ago."""
        result = self._store.jobs.known_result(team, endpoint, job)
        if result is None or _lacks_words(result) or _expired(result.job, self._clock):
            return None
        return None if self._repeats(result) else result

    async def poll(self, team: TeamId, endpoint: EndpointId | None, job: JobId) -> Result:
        """The job as it stands; to who was told the same a moment ago, as soon as that is news (`polls`). Raises `NotFound`."""
        result = await self.status(team, endpoint, job)
        if self._repeats(result):
            result = await self._wait(team, endpoint, job, wait_s=HOLD_S, seen=result)
            self._repeats(result)
        return result

    def _repeats(self, result: Result) -> bool:
        return self._polls.repeats(result, asyncio.get_running_loop().time())

    async def wait(self, team: TeamId, endpoint: EndpointId | None, job: JobId, *, wait_s: float) -> Result:
        """The job when it is over, or as it stands after `wait_s` seconds. Raises `NotFound`."""
        return await self._wait(team, endpoint, job, wait_s=wait_s, seen=None)

    async def wait_for_change(self, team: TeamId, endpoint: EndpointId | None, job: JobId, *, wait_s: float) -> Result:
        """The job as soon as its state or its progress is another than now. Raises `NotFound`."""
        seen = await self.status(team, endpoint, job)
        return await self._wait(team, endpoint, job, wait_s=wait_s, seen=seen)

    async def _wait(
        self, team: TeamId, endpoint: EndpointId | None, job: JobId, *, wait_s: float, seen: Result | None
    ) -> Result:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + wait_s
        while True:
            with self._signals.listen(job) as ear:
                result = await self.status(team, endpoint, job)
                left_s = until_s - loop.time()
                if (
                    result.job.state.final
                    or left_s <= 0
                    or self._signals.closed
                    or (seen is not None and _differs(seen, result))
                ):
                    return result
                await ear.wait(min(left_s, POLL_S))

    async def cancel(self, team: TeamId, endpoint: EndpointId | None, job: JobId) -> Job:
        """End the job. One that is already over is returned as it is. Raises `NotFound`."""
        before = (await self.status(team, endpoint, job)).job
        step = await self._store.jobs.advance(job, Cancelled(at_ms=self._clock.now_ms()))
        self._signals.job_changed(job)
        if step.changed and step.job.worker is not None:
            self._signals.worker_changed(step.job.worker)
        self._signals.scale(before.endpoint)
        return step.job

    async def retry(self, team: TeamId, endpoint: EndpointId | None, job: JobId) -> Job:
        """Queue a failed or timed-out job again under the same id. Raises `NotFound`, `Refused`, `Conflict`."""
        before = (await self.status(team, endpoint, job)).job
        if before.state not in (FAILED, TIMED_OUT):
            raise Refused(
                f"the job is {before.state}; only failed and timed-out jobs can be retried",
                code="not_retryable",
                next_step="submit a new job",
            )
        where = await self._store.endpoints.get(before.endpoint)
        if where is None or where.deleted_ms is not None:
            raise Conflict(
                "the job's endpoint was deleted: nobody would run it again",
                code="endpoint_deleted",
                next_step="submit it to another endpoint",
            )
        now_ms = self._clock.now_ms()
        lifetime_ms = before.expires_ms - before.created_ms
        step = await self._store.jobs.advance(job, Retried(at_ms=now_ms, expires_ms=now_ms + lifetime_ms))
        self._signals.job_changed(job)
        self._signals.job_queued(before.endpoint)
        return step.job

    async def purge(self, endpoint: EndpointId) -> int:
        """End every queued job of the endpoint; how many there were."""
        removed = await self._store.jobs.purge_queue(endpoint, self._clock.now_ms())
        self._signals.scale(endpoint)
        return removed

    async def stream(self, team: TeamId, endpoint: EndpointId, job: JobId, *, wait_s: float, bytes_max: int) -> Parts:
        """Parts that were not read before; waits up to `wait_s` for the first. A final job brings all that remain.

        Raises `NotFound`, also for a cancelled job whose end was already delivered: the Python client knows no other
        sign that such a stream is over (protocol, job API §11.1).
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + wait_s
        while True:
            with self._signals.listen(job) as ear:
                parts = await self._read_parts(team, endpoint, job, bytes_max)
                left_s = until_s - loop.time()
                if parts.parts or parts.job.state.final or left_s <= 0 or self._signals.closed:
                    return parts
                await ear.wait(min(left_s, POLL_S))

    async def _read_parts(self, team: TeamId, endpoint: EndpointId, job: JobId, bytes_max: int) -> Parts:
        parts = await self._store.jobs.read_parts(team, endpoint, job, bytes_max=bytes_max)
        if parts is None or _expired(parts.job, self._clock):
            raise no_such_job(job)
        if parts.closed and parts.job.state is CANCELLED:
            raise NotFound(
                "the job was cancelled and its stream has ended",
                code="stream_ended",
                next_step="stop polling; /status tells how the job ended",
            )
        return parts

    async def list(self, team: TeamId, endpoint: EndpointId, *, state: JobState | None, page: Page) -> Sequence[Job]:
        """Jobs of the endpoint, newest first."""
        return await self._store.jobs.list(team, endpoint, state=state, page=page)

    async def counts(self, endpoint: EndpointId) -> Counts:
        """The endpoint's counters."""
        return await self._store.jobs.counts(endpoint)

    async def position(self, job: Job) -> int | None:
        """How many jobs are handed out before a queued one; None for others."""
        return await self._store.jobs.ahead_of(job) if job.state.shown is QUEUED else None

    async def story(self, job: JobId) -> Sequence[StoryLine]:
        """What happened to a job that was read before."""
        return await self._store.jobs.story(job)

    async def input(self, job: Job) -> bytes:
        """What was submitted with a job that was read before, as it came. Raises `NotFound` when it is forgotten."""
        found = await self._store.jobs.input(job.team, job.id)
        if found is None:
            raise no_such_job(job.id)
        return found

    async def why(self, result: Result) -> Why:
        """Why the job is as it is, in one sentence; `explanations` says more."""
        decision = await self._store.workers.decision(result.job.endpoint)
        return explain_job(result.job, error=result.error, decision=decision, ahead=await self.position(result.job))


def no_such_job(job: JobId) -> NotFound:
    """The refusal for a job that does not exist to who asks."""
    return NotFound(
        f"there is no job '{job}' here",
        code="job_not_found",
        next_step="check the id and the endpoint; results are kept for a limited time after the job's end",
    )


def _expired(job: Job, clock: Clock) -> bool:
    forgotten_ms = job.purge_ms
    return forgotten_ms is not None and forgotten_ms <= clock.now_ms()


def _lacks_words(result: Result) -> bool:
    """Whether it failed and no worker said why."""
    return result.error is None and result.job.state in (FAILED, TIMED_OUT)


def _differs(seen: Result, now: Result) -> bool:
    before, after = seen.job, now.job
    return (before.state.shown, before.attempt, seen.output) != (after.state.shown, after.attempt, now.output)


def _check(submission: Submission) -> None:
    for name, field, value in (
        ("execution_timeout_ms", "policy.executionTimeout", submission.execution_timeout_ms),
        ("ttl_ms", "policy.ttl", submission.ttl_ms),
    ):
        if value is not None:
            _check_policy(name, field, value)
    key = submission.idempotency_key
    if key is not None and not 1 <= len(key) <= IDEMPOTENCY_KEY_MOST:
        raise InvalidInput(f"Idempotency-Key must have 1 to {IDEMPOTENCY_KEY_MOST} characters", field="Idempotency-Key")


def _check_policy(name: str, field: str, value: int) -> None:
    try:
        check_range(name, value)
    except InvalidInput as error:
        raise InvalidInput(
            error.message.replace(name, field, 1), code=error.code, field=field, next_step=error.next_step
        ) from None


__all__ = ["Queue", "Submission", "no_such_job"]
