"""A worker's take: who asks, how many it may hold, and which jobs it is given.

Called by `jobs.py` inside a transaction. What must stay true: the cost does not depend on how many jobs wait. The index
`jobs_queued` is walked from its beginning, once for each priority.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from stoker import worker as workers
from stoker.ids import EndpointId, WorkerId
from stoker.job import Claimed, JobState
from stoker.store import Claim, Claims
from stoker.store.rows import JOB, JOB_WIDTH, stored_job
from stoker.store.sqlite.transaction import Tx
from stoker.store.sqlite.transitions import advance_job, busy, find_worker, save_worker
from stoker.worker import Took, Worker, WorkerState

EXPIRED_MOST: Final = 1_000
"""Overdue jobs that one take ends; what remains is ended by the next take, or by whoever looks at deadlines."""

FREE_SLOTS: Final = """
    SELECT slots - (SELECT count(*) FROM jobs WHERE jobs.worker = ?1 AND jobs.state = 'running')
                 - (SELECT count(*) FROM stops WHERE stops.worker = ?1)
    FROM endpoints WHERE id = ?2"""
NEXT_QUEUED: Final = f"""
    SELECT {JOB}, inputs.input, jobs.s3_config FROM jobs JOIN inputs ON inputs.job = jobs.seq
    WHERE jobs.endpoint = ? AND jobs.state = 'queued' AND jobs.low_priority = ?
      AND NOT EXISTS (SELECT 1 FROM stops WHERE stops.worker = ? AND stops.job = jobs.id)
    ORDER BY jobs.seq LIMIT ?"""
"""A job that the worker was told to stop, and has not let go, is not for this worker: the stop would hit it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Take:
    """What a worker asked for."""

    worker: WorkerId
    limit: int
    at_ms: int
    lease_ms: int
    sdk: str


def claim(tx: Tx, take: Take) -> Claims:
    """Register the take and hand out what the worker may have."""
    before = find_worker(tx, take.worker)
    after = workers.advance(before, Took(at_ms=take.at_ms, sdk=take.sdk)).worker
    ready_now = after.state is WorkerState.READY and before.state is not WorkerState.READY
    claims: list[Claim] = []
    free = 0
    if after.takes_jobs:
        free = _free_slots(tx, after)
        lease_until_ms = None if after.pinged_ms is None else take.at_ms + take.lease_ms
        event = Claimed(at_ms=take.at_ms, worker=take.worker, lease_until_ms=lease_until_ms)
        claims = _hand_out(tx, after.endpoint, event, min(take.limit, free))
    if claims:
        after = busy(after)
    save_worker(tx, before, after)
    return Claims(worker=after, claims=claims, ready_now=ready_now, full=after.takes_jobs and free <= 0)


def _free_slots(tx: Tx, worker: Worker) -> int:
    row = tx.one(FREE_SLOTS, (worker.id, worker.endpoint))
    return 0 if row is None else row[0]


def _hand_out(tx: Tx, endpoint: EndpointId, event: Claimed, limit: int) -> list[Claim]:
    """Up to `limit` jobs: normal priority first, each in the order of submission."""
    claims: list[Claim] = []
    expired = 0
    for low_priority in (0, 1):
        while (wanted := limit - len(claims)) > 0 and expired < EXPIRED_MOST:
            rows = tx.all(NEXT_QUEUED, (endpoint, low_priority, event.worker, wanted))
            for row in rows:
                job = advance_job(tx, stored_job(row), event).job
                if job.state is JobState.RUNNING:
                    claims.append(Claim(job=job, input=row[JOB_WIDTH], s3_config=row[JOB_WIDTH + 1]))
                else:
                    expired += 1
            if len(rows) < wanted:
                break
    return claims
