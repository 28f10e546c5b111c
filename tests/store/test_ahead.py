"""Jobs that are delivered ahead: a worker has them behind those that it runs."""

from __future__ import annotations

import pytest

from stoker.job import AttemptLost, JobReason, JobState
from stoker.store import Counts, Page, Store
from stoker.store.image import AHEAD_BYTES
from stoker.worker import Drained, Exit, Exited, WorkerReason
from tests.store.records import (
    ENDPOINT,
    LEASE_MS,
    NOW,
    OTHER_WORKER,
    TEAM,
    WORKER,
    allow_slots,
    cancel,
    finish,
    hire,
    idle_ms,
    kinds,
    submit,
    take,
)


async def states(store: Store, *jobs: str) -> list[JobState]:
    """As they stand."""
    results = [await store.jobs.result(TEAM, ENDPOINT, job) for job in jobs]  # type: ignore[arg-type] # plain words
    return [result.job.state for result in results if result is not None]


async def filled(store: Store, *, count: int = 4, slots: int = 1, pings: bool = False) -> list[str]:
    """So many jobs in the hands of the worker, which begins as many as it has slots."""
    await allow_slots(store, slots)
    await hire(store, pings=pings)
    jobs = [(await submit(store)).id for _ in range(count)]
    claims = (await take(store, limit=slots, ahead=count)).claims
    assert [claim.job.id for claim in claims] == jobs
    return list(jobs)


async def test_ahead_is_what_follows_the_first(store: Store) -> None:
    """The free slots are filled first; what follows is ahead, in the order of the queue, normal priority first."""
    await allow_slots(store, 1)
    await hire(store)
    low = await submit(store, low_priority=True)
    normal = [await submit(store) for _ in range(2)]
    claims = (await take(store, ahead=10)).claims
    assert [claim.job.id for claim in claims] == [normal[0].id, normal[1].id, low.id]
    assert [claim.job.state for claim in claims] == [JobState.RUNNING, JobState.AHEAD, JobState.AHEAD]
    assert [claim.job.attempt for claim in claims] == [1, 0, 0]
    assert (await take(store, ahead=10)).full


async def test_ahead_is_limited(store: Store) -> None:
    """No more are delivered than were asked for, and none without one to begin."""
    await allow_slots(store, 1)
    await hire(store)
    for _ in range(5):
        await submit(store)
    assert (await take(store, limit=0, ahead=3)).claims == []
    assert len((await take(store, ahead=3)).claims) == 4


async def test_takes_at_once_find_their_share(store: Store) -> None:
    """What is delivered ahead is what the heads of the queue hold beyond what other takes begin at once."""
    await allow_slots(store, 1)
    await hire(store)
    await hire(store, OTHER_WORKER)
    for _ in range(2):
        await submit(store)
    first = (await take(store, ahead=0)).claims
    second = (await take(store, OTHER_WORKER, ahead=5)).claims
    assert (len(first), len(second)) == (1, 1)


async def test_large_inputs_are_not_delivered_ahead(store: Store) -> None:
    """The inputs of one answer stay below a bound, but the first job is given whatever its size."""
    await allow_slots(store, 1)
    await hire(store)
    large = b'"' + b"x" * (AHEAD_BYTES // 2) + b'"'
    for _ in range(4):
        await submit(store, large)
    assert len((await take(store, ahead=10)).claims) == 1


async def test_it_is_counted_and_listed_as_waiting(store: Store) -> None:
    """Counters tell it apart, the list of queued jobs has it, nobody is before it, and its worker is not idle."""
    jobs = await filled(store)
    counts = await store.jobs.counts(ENDPOINT)
    assert (counts, counts.waiting) == (Counts(running=1, ahead=3), 3)
    listed = await store.jobs.list(TEAM, ENDPOINT, state=JobState.QUEUED, page=Page())
    assert [job.id for job in listed] == jobs[:0:-1]
    assert await store.jobs.ahead_of(listed[0]) == 0
    (held,) = await store.workers.alive()
    assert (held.running, held.ahead, held.in_slots, held.held) == (1, 3, 1, 4)


async def test_the_next_gets_its_turn(store: Store) -> None:
    """With each end the first of those ahead begins; the worker is idle after the last."""
    jobs = await filled(store, count=3)
    held = {job.id: job for job in await store.jobs.held_by(WORKER)}
    for at_ms, job in enumerate(jobs, NOW + 1):
        assert (await states(store, job)) == [JobState.RUNNING]
        await finish(store, held[job], at_ms=at_ms)  # type: ignore[index] # plain words
    assert await idle_ms(store) == NOW + 3
    assert await kinds(store, held[jobs[1]]) == ["submitted", "delivered_ahead", "claimed", "finished"]  # type: ignore[index] # plain words
    assert await store.jobs.counts(ENDPOINT) == Counts(completed=3)


async def test_a_result_of_a_job_ahead_ends_it(store: Store) -> None:
    """A turn that nobody saw is an attempt all the same, and those before it keep their slot."""
    jobs = await filled(store, count=3)
    last = (await store.jobs.held_by(WORKER))[1]
    step = await finish(store, last, at_ms=NOW + 5)
    assert (step.job.state, step.job.attempt) == (JobState.COMPLETED, 1)
    assert await states(store, *jobs[:2]) == [JobState.RUNNING, JobState.AHEAD]


async def test_progress_of_a_job_ahead_is_its_turn(store: Store) -> None:
    """Who speaks has begun."""
    jobs = await filled(store, count=2)
    await store.jobs.add_part(jobs[1], WORKER, b"1", at_ms=NOW + 7, lease_ms=LEASE_MS)  # type: ignore[arg-type] # plain words
    assert await states(store, jobs[1]) == [JobState.RUNNING]


async def test_cancel_stops_nobody(store: Store) -> None:
    """A cancelled job ahead leaves no stop behind, and no turn."""
    jobs = await filled(store, count=3)
    held = await store.jobs.held_by(WORKER)
    await cancel(store, held[0])
    assert await store.jobs.stops(WORKER) == []
    await finish(store, held[-1], at_ms=NOW + 1)
    assert await states(store, *jobs) == [JobState.COMPLETED, JobState.CANCELLED, JobState.RUNNING]


async def test_gone_worker_gives_them_back_uncounted(store: Store) -> None:
    """Only the running job has lost an attempt; all wait in their old order."""
    jobs = await filled(store)
    await hire(store, OTHER_WORKER)
    await store.workers.advance(WORKER, Exited(at_ms=NOW + 1, exit=Exit(code=137, text="killed")))
    assert await store.jobs.counts(ENDPOINT) == Counts(queued=4, retried=1)
    claims = (await take(store, OTHER_WORKER, ahead=9, at_ms=NOW + 2)).claims
    assert [claim.job.id for claim in claims] == jobs
    assert [claim.job.losses for claim in claims] == [1, 0, 0, 0]


async def test_a_worker_that_holds_nothing_gives_them_back(store: Store) -> None:
    """It says so with its take: the running job is lost, those ahead are taken back."""
    jobs = await filled(store)
    answer = await take(store, at_ms=NOW + 5_000, lost_before_ms=NOW + 4_000)
    assert {(job.id, job.reason) for job in answer.lost} == {
        (jobs[0], JobReason.RESULT_MISSING),
        *((job, JobReason.TAKEN_BACK) for job in jobs[1:]),
    }
    assert [claim.job.id for claim in answer.claims] == jobs[:1]


async def test_a_failed_delivery_in_reverse_costs_nothing(store: Store) -> None:
    """Given back from the last to the first, none gets a turn."""
    jobs = await filled(store)
    for job in reversed(jobs):
        lost = AttemptLost(at_ms=NOW + 1, worker=WORKER, reason=JobReason.DELIVERY_FAILED)
        await store.jobs.advance(job, lost)  # type: ignore[arg-type] # plain words
    assert await store.jobs.counts(ENDPOINT) == Counts(queued=4, retried=1)
    assert await idle_ms(store) == NOW + 1


async def test_a_ping_renews_them(store: Store) -> None:
    """A ping that names a job ahead renews its lease."""
    jobs = await filled(store, count=2, pings=True)
    await store.jobs.confirm(WORKER, jobs, at_ms=NOW + 9, lease_ms=LEASE_MS)  # type: ignore[arg-type] # plain words
    leases = {job.lease_until_ms for job in await store.jobs.held_by(WORKER)}
    assert leases == {NOW + 9 + LEASE_MS}


async def test_purge_ends_them(store: Store) -> None:
    """To whoever empties the queue they are in it."""
    jobs = await filled(store)
    waiting = await submit(store)
    assert await store.jobs.purge_queue(ENDPOINT, NOW + 1) == 4
    assert await states(store, *jobs, waiting.id) == [JobState.RUNNING] + [JobState.CANCELLED] * 4
    (held,) = await store.workers.alive()
    assert (held.running, held.ahead) == (1, 0)


@pytest.mark.parametrize("before", [None, WorkerReason.SCALED_DOWN])
async def test_a_budget_takes_back_what_is_ahead(store: Store, before: WorkerReason | None) -> None:
    """Who is drained for a budget finishes what it runs; what it has ahead waits again in the same transaction, also when it was
    drained for another reason before."""
    jobs = await filled(store, count=3)
    if before is not None:
        await store.workers.advance(WORKER, Drained(at_ms=NOW, reason=before))
        assert await states(store, *jobs) == [JobState.RUNNING, JobState.AHEAD, JobState.AHEAD]
    step = await store.workers.advance(WORKER, Drained(at_ms=NOW + 1, reason=WorkerReason.BUDGET_SPENT))
    assert step.worker.reason is WorkerReason.BUDGET_SPENT
    assert await states(store, *jobs) == [JobState.RUNNING, JobState.QUEUED, JobState.QUEUED]
    assert await store.jobs.counts(ENDPOINT) == Counts(queued=2, running=1)
    (runs,) = await store.jobs.held_by(WORKER)
    await finish(store, runs, at_ms=NOW + 2)
    assert await idle_ms(store) == NOW + 2
