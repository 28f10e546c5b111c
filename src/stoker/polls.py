"""Clients that ask for the same status again at once, faster than anything changes.

Called by `queue.py`. To ask every few milliseconds tells a client nothing sooner than the change itself would, and costs the server more than
the job does. So an answer that was given a moment ago is not given again: who asks for it is held until there is another, for some `HOLD_S` at most. Who
asks once a second, as SDKs do, is answered at once.
"""

from __future__ import annotations

from typing import Final

from stoker.ids import JobId
from stoker.job import JobState
from stoker.store import Result

SOON_S: Final = 0.1
"""Who asks again after less than this has learned nothing yet."""
HOLD_S: Final = 0.1
"""How long such a question is held, if nothing changes."""
JOBS_MOST: Final = 10_000
"""Jobs whose last answer is remembered at once."""

Seen = tuple[JobState, int, int]
"""What of a status can change before the job ends: its state, its attempt, a hash of its progress."""


class Polls:
    """What clients were told last, and when."""

    def __init__(self) -> None:
        self._told: dict[JobId, tuple[float, Seen]] = {}

    def repeats(self, result: Result, now_s: float) -> bool:
        """Note that somebody is told this now; whether it was told a moment ago. An end is told as often as it is asked for.

        `now_s` is of a clock that only moves forward.
        """
        job = result.job
        if job.state.final:
            return False
        seen = (job.state.shown, job.attempt, hash(result.output))
        before = self._told.get(job.id)
        if before is None and len(self._told) >= JOBS_MOST:
            self._told.clear()
        self._told[job.id] = (now_s, seen)
        return before is not None and before[1] == seen and now_s < before[0] + SOON_S


__all__ = ["HOLD_S", "Polls"]
