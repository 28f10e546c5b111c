"""A connection that is lost at any statement: what is told is true, and what was half done is not there."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest

from stoker.errors import Unavailable
from stoker.ids import JobId
from stoker.job import Finished, Job, JobState
from stoker.store import Bodies, NewJob, Result, Store
from stoker.store.postgres import PostgresStore
from tests.store.postgres.proxy import Cut, Proxy
from tests.store.records import ENDPOINT, NOW, TEAM, WORKER, a_job, hire, kinds, run, submit, take
from tests.store.test_counters import agree

pytestmark = pytest.mark.postgres

PATIENCE_S = 30.0
MESSAGES_MOST = 30
"""No operation takes so many."""


async def find(store: Store, job: JobId) -> Result | None:
    """The job as it stands."""
    return await store.jobs.result(TEAM, ENDPOINT, job)


class Submission:
    """A job with an idempotency key arrives."""

    def __init__(self) -> None:
        self.job = a_job()

    async def prepare(self, store: Store) -> None:
        """Nothing has to be there."""

    async def carry_out(self, store: Store) -> None:
        """The client's call."""
        await store.jobs.submit(NewJob(job=self.job, input=b"1", idempotency_key=self.job.id, body_hash="h"))

    async def happened(self, store: Store) -> bool:
        """Whether it is there with all that belongs to it."""
        result = await find(store, self.job.id)
        body = await store.jobs.input(TEAM, self.job.id)
        story = await kinds(store, self.job)
        assert (result is None, body, story) in [(True, None, []), (False, b"1", ["submitted"])]
        return result is not None


class Claiming:
    """A worker takes the only job that waits."""

    job: Job

    async def prepare(self, store: Store) -> None:
        """The job waits."""
        self.job = await submit(store)

    async def carry_out(self, store: Store) -> None:
        """The worker's call."""
        assert [claim.job.id for claim in (await take(store)).claims] == [self.job.id]

    async def happened(self, store: Store) -> bool:
        """Whether it runs, and its worker counts it."""
        result = await find(store, self.job.id)
        assert result is not None
        running = result.job.state is JobState.RUNNING
        assert await kinds(store, self.job) == ["submitted", "claimed"][: 1 + running]
        return running


class Finishing:
    """A worker posts a result."""

    job: Job

    async def prepare(self, store: Store) -> None:
        """The job runs."""
        self.job = await run(store)

    async def carry_out(self, store: Store) -> None:
        """The worker's call."""
        event = Finished(at_ms=NOW, worker=WORKER, failed=False)
        await store.jobs.advance(self.job.id, event, Bodies(output=b'"done"'))

    async def happened(self, store: Store) -> bool:
        """Whether it is over and its output is there."""
        result = await find(store, self.job.id)
        assert result is not None
        completed = result.job.state is JobState.COMPLETED
        assert result.output == (b'"done"' if completed else None)
        return completed


Scene = Submission | Claiming | Finishing


async def tell(call: Callable[[], Awaitable[None]]) -> str:
    """`done`, or the code of the error."""
    try:
        await call()
    except Unavailable as error:
        return error.code
    return "done"


async def check(store: Store, known: list[JobId]) -> None:
    """Counters, lists and leases say what the jobs say."""
    results = [await find(store, job) for job in known]
    await agree(store, [result.job for result in results if result is not None])


@pytest.mark.parametrize("stays", [False, True], ids=["comes back", "stays away"])
@pytest.mark.parametrize("how", Cut)
@pytest.mark.parametrize("scene", [Submission, Claiming, Finishing])
async def test_cut_at_every_message(
    direct: PostgresStore, wired: PostgresStore, proxy: Proxy, scene: type[Scene], how: Cut, stays: bool
) -> None:
    """Whatever message is lost: success is only told when it happened, and what is told as unavailable did not happen."""
    await hire(direct)
    known: list[JobId] = []
    told = set()
    for message in itertools.count(1):
        assert message < MESSAGES_MOST
        one = scene()
        await one.prepare(direct)
        await connected(wired)
        proxy.cut_at(message, how)
        if stays:
            proxy.refuses = True
        answer = await tell(lambda one=one: one.carry_out(wired))  # type: ignore[misc]  # a loop's variable, bound
        was_cut = proxy.was_cut
        proxy.spare()
        told.add(answer)
        happened = await one.happened(direct)
        known.append(one.job.id)
        await check(direct, known)
        assert answer in ("done", "database_unavailable", "outcome_unknown")
        if answer != "outcome_unknown":
            assert happened == (answer == "done")
        if not was_cut and answer == "done":
            break
        await settle(direct, one)
    assert "outcome_unknown" in told


async def connected(store: Store) -> None:
    """The lane has its connection again; after a failure it does not try at once."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if await tell(lambda: store.jobs.mark_told(WORKER, [], NOW)) == "done":
                return
            await asyncio.sleep(0.01)


async def settle(store: Store, scene: Scene) -> None:
    """Nothing waits or runs when the next round begins."""
    if not await scene.happened(store):
        await scene.carry_out(store)
    if not isinstance(scene, Finishing):
        for claim in (await take(store, limit=10)).claims:
            assert claim.job.id == scene.job.id
        await store.jobs.advance(scene.job.id, Finished(at_ms=NOW, worker=WORKER, failed=False))
