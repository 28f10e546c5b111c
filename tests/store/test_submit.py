"""Jobs arriving, and what customers read of them."""

from __future__ import annotations

import asyncio

import pytest

from stoker.errors import Conflict, StokerError
from stoker.ids import JobId
from stoker.job import Cancelled, JobState
from stoker.store import Counts, Page, Store
from tests.store.records import (
    DAY_MS,
    ENDPOINT,
    FOREIGN_ENDPOINT,
    NOW,
    OTHER_ENDPOINT,
    OTHER_TEAM,
    RETENTION_MS,
    TEAM,
    cancel,
    finish,
    hire,
    kinds,
    run,
    submit,
)


async def test_result_is_the_job_as_submitted(store: Store) -> None:
    """A submitted job is read back with every value it was given."""
    job = await submit(store, webhook="https://example.org/hook", low_priority=True)
    result = await store.jobs.result(TEAM, ENDPOINT, job.id)
    assert result is not None
    assert (result.job, result.output, result.error) == (job, None, None)


async def test_input_is_kept_byte_for_byte(store: Store) -> None:
    """The input comes back with its spaces, its order of keys and every byte."""
    text = b'{ "b":1,  "a": "\xc3\xa9\\u0000\\ud800" }\n'
    job = await submit(store, text)
    assert await store.jobs.input(TEAM, job.id) == text


async def test_large_bodies(store: Store) -> None:
    """Bodies of several MiB are kept like small ones."""
    await hire(store)
    job = await run(store, input=b'"' + b"x" * 5_000_000 + b'"')
    await finish(store, job, output=b'"' + b"y" * 5_000_000 + b'"')
    result = await store.jobs.result(TEAM, ENDPOINT, job.id)
    assert result is not None
    assert result.output == b'"' + b"y" * 5_000_000 + b'"'
    assert await store.jobs.input(TEAM, job.id) == b'"' + b"x" * 5_000_000 + b'"'


async def test_another_team_sees_nothing(store: Store) -> None:
    """A job does not exist for a team that does not own it, whatever endpoint it names."""
    job = await submit(store)
    for endpoint in (None, ENDPOINT, FOREIGN_ENDPOINT):
        assert await store.jobs.result(OTHER_TEAM, endpoint, job.id) is None
    assert await store.jobs.input(OTHER_TEAM, job.id) is None
    assert await store.jobs.list(OTHER_TEAM, ENDPOINT, state=None, page=Page()) == []


async def test_endpoint_is_part_of_the_address(store: Store) -> None:
    """A job is found under its own endpoint, or under none, and not under a neighbour."""
    job = await submit(store)
    assert await store.jobs.result(TEAM, OTHER_ENDPOINT, job.id) is None
    assert await store.jobs.result(TEAM, None, job.id) is not None


async def test_unknown_job_is_none(store: Store) -> None:
    """What does not exist is None, not an error."""
    assert await store.jobs.result(TEAM, None, JobId("nobody")) is None
    assert await store.jobs.input(TEAM, JobId("nobody")) is None


async def test_known_result_is_the_result(store: Store) -> None:
    """What is known of a job without asking is what is stored of it, whatever has just happened, and nobody else's."""
    await hire(store)
    job = await run(store)
    for change in (None, finish, cancel):  # what is over stays as it is
        if change is not None:
            await change(store, job)
        stored = await store.jobs.result(TEAM, ENDPOINT, job.id)
        assert store.jobs.known_result(TEAM, ENDPOINT, job.id) in (None, stored)
        for team, endpoint in ((OTHER_TEAM, None), (OTHER_TEAM, ENDPOINT), (TEAM, OTHER_ENDPOINT)):
            assert store.jobs.known_result(team, endpoint, job.id) is None
    assert store.jobs.known_result(TEAM, None, JobId("nobody")) is None


async def test_same_id_twice_is_refused(store: Store) -> None:
    """A second job with the same id is refused, and the first is untouched."""
    job = await submit(store, b"1")
    with pytest.raises(StokerError):
        await submit(store, b"2", id=job.id)
    assert await store.jobs.input(TEAM, job.id) == b"1"
    assert (await store.jobs.counts(ENDPOINT)).queued == 1


# ── idempotency keys ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_same_key_same_body_is_the_same_job(store: Store) -> None:
    """A key seen again within a day returns the job it made, as it stands, and makes none."""
    first = await submit(store, idempotency_key="k", body_hash="h")
    await cancel(store, first)
    again = await submit(store, idempotency_key="k", body_hash="h", at_ms=NOW + DAY_MS - 1)
    assert (again.id, again.state) == (first.id, JobState.CANCELLED)
    assert await store.jobs.counts(ENDPOINT) == Counts(cancelled=1)


async def test_same_key_other_body_is_a_conflict(store: Store) -> None:
    """A key that comes with another body is refused."""
    await submit(store, idempotency_key="k", body_hash="h")
    with pytest.raises(Conflict) as caught:
        await submit(store, idempotency_key="k", body_hash="other")
    assert caught.value.code == "idempotency_mismatch"


async def test_key_is_forgotten_after_a_day(store: Store) -> None:
    """A day later the same key makes a new job, even with another body, and is then that job's key."""
    first = await submit(store, idempotency_key="k", body_hash="h")
    second = await submit(store, idempotency_key="k", body_hash="other", at_ms=NOW + DAY_MS)
    again = await submit(store, idempotency_key="k", body_hash="other", at_ms=NOW + DAY_MS + 1)
    assert second.id != first.id
    assert again.id == second.id


async def test_keys_of_endpoints_are_apart(store: Store) -> None:
    """The same key at another endpoint makes another job."""
    first = await submit(store, idempotency_key="k", body_hash="h")
    second = await submit(store, idempotency_key="k", body_hash="h", endpoint=OTHER_ENDPOINT)
    assert first.id != second.id


async def test_key_whose_job_was_pruned(store: Store) -> None:
    """Within the day a key never runs its job again, even when the job is no longer kept."""
    job = await submit(store, idempotency_key="k", body_hash="h")
    await store.jobs.advance(job.id, Cancelled(at_ms=NOW))
    assert await store.jobs.prune(NOW + RETENTION_MS, 10) == 1
    with pytest.raises(Conflict) as caught:
        await submit(store, idempotency_key="k", body_hash="h", at_ms=NOW + RETENTION_MS)
    assert caught.value.code == "idempotency_job_gone"


async def test_key_raced_by_itself(store: Store) -> None:
    """The same key submitted many times at once makes one job."""
    jobs = await asyncio.gather(*(submit(store, idempotency_key="k", body_hash="h") for _ in range(20)))
    assert len({job.id for job in jobs}) == 1
    assert (await store.jobs.counts(ENDPOINT)).queued == 1


async def test_refused_submission_keeps_its_key_free(store: Store) -> None:
    """A submission that fails leaves no key behind."""
    job = await submit(store)
    with pytest.raises(StokerError):
        await submit(store, id=job.id, idempotency_key="k", body_hash="h")
    fresh = await submit(store, idempotency_key="k", body_hash="other")
    assert fresh.id != job.id


# ── lists ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_list_is_newest_first_in_pages(store: Store) -> None:
    """Pages follow each other without gap or repetition, newest first."""
    jobs = [(await submit(store)).id for _ in range(5)]
    await submit(store, endpoint=OTHER_ENDPOINT)
    first = await store.jobs.list(TEAM, ENDPOINT, state=None, page=Page(limit=3))
    second = await store.jobs.list(TEAM, ENDPOINT, state=None, page=Page(limit=3, before=first[-1].id))
    assert [job.id for job in (*first, *second)] == jobs[::-1]


async def test_list_before_an_unknown_job_is_empty(store: Store) -> None:
    """A page before a job that is not there, or elsewhere, is empty."""
    await submit(store)
    elsewhere = await submit(store, endpoint=OTHER_ENDPOINT)
    for before in ("nobody", elsewhere.id):
        assert await store.jobs.list(TEAM, ENDPOINT, state=None, page=Page(before=before)) == []


async def test_list_by_state(store: Store) -> None:
    """Each state lists its own jobs, newest first, both priorities among them."""
    await hire(store)
    done = [await run(store), await run(store)]
    for job in done:
        await finish(store, job)
    running = [await run(store), await run(store)]
    queued = [await submit(store), await submit(store, low_priority=True), await submit(store)]
    for state, jobs in ((JobState.COMPLETED, done), (JobState.RUNNING, running), (JobState.QUEUED, queued)):
        listed = await store.jobs.list(TEAM, ENDPOINT, state=state, page=Page(limit=10))
        assert [job.id for job in listed] == [job.id for job in reversed(jobs)]
        older = await store.jobs.list(TEAM, ENDPOINT, state=state, page=Page(limit=1, before=jobs[-1].id))
        assert [job.id for job in older] == [jobs[-2].id]
        assert await store.jobs.list(OTHER_TEAM, ENDPOINT, state=state, page=Page(limit=10)) == []
    assert await store.jobs.list(TEAM, ENDPOINT, state=JobState.FAILED, page=Page()) == []


async def test_story_begins_with_the_submission(store: Store) -> None:
    """The ledger tells of the submission in the job's own words."""
    job = await submit(store)
    (line,) = await store.jobs.story(job.id)
    assert (line.kind, line.state, line.reason) == ("submitted", "queued", "submitted")
    assert (line.at_ms, line.job, line.worker, line.attempt) == (NOW, job.id, None, None)
    assert await kinds(store, job) == ["submitted"]
