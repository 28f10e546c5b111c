"""The lifeline: notices what dies, falls silent or runs out of time.

Every round compares what the runtime sees with what is stored (workers), and lets due deadlines take effect (jobs: time to
live, execution limit, lease). A worker's death is noticed at once, because the runtime nudges; the rest within a second.
"""

from __future__ import annotations

from collections.abc import Callable

from stoker.clock import Clock
from stoker.fleet import Fleet
from stoker.job import JobState, TimePassed
from stoker.loops import keep_going, nobody
from stoker.signals import Signals
from stoker.store import Store

BATCH = 500
"""Jobs that are ended in one round at most; the next round goes on."""


class Lifeline:
    """The loop."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        signals: Signals,
        fleet: Fleet,
        *,
        every_s: float,
        ended: Callable[[str], None] = nobody,
    ) -> None:
        self._ended = ended
        self._store = store
        self._clock = clock
        self._signals = signals
        self._fleet = fleet
        self._every_s = every_s
        self._welcomed = False

    async def run(self) -> None:
        """Until cancelled."""
        await keep_going("lifeline", self._round, ended=self._ended)

    async def _round(self) -> None:
        if not self._welcomed:
            await self._fleet.welcome_back()
            self._welcomed = True
        await self._signals.workers_to_look_at(self._every_s)
        await self._fleet.watch.look()
        await self.end_due_jobs()

    async def end_due_jobs(self) -> None:
        """Tell every job whose deadline has passed that time has passed."""
        now_ms = self._clock.now_ms()
        for job in await self._store.jobs.due(now_ms, BATCH):
            step = await self._store.jobs.advance(job, TimePassed(at_ms=now_ms))
            if not step.changed:
                continue
            self._signals.job_changed(job)
            if step.job.worker is not None:
                self._signals.worker_changed(step.job.worker)
            if step.job.state is JobState.QUEUED:
                self._signals.job_queued(step.job.endpoint)
            else:
                self._signals.scale(step.job.endpoint)
