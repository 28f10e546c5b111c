"""How many workers an endpoint should have: `decide(snapshot) -> plan`, pure and without memory (D8).

The snapshot holds every time that matters (when workers were decided, since when they are idle, when a launch last
failed), so hysteresis and back-off need no hidden state: shifting all times shifts nothing else. The plan says what to
launch and whom to drain, gives each line and each refusal a reason, and says when to look again.

    what the load asks for  ──>  held between min and max  ──>  more than there are?  launch, or say what forbids it
                                                                 otherwise            drain what nobody needs

What must stay true (`tests/rules/test_scaling.py` proves it):

- No plan launches beyond max, counting every worker that still uses the machine.
- A worker that holds a job is drained only with its release or its endpoint, never to save money.
- A plan, once carried out, leaves nothing to do until an event or `look_again_ms`.

The formulae are published in `docs/scaling.md`; its examples are tests.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from stoker.endpoint import Policy, PolicyType
from stoker.ids import WorkerId
from stoker.worker import WorkerReason, WorkerState

BACKOFF_FIRST_S: Final = 1
BACKOFF_MOST_S: Final = 300
"""After n failed launches in a row the next one waits min(2 to the power n-1, 300) seconds."""
CRASH_LOOP_FAILURES: Final = 3
"""From this many failed launches in a row it is a crash loop, and every waiting job says so."""
CRASHES_MOST: Final = 8
"""After this many in a row that began to run and ended by themselves, launches stop until somebody changes something: what a
worker does wrong at its start it does every time. What the machine or a registry did wrong may mend itself, and goes on."""
RECHECK_MS: Final = 2_000
"""How soon to ask again after the runtime did not answer or had no room: neither announces that it changed its mind."""


class Reason(StrEnum):
    """Why the plan is what it is; for a queued job, why it waits."""

    NOTHING_TO_DO = "nothing_to_do"
    WORKER_FREE = "worker_free"
    NO_WORKER_YET = "no_worker_yet"
    WORKER_STARTING = "worker_starting"
    IMAGE_PULLING = "image_pulling"
    HEALTH_FAILING = "health_failing"
    WORKERS_BUSY = "workers_busy"
    AT_MAX_WORKERS = "at_max_workers"
    NO_CAPACITY = "no_capacity"
    LAUNCH_BACKOFF = "launch_backoff"
    CRASH_LOOP = "crash_loop"
    RUNTIME_UNAVAILABLE = "runtime_unavailable"
    LOW_PRIORITY = "low_priority"
    DELAY_ALLOWED = "delay_allowed"
    REPLACING = "replacing"
    BELOW_MIN = "below_min"
    PAUSED = "paused"
    BUDGET = "budget"
    DELETED = "deleted"


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerView:
    """What the decision needs to know of one worker that is not gone."""

    id: WorkerId
    state: WorkerState
    current: bool
    """Whether it runs the endpoint's present release."""
    held: int
    """Jobs it holds, those included that it was told to stop and has not let go."""
    decided_ms: int
    idle_ms: int | None = None
    """Since when it holds nothing."""
    pulling: str = ""
    """How far the pull of its image is, while that goes on."""
    placing: str = ""
    """That a place is looked for, by a runtime that finds it itself, while nobody has said that there is none."""
    no_room: str = ""
    """Why no place has been found for it yet."""
    ailing: str = ""
    """What its health check got, while that keeps it from jobs. It counts like one that starts: it gets well, or is replaced."""
    gives_way: str = ""
    """Why others are to have its place, when their turn has come (`sharing`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoomView:
    """How many more workers have room in one kind of place."""

    name: str = ""
    workers: int | None = None
    """None when unknown or without bound."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """One endpoint at one moment."""

    now_ms: int
    min_workers: int
    max_workers: int
    idle_timeout_s: int
    slots: int
    policy: Policy
    max_surge: int = 0
    """Workers beyond those that are wanted while ready workers of an old release are replaced; 0: old ones are drained first."""
    deleted: bool = False
    paused: bool = False
    arrears: str = ""
    """How a budget is used up that lets nothing new start."""
    queued: int = 0
    """Jobs that wait and count for scaling up."""
    queued_low: int = 0
    """Jobs that wait with low priority: they do not start workers."""
    oldest_queued_ms: int | None = None
    """Since when the oldest job that counts for scaling waits."""
    running: int = 0
    """Jobs that run, on whichever worker. For the words only: what counts is what the serving workers hold."""
    workers: tuple[WorkerView, ...] = ()
    failures: int = 0
    """Launches of the present release that failed in a row, since one last became ready."""
    crashes: int = 0
    """How many of them began to run, and ended by themselves."""
    failed_ms: int | None = None
    """When the last of them failed."""
    failure_text: str = ""
    rooms: tuple[RoomView, ...] = (RoomView(),)
    """Where the machine still has room for workers of the present release, the preferred places first."""
    full_text: str = ""
    """Why there is no more room, in words."""
    available: bool = True
    """Whether the runtime answers."""

    @property
    def capacity(self) -> int | None:
        """Workers of this release that the machine still has room for; None when unknown or without bound."""
        counts = [room.workers for room in self.rooms]
        return None if None in counts else sum(count for count in counts if count is not None)

    @property
    def queued_since_ms(self) -> int | None:
        """Since when jobs wait; a queue of which no oldest job was read is a new one. None when there is no queue."""
        if self.queued == 0:
            return None
        return self.now_ms if self.oldest_queued_ms is None else self.oldest_queued_ms


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """Start `count` workers."""

    count: int
    alive_max: int
    """How many of the endpoint may exist then, those included that finish or stop."""
    reason: Reason
    text: str
    wanted_ms: int | None = None
    """Since when the oldest job waits that they are for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drain:
    """Let one worker finish what it holds and go."""

    worker: WorkerId
    reason: WorkerReason
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to do, why, and when to look again. A proposal: each line is checked again when it is carried out."""

    wanted: int
    reason: Reason
    """Why no more is done than what the lines say; why queued jobs wait."""
    text: str
    launch: Launch | None = None
    drain: tuple[Drain, ...] = ()
    look_again_ms: int | None = None
    """When time alone can change the decision, always after now; None when only an event can."""


_Why = tuple[Reason, str]
"""A reason and the same in words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Fleet:
    """The workers to count on: those of the present release that take jobs now (ready) or will (starting), and while they are
    replaced those of an old one that are ready."""

    new: tuple[WorkerView, ...]
    old: tuple[WorkerView, ...]
    starting: int
    busy: int
    """How many hold a job; old ones that finish are counted as long as they are there, so that draining them changes nothing."""
    held: int
    """Jobs that these hold."""
    size: int
    """How many there are when of an old worker and its successor one is counted."""
    free_slots: int
    """Jobs that new ones could take besides; a starting worker brings all of its slots."""

    @property
    def serving(self) -> tuple[WorkerView, ...]:
        """All of them."""
        return self.new + self.old


def _fleet(snapshot: Snapshot) -> _Fleet:
    new = tuple(worker for worker in snapshot.workers if worker.current and _serves(worker))
    finishing = (WorkerState.READY, WorkerState.DRAINING)
    outdated = [one for one in snapshot.workers if not one.current and one.state in finishing and snapshot.max_surge]
    return _Fleet(
        new=new,
        old=tuple(worker for worker in outdated if _started(worker)),
        starting=sum(not _started(worker) for worker in new),
        busy=sum(worker.held > 0 for worker in (*new, *outdated)),
        held=sum(worker.held for worker in (*new, *outdated)),
        size=max(len(new), len(outdated)),
        free_slots=sum(_free_slots(snapshot, worker) for worker in new),
    )


def decide(snapshot: Snapshot) -> Plan:
    """What to do now, why, and when to look again."""
    leaving = _drain_outdated(snapshot)
    if snapshot.deleted:
        return Plan(wanted=0, reason=Reason.DELETED, text="the endpoint was deleted", drain=leaving)
    if snapshot.paused:
        return Plan(wanted=0, reason=Reason.PAUSED, text="the endpoint is paused: its queue is kept", drain=leaving)
    if snapshot.arrears:
        return Plan(wanted=0, reason=Reason.BUDGET, text=snapshot.arrears, drain=leaving)
    giving_way = _drain_giving_way(snapshot, leaving)
    snapshot, leaving = _without(snapshot, giving_way), leaving + giving_way
    fleet = _fleet(snapshot)
    asked = wanted_by_load(snapshot)
    wanted = min(max(asked, snapshot.min_workers), snapshot.max_workers)
    replaced = _drain_replaced(fleet, wanted)
    going = {line.worker for line in replaced}
    fleet = replace(fleet, old=tuple(worker for worker in fleet.old if worker.id not in going))
    if wanted > len(fleet.new):
        return _grow(snapshot, fleet, asked, wanted, leaving + replaced)
    return _shrink(snapshot, fleet, asked, wanted, leaving + replaced)


# ── what the load asks for ────────────────────────────────────────────────────────────────────────────────────────────


def wanted_by_load(snapshot: Snapshot) -> int:
    """How many workers the policy asks for, before min, max and capacity."""
    fleet = _fleet(snapshot)
    if snapshot.policy.type is PolicyType.QUEUE_REQUESTS:
        return _wanted_by_requests(snapshot, fleet)
    return _wanted_by_delay(snapshot, fleet)


def _wanted_by_requests(snapshot: Snapshot, fleet: _Fleet) -> int:
    """`value` jobs for each worker, but no worker without a job: a job does not move once a worker holds it."""
    jobs = snapshot.queued + fleet.held
    return min(math.ceil(jobs / snapshot.policy.value), fleet.busy + snapshot.queued)


def _wanted_by_delay(snapshot: Snapshot, fleet: _Fleet) -> int:
    """One worker for the first job at once; once the oldest has waited too long, a slot for every waiting job."""
    present = max(fleet.size, fleet.busy)
    if snapshot.queued == 0:
        return fleet.busy
    if _delay_left_ms(snapshot) > 0:
        return max(1, present)
    return present + math.ceil(max(0, snapshot.queued - fleet.free_slots) / snapshot.slots)


def _delay_left_ms(snapshot: Snapshot) -> int:
    """How long the policy lets the oldest waiting job wait from now on; 0 when time will not add a worker."""
    since_ms = snapshot.queued_since_ms
    if snapshot.policy.type is not PolicyType.QUEUE_DELAY or since_ms is None:
        return 0
    return max(0, since_ms + snapshot.policy.value * 1000 - snapshot.now_ms)


# ── growing ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _grow(snapshot: Snapshot, fleet: _Fleet, asked: int, wanted: int, leaving: tuple[Drain, ...]) -> Plan:
    missing = wanted - len(fleet.new)
    launch, why = None, _obstacle(snapshot, fleet, wanted)
    if why is None:
        cause, text = _cause(snapshot, fleet, asked, wanted)
        count = _possible(snapshot, min(missing, _beyond(snapshot, fleet, wanted)))
        where = _where(snapshot, count)
        launch = Launch(
            count=count,
            alive_max=_alive_max(snapshot),
            reason=cause,
            text=text + where,
            wanted_ms=snapshot.queued_since_ms,
        )
        reason, words = _starting(snapshot, fleet.starting + launch.count)
        why = (reason, words + where)
    return Plan(
        wanted=wanted,
        reason=why[0],
        text=why[1],
        launch=launch,
        drain=leaving + _make_room(snapshot, fleet, leaving, why[0]),
        look_again_ms=_first_after_now(
            snapshot,
            snapshot.now_ms + _delay_left_ms(snapshot),
            snapshot.now_ms + _backoff_left_ms(snapshot),
            _recheck_ms(snapshot, missing),
        ),
    )


def _recheck_ms(snapshot: Snapshot, missing: int) -> int | None:
    """When to ask again a runtime that does not answer, or a machine without room for all that are missing."""
    full = snapshot.capacity is not None and snapshot.capacity < missing
    return snapshot.now_ms + RECHECK_MS if full or not snapshot.available else None


def _obstacle(snapshot: Snapshot, fleet: _Fleet, wanted: int) -> _Why | None:
    """Why nothing can be launched now; None when something can."""
    if not snapshot.available:
        return Reason.RUNTIME_UNAVAILABLE, "the runtime that starts workers does not answer"
    if snapshot.crashes >= CRASHES_MOST and not fleet.starting:
        return _given_up(snapshot)
    if snapshot.failures and (fleet.starting or _backoff_left_ms(snapshot)):
        return _trouble(snapshot, trying=fleet.starting > 0)
    if _beyond(snapshot, fleet, wanted) <= 0:
        begun = f"{_workers(len(fleet.new))} of {wanted} of the new release, {fleet.starting} still starting"
        return Reason.REPLACING, f"{begun}; {_workers(len(fleet.old))} of an old one until they are ready"
    if len(snapshot.workers) >= _alive_max(snapshot):
        leaving = len(snapshot.workers) - len(fleet.serving)
        return (
            Reason.AT_MAX_WORKERS,
            f"{_workers(leaving)} still finishing or stopping, and at most {_alive_max(snapshot)} may exist at once",
        )
    if snapshot.capacity is not None and snapshot.capacity <= 0:
        return Reason.NO_CAPACITY, snapshot.full_text or "the machine has no room for another worker"
    return None


def _possible(snapshot: Snapshot, missing: int) -> int:
    """How many of the missing workers may start now; after a failure one at a time, to see whether it lives."""
    if snapshot.failures:
        return 1
    room = _alive_max(snapshot) - len(snapshot.workers)
    return min(missing, room, missing if snapshot.capacity is None else snapshot.capacity)


def _cause(snapshot: Snapshot, fleet: _Fleet, asked: int, wanted: int) -> _Why:
    have = len(fleet.serving)
    if asked < snapshot.min_workers:
        return Reason.BELOW_MIN, f"{_workers(have)} of at least {snapshot.min_workers}"
    reason = Reason.WORKERS_BUSY if have else Reason.NO_WORKER_YET
    return reason, f"{_jobs(snapshot.queued)} waiting, {_workers(have)} of {wanted} wanted"


def _where(snapshot: Snapshot, count: int) -> str:
    """Where they go, in words, if that is not where they would like to go most."""
    first, *others = snapshot.rooms or (RoomView(),)
    left = 0 if first.workers is None else count - first.workers
    if left <= 0:
        return ""
    parts = [f"{first.workers} on {first.name}"] if first.workers else []
    for room in others:
        if left > 0 and room.workers != 0:
            parts.append(f"{left if room.workers is None else min(left, room.workers)} on {room.name}")
            left -= left if room.workers is None else room.workers
    return f"; {', '.join(parts)}: {first.name} has no more room"


def _starting(snapshot: Snapshot, count: int) -> _Why:
    if snapshot.failures:
        return _trouble(snapshot, trying=True)
    unplaced = next((worker.no_room for worker in snapshot.workers if worker.current and worker.no_room), "")
    if unplaced:
        return Reason.NO_CAPACITY, f"{_workers(count)} starting: {unplaced}"
    pulling = next((worker.pulling for worker in snapshot.workers if worker.current and worker.pulling), "")
    if pulling:
        return Reason.IMAGE_PULLING, f"{_workers(count)} starting: {pulling}"
    ailing = next((worker.ailing for worker in snapshot.workers if worker.current and worker.ailing), "")
    if ailing:
        return Reason.HEALTH_FAILING, f"{_workers(count)} starting, health check: {ailing}"
    placing = next((worker.placing for worker in snapshot.workers if worker.current and worker.placing), "")
    return Reason.WORKER_STARTING, f"{_workers(count)} starting" + (f": {placing}" if placing else "")


# ── replacing workers of an old release ───────────────────────────────────────────────────────────────────────────────


def _beyond(snapshot: Snapshot, fleet: _Fleet, wanted: int) -> int:
    """How many more may serve at once: those that are wanted, and the surge beside old ones."""
    return wanted + (snapshot.max_surge if fleet.old else 0) - len(fleet.serving)


def _alive_max(snapshot: Snapshot) -> int:
    """How many may exist at once: while workers of an old release are still there, the surge comes on top."""
    return snapshot.max_workers + (0 if all(worker.current for worker in snapshot.workers) else snapshot.max_surge)


def _drain_replaced(fleet: _Fleet, wanted: int) -> tuple[Drain, ...]:
    """Old workers whose successors are ready, and those that nobody needs; idle ones first."""
    kept = max(0, wanted - sum(_ready(worker) for worker in fleet.new))
    first = sorted(_first_to_go(fleet.old), key=lambda worker: worker.held > 0)
    return tuple(
        Drain(worker=worker.id, reason=WorkerReason.NEW_RELEASE, text="workers of a newer release took its place")
        for worker in first[: max(0, len(fleet.old) - kept)]
    )


def _make_room(snapshot: Snapshot, fleet: _Fleet, leaving: tuple[Drain, ...], reason: Reason) -> tuple[Drain, ...]:
    """On a full machine there is no room for a successor beside an old worker: then one at a time goes before it."""
    others = leaving or fleet.starting or not all(_serves(worker) for worker in snapshot.workers)
    if reason is not Reason.NO_CAPACITY or others or not fleet.old:
        return ()
    first = min(_first_to_go(fleet.old), key=lambda worker: worker.held > 0)
    text = "the endpoint has a newer release, and no room for its workers beside this one"
    return (Drain(worker=first.id, reason=WorkerReason.NEW_RELEASE, text=text),)


# ── when launches fail ────────────────────────────────────────────────────────────────────────────────────────────────


def _backoff_left_ms(snapshot: Snapshot) -> int:
    """How long the next launch has to wait for the last one that failed."""
    if snapshot.failures == 0 or snapshot.failed_ms is None:
        return 0
    doublings = min(snapshot.failures - 1, BACKOFF_MOST_S.bit_length())
    wait_ms = min(BACKOFF_FIRST_S << doublings, BACKOFF_MOST_S) * 1000
    return max(0, snapshot.failed_ms + wait_ms - snapshot.now_ms)


def _given_up(snapshot: Snapshot) -> _Why:
    """What a waiting job hears when nothing will be launched any more."""
    text = f"{snapshot.failures} starts in a row failed, the last with: {snapshot.failure_text or 'no message'}"
    return Reason.CRASH_LOOP, f"{text}; no more are tried until a new release, or: stoker endpoint retry"


def _trouble(snapshot: Snapshot, *, trying: bool) -> _Why:
    """What a waiting job hears while launches fail."""
    reason = Reason.CRASH_LOOP if snapshot.failures >= CRASH_LOOP_FAILURES else Reason.LAUNCH_BACKOFF
    starts = "1 start" if snapshot.failures == 1 else f"{snapshot.failures} starts in a row"
    then = "trying again now" if trying else f"next try in {math.ceil(_backoff_left_ms(snapshot) / 1000)} s"
    return reason, f"{starts} failed, the last with: {snapshot.failure_text or 'no message'}; {then}"


# ── shrinking ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _shrink(snapshot: Snapshot, fleet: _Fleet, asked: int, wanted: int, leaving: tuple[Drain, ...]) -> Plan:
    beyond = _drain_beyond_max(snapshot, fleet)
    beyond += _drain_unplaced(snapshot, fleet, beyond, wanted)
    going = {line.worker for line in beyond}
    staying = tuple(worker for worker in fleet.new if worker.id not in going)
    rest = replace(fleet, new=staying, starting=sum(not _started(worker) for worker in staying))
    ready = [worker for worker in staying if _ready(worker)]
    surplus = _surplus(snapshot, len(ready), wanted)
    idle = _drain_idle(snapshot, ready, surplus)
    idle_ends_ms = [_idle_end_ms(snapshot, worker) for worker in ready if len(idle) < surplus]
    reason, text = _why_no_more(snapshot, rest, asked)
    return Plan(
        wanted=wanted,
        reason=reason,
        text=text,
        drain=(*leaving, *beyond, *idle),
        look_again_ms=_first_after_now(snapshot, snapshot.now_ms + _delay_left_ms(snapshot), *idle_ends_ms),
    )


def _surplus(snapshot: Snapshot, ready: int, wanted: int) -> int:
    """How many ready workers are too many.

    Starting workers do not replace ready ones before they are ready themselves, and while a job waits nobody is too
    many: whoever is idle gets it with the take that is open.
    """
    waiting = snapshot.queued + snapshot.queued_low > 0
    return 0 if waiting else max(0, ready - wanted)


def _drain_outdated(snapshot: Snapshot) -> tuple[Drain, ...]:
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
        for worker in _first_to_go(snapshot.workers)
        if _serves(worker) and (snapshot.deleted or snapshot.paused or snapshot.arrears or _outdated(snapshot, worker))
    )


def _drain_giving_way(snapshot: Snapshot, others: tuple[Drain, ...]) -> tuple[Drain, ...]:
    """Workers whose places others are to have: they finish what they hold."""
    going = {line.worker for line in others}
    return tuple(
        Drain(worker=worker.id, reason=WorkerReason.GAVE_WAY, text=worker.gives_way)
        for worker in _first_to_go(snapshot.workers)
        if worker.gives_way and _started(worker) and worker.id not in going
    )


def _without(snapshot: Snapshot, leaving: tuple[Drain, ...]) -> Snapshot:
    """As it is once those are drained."""
    going = {line.worker for line in leaving}
    workers = (replace(one, state=WorkerState.DRAINING) if one.id in going else one for one in snapshot.workers)
    return replace(snapshot, workers=tuple(workers)) if going else snapshot


def missing(snapshot: Snapshot) -> int:
    """How many workers would be launched now if there were room for as many as like."""
    launch = decide(replace(snapshot, rooms=(RoomView(),), available=True)).launch
    return 0 if launch is None else launch.count


def _outdated(snapshot: Snapshot, worker: WorkerView) -> bool:
    """Whether it goes for its release at once: if it takes jobs it may stay until its successor does."""
    return not worker.current and not (snapshot.max_surge and _started(worker))


def _drain_beyond_max(snapshot: Snapshot, fleet: _Fleet) -> tuple[Drain, ...]:
    """After max was lowered: whoever holds nothing goes at once. A bound does not wait for an idle timeout."""
    excess = max(0, len(fleet.new) - snapshot.max_workers)
    free = [worker for worker in _first_to_go(fleet.new) if worker.held == 0]
    text = f"the endpoint may have at most {_workers(snapshot.max_workers)}"
    return tuple(Drain(worker=worker.id, reason=WorkerReason.SCALED_DOWN, text=text) for worker in free[:excess])


def _drain_unplaced(snapshot: Snapshot, fleet: _Fleet, beyond: tuple[Drain, ...], wanted: int) -> tuple[Drain, ...]:
    """Workers that nobody has found a place for are given up as soon as they are too many: they cost nothing to have again, and
    whoever adds machines for them can stop."""
    if snapshot.queued + snapshot.queued_low > 0:
        return ()
    going = {line.worker for line in beyond}
    unplaced = [
        worker for worker in _first_to_go(fleet.new) if (worker.no_room or worker.placing) and worker.id not in going
    ]
    text = "nobody needs it any more, and no place was found for it"
    excess = max(0, len(fleet.new) - len(going) - wanted)
    return tuple(Drain(worker=worker.id, reason=WorkerReason.SCALED_DOWN, text=text) for worker in unplaced[:excess])


def _drain_idle(snapshot: Snapshot, ready: Iterable[WorkerView], surplus: int) -> tuple[Drain, ...]:
    text = f"idle for more than {snapshot.idle_timeout_s} s, and not needed"
    ripe = [
        worker
        for worker in _first_to_go(ready)
        if (end_ms := _idle_end_ms(snapshot, worker)) is not None and end_ms <= snapshot.now_ms
    ]
    return tuple(Drain(worker=worker.id, reason=WorkerReason.SCALED_DOWN, text=text) for worker in ripe[:surplus])


def _idle_end_ms(snapshot: Snapshot, worker: WorkerView) -> int | None:
    """When its idle timeout ends; None while it holds a job."""
    if worker.held > 0 or worker.idle_ms is None:
        return None
    return worker.idle_ms + snapshot.idle_timeout_s * 1000


def _first_to_go(workers: Iterable[WorkerView]) -> list[WorkerView]:
    """Those that are not ready yet, then the youngest: the oldest are warm and have proven themselves."""
    return sorted(workers, key=lambda worker: (_ready(worker), -worker.decided_ms, worker.id))


# ── why jobs wait ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _why_no_more(snapshot: Snapshot, fleet: _Fleet, asked: int) -> _Why:
    """The reason shown on queued jobs while there are as many workers as there should be."""
    if snapshot.queued + snapshot.queued_low == 0:
        return Reason.NOTHING_TO_DO, f"no job waits, {_jobs(snapshot.running)} running"
    if any(_ready(worker) and _free_slots(snapshot, worker) for worker in fleet.serving):
        return Reason.WORKER_FREE, "a worker has a free slot and gets the job with its next take"
    if fleet.starting:
        return _starting(snapshot, fleet.starting)
    ailing = [worker.ailing for worker in fleet.serving if worker.ailing]
    if ailing:
        return Reason.HEALTH_FAILING, f"{_workers(len(ailing))} without a good health check: {ailing[0]}"
    if snapshot.queued == 0:
        return Reason.LOW_PRIORITY, "jobs of low priority start no worker; they run when one is free of other jobs"
    busy = f"{_workers(len(fleet.serving))} busy"
    if asked > snapshot.max_workers:
        return Reason.AT_MAX_WORKERS, f"{busy}, and the endpoint may have at most {snapshot.max_workers}"
    if _delay_left_ms(snapshot) > 0:
        return Reason.DELAY_ALLOWED, f"{busy}; a job may wait {snapshot.policy.value} s before another worker starts"
    return Reason.WORKERS_BUSY, f"{busy}; the policy asks for no more with {_jobs(snapshot.queued)} waiting"


# ── small words ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _started(worker: WorkerView) -> bool:
    """Whether its cold start is over; it may be ailing."""
    return worker.state is WorkerState.READY


def _ready(worker: WorkerView) -> bool:
    """Whether it takes jobs now."""
    return _started(worker) and not worker.ailing


def _serves(worker: WorkerView) -> bool:
    return worker.state in (WorkerState.DECIDED, WorkerState.STARTING, WorkerState.READY)


def _free_slots(snapshot: Snapshot, worker: WorkerView) -> int:
    return max(0, snapshot.slots - worker.held)


def _first_after_now(snapshot: Snapshot, *moments_ms: int | None) -> int | None:
    return min((at_ms for at_ms in moments_ms if at_ms is not None and at_ms > snapshot.now_ms), default=None)


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count or 'no'} workers"


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count or 'no'} jobs"
