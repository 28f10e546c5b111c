"""A worker's take."""

from __future__ import annotations

import asyncio

import pytest

from stoker.errors import NotFound
from stoker.ids import WorkerId
from stoker.job import AttemptLost, JobReason, JobState, Retried
from stoker.store import NewJob, Store
from stoker.worker import Drained, Exit, Exited, Launched, Stopped, WorkerReason, WorkerState
from tests.store.records import (
    ENDPOINT,
    FOREIGN_ENDPOINT,
    LEASE_MS,
    NOW,
    OTHER_ENDPOINT,
    OTHER_TEAM,
    OTHER_WORKER,
    TEAM,
    TTL_MS,
    WORKER,
    a_job,
    a_worker,
    allow_slots,
    cancel,
    finish,
    hire,
    idle_ms,
    kinds,
    pass_time,
    run,
    submit,
    take,
)


async def test_unknown_worker(store: Store) -> None:
    """A take of a worker that does not exist is refused."""
    with pytest.raises(NotFound):
        await take(store, WorkerId("nobody"))


async def test_first_take_makes_ready(store: Store) -> None:
    """The first take ends the cold start, once; the worker is idle from then on."""
    await store.workers.add(a_worker(), alive_max=1)
    await store.workers.advance(WORKER, Launched(at_ms=NOW + 1))
    first = await take(store, at_ms=NOW + 2, sdk="1.7.13")
    second = await take(store, at_ms=NOW + 3)
    assert (first.ready_now, second.ready_now) == (True, False)
    assert first.worker.state is WorkerState.READY
    assert (first.worker.ready_ms, first.worker.idle_ms, first.worker.sdk) == (NOW + 2, NOW + 2, "1.7.13")
    assert first.worker == await store.workers.get(WORKER)


async def test_what_is_known_to_be_nothing(store: Store) -> None:
    """A take that is said to find nothing finds nothing: it is never said while a job waits, while the worker has one, and
    when the take would be a sign of life."""
    await hire(store)
    await hire(store, OTHER_WORKER)

    async def nothing(worker: WorkerId, at_ms: int) -> bool:
        said = store.jobs.nothing_for(worker, at_ms)
        if said:
            seen = await store.workers.get(worker)
            assert not (await take(store, worker, at_ms=at_ms)).claims
            assert await store.workers.get(worker) == seen
        return said

    await take(store, at_ms=NOW + 1)
    await take(store, OTHER_WORKER, at_ms=NOW + 1)
    await nothing(WORKER, NOW + 2)
    assert not store.jobs.nothing_for(WORKER, NOW + 60_000)
    assert not store.jobs.nothing_for(WorkerId("nobody"), NOW + 2)
    job = await submit(store)
    assert not store.jobs.nothing_for(WORKER, NOW + 2)
    await take(store, at_ms=NOW + 3)
    assert not store.jobs.nothing_for(WORKER, NOW + 4)
    await nothing(OTHER_WORKER, NOW + 4)
    await store.jobs.advance(job.id, AttemptLost(at_ms=NOW + 5, worker=WORKER, reason=JobReason.DELIVERY_FAILED))
    assert not store.jobs.nothing_for(OTHER_WORKER, NOW + 6)
    assert len((await take(store, OTHER_WORKER, at_ms=NOW + 6)).claims) == 1


async def test_take_beside_a_submit(store: Store) -> None:
    """A take that is called after a submit finds its job, though the submit was not answered yet."""
    await hire(store)
    job = a_job()
    storing = store.jobs.submit(NewJob(job=job, input=b"1"))
    (claim,) = (await take(store, at_ms=NOW + 5)).claims
    assert (claim.job.id, claim.input) == (job.id, b"1")
    assert (await storing).id == job.id
    assert await store.jobs.held_by(WORKER) == [claim.job]
    assert await kinds(store, job) == ["submitted", "claimed"]
    counts = await store.jobs.counts(ENDPOINT)
    assert (counts.queued, counts.running) == (0, 1)


async def test_order_beside_submits(store: Store) -> None:
    """Jobs that arrive beside takes are handed out in their order, normal priority first, behind those that waited."""
    await hire(store)
    await allow_slots(store, 4)
    early, low, high, last = (a_job(low_priority=low) for low in (True, True, False, False))
    await store.jobs.submit(NewJob(job=early, input=b"1"))
    storing = [store.jobs.submit(NewJob(job=job, input=b"1")) for job in (low, high, last)]
    taken = await asyncio.gather(*(take(store, at_ms=NOW + 5, limit=2) for _ in range(3)))
    assert [claim.job.id for claims in taken for claim in claims.claims] == [high.id, last.id, early.id, low.id]
    await asyncio.gather(*storing)


async def test_claim_hands_out_job_and_bodies(store: Store) -> None:
    """A claim carries the running job, its input and its S3 configuration."""
    await hire(store)
    job = await submit(store, b'{"x": [1]}', s3_config=b'{"bucketName":"b"}')
    (claim,) = (await take(store, at_ms=NOW + 5)).claims
    assert (claim.input, claim.s3_config) == (b'{"x": [1]}', b'{"bucketName":"b"}')
    assert (claim.job.id, claim.job.state, claim.job.worker) == (job.id, JobState.RUNNING, WORKER)
    assert (claim.job.attempt, claim.job.claimed_ms) == (1, NOW + 5)
    result = await store.jobs.result(TEAM, ENDPOINT, job.id)
    assert result is not None
    assert result.job == claim.job


async def test_order_is_priority_then_submission(store: Store) -> None:
    """Normal priority comes before low, and within each the order is that of submission."""
    await hire(store)
    low = [(await submit(store, low_priority=True)).id for _ in range(2)]
    normal = [(await submit(store)).id for _ in range(2)]
    claims = (await take(store, limit=4)).claims
    assert [claim.job.id for claim in claims] == normal + low


async def test_requeued_job_keeps_its_place(store: Store) -> None:
    """A job that was lost is handed out again before those submitted after it."""
    await hire(store, pings=True)
    first = await run(store)
    second = await submit(store)
    await pass_time(store, first, NOW + LEASE_MS)
    await hire(store, OTHER_WORKER)
    claims = (await take(store, OTHER_WORKER, limit=2, at_ms=NOW + LEASE_MS)).claims
    assert [claim.job.id for claim in claims] == [first.id, second.id]


async def test_job_of_a_lapsed_lease_is_for_another(store: Store) -> None:
    """Whose lease lapsed may still run the job: it is not handed the same job again before it has let go."""
    await hire(store, pings=True)
    job = await run(store)
    await pass_time(store, job, NOW + LEASE_MS)
    assert [stop.job for stop in await store.jobs.stops(WORKER)] == [job.id]
    assert (await take(store, at_ms=NOW + LEASE_MS)).claims == []
    again = await take(store, at_ms=NOW + LEASE_MS + 2, lost_before_ms=NOW + LEASE_MS + 1)
    assert [claim.job.id for claim in again.claims] == [job.id]


async def test_endpoints_are_apart(store: Store) -> None:
    """A worker gets jobs of its own endpoint only."""
    await hire(store)
    await submit(store, endpoint=OTHER_ENDPOINT)
    assert (await take(store)).claims == []


async def test_limit_and_slots(store: Store) -> None:
    """Never more than asked for, and never more than the slots that are free."""
    await hire(store)
    for _ in range(5):
        await submit(store)
    await allow_slots(store, 3)
    assert len((await take(store, limit=2)).claims) == 2
    assert len((await take(store, limit=2)).claims) == 1
    full = await take(store, limit=2)
    assert (full.full, full.claims) == (True, [])


async def test_change_of_slots(store: Store) -> None:
    """A change of the endpoint's slots counts from the next take; a worker may keep more than it now could get."""
    await hire(store)
    await run(store)
    await run(store)
    await submit(store)
    await allow_slots(store, 1)
    assert (await take(store)).full
    await allow_slots(store, 3)
    assert len((await take(store)).claims) == 1


async def test_not_full_when_the_queue_is_empty(store: Store) -> None:
    """A worker with a free slot is not full because nothing waits."""
    await hire(store)
    assert not (await take(store)).full


async def test_stops_hold_slots(store: Store) -> None:
    """A job that the worker was told to stop holds its slot until the worker lets go."""
    await hire(store)
    await allow_slots(store, 1)
    job = await run(store)
    await cancel(store, job)
    await submit(store)
    assert (await take(store)).full
    assert len((await take(store, lost_before_ms=NOW + 1)).claims) == 1


async def test_job_is_not_for_who_must_stop_it(store: Store) -> None:
    """A job is not handed to a worker that still has to stop an earlier attempt of it; another may have it."""
    await hire(store)
    await hire(store, OTHER_WORKER)
    job = await run(store)
    timed_out = await pass_time(store, job, NOW + 600_000)
    assert timed_out.job.reason is JobReason.EXECUTION_LIMIT
    await store.jobs.advance(job.id, Retried(at_ms=NOW + 600_001, expires_ms=NOW + TTL_MS))
    later = await submit(store)
    mine = (await take(store, at_ms=NOW + 600_002)).claims
    assert [claim.job.id for claim in mine] == [later.id]
    theirs = (await take(store, OTHER_WORKER, at_ms=NOW + 600_002)).claims
    assert [claim.job.id for claim in theirs] == [job.id]


async def test_only_ready_workers_get_jobs(store: Store) -> None:
    """A draining, stopping or gone worker is given nothing, and is not full either."""
    await hire(store)
    await submit(store)
    for event, state in (
        (Drained(at_ms=NOW, reason=WorkerReason.SCALED_DOWN), WorkerState.DRAINING),
        (Stopped(at_ms=NOW, reason=WorkerReason.STOPPED_BY_USER), WorkerState.STOPPING),
        (Exited(at_ms=NOW, exit=Exit(code=0, text="exit code 0")), WorkerState.GONE),
    ):
        await store.workers.advance(WORKER, event)
        answer = await take(store)
        assert (answer.worker.state, answer.claims, answer.full) == (state, [], False)


async def test_lease_only_for_workers_that_ping(store: Store) -> None:
    """The lease runs from the take for a worker that has pinged, and is open for one that never did."""
    await hire(store)
    await hire(store, OTHER_WORKER, pings=True)
    assert (await run(store, at_ms=NOW + 7)).lease_until_ms is None
    assert (await run(store, OTHER_WORKER, at_ms=NOW + 7)).lease_until_ms == NOW + 7 + LEASE_MS


async def test_expired_jobs_are_ended_not_handed_out(store: Store) -> None:
    """A take ends jobs whose time to live has passed, and goes on to the next."""
    await hire(store)
    expired = [await submit(store) for _ in range(3)]
    live = await submit(store, expires_ms=NOW + TTL_MS + 1)
    (claim,) = (await take(store, at_ms=NOW + TTL_MS)).claims
    assert claim.job.id == live.id
    for job in expired:
        result = await store.jobs.result(TEAM, ENDPOINT, job.id)
        assert result is not None
        assert (result.job.state, result.job.reason) == (JobState.TIMED_OUT, JobReason.TTL_PASSED)
        assert await kinds(store, job) == ["submitted", "timed_out"]
    counts = await store.jobs.counts(ENDPOINT)
    assert (counts.queued, counts.running, counts.timed_out) == (0, 1, 3)


async def test_claiming_ends_idleness(store: Store) -> None:
    """A worker is idle exactly while it holds nothing."""
    await hire(store)
    assert await idle_ms(store) == NOW
    one, two = await run(store, at_ms=NOW + 1), await run(store, at_ms=NOW + 2)
    assert await idle_ms(store) is None
    await finish(store, one, at_ms=NOW + 3)
    assert await idle_ms(store) is None
    await finish(store, two, at_ms=NOW + 4)
    assert await idle_ms(store) == NOW + 4
    await take(store, at_ms=NOW + 5)
    assert await idle_ms(store) == NOW + 4


async def test_no_job_is_handed_out_twice(store: Store) -> None:
    """Many takes at once share the queue without overlap."""
    await allow_slots(store, 3)
    workers = [WorkerId(f"w{number}") for number in range(10)]
    for worker in workers:
        await hire(store, worker)
    jobs = {(await submit(store)).id for _ in range(25)}
    answers = await asyncio.gather(*(take(store, worker, limit=2) for worker in workers * 2))
    handed = [claim.job.id for answer in answers for claim in answer.claims]
    assert len(handed) == len(set(handed)) == 25
    assert set(handed) == jobs


async def test_ahead_of(store: Store) -> None:
    """A place in the queue counts those handed out before: all normal ones come before a low one."""
    low = [await submit(store, low_priority=True) for _ in range(2)]
    normal = [await submit(store) for _ in range(2)]
    await submit(store, endpoint=OTHER_ENDPOINT)
    assert [await store.jobs.ahead_of(job) for job in (*normal, *low)] == [0, 1, 2, 3]
    await cancel(store, normal[0])
    assert [await store.jobs.ahead_of(job) for job in (*normal, *low)] == [0, 0, 1, 2]


async def test_who_waits_longest(store: Store) -> None:
    """Endpoints of all teams whose jobs of normal priority wait are told by how long the first of them does."""
    assert await store.jobs.waiting(9) == []
    await submit(store, at_ms=NOW + 1)
    await submit(store, at_ms=NOW + 2)
    await submit(store, endpoint=FOREIGN_ENDPOINT, team=OTHER_TEAM, at_ms=NOW)
    await submit(store, endpoint=OTHER_ENDPOINT, at_ms=NOW, low_priority=True)
    assert await store.jobs.waiting(9) == [FOREIGN_ENDPOINT, ENDPOINT]
    assert await store.jobs.waiting(1) == [FOREIGN_ENDPOINT]


async def test_oldest_queued(store: Store) -> None:
    """The wait of the first job of normal priority is known; low priority does not count."""
    await hire(store)
    assert await store.jobs.oldest_queued_ms(ENDPOINT) is None
    await submit(store, at_ms=NOW, low_priority=True)
    assert await store.jobs.oldest_queued_ms(ENDPOINT) is None
    await submit(store, at_ms=NOW + 1)
    await submit(store, at_ms=NOW + 2)
    assert await store.jobs.oldest_queued_ms(ENDPOINT) == NOW + 1
    await take(store)
    assert await store.jobs.oldest_queued_ms(ENDPOINT) == NOW + 2
