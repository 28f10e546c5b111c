"""The parts of a job's stream as its clients read them.

Called by `jobs.py` inside a transaction. Parts that were returned are deleted: they never come back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stoker.ids import EndpointId, JobId, TeamId
from stoker.store import Parts
from stoker.store.rows import JOB, JOB_WIDTH, stored_job
from stoker.store.sqlite.tx import Tx

FIND_STREAM: Final = f"""
    SELECT {JOB}, jobs.stream_closed FROM jobs WHERE jobs.id = ? AND jobs.team = ? AND jobs.endpoint = ?"""
HAS_PARTS: Final = "SELECT 1 FROM parts WHERE job = ? LIMIT 1"
UNREAD: Final = "SELECT seq, part FROM parts WHERE job = ? ORDER BY seq"
FORGET_READ: Final = "DELETE FROM parts WHERE job = ? AND seq <= ?"
CLOSE_STREAM: Final = "UPDATE jobs SET stream_closed = 1 WHERE seq = ?"


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
