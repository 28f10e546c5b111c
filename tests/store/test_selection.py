"""Looking for jobs: by what is known of them, page by page, never through everything at once."""

from __future__ import annotations

import pytest

from stoker.ids import EndpointId, JobId, KeyId, ReleaseId, TeamId
from stoker.job import Finished, JobReason, JobState
from stoker.store import Bodies, Store
from stoker.store.selection import Selection
from tests.store.records import (
    ENDPOINT,
    NOW,
    OTHER_ENDPOINT,
    OTHER_TEAM,
    OTHER_WORKER,
    RELEASE,
    TEAM,
    WORKER,
    cancel,
    finish,
    hire,
    run,
    submit,
)


async def found(store: Store, *, team: TeamId = TEAM, endpoint: EndpointId = ENDPOINT, **wanted: object) -> list[JobId]:
    """Ids of one page."""
    page = await store.selections.find(team, endpoint, Selection(**wanted), limit=50)  # type: ignore[arg-type]
    assert page.next is None
    return [job.id for job in page.jobs]


async def test_everything_in_pages(store: Store) -> None:
    """Without a wish every job of the endpoint is found, newest first; a page says where the next begins, the last one that it ends."""
    jobs = [(await submit(store)).id for _ in range(5)]
    await submit(store, endpoint=OTHER_ENDPOINT)
    first = await store.selections.find(TEAM, ENDPOINT, Selection(), limit=3)
    second = await store.selections.find(TEAM, ENDPOINT, Selection(), limit=3, before=first.next)
    assert [job.id for job in (*first.jobs, *second.jobs)] == jobs[::-1]
    assert (first.next, second.next) == (jobs[2], None)
    nowhere = await store.selections.find(TEAM, ENDPOINT, Selection(), limit=3, before=JobId("nobody"))
    assert (nowhere.jobs, nowhere.next) == ([], None)


async def test_by_what_is_known(store: Store) -> None:
    """Each wish chooses the jobs that it is about; several choose those that are all of it."""
    await hire(store)
    quick, slow, broken = [await run(store, key=KeyId(f"key-{n}")) for n in range(3)]
    await finish(store, quick, at_ms=NOW + 10)
    await finish(store, slow, at_ms=NOW + 5_000)
    broke = Finished(at_ms=NOW + 20, worker=WORKER, failed=True)
    await store.jobs.advance(broken.id, broke, Bodies(error="CUDA out of memory: é \ud800"))
    await hire(store, OTHER_WORKER)
    waited = await submit(store)
    gone = await submit(store, low_priority=True)
    await cancel(store, gone, at_ms=NOW + 1)

    assert await found(store, state=JobState.QUEUED) == [waited.id]
    assert await found(store, state=JobState.COMPLETED) == [slow.id, quick.id]
    assert await found(store, reason=JobReason.HANDLER_ERROR) == [broken.id]
    assert await found(store, worker=WORKER) == [broken.id, slow.id, quick.id]
    assert await found(store, worker=OTHER_WORKER) == []
    assert await found(store, release=RELEASE, state=JobState.FAILED) == [broken.id]
    assert await found(store, release=ReleaseId("another")) == []
    assert await found(store, key=KeyId("key-1")) == [slow.id]
    assert await found(store, ran_least_ms=5_000) == [slow.id]
    assert await found(store, waited_least_ms=0) == [broken.id, slow.id, quick.id]
    assert await found(store, waited_least_ms=1) == []
    assert await found(store, ran_least_ms=10, ran_below_ms=5_000) == [broken.id, quick.id]
    assert await found(store, waited_below_ms=1) == [broken.id, slow.id, quick.id]
    assert await found(store, waited_below_ms=0) == []
    assert await found(store, ended_since_ms=NOW + 10) == [broken.id, slow.id, quick.id]
    assert await found(store, ended_since_ms=NOW + 2, ended_before_ms=NOW + 20) == [quick.id]
    assert await found(store, ended_before_ms=NOW + 10) == [gone.id]
    assert await found(store, text="out of memory: é") == [broken.id]
    assert await found(store, text=gone.id[4:]) == [gone.id]
    assert await found(store, text="%") == []
    assert await found(store, worker=WORKER, ran_least_ms=15, state=JobState.COMPLETED) == [slow.id]
    assert await found(store, team=OTHER_TEAM) == []
    assert await found(store, endpoint=OTHER_ENDPOINT, worker=WORKER) == []


@pytest.mark.parametrize("state", [None, JobState.QUEUED])
async def test_a_page_looks_at_so_many(store: Store, state: JobState | None) -> None:
    """A page that found too little after so many looks says where to go on; pages together find all, once."""
    wanted = Selection(state=state, key=KeyId("ours"))
    ours = [(await submit(store, key=KeyId("ours" if number % 4 == 0 else "theirs"))).id for number in range(9)][::4]
    pages = []
    before: JobId | None = None
    while True:
        page = await store.selections.find(TEAM, ENDPOINT, wanted, limit=2, before=before, looked_at_most=3)
        pages.append([job.id for job in page.jobs])
        if page.next is None:
            break
        before = page.next
    assert pages == [[ours[2]], [ours[1]], [ours[0]], []]
