"""The life of a job: the whole table of states and events, the exact effects, and what holds for every history."""

from __future__ import annotations

from itertools import accumulate
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from stoker.errors import IllegalTransition
from stoker.ids import EndpointId, JobId, TeamId, WorkerId
from stoker.job import (
    ATTEMPTS_MAX,
    TABLE,
    UNCOUNTED_LOSSES,
    AttemptLost,
    Cancelled,
    Claimed,
    Confirmed,
    DeliveredAhead,
    DropUnreadStream,
    Finished,
    FreePlace,
    FreeSlot,
    Job,
    JobEffect,
    JobEvent,
    JobReason,
    JobState,
    JobStep,
    KeepEnd,
    OutputRefused,
    Purged,
    Retried,
    StopOnWorker,
    TellEnd,
    TimePassed,
    TurnCame,
    advance,
)

OURS, OTHER = WorkerId("ours"), WorkerId("other")
T0 = 1_000_000
LOSSES = (
    JobReason.WORKER_LOST,
    JobReason.WORKER_SILENT,
    JobReason.WORKER_STOPPED,
    JobReason.DELIVERY_UNCONFIRMED,
    JobReason.DELIVERY_FAILED,
    JobReason.RESULT_MISSING,
)
FREED, PLACE, STOPPED = FreeSlot(worker=OURS), FreePlace(worker=OURS), StopOnWorker(worker=OURS)
DROPPED = DropUnreadStream()


def queued_job(*, retry_limit: int = 1) -> Job:
    """A job that was submitted at T0: ten seconds to live, five for an attempt, kept for a minute."""
    return Job(
        id=JobId("job"),
        team=TeamId("team"),
        endpoint=EndpointId("endpoint"),
        created_ms=T0,
        queued_ms=T0,
        expires_ms=T0 + 10_000,
        execution_limit_ms=5_000,
        retention_ms=60_000,
        retry_limit=retry_limit,
    )


def after(job: Job, *events: JobEvent) -> Job:
    """The job when these events have happened to it."""
    for event in events:
        job = advance(job, event).job
    return job


def claimed(at_ms: int = T0, worker: WorkerId = OURS, lease_until_ms: int | None = None) -> Claimed:
    """A take by `worker`."""
    return Claimed(at_ms=at_ms, worker=worker, lease_until_ms=lease_until_ms)


def lost(reason: JobReason = JobReason.WORKER_LOST, at_ms: int = T0, worker: WorkerId = OURS) -> AttemptLost:
    """A loss of the attempt on `worker`."""
    return AttemptLost(at_ms=at_ms, worker=worker, reason=reason)


def finished(*, failed: bool = False, worker: WorkerId = OURS) -> Finished:
    """A final result of `worker`."""
    return Finished(at_ms=T0, worker=worker, failed=failed)


def running_job(*, retry_limit: int = 1, lease_until_ms: int | None = None) -> Job:
    """A job that `OURS` claimed at T0."""
    return after(queued_job(retry_limit=retry_limit), claimed(lease_until_ms=lease_until_ms))


JOBS = {
    JobState.QUEUED: queued_job(),
    JobState.AHEAD: after(queued_job(), DeliveredAhead(at_ms=T0, worker=OURS, lease_until_ms=None)),
    JobState.RUNNING: running_job(),
    JobState.COMPLETED: after(running_job(), finished()),
    JobState.FAILED: after(running_job(), finished(failed=True)),
    JobState.CANCELLED: after(running_job(), Cancelled(at_ms=T0)),
    JobState.TIMED_OUT: after(running_job(), TimePassed(at_ms=T0 + 5_000)),
}
"""One job in each state, brought there by events; `OURS` was the worker."""

# ── the table ─────────────────────────────────────────────────────────────────────────────────────────────────────────

TABLE_AS_STATED = """
                queued     ahead      running    completed  failed     cancelled  timed_out
Claimed         running    ILLEGAL    ILLEGAL    ILLEGAL    ILLEGAL    ILLEGAL    ILLEGAL
DeliveredAhead  ahead      ILLEGAL    ILLEGAL    ILLEGAL    ILLEGAL    ILLEGAL    ILLEGAL
TurnCame        ILLEGAL    running    ILLEGAL    ILLEGAL    ILLEGAL    ILLEGAL    ILLEGAL
Confirmed       same       kept       kept       same       same       same       same
Finished        same       completed  completed  same       same       same       same
FinishedFailed  same       failed     failed     same       same       same       same
OutputRefused   same       failed     failed     same       same       same       same
AttemptLost     same       queued     queued     same       same       same       same
Cancelled       cancelled  cancelled  cancelled  same       same       same       same
Purged          cancelled  cancelled  same       same       same       same       same
Retried         ILLEGAL    ILLEGAL    ILLEGAL    ILLEGAL    queued     ILLEGAL    queued
TimePassed      same       same       same       same       same       same       same
DeadlinePassed  timed_out  timed_out  timed_out  same       same       same       same
"""
"""What each event does in each state: the next state, `kept` (a change within it), `same` (no change), or ILLEGAL.

Reports come from the worker that has the job. Rows that are no class of events are special cases of one.
"""

EVENTS: dict[str, JobEvent] = {
    "Claimed": claimed(),
    "DeliveredAhead": DeliveredAhead(at_ms=T0, worker=OURS, lease_until_ms=None),
    "TurnCame": TurnCame(at_ms=T0),
    "Confirmed": Confirmed(at_ms=T0, worker=OURS, lease_until_ms=None),
    "Finished": finished(),
    "FinishedFailed": finished(failed=True),
    "OutputRefused": OutputRefused(at_ms=T0, worker=OURS),
    "AttemptLost": lost(),
    "Cancelled": Cancelled(at_ms=T0),
    "Purged": Purged(at_ms=T0),
    "Retried": Retried(at_ms=T0, expires_ms=T0 + 99_000),
    "TimePassed": TimePassed(at_ms=T0),
    "DeadlinePassed": TimePassed(at_ms=T0 + 10_000),
}

HEAD, *ROWS = [line.split() for line in TABLE_AS_STATED.strip().splitlines()]
CELLS = [(state, row[0], word) for row in ROWS for state, word in zip(HEAD, row[1:], strict=True)]


@pytest.mark.parametrize(("state", "name", "word"), CELLS)
def test_table(state: str, name: str, word: str) -> None:
    """Each event does in each state what the table above states."""
    job = JOBS[JobState(state)]
    if word == "ILLEGAL":
        with pytest.raises(IllegalTransition, match=f"job job is {state} .*: {name} cannot happen now"):
            advance(job, EVENTS[name])
    elif word == "same":
        assert advance(job, EVENTS[name]) == JobStep(job=job, changed=False)
    else:
        step = advance(job, EVENTS[name])
        assert (step.job.state, step.changed) == (state if word == "kept" else word, True)


def test_table_is_complete() -> None:
    """A new state or event must be stated in the table, and the code's table knows no others."""
    assert set(HEAD) == set(JOBS) == set(JobState) == set(TABLE)
    assert [row[0] for row in ROWS] == list(EVENTS)
    assert {type(event) for event in EVENTS.values()} == set(get_args(JobEvent))
    assert {event for row in TABLE.values() for event in row} == set(get_args(JobEvent))


def test_the_job_of_each_state_is_in_it() -> None:
    """The jobs that the table is tried on are in the states that it names."""
    assert {state: job.state for state, job in JOBS.items()} == {state: state for state in JobState}


@pytest.mark.parametrize("state", JobState)
@pytest.mark.parametrize(
    "event",
    [
        Confirmed(at_ms=T0, worker=OTHER, lease_until_ms=T0 + 30_000),
        finished(worker=OTHER),
        finished(worker=OTHER, failed=True),
        OutputRefused(at_ms=T0, worker=OTHER),
        lost(worker=OTHER),
    ],
    ids=lambda event: type(event).__name__,
)
def test_reports_of_another_worker_are_late(state: JobState, event: JobEvent) -> None:
    """Whatever a worker says about a job that is not, or no longer, its own is acknowledged and changes nothing."""
    assert advance(JOBS[state], event) == JobStep(job=JOBS[state], changed=False)


@pytest.mark.parametrize("event", [finished(), finished(failed=True), OutputRefused(at_ms=T0, worker=OURS)])
def test_a_repeated_result_is_acknowledged_again(event: JobEvent) -> None:
    """The same result twice ends the job once."""
    ended = after(JOBS[JobState.RUNNING], event)
    assert advance(ended, event) == JobStep(job=ended, changed=False)


# ── reasons and effects ───────────────────────────────────────────────────────────────────────────────────────────────

CHANGES: list[tuple[JobState, JobEvent, JobState, JobReason, tuple[JobEffect, ...]]] = [
    (JobState.QUEUED, claimed(), JobState.RUNNING, JobReason.CLAIMED, ()),
    (JobState.QUEUED, claimed(T0 + 10_000), JobState.TIMED_OUT, JobReason.TTL_PASSED, ()),
    (JobState.QUEUED, EVENTS["Cancelled"], JobState.CANCELLED, JobReason.CANCELLED_BY_CLIENT, ()),
    (JobState.QUEUED, EVENTS["Purged"], JobState.CANCELLED, JobReason.PURGED, ()),
    (JobState.QUEUED, TimePassed(at_ms=T0 + 10_000), JobState.TIMED_OUT, JobReason.TTL_PASSED, ()),
    (JobState.QUEUED, EVENTS["DeliveredAhead"], JobState.AHEAD, JobReason.DELIVERED_AHEAD, ()),
    (JobState.AHEAD, EVENTS["TurnCame"], JobState.RUNNING, JobReason.CLAIMED, ()),
    (JobState.AHEAD, finished(), JobState.COMPLETED, JobReason.HANDLER_RETURNED, (FREED,)),
    (JobState.AHEAD, EVENTS["OutputRefused"], JobState.FAILED, JobReason.OUTPUT_TOO_LARGE, (FREED,)),
    (JobState.AHEAD, EVENTS["Cancelled"], JobState.CANCELLED, JobReason.CANCELLED_BY_CLIENT, (PLACE,)),
    (JobState.AHEAD, EVENTS["Purged"], JobState.CANCELLED, JobReason.PURGED, (PLACE,)),
    (JobState.AHEAD, TimePassed(at_ms=T0 + 10_000), JobState.TIMED_OUT, JobReason.TTL_PASSED, (PLACE,)),
    *((JobState.AHEAD, lost(reason), JobState.QUEUED, JobReason.TAKEN_BACK, (PLACE,)) for reason in LOSSES),
    (JobState.RUNNING, EVENTS["Confirmed"], JobState.RUNNING, JobReason.CONFIRMED, ()),
    (JobState.RUNNING, finished(), JobState.COMPLETED, JobReason.HANDLER_RETURNED, (FREED,)),
    (JobState.RUNNING, finished(failed=True), JobState.FAILED, JobReason.HANDLER_ERROR, (FREED,)),
    (JobState.RUNNING, EVENTS["OutputRefused"], JobState.FAILED, JobReason.OUTPUT_TOO_LARGE, (FREED,)),
    (JobState.RUNNING, EVENTS["Cancelled"], JobState.CANCELLED, JobReason.CANCELLED_BY_CLIENT, (STOPPED,)),
    (JobState.RUNNING, TimePassed(at_ms=T0 + 5_000), JobState.TIMED_OUT, JobReason.EXECUTION_LIMIT, (STOPPED,)),
    (JobState.RUNNING, TimePassed(at_ms=T0 + 10_000), JobState.TIMED_OUT, JobReason.TTL_PASSED, (STOPPED,)),
    (JobState.FAILED, EVENTS["Retried"], JobState.QUEUED, JobReason.RETRIED_BY_CLIENT, (DROPPED,)),
    (JobState.TIMED_OUT, EVENTS["Retried"], JobState.QUEUED, JobReason.RETRIED_BY_CLIENT, (DROPPED,)),
    *((JobState.RUNNING, lost(reason), JobState.QUEUED, reason, (FREED, DROPPED)) for reason in LOSSES),
]


@pytest.mark.parametrize(("before", "event", "state", "reason", "effects"), CHANGES)
def test_reason_and_effects(
    before: JobState, event: JobEvent, state: JobState, reason: JobReason, effects: tuple[JobEffect, ...]
) -> None:
    """Each change gives its reason and exactly its effects: a slot is freed or a stop is told, never both."""
    step = advance(JOBS[before], event)
    assert (step.job.state, step.job.reason, step.effects) == (state, reason, effects)


@pytest.mark.parametrize(("before", "event", "state", "reason", "effects"), CHANGES)
def test_a_webhook_is_told_of_every_end(
    before: JobState, event: JobEvent, state: JobState, reason: JobReason, effects: tuple[JobEffect, ...]
) -> None:
    """A job with a webhook goes the same way; besides, its end is told, and kept when a retry is about to replace it."""
    step = advance(replace(JOBS[before], receiver="example.com:443"), event)
    told: tuple[JobEffect, ...] = (TellEnd(),) if state.final else ()
    kept: tuple[JobEffect, ...] = (KeepEnd(),) if isinstance(event, Retried) else ()
    assert (step.job.state, step.job.reason, step.effects) == (state, reason, (*effects, *told, *kept))


TOLD = [
    (JobState.QUEUED, EVENTS["Claimed"], "claimed"),
    (JobState.QUEUED, EVENTS["DeliveredAhead"], "delivered_ahead"),
    (JobState.QUEUED, claimed(T0 + 10_000), "timed_out"),
    (JobState.QUEUED, EVENTS["Purged"], "cancelled"),
    (JobState.AHEAD, EVENTS["TurnCame"], "claimed"),
    (JobState.AHEAD, TurnCame(at_ms=T0 + 10_000), "timed_out"),
    (JobState.AHEAD, Confirmed(at_ms=T0, worker=OURS, lease_until_ms=T0 + 1), ""),
    (JobState.AHEAD, EVENTS["AttemptLost"], "taken_back"),
    (JobState.AHEAD, EVENTS["Finished"], "finished"),
    (JobState.RUNNING, EVENTS["Confirmed"], "confirmed"),
    (JobState.RUNNING, EVENTS["Finished"], "finished"),
    (JobState.RUNNING, EVENTS["FinishedFailed"], "finished"),
    (JobState.RUNNING, EVENTS["OutputRefused"], "finished"),
    (JobState.RUNNING, EVENTS["AttemptLost"], "requeued"),
    (JobState.RUNNING, EVENTS["Cancelled"], "cancelled"),
    (JobState.RUNNING, EVENTS["DeadlinePassed"], "timed_out"),
    (JobState.FAILED, EVENTS["Retried"], "retried"),
]


@pytest.mark.parametrize(("before", "event", "told"), TOLD)
def test_each_change_is_told_in_a_word(before: JobState, event: JobEvent, told: str) -> None:
    """What happened has its word in the ledger; where there is none it is the state that it led to."""
    assert advance(JOBS[before], event).told == told


def test_only_the_first_sign_of_life_is_told() -> None:
    """The heartbeats that follow the confirmation change the job and tell nothing."""
    confirmed = after(running_job(), Confirmed(at_ms=T0, worker=OURS, lease_until_ms=T0 + 1))
    step = advance(confirmed, Confirmed(at_ms=T0, worker=OURS, lease_until_ms=T0 + 2))
    assert (step.changed, step.told) == (True, "")


def test_an_end_at_its_turn_is_told() -> None:
    """A job that expires when its turn comes frees nothing, and its webhook is told."""
    ahead = replace(JOBS[JobState.AHEAD], receiver="example.com:443")
    assert advance(ahead, TurnCame(at_ms=T0 + 10_000)).effects == (TellEnd(),)


def test_every_reason_is_reached() -> None:
    """Every reason but the first and the last is shown by a change above; those two have tests of their own."""
    assert {change[3] for change in CHANGES} == set(JobReason) - {JobReason.SUBMITTED, JobReason.RETRIES_EXHAUSTED}


# ── losses ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("reason", [reason for reason in LOSSES if reason not in UNCOUNTED_LOSSES])
@pytest.mark.parametrize("retry_limit", [0, 1, 3])
def test_a_counted_loss_uses_up_a_retry(reason: JobReason, retry_limit: int) -> None:
    """A job is tried once and then as often as its retry limit says; the loss after that fails it and frees the slot."""
    job = queued_job(retry_limit=retry_limit)
    for attempt in range(1, retry_limit + 1):
        job = after(job, claimed(), lost(reason))
        assert (job.state, job.reason, job.attempt, job.losses) == (JobState.QUEUED, reason, attempt, attempt)
        assert job.attempts_most == retry_limit + 1
    step = advance(after(job, claimed()), lost(reason))
    assert (step.job.state, step.job.reason) == (JobState.FAILED, JobReason.RETRIES_EXHAUSTED)
    assert (step.job.attempt, step.job.losses, step.effects) == (retry_limit + 1, retry_limit, (FREED,))
    assert step.job.attempts_most == retry_limit + 1


@pytest.mark.parametrize("reason", sorted(UNCOUNTED_LOSSES))
def test_an_uncounted_loss_uses_up_no_retry(reason: JobReason) -> None:
    """A loss that the handler had no part in does not count, but the number of attempts is bounded all the same."""
    job = queued_job(retry_limit=0)
    for attempt in range(1, ATTEMPTS_MAX):
        job = after(job, claimed(), lost(reason))
        assert (job.state, job.attempt, job.losses) == (JobState.QUEUED, attempt, 0)
        assert job.attempts_most == attempt + 1
    job = after(job, claimed(), lost(reason))
    assert (job.state, job.reason, job.attempt) == (JobState.FAILED, JobReason.RETRIES_EXHAUSTED, ATTEMPTS_MAX)


def test_a_loss_begins_a_new_wait() -> None:
    """A lost job waits from the moment of the loss, without a lease, and the next attempt must be confirmed anew."""
    running = after(
        running_job(lease_until_ms=T0 + 900), Confirmed(at_ms=T0 + 100, worker=OURS, lease_until_ms=T0 + 1_000)
    )
    job = after(running, lost(at_ms=T0 + 500))
    assert (job.queued_ms, job.lease_until_ms, job.confirmed_ms) == (T0 + 500, None, None)
    assert job.expires_ms == queued_job().expires_ms


# ── time ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("confirmed", [False, True])
def test_a_lapsed_lease_is_a_loss(confirmed: bool) -> None:
    """A lease that lapses sends the job back; the reason tells whether the worker ever showed that it had the job.

    The worker may still run it: it is told to stop, and its slot is not free before it has let go.
    """
    job = running_job(lease_until_ms=T0 + 1_000)
    if confirmed:
        job = after(job, Confirmed(at_ms=T0 + 100, worker=OURS, lease_until_ms=T0 + 1_000))
    assert not advance(job, TimePassed(at_ms=T0 + 999)).changed
    step = advance(job, TimePassed(at_ms=T0 + 1_000))
    reason = JobReason.WORKER_SILENT if confirmed else JobReason.DELIVERY_UNCONFIRMED
    assert (step.job.state, step.job.reason, step.job.losses) == (JobState.QUEUED, reason, 1)
    assert step.effects == (STOPPED, DROPPED)


def test_no_lease_lapses_without_heartbeats() -> None:
    """A worker that is not known to send heartbeats keeps the job until its execution limit."""
    job = running_job()
    assert job.deadline_ms == T0 + 5_000
    assert not advance(job, TimePassed(at_ms=T0 + 4_999)).changed


def test_the_end_of_life_comes_before_the_limit_and_the_lease() -> None:
    """When several deadlines have passed, the one that ends more takes effect: time to live, limit, lease."""
    job = running_job(lease_until_ms=T0 + 1_000)
    assert advance(job, TimePassed(at_ms=T0 + 10_000)).job.reason is JobReason.TTL_PASSED
    assert advance(job, TimePassed(at_ms=T0 + 9_999)).job.reason is JobReason.EXECUTION_LIMIT
    assert advance(job, TimePassed(at_ms=T0 + 4_999)).job.reason is JobReason.DELIVERY_UNCONFIRMED


def test_a_confirmation_renews_the_lease() -> None:
    """A heartbeat moves the lease; one without a lease leaves it, and the first moment of confirmation stays."""
    first = after(running_job(), Confirmed(at_ms=T0 + 100, worker=OURS, lease_until_ms=T0 + 900))
    second = after(first, Confirmed(at_ms=T0 + 200, worker=OURS, lease_until_ms=T0 + 1_000))
    third = advance(second, Confirmed(at_ms=T0 + 300, worker=OURS, lease_until_ms=None))
    assert (first.confirmed_ms, first.lease_until_ms) == (T0 + 100, T0 + 900)
    assert (second.confirmed_ms, second.lease_until_ms) == (T0 + 100, T0 + 1_000)
    assert third == JobStep(job=second, changed=False)


def test_deadlines() -> None:
    """The next moment at which time changes a job: queued, running, running on a lease, over."""
    assert queued_job().deadline_ms == T0 + 10_000
    assert running_job().deadline_ms == T0 + 5_000
    assert replace(running_job(), execution_limit_ms=20_000).deadline_ms == T0 + 10_000
    assert running_job(lease_until_ms=T0 + 1_000).deadline_ms == T0 + 1_000
    assert JOBS[JobState.COMPLETED].deadline_ms is None


def test_durations() -> None:
    """Delay runs from the wait's begin to the claim, execution from the claim to the end, and both exist only then."""
    job = queued_job()
    assert (job.delay_ms, job.execution_ms, job.purge_ms) == (None, None, None)
    job = after(job, claimed(T0 + 700))
    assert (job.delay_ms, job.execution_ms, job.purge_ms) == (700, None, None)
    job = after(job, Finished(at_ms=T0 + 1_000, worker=OURS, failed=False))
    assert (job.delay_ms, job.execution_ms, job.purge_ms) == (700, 300, T0 + 61_000)
    assert after(queued_job(), Cancelled(at_ms=T0 + 50)).execution_ms is None


def test_waiting_is_not_execution() -> None:
    """A job that ends in the queue, after an attempt was lost, was executed by nobody and waits for its first delay."""
    job = after(queued_job(), claimed(T0 + 100), lost(at_ms=T0 + 500))
    assert job.delay_ms is None
    assert after(job, Cancelled(at_ms=T0 + 900)).execution_ms is None


def test_a_client_retry_starts_over() -> None:
    """A retry forgets attempts, losses, worker and end, keeps the id and the day of submission, and lives anew."""
    failed = after(queued_job(), claimed(), lost(), claimed(), lost())
    retried = after(failed, Retried(at_ms=T0 + 900, expires_ms=T0 + 99_000))
    assert failed.state is JobState.FAILED
    assert retried == replace(
        queued_job(), reason=JobReason.RETRIED_BY_CLIENT, queued_ms=T0 + 900, expires_ms=T0 + 99_000
    )


# ── any history ───────────────────────────────────────────────────────────────────────────────────────────────────────

HAPPENINGS: list[JobEvent] = [
    *(Claimed(at_ms=0, worker=worker, lease_until_ms=lease) for worker in (OURS, OTHER) for lease in (None, 1_000)),
    *(Confirmed(at_ms=0, worker=worker, lease_until_ms=lease) for worker in (OURS, OTHER) for lease in (None, 1_000)),
    *(Finished(at_ms=0, worker=worker, failed=failed) for worker in (OURS, OTHER) for failed in (False, True)),
    *(OutputRefused(at_ms=0, worker=worker) for worker in (OURS, OTHER)),
    *(AttemptLost(at_ms=0, worker=OURS, reason=reason) for reason in LOSSES),
    AttemptLost(at_ms=0, worker=OTHER, reason=JobReason.WORKER_LOST),
    Cancelled(at_ms=0),
    Purged(at_ms=0),
    Retried(at_ms=0, expires_ms=10_000),
    TimePassed(at_ms=0),
]
"""Everything that may happen to a job, sensible or not, told from the moment 0."""


def moved(event: JobEvent, at_ms: int) -> JobEvent:
    """The same event, told from `at_ms`."""
    match event:
        case Claimed(lease_until_ms=int(lease_ms)) | Confirmed(lease_until_ms=int(lease_ms)):
            return replace(event, at_ms=at_ms, lease_until_ms=at_ms + lease_ms)
        case Retried():
            return replace(event, at_ms=at_ms, expires_ms=at_ms + event.expires_ms)
        case _:
            return replace(event, at_ms=at_ms)


@st.composite
def histories(draw: st.DrawFn) -> tuple[Job, list[JobEvent]]:
    """A job and up to twenty events at growing moments."""
    job = queued_job(retry_limit=draw(st.integers(0, 2)))
    pause_ms = st.sampled_from([0, 1, 300, 1_200])
    told = draw(st.lists(st.tuples(st.sampled_from(HAPPENINGS), pause_ms), min_size=1, max_size=20))
    moments = accumulate((pause for _, pause in told), initial=T0)
    return job, [moved(event, at_ms) for (event, _), at_ms in zip(told, moments, strict=False)]


def steps(history: tuple[Job, list[JobEvent]]) -> list[tuple[Job, JobEvent, JobStep]]:
    """Every legal step of a history: the job before, the event, what came of it."""
    job, events = history
    taken = []
    for event in events:
        try:
            step = advance(job, event)
        except IllegalTransition:
            continue
        taken.append((job, event, step))
        job = step.job
    return taken


@given(histories())
def test_the_end_is_the_end(history: tuple[Job, list[JobEvent]]) -> None:
    """A final job never changes, except that a client retries one that failed or timed out."""
    for before, event, step in steps(history):
        if before.state.final and step.changed:
            assert isinstance(event, Retried)
            assert before.state in (JobState.FAILED, JobState.TIMED_OUT)


@given(histories())
def test_attempts_only_grow(history: tuple[Job, list[JobEvent]]) -> None:
    """An attempt is added by a claim and by nothing else; only a client's retry counts from the beginning."""
    for before, event, step in steps(history):
        if isinstance(event, Retried):
            assert (step.job.attempt, step.job.losses) == (0, 0)
        else:
            began = before.state is JobState.QUEUED and step.job.state is JobState.RUNNING
            assert step.job.attempt == before.attempt + began
            assert before.losses <= step.job.losses <= step.job.retry_limit


@given(histories())
def test_records_are_whole(history: tuple[Job, list[JobEvent]]) -> None:
    """A running job has a worker and a begin; a lease and a confirmation only exist meanwhile; an end has a moment."""
    for _, _, step in steps(history):
        job = step.job
        running = job.state is JobState.RUNNING
        assert not running or (job.worker is not None and job.claimed_ms is not None and job.attempt > 0)
        assert running or job.lease_until_ms is None
        assert (job.finished_ms is not None) == (job.purge_ms is not None) == job.state.final
        assert (job.deadline_ms is None) == job.state.final
        assert (job.delay_ms or 0) >= 0
        assert (job.execution_ms or 0) >= 0


@given(histories())
def test_a_slot_is_given_back_once(history: tuple[Job, list[JobEvent]]) -> None:
    """Leaving a worker names it exactly once: its slot is free, or it is told to stop; nothing else does."""
    for before, _, step in steps(history):
        named = [effect.worker for effect in step.effects if isinstance(effect, FreeSlot | StopOnWorker)]
        left = before.state is JobState.RUNNING and step.job.state is not JobState.RUNNING
        assert named == ([before.worker] if left else [])


@given(histories())
def test_an_unread_stream_is_dropped_when_the_job_starts_again(history: tuple[Job, list[JobEvent]]) -> None:
    """Every way back into the queue forgets the parts that the next attempt sends again; no other step does."""
    for before, _, step in steps(history):
        back = before.state is not JobState.QUEUED and step.job.state is JobState.QUEUED
        assert (DropUnreadStream() in step.effects) == back


@given(histories())
def test_unchanged_means_unchanged(history: tuple[Job, list[JobEvent]]) -> None:
    """A step that reports no change has the same record and no effects; one that reports a change has another."""
    for before, _, step in steps(history):
        assert (step.job != before) == step.changed
        assert step.changed or step.effects == ()


@given(histories())
def test_deadlines_are_exact(history: tuple[Job, list[JobEvent]]) -> None:
    """Time alone changes a job at its deadline and not a millisecond before, so a loop may sleep until then."""
    for _, event, step in steps(history):
        deadline_ms = step.job.deadline_ms
        if deadline_ms is not None and deadline_ms > event.at_ms:
            assert not advance(step.job, TimePassed(at_ms=deadline_ms - 1)).changed
            assert advance(step.job, TimePassed(at_ms=deadline_ms)).changed


@given(histories())
def test_every_attempt_comes_to_an_end(history: tuple[Job, list[JobEvent]]) -> None:
    """From anywhere, time alone ends a job: no history leaves one that waits or runs for ever."""
    job = history[0]
    for _, _, step in steps(history):
        job = step.job
    for _ in range(3):
        if job.deadline_ms is not None:
            job = advance(job, TimePassed(at_ms=job.deadline_ms)).job
    assert job.state.final


# ── delivered ahead ───────────────────────────────────────────────────────────────────────────────────────────────────


def ahead_job(lease_until_ms: int | None = T0 + 1_000) -> Job:
    """A job that was delivered to `OURS` half a second after its submission, behind others."""
    return after(queued_job(), DeliveredAhead(at_ms=T0 + 500, worker=OURS, lease_until_ms=lease_until_ms))


def test_a_job_ahead_is_queued_to_everybody_outside() -> None:
    """It is shown as queued, without a delay and without an attempt."""
    job = ahead_job()
    assert (job.state.shown, job.attempt, job.delay_ms, job.state.final) == (JobState.QUEUED, 0, None, False)
    assert job.deadline_ms == T0 + 1_000


def test_taken_back_costs_nothing() -> None:
    """A job that is taken back before its turn is as it was before it was delivered, but for the reason."""
    for event in (lost(), TimePassed(at_ms=T0 + 1_000)):
        assert after(ahead_job(), event) == replace(queued_job(), reason=JobReason.TAKEN_BACK)


def test_the_attempt_begins_with_the_turn() -> None:
    """Delay, attempt and execution limit count from the turn; lease and confirmation are those of the delivery."""
    assert (ahead_job().attempt, ahead_job().attempts_most) == (0, 2)
    job = after(
        ahead_job(),
        Confirmed(at_ms=T0 + 600, worker=OURS, lease_until_ms=T0 + 9_000),
        TurnCame(at_ms=T0 + 3_000),
    )
    assert (job.state, job.attempt, job.delay_ms, job.claimed_ms) == (JobState.RUNNING, 1, 3_000, T0 + 3_000)
    assert (job.confirmed_ms, job.lease_until_ms, job.deadline_ms) == (T0 + 600, T0 + 9_000, T0 + 8_000)
    assert job.attempts_most == 2


def test_no_turn_for_a_job_that_its_worker_may_not_have() -> None:
    """When its lease has lapsed by its turn the job goes back instead, uncounted."""
    assert after(ahead_job(), TurnCame(at_ms=T0 + 1_000)) == replace(queued_job(), reason=JobReason.TAKEN_BACK)


def test_nothing_is_delivered_ahead_after_its_life() -> None:
    """As with a claim, an overdue job is ended instead."""
    job = after(queued_job(), DeliveredAhead(at_ms=T0 + 10_000, worker=OURS, lease_until_ms=None))
    assert (job.state, job.reason) == (JobState.TIMED_OUT, JobReason.TTL_PASSED)
