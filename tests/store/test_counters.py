"""Counters of an endpoint, and random sequences of operations compared with a model that fits on a page."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress

import pytest

from stoker.errors import IllegalTransition
from stoker.ids import WorkerId
from stoker.job import (
    AttemptLost,
    Cancelled,
    Finished,
    Job,
    JobEvent,
    JobReason,
    JobState,
    Retried,
    TimePassed,
)
from stoker.store import Counts, NewJob, Page, Store
from tests.store.records import (
    ENDPOINT,
    NOW,
    OTHER_ENDPOINT,
    TEAM,
    TTL_MS,
    WORKER,
    a_job,
    allow_slots,
    cancel,
    finish,
    hire,
    run,
    submit,
    take,
)


async def counts(store: Store) -> Counts:
    """Of the first endpoint."""
    return await store.jobs.counts(ENDPOINT)


async def test_nothing_counted_yet(store: Store) -> None:
    """An endpoint without jobs has zeros."""
    assert await counts(store) == Counts()


async def test_a_life_is_counted(store: Store) -> None:
    """Waiting and running are momentary, the ends add up, and neighbours are counted apart."""
    await hire(store)
    await submit(store, endpoint=OTHER_ENDPOINT)
    job = await submit(store)
    await submit(store, low_priority=True)
    assert await counts(store) == Counts(queued=1, queued_low=1)
    await take(store)
    assert await counts(store) == Counts(queued_low=1, running=1)
    await finish(store, job)
    assert await counts(store) == Counts(queued_low=1, completed=1)
    await take(store)
    assert await counts(store) == Counts(running=1, completed=1)
    assert await store.jobs.counts(OTHER_ENDPOINT) == Counts(queued=1)


async def test_platform_retries_are_counted(store: Store) -> None:
    """A lost attempt that waits again counts as retried; a client's retry does not."""
    await hire(store)
    job = await run(store)
    await store.jobs.advance(job.id, AttemptLost(at_ms=NOW, worker=WORKER, reason=JobReason.WORKER_LOST))
    assert await counts(store) == Counts(queued=1, retried=1)
    await take(store)
    await store.jobs.advance(job.id, Finished(at_ms=NOW, worker=WORKER, failed=True))
    await store.jobs.advance(job.id, Retried(at_ms=NOW, expires_ms=NOW + TTL_MS))
    assert await counts(store) == Counts(queued=1, failed=1, retried=1)


async def test_late_reports_are_not_counted(store: Store) -> None:
    """What changes nothing counts nothing."""
    await hire(store)
    job = await run(store)
    await cancel(store, job)
    await cancel(store, job)
    await finish(store, job)
    assert await counts(store) == Counts(cancelled=1)


async def test_counted_at_once(store: Store) -> None:
    """Operations that share a transaction are all counted."""
    await asyncio.gather(*(submit(store) for _ in range(100)))
    assert await counts(store) == Counts(queued=100)


WORKERS = (WORKER, WorkerId("worker2"), WorkerId("worker3"))


def an_event(chance: random.Random, at_ms: int) -> JobEvent:
    """Something that may happen to a job."""
    worker = chance.choice(WORKERS)
    return chance.choice(
        (
            Finished(at_ms=at_ms, worker=worker, failed=chance.random() < 0.5),
            AttemptLost(at_ms=at_ms, worker=worker, reason=JobReason.WORKER_LOST),
            Cancelled(at_ms=at_ms),
            Retried(at_ms=at_ms, expires_ms=at_ms + TTL_MS),
            TimePassed(at_ms=at_ms + chance.choice((0, 0, TTL_MS))),
        )
    )


async def anything(store: Store, chance: random.Random, known: list[Job], at_ms: int) -> None:
    """One operation at random."""
    match chance.randrange(4):
        case 0:
            job = a_job(at_ms=at_ms, low_priority=chance.random() < 0.3)
            known.append(job)
            await store.jobs.submit(NewJob(job=job, input=b"1"))
        case 1:
            await take(store, chance.choice(WORKERS), limit=2, at_ms=at_ms)
        case _ if known:
            with suppress(IllegalTransition):
                await store.jobs.advance(chance.choice(known).id, an_event(chance, at_ms))
        case _:
            pass


async def all_jobs(store: Store, known: list[Job]) -> list[Job]:
    """The jobs as they stand."""
    results = [await store.jobs.result(TEAM, ENDPOINT, job.id) for job in known]
    return [result.job for result in results if result is not None]


@pytest.mark.parametrize("seed", range(5))
async def test_everything_agrees(store: Store, seed: int) -> None:
    """After any operations, many at once: counters, lists, leases and idleness say what the jobs themselves say."""
    chance = random.Random(seed)
    await allow_slots(store, 3)
    for worker in WORKERS:
        await hire(store, worker)
    known: list[Job] = []
    for step in range(30):
        at_ms = NOW + step
        await asyncio.gather(*(anything(store, chance, known, at_ms) for _ in range(chance.choice((1, 8)))))
        jobs = await all_jobs(store, known)
        assert len(jobs) == len(known)
        await agree(store, jobs)


async def agree(store: Store, jobs: list[Job]) -> None:
    """Whatever the store derives equals what is counted by hand."""
    states = Counter(job.state for job in jobs)
    said = await counts(store)
    assert said.queued + said.queued_low == states[JobState.QUEUED]
    assert said.queued_low == sum(job.state is JobState.QUEUED and job.low_priority for job in jobs)
    assert said.running == states[JobState.RUNNING]
    for state in JobState:
        listed = await store.jobs.list(TEAM, ENDPOINT, state=state, page=Page(limit=1_000))
        assert {job.id for job in listed} == {job.id for job in jobs if job.state is state}
    for held in await store.workers.alive():
        mine = {job.id for job in jobs if job.state is JobState.RUNNING and job.worker == held.worker.id}
        assert {job.id for job in await store.jobs.held_by(held.worker.id)} == mine
        assert held.running == len(mine)
        assert held.stopping == len(await store.jobs.stops(held.worker.id))
        assert held.held <= 3
        assert (held.worker.idle_ms is not None) == (held.held == 0)
