"""What workers printed about one job, past and live: lines that the SDK marks with the job's id (protocol §19).

A job may move from worker to worker while its log is followed. Each worker's log is read where it was left, so that no line
comes twice, and read once more after the job has left the worker: what it printed last may not have arrived before.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from stoker.ids import JobId, WorkerId
from stoker.job import Job
from stoker.runtimes import LogLine, Runtime
from stoker.signals import Signals, job_key
from stoker.store import Store

LINES_MOST: Final = 100_000
"""Lines of one worker that are searched for a job's."""
POLL_S: Final = 1.0
"""How soon a move of the job is seen when its signal is lost."""

Line = tuple[WorkerId, LogLine]


class JobLogs:
    """Logs by job."""

    def __init__(self, store: Store, runtime: Runtime, signals: Signals) -> None:
        self._store = store
        self._runtime = runtime
        self._signals = signals

    async def of(self, job: Job, *, since_ms: int = 0, follow: bool = False) -> AsyncIterator[Line]:
        """Lines that are not older than that, of every worker that held the job; with `follow` until the job has ended."""
        reading = _Reading(job=job.id, since_ms=since_ms, places={})
        while True:
            present = await self._present(job)
            over = present is None or present.state.final or not follow or self._signals.closed
            holder = None if over or present is None else present.worker
            for worker in await self._workers(job.id):
                if worker != holder:
                    async for line in reading.unread(worker, self._past(worker)):
                        yield line
            if over or present is None:
                return
            if present.worker is None:
                await self._until_moved(present)
                continue
            async with aclosing(self._while_held(present, present.worker, reading)) as lines:
                async for line in lines:
                    yield line

    async def _while_held(self, job: Job, worker: WorkerId, reading: _Reading) -> AsyncGenerator[Line, None]:
        """What the worker prints about the job, until it is no longer the one that holds it."""
        moved = asyncio.create_task(self._until_moved(job), name=f"moves of {job.id}")
        live = self._runtime.logs(worker, tail=LINES_MOST, follow=True)
        lines = reading.unread(worker, live)
        coming: asyncio.Task[Line | None] | None = None
        try:
            while not moved.done():
                coming = asyncio.create_task(_next(lines))
                await asyncio.wait({coming, moved}, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    return
                line = coming.result()
                if line is None:  # the worker has ended; the job is taken back or over in a moment
                    await moved
                else:
                    yield line
        finally:
            tasks = [moved] if coming is None else [moved, coming]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _until_moved(self, job: Job) -> None:
        """Until the job is over, or held by another worker or once more."""
        while True:
            with self._signals.listen(job_key(job.id)) as ear:
                now = await self._present(job)
                moved = now is None or now.state.final or (now.worker, now.attempt) != (job.worker, job.attempt)
                if moved or self._signals.closed:
                    return
                await ear.wait(POLL_S)

    def _past(self, worker: WorkerId) -> AsyncIterator[LogLine]:
        return self._runtime.logs(worker, tail=LINES_MOST, follow=False)

    async def _present(self, job: Job) -> Job | None:
        """The job as it stands; None when it is forgotten."""
        found = await self._store.jobs.result(job.team, job.endpoint, job.id)
        return None if found is None else found.job

    async def _workers(self, job: JobId) -> list[WorkerId]:
        """Every worker that ever held it, in the order of their first attempts."""
        return list(dict.fromkeys(line.worker for line in await self._store.jobs.story(job) if line.worker is not None))


@dataclass(slots=True)
class _Place:
    """How far a log was read: up to this moment, and so many lines of it."""

    at_ms: int = 0
    lines: int = 0

    def pass_by(self, line: LogLine) -> None:
        """Note a line."""
        self.lines = self.lines + 1 if line.at_ms == self.at_ms else 1
        self.at_ms = line.at_ms


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reading:
    """One reader of a job's log, and how far it is with each worker."""

    job: JobId
    since_ms: int
    places: dict[WorkerId, _Place]

    async def unread(self, worker: WorkerId, log: AsyncIterator[LogLine]) -> AsyncIterator[Line]:
        """The job's lines of this log that were not read before; the log may lack the oldest by now."""
        place = self.places.setdefault(worker, _Place())
        mark, until_ms, known = f'"requestId": "{self.job}"', place.at_ms, place.lines
        async for line in log:
            if mark not in line.text or line.at_ms < max(until_ms, self.since_ms):
                continue
            if line.at_ms == until_ms and known:
                known -= 1
                continue
            place.pass_by(line)
            yield worker, line


async def _next(lines: AsyncIterator[Line]) -> Line | None:
    return await anext(lines, None)
