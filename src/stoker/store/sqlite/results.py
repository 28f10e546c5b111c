"""What a status shows: remembered for jobs that were lately in hand (`store.recent`), else one row, read by the event loop itself.

Called by `jobs.py`; `known.py` says what became of them. Every commit empties what a reading
connection remembers of the file, and handing a read to a thread costs more than the read.
"""

from __future__ import annotations

from typing import Final

import msgspec

from stoker.ids import EndpointId, JobId, TeamId
from stoker.store import Result
from stoker.store.recent import theirs
from stoker.store.rows import JOB, JOB_WIDTH, stored_job
from stoker.store.sqlite.tx import Tx

RESULT: Final = f"""
    SELECT {JOB}, outputs.output, outputs.error
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
        output, error = row[JOB_WIDTH:]
        text = None if error is None else error.decode("utf-8", "surrogatepass")
        return theirs(Result(job=stored_job(row).job, output=output, error=text), self.team, self.endpoint)
