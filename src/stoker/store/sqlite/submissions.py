"""Jobs arriving: stored with their input, once per idempotency key.

Called by `jobs.py` inside a transaction.
"""

from __future__ import annotations

from typing import Final

from stoker.errors import Conflict
from stoker.job import Job
from stoker.store import SUBMIT_KEY_LIFE_MS, NewJob
from stoker.store.rows import NEW_JOB, insert, new_job_values, plain, stored_job
from stoker.store.sqlite.transaction import Tx
from stoker.store.sqlite.transitions import FIND_JOB, counter, tell_job

ADD_JOB: Final = insert("jobs", NEW_JOB)
ADD_INPUT: Final = "INSERT INTO inputs (job, input) VALUES (?, ?)"
FIND_KEY: Final = "SELECT job, body_hash FROM submit_keys WHERE endpoint = ? AND key = ? AND at_ms > ?"
KEEP_KEY: Final = "INSERT OR REPLACE INTO submit_keys (endpoint, key, job, body_hash, at_ms) VALUES (?, ?, ?, ?, ?)"


def submit(tx: Tx, new: NewJob) -> Job:
    """Store the job, or find the one that its idempotency key made before."""
    if new.idempotency_key is not None:
        known = _known(tx, new, plain(new.idempotency_key))
        if known is not None:
            return known
    job = new.job
    seq = tx.execute(ADD_JOB, new_job_values(job, new.webhook, new.s3_config)).lastrowid
    assert seq is not None
    tx.execute(ADD_INPUT, (seq, new.input))
    tx.count(job.endpoint, counter(job), 1)
    tell_job(tx, seq, job, job.created_ms, "submitted")
    return job


def _known(tx: Tx, new: NewJob, key: str) -> Job | None:
    """The job that the key made within its life; otherwise remember the key for the new one."""
    job = new.job
    found = tx.one(FIND_KEY, (job.endpoint, key, job.created_ms - SUBMIT_KEY_LIFE_MS))
    if found is None:
        tx.execute(KEEP_KEY, (job.endpoint, key, job.id, new.body_hash, job.created_ms))
        return None
    made, body_hash = found
    if body_hash != new.body_hash:
        raise Conflict(
            "this Idempotency-Key was used for another request",
            code="idempotency_mismatch",
            next_step="send the same body again, or choose a new key",
        )
    row = tx.one(FIND_JOB, (made,))
    if row is None:
        # Running it again would break the promise of the key, and its result is gone.
        raise Conflict(
            "the job that this Idempotency-Key made is over and no longer kept",
            code="idempotency_job_gone",
            next_step="choose a new key to run it again",
        )
    return stored_job(row).job
