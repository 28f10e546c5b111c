"""What a status shows: remembered for jobs that have just ended, else one row, read by the event loop itself.

Called by `jobs.py`; `known.py` says what has ended. Clients ask most for what has just ended. Every commit empties what a reading
connection remembers of the file, and handing a read to a thread costs more than the read.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import msgspec

from stoker.ids import EndpointId, JobId, TeamId
from stoker.store import Result
from stoker.store.rows import JOB, JOB_WIDTH, stored_job
from stoker.store.sqlite.tx import LARGE_BYTES, Tx

RESULT: Final = f"""
    SELECT {JOB}, outputs.output, outputs.error
    FROM jobs LEFT JOIN outputs ON outputs.job = jobs.seq WHERE jobs.id = ?"""
KEPT_MOST: Final = 4_096
KEPT_BYTES: Final = 8 * 1024 * 1024


class Recent:
    """Results of jobs that ended lately, as they were committed; none is larger than `LARGE_BYTES`."""

    def __init__(self) -> None:
        self._results: OrderedDict[JobId, Result] = OrderedDict()
        self._bytes = 0

    def get(self, job: JobId) -> Result | None:
        """If it is remembered."""
        return self._results.get(job)

    def keep(self, result: Result) -> None:
        """The job ended."""
        self.drop(result.job.id)
        size = _size(result)
        if size <= LARGE_BYTES:
            self._results[result.job.id] = result
            self._bytes += size
        while self._bytes > KEPT_BYTES or len(self._results) > KEPT_MOST:
            _, oldest = self._results.popitem(last=False)
            self._bytes -= _size(oldest)

    def drop(self, job: JobId) -> None:
        """The job is another now."""
        known = self._results.pop(job, None)
        if known is not None:
            self._bytes -= _size(known)

    def clear(self) -> None:
        """Forget them all."""
        self._results.clear()
        self._bytes = 0


def _size(result: Result) -> int:
    return len(result.output or b"") + len(result.error or "")


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
        return self.mine(Result(job=stored_job(row).job, output=output, error=text))

    def mine(self, result: Result) -> Result | None:
        """The result, if it is one of the team's and the endpoint's."""
        job = result.job
        return result if job.team == self.team and self.endpoint in (None, job.endpoint) else None
