"""How much is kept: what is more goes, the oldest first, and nothing that is needed."""

from __future__ import annotations

import pytest

from stoker.audit import Action, Actor, AuditLine, Kind
from stoker.budget import Span, begins_ms
from stoker.clock import ManualClock
from stoker.errors import Conflict
from stoker.job import Job
from stoker.metering import DAY_MS, HOUR_MS, Account, Use
from stoker.retention import BATCH, Kept, Retention
from stoker.store import Decision, Store
from stoker.store.ledger import START, tell_endpoint
from stoker.store.usage import book
from tests.store.records import (
    ENDPOINT,
    NOW,
    RETENTION_MS,
    TEAM,
    a_member,
    cancel,
    hire,
    run,
    submit,
)

AUDIT = AuditLine(at_ms=NOW - 1, by=Actor(team=TEAM), action=Action.CREATED, kind=Kind.MEMBER, thing="any", name="any")
DECISION = Decision(endpoint=ENDPOINT, at_ms=NOW, reason="any", text="", wanted=0)


async def forget(store: Store, now_ms: int = NOW, **kept: int) -> dict[str, int]:
    """What went because it was more than that; only what something went of."""
    found = await Retention(store, ManualClock(now_ms), Kept(**kept)).forget_beyond()
    return {what: count for what, count in found.items() if count}


async def left(store: Store, *jobs: Job) -> list[bool]:
    """Which of these jobs are still there."""
    return [await store.jobs.result(TEAM, ENDPOINT, job.id) is not None for job in jobs]


async def test_only_so_many_finished_jobs_are_kept(store: Store) -> None:
    """Those go first whose retention would end first, with bodies and story, before it ends; not one more than has to, and none that has
    not ended."""
    await hire(store)
    running, waiting = await run(store), await submit(store)
    jobs = [await submit(store, retention_ms=RETENTION_MS - number) for number in range(5)]
    for job in jobs:
        await cancel(store, job)
    assert await forget(store, jobs=5) == {}
    assert await forget(store, jobs=3) == {"jobs": 2}
    assert await left(store, *jobs) == [True] * 3 + [False] * 2
    assert await store.jobs.story(jobs[-1].id) == []
    assert await forget(store, jobs=1) == {"jobs": 2}
    assert await left(store, running, waiting, jobs[0]) == [True] * 3


async def test_jobs_that_ended_at_once(store: Store) -> None:
    """Of many that ended in the same moment only as many go as are too many, however many batches that takes."""
    for _ in range(BATCH + 20):
        await submit(store)
    await store.jobs.purge_queue(ENDPOINT, NOW)
    assert await forget(store, jobs=10) == {"jobs": BATCH + 10}
    assert await store.sizes.jobs(100) == 10


async def test_keys_are_remembered_though_their_jobs_go(store: Store) -> None:
    """That a job goes early makes nobody forget an idempotency key."""
    first = await submit(store, idempotency_key="k", body_hash="h", retention_ms=1)
    for job in (first, await submit(store)):
        await cancel(store, job)
    assert await forget(store, now_ms=NOW + 10 * DAY_MS, jobs=1) == {"jobs": 1}
    assert await left(store, first) == [False]
    with pytest.raises(Conflict) as refused:
        await submit(store, idempotency_key="k", body_hash="h", at_ms=NOW + 1)
    assert refused.value.code == "idempotency_job_gone"


async def test_only_so_much_of_a_database_is_used(store: Store) -> None:
    """Finished jobs go while too much of a SQLite database is in use, and no others; nothing goes where that cannot be told."""
    waits = await submit(store, input=b'"' + b"a" * 100_000 + b'"')
    ended = [await submit(store, input=b'"' + b"a" * 100_000 + b'"') for _ in range(130)]
    await store.jobs.purge_queue(ENDPOINT, NOW)
    await submit(store)
    used_bytes = await store.used_bytes()
    if used_bytes is None:
        assert await forget(store, database_bytes=1) == {}
        return
    assert used_bytes > 13_000_000
    assert await forget(store, database_bytes=used_bytes) == {}
    assert await forget(store, database_bytes=used_bytes - 1) == {"jobs": 100}
    assert (await store.used_bytes() or 0) < used_bytes - 9_000_000
    assert await forget(store, database_bytes=1) == {"jobs": 31}
    assert await left(store, waits, *ended) == [False] * 131
    assert (await store.jobs.counts(ENDPOINT)).queued == 1


async def test_only_so_many_lines_are_kept(store: Store) -> None:
    """Of the lines about endpoints, and of those of the audit log, the oldest go; those of jobs go with their jobs."""
    lines = [
        tell_endpoint(at_ms=NOW - 9 + number, team=TEAM, endpoint=ENDPOINT, kind=f"told-{number}", state="active")
        for number in range(5)
    ]
    await store.teams.add_member(a_member("one"), AUDIT)
    await store.teams.add_member(a_member("two"), AUDIT)
    await store.workers.record(DECISION, *lines)
    job = await submit(store)
    assert await forget(store, events=2, audit=1) == {"events": 3, "audit": 1}
    assert await forget(store, events=2, audit=1) == {}
    found = await store.ledger.read(START, teams=None, limit=100)
    assert [line.kind for line in found.lines] == ["told-3", "told-4", "submitted"]
    assert await store.jobs.story(job.id) != []
    assert len(await store.audit.lines(TEAM)) == 1


@pytest.mark.parametrize("by_age", [True, False])
async def test_no_entry_of_the_present_month_goes(store: Store, by_age: bool) -> None:
    """Whole hours of usage go, the oldest first, by age as by size; what a budget of this month counts stays, whatever the settings say."""
    month_ms = begins_ms(Span.MONTH, NOW)
    hours = [month_ms - 2 * HOUR_MS, month_ms - HOUR_MS, month_ms, month_ms + HOUR_MS]
    for hour_ms in hours:
        for use in (Use.RUNNING, Use.IDLE):
            account = Account(TEAM, hour_ms, ENDPOINT, "", "", 1, use.value, "", "")
            await store.workers.record(DECISION, book(account, HOUR_MS))
    retention = Retention(store, ManualClock(NOW), Kept(usage_days=1) if by_age else Kept(usage=7))
    if by_age:
        assert (await retention.forget_old())["usage"] == 4
        return
    assert (await retention.forget_beyond())["usage"] == 2
    retention = Retention(store, ManualClock(NOW), Kept(usage=1))
    assert (await retention.forget_beyond())["usage"] == 2
    assert (await retention.forget_beyond())["usage"] == 0
