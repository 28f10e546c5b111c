"""What workers printed about one job, past and live: lines that the SDK marks with the job's id (protocol §19), and what else a worker
printed during the job's turn, if it runs one job at a time.

A line without a mark says nothing about its job but when it was written. So it is the job's only where nothing else can have written it: the
endpoint had one slot while the job's turns lasted; and the moment is later than a turn's begin and not later than its end.
Lines that bear the mark of another job are never this one's.

A job may move from worker to worker while its log is followed. Each worker's log is read where it was left, so that no line
comes twice, and read once more after the job has left the worker: what it printed last may not have arrived before.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from stoker.fleet.turns import Turn, slots_of, turns_of
from stoker.ids import JobId, WorkerId
from stoker.job import Job
from stoker.runtimes import LogLine, Runtime
from stoker.signals import Signals
from stoker.store import Store

LINES_MOST: Final = 100_000
"""Lines of one worker that are searched for a job's."""
POLL_S: Final = 1.0
"""How soon a move of the job is seen when its signal is lost."""

MARK: Final = re.compile(r'"requestId": "([^"]*)"')
"""How the SDK marks what it writes about a job."""

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
            workers, turns = await self._history(job)
            for worker in workers:
                if worker != holder:
                    async for line in reading.unread(worker, self._past(worker), turns.get(worker, ())):
                        yield line
            if over or present is None:
                return
            if present.worker is None:
                await self._until_moved(present)
                continue
            mine = turns.get(present.worker, ())
            async with aclosing(self._while_held(present, present.worker, reading, mine)) as lines:
                async for line in lines:
                    yield line

    async def _while_held(
        self, job: Job, worker: WorkerId, reading: _Reading, turns: Sequence[Turn]
    ) -> AsyncGenerator[Line, None]:
        """What the worker prints about the job, until it is no longer the one that holds it."""
        moved = asyncio.create_task(self._until_moved(job), name=f"moves of {job.id}")
        live = self._runtime.logs(worker, tail=LINES_MOST, follow=True)
        lines = reading.unread(worker, live, turns, over=moved.done)
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
            with self._signals.listen(job.id) as ear:
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

    async def _history(self, job: Job) -> tuple[Sequence[WorkerId], Mapping[WorkerId, Sequence[Turn]]]:
        """Every worker that ever held it, in the order of their first attempts; and its turns, if it was alone in each."""
        story = await self._store.jobs.story(job.id)
        workers = list(dict.fromkeys(line.worker for line in story if line.worker is not None))
        turns = turns_of(story)
        if not turns or await slots_of(self._store, job, turns) != 1:
            return workers, {}
        return workers, {worker: [turn for turn in turns if turn.worker == worker] for worker in workers}


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

    async def unread(
        self,
        worker: WorkerId,
        log: AsyncIterator[LogLine],
        turns: Sequence[Turn],
        *,
        over: Callable[[], bool] = lambda: False,
    ) -> AsyncIterator[Line]:
        """The job's lines of this log that were not read before; the log may lack the oldest by now. `over` tells that a turn which had
        no end has one by now: from then on only marks count."""
        place = self.places.setdefault(worker, _Place())
        until_ms, known = place.at_ms, place.lines
        async for line in log:
            if line.at_ms < max(until_ms, self.since_ms) or not self._is_mine(line, turns, over):
                continue
            if line.at_ms == until_ms and known:
                known -= 1
                continue
            place.pass_by(line)
            yield worker, line

    def _is_mine(self, line: LogLine, turns: Sequence[Turn], over: Callable[[], bool]) -> bool:
        marks = MARK.findall(line.text)
        if marks:
            return self.job in marks
        return any(
            turn.begun_ms < line.at_ms and (not over() if turn.ended_ms is None else line.at_ms <= turn.ended_ms)
            for turn in turns
        )


async def _next(lines: AsyncIterator[Line]) -> Line | None:
    return await anext(lines, None)
