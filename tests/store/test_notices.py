"""What receivers of webhooks are told: written with the end of a job, found by lane, kept when the job goes on or goes."""

from __future__ import annotations

from typing import Any

import pytest

from stoker.audit import Action, Actor, AuditLine, Kind
from stoker.errors import Conflict, NotFound
from stoker.ids import EndpointId, TeamId
from stoker.job import AttemptLost, Finished, Job, JobReason, JobState, Retried
from stoker.store import Bodies, Store
from stoker.webhook import Notice, NoticeState, SigningSecret, Try, after, again
from tests.store.records import (
    DAY_MS,
    ENDPOINT,
    NOW,
    OTHER_TEAM,
    RETENTION_MS,
    TEAM,
    WORKER,
    cancel,
    finish,
    hire,
    pass_time,
    run,
    submit,
)

LANE = f"{TEAM} example.com:443"
TOLD: dict[str, Any] = {"webhook": "https://example.com/hook", "dialect": "v1", "receiver": "example.com:443"}
GONE = 10**9
"""Milliseconds after which nothing is kept any more."""


async def ended(store: Store, **more: Any) -> Job:
    """A job with a webhook that was cancelled."""
    return (await cancel(store, await submit(store, **TOLD | more))).job


async def notices(store: Store, job: Job) -> list[Notice]:
    """Of a job."""
    return [notice for notice, _ in await store.notices.of_job(TEAM, job.id)]


async def tell(store: Store, notice: Notice, status: int | None = 200, at_ms: int = NOW) -> Notice:
    """The notice after a try."""
    tried = Try(at_ms=at_ms, duration_ms=5, status=status, error="" if status == 200 else "it is ill")
    now = after(notice, tried, life_ms=DAY_MS)
    await store.notices.record(notice, now, tried)
    return now


def line(action: Action = Action.REDELIVERED) -> AuditLine:
    """A line of the audit log."""
    return AuditLine(at_ms=NOW, by=Actor(team=TEAM), action=action, kind=Kind.WEBHOOK, thing="x", name="x")


async def test_an_end_is_noticed(store: Store) -> None:
    """The end of a job with a webhook leaves one notice, due at once, with the job as it ended."""
    await hire(store)
    job = await run(store, **TOLD)
    assert await notices(store, job) == []
    end = (await finish(store, job, at_ms=NOW + 7)).job
    (notice,) = await notices(store, job)
    assert (notice.job, notice.team, notice.endpoint) == (job.id, TEAM, ENDPOINT)
    assert (notice.url, notice.dialect, notice.state) == (TOLD["webhook"], "v1", NoticeState.PENDING)
    assert (notice.since_ms, notice.due_ms, notice.tries, notice.kept) == (NOW + 7, NOW + 7, 0, False)
    assert notice.ended == end


async def test_every_kind_of_end(store: Store) -> None:
    """Whatever ends a job is told: a result, an error, a cancellation, a purge, its time, a loss too many."""
    await hire(store)
    jobs = [await run(store, **TOLD) for _ in range(3)]
    await finish(store, jobs[0])
    await store.jobs.advance(jobs[1].id, Finished(at_ms=NOW, worker=WORKER, failed=True), Bodies(error="no"))
    for job in (jobs[2], (await store.jobs.held_by(WORKER))[0]):
        lost = AttemptLost(at_ms=NOW, worker=WORKER, reason=JobReason.WORKER_LOST)
        await store.jobs.advance(job.id, lost)
    late = await submit(store, **TOLD)
    await pass_time(store, late, late.expires_ms)
    await store.jobs.purge_queue(ENDPOINT, NOW)
    found = {job.id: [one.ended.state for one in await notices(store, job)] for job in (*jobs, late)}
    assert found == {
        jobs[0].id: [JobState.COMPLETED],
        jobs[1].id: [JobState.FAILED],
        jobs[2].id: [JobState.CANCELLED],
        late.id: [JobState.TIMED_OUT],
    }


async def test_jobs_without_a_webhook(store: Store) -> None:
    """The end of a job that has no webhook leaves no notice."""
    job = (await cancel(store, await submit(store))).job
    assert await notices(store, job) == []
    assert await store.notices.lanes() == []


async def test_a_repeated_end_is_told_once(store: Store) -> None:
    """A report that changes nothing tells nothing."""
    await hire(store)
    job = await run(store, **TOLD)
    await finish(store, job)
    await finish(store, job)
    await cancel(store, job)
    assert len(await notices(store, job)) == 1


async def test_lanes(store: Store) -> None:
    """Lanes are those in which something is pending, by name, each with the moment of its next try."""
    first = await ended(store)
    await ended(store, receiver="aaa.example:80", at_ms=NOW + 5)
    lanes = [(one.name, one.due_ms) for one in await store.notices.lanes()]
    assert lanes == [(f"{TEAM} aaa.example:80", NOW), (LANE, NOW)]
    (notice,) = await notices(store, first)
    await tell(store, notice, status=500)
    assert [one.due_ms for one in await store.notices.lanes()] == [NOW, NOW + 10_005]
    assert await store.notices.due(LANE, NOW + 10_004, 9) == []
    (again_due,) = await store.notices.due(LANE, NOW + 10_005, 9)
    await tell(store, again_due)
    assert [one.name for one in await store.notices.lanes()] == [f"{TEAM} aaa.example:80"]


async def test_longest_due_first(store: Store) -> None:
    """Of a lane at most so many are found, those that are due longest."""
    jobs = [await submit(store, **TOLD) for _ in range(3)]
    for number, job in enumerate(jobs):
        await cancel(store, job, at_ms=NOW - number)
    assert [one.job for one in await store.notices.due(LANE, NOW, 2)] == [jobs[2].id, jobs[1].id]


async def test_tries_are_kept(store: Store) -> None:
    """Each try is in the log with its moment, its answer and what went wrong, in order."""
    job = await ended(store)
    (notice,) = await notices(store, job)
    await tell(store, await tell(store, notice, status=None), at_ms=NOW + 9)
    ((now, tries),) = await store.notices.of_job(TEAM, job.id)
    assert (now.state, now.due_ms, now.tries, now.told_ms) == (NoticeState.DELIVERED, None, 2, NOW + 14)
    assert [(one.at_ms, one.status, one.duration_ms, one.error) for one in tries] == [
        (NOW, None, 5, "it is ill"),
        (NOW + 9, 200, 5, ""),
    ]


async def test_two_who_deliver_at_once(store: Store) -> None:
    """Of two outcomes of the same try the first counts; both are in the log."""
    job = await ended(store)
    (notice,) = await notices(store, job)
    await tell(store, notice, status=200)
    await tell(store, notice, status=500)
    ((now, tries),) = await store.notices.of_job(TEAM, job.id)
    assert (now.state, len(tries)) == (NoticeState.DELIVERED, 2)


async def test_another_team(store: Store) -> None:
    """What another team's webhooks are told does not exist."""
    job = await ended(store)
    assert await store.notices.of_job(OTHER_TEAM, job.id) == []


async def test_again(store: Store) -> None:
    """A notice that is delivered once more is due, and leaves a line of the audit log; another team's is not found."""
    job = await ended(store)
    (notice,) = await notices(store, job)
    done = await tell(store, notice)
    await store.notices.again(again(done, NOW + 50), line())
    (now,) = await notices(store, job)
    assert (now.state, now.due_ms, now.since_ms, now.tries, now.told_ms) == ("pending", NOW + 50, NOW + 50, 0, NOW + 5)
    assert [one.line.action for one in await store.audit.lines(TEAM)] == [Action.REDELIVERED]
    foreign = Notice(**{name: getattr(now, name) for name in Notice.__slots__} | {"team": OTHER_TEAM})
    with pytest.raises(NotFound, match="there is no notice"):
        await store.notices.again(foreign, line())


# ── jobs that go on, and jobs that go ─────────────────────────────────────────────────────────────────────────────────


async def failed(store: Store) -> Job:
    """A job with a webhook that failed with an output and an error."""
    await hire(store)
    job = await run(store, input=b'"asked"', **TOLD)
    bodies = Bodies(output=b'"half"', error="no \ud800")
    return (await store.jobs.advance(job.id, Finished(at_ms=NOW, worker=WORKER, failed=True), bodies)).job


async def test_a_retry_keeps_what_is_to_be_told(store: Store) -> None:
    """A job that is retried takes nothing from the notice of its failure; its next end is another one."""
    job = await failed(store)
    (first,) = await notices(store, job)
    assert await store.notices.kept(first.number) is None
    await store.jobs.advance(job.id, Retried(at_ms=NOW, expires_ms=NOW + DAY_MS))
    kept = await store.notices.kept(first.number)
    assert kept is not None
    assert (kept.input, kept.output, kept.error) == (b'"asked"', b'"half"', "no \ud800")
    await cancel(store, job)
    one, other = await notices(store, job)
    assert (one.kept, other.kept, one.ended.state, other.ended.state) == (True, False, "failed", "cancelled")
    assert one.id != other.id


async def test_what_was_not_told_outlives_its_job(store: Store) -> None:
    """When its job is forgotten a pending notice stays, with all that it is about, and goes as soon as it is over."""
    job = await failed(store)
    (notice,) = await notices(store, job)
    assert await store.jobs.prune(NOW + RETENTION_MS, 10) == 1
    kept = await store.notices.kept(notice.number)
    assert kept is not None
    assert (kept.input, kept.output, kept.error) == (b'"asked"', b'"half"', "no \ud800")
    (due,) = await store.notices.due(LANE, NOW, 9)
    due = await tell(store, due, status=503)
    assert await store.notices.get(notice.number) == due
    await tell(store, due)
    assert await store.notices.get(notice.number) is None


async def test_what_was_told_goes_with_its_job(store: Store) -> None:
    """A notice that is over is forgotten with its job, and a pending one of another job is not."""
    told, waits = await ended(store), await ended(store)
    (one,), (other,) = await notices(store, told), await notices(store, waits)
    await tell(store, one)
    assert await store.jobs.prune(NOW + RETENTION_MS, 10) == 2
    assert await store.notices.get(one.number) is None
    assert await store.notices.get(other.number) is not None


async def test_kept_twice(store: Store) -> None:
    """What a retry kept is not replaced by what the job had when it was forgotten."""
    job = await failed(store)
    await store.jobs.advance(job.id, Retried(at_ms=NOW, expires_ms=NOW + DAY_MS))
    await cancel(store, job)
    await store.jobs.prune(NOW + RETENTION_MS, 10)
    first, second = await store.notices.due(LANE, NOW, 9)
    kept = [await store.notices.kept(one.number) for one in (first, second)]
    assert [one and one.output for one in kept] == [b'"half"', None]


# ── listing ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_pages_of_a_team(store: Store) -> None:
    """Notices of a team are listed page by page, newest first, each with its last try alone; nobody else's are among them."""
    jobs = [await ended(store) for _ in range(3)]
    (oldest,) = await notices(store, jobs[0])
    await tell(store, await tell(store, oldest, 503), at_ms=NOW + 9)
    first = await store.notices.page(TEAM, limit=2)
    assert [one.job for one, _ in first.notices] == [jobs[2].id, jobs[1].id]
    assert [last for _, last in first.notices] == [None, None]
    rest = await store.notices.page(TEAM, before=first.next, limit=2)
    ((notice, last),) = rest.notices
    assert (notice.job, notice.tries, rest.next) == (jobs[0].id, 2, None)
    assert last == Try(at_ms=NOW + 9, duration_ms=5, status=200)
    assert (await store.notices.page(OTHER_TEAM, limit=9)).notices == []


async def test_pages_of_an_endpoint_and_a_state(store: Store) -> None:
    """An endpoint and a state choose; a page that found too few of what it looked at says where to go on."""
    jobs = [await ended(store) for _ in range(4)]
    (oldest,) = await notices(store, jobs[0])
    await tell(store, oldest)
    delivered = await store.notices.page(TEAM, ENDPOINT, NoticeState.DELIVERED, limit=9)
    assert [one.job for one, _ in delivered.notices] == [jobs[0].id]
    assert delivered.next is None
    assert (await store.notices.page(TEAM, EndpointId("endpoint-none"), limit=9)).notices == []
    near = await store.notices.page(TEAM, None, NoticeState.DELIVERED, limit=9, looked_at_most=2)
    assert (near.notices, near.next) == ([], oldest.number + 2)
    far = await store.notices.page(TEAM, None, NoticeState.DELIVERED, before=near.next, limit=9, looked_at_most=2)
    assert [one.job for one, _ in far.notices] == [jobs[0].id]


# ── giving up ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_give_up(store: Store) -> None:
    """Pending notices whose time began before a moment are given up with a reason, the oldest first, so many at a time."""
    old, older, young = [await submit(store, **TOLD) for _ in range(3)]
    for job, at_ms in ((old, NOW + 1), (older, NOW), (young, NOW + 2)):
        await cancel(store, job, at_ms=at_ms)
    assert await store.notices.give_up(NOW + 1, NOW + GONE, "too late", 1) == 1
    assert [one.state for job in (old, older, young) for one in await notices(store, job)] == [
        "pending",
        "given_up",
        "pending",
    ]
    assert await store.notices.give_up(NOW + 1, NOW + GONE, "too late", 9) == 1
    assert await store.notices.give_up(NOW + 1, NOW + GONE, "too late", 9) == 0
    ((_, tries),) = await store.notices.of_job(TEAM, old.id)
    assert [(one.at_ms, one.status, one.error) for one in tries] == [(NOW + GONE, None, "too late")]


async def test_grant(store: Store) -> None:
    """What is pending gets time: nothing's time began before the moment, and what began later keeps its own."""
    old, young = await submit(store, **TOLD), await submit(store, **TOLD)
    await cancel(store, old, at_ms=NOW)
    await cancel(store, young, at_ms=NOW + 9)
    await store.notices.grant(NOW + 5)
    assert [one.since_ms for job in (old, young) for one in await notices(store, job)] == [NOW + 5, NOW + 9]


# ── the secret ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_secret(store: Store) -> None:
    """A team has no secret, then one, then another; of two who rotate at once one is refused."""
    assert await store.notices.secret(TEAM) is None
    first = SigningSecret(team=TEAM, sealed="s1", made_ms=NOW)
    await store.notices.save_secret(first, was=None, line=line(Action.ROTATED))
    second = SigningSecret(team=TEAM, sealed="s2", made_ms=NOW + 1, old_sealed="s1", old_until_ms=NOW + 9)
    await store.notices.save_secret(second, was=first, line=line(Action.ROTATED))
    assert await store.notices.secret(TEAM) == second
    for was in (None, first):
        with pytest.raises(Conflict, match="by somebody else"):
            await store.notices.save_secret(second, was=was, line=line(Action.ROTATED))
    assert await store.notices.secret(TeamId("team-none")) is None
    assert len(await store.audit.lines(TEAM)) == 2


async def test_secrets_are_sealed_anew(store: Store) -> None:
    """Both secrets of a team are among what a rotation of the key seals anew."""
    secret = SigningSecret(team=TEAM, sealed="s1", made_ms=NOW)
    await store.notices.save_secret(secret, was=None, line=line(Action.ROTATED))
    secret = SigningSecret(team=TEAM, sealed="s2", made_ms=NOW, old_sealed="s1", old_until_ms=NOW)
    await store.notices.save_secret(
        secret, was=SigningSecret(team=TEAM, sealed="s1", made_ms=NOW), line=line(Action.ROTATED)
    )
    assert await store.sealed.reseal(lambda text, context: f"{text} for {context}") == 2
    found = await store.notices.secret(TEAM)
    assert found is not None
    assert (found.sealed, found.old_sealed) == (f"s2 for {TEAM}", f"s1 for {TEAM}")
