"""When there are enough workers: who goes, and why jobs wait nevertheless."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from stoker.amounts import counted
from stoker.scaling.fleet import Fleet, first_to_go
from stoker.scaling.launching import why_starting
from stoker.scaling.views import Drain, Plan, Reason, Snapshot, Why, WorkerView
from stoker.worker import WorkerReason, WorkerState


def settle(snapshot: Snapshot, fleet: Fleet, asked: int, wanted: int, leaving: tuple[Drain, ...]) -> Plan:
    """The plan when there are enough."""
    beyond = _drain_beyond_max(snapshot, fleet)
    beyond += _drain_unplaced(snapshot, fleet, beyond, wanted)
    going = {line.worker for line in beyond}
    staying = tuple(worker for worker in fleet.new if worker.id not in going)
    rest = replace(fleet, new=staying, starting=sum(not worker.started for worker in staying))
    ready = [worker for worker in staying if worker.takes_jobs]
    surplus = _surplus(snapshot, len(ready), wanted)
    idle = _drain_idle(snapshot, ready, surplus)
    idle_ends_ms = [_idle_end_ms(snapshot, worker) for worker in ready if len(idle) < surplus]
    reason, text = _why_no_more(snapshot, rest, asked)
    return Plan(
        wanted=wanted,
        reason=reason,
        text=text,
        drain=(*leaving, *beyond, *idle),
        look_again_ms=snapshot.first_after_now(snapshot.now_ms + snapshot.delay_left_ms, *idle_ends_ms),
    )


def _surplus(snapshot: Snapshot, ready: int, wanted: int) -> int:
    """How many ready workers are too many.

    Starting workers do not replace ready ones before they are ready themselves, and while a job waits nobody is too
    many: whoever is idle gets it with the take that is open.
    """
    waiting = snapshot.queued + snapshot.queued_low > 0
    return 0 if waiting else max(0, ready - wanted)


def drain_outdated(snapshot: Snapshot) -> tuple[Drain, ...]:
    """Workers of an old release, or of an endpoint that was deleted or paused, or whose budget is used up: they finish what they hold and go."""
    if snapshot.deleted:
        reason, text = WorkerReason.ENDPOINT_DELETED, "the endpoint was deleted"
    elif snapshot.paused:
        reason, text = WorkerReason.ENDPOINT_PAUSED, "the endpoint was paused"
    elif snapshot.arrears:
        reason, text = WorkerReason.BUDGET_SPENT, snapshot.arrears
    else:
        reason, text = WorkerReason.NEW_RELEASE, "the endpoint has a newer release"
    return tuple(
        Drain(worker=worker.id, reason=reason, text=text)
        for worker in first_to_go(snapshot.workers)
        if worker.serves and (snapshot.deleted or snapshot.paused or snapshot.arrears or _outdated(snapshot, worker))
    )


def drain_giving_way(snapshot: Snapshot, others: tuple[Drain, ...]) -> tuple[Drain, ...]:
    """Workers whose places others are to have: they finish what they hold."""
    going = {line.worker for line in others}
    return tuple(
        Drain(worker=worker.id, reason=WorkerReason.GAVE_WAY, text=worker.gives_way)
        for worker in first_to_go(snapshot.workers)
        if worker.gives_way and worker.started and worker.id not in going
    )


def drain_moving_on(snapshot: Snapshot) -> tuple[Drain, ...]:
    """Workers that wait for a kind of place that nobody finds now: others start for them where there may be some."""
    return tuple(
        Drain(worker=worker.id, reason=WorkerReason.TRIED_ELSEWHERE, text=worker.moves_on)
        for worker in first_to_go(snapshot.workers)
        if worker.moves_on and worker.current and worker.state is WorkerState.DECIDED
    )


def _outdated(snapshot: Snapshot, worker: WorkerView) -> bool:
    """Whether it goes for its release at once: if it takes jobs it may stay until its successor does."""
    return not worker.current and not (snapshot.max_surge and worker.started)


def _drain_beyond_max(snapshot: Snapshot, fleet: Fleet) -> tuple[Drain, ...]:
    """After max was lowered: whoever holds nothing goes at once. A bound does not wait for an idle timeout."""
    excess = max(0, len(fleet.new) - snapshot.max_workers)
    free = [worker for worker in first_to_go(fleet.new) if worker.held == 0]
    text = f"the endpoint may have at most {counted(snapshot.max_workers, 'worker')}"
    return tuple(Drain(worker=worker.id, reason=WorkerReason.SCALED_DOWN, text=text) for worker in free[:excess])


def _drain_unplaced(snapshot: Snapshot, fleet: Fleet, beyond: tuple[Drain, ...], wanted: int) -> tuple[Drain, ...]:
    """Workers that nobody has found a place for are given up as soon as they are too many: they cost nothing to have again, and
    whoever adds machines for them can stop."""
    if snapshot.queued + snapshot.queued_low > 0:
        return ()
    going = {line.worker for line in beyond}
    unplaced = [
        worker for worker in first_to_go(fleet.new) if (worker.no_room or worker.placing) and worker.id not in going
    ]
    text = "nobody needs it any more, and no place was found for it"
    excess = max(0, len(fleet.new) - len(going) - wanted)
    return tuple(Drain(worker=worker.id, reason=WorkerReason.SCALED_DOWN, text=text) for worker in unplaced[:excess])


def _drain_idle(snapshot: Snapshot, ready: Iterable[WorkerView], surplus: int) -> tuple[Drain, ...]:
    text = f"idle for more than {snapshot.idle_timeout_s} s, and not needed"
    ripe = [
        worker
        for worker in first_to_go(ready)
        if (end_ms := _idle_end_ms(snapshot, worker)) is not None and end_ms <= snapshot.now_ms
    ]
    return tuple(Drain(worker=worker.id, reason=WorkerReason.SCALED_DOWN, text=text) for worker in ripe[:surplus])


def _idle_end_ms(snapshot: Snapshot, worker: WorkerView) -> int | None:
    """When its idle timeout ends; None while it holds a job."""
    if worker.held > 0 or worker.idle_ms is None:
        return None
    return worker.idle_ms + snapshot.idle_timeout_s * 1000


# ── why jobs wait ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _why_no_more(snapshot: Snapshot, fleet: Fleet, asked: int) -> Why:
    """The reason shown on queued jobs while there are as many workers as there should be."""
    if snapshot.queued + snapshot.queued_low == 0:
        return Reason.NOTHING_TO_DO, f"no job waits, {counted(snapshot.running, 'job')} running"
    if any(worker.takes_jobs and snapshot.free_slots(worker) for worker in fleet.serving):
        return Reason.WORKER_FREE, "a worker has a free slot and gets the job with its next take"
    if fleet.starting:
        reason, text = why_starting(snapshot, fleet.starting)
        return reason, "; ".join([text, *(room.none for room in snapshot.rooms if room.none)])
    ailing = [worker.ailing for worker in fleet.serving if worker.ailing]
    if ailing:
        return Reason.HEALTH_FAILING, f"{counted(len(ailing), 'worker')} without a good health check: {ailing[0]}"
    if snapshot.queued == 0:
        return Reason.LOW_PRIORITY, "jobs of low priority start no worker; they run when one is free of other jobs"
    busy = f"{counted(len(fleet.serving), 'worker')} busy"
    if asked > snapshot.max_workers:
        return Reason.AT_MAX_WORKERS, f"{busy}, and the endpoint may have at most {snapshot.max_workers}"
    if snapshot.delay_left_ms > 0:
        return Reason.DELAY_ALLOWED, f"{busy}; a job may wait {snapshot.policy.value} s before another worker starts"
    return Reason.WORKERS_BUSY, f"{busy}; the policy asks for no more with {counted(snapshot.queued, 'job')} waiting"
