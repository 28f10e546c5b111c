"""Dead letters: jobs that ended for the platform's reasons, not for their handler's. Found, filtered, and retried in bulk.

A job is a dead letter for as long as its result is kept. Retrying is what `queue.retry` does to each: the same id, a new wait.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from stoker.endpoint import Endpoint
from stoker.errors import StokerError
from stoker.ids import JobId
from stoker.job import Job, JobReason, JobState
from stoker.queue import Queue
from stoker.store import Page

REASONS: Final = (JobReason.RETRIES_EXHAUSTED, JobReason.TTL_PASSED, JobReason.EXECUTION_LIMIT)
"""Ends that a retry may mend without a change of the handler."""
STATES: Final = (JobState.FAILED, JobState.TIMED_OUT)
BATCH: Final = 1_000
LOOKED_AT_MOST: Final = 20_000
"""Ended jobs of each state that one call walks through: what ended by its handler's error lies among the others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Retried:
    """What a bulk retry did."""

    jobs: Sequence[JobId]
    """Those that wait again."""
    failed: Sequence[tuple[JobId, str]]
    """Those that could not be retried, and why."""
    more: bool
    """Whether there may be more: repeat the call."""


class DeadLetters:
    """Operations on dead letters."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    async def list(self, endpoint: Endpoint, *, reasons: Collection[JobReason] = REASONS, limit: int) -> Sequence[Job]:
        """Dead letters of the endpoint, those that ended last first, at most `limit`."""
        found = [job for state in STATES for job in await self._of_state(endpoint, state, reasons, limit)]
        return sorted(found, key=lambda job: job.finished_ms or 0, reverse=True)[:limit]

    async def _of_state(
        self, endpoint: Endpoint, state: JobState, reasons: Collection[JobReason], limit: int
    ) -> Sequence[Job]:
        found: list[Job] = []
        before: str | None = None
        for _ in range(LOOKED_AT_MOST // BATCH):
            page = Page(limit=BATCH, before=before)
            jobs = await self._queue.list(endpoint.team, endpoint.id, state=state, page=page)
            found += [job for job in jobs if job.reason in reasons]
            if len(jobs) < BATCH or len(found) >= limit:
                break
            before = jobs[-1].id
        return found[:limit]

    async def retry(self, endpoint: Endpoint, *, reasons: Collection[JobReason] = REASONS, limit: int) -> Retried:
        """Queue them again, those that ended first first, at most `limit`. One that refuses keeps no other from it."""
        letters = await self.list(endpoint, reasons=reasons, limit=limit)
        retried, failed = [], []
        for job in reversed(letters):
            try:
                await self._queue.retry(endpoint.team, endpoint.id, job.id)
                retried.append(job.id)
            except StokerError as error:
                failed.append((job.id, error.message))
        return Retried(jobs=retried, failed=failed, more=len(letters) == limit and bool(retried))


__all__ = ["REASONS", "DeadLetters", "Retried"]
