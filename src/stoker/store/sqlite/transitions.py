"""Events applied to rows: read, ask the rules, write what they say, carry out the effects, tell the ledger (D3).

Called by every operation that moves a job or a worker; nothing else writes their states. All of it happens in the
caller's transaction. What must stay true: a worker's `idle_ms` is set exactly while it is up, runs nothing and has
nothing left that it was told to stop.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, assert_never

from stoker import job as jobs
from stoker import worker as workers
from stoker.errors import NotFound
from stoker.ids import JobId, WorkerId
from stoker.job import (
    AttemptLost,
    Cancelled,
    Claimed,
    Confirmed,
    DropUnreadStream,
    Finished,
    FreeSlot,
    Job,
    JobEffect,
    JobEvent,
    JobReason,
    JobState,
    JobStep,
    OutputRefused,
    Purged,
    Retried,
    StopOnWorker,
    TimePassed,
)
from stoker.store import Bodies
from stoker.store.rows import (
    JOB,
    WORKER,
    StoredJob,
    moving_job_values,
    moving_worker_values,
    plain,
    stored_job,
)
from stoker.store.rows import (
    worker as worker_of,
)
from stoker.store.sqlite.transaction import Line, Tx
from stoker.worker import LoseJobs, StopInRuntime, Worker, WorkerEvent, WorkerState, WorkerStep

FIND_JOB: Final = f"SELECT {JOB} FROM jobs WHERE jobs.id = ?"
SAVE_JOB: Final = """
    UPDATE jobs SET state = ?1, reason = ?2, queued_ms = ?3, expires_ms = ?4, attempt = ?5, losses = ?6, worker = ?7,
      claimed_ms = ?8, confirmed_ms = ?9, lease_until_ms = ?10, finished_ms = ?11, deadline_ms = ?12, purge_ms = ?13,
      s3_config = CASE WHEN ?1 IN ('completed', 'cancelled') THEN NULL ELSE s3_config END
    WHERE seq = ?14"""
"""A failed or timed-out job keeps its S3 configuration: a client's retry needs it."""
RENEW_JOB: Final = "UPDATE jobs SET reason = ?, confirmed_ms = ?, lease_until_ms = ?, deadline_ms = ? WHERE seq = ?"
"""A sign of life changes nothing else; columns that it leaves alone cost no work on their indexes."""
RUNNING_ON: Final = f"SELECT {JOB} FROM jobs WHERE jobs.worker = ? AND jobs.state = 'running' ORDER BY jobs.seq"

REPLACE_OUTPUT: Final = "INSERT OR REPLACE INTO outputs (job, output, error) VALUES (?, ?, ?)"
MERGE_OUTPUT: Final = """
    INSERT INTO outputs (job, output, error) VALUES (?, ?, ?) ON CONFLICT (job) DO UPDATE
    SET output = coalesce(excluded.output, output), error = coalesce(excluded.error, error)"""
DROP_OUTPUT: Final = "DELETE FROM outputs WHERE job = ?"

DROP_PARTS: Final = "DELETE FROM parts WHERE job = ?"
REOPEN_STREAM: Final = "UPDATE jobs SET stream_closed = 0 WHERE seq = ?"

ASK_STOP: Final = "INSERT OR REPLACE INTO stops (worker, job, asked_ms) VALUES (?, ?, ?)"
LET_GO: Final = "DELETE FROM stops WHERE worker = ? AND job = ?"
FORGET_STOPS: Final = "DELETE FROM stops WHERE worker = ?"

FIND_WORKER: Final = f"SELECT {WORKER} FROM workers WHERE workers.id = ?"
SAVE_WORKER: Final = """
    UPDATE workers SET state = ?, reason = ?, detail = ?, launched_ms = ?, ready_ms = ?, idle_ms = ?, drained_ms = ?,
      stopped_ms = ?, gone_ms = ?, seen_ms = ?, pinged_ms = ?, sdk = ?, exit_code = ?, exit_text = ?
    WHERE id = ?"""
TOUCH_WORKER: Final = "UPDATE workers SET idle_ms = ?, seen_ms = ?, pinged_ms = ?, sdk = ? WHERE id = ?"
"""What can change while the state stays: see `RENEW_JOB`."""
REST: Final = """
    UPDATE workers SET idle_ms = ?2
    WHERE id = ?1 AND idle_ms IS NULL AND state IN ('ready', 'draining')
      AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.worker = ?1 AND jobs.state = 'running')
      AND NOT EXISTS (SELECT 1 FROM stops WHERE stops.worker = ?1)"""


# ── jobs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def find_job(tx: Tx, job: JobId) -> StoredJob:
    """The job as it stands. Raises `NotFound`."""
    row = tx.one(FIND_JOB, (job,))
    if row is None:
        raise NotFound(f"there is no job '{job}'", code="job_not_found")
    return stored_job(row)


def running_on(tx: Tx, worker: WorkerId) -> list[StoredJob]:
    """Jobs that the worker runs, in the order of submission."""
    return [stored_job(row) for row in tx.all(RUNNING_ON, (worker,))]


def advance_job(tx: Tx, stored: StoredJob, event: JobEvent, bodies: Bodies | None = None) -> JobStep:
    """Decide one event and write everything that follows from it."""
    step = jobs.advance(stored.job, event)
    if step.changed:
        _save_job(tx, stored, step.job)
        _keep_bodies(tx, stored.seq, step.job, bodies)
        for effect in step.effects:
            _carry_out(tx, stored, effect, event.at_ms)
        _count(tx, stored.job, step.job)
        if not _is_heartbeat(stored.job, event):
            tell_job(tx, stored.seq, step.job, event.at_ms, _kind(step.job, event), _text(event))
    elif isinstance(event, Finished | OutputRefused) and tx.execute(LET_GO, (event.worker, stored.job.id)).rowcount:
        rest(tx, event.worker, event.at_ms)
    return step


def _save_job(tx: Tx, stored: StoredJob, job: Job) -> None:
    if job.state is stored.job.state:
        values = (job.reason.value, job.confirmed_ms, job.lease_until_ms, job.deadline_ms)
        tx.execute(RENEW_JOB, (*values, stored.seq))
    else:
        tx.execute(SAVE_JOB, (*moving_job_values(job), stored.seq))


def _keep_bodies(tx: Tx, seq: int, job: Job, bodies: Bodies | None) -> None:
    """Store what came along, and drop the progress that the change made stale."""
    output = None if bodies is None else bodies.output
    error = None if bodies is None or bodies.error is None else bodies.error.encode("utf-8", "surrogatepass")
    if job.state is JobState.QUEUED:
        tx.execute(DROP_OUTPUT, (seq,))
    elif job.state is JobState.COMPLETED or job.reason is JobReason.RETRIES_EXHAUSTED:
        tx.execute(REPLACE_OUTPUT, (seq, output, error))
    elif output is not None or error is not None:
        tx.execute(MERGE_OUTPUT, (seq, output, error))


def _carry_out(tx: Tx, stored: StoredJob, effect: JobEffect, at_ms: int) -> None:
    match effect:
        case StopOnWorker(worker=worker):
            tx.execute(ASK_STOP, (worker, stored.job.id, at_ms))
        case FreeSlot(worker=worker):
            rest(tx, worker, at_ms)
        case DropUnreadStream():
            tx.execute(DROP_PARTS, (stored.seq,))
            if stored.job.state.final:
                tx.execute(REOPEN_STREAM, (stored.seq,))
        case _:
            assert_never(effect)


def _count(tx: Tx, old: Job, new: Job) -> None:
    if old.state is new.state:
        return
    if not old.state.final:
        tx.count(old.endpoint, counter(old), -1)
    tx.count(new.endpoint, counter(new), 1)
    if old.state is JobState.RUNNING and new.state is JobState.QUEUED:
        tx.count(new.endpoint, "retried", 1)


def counter(job: Job) -> str:
    """The counter of the job's state."""
    return "queued_low" if job.state is JobState.QUEUED and job.low_priority else job.state.value


def _is_heartbeat(before: Job, event: JobEvent) -> bool:
    return isinstance(event, Confirmed) and before.confirmed_ms is not None


def _kind(job: Job, event: JobEvent) -> str:
    """The word of the ledger for what happened."""
    match event:
        case Claimed() if job.state is JobState.RUNNING:
            return "claimed"
        case Confirmed():
            return "confirmed"
        case Finished() | OutputRefused():
            return "finished"
        case Retried():
            return "retried"
        case Cancelled() | Purged() | AttemptLost() | TimePassed() | Claimed():
            return "requeued" if job.state is JobState.QUEUED else job.state.value
        case _:
            assert_never(event)


def _text(event: JobEvent) -> str:
    """What the ledger says besides the reason: how an attempt was lost."""
    if not isinstance(event, AttemptLost):
        return ""
    return f"{event.reason.value}: {event.text}" if event.text else event.reason.value


def tell_job(tx: Tx, seq: int, job: Job, at_ms: int, kind: str, text: str = "") -> None:
    """A line of the ledger about a job."""
    who = (job.team, job.endpoint, seq, job.worker)
    tx.tell(Line(at_ms, *who, kind, job.state.value, job.reason.value, job.attempt or None, plain(text)))


# ── workers ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def find_worker(tx: Tx, worker: WorkerId) -> Worker:
    """The worker as it stands. Raises `NotFound`."""
    row = tx.one(FIND_WORKER, (worker,))
    if row is None:
        raise NotFound(f"there is no worker '{worker}'", code="worker_not_found")
    return worker_of(row)


def save_worker(tx: Tx, before: Worker, after: Worker) -> None:
    """Write the record if it is another, and a line of the ledger if its state is."""
    if after.state is not before.state:
        tx.execute(SAVE_WORKER, (*moving_worker_values(after), after.id))
        tell_worker(tx, after)
    elif after != before:
        tx.execute(TOUCH_WORKER, (after.idle_ms, after.seen_ms, after.pinged_ms, plain(after.sdk), after.id))


def advance_worker(tx: Tx, before: Worker, event: WorkerEvent) -> WorkerStep:
    """Decide one event and write everything that follows from it."""
    step = workers.advance(before, event)
    save_worker(tx, before, step.worker)
    if not step.worker.alive and before.alive:
        tx.execute(FORGET_STOPS, (before.id,))
    for effect in step.effects:
        match effect:
            case LoseJobs(reason=reason, text=text):
                lost = AttemptLost(at_ms=event.at_ms, worker=before.id, reason=reason, text=text)
                for stored in running_on(tx, before.id):
                    advance_job(tx, stored, lost)
            case StopInRuntime():
                pass  # kept by the state: who looks at workers tells the runtime while it is STOPPING
            case _:
                assert_never(effect)
    return step


def rest(tx: Tx, worker: WorkerId, at_ms: int) -> None:
    """Note since when the worker is idle, if it holds nothing now."""
    tx.execute(REST, (worker, at_ms))


def busy(worker: Worker) -> Worker:
    """The worker as it is once it was given a job."""
    return worker if worker.idle_ms is None else replace(worker, idle_ms=None)


_WORKER_KINDS: Final = {WorkerState.STARTING: "launched"}


def tell_worker(tx: Tx, worker: Worker) -> None:
    """A line of the ledger about the state that a worker has just reached."""
    text = worker.detail
    if worker.exit is not None and worker.exit.text not in text:
        text = f"{text}; {worker.exit.text}" if text else worker.exit.text
    kind = _WORKER_KINDS.get(worker.state, worker.state.value)
    who = (worker.team, worker.endpoint, None, worker.id)
    at_ms = _reached_ms(worker)
    tx.tell(Line(at_ms, *who, kind, worker.state.value, worker.reason.value, None, plain(text)))


def _reached_ms(worker: Worker) -> int:
    """When the worker reached the state it is in."""
    moments = {
        WorkerState.DECIDED: worker.decided_ms,
        WorkerState.STARTING: worker.launched_ms,
        WorkerState.READY: worker.ready_ms,
        WorkerState.DRAINING: worker.drained_ms,
        WorkerState.STOPPING: worker.stopped_ms,
        WorkerState.GONE: worker.gone_ms,
    }
    return moments[worker.state] or 0
