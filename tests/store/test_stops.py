"""Jobs that a worker is told to stop, and its pings."""

from __future__ import annotations

from stoker.job import Finished, JobReason
from stoker.store import Stop, Store
from stoker.worker import Exit, Exited
from tests.store.records import (
    LEASE_MS,
    NOW,
    OTHER_WORKER,
    WORKER,
    cancel,
    finish,
    hire,
    idle_ms,
    run,
    submit,
    take,
)


async def confirm(store: Store, *jobs: str, at_ms: int, worker: str = WORKER) -> None:
    """The worker pings, naming these jobs."""
    await store.jobs.confirm(worker, jobs, at_ms=at_ms, lease_ms=LEASE_MS)  # type: ignore[arg-type] # plain words


async def test_cancel_of_a_waiting_job_stops_nobody(store: Store) -> None:
    """A job that no worker has is cancelled without a stop."""
    await hire(store)
    await cancel(store, await submit(store))
    assert await store.jobs.stops(WORKER) == []


async def test_cancel_of_a_running_job_asks_its_worker(store: Store) -> None:
    """The worker of a cancelled job has to stop it, and is not idle until it lets go."""
    await hire(store)
    job = await run(store)
    await cancel(store, job, at_ms=NOW + 1)
    assert await store.jobs.stops(WORKER) == [Stop(job=job.id, worker=WORKER, asked_ms=NOW + 1)]
    assert await store.jobs.stops(OTHER_WORKER) == []
    assert await store.jobs.held_by(WORKER) == []
    assert await idle_ms(store) is None
    (held,) = await store.workers.alive()
    assert (held.running, held.stopping, held.held) == (0, 1, 1)


async def test_told(store: Store) -> None:
    """When the worker was told is kept, the last time it was."""
    await hire(store)
    job = await run(store)
    await cancel(store, job)
    for told_ms in (NOW + 1, NOW + 2):
        await store.jobs.mark_told(WORKER, [job.id], told_ms)
        assert [stop.told_ms for stop in await store.jobs.stops(WORKER)] == [told_ms]


async def test_late_result_lets_go(store: Store) -> None:
    """A result that comes too late shows that the worker let go: the stop is cleared, and the worker is idle."""
    await hire(store)
    job = await run(store)
    await cancel(store, job)
    stranger = Finished(at_ms=NOW, worker=OTHER_WORKER, failed=False)
    await store.jobs.advance(job.id, stranger)
    assert len(await store.jobs.stops(WORKER)) == 1
    assert not (await finish(store, job, at_ms=NOW + 3)).changed
    assert await store.jobs.stops(WORKER) == []
    assert await idle_ms(store) == NOW + 3


async def test_clear_stops(store: Store) -> None:
    """A worker that shows it holds nothing has let go of what it was asked before that, and of nothing younger."""
    await hire(store)
    old, young = await run(store), await run(store)
    await cancel(store, old, at_ms=NOW + 10)
    await cancel(store, young, at_ms=NOW + 20)
    await take(store, limit=0, at_ms=NOW + 30, lost_before_ms=NOW + 20)
    assert [stop.job for stop in await store.jobs.stops(WORKER)] == [young.id]
    assert await idle_ms(store) is None
    await take(store, limit=0, at_ms=NOW + 31, lost_before_ms=NOW + 21)
    assert await store.jobs.stops(WORKER) == []
    assert await idle_ms(store) == NOW + 31


async def test_stops_due(store: Store) -> None:
    """Stops not obeyed since before a moment are found, of all workers, longest asked first."""
    await hire(store)
    await hire(store, OTHER_WORKER)
    mine, theirs = await run(store), await run(store, OTHER_WORKER)
    await cancel(store, mine, at_ms=NOW + 10)
    await cancel(store, theirs, at_ms=NOW + 5)
    assert [stop.job for stop in await store.jobs.stops_due(NOW + 11)] == [theirs.id, mine.id]
    assert [stop.job for stop in await store.jobs.stops_due(NOW + 10)] == [theirs.id]


async def test_gone_worker_has_no_stops(store: Store) -> None:
    """What a gone worker was told to stop needs no stopping any more."""
    await hire(store)
    await cancel(store, await run(store))
    await store.workers.advance(WORKER, Exited(at_ms=NOW, exit=Exit(code=137, text="killed")))
    assert await store.jobs.stops(WORKER) == []
    assert await store.jobs.stops_due(NOW + 10**9) == []


# ── pings ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_ping_renews_named_leases(store: Store) -> None:
    """A ping renews the leases of the jobs that it names and that the worker holds, and of no others."""
    await hire(store, pings=True)
    await hire(store, OTHER_WORKER, pings=True)
    named, unnamed, foreign = await run(store), await run(store), await run(store, OTHER_WORKER)
    await confirm(store, named.id, foreign.id, "nobody", at_ms=NOW + 5)
    leases = {job.id: job.lease_until_ms for job in await store.jobs.held_by(WORKER)}
    assert leases == {named.id: NOW + 5 + LEASE_MS, unnamed.id: NOW + LEASE_MS}
    (other,) = await store.jobs.held_by(OTHER_WORKER)
    assert other.lease_until_ms == NOW + LEASE_MS


async def test_ping_without_names_renews_all(store: Store) -> None:
    """A ping that cannot name jobs renews all that the worker holds, and clears no stops."""
    await hire(store, pings=True)
    await run(store)
    await run(store)
    stopped = await run(store)
    await cancel(store, stopped)
    await store.jobs.confirm(WORKER, None, at_ms=NOW + 60_000, lease_ms=LEASE_MS)
    assert {job.lease_until_ms for job in await store.jobs.held_by(WORKER)} == {NOW + 60_000 + LEASE_MS}
    assert [stop.job for stop in await store.jobs.stops(WORKER)] == [stopped.id]


async def test_first_ping_confirms(store: Store) -> None:
    """The first ping that names a job confirms the delivery."""
    await hire(store)
    job = await run(store)
    await confirm(store, job.id, at_ms=NOW + 5)
    await confirm(store, job.id, at_ms=NOW + 9)
    (found,) = await store.jobs.held_by(WORKER)
    assert (found.reason, found.confirmed_ms) == (JobReason.CONFIRMED, NOW + 5)
    assert found.lease_until_ms == NOW + 9 + LEASE_MS


async def test_ping_that_omits_a_stop_lets_go(store: Store) -> None:
    """A stop that is older than two seconds and not named is cleared; a named or a younger one is not."""
    await hire(store)
    still, gone, young = await run(store), await run(store), await run(store)
    await cancel(store, still, at_ms=NOW)
    await cancel(store, gone, at_ms=NOW)
    await cancel(store, young, at_ms=NOW + 1_000)
    await confirm(store, still.id, at_ms=NOW + 2_000)
    assert len(await store.jobs.stops(WORKER)) == 3
    await confirm(store, still.id, at_ms=NOW + 2_001)
    assert {stop.job for stop in await store.jobs.stops(WORKER)} == {still.id, young.id}
    await confirm(store, at_ms=NOW + 9_000)
    assert await store.jobs.stops(WORKER) == []
    assert await idle_ms(store) == NOW + 9_000


async def test_ping_of_an_idle_worker_keeps_its_idleness(store: Store) -> None:
    """A ping without jobs does not make an idle worker idle anew."""
    await hire(store)
    await confirm(store, at_ms=NOW + 9_000)
    assert await idle_ms(store) == NOW
