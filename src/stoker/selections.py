"""Jobs of an endpoint that somebody has selected: looked at page by page, and cancelled or queued again as many as they are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from stoker.endpoint import Endpoint
from stoker.errors import StokerError
from stoker.ids import JobId
from stoker.job import Job, JobState
from stoker.queue import Queue
from stoker.store import Store
from stoker.store.selection import Selected, Selection


@dataclass(frozen=True, kw_only=True, slots=True)
class Changed:
    """What was done with one page."""

    jobs: Sequence[JobId]
    """Those that were changed. Others of the page were over already, or ended well."""
    failed: Sequence[tuple[JobId, str]]
    """Those that refused, and why."""
    next: JobId | None
    """Where to go on; None at the end."""


class Selections:
    """Operations on selected jobs."""

    def __init__(self, store: Store, queue: Queue) -> None:
        self._store = store
        self._queue = queue

    async def find(self, endpoint: Endpoint, wanted: Selection, *, limit: int, before: JobId | None = None) -> Selected:
        """A page of them, newest first; it may be empty and still go on."""
        return await self._store.selections.find(endpoint.team, endpoint.id, wanted, limit=limit, before=before)

    async def cancel(
        self, endpoint: Endpoint, wanted: Selection, *, limit: int, before: JobId | None = None
    ) -> Changed:
        """End those of a page that wait or run."""
        page = await self.find(endpoint, wanted, limit=limit, before=before)
        return await _each(page, lambda job: not job.state.final, lambda job: self._cancel(endpoint, job))

    async def retry(self, endpoint: Endpoint, wanted: Selection, *, limit: int, before: JobId | None = None) -> Changed:
        """Queue those of a page again that failed or timed out, those that were submitted first first."""
        page = await self.find(endpoint, wanted, limit=limit, before=before)
        return await _each(
            page,
            lambda job: job.state in (JobState.FAILED, JobState.TIMED_OUT),
            lambda job: self._queue.retry(endpoint.team, endpoint.id, job.id),
        )

    async def _cancel(self, endpoint: Endpoint, job: Job) -> Job:
        return await self._queue.cancel(endpoint.team, endpoint.id, job.id)


async def _each(page: Selected, concerns: Callable[[Job], bool], act: Callable[[Job], Awaitable[Job]]) -> Changed:
    """One that refuses keeps no other from it."""
    done, failed = [], []
    for job in reversed(page.jobs):
        if not concerns(job):
            continue
        try:
            await act(job)
            done.append(job.id)
        except StokerError as error:
            failed.append((job.id, error.message))
    return Changed(jobs=done, failed=failed, next=page.next)


__all__ = ["Changed", "Selections"]
