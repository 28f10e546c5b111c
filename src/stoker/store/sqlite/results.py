"""What a status shows: one row, read by the event loop itself.

Called by `jobs.py`. Handing a read of some 20 µs to a thread costs more than the read.
"""

from __future__ import annotations

from typing import Final

import msgspec

from stoker.ids import EndpointId, JobId, TeamId
from stoker.store import Result
from stoker.store.rows import JOB, JOB_WIDTH, stored_job
from stoker.store.sqlite.tx import Tx

RESULT: Final = f"""
    SELECT {JOB}, outputs.output, outputs.error, jobs.webhook
    FROM jobs LEFT JOIN outputs ON outputs.job = jobs.seq WHERE jobs.id = ?"""


class FindResult(msgspec.Struct, frozen=True, gc=False):
    """See `JobRows.result`. A function of the transaction, of a single statement."""

    team: TeamId
    endpoint: EndpointId | None
    job: JobId

    def __call__(self, tx: Tx) -> Result | None:
        """What is stored."""
        row = tx.one(RESULT, (self.job,))
        if row is None:
            return None
        job = stored_job(row).job
        if job.team != self.team or self.endpoint not in (None, job.endpoint):
            return None
        output, error, webhook = row[JOB_WIDTH:]
        text = None if error is None else error.decode("utf-8", "surrogatepass")
        return Result(job=job, output=output, error=text, webhook=webhook)
