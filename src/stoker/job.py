"""The life of a job: its states, the events that move it, and the one function that decides.

A job is queued, then running on one worker, then over. In between it may be *ahead*: its worker has it already, behind
the jobs that it runs, and it waits there for its turn; to everybody outside it is queued. `advance(job, event)` is the only authority on that: it takes a
record and an event and answers with the next record and the effects to carry out. It reads no clock and does no I/O;
stores call it on rows they have read inside their transaction (D3).

What must stay true:

- A final state never changes, except by a client's retry of a FAILED or TIMED_OUT job.
- An attempt belongs to one worker. What another worker reports about the job is late: acknowledged and ignored.
- A handler's own error is final. Only the platform's failures (a worker lost, a delivery not confirmed) are retried,
  at most `retry_limit` times.
- A job that was delivered ahead has used up nothing: taken back, it waits where it waited before.
- Every state has a reason, so that each wait, refusal and failure can be told in words.

Cancelling ends a running job at once for its client; the slot on the worker is free only when the worker lets go, which
is what the `StopOnWorker` effect is about. Nobody is told to stop a job that is ahead: workers ignore the names of jobs that
they have not begun, so its worker may run it all the same when its turn comes, and report in vain. See protocol notes in `docs/reference/job-states.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from stoker.errors import IllegalTransition
from stoker.ids import EndpointId, JobId, KeyId, TeamId, WorkerId

ATTEMPTS_MAX: Final = 100
"""No job is handed out more often than this, whatever the reasons: every repetition is bounded."""


class JobState(StrEnum):
    """Where a job is. Four of them are final."""

    QUEUED = "queued"
    AHEAD = "ahead"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"

    final: bool
    """Whether nothing but a client's retry can follow."""
    held: bool
    """Whether a worker has it."""
    word: str
    """As it is stored. `value` is the same, but computed each time that it is asked for."""
    shown: JobState
    """The state that is told outside: where a job waits is our matter."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.held = word in ("ahead", "running")
        self.final = word != "queued" and not self.held
        self.shown = self


JobState.AHEAD.shown = JobState.QUEUED

QUEUED, AHEAD, RUNNING, COMPLETED, FAILED, CANCELLED, TIMED_OUT = JobState
"""The states by themselves, for who handles every job: to look one up in its class costs as much as a call (until Python 3.12)."""

SHOWN: Final = tuple(state for state in JobState if state.shown is state)
"""The states that exist outside."""


class JobReason(StrEnum):
    """Why the job is in its state. Why a *queued* job still waits is the endpoint's matter: see `scaling.Reason`."""

    SUBMITTED = "submitted"
    RETRIED_BY_CLIENT = "retried_by_client"
    DELIVERED_AHEAD = "delivered_ahead"
    TAKEN_BACK = "taken_back"
    CLAIMED = "claimed"
    CONFIRMED = "confirmed"
    WORKER_LOST = "worker_lost"
    WORKER_SILENT = "worker_silent"
    WORKER_STOPPED = "worker_stopped"
    DELIVERY_UNCONFIRMED = "delivery_unconfirmed"
    DELIVERY_FAILED = "delivery_failed"
    RESULT_MISSING = "result_missing"
    RETRIES_EXHAUSTED = "retries_exhausted"
    HANDLER_RETURNED = "handler_returned"
    HANDLER_ERROR = "handler_error"
    OUTPUT_TOO_LARGE = "output_too_large"
    CANCELLED_BY_CLIENT = "cancelled_by_client"
    PURGED = "purged"
    TTL_PASSED = "ttl_passed"
    EXECUTION_LIMIT = "execution_limit"

    word: str
    """As it is stored: see `JobState.word`."""

    def __init__(self, word: str) -> None:
        self.word = word


UNCOUNTED_LOSSES: Final = frozenset({JobReason.WORKER_STOPPED, JobReason.DELIVERY_FAILED})
"""Losses that do not use up a retry: the handler never saw the job, or we took its worker away ourselves."""


class Job(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One job as it stands. Bodies (input, output, error text) are kept apart from it."""

    id: JobId
    team: TeamId
    endpoint: EndpointId
    state: JobState = QUEUED
    reason: JobReason = JobReason.SUBMITTED
    low_priority: bool = False
    created_ms: int
    """When it was accepted."""
    queued_ms: int
    """When the present (or latest) wait began."""
    expires_ms: int
    """End of its time to live: queue time and running time together."""
    execution_limit_ms: int
    """How long one attempt may run."""
    retention_ms: int
    """How long the result is kept after the end."""
    retry_limit: int
    """How many losses are followed by another attempt."""
    attempt: int = 0
    """How often it was handed out."""
    losses: int = 0
    """How often the platform lost it and that counted as a retry."""
    worker: WorkerId | None = None
    """Who runs it, or ran it last."""
    claimed_ms: int | None = None
    """When the latest attempt began, or when it was delivered ahead; None while it waits in the queue."""
    confirmed_ms: int | None = None
    """When the worker first showed that it has the latest attempt."""
    lease_until_ms: int | None = None
    """Until when the worker holds it without a sign; None while the worker is not known to send heartbeats."""
    finished_ms: int | None = None
    receiver: str | None = None
    """Who is told of its end: the host of its webhook. None when nobody is."""
    key: KeyId | None = None
    """The API key that submitted it; None for jobs of an earlier version."""

    @property
    def attempts_most(self) -> int:
        """How many attempts it comes to at most, as far as is known: each loss that does not count leaves room for one more."""
        begun = self.attempt + (self.state in (QUEUED, AHEAD))
        return min(ATTEMPTS_MAX, begun + self.retry_limit - self.losses)

    @property
    def purge_ms(self) -> int | None:
        """When a finished job is forgotten."""
        return None if self.finished_ms is None else self.finished_ms + self.retention_ms

    @property
    def deadline_ms(self) -> int | None:
        """The next moment at which time alone changes this job; None when it is over."""
        if self.state.final:
            return None
        first_ms = self.expires_ms if self.state is not RUNNING else min(self.expires_ms, _execution_end_ms(self))
        return first_ms if self.lease_until_ms is None else min(first_ms, self.lease_until_ms)

    @property
    def delay_ms(self) -> int | None:
        """How long it waited before the latest attempt; None before the first."""
        if self.claimed_ms is None or self.state is AHEAD:
            return None
        return max(0, self.claimed_ms - self.queued_ms)

    @property
    def execution_ms(self) -> int | None:
        """How long the latest attempt held it; None until it ended on a worker."""
        if self.claimed_ms is None or self.finished_ms is None:
            return None
        return max(0, self.finished_ms - self.claimed_ms)


# ── events ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Claimed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A worker's take was answered with this job."""

    at_ms: int
    worker: WorkerId
    lease_until_ms: int | None


class DeliveredAhead(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A worker's take was answered with this job behind those that it runs."""

    at_ms: int
    worker: WorkerId
    lease_until_ms: int | None


class TurnCame(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The worker that has it ahead is done with what was before it."""

    at_ms: int


class Confirmed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The worker showed that it has the job: a ping that lists it, progress, or a part of its stream."""

    at_ms: int
    worker: WorkerId
    lease_until_ms: int | None


class Finished(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The worker posted the final result; `failed` when it carries an error."""

    at_ms: int
    worker: WorkerId
    failed: bool


class OutputRefused(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The worker posted a result that is over the output limit. It will not report again (protocol §7.1)."""

    at_ms: int
    worker: WorkerId


class AttemptLost(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The platform lost the attempt: the worker died, fell silent, was stopped, or never got the job."""

    at_ms: int
    worker: WorkerId
    reason: JobReason
    text: str = ""
    """How it was lost, in words: the ledger keeps it, and a job that is lost once too often tells it."""


class Cancelled(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The client cancelled it."""

    at_ms: int


class Purged(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The client emptied the queue."""

    at_ms: int


class Retried(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The client asked to run a failed or timed-out job again."""

    at_ms: int
    expires_ms: int


class TimePassed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Nothing happened but time. Due deadlines take effect, the earliest meaning first: ttl, limit, lease."""

    at_ms: int


JobEvent = (
    Claimed
    | DeliveredAhead
    | TurnCame
    | Confirmed
    | Finished
    | OutputRefused
    | AttemptLost
    | Cancelled
    | Purged
    | Retried
    | TimePassed
)


# ── effects ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class StopOnWorker(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Tell the worker to stop the job. Must not be lost: a row in the same transaction."""

    worker: WorkerId


class FreeSlot(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The worker runs one job less. Part of the same transaction: the first job that it has ahead gets its turn, or it is
    idle from then on."""

    worker: WorkerId


class FreePlace(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The worker has one job less ahead. Part of the same transaction: if that was all it had, it is idle from then on."""

    worker: WorkerId


class DropUnreadStream(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Forget stream parts that nobody read: the next attempt sends them again."""


class TellEnd(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Tell the job's webhook that it ended. Must not be lost: a row in the same transaction."""


class KeepEnd(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Keep what the end was that its webhook is, or was, told of: the next attempt replaces it."""


JobEffect = StopOnWorker | FreeSlot | FreePlace | DropUnreadStream | TellEnd | KeepEnd


class JobStep(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What an event did. `changed` is false for late and repeated reports; then `job` is the record as it was."""

    job: Job
    changed: bool
    effects: tuple[JobEffect, ...] = ()
    told: str = ""
    """What happened, in the ledger's word; empty for what it does not tell: a sign of life."""


# ── the machine ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _unchanged(job: Job, _event: JobEvent) -> JobStep:
    return JobStep(job=job, changed=False)


def _moved(job: Job, told: str, *effects: JobEffect) -> JobStep:
    return JobStep(job=job, changed=True, effects=effects, told=told)


def _end(job: Job, state: JobState, reason: JobReason, at_ms: int, *effects: JobEffect, told: str = "") -> JobStep:
    """It is over. That is told with the word of its state, unless with another."""
    ended = replace(job, state=state, reason=reason, finished_ms=at_ms, lease_until_ms=None)
    if job.receiver is not None:
        effects += (TellEnd(),)
    return JobStep(job=ended, changed=True, effects=effects, told=told or state.word)


def _place_freed(job: Job) -> tuple[JobEffect, ...]:
    return () if job.worker is None else (FreePlace(worker=job.worker),)


def _stopped(job: Job) -> tuple[JobEffect, ...]:
    return () if job.worker is None else (StopOnWorker(worker=job.worker),)


def _execution_end_ms(job: Job) -> int:
    return (job.claimed_ms or 0) + job.execution_limit_ms


def _claim(job: Job, event: Claimed) -> JobStep:
    if job.expires_ms <= event.at_ms:
        return _end(job, TIMED_OUT, JobReason.TTL_PASSED, event.at_ms)
    claimed = replace(
        job,
        state=RUNNING,
        reason=JobReason.CLAIMED,
        attempt=job.attempt + 1,
        worker=event.worker,
        claimed_ms=event.at_ms,
        confirmed_ms=None,
        lease_until_ms=event.lease_until_ms,
    )
    return _moved(claimed, "claimed")


def _deliver_ahead(job: Job, event: DeliveredAhead) -> JobStep:
    if job.expires_ms <= event.at_ms:
        return _end(job, TIMED_OUT, JobReason.TTL_PASSED, event.at_ms)
    delivered = replace(
        job,
        state=AHEAD,
        reason=JobReason.DELIVERED_AHEAD,
        worker=event.worker,
        claimed_ms=event.at_ms,
        confirmed_ms=None,
        lease_until_ms=event.lease_until_ms,
    )
    return _moved(delivered, "delivered_ahead")


def _begin(job: Job, at_ms: int) -> Job:
    """Its turn came: this is the attempt, and it begins now. Lease and confirmation are those of the delivery."""
    return replace(job, state=RUNNING, reason=JobReason.CLAIMED, attempt=job.attempt + 1, claimed_ms=at_ms)


def _come_to_turn(job: Job, event: TurnCame) -> JobStep:
    """Its worker must still be believed to have it: otherwise it is taken back, which costs no attempt. It frees nothing
    then: whoever asked goes on with the next."""
    lapsed = _expire_ahead(job, event)
    if not lapsed.changed:
        return _moved(_begin(job, event.at_ms), "claimed")
    return replace(lapsed, effects=tuple(effect for effect in lapsed.effects if not isinstance(effect, FreePlace)))


def _confirm(job: Job, event: Confirmed) -> JobStep:
    if event.worker != job.worker:
        return _unchanged(job, event)
    told = job.state is RUNNING and job.confirmed_ms is None  # while it is ahead nobody asks whether it was confirmed
    confirmed = replace(
        job,
        reason=JobReason.CONFIRMED if job.state is RUNNING else job.reason,
        confirmed_ms=job.confirmed_ms if job.confirmed_ms is not None else event.at_ms,
        lease_until_ms=event.lease_until_ms if event.lease_until_ms is not None else job.lease_until_ms,
    )
    return JobStep(job=confirmed, changed=confirmed != job, told="confirmed" if told else "")


def _finish(job: Job, event: Finished) -> JobStep:
    if event.worker != job.worker:
        return _unchanged(job, event)
    freed = FreeSlot(worker=event.worker)
    if event.failed:
        return _end(job, FAILED, JobReason.HANDLER_ERROR, event.at_ms, freed, told="finished")
    return _end(job, COMPLETED, JobReason.HANDLER_RETURNED, event.at_ms, freed, told="finished")


def _finish_ahead(job: Job, event: Finished) -> JobStep:
    """Its turn came unseen: the result of the job before it got lost, or comes later."""
    if event.worker != job.worker:
        return _unchanged(job, event)
    return _finish(_begin(job, event.at_ms), event)


def _refuse_output_ahead(job: Job, event: OutputRefused) -> JobStep:
    if event.worker != job.worker:
        return _unchanged(job, event)
    return _refuse_output(_begin(job, event.at_ms), event)


def _refuse_output(job: Job, event: OutputRefused) -> JobStep:
    if event.worker != job.worker:
        return _unchanged(job, event)
    return _end(job, FAILED, JobReason.OUTPUT_TOO_LARGE, event.at_ms, FreeSlot(worker=event.worker), told="finished")


def _lose(job: Job, event: AttemptLost) -> JobStep:
    if event.worker != job.worker:
        return _unchanged(job, event)
    return _lost(job, event.at_ms, event.reason, FreeSlot(worker=event.worker))


def _lost(job: Job, at_ms: int, reason: JobReason, *effects: JobEffect) -> JobStep:
    """It waits again, or has been lost once too often."""
    counted = reason not in UNCOUNTED_LOSSES
    if (counted and job.losses >= job.retry_limit) or job.attempt >= ATTEMPTS_MAX:
        return _end(job, FAILED, JobReason.RETRIES_EXHAUSTED, at_ms, *effects)
    waiting = replace(
        job,
        state=QUEUED,
        reason=reason,
        losses=job.losses + (1 if counted else 0),
        queued_ms=at_ms,
        claimed_ms=None,
        confirmed_ms=None,
        lease_until_ms=None,
    )
    return _moved(waiting, "requeued", *effects, DropUnreadStream())


def _left(job: Job) -> Job:
    """The job without its worker: it was never begun there."""
    return replace(job, worker=None, claimed_ms=None, confirmed_ms=None, lease_until_ms=None)


def _take_back(job: Job, event: AttemptLost) -> JobStep:
    if event.worker != job.worker:
        return _unchanged(job, event)
    return _waits_again(job)


def _waits_again(job: Job) -> JobStep:
    """As if it had never been delivered: since when it waits, and what it used up, stay as they were."""
    return _moved(replace(_left(job), state=QUEUED, reason=JobReason.TAKEN_BACK), "taken_back", *_place_freed(job))


def _cancel_ahead(job: Job, event: Cancelled) -> JobStep:
    return _end(_left(job), CANCELLED, JobReason.CANCELLED_BY_CLIENT, event.at_ms, *_place_freed(job))


def _purge_ahead(job: Job, event: Purged) -> JobStep:
    return _end(_left(job), CANCELLED, JobReason.PURGED, event.at_ms, *_place_freed(job))


def _expire_ahead(job: Job, event: TimePassed | TurnCame) -> JobStep:
    if event.at_ms >= job.expires_ms:
        return _end(_left(job), TIMED_OUT, JobReason.TTL_PASSED, event.at_ms, *_place_freed(job))
    if job.lease_until_ms is not None and event.at_ms >= job.lease_until_ms:
        return _waits_again(job)
    return _unchanged(job, event)


def _cancel_queued(job: Job, event: Cancelled) -> JobStep:
    return _end(job, CANCELLED, JobReason.CANCELLED_BY_CLIENT, event.at_ms)


def _cancel_running(job: Job, event: Cancelled) -> JobStep:
    return _end(job, CANCELLED, JobReason.CANCELLED_BY_CLIENT, event.at_ms, *_stopped(job))


def _purge(job: Job, event: Purged) -> JobStep:
    return _end(job, CANCELLED, JobReason.PURGED, event.at_ms)


def _retry(job: Job, event: Retried) -> JobStep:
    waiting = replace(
        job,
        state=QUEUED,
        reason=JobReason.RETRIED_BY_CLIENT,
        queued_ms=event.at_ms,
        expires_ms=event.expires_ms,
        attempt=0,
        losses=0,
        worker=None,
        claimed_ms=None,
        confirmed_ms=None,
        finished_ms=None,
    )
    kept = () if job.receiver is None else (KeepEnd(),)
    return _moved(waiting, "retried", DropUnreadStream(), *kept)


def _expire_queued(job: Job, event: TimePassed) -> JobStep:
    if event.at_ms < job.expires_ms:
        return _unchanged(job, event)
    return _end(job, TIMED_OUT, JobReason.TTL_PASSED, event.at_ms)


def _expire_running(job: Job, event: TimePassed) -> JobStep:
    if event.at_ms >= job.expires_ms:
        return _end(job, TIMED_OUT, JobReason.TTL_PASSED, event.at_ms, *_stopped(job))
    if event.at_ms >= _execution_end_ms(job):
        return _end(job, TIMED_OUT, JobReason.EXECUTION_LIMIT, event.at_ms, *_stopped(job))
    if job.lease_until_ms is None or job.worker is None or event.at_ms < job.lease_until_ms:
        return _unchanged(job, event)
    reason = JobReason.DELIVERY_UNCONFIRMED if job.confirmed_ms is None else JobReason.WORKER_SILENT
    return _lost(job, event.at_ms, reason, *_stopped(job))  # it may run there all the same: no slot is free for it yet


_Rule = Callable[[Job, Any], JobStep]
"""Of the event that it stands for in `TABLE`."""

_ENDED: Final[dict[type, _Rule]] = dict.fromkeys(
    (Confirmed, Finished, OutputRefused, AttemptLost, Cancelled, Purged, TimePassed), _unchanged
)
"""A finished job acknowledges every report and every wish, and changes for none of them."""

TABLE: Final[dict[JobState, dict[type, _Rule]]] = {
    QUEUED: {
        Claimed: _claim,
        DeliveredAhead: _deliver_ahead,
        Confirmed: _unchanged,
        Finished: _unchanged,
        OutputRefused: _unchanged,
        AttemptLost: _unchanged,
        Cancelled: _cancel_queued,
        Purged: _purge,
        TimePassed: _expire_queued,
    },
    AHEAD: {
        TurnCame: _come_to_turn,
        Confirmed: _confirm,
        Finished: _finish_ahead,
        OutputRefused: _refuse_output_ahead,
        AttemptLost: _take_back,
        Cancelled: _cancel_ahead,
        Purged: _purge_ahead,
        TimePassed: _expire_ahead,
    },
    RUNNING: {
        Confirmed: _confirm,
        Finished: _finish,
        OutputRefused: _refuse_output,
        AttemptLost: _lose,
        Cancelled: _cancel_running,
        Purged: _unchanged,
        TimePassed: _expire_running,
    },
    COMPLETED: _ENDED,
    FAILED: _ENDED | {Retried: _retry},
    CANCELLED: _ENDED,
    TIMED_OUT: _ENDED | {Retried: _retry},
}
"""Which event means what in which state. An event that is missing from a row is illegal there."""


def advance(job: Job, event: JobEvent) -> JobStep:
    """The next record and the effects of `event`.

    Late and repeated reports come back unchanged. Raises `IllegalTransition` for an event that the state does not know;
    nothing has changed then.
    """
    rule = TABLE[job.state].get(type(event))
    if rule is None:
        raise IllegalTransition(f"job {job.id} is {job.state} ({job.reason}): {type(event).__name__} cannot happen now")
    return rule(job, event)
