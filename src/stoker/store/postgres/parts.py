"""The parts of a job's stream as its clients read them.

Called by `jobs.py` inside a transaction. Parts that were returned are deleted: they never come back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stoker.ids import EndpointId, JobId, TeamId
from stoker.store import Parts
from stoker.store.postgres.connection import Connection
from stoker.store.rows import JOB, JOB_WIDTH, stored_job

_WHOSE: Final = "jobs.id = $1 AND jobs.team = $2 AND jobs.endpoint = $3"
FIND: Final = f"SELECT {JOB}, jobs.stream_closed FROM all_jobs AS jobs WHERE {_WHOSE}"
LOCK_LIVE: Final = f"SELECT {JOB}, false FROM jobs WHERE {_WHOSE} FOR UPDATE"
LOCK_ENDED: Final = f"SELECT {JOB}, jobs.stream_closed FROM ended_jobs AS jobs WHERE {_WHOSE} FOR UPDATE"
"""Of two that read at once the second finds nothing left, and nobody ends the job in between."""
HAS_PARTS: Final = "SELECT EXISTS (SELECT 1 FROM parts WHERE job = $1)"
SIZES: Final = "SELECT seq, length(part) FROM parts WHERE job = $1 ORDER BY seq LIMIT 1000"
READ: Final = "SELECT part FROM parts WHERE job = $1 AND seq <= $2 ORDER BY seq"
FORGET_READ: Final = "DELETE FROM parts WHERE job = $1 AND seq <= $2"
CLOSE_STREAM: Final = "UPDATE ended_jobs SET stream_closed = true WHERE id = $1"


async def peek(tx: Connection, team: TeamId, endpoint: EndpointId, job: JobId) -> tuple[Parts | None, bool]:
    """The stream as it stands without its parts, and whether reading it would change anything. Only reads."""
    row = await tx.fetchrow(FIND, job, team, endpoint)
    if row is None:
        return None, False
    stored, closed = stored_job(row), row[JOB_WIDTH]
    closing = stored.job.state.final and not closed
    unread = closing or await tx.fetchval(HAS_PARTS, stored.seq)
    return Parts(job=stored.job, parts=(), closed=closed), unread


async def read_parts(tx: Connection, team: TeamId, endpoint: EndpointId, job: JobId, *, bytes_max: int) -> Parts | None:
    """Take unread parts: up to `bytes_max` while the job runs, but at least one; all that remain once it is final.

    A final state must not be announced while parts are withheld: clients stop at the first one they see.
    """
    row = await tx.fetchrow(LOCK_LIVE, job, team, endpoint) or await tx.fetchrow(LOCK_ENDED, job, team, endpoint)
    if row is None:
        return None
    stored, closed = stored_job(row), row[JOB_WIDTH]
    final = stored.job.state.final
    found: Sequence[bytes] = ()
    last = await _last(tx, stored.seq, None if final else bytes_max)
    if last is not None:
        found = [part for (part,) in await tx.fetch(READ, stored.seq, last)]
        await tx.execute(FORGET_READ, stored.seq, last)
    if final and not closed:
        await tx.execute(CLOSE_STREAM, job)
    return Parts(job=stored.job, parts=found, closed=closed)


async def _last(tx: Connection, seq: int, bytes_max: int | None) -> int | None:
    """The number of the last part to be taken; None when there is none."""
    if bytes_max is None:
        last: int | None = await tx.fetchval("SELECT max(seq) FROM parts WHERE job = $1", seq)
        return last
    last, size = None, 0
    for number, length in await tx.fetch(SIZES, seq):
        size += length
        if last is not None and size > bytes_max:
            break
        last = number
    return last
