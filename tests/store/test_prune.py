"""Forgetting what was kept long enough."""

from __future__ import annotations

from stoker.ids import WorkerId
from stoker.job import Finished
from stoker.store import Store
from stoker.worker import Launched, Vanished
from tests.store.records import (
    DAY_MS,
    ENDPOINT,
    LEASE_MS,
    NOW,
    RETENTION_MS,
    TEAM,
    WORKER,
    a_worker,
    cancel,
    finish,
    hire,
    run,
    submit,
)


async def test_finished_jobs_go_when_retention_ends(store: Store) -> None:
    """A finished job is forgotten when its retention ends, not before, with bodies, stream and story."""
    await hire(store)
    job = await run(store)
    await store.jobs.add_part(job.id, WORKER, b"1", at_ms=NOW, lease_ms=LEASE_MS)
    await finish(store, job)
    assert await store.jobs.prune(NOW + RETENTION_MS - 1, 10) == 0
    assert await store.jobs.result(TEAM, ENDPOINT, job.id) is not None
    assert await store.jobs.prune(NOW + RETENTION_MS, 10) == 1
    assert await store.jobs.result(TEAM, ENDPOINT, job.id) is None
    assert await store.jobs.input(TEAM, job.id) is None
    assert await store.jobs.story(job.id) == []
    assert await store.jobs.read_parts(TEAM, ENDPOINT, job.id, bytes_max=10) is None


async def test_living_jobs_stay(store: Store) -> None:
    """A job that waits or runs is never forgotten."""
    await hire(store)
    await run(store)
    await submit(store)
    assert await store.jobs.prune(NOW + 10**12, 10) == 0


async def test_prune_is_bounded(store: Store) -> None:
    """One call forgets at most so many, those that are due longest first."""
    jobs = [await submit(store) for _ in range(3)]
    for number, job in enumerate(jobs):
        await cancel(store, job, at_ms=NOW - number)
    assert await store.jobs.prune(NOW + RETENTION_MS, 2) == 2
    assert await store.jobs.result(TEAM, ENDPOINT, jobs[0].id) is not None
    assert await store.jobs.prune(NOW + RETENTION_MS, 2) == 1


async def test_counters_survive(store: Store) -> None:
    """What was counted since the endpoint's creation stays counted."""
    await hire(store)
    await finish(store, await run(store))
    await store.jobs.prune(NOW + RETENTION_MS, 10)
    assert (await store.jobs.counts(ENDPOINT)).completed == 1


async def test_stories_do_not_mix(store: Store) -> None:
    """A job stored after another was forgotten inherits nothing from it."""
    await hire(store)
    job = await run(store)
    await store.jobs.advance(job.id, Finished(at_ms=NOW, worker=WORKER, failed=True))
    await store.jobs.prune(NOW + RETENTION_MS, 10)
    fresh = await submit(store)
    assert [line.kind for line in await store.jobs.story(fresh.id)] == ["submitted"]
    result = await store.jobs.result(TEAM, ENDPOINT, fresh.id)
    assert result is not None
    assert (result.output, result.error) == (None, None)


async def test_old_keys_are_forgotten(store: Store) -> None:
    """Idempotency keys older than a day go; younger ones stay."""
    old = await submit(store, idempotency_key="old", body_hash="h")
    young = await submit(store, idempotency_key="young", body_hash="h", at_ms=NOW + 1)
    await store.jobs.prune(NOW + DAY_MS, 10)
    assert (await submit(store, idempotency_key="young", body_hash="h", at_ms=NOW + 2)).id == young.id
    assert (await submit(store, idempotency_key="old", body_hash="h", at_ms=NOW + 2)).id != old.id


async def test_gone_workers_are_forgotten(store: Store) -> None:
    """Workers that went before a moment are named and forgotten with their stories, longest gone first."""
    for name, gone_ms in (("late", 3), ("first", 1), ("second", 2)):
        await store.workers.add(a_worker(WorkerId(name)), alive_max=9)
        await store.workers.advance(WorkerId(name), Launched(at_ms=NOW))
        await store.workers.advance(WorkerId(name), Vanished(at_ms=NOW + gone_ms))
    await hire(store)
    assert await store.workers.prune(NOW + 3, 1) == ["first"]
    assert await store.workers.prune(NOW + 3, 9) == ["second"]
    assert await store.workers.prune(NOW + 3, 9) == []
    assert await store.workers.get(WorkerId("first")) is None
    assert await store.workers.story(WorkerId("first")) == []
    assert await store.workers.get(WorkerId("late")) is not None
    assert await store.workers.get(WORKER) is not None
