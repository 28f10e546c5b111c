"""The life of a worker: its states, the events that move it, and the one function that decides.

What a worker *says* (its takes, pings, an unhealthy report) and what the runtime *sees* (exited, vanished) are different
events, so that "crashed while loading", "fell silent" and "we stopped it" stay three stories.

    decided ── Launched ──> starting ── Took ──> ready ── Drained ──> draining ── Emptied ──> stopping ── Exited ──> gone

`advance(worker, event)` decides; it reads no clock and does no I/O. Idle and busy are not states: they are leases counted.
A worker that is stopping or gone is never given a job; jobs that it still held are lost attempts (effect `LoseJobs`).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final

import msgspec
from msgspec.structs import replace

from stoker import metering
from stoker.errors import IllegalTransition
from stoker.ids import EndpointId, ReleaseId, TeamId, WorkerId
from stoker.job import JobReason
from stoker.metering import Meter
from stoker.specification import Place

SIGN_OF_LIFE_EVERY_MS: Final = 1_000
"""Takes that follow each other faster than this are not written down one by one."""


class WorkerState(StrEnum):
    """Where a worker is."""

    DECIDED = "decided"
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"
    GONE = "gone"


DECIDED, STARTING, READY, DRAINING, STOPPING, GONE = WorkerState
"""The states by themselves: see those of a job."""


class WorkerReason(StrEnum):
    """Why the worker is in its state."""

    SCALED_UP = "scaled_up"
    IMAGE_PULLING = "image_pulling"
    PLACING = "placing"
    NO_ROOM_YET = "no_room_yet"
    LAUNCHED = "launched"
    FIRST_TAKE = "first_take"
    SCALED_DOWN = "scaled_down"
    NEW_RELEASE = "new_release"
    ENDPOINT_DELETED = "endpoint_deleted"
    ENDPOINT_PAUSED = "endpoint_paused"
    BUDGET_SPENT = "budget_spent"
    STOPPED_BY_USER = "stopped_by_user"
    SERVER_STOPPING = "server_stopping"
    PREEMPTED = "preempted"
    GAVE_WAY = "gave_way"
    TRIED_ELSEWHERE = "tried_elsewhere"
    REFRESH_ASKED = "refresh_asked"
    FAILS_EVERY_JOB = "fails_every_job"
    JOB_NOT_STOPPED = "job_not_stopped"
    UNHEALTHY = "unhealthy"
    HEALTH_FAILING = "health_failing"
    HEALTH_PASSED = "health_passed"
    SILENT = "silent"
    START_TIMEOUT = "start_timeout"
    LAUNCH_FAILED = "launch_failed"
    CRASHED_WHILE_STARTING = "crashed_while_starting"
    EXITED = "exited"
    VANISHED = "vanished"


START_FAILURES: Final = (
    WorkerReason.LAUNCH_FAILED,
    WorkerReason.CRASHED_WHILE_STARTING,
    WorkerReason.START_TIMEOUT,
    WorkerReason.UNHEALTHY,
    WorkerReason.VANISHED,
)
"""Ends before the first take that speak against the release. Those that we wanted do not."""
WAITS_FOR: Final = (WorkerReason.IMAGE_PULLING, WorkerReason.PLACING, WorkerReason.NO_ROOM_YET)
"""What a worker may wait for before it starts."""
CRASHES: Final = (WorkerReason.CRASHED_WHILE_STARTING, WorkerReason.START_TIMEOUT, WorkerReason.UNHEALTHY)
"""Those of them that the machine has no part in: the worker began, and did not get far."""


class Exit(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How a worker's process ended. `code` as a shell shows it (137 is SIGKILL); None when nobody could see it."""

    code: int | None
    text: str


class Worker(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One worker as it stands."""

    id: WorkerId
    team: TeamId
    endpoint: EndpointId
    release: ReleaseId
    state: WorkerState = DECIDED
    reason: WorkerReason = WorkerReason.SCALED_UP
    detail: str = ""
    """The reason in words: exit text, name of a failed check, why it was launched."""
    token_hash: str
    gpus: tuple[str, ...] = ()
    """Devices reserved for it, from the decision to launch until it is gone."""
    specification: str = ""
    """Id of the kind of place it has; empty for workers of servers that knew none."""
    memory_bytes: int = 0
    """Memory of the host that is reserved for it; 0 for none."""
    price_per_hour_micros: int = 0
    """What an hour of it costs, in millionths of the operator's currency: the price of its place when it was decided, which no
    later change of the settings touches."""
    wanted_ms: int | None = None
    """Since when the oldest job waited that it was decided for; None when none did."""
    decided_ms: int
    launched_ms: int | None = None
    ready_ms: int | None = None
    """Its first take: the end of the cold start."""
    idle_ms: int | None = None
    """Since when it holds no job, if it holds none."""
    drained_ms: int | None = None
    stopped_ms: int | None = None
    gone_ms: int | None = None
    seen_ms: int | None = None
    """Its last take, poll, ping or report."""
    pinged_ms: int | None = None
    """Its last ping; None for a worker that never pinged, whose silence therefore says nothing."""
    sdk: str = ""
    """Version of the SDK it named in its pings or its User-Agent, such as `1.12.0`."""
    exit: Exit | None = None
    unhealthy_ms: int | None = None
    """Since when it gets no jobs because of its health check: from the beginning until it has passed it, and whenever it fails.
    None when it is healthy, or has no check."""
    meter: Meter | None = None
    """Its time that is not in the ledger of usage yet; None before its first take."""

    @property
    def alive(self) -> bool:
        """Whether it is, or may be, using the machine."""
        return self.state is not GONE

    @property
    def place(self) -> Place:
        """What is reserved for it."""
        return Place(specification=self.specification, gpus=self.gpus, memory_bytes=self.memory_bytes)

    @property
    def takes_jobs(self) -> bool:
        """Whether a job may be given to it."""
        return self.state is READY and self.unhealthy_ms is None

    @property
    def counted_until_ms(self) -> int | None:
        """When its time ceased to count; None while it goes on."""
        return self.gone_ms if self.stopped_ms is None else self.stopped_ms

    @property
    def unmetered(self) -> bool:
        """Whether there is, or may come to be, time of it that is not in the ledger of usage."""
        until_ms = self.counted_until_ms
        return self.meter is not None and (until_ms is None or self.meter.upto_ms < until_ms)

    @property
    def never_ready(self) -> bool:
        """Whether it ended, or stands, before its first take."""
        return self.ready_ms is None


# ── events ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Waits(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """It cannot start yet; `text` says why, or how far its image is."""

    at_ms: int
    text: str
    reason: WorkerReason = WorkerReason.IMAGE_PULLING


class Launched(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The runtime accepted the launch. `stages` of it that are over, by name, with the moments of their ends."""

    at_ms: int
    stages: tuple[tuple[str, int], ...] = ()


class LaunchFailed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The runtime refused the launch; nothing runs. One that speaks all the same is there: then the refusal was wrong."""

    at_ms: int
    text: str


class Took(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """It asked for work. The first time is the end of its cold start."""

    at_ms: int
    sdk: str = ""


class Pinged(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """It sent a ping."""

    at_ms: int
    sdk: str = ""


class ReportedUnhealthy(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Its own fitness check failed; it is about to exit (protocol §15)."""

    at_ms: int
    text: str


class HealthFailed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Its health check got no good answer; `text` says what it got."""

    at_ms: int
    text: str


class HealthPassed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """It passed its health check."""

    at_ms: int


class Drained(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Somebody wants it gone once it has finished what it holds."""

    at_ms: int
    reason: WorkerReason
    detail: str = ""


class Emptied(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """It is draining and holds no job any more."""

    at_ms: int


class Stopped(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """It has to go now, whatever it holds."""

    at_ms: int
    reason: WorkerReason
    detail: str = ""


class Exited(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The runtime saw it end."""

    at_ms: int
    exit: Exit


class Vanished(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The runtime answers, and knows nothing of it."""

    at_ms: int


WorkerEvent = (
    Waits
    | Launched
    | LaunchFailed
    | Took
    | Pinged
    | ReportedUnhealthy
    | HealthFailed
    | HealthPassed
    | Drained
    | Emptied
    | Stopped
    | Exited
    | Vanished
)


# ── effects ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class LoseJobs(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Every job it holds is a lost attempt. In the same transaction."""

    reason: JobReason
    text: str = ""
    """What became of the worker, in words."""


class TakeBack(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Jobs that it has ahead wait in the queue again: none of them begins here any more. In the same transaction."""


class StopInRuntime(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Tell the runtime to stop it. Kept by the state: while it is STOPPING the runtime is told again."""


WorkerEffect = LoseJobs | TakeBack | StopInRuntime


class WorkerStep(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What an event did. `changed` is false when the record is as it was."""

    worker: Worker
    changed: bool
    effects: tuple[WorkerEffect, ...] = ()


# ── the machine ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _unchanged(worker: Worker, _event: WorkerEvent) -> WorkerStep:
    return WorkerStep(worker=worker, changed=False)


def _waits(worker: Worker, event: WorkerEvent) -> WorkerStep:
    assert isinstance(event, Waits)
    moved = replace(worker, reason=event.reason, detail=event.text)
    return WorkerStep(worker=moved, changed=moved != worker)


def _launched(worker: Worker, event: WorkerEvent) -> WorkerStep:
    detail = "" if worker.reason in WAITS_FOR else worker.detail
    moved = replace(worker, state=STARTING, reason=WorkerReason.LAUNCHED, detail=detail, launched_ms=event.at_ms)
    return WorkerStep(worker=moved, changed=True)


def _launch_failed(worker: Worker, event: WorkerEvent) -> WorkerStep:
    assert isinstance(event, LaunchFailed)
    return _gone(worker, event.at_ms, WorkerReason.LAUNCH_FAILED, event.text, None)


def _first_take(worker: Worker, event: WorkerEvent) -> WorkerStep:
    """The end of the cold start, unless it has a health check to pass first."""
    assert isinstance(event, Took)
    if worker.unhealthy_ms is not None:
        return _took(worker, event)
    ready = replace(
        worker,
        state=READY,
        reason=WorkerReason.FIRST_TAKE,
        launched_ms=worker.launched_ms if worker.launched_ms is not None else event.at_ms,
        ready_ms=event.at_ms,
        idle_ms=event.at_ms,
        seen_ms=event.at_ms,
        sdk=event.sdk or worker.sdk,
        meter=Meter(event.at_ms),
    )
    return WorkerStep(worker=ready, changed=True)


def took_lately(worker: Worker, at_ms: int) -> bool:
    """Whether one more take of a worker that was ready before would change nothing."""
    return worker.seen_ms is not None and at_ms - worker.seen_ms < SIGN_OF_LIFE_EVERY_MS


def _took(worker: Worker, event: WorkerEvent) -> WorkerStep:
    assert isinstance(event, Took)
    if took_lately(worker, event.at_ms):
        return _unchanged(worker, event)
    seen = replace(worker, seen_ms=event.at_ms, sdk=event.sdk or worker.sdk)
    return WorkerStep(worker=seen, changed=True)


def _pinged(worker: Worker, event: WorkerEvent) -> WorkerStep:
    assert isinstance(event, Pinged)
    seen = replace(worker, seen_ms=event.at_ms, pinged_ms=event.at_ms, sdk=event.sdk or worker.sdk)
    return WorkerStep(worker=seen, changed=True)


def _unhealthy(worker: Worker, event: WorkerEvent) -> WorkerStep:
    assert isinstance(event, ReportedUnhealthy)
    return _stop(worker, event.at_ms, WorkerReason.UNHEALTHY, event.text, JobReason.WORKER_LOST)


def _health_failed(worker: Worker, event: WorkerEvent) -> WorkerStep:
    assert isinstance(event, HealthFailed)
    since_ms = event.at_ms if worker.unhealthy_ms is None else worker.unhealthy_ms
    ailing = replace(worker, unhealthy_ms=since_ms, reason=WorkerReason.HEALTH_FAILING, detail=event.text)
    return WorkerStep(worker=ailing, changed=ailing != worker)


def _health_passed(worker: Worker, event: WorkerEvent) -> WorkerStep:
    if worker.unhealthy_ms is None:
        return _unchanged(worker, event)
    well = replace(worker, unhealthy_ms=None, reason=WorkerReason.HEALTH_PASSED, detail="")
    return WorkerStep(worker=well, changed=True)


def _drain(worker: Worker, event: WorkerEvent) -> WorkerStep:
    assert isinstance(event, Drained)
    draining = replace(worker, state=DRAINING, reason=event.reason, detail=event.detail, drained_ms=event.at_ms)
    return WorkerStep(worker=draining, changed=True, effects=_kept_from(event.reason))


def _drain_again(worker: Worker, event: WorkerEvent) -> WorkerStep:
    """It goes anyway; for a budget that is used up it goes sooner."""
    assert isinstance(event, Drained)
    if event.reason is worker.reason or not _kept_from(event.reason):
        return _unchanged(worker, event)
    sooner = replace(worker, reason=event.reason, detail=event.detail)
    return WorkerStep(worker=sooner, changed=True, effects=_kept_from(event.reason))


def _kept_from(reason: WorkerReason) -> tuple[WorkerEffect, ...]:
    """Who is drained finishes what it holds, and what it has ahead too unless that would cost what must not be spent."""
    return (TakeBack(),) if reason is WorkerReason.BUDGET_SPENT else ()


def _drain_early(worker: Worker, event: WorkerEvent) -> WorkerStep:
    assert isinstance(event, Drained)
    return _stop(worker, event.at_ms, event.reason, event.detail, JobReason.WORKER_STOPPED)


def _emptied(worker: Worker, event: WorkerEvent) -> WorkerStep:
    return _stop(worker, event.at_ms, worker.reason, worker.detail, JobReason.WORKER_STOPPED)


def _stop_now(worker: Worker, event: WorkerEvent) -> WorkerStep:
    assert isinstance(event, Stopped)
    lost = JobReason.WORKER_SILENT if event.reason is WorkerReason.SILENT else JobReason.WORKER_STOPPED
    return _stop(worker, event.at_ms, event.reason, event.detail, lost)


def _stop(worker: Worker, at_ms: int, reason: WorkerReason, detail: str, lost: JobReason) -> WorkerStep:
    stopping = replace(worker, state=STOPPING, reason=reason, detail=detail, stopped_ms=at_ms)
    return WorkerStep(worker=stopping, changed=True, effects=(LoseJobs(reason=lost, text=detail), StopInRuntime()))


def _crashed_starting(worker: Worker, event: WorkerEvent) -> WorkerStep:
    assert isinstance(event, Exited)
    return _gone(worker, event.at_ms, WorkerReason.CRASHED_WHILE_STARTING, event.exit.text, event.exit)


def _exited(worker: Worker, event: WorkerEvent) -> WorkerStep:
    assert isinstance(event, Exited)
    return _gone(worker, event.at_ms, WorkerReason.EXITED, event.exit.text, event.exit)


def _exited_as_told(worker: Worker, event: WorkerEvent) -> WorkerStep:
    """It goes for the reason that it was told; what it still held was lost by how it went."""
    assert isinstance(event, Exited)
    step = _gone(worker, event.at_ms, worker.reason, worker.detail, event.exit)
    return replace(step, effects=(LoseJobs(reason=JobReason.WORKER_LOST, text=event.exit.text),))


def _vanished(worker: Worker, event: WorkerEvent) -> WorkerStep:
    return _gone(worker, event.at_ms, WorkerReason.VANISHED, "the runtime does not know it any more", None)


def _vanished_as_told(worker: Worker, event: WorkerEvent) -> WorkerStep:
    return _gone(worker, event.at_ms, worker.reason, worker.detail, None)


def _gone(worker: Worker, at_ms: int, reason: WorkerReason, detail: str, end: Exit | None) -> WorkerStep:
    rested = awake(worker, at_ms if worker.stopped_ms is None else min(at_ms, worker.stopped_ms))
    gone = replace(rested, state=GONE, reason=reason, detail=detail, exit=end, gone_ms=at_ms)
    return WorkerStep(worker=gone, changed=True, effects=(LoseJobs(reason=JobReason.WORKER_LOST, text=detail),))


_Rule = Callable[[Worker, WorkerEvent], WorkerStep]

TABLE: Final[dict[WorkerState, dict[type, _Rule]]] = {
    DECIDED: {
        Waits: _waits,
        Launched: _launched,
        LaunchFailed: _launch_failed,
        Took: _first_take,
        Pinged: _pinged,
        ReportedUnhealthy: _unhealthy,
        HealthFailed: _unchanged,
        HealthPassed: _unchanged,
        Drained: _drain_early,
        Stopped: _stop_now,
        Exited: _crashed_starting,
        Vanished: _vanished,
    },
    STARTING: {
        Waits: _unchanged,
        Launched: _unchanged,
        LaunchFailed: _unchanged,
        Took: _first_take,
        Pinged: _pinged,
        ReportedUnhealthy: _unhealthy,
        HealthFailed: _health_failed,
        HealthPassed: _health_passed,
        Drained: _drain_early,
        Stopped: _stop_now,
        Exited: _crashed_starting,
        Vanished: _vanished,
    },
    READY: {
        Waits: _unchanged,
        Launched: _unchanged,
        LaunchFailed: _unchanged,
        Took: _took,
        Pinged: _pinged,
        ReportedUnhealthy: _unhealthy,
        HealthFailed: _health_failed,
        HealthPassed: _health_passed,
        Drained: _drain,
        Stopped: _stop_now,
        Exited: _exited,
        Vanished: _vanished,
    },
    DRAINING: {
        Waits: _unchanged,
        Launched: _unchanged,
        LaunchFailed: _unchanged,
        Took: _took,
        Pinged: _pinged,
        ReportedUnhealthy: _unhealthy,
        HealthFailed: _unchanged,
        HealthPassed: _unchanged,
        Drained: _drain_again,
        Emptied: _emptied,
        Stopped: _stop_now,
        Exited: _exited_as_told,
        Vanished: _vanished_as_told,
    },
    STOPPING: {
        Waits: _unchanged,
        Launched: _unchanged,
        LaunchFailed: _launch_failed,
        Took: _took,
        Pinged: _pinged,
        ReportedUnhealthy: _unchanged,
        HealthFailed: _unchanged,
        HealthPassed: _unchanged,
        Drained: _unchanged,
        Emptied: _unchanged,
        Stopped: _unchanged,
        Exited: _exited_as_told,
        Vanished: _vanished_as_told,
    },
    GONE: dict.fromkeys(
        (
            Waits,
            Launched,
            LaunchFailed,
            Took,
            Pinged,
            ReportedUnhealthy,
            HealthFailed,
            HealthPassed,
            Drained,
            Emptied,
            Stopped,
            Exited,
            Vanished,
        ),
        _unchanged,
    ),
}
"""Which event means what in which state. An event that is missing from a row is illegal there."""


def advance(worker: Worker, event: WorkerEvent) -> WorkerStep:
    """The next record and the effects of `event`.

    Raises `IllegalTransition` for an event that the state does not know; nothing has changed then.
    """
    rule = TABLE[worker.state].get(type(event))
    if rule is None:
        raise IllegalTransition(
            f"worker {worker.id} is {worker.state} ({worker.reason}): {type(event).__name__} cannot happen now"
        )
    return rule(worker, event)


def awake(worker: Worker, at_ms: int) -> Worker:
    """The worker when it is idle no more."""
    if worker.idle_ms is None or worker.meter is None:
        return replace(worker, idle_ms=None)
    return replace(worker, idle_ms=None, meter=metering.rested(worker.meter, worker.idle_ms, at_ms))
