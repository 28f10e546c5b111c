"""What a job says while it runs: its progress and the parts of its stream.

Called by `jobs.py` inside a transaction. Parts that were returned are deleted: they never come back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from stoker.ids import EndpointId, JobId, TeamId, WorkerId
from stoker.job import Confirmed, JobState, JobStep
from stoker.store import Parts
from stoker.store.rows import JOB, JOB_WIDTH, StoredJob, stored_job
from stoker.store.sqlite.transaction import Tx
from stoker.store.sqlite.transitions import MERGE_OUTPUT, advance_job, find_job

PINGS: Final = "SELECT 1 FROM workers WHERE id = ? AND pinged_ms IS NOT NULL"
ADD_PART: Final = "INSERT INTO parts (job, part) VALUES (?, ?)"
FIND_STREAM: Final = f"""
    SELECT {JOB}, jobs.stream_closed FROM jobs WHERE jobs.id = ? AND jobs.team = ? AND jobs.endpoint = ?"""
HAS_PARTS: Final = "SELECT 1 FROM parts WHERE job = ? LIMIT 1"
UNREAD: Final = "SELECT seq, part FROM parts WHERE job = ? ORDER BY seq"
FORGET_READ: Final = "DELETE FROM parts WHERE job = ? AND seq <= ?"
CLOSE_STREAM: Final = "UPDATE jobs SET stream_closed = 1 WHERE seq = ?"


def progress(tx: Tx, job: JobId, worker: WorkerId, output: bytes, *, at_ms: int, lease_ms: int) -> JobStep:
    """Confirm the job and keep its progress; a late report changes nothing."""
    stored = find_job(tx, job)
    step = advance_job(tx, stored, _sign(tx, worker, at_ms, lease_ms))
    if _late(stored, worker):
        return step
    tx.execute(MERGE_OUTPUT, (stored.seq, output, None))
    return replace(step, changed=True)


def add_part(tx: Tx, job: JobId, worker: WorkerId, part: bytes, *, at_ms: int, lease_ms: int) -> bool:
    """Confirm the job and append a part; False for a late report."""
    stored = find_job(tx, job)
    advance_job(tx, stored, _sign(tx, worker, at_ms, lease_ms))
    if _late(stored, worker):
        return False
    tx.execute(ADD_PART, (stored.seq, part))
    return True


def _late(stored: StoredJob, worker: WorkerId) -> bool:
    return stored.job.state is not JobState.RUNNING or stored.job.worker != worker


def _sign(tx: Tx, worker: WorkerId, at_ms: int, lease_ms: int) -> Confirmed:
    """A sign of the job. It begins no lease for a worker that never pings: its later silence would mean nothing."""
    pings = tx.one(PINGS, (worker,)) is not None
    return Confirmed(at_ms=at_ms, worker=worker, lease_until_ms=at_ms + lease_ms if pings else None)


def peek(tx: Tx, team: TeamId, endpoint: EndpointId, job: JobId) -> tuple[Parts | None, bool]:
    """The stream as it stands without its parts, and whether reading it would change anything. Only reads."""
    row = tx.one(FIND_STREAM, (job, team, endpoint))
    if row is None:
        return None, False
    stored, closed = stored_job(row), row[JOB_WIDTH] == 1
    closing = stored.job.state.final and not closed
    unread = closing or tx.one(HAS_PARTS, (stored.seq,)) is not None
    return Parts(job=stored.job, parts=(), closed=closed), unread


def read_parts(tx: Tx, team: TeamId, endpoint: EndpointId, job: JobId, *, bytes_max: int) -> Parts | None:
    """Take unread parts: up to `bytes_max` while the job runs, but at least one; all that remain once it is final.

    A final state must not be announced while parts are withheld: clients stop at the first one they see.
    """
    row = tx.one(FIND_STREAM, (job, team, endpoint))
    if row is None:
        return None
    stored, closed = stored_job(row), row[JOB_WIDTH] == 1
    final = stored.job.state.final
    parts, last = _unread(tx, stored.seq, None if final else bytes_max)
    if last is not None:
        tx.execute(FORGET_READ, (stored.seq, last))
    if final and not closed:
        tx.execute(CLOSE_STREAM, (stored.seq,))
    return Parts(job=stored.job, parts=parts, closed=closed)


def _unread(tx: Tx, seq: int, bytes_max: int | None) -> tuple[Sequence[bytes], int | None]:
    """Parts in order, and the number of the last."""
    parts: list[bytes] = []
    last: int | None = None
    size = 0
    for number, part in tx.execute(UNREAD, (seq,)):
        size += len(part)
        if parts and bytes_max is not None and size > bytes_max:
            break
        parts.append(part)
        last = number
    return parts, last
