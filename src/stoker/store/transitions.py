"""Events applied to an image: ask the rules, note what they say, carry out the effects, tell the ledger (D3).

Called by every operation that moves a job or a worker; nothing else changes their states. What must stay true: a worker's
`running`, `stopping` and `ahead` count its jobs, its `idle_ms` is set exactly while it is up and all are zero, and of the jobs
that it has ahead the first gets its turn with the slot that becomes free.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, assert_never

import msgspec
from msgspec.structs import replace

from stoker import job as jobs
from stoker import worker as workers
from stoker.errors import NotFound
from stoker.ids import JobId, WorkerId
from stoker.job import (
    AHEAD,
    COMPLETED,
    QUEUED,
    RUNNING,
    AttemptLost,
    DropUnreadStream,
    Finished,
    FreePlace,
    FreeSlot,
    Job,
    JobEffect,
    JobEvent,
    JobReason,
    JobStep,
    KeepEnd,
    OutputRefused,
    Purged,
    StopOnWorker,
    TellEnd,
    TurnCame,
)
from stoker.metering import let_go
from stoker.specification import UNBOUNDED, Bounds, admits
from stoker.store import Bodies, Stop
from stoker.store.image import Body, Image, Line, Needs, Queued, StoredJob, StoredWorker
from stoker.store.tables import plain
from stoker.worker import (
    DECIDED,
    DRAINING,
    GONE,
    READY,
    STARTING,
    STOPPING,
    Launched,
    LoseJobs,
    Pinged,
    StopInRuntime,
    TakeBack,
    Took,
    Waits,
    Worker,
    WorkerEvent,
    WorkerReason,
    WorkerStep,
)

# ── jobs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


class AdvanceJob(msgspec.Struct, frozen=True, gc=False):
    """See `JobRows.advance`."""

    job: JobId
    event: JobEvent
    bodies: Bodies | None = None

    def need(self, needs: Needs) -> None:
        """The job, and the worker that speaks of it."""
        needs.jobs.add(self.job)
        if isinstance(self.event, _RESULTS):
            needs.workers.add(self.event.worker)

    def decide(self, image: Image) -> JobStep:
        """Raises `NotFound`, `IllegalTransition`."""
        return advance_job(image, find_job(image, self.job), self.event, self.bodies)


class PurgeQueue(msgspec.Struct, frozen=True, gc=False):
    """End waiting jobs: those of `which`; how many there were."""

    which: Queued
    at_ms: int

    def need(self, needs: Needs) -> None:
        """The jobs."""
        needs.queued.append(self.which)

    def decide(self, image: Image) -> int:
        """All of them."""
        found = image.queued[self.which.endpoint]
        for job in found:
            advance_job(image, image.jobs[job], Purged(at_ms=self.at_ms))
        return len(found)


def find_job(image: Image, job: JobId) -> StoredJob:
    """The job as it stands. Raises `NotFound`."""
    stored = image.jobs.get(job)
    if stored is None:
        raise NotFound(f"there is no job '{job}'", code="job_not_found")
    return stored


def held_by(image: Image, worker: WorkerId) -> list[StoredJob]:
    """Jobs of a worker in `Needs.held_by`: those that it has ahead before those that it runs, so that none of them gets its
    turn while they are taken from it one by one; each in the order of submission."""
    return [*jobs_ahead(image, worker), *_in_order(image, image.running[worker])]


def jobs_ahead(image: Image, worker: WorkerId) -> list[StoredJob]:
    """Those that it has ahead, in the order of submission."""
    return _in_order(image, image.ahead[worker])


def _in_order(image: Image, jobs: Iterable[JobId]) -> list[StoredJob]:
    return sorted((image.jobs[job] for job in jobs), key=lambda stored: stored.seq)


def advance_job(image: Image, stored: StoredJob, event: JobEvent, bodies: Bodies | None = None) -> JobStep:
    """Decide one event and note everything that follows from it."""
    before, at_ms = stored.job, event.at_ms
    step = jobs.advance(before, event)
    if step.changed:
        after = step.job
        image.save_job(stored, after)
        _keep_bodies(image, stored.seq, after, bodies)
        if after.state is not before.state:
            _hand_over(image, before, after, at_ms)
        for effect in step.effects:
            _carry_out(image, stored, effect, at_ms)
        if step.told:
            text = _text(event) if isinstance(event, AttemptLost) else ""
            tell_job(image, stored.seq, after, at_ms, step.told, text, before.worker)
    elif isinstance(event, _RESULTS) and image.let_go(event.worker, before.id):
        free_slot(image, event.worker, at_ms)
    return step


_RESULTS: Final = (Finished, OutputRefused)
"""Events with which a worker is done with a job."""


def _keep_bodies(image: Image, seq: int, job: Job, bodies: Bodies | None) -> None:
    """Show what came along, and drop the progress that the change made stale."""
    state = job.state
    if bodies is None and state is RUNNING:
        return
    output, error = (None, None) if bodies is None else (bodies.output, bodies.error)
    fresh = state is COMPLETED or state is QUEUED or job.reason is JobReason.RETRIES_EXHAUSTED
    if state is QUEUED:
        image.keep_body(seq, Body(None, None, fresh=True))
    elif fresh or output is not None or error is not None:
        image.keep_body(seq, Body(output, error, fresh))


def _hand_over(image: Image, before: Job, after: Job, at_ms: int) -> None:
    """Who had the job lets it go, and who has it now holds it. The state is another."""
    if before.state.held and before.worker is not None:
        _let_go(image, before, before.worker, at_ms)
    if after.state.held and after.worker is not None:
        _hold(image, after, after.worker)


def _let_go(image: Image, job: Job, worker: WorkerId, at_ms: int) -> None:
    """The worker has the job no more; how long an attempt held it is noted on its meter."""
    stored = image.touch(worker)
    if job.state is AHEAD:
        image.ahead[worker].discard(job.id)
        if stored is not None:
            stored.ahead -= 1
    else:
        image.running[worker].discard(job.id)
        if stored is not None:
            stored.running -= 1
            stored.worker = _metered(stored.worker, job, at_ms)


def _hold(image: Image, job: Job, worker: WorkerId) -> None:
    """The worker has the job."""
    stored = image.touch(worker)
    if job.state is AHEAD:
        image.ahead[worker].add(job.id)
        if stored is not None:
            stored.ahead += 1
    else:
        image.running[worker].add(job.id)
        if stored is not None:
            stored.running += 1


def _metered(worker: Worker, job: Job, at_ms: int) -> Worker:
    """The worker when the attempt ends."""
    meter = worker.meter
    if meter is None or job.key is None or job.claimed_ms is None:
        return worker
    noted = let_go(meter, job.key, job.claimed_ms, at_ms)
    return worker if noted is meter else replace(worker, meter=noted)


def _carry_out(image: Image, stored: StoredJob, effect: JobEffect, at_ms: int) -> None:
    match effect:
        case FreeSlot(worker=worker):
            free_slot(image, worker, at_ms)
        case FreePlace(worker=worker):
            if (left := image.touch(worker)) is not None:
                _rest(left, at_ms)
        case StopOnWorker(worker=worker):
            image.ask_stop(Stop(job=stored.job.id, worker=worker, asked_ms=at_ms))
        case DropUnreadStream():
            image.drop_parts(stored.seq)
            if stored.job.state.final:
                image.reopened.add(stored.seq)
        case TellEnd():
            image.ends.append(image.jobs[stored.job.id])
        case KeepEnd():
            image.kept_ends.append(stored)
        case _:
            assert_never(effect)


def _text(event: AttemptLost) -> str:
    """What the ledger says besides the reason: how an attempt was lost."""
    return f"{event.reason.value}: {plain(event.text)}" if event.text else event.reason.value


def tell_job(
    image: Image, seq: int, job: Job, at_ms: int, kind: str, text: str = "", worker: WorkerId | None = None
) -> None:
    """A line of the ledger about a job, with a text that can be stored; `worker` is who had it until now."""
    image.lines.append(
        Line(
            at_ms,
            job.team,
            job.endpoint,
            seq,
            job.worker or worker,
            kind,
            job.state.shown.word,
            job.reason.word,
            job.attempt or None,
            text,
            job.id,
        )
    )


# ── workers ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class AdvanceWorker(msgspec.Struct, frozen=True, gc=False):
    """See `WorkerRows.advance`."""

    worker: WorkerId
    event: WorkerEvent

    def need(self, needs: Needs) -> None:
        """The worker, and its jobs if the event may cost it them."""
        needs.workers.add(self.worker)
        if not isinstance(self.event, Waits | Launched | Took | Pinged):
            needs.held_by.add(self.worker)

    def decide(self, image: Image) -> WorkerStep:
        """Raises `NotFound`, `IllegalTransition`."""
        before = find_worker(image, self.worker).worker
        step = workers.advance(before, self.event)
        if isinstance(self.event, Launched):
            tell_stages(image, before, self.event.stages)
        save_worker(image, before, step.worker)
        if (before.unhealthy_ms is None) is not (step.worker.unhealthy_ms is None):
            tell_health(image, step.worker, self.event.at_ms)
        if before.alive and not step.worker.alive:
            for job in list(image.stops[self.worker]):
                image.let_go(self.worker, job)
        for effect in step.effects:
            match effect:
                case LoseJobs(reason=reason, text=text):
                    lost = AttemptLost(at_ms=self.event.at_ms, worker=self.worker, reason=reason, text=text)
                    for stored in held_by(image, self.worker):
                        advance_job(image, stored, lost)
                case TakeBack():
                    lost = AttemptLost(at_ms=self.event.at_ms, worker=self.worker, reason=JobReason.WORKER_STOPPED)
                    for stored in jobs_ahead(image, self.worker):
                        advance_job(image, stored, lost)
                case StopInRuntime():
                    pass  # kept by the state: who looks at workers tells the runtime while it is STOPPING
                case _:
                    assert_never(effect)
        return step


class AddWorker(msgspec.Struct, frozen=True, gc=False):
    """See `WorkerRows.add`."""

    worker: Worker
    alive_max: int
    bounds: Bounds = UNBOUNDED

    def need(self, needs: Needs) -> None:
        """Who is there and what they hold: looked at and stored in one transaction, two decisions cannot both fill the last
        place."""
        needs.alive_of.add(self.worker.endpoint)
        needs.places = True

    def decide(self, image: Image) -> bool:
        """Whether there was room."""
        alive = image.alive[self.worker.endpoint]
        if alive >= self.alive_max or not admits(self.bounds, image.places, self.worker.place):
            return False
        image.places.append(self.worker.place)
        image.alive[self.worker.endpoint] = alive + 1
        image.workers[self.worker.id] = StoredWorker(self.worker, running=0, stopping=0, slots=0)
        image.new_workers.append(self.worker.id)
        tell_worker(image, self.worker)
        return True


def find_worker(image: Image, worker: WorkerId) -> StoredWorker:
    """The worker as it stands. Raises `NotFound`."""
    stored = image.workers.get(worker)
    if stored is None:
        raise NotFound(f"there is no worker '{worker}'", code="worker_not_found")
    return stored


def save_worker(image: Image, before: Worker, after: Worker) -> None:
    """Note the record if it is another, and a line of the ledger if its state is."""
    if after.state is not before.state or (after.reason is WorkerReason.NO_ROOM_YET is not before.reason):
        tell_worker(image, after)
    if after != before:
        image.save_worker(after)


def free_slot(image: Image, worker: WorkerId, at_ms: int) -> None:
    """A slot of the worker became free: it goes on with the first job that it has ahead, or rests.

    One slot, one turn: a worker with more slots than it uses must not seem to run more jobs than it does.
    """
    stored = image.touch(worker)
    if stored is not None:
        if stored.ahead and stored.free > 0:
            _begin_next(image, stored, at_ms)
        _rest(stored, at_ms)


def _rest(stored: StoredWorker, at_ms: int) -> None:
    """Note since when the worker is idle, if it holds nothing now."""
    worker = stored.worker
    if worker.idle_ms is None and not stored.busy and worker.state in _UP:
        stored.worker = replace(worker, idle_ms=at_ms)


_UP: Final = (READY, DRAINING)


def _begin_next(image: Image, stored: StoredWorker, at_ms: int) -> None:
    """Give the first of its jobs ahead its turn: normal priority first, each in the order of submission, as they were
    delivered. Those that it is not believed to have any more go back to the queue."""
    worker = stored.worker
    if worker.state not in _UP:
        return
    for first in sorted((image.jobs[job] for job in image.ahead[worker.id]), key=_turn):
        if advance_job(image, first, TurnCame(at_ms=at_ms)).job.state is RUNNING:
            return


def _turn(stored: StoredJob) -> tuple[bool, int]:
    return stored.job.low_priority, stored.seq


_WORKER_KINDS: Final = {STARTING: "launched"}


def tell_worker(image: Image, worker: Worker) -> None:
    """A line of the ledger about the state that a worker has just reached."""
    text = worker.detail
    if worker.exit is not None and worker.exit.text not in text:
        text = f"{text}; {worker.exit.text}" if text else worker.exit.text
    kind = _WORKER_KINDS.get(worker.state, worker.state.value)
    who = (worker.team, worker.endpoint, None, worker.id)
    image.lines.append(
        Line(_reached_ms(worker), *who, kind, worker.state.value, worker.reason.value, None, plain(text))
    )


def tell_health(image: Image, worker: Worker, at_ms: int) -> None:
    """A line of the ledger about a worker that gets jobs from now on, or no more."""
    kind = "healthy" if worker.unhealthy_ms is None else "unhealthy"
    who = (worker.team, worker.endpoint, None, worker.id)
    image.lines.append(Line(at_ms, *who, kind, worker.state.value, worker.reason.value, None, plain(worker.detail)))


def tell_stages(image: Image, worker: Worker, stages: Sequence[tuple[str, int]]) -> None:
    """A line of the ledger for each stage of a launch."""
    who = (worker.team, worker.endpoint, None, worker.id)
    for stage, at_ms in stages:
        image.lines.append(Line(at_ms, *who, stage, worker.state.value, worker.reason.value, None, ""))


def _reached_ms(worker: Worker) -> int:
    """When the worker reached the state it is in."""
    moments = {
        DECIDED: worker.decided_ms,
        STARTING: worker.launched_ms,
        READY: worker.ready_ms,
        DRAINING: worker.drained_ms,
        STOPPING: worker.stopped_ms,
        GONE: worker.gone_ms,
    }
    return moments[worker.state] or 0
