"""What workers do with jobs: take them, renew their leases, report progress, parts and results, ask what to stop.

Called by the worker protocol with a worker whose token has been checked. A worker that is alive must never be answered
faster than it can bear, and a report that can be read is always acknowledged: late ones change nothing (protocol §5, §7).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Final

import msgspec
from msgspec.structs import replace

from stoker.amounts import counted
from stoker.backlog import Backlog
from stoker.budgets import Budgets
from stoker.clock import Clock
from stoker.errors import NotFound, Unauthenticated
from stoker.ids import EndpointId, JobId, TeamId, WorkerId, secret_hash
from stoker.job import QUEUED, AttemptLost, Finished, Job, JobReason, JobStep, OutputRefused
from stoker.metrics import Metrics
from stoker.signals import Signals
from stoker.store import Bodies, Claim, Claims, Store
from stoker.streaks import Streaks
from stoker.vault import JOBS, NO_VAULT, Vault
from stoker.worker import Drained, Pinged, ReportedUnhealthy, WorkerReason, WorkerState

POLL_S: Final = 5.0
"""How often a held take looks at the store although nobody woke it: another server may have queued a job."""
LEAVING_HOLD_S: Final = 0.5
"""How long a worker that is being stopped is held: long enough not to flood, short enough not to delay its exit."""
SETTLE_AFTER_MS: Final = 1_000
"""A new take says nothing about jobs that were handed out less than this before it."""
CALLERS_MOST: Final = 10_000
"""Workers remembered with their tokens."""
RETELL_AFTER_MS: Final = 5_000
"""A stop that was told and not obeyed is told again after this: the answer may have been lost."""
_S3_CONFIG: Final = attrgetter("s3_config")


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """A worker as it is known from its token: what never changes about it."""

    id: WorkerId
    endpoint: EndpointId
    team: TeamId


class Asker:
    """Who holds a take: its connection may close meanwhile."""

    __slots__ = ("hung_up",)

    def __init__(self) -> None:
        self.hung_up = False


class Report(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The final result of a job, as the worker posted it."""

    output: bytes | None = None
    error: str | None = None
    refresh: bool = False
    """Whether the worker asks to be replaced."""


class Leases:
    """Operations of workers on jobs."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        signals: Signals,
        *,
        hold_s: float,
        lease_s: float,
        output_bytes_max: int,
        vault: Vault = NO_VAULT,
        streaks: Streaks | None = None,
        metrics: Metrics | None = None,
        budgets: Budgets | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._signals = signals
        self._hold_s = hold_s
        self._lease_ms = int(lease_s * 1000)
        self._output_bytes_max = output_bytes_max
        self._vault = vault
        self._callers: dict[tuple[WorkerId, str], Caller] = {}
        self._backlog = Backlog(store, clock)
        self._streaks = streaks or Streaks(0)
        self._metrics = metrics or Metrics()
        self._budgets = budgets

    def known(self, worker: WorkerId, token: str) -> Caller | None:
        """Who calls, if it called before: whose a token is never changes."""
        return self._callers.get((worker, token))

    async def caller(self, worker: WorkerId, token: str) -> Caller:
        """Who calls. Raises `Unauthenticated` unless the token is this worker's own."""
        known = self.known(worker, token)
        if known is None:
            found = await self._store.workers.by_token(secret_hash(token))
            if found is None or found.id != worker:
                raise Unauthenticated("the token does not belong to this worker", code="worker_token_invalid")
            if len(self._callers) >= CALLERS_MOST:
                self._callers.clear()
            known = self._callers[worker, token] = Caller(id=found.id, endpoint=found.endpoint, team=found.team)
        return known

    def hang_up(self, caller: Caller, asker: Asker) -> None:
        """The worker closed the connection of a held take: let `take` notice."""
        asker.hung_up = True
        self._signals.worker_changed(caller.id)

    async def take(self, caller: Caller, asker: Asker, *, limit: int, holds_none: bool, sdk: str) -> Sequence[Claim]:
        """Jobs for the worker, at least one, or none after the hold or once the asker has hung up. There may be more than `limit`:
        those that follow are delivered ahead.

        `holds_none` is what the worker says about itself (`job_in_progress=0`). Nothing is handed to a worker that holds as
        many jobs as its endpoint has slots, or is draining, stopping or gone; it is held all the same.
        """
        believed = holds_none and lists_its_jobs(sdk)
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._hold_s
        with self._signals.listen(caller.id, line=caller.endpoint) as ear:
            look = not (believed and self._store.jobs.nothing_for(caller.id, self._clock.now_ms()))
            while not asker.hung_up:
                if look:
                    answer = await self._claim(caller, limit, sdk, holds_none=believed)
                    claims = answer.claims
                    if claims:  # most have nothing sealed
                        return await self._opened(claims) if any(map(_S3_CONFIG, claims)) else claims
                    if not answer.worker.takes_jobs or answer.full:
                        ear.leave_line()
                    if answer.worker.state in (WorkerState.STOPPING, WorkerState.GONE):
                        until_s = min(until_s, loop.time() + LEAVING_HOLD_S)
                look = True
                believed = False  # it said so when it asked, not now
                left_s = until_s - loop.time()
                if left_s <= 0 or self._signals.closed:
                    return ()
                await ear.wait(min(left_s, POLL_S))
                ear.again()
        return ()

    async def _opened(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        """The same with what was sealed of them. Raises `Unavailable`: then nobody confirms the delivery."""
        return [await self._open(claim) for claim in claims]

    async def _open(self, claim: Claim) -> Claim:
        if claim.s3_config is None:
            return claim
        return replace(claim, s3_config=(await self._vault.open(claim.s3_config.decode(), JOBS)).encode())

    async def _claim(self, caller: Caller, limit: int, sdk: str, *, holds_none: bool) -> Claims:
        now_ms = self._clock.now_ms()
        none = self._backlog.none_ahead(caller.endpoint, sdk, now_ms)
        ahead = 0 if none else await self._backlog.ahead(caller.endpoint, sdk, now_ms)
        if self._budgets is not None and not self._budgets.none_of(caller.team, now_ms):
            turns = await self._budgets.jobs_in_turn(caller.team, caller.endpoint, now_ms)
            if turns is not None:
                limit, ahead = limit if turns else 0, max(0, min(ahead, turns - 1))
        answer = await self._store.jobs.claim(
            caller.id,
            limit=limit,
            at_ms=now_ms,
            lease_ms=self._lease_ms,
            sdk=sdk,
            lost_before_ms=now_ms - SETTLE_AFTER_MS if holds_none else None,
            ahead=ahead,
        )
        if answer.ready_now:
            self._metrics.worker_started(answer.worker)
            self._signals.scale(caller.endpoint)
        for job in answer.lost:
            self._tell_of(caller, job)
        for claim in answer.claims:
            self._signals.job_changed(claim.job.id)
        return answer

    async def give_back(self, caller: Caller, claims: Sequence[Claim]) -> None:
        """The worker hung up before it could be answered: what it was given goes back to the queue at once."""
        for claim in reversed(claims):  # none of those ahead gets its turn when the first goes
            await self._lose(caller, claim.job.id, JobReason.DELIVERY_FAILED)

    async def _lose(self, caller: Caller, job: JobId, reason: JobReason) -> None:
        step = await self._store.jobs.advance(
            job, AttemptLost(at_ms=self._clock.now_ms(), worker=caller.id, reason=reason)
        )
        self._announce(caller, step)

    async def ping(self, caller: Caller, jobs: Sequence[JobId], *, sdk: str) -> None:
        """A sign of life, and of the jobs that it lists."""
        now_ms = self._clock.now_ms()
        await self._keep_to_caps(caller, now_ms)
        step = await self._store.workers.advance(caller.id, Pinged(at_ms=now_ms, sdk=sdk))
        named = jobs if lists_its_jobs(sdk) else None
        await self._store.jobs.confirm(caller.id, named, at_ms=now_ms, lease_ms=self._lease_ms)
        if step.worker.idle_ms is None:  # it may have let go of a job it was told to stop
            self._signals.worker_changed(caller.id)
            await self._take_back_unseen(caller, now_ms)

    async def _take_back_unseen(self, caller: Caller, now_ms: int) -> None:
        """What was handed out before the first ping has no lease that could lapse until a ping lists it."""
        for job in await self._store.jobs.held_by(caller.id):
            if job.lease_until_ms is None and (job.claimed_ms or 0) < now_ms - self._lease_ms:
                await self._lose(caller, job.id, JobReason.DELIVERY_UNCONFIRMED)

    async def unhealthy(self, caller: Caller, text: str) -> None:
        """The worker failed its own fitness check and is about to exit. It is no heartbeat."""
        await self._store.workers.advance(caller.id, ReportedUnhealthy(at_ms=self._clock.now_ms(), text=text))
        self._signals.look_at_workers()
        self._signals.jobs_queued(caller.endpoint)

    async def finish(self, caller: Caller, job: JobId, report: Report) -> None:
        """The final result. Late, unknown and repeated ones change nothing."""
        now_ms = self._clock.now_ms()
        if report.output is not None and len(report.output) > self._output_bytes_max:
            await self.refuse_output(caller, job, len(report.output))
        else:
            await self._keep_to_caps(caller, now_ms)
            event = Finished(at_ms=now_ms, worker=caller.id, failed=report.error is not None)
            step = await self._store.jobs.advance(job, event, Bodies(output=report.output, error=report.error))
            self._announce(caller, step)
            if step.changed:
                self._backlog.ended(step.job)
                self._metrics.job_finished(step.job)
                if self._streaks.note(caller.endpoint, caller.id, failed=event.failed):
                    detail = f"it failed {counted(self._streaks.most, 'job')} in a row while others succeeded"
                    await self._replace(caller, detail, WorkerReason.FAILS_EVERY_JOB)
        if report.refresh:
            await self._replace(caller, "the handler asked for a fresh worker")

    async def refuse_output(self, caller: Caller, job: JobId, size: int | None) -> None:
        """The result is over the limit: the job fails with the reason and the way round."""
        seen = "more" if size is None else f"{size} bytes"
        error = (
            f"output_too_large: the output has {seen}, this server accepts {self._output_bytes_max} bytes; "
            "upload it to a bucket from the handler (BUCKET_* variables or s3Config) and return its URL"
        )
        now_ms = self._clock.now_ms()
        await self._keep_to_caps(caller, now_ms)
        step = await self._store.jobs.advance(job, OutputRefused(at_ms=now_ms, worker=caller.id), Bodies(error=error))
        self._announce(caller, step)
        if step.changed:
            self._metrics.job_finished(step.job)

    async def _keep_to_caps(self, caller: Caller, now_ms: int) -> None:
        """Before a slot becomes free: if a budget is used up at this moment, nothing that the worker has ahead begins in it."""
        if self._budgets is None or self._budgets.none_of(caller.team, now_ms):
            return
        text = await self._budgets.spent(caller.team, caller.endpoint, now_ms)
        if text:
            with suppress(NotFound):  # a worker that is forgotten holds nothing
                await self._replace(caller, text, WorkerReason.BUDGET_SPENT)

    async def _replace(self, caller: Caller, detail: str, reason: WorkerReason = WorkerReason.REFRESH_ASKED) -> None:
        event = Drained(at_ms=self._clock.now_ms(), reason=reason, detail=detail)
        await self._store.workers.advance(caller.id, event)
        self._signals.look_at_workers()
        self._signals.scale(caller.endpoint)

    async def progress(self, caller: Caller, job: JobId, output: bytes) -> None:
        """The latest progress, shown as output while the job runs. Late or over the limit: ignored."""
        if len(output) > self._output_bytes_max:
            return
        step = await self._store.jobs.progress(
            job, caller.id, output, at_ms=self._clock.now_ms(), lease_ms=self._lease_ms
        )
        if step.changed:
            self._signals.job_changed(job)

    async def part(self, caller: Caller, job: JobId, part: bytes) -> None:
        """One more part of the job's stream. Late: ignored."""
        stored = await self._store.jobs.add_part(
            job, caller.id, part, at_ms=self._clock.now_ms(), lease_ms=self._lease_ms
        )
        if stored:
            self._signals.job_changed(job)

    async def stops(self, caller: Caller) -> Sequence[JobId]:
        """Jobs that the worker should stop, or none after the hold."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._hold_s
        while True:
            with self._signals.listen(caller.id) as ear:
                worker = await self._store.workers.get(caller.id)
                jobs = await self._untold(caller)
                if jobs:
                    return jobs
                if worker is None or worker.state in (WorkerState.STOPPING, WorkerState.GONE):
                    until_s = min(until_s, loop.time() + LEAVING_HOLD_S)
                left_s = until_s - loop.time()
                if left_s <= 0 or self._signals.closed:
                    return ()
                await ear.wait(min(left_s, POLL_S))

    async def _untold(self, caller: Caller) -> Sequence[JobId]:
        now_ms = self._clock.now_ms()
        stops = await self._store.jobs.stops(caller.id)
        jobs = [stop.job for stop in stops if stop.told_ms is None or stop.told_ms <= now_ms - RETELL_AFTER_MS]
        if jobs:
            await self._store.jobs.mark_told(caller.id, jobs, now_ms)
        return jobs

    def _announce(self, caller: Caller, step: JobStep) -> None:
        """Wake whoever waits for what the step changed."""
        self._signals.worker_changed(caller.id)
        if step.changed:
            self._tell_of(caller, step.job)

    def _tell_of(self, caller: Caller, job: Job) -> None:
        self._signals.job_changed(job.id)
        if job.state is QUEUED:
            self._signals.job_queued(caller.endpoint)
        else:
            self._signals.scale(caller.endpoint)


_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")
_SILENT_ABOUT_JOBS: Final = ((1, 7, 1), (1, 7, 5))
"""Releases whose pings and `job_in_progress` leave out jobs that they hold (protocol §10, §20)."""


@lru_cache(maxsize=64)
def lists_its_jobs(sdk: str) -> bool:
    """Whether what a worker of this SDK version says about its jobs can be believed. Unknown versions can."""
    found = _VERSION.match(sdk)
    if found is None:
        return True
    version = tuple(int(number) for number in found.groups())
    first, last = _SILENT_ABOUT_JOBS
    return not first <= version <= last
