"""Streams: parts that arrive while a job runs, and are read once."""

from __future__ import annotations

from stoker.ids import JobId
from stoker.job import AttemptLost, Finished, Job, JobReason, JobState, Retried
from stoker.store import Parts, Store
from tests.store.records import (
    ENDPOINT,
    LEASE_MS,
    NOW,
    OTHER_ENDPOINT,
    OTHER_TEAM,
    OTHER_WORKER,
    TEAM,
    TTL_MS,
    WORKER,
    finish,
    hire,
    run,
    submit,
    take,
)


async def add(store: Store, job: Job, *parts: bytes) -> None:
    """The worker posts parts that are accepted."""
    for part in parts:
        assert await store.jobs.add_part(job.id, WORKER, part, at_ms=NOW, lease_ms=LEASE_MS)


async def read(store: Store, job: Job, *, bytes_max: int = 1_000) -> Parts:
    """A client's poll."""
    parts = await store.jobs.read_parts(TEAM, ENDPOINT, job.id, bytes_max=bytes_max)
    assert parts is not None
    return parts


async def test_unknown_stream(store: Store) -> None:
    """A stream that does not exist, or is another team's or endpoint's, is None."""
    job = await submit(store)
    assert await store.jobs.read_parts(TEAM, ENDPOINT, JobId("nobody"), bytes_max=1) is None
    assert await store.jobs.read_parts(OTHER_TEAM, ENDPOINT, job.id, bytes_max=1) is None
    assert await store.jobs.read_parts(TEAM, OTHER_ENDPOINT, job.id, bytes_max=1) is None


async def test_parts_never_come_back(store: Store) -> None:
    """Each part is returned once, in the order of arrival."""
    await hire(store)
    job = await run(store)
    assert list((await read(store, job)).parts) == []
    await add(store, job, b"1", b"2")
    assert list((await read(store, job)).parts) == [b"1", b"2"]
    await add(store, job, b"3")
    assert list((await read(store, job)).parts) == [b"3"]
    assert list((await read(store, job)).parts) == []


async def test_streams_of_jobs_are_apart(store: Store) -> None:
    """Reading one stream leaves the others alone."""
    await hire(store)
    one, two = await run(store), await run(store)
    await add(store, one, b"1")
    await add(store, two, b"2")
    assert list((await read(store, one)).parts) == [b"1"]
    assert list((await read(store, two)).parts) == [b"2"]


async def test_answer_is_bounded_while_running(store: Store) -> None:
    """An answer holds at most so many bytes, but at least one part; the rest comes with the next."""
    await hire(store)
    job = await run(store)
    await add(store, job, b"aaa", b"bbb", b"cccccccc")
    assert [list((await read(store, job, bytes_max=6)).parts) for _ in range(3)] == [
        [b"aaa", b"bbb"],
        [b"cccccccc"],
        [],
    ]


async def test_final_job_brings_everything(store: Store) -> None:
    """A final state is never announced while parts are withheld; after that the stream is closed."""
    await hire(store)
    job = await run(store)
    await add(store, job, b"aaa", b"bbb", b"ccc")
    await finish(store, job)
    last = await read(store, job, bytes_max=1)
    assert (last.job.state, list(last.parts), last.closed) == (JobState.COMPLETED, [b"aaa", b"bbb", b"ccc"], False)
    after = await read(store, job)
    assert (after.job.state, list(after.parts), after.closed) == (JobState.COMPLETED, [], True)


async def test_late_parts_are_refused(store: Store) -> None:
    """A part of another worker, or after the end, is not kept."""
    await hire(store)
    job = await run(store)
    assert not await store.jobs.add_part(job.id, OTHER_WORKER, b"1", at_ms=NOW, lease_ms=LEASE_MS)
    await finish(store, job)
    assert not await store.jobs.add_part(job.id, WORKER, b"2", at_ms=NOW, lease_ms=LEASE_MS)
    assert list((await read(store, job)).parts) == []


async def test_part_confirms(store: Store) -> None:
    """A part is a sign that the worker has the job."""
    await hire(store, pings=True)
    job = await run(store)
    await store.jobs.add_part(job.id, WORKER, b"1", at_ms=NOW + 9, lease_ms=LEASE_MS)
    (found,) = await store.jobs.held_by(WORKER)
    assert (found.confirmed_ms, found.lease_until_ms) == (NOW + 9, NOW + 9 + LEASE_MS)


async def test_lost_attempt_drops_unread_parts(store: Store) -> None:
    """Parts that nobody read go with their attempt: the next one sends them again."""
    await hire(store)
    job = await run(store)
    await add(store, job, b"read")
    await read(store, job)
    await add(store, job, b"unread")
    await store.jobs.advance(job.id, AttemptLost(at_ms=NOW, worker=WORKER, reason=JobReason.WORKER_LOST))
    await take(store)
    await add(store, job, b"again")
    assert list((await read(store, job)).parts) == [b"again"]


async def test_retry_opens_the_stream_again(store: Store) -> None:
    """A stream that was read to its end is open again after a client's retry."""
    await hire(store)
    job = await run(store)
    await store.jobs.advance(job.id, Finished(at_ms=NOW, worker=WORKER, failed=True))
    await read(store, job)
    assert (await read(store, job)).closed
    await store.jobs.advance(job.id, Retried(at_ms=NOW, expires_ms=NOW + TTL_MS))
    assert not (await read(store, job)).closed
