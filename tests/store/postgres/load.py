"""Clients and workers that keep a store busy while a test does something to its database."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from stoker.errors import Unavailable
from stoker.ids import JobId, WorkerId
from stoker.job import Finished, JobState
from stoker.store import Bodies, NewJob, Store
from tests.store.records import ENDPOINT, NOW, TEAM, a_job, a_worker, take

T = TypeVar("T")

PATIENCE_S = 60.0
RETRY_LIMIT = 1_000
"""A claim whose answer is lost costs a retry; nothing else may cost one here."""


class Load:
    """What was accepted, handed out and told to be finished, by all clients and workers together."""

    def __init__(self, stores: Sequence[Store]) -> None:
        self._stores = stores
        self._over = asyncio.Event()
        self._closed = asyncio.Event()
        self._moved = asyncio.Event()
        self._now_ms = NOW
        self.accepted: set[JobId] = set()
        self.handed: Counter[tuple[JobId, int]] = Counter()
        """How often an attempt was handed out."""
        self.finished: set[JobId] = set()
        self.refused = 0
        """Calls that could not be answered."""

    async def _client(self, store: Store) -> None:
        while not self._closed.is_set():
            job = a_job(at_ms=self._tick(), retry_limit=RETRY_LIMIT)
            new = NewJob(job=job, input=b"1", idempotency_key=job.id, body_hash="h")
            made = await self._insist(lambda new=new: store.jobs.submit(new))  # type: ignore[misc]  # bound
            assert made.id == job.id
            self.accepted.add(made.id)

    async def _worker(self, store: Store, worker: WorkerId) -> None:
        """It says at each take that it holds nothing, as the SDK does: what it was given and never saw is lost then."""
        await self._insist(lambda: store.workers.add(a_worker(worker), alive_max=100))
        while not self._over.is_set():
            at_ms = self._tick()
            lost_before_ms = at_ms
            claims = await self._insist(
                lambda at_ms=at_ms, before=lost_before_ms: take(  # type: ignore[misc]  # bound
                    store, worker, limit=3, at_ms=at_ms, lost_before_ms=before
                )
            )
            for claim in claims.claims:
                self.handed[claim.job.id, claim.job.attempt] += 1
                event = Finished(at_ms=self._tick(), worker=worker, failed=False)
                await self._insist(
                    lambda job=claim.job.id, event=event: store.jobs.advance(  # type: ignore[misc]  # bound
                        job, event, Bodies(output=b'"done"')
                    )
                )
                self.finished.add(claim.job.id)
                self._moved.set()

    def _tick(self) -> int:
        self._now_ms += 1
        return self._now_ms

    async def _insist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Again and again until it is answered."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    return await call()
                except Unavailable:
                    self.refused += 1
                    await asyncio.sleep(0.01)

    @asynccontextmanager
    async def going(self) -> AsyncIterator[None]:
        """While the block runs jobs arrive and are worked on; afterwards what was accepted is finished."""
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            workers = []
            clients = []
            for number, store in enumerate([*self._stores, *self._stores]):
                clients.append(group.create_task(self._client(store)))
                workers.append(group.create_task(self._worker(store, WorkerId(f"worker-{number}"))))
            yield
            self._closed.set()
            await asyncio.wait(clients)
            await self._until(lambda: self.accepted <= self.finished)
            self._over.set()

    async def more(self, count: int) -> None:
        """Wait until so many more jobs are finished."""
        enough = len(self.finished) + count
        async with asyncio.timeout(PATIENCE_S):
            await self._until(lambda: len(self.finished) >= enough)

    async def _until(self, enough: Callable[[], bool]) -> None:
        """Look again whenever a job was finished."""
        while not enough():
            self._moved.clear()
            await self._moved.wait()

    async def check(self) -> None:
        """Nothing accepted is lost, and no attempt was handed out twice."""
        store = self._stores[0]
        assert self.handed
        assert [attempt for attempt, times in self.handed.items() if times > 1] == []
        for job in self.accepted:
            result = await store.jobs.result(TEAM, ENDPOINT, job)
            assert result is not None
            assert (result.job.state, result.output) == (JobState.COMPLETED, b'"done"')
        counts = await store.jobs.counts(ENDPOINT)
        assert (counts.queued, counts.running, counts.completed) == (0, 0, len(self.accepted))
        for held in await store.workers.alive():
            assert (held.running, held.stopping) == (0, 0)
