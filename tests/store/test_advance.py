"""Events that move a job, and what is written with them."""

from __future__ import annotations

import asyncio

import pytest

from stoker.errors import IllegalTransition, NotFound
from stoker.ids import JobId
from stoker.job import (
    AttemptLost,
    Cancelled,
    Finished,
    Job,
    JobReason,
    JobState,
    OutputRefused,
    Retried,
    TimePassed,
)
from stoker.store import Bodies, Result, Store
from tests.store.records import (
    ENDPOINT,
    LEASE_MS,
    LIMIT_MS,
    NOW,
    OTHER_ENDPOINT,
    OTHER_WORKER,
    TEAM,
    TTL_MS,
    WORKER,
    finish,
    hire,
    idle_ms,
    kinds,
    pass_time,
    run,
    submit,
    take,
)


async def read(store: Store, job: Job) -> Result:
    """The job's result, which must be there."""
    result = await store.jobs.result(TEAM, None, job.id)
    assert result is not None
    return result


def lost(at_ms: int = NOW, reason: JobReason = JobReason.WORKER_LOST) -> AttemptLost:
    """The worker's attempt is lost."""
    return AttemptLost(at_ms=at_ms, worker=WORKER, reason=reason)


async def test_unknown_job(store: Store) -> None:
    """An event for a job that does not exist is refused."""
    with pytest.raises(NotFound):
        await store.jobs.advance(JobId("nobody"), Cancelled(at_ms=NOW))


async def test_step_is_what_is_stored(store: Store) -> None:
    """The answer to an event is the record as it is read afterwards."""
    await hire(store)
    step = await finish(store, await run(store), at_ms=NOW + 9)
    assert step.changed
    assert (await read(store, step.job)).job == step.job
    assert (step.job.state, step.job.finished_ms) == (JobState.COMPLETED, NOW + 9)


async def test_illegal_event_changes_nothing(store: Store) -> None:
    """An event that the state does not know raises, and nothing was written."""
    job = await submit(store)
    with pytest.raises(IllegalTransition):
        await store.jobs.advance(job.id, Retried(at_ms=NOW, expires_ms=NOW), Bodies(error="no"))
    result = await read(store, job)
    assert (result.job, result.error) == (job, None)
    assert await kinds(store, job) == ["submitted"]


async def test_late_report_changes_nothing(store: Store) -> None:
    """A report of another worker, or after the end, is acknowledged; bodies and ledger stay as they are."""
    await hire(store)
    job = await run(store)
    stranger = Finished(at_ms=NOW, worker=OTHER_WORKER, failed=True)
    assert not (await store.jobs.advance(job.id, stranger, Bodies(error="wrong"))).changed
    await finish(store, job, output=b'"first"')
    assert not (await finish(store, job, output=b'"second"')).changed
    result = await read(store, job)
    assert (result.output, result.error) == (b'"first"', None)
    assert await kinds(store, job) == ["submitted", "claimed", "finished"]


async def test_failed_handler(store: Store) -> None:
    """A handler's error is kept with the job, whatever letters it has."""
    await hire(store)
    job = await run(store)
    text = 'Traceback: "naïve" \x00 \ud800 ✓'
    await store.jobs.advance(job.id, Finished(at_ms=NOW, worker=WORKER, failed=True), Bodies(error=text))
    result = await read(store, job)
    assert (result.job.state, result.job.reason) == (JobState.FAILED, JobReason.HANDLER_ERROR)
    assert result.error == text


async def test_refused_output(store: Store) -> None:
    """A result over the limit fails the job with the reason in words."""
    await hire(store)
    job = await run(store)
    await store.jobs.advance(job.id, OutputRefused(at_ms=NOW, worker=WORKER), Bodies(error="too large"))
    result = await read(store, job)
    assert (result.job.reason, result.error) == (JobReason.OUTPUT_TOO_LARGE, "too large")


async def test_lost_attempt_goes_back(store: Store) -> None:
    """A lost attempt waits again without the progress it made; its worker is idle."""
    await hire(store)
    job = await run(store)
    await store.jobs.progress(job.id, WORKER, b'"half"', at_ms=NOW + 1, lease_ms=LEASE_MS)
    step = await store.jobs.advance(job.id, lost(NOW + 2))
    assert (step.job.state, step.job.losses) == (JobState.QUEUED, 1)
    assert (await read(store, job)).output is None
    assert await idle_ms(store) == NOW + 2
    assert await kinds(store, job) == ["submitted", "claimed", "confirmed", "requeued"]


async def test_exhausted_retries(store: Store) -> None:
    """When retries are used up the job fails, and keeps the error but no stale progress."""
    await hire(store)
    job = await run(store, retry_limit=0)
    await store.jobs.progress(job.id, WORKER, b'"half"', at_ms=NOW, lease_ms=LEASE_MS)
    step = await store.jobs.advance(job.id, lost(), Bodies(error="timed out after 0 retries"))
    result = await read(store, job)
    assert step.job.reason is JobReason.RETRIES_EXHAUSTED
    assert (result.job.state, result.output, result.error) == (JobState.FAILED, None, "timed out after 0 retries")


async def test_completed_without_output(store: Store) -> None:
    """A job that completes without output does not show its last progress as one."""
    await hire(store)
    job = await run(store)
    await store.jobs.progress(job.id, WORKER, b'"half"', at_ms=NOW, lease_ms=LEASE_MS)
    await finish(store, job, output=None)
    assert (await read(store, job)).output is None


async def test_output_replaces_progress(store: Store) -> None:
    """While it runs a job shows its latest progress; then its output."""
    await hire(store)
    job = await run(store)
    for part in (b'"one"', b'"two"'):
        await store.jobs.progress(job.id, WORKER, part, at_ms=NOW, lease_ms=LEASE_MS)
        assert (await read(store, job)).output == part
    await finish(store, job, output=b'"all"')
    assert (await read(store, job)).output == b'"all"'


async def test_late_progress(store: Store) -> None:
    """Progress of another worker, or after the end, changes nothing."""
    await hire(store)
    job = await run(store)
    step = await store.jobs.progress(job.id, OTHER_WORKER, b'"x"', at_ms=NOW, lease_ms=LEASE_MS)
    assert not step.changed
    assert (await read(store, job)).output is None
    await finish(store, job)
    step = await store.jobs.progress(job.id, WORKER, b'"x"', at_ms=NOW, lease_ms=LEASE_MS)
    assert not step.changed
    assert (await read(store, job)).output == b'"done"'


async def test_progress_twice_in_a_moment(store: Store) -> None:
    """Progress that is stored counts as a change even when the record of the job stays the same."""
    await hire(store)
    job = await run(store)
    for _ in range(2):
        assert (await store.jobs.progress(job.id, WORKER, b'"x"', at_ms=NOW, lease_ms=LEASE_MS)).changed


async def test_progress_begins_no_lease_without_pings(store: Store) -> None:
    """Progress renews the lease of a worker that pings, and begins none for one that never did."""
    await hire(store)
    await hire(store, OTHER_WORKER, pings=True)
    for worker, lease_until_ms in ((WORKER, None), (OTHER_WORKER, NOW + 5 + LEASE_MS)):
        job = await run(store, worker)
        step = await store.jobs.progress(job.id, worker, b"1", at_ms=NOW + 5, lease_ms=LEASE_MS)
        assert (step.job.reason, step.job.lease_until_ms) == (JobReason.CONFIRMED, lease_until_ms)


async def test_client_retry(store: Store) -> None:
    """A retried job waits as at the beginning: same input and S3 configuration, no output, no error."""
    await hire(store)
    job = await run(store, input=b"[1]", s3_config=b"{}", webhook="https://example.org")
    await store.jobs.advance(
        job.id, Finished(at_ms=NOW, worker=WORKER, failed=True), Bodies(output=b"1", error="broken")
    )
    step = await store.jobs.advance(job.id, Retried(at_ms=NOW + 1, expires_ms=NOW + TTL_MS))
    result = await read(store, job)
    assert (result.job, result.output, result.error) == (step.job, None, None)
    (claim,) = (await take(store, at_ms=NOW + 2)).claims
    assert (claim.job.attempt, claim.input, claim.s3_config) == (1, b"[1]", b"{}")
    assert (await kinds(store, job))[-2:] == ["retried", "claimed"]


async def test_execution_limit(store: Store) -> None:
    """Time alone ends a job that runs too long, and its worker is told to stop it."""
    await hire(store)
    job = await run(store)
    assert not (await pass_time(store, job, NOW + LIMIT_MS - 1)).changed
    step = await pass_time(store, job, NOW + LIMIT_MS)
    assert (step.job.state, step.job.reason) == (JobState.TIMED_OUT, JobReason.EXECUTION_LIMIT)
    assert [stop.job for stop in await store.jobs.stops(WORKER)] == [job.id]
    assert (await kinds(store, job))[-1] == "timed_out"


async def test_due_is_ordered_and_bounded(store: Store) -> None:
    """Jobs whose deadline has passed come earliest first, no more than asked for, and leave when they are ended."""
    await hire(store, pings=True)
    running = await run(store)
    late = await submit(store, expires_ms=NOW + 50_000)
    early = await submit(store, expires_ms=NOW + 40_000)
    await submit(store)
    deadlines = [running.id, early.id, late.id]
    assert await store.jobs.due(NOW + LEASE_MS - 1, 10) == []
    assert await store.jobs.due(NOW + 50_000, 10) == deadlines
    assert await store.jobs.due(NOW + 50_000, 2) == deadlines[:2]
    await pass_time(store, early, NOW + 50_000)
    await finish(store, running)
    assert await store.jobs.due(NOW + 50_000, 10) == [late.id]


async def test_story_of_a_whole_life(store: Store) -> None:
    """Every change has its line, with worker, attempt and reason; heartbeats after the first have none."""
    await hire(store, pings=True)
    job = await run(store)
    for at_ms in (NOW + 1, NOW + 2):
        await store.jobs.confirm(WORKER, [job.id], at_ms=at_ms, lease_ms=LEASE_MS)
    await store.jobs.advance(job.id, TimePassed(at_ms=NOW + 2 + LEASE_MS))
    await take(store, at_ms=NOW + 40_000, lost_before_ms=NOW + 40_000)
    await finish(store, job, at_ms=NOW + 40_001)
    story = [(line.kind, line.reason, line.worker, line.attempt) for line in await store.jobs.story(job.id)]
    assert story == [
        ("submitted", "submitted", None, None),
        ("claimed", "claimed", WORKER, 1),
        ("confirmed", "confirmed", WORKER, 1),
        ("requeued", "worker_silent", WORKER, 1),
        ("claimed", "claimed", WORKER, 2),
        ("finished", "handler_returned", WORKER, 2),
    ]


async def test_purge_queue(store: Store) -> None:
    """Purging ends what waits at the endpoint, low priority too, and touches neither running jobs nor neighbours."""
    await hire(store)
    running = await run(store)
    queued = [await submit(store), await submit(store, low_priority=True)]
    elsewhere = await submit(store, endpoint=OTHER_ENDPOINT)
    assert await store.jobs.purge_queue(ENDPOINT, NOW + 1) == 2
    assert await store.jobs.purge_queue(ENDPOINT, NOW + 2) == 0
    for job in queued:
        found = (await read(store, job)).job
        assert (found.state, found.reason, found.finished_ms) == (JobState.CANCELLED, JobReason.PURGED, NOW + 1)
    assert (await read(store, running)).job.state is JobState.RUNNING
    assert (await read(store, elsewhere)).job.state is JobState.QUEUED


async def test_purge_of_a_long_queue(store: Store) -> None:
    """A queue longer than one transaction takes is emptied all the same."""
    await asyncio.gather(*(submit(store) for _ in range(1_100)))
    assert await store.jobs.purge_queue(ENDPOINT, NOW) == 1_100
    assert (await store.jobs.counts(ENDPOINT)).cancelled == 1_100
