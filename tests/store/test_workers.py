"""Workers, the events that move them, and decisions about them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from stoker.errors import IllegalTransition, NotFound
from stoker.ids import ReleaseId, WorkerId
from stoker.job import JobReason, JobState
from stoker.specification import Bounds
from stoker.store import Decision, Failures, Store
from stoker.worker import (
    CRASHES,
    Drained,
    Emptied,
    Exit,
    Exited,
    Launched,
    LaunchFailed,
    Pinged,
    ReportedUnhealthy,
    Stopped,
    Vanished,
    Waits,
    WorkerEvent,
    WorkerReason,
    WorkerState,
)
from tests.store.records import (
    ENDPOINT,
    FOREIGN_ENDPOINT,
    NOW,
    OTHER_ENDPOINT,
    OTHER_TEAM,
    OTHER_WORKER,
    RELEASE,
    TEAM,
    WORKER,
    a_worker,
    cancel,
    hire,
    idle_ms,
    run,
    take,
)

CRASH = Exit(code=1, text="exit code 1: no module named torch")


async def test_worker_is_read_back(store: Store) -> None:
    """A stored worker is found by id and by token, with every value it was given."""
    worker = a_worker()
    assert await store.workers.add(worker, alive_max=1)
    assert await store.workers.get(WORKER) == worker
    assert await store.workers.by_token(worker.token_hash) == worker
    assert await store.workers.get(WorkerId("nobody")) is None
    assert await store.workers.by_token("nothing") is None


async def test_alive_max(store: Store) -> None:
    """No more workers of an endpoint are stored than may be alive; gone ones do not count."""
    assert await store.workers.add(a_worker(WorkerId("a")), alive_max=1)
    assert not await store.workers.add(a_worker(WorkerId("b")), alive_max=1)
    assert await store.workers.get(WorkerId("b")) is None
    await store.workers.advance(WorkerId("a"), LaunchFailed(at_ms=NOW, text="no"))
    assert await store.workers.add(a_worker(WorkerId("c")), alive_max=1)


async def test_alive_max_raced(store: Store) -> None:
    """Decisions made at once cannot both fill the last place."""
    answers = await asyncio.gather(
        *(store.workers.add(a_worker(WorkerId(f"w{number}")), alive_max=3) for number in range(10))
    )
    assert sum(answers) == 3


async def test_who_was_there_lately(store: Store) -> None:
    """Those that live, and those that went after a moment, of all teams."""
    foreign = {"endpoint": FOREIGN_ENDPOINT, "release": ReleaseId(f"rel-{FOREIGN_ENDPOINT}")}
    for name, more in (("a", {}), ("b", {}), ("c", foreign)):
        assert await store.workers.add(a_worker(WorkerId(name), wanted_ms=NOW - 5, **more), alive_max=9)
    for number, name in enumerate("ab"):
        await store.workers.advance(WorkerId(name), LaunchFailed(at_ms=NOW + number, text="no"))
    found = await store.workers.since(NOW)
    assert sorted((one.id, one.gone_ms, one.wanted_ms) for one in found) == [
        ("b", NOW + 1, NOW - 5),
        ("c", None, NOW - 5),
    ]


async def test_places_are_taken_once(store: Store) -> None:
    """Decisions made at once, of endpoints of two teams, never give a GPU to two workers; a worker that is gone holds none."""
    wishes = [("A",), ("A", "B"), ("B",), ("A",), ("C",), ("C", "A")]
    endpoints = (ENDPOINT, FOREIGN_ENDPOINT)
    workers = [
        a_worker(
            WorkerId(f"w{number}"),
            gpus=gpus,
            endpoint=endpoints[number % 2],
            release=ReleaseId(f"rel-{endpoints[number % 2]}"),
        )
        for number, gpus in enumerate(wishes)
    ]
    answers = await asyncio.gather(*(store.workers.add(one, alive_max=9) for one in workers))
    held = [gpu for one, stored in zip(workers, answers, strict=True) if stored for gpu in one.gpus]
    assert len(held) == len(set(held)) >= 2
    first = next(one for one, stored in zip(workers, answers, strict=True) if stored)
    await store.workers.advance(first.id, LaunchFailed(at_ms=NOW, text="no"))
    assert await store.workers.add(a_worker(WorkerId("heir"), gpus=first.gpus), alive_max=9)


async def test_slots_and_memory_are_bounds(store: Store) -> None:
    """Slots are counted for each specification, memory over all workers; what would go beyond is not stored."""
    bounds = Bounds(slots=2, memory_bytes=5)

    def place(name: str, specification: str, memory_bytes: int) -> Awaitable[bool]:
        worker = a_worker(WorkerId(name), gpus=(), specification=specification, memory_bytes=memory_bytes)
        return store.workers.add(worker, alive_max=9, bounds=bounds)

    answers = await asyncio.gather(*(place(f"a{number}", "small", 1) for number in range(5)))
    assert sum(answers) == 2
    assert not await place("b", "large", 4)
    assert await place("c", "large", 3)
    assert not await place("d", "other", 1)
    assert await place("e", "other", 0)


async def test_advance_stores_the_step(store: Store) -> None:
    """The answer to an event is the record as it is read afterwards."""
    await store.workers.add(a_worker(), alive_max=1)
    events: tuple[WorkerEvent, ...] = (
        Launched(at_ms=NOW + 1),
        Pinged(at_ms=NOW + 2, sdk="1.6.2"),
        Drained(at_ms=NOW + 3, reason=WorkerReason.NEW_RELEASE, detail="release 2"),
        Exited(at_ms=NOW + 4, exit=CRASH),
    )
    for event in events:
        step = await store.workers.advance(WORKER, event)
        assert step.changed
        assert await store.workers.get(WORKER) == step.worker


async def test_unknown_and_illegal(store: Store) -> None:
    """An event for nobody, or one that the state does not know, is refused and changes nothing."""
    with pytest.raises(NotFound):
        await store.workers.advance(WORKER, Launched(at_ms=NOW))
    worker = await hire(store)
    with pytest.raises(IllegalTransition):
        await store.workers.advance(WORKER, Emptied(at_ms=NOW))
    assert await store.workers.get(WORKER) == worker


async def test_text_of_an_exit(store: Store) -> None:
    """How a worker ended is kept, an unknown code included; letters that no database takes are replaced."""
    await hire(store)
    await store.workers.advance(WORKER, Exited(at_ms=NOW, exit=Exit(code=None, text="what \ud800 and \0")))
    worker = await store.workers.get(WORKER)
    assert worker is not None
    assert worker.exit is not None
    assert worker.exit.code is None
    assert worker.exit.text == "what ? and \ufffd"


async def test_gone_worker_loses_its_jobs(store: Store) -> None:
    """What a gone worker held waits again, in the same moment."""
    await hire(store)
    jobs = [await run(store), await run(store)]
    await store.workers.advance(WORKER, Exited(at_ms=NOW + 7, exit=Exit(code=137, text="SIGKILL")))
    for job in jobs:
        result = await store.jobs.result(TEAM, ENDPOINT, job.id)
        assert result is not None
        assert (result.job.state, result.job.reason) == (JobState.QUEUED, JobReason.WORKER_LOST)
        assert (result.job.queued_ms, result.job.losses) == (NOW + 7, 1)
    assert await store.jobs.held_by(WORKER) == []
    assert await idle_ms(store) is None


async def test_stopped_worker_loses_its_jobs_unpunished(store: Store) -> None:
    """What we take from a worker by stopping it uses up no retry."""
    await hire(store)
    job = await run(store)
    await store.workers.advance(WORKER, Stopped(at_ms=NOW, reason=WorkerReason.STOPPED_BY_USER))
    result = await store.jobs.result(TEAM, ENDPOINT, job.id)
    assert result is not None
    assert (result.job.reason, result.job.losses) == (JobReason.WORKER_STOPPED, 0)


async def test_draining_worker_keeps_its_jobs(store: Store) -> None:
    """A draining worker finishes what it holds."""
    await hire(store)
    job = await run(store)
    await store.workers.advance(WORKER, Drained(at_ms=NOW, reason=WorkerReason.SCALED_DOWN))
    assert [held.id for held in await store.jobs.held_by(WORKER)] == [job.id]


async def test_held(store: Store) -> None:
    """Workers come with what they hold, running and stopping apart, oldest first, of all teams or of one endpoint."""
    await hire(store)
    foreign = WorkerId("foreign")
    await store.workers.add(
        a_worker(foreign, team=OTHER_TEAM, endpoint=FOREIGN_ENDPOINT, release=ReleaseId(f"rel-{FOREIGN_ENDPOINT}")),
        alive_max=1,
    )
    await hire(store, OTHER_WORKER)
    await run(store)
    await cancel(store, await run(store))
    held = [(one.worker.id, one.running, one.stopping) for one in await store.workers.of_endpoint(ENDPOINT)]
    assert held == [(WORKER, 1, 1), (OTHER_WORKER, 0, 0)]
    assert [one.worker.id for one in await store.workers.alive()] == [WORKER, foreign, OTHER_WORKER]
    assert await store.workers.of_endpoint(OTHER_ENDPOINT) == []


async def test_gone_workers_are_shown_last(store: Store) -> None:
    """Gone workers are shown on request, after the living, the last one first."""
    for name, gone_ms in (("a", 1), ("b", 3), ("c", 2), ("d", None)):
        await hire(store, WorkerId(name))
        if gone_ms is not None:
            await store.workers.advance(WorkerId(name), Vanished(at_ms=NOW + gone_ms))
    shown = [one.worker.id for one in await store.workers.of_endpoint(ENDPOINT, gone=2)]
    assert shown == ["d", "b", "c"]
    assert [one.worker.id for one in await store.workers.of_endpoint(ENDPOINT)] == ["d"]
    assert [one.worker.id for one in await store.workers.alive()] == ["d"]


async def test_a_worker_that_waits_for_room(store: Store) -> None:
    """What it waits for is kept up to date on its record, and its story says once that it waits."""
    await store.workers.add(a_worker(), alive_max=1)
    for at_ms, text in ((NOW + 1, "3 looked at"), (NOW + 2, "4 looked at"), (NOW + 3, "4 looked at")):
        event = Waits(at_ms=at_ms, text=text, reason=WorkerReason.NO_ROOM_YET)
        assert (await store.workers.advance(WORKER, event)).changed is (at_ms < NOW + 3)
    found = await store.workers.get(WORKER)
    assert found is not None
    assert (found.state, found.reason, found.detail) == (WorkerState.DECIDED, WorkerReason.NO_ROOM_YET, "4 looked at")
    assert [line.reason for line in await store.workers.story(WORKER)] == ["scaled_up", "no_room_yet"]


async def test_story_of_a_worker(store: Store) -> None:
    """Each state has its line, with the reason and its words; heartbeats and jobs have none."""
    await store.workers.add(a_worker(), alive_max=1)
    await store.workers.advance(WORKER, Launched(at_ms=NOW + 1))
    await store.workers.advance(WORKER, Pinged(at_ms=NOW + 2))
    await take(store, at_ms=NOW + 3)
    await take(store, at_ms=NOW + 5_000)
    await run(store, at_ms=NOW + 5_001)
    await store.workers.advance(WORKER, Drained(at_ms=NOW + 6_000, reason=WorkerReason.SCALED_DOWN, detail="idle"))
    await store.workers.advance(WORKER, Stopped(at_ms=NOW + 7_000, reason=WorkerReason.JOB_NOT_STOPPED, detail="slow"))
    await store.workers.advance(WORKER, Exited(at_ms=NOW + 8_000, exit=Exit(code=137, text="SIGKILL")))
    story = [(line.at_ms - NOW, line.kind, line.reason, line.text) for line in await store.workers.story(WORKER)]
    assert story == [
        (0, "decided", "scaled_up", "one job waits"),
        (1, "launched", "launched", "one job waits"),
        (3, "ready", "first_take", "one job waits"),
        (6_000, "draining", "scaled_down", "idle"),
        (7_000, "stopping", "job_not_stopped", "slow"),
        (8_000, "gone", "job_not_stopped", "slow; SIGKILL"),
    ]
    assert all(line.worker == WORKER for line in await store.workers.story(WORKER))


async def test_decision(store: Store) -> None:
    """The latest decision of an endpoint is kept, and replaces the one before."""
    assert await store.workers.decision(ENDPOINT) is None
    for wanted in (1, 2):
        decision = Decision(endpoint=ENDPOINT, at_ms=NOW, reason="idle", text="two are enough", wanted=wanted)
        await store.workers.record(decision)
        assert await store.workers.decision(ENDPOINT) == decision
    assert await store.workers.decision(OTHER_ENDPOINT) is None


# ── failed launches ───────────────────────────────────────────────────────────────────────────────────────────────────

SPEAK_AGAINST_THE_RELEASE: dict[str, tuple[WorkerEvent, ...]] = {
    "refused": (LaunchFailed(at_ms=NOW + 2, text="no such image"),),
    "crashed": (Launched(at_ms=NOW), Exited(at_ms=NOW + 2, exit=CRASH)),
    "too slow": (
        Launched(at_ms=NOW),
        Stopped(at_ms=NOW + 1, reason=WorkerReason.START_TIMEOUT),
        Exited(at_ms=NOW + 2, exit=CRASH),
    ),
    "unhealthy": (
        Launched(at_ms=NOW),
        ReportedUnhealthy(at_ms=NOW + 1, text="no GPU"),
        Vanished(at_ms=NOW + 2),
    ),
    "vanished": (Launched(at_ms=NOW), Vanished(at_ms=NOW + 2)),
}


@pytest.mark.parametrize("events", SPEAK_AGAINST_THE_RELEASE.values(), ids=SPEAK_AGAINST_THE_RELEASE.keys())
async def test_failed_launch_counts(store: Store, events: tuple[WorkerEvent, ...]) -> None:
    """A worker that ended by its own fault before its first take is a failed launch, with its text."""
    await store.workers.add(a_worker(), alive_max=1)
    for event in events:
        await store.workers.advance(WORKER, event)
    worker = await store.workers.get(WORKER)
    assert worker is not None
    assert worker.state is WorkerState.GONE
    crashes = int(worker.reason in CRASHES)
    expected = Failures(count=1, last_ms=NOW + 2, text=worker.detail, crashes=crashes)
    assert await store.workers.failures(RELEASE) == expected
    assert await store.workers.failures(ReleaseId("rel-other")) == Failures()


async def test_forgiven_launches_count_no_more(store: Store) -> None:
    """What failed before a user asked to try again is over; what fails after it counts from one."""
    await store.workers.add(a_worker(), alive_max=1)
    await store.workers.advance(WORKER, LaunchFailed(at_ms=NOW + 2, text="no such image"))
    await store.endpoints.forgive(RELEASE, NOW + 10_000_000)
    assert await store.workers.failures(RELEASE) == Failures()


async def test_first_digest_stays(store: Store) -> None:
    """Whoever resolves an image first decides for all workers of the release."""
    assert await store.endpoints.pin(RELEASE, "repo@sha256:1") == "repo@sha256:1"
    assert await store.endpoints.pin(RELEASE, "repo@sha256:2") == "repo@sha256:1"
    release = await store.endpoints.release(RELEASE)
    assert release is not None
    assert release.digest == "repo@sha256:1"


@pytest.mark.parametrize("reason", [WorkerReason.STOPPED_BY_USER, WorkerReason.SCALED_DOWN])
async def test_wanted_end_is_no_failure(store: Store, reason: WorkerReason) -> None:
    """A worker that we ended before its first take says nothing about the release."""
    await store.workers.add(a_worker(), alive_max=1)
    await store.workers.advance(WORKER, Launched(at_ms=NOW))
    await store.workers.advance(WORKER, Drained(at_ms=NOW, reason=reason))
    await store.workers.advance(WORKER, Exited(at_ms=NOW, exit=CRASH))
    assert await store.workers.failures(RELEASE) == Failures()


async def test_end_after_the_first_take_is_no_failed_launch(store: Store) -> None:
    """A worker that took once, and crashed later, was launched well."""
    await hire(store)
    await store.workers.advance(WORKER, Exited(at_ms=NOW, exit=CRASH))
    assert await store.workers.failures(RELEASE) == Failures()


async def test_success_forgives(store: Store) -> None:
    """Failures are counted since the last worker that became ready; the newest gives time and text."""

    async def fail(name: str, at_ms: int) -> None:
        await store.workers.add(a_worker(WorkerId(name), decided_ms=at_ms), alive_max=9)
        await store.workers.advance(WorkerId(name), LaunchFailed(at_ms=at_ms + 1, text=name))

    await fail("a", NOW)
    await fail("b", NOW + 10)
    assert await store.workers.failures(RELEASE) == Failures(count=2, last_ms=NOW + 11, text="b")
    await hire(store, decided_ms=NOW + 20)
    assert await store.workers.failures(RELEASE) == Failures()
    await fail("c", NOW + 30)
    assert await store.workers.failures(RELEASE) == Failures(count=1, last_ms=NOW + 31, text="c")


async def test_kinds_of_places_that_workers_moved_on_from(store: Store) -> None:
    """Of each specification when the last worker of the release was given up to try another, also once it is gone."""
    assert await store.workers.moved_on(RELEASE) == {}
    told = (("a", "big", NOW + 1), ("b", "big", NOW + 2), ("c", "small", NOW + 3))
    for name, kind, at_ms in told:
        worker = WorkerId(name)
        await store.workers.add(a_worker(worker, specification=kind), alive_max=9)
        reason = WorkerReason.TRIED_ELSEWHERE if name != "c" else WorkerReason.SCALED_DOWN
        await store.workers.advance(worker, Drained(at_ms=at_ms, reason=reason))
    await store.workers.advance(WorkerId("b"), Exited(at_ms=NOW + 9, exit=CRASH))
    assert await store.workers.moved_on(RELEASE) == {"big": NOW + 2}
    assert await store.workers.moved_on(ReleaseId("rel-other")) == {}
