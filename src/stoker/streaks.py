"""Workers that fail every job while others of their endpoint do not: something is wrong with the worker, not with the jobs.

`leases` tells every end of a job; the answer is whether the worker should be replaced. What is counted lives in this server's
memory: a server that hears only some of a worker's results replaces it a little later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from stoker.ids import EndpointId, WorkerId

REMEMBERED_MOST: Final = 10_000
"""Workers in the middle of a streak; the oldest are forgotten first."""


@dataclass(frozen=True, slots=True)
class _Streak:
    failures: int
    successes_before: int
    """How often workers of the endpoint had succeeded when it began."""


class Streaks:
    """Failures in a row. A worker may have `most`; 0 lets it have any number."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._streaks: dict[WorkerId, _Streak] = {}
        self._successes: dict[EndpointId, int] = {}

    def note(self, endpoint: EndpointId, worker: WorkerId, *, failed: bool) -> bool:
        """A job of the worker has ended. Whether the worker is to be replaced: it failed too often in a row, and another did not."""
        successes = self._successes.get(endpoint, 0)
        if not failed:
            self._streaks.pop(worker, None)
            self._successes[endpoint] = successes + 1
            return False
        streak = self._streaks.pop(worker, _Streak(0, successes))
        streak = _Streak(streak.failures + 1, streak.successes_before)
        if self.most and streak.failures >= self.most and successes > streak.successes_before:
            return True
        self._streaks[worker] = streak
        if len(self._streaks) > REMEMBERED_MOST:
            del self._streaks[next(iter(self._streaks))]
        return False
