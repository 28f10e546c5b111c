"""What statuses showed last, in memory: jobs that have just ended, and on SQLite those under way.

Called by both databases. Whoever fills it knows what may be believed: see `sqlite/known.py` and `postgres/known.py`.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from stoker.ids import EndpointId, JobId, TeamId
from stoker.job import Job
from stoker.store import Result

KEPT_MOST: Final = 4_096
KEPT_BYTES: Final = 16 * 1024 * 1024
RESULT_BYTES: Final = 1024 * 1024
"""None of them is larger."""


class Recent:
    """Results as they were committed."""

    def __init__(self) -> None:
        self._results: OrderedDict[JobId, Result] = OrderedDict()
        self._bytes = 0

    def get(self, job: JobId) -> Result | None:
        """If it is remembered."""
        return self._results.get(job)

    def find(self, team: TeamId, endpoint: EndpointId | None, job: JobId) -> Result | None:
        """If it is remembered and theirs."""
        return theirs(self._results.get(job), team, endpoint)

    def keep(self, result: Result) -> None:
        """What its status shows now."""
        self.drop(result.job.id)
        size = _size(result)
        if size <= RESULT_BYTES:
            self._results[result.job.id] = result
            self._bytes += size
        while self._bytes > KEPT_BYTES or len(self._results) > KEPT_MOST:
            _, oldest = self._results.popitem(last=False)
            self._bytes -= _size(oldest)

    def follow(self, job: Job) -> None:
        """The job is another now; what it has said is the same."""
        known = self._results.get(job.id)
        if known is not None:
            self._results[job.id] = Result(job=job, output=known.output, error=known.error)

    def drop(self, job: JobId) -> None:
        """Forget it."""
        known = self._results.pop(job, None)
        if known is not None:
            self._bytes -= _size(known)

    def clear(self) -> None:
        """Forget them all."""
        self._results.clear()
        self._bytes = 0


def theirs(result: Result | None, team: TeamId, endpoint: EndpointId | None) -> Result | None:
    """The result, if it is one of the team's and the endpoint's; None for the endpoint are all of the team's."""
    if result is None or result.job.team != team or endpoint not in (None, result.job.endpoint):
        return None
    return result


def _size(result: Result) -> int:
    return len(result.output or b"") + len(result.error or "")
