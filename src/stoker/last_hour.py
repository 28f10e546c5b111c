"""The last hour of an endpoint: how long jobs waited and ran, how many ended well, and why the others did not.

Called by the management API, for tables and the console. Reads the newest ended jobs of each state and nothing else, so it costs
the same however many there are; where more ended within the hour, the newest speak for all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from stoker.clock import Clock
from stoker.ids import EndpointId, JobId, TeamId
from stoker.job import Job, JobState
from stoker.store import Page, Store

SPAN_MS: Final = 3_600_000
STEPS: Final = 30
"""Parts of the hour in which ends are counted."""
SAMPLES_MOST: Final = 200
"""Jobs of each state that are looked at."""
STATES: Final = (JobState.COMPLETED, JobState.FAILED, JobState.TIMED_OUT)
"""Ends that say something about the endpoint: what a client cancelled does not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cause:
    """Jobs that ended badly for one reason, and the newest of them."""

    state: JobState
    reason: str
    count: int
    newest: JobId


@dataclass(frozen=True, kw_only=True, slots=True)
class LastHour:
    """What the looked-at jobs say. Times in milliseconds; None where no job says any."""

    looked_at: int
    """Jobs that ended within the hour."""
    complete: bool
    """Whether these are all that ended within it."""
    completed: int
    wait_ms: tuple[int, int] | None
    """p50 and p95, from received to taken."""
    run_ms: tuple[int, int] | None
    oldest_queued_ms: int | None
    """When the job came that waits longest; None when none waits."""
    ends: Sequence[tuple[int, int]]
    """How many ended well and how many badly, part by part of the hour, oldest first."""
    causes: Sequence[Cause]
    """The most frequent first."""


class LastHours:
    """The operation."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def of(self, team: TeamId, endpoint: EndpointId) -> LastHour:
        """The hour until now."""
        now_ms = self._clock.now_ms()
        page = Page(limit=SAMPLES_MOST)
        found = [await self._store.jobs.list(team, endpoint, state=state, page=page) for state in STATES]
        complete = all(len(of) < SAMPLES_MOST or (of[-1].finished_ms or 0) < now_ms - SPAN_MS for of in found)
        oldest_ms = await self._store.jobs.oldest_queued_ms(endpoint)
        return last_hour(
            [job for of in found for job in of], now_ms=now_ms, complete=complete, oldest_queued_ms=oldest_ms
        )


def last_hour(jobs: Sequence[Job], *, now_ms: int, complete: bool, oldest_queued_ms: int | None) -> LastHour:
    """From ended jobs, whenever they ended."""
    ended = [job for job in jobs if (job.finished_ms or 0) > now_ms - SPAN_MS]
    bad = [job for job in ended if job.state is not JobState.COMPLETED]
    return LastHour(
        looked_at=len(ended),
        complete=complete,
        completed=len(ended) - len(bad),
        wait_ms=_percentiles([job.delay_ms for job in ended if job.delay_ms is not None]),
        run_ms=_percentiles([job.execution_ms for job in ended if job.execution_ms is not None]),
        oldest_queued_ms=oldest_queued_ms,
        ends=_ends(ended, now_ms),
        causes=_causes(bad),
    )


def _percentiles(values: Sequence[int]) -> tuple[int, int] | None:
    """The smallest values that half, and 95 of 100, do not exceed."""
    if not values:
        return None
    ranked = sorted(values)
    return ranked[(len(ranked) - 1) * 50 // 100], ranked[-(-len(ranked) * 95 // 100) - 1]


def _ends(ended: Sequence[Job], now_ms: int) -> Sequence[tuple[int, int]]:
    counts = [[0, 0] for _ in range(STEPS)]
    for job in ended:
        age_ms = min(max(0, now_ms - (job.finished_ms or 0)), SPAN_MS - 1)
        counts[STEPS - 1 - age_ms * STEPS // SPAN_MS][job.state is not JobState.COMPLETED] += 1
    return [(good, bad) for good, bad in counts]


def _causes(bad: Sequence[Job]) -> Sequence[Cause]:
    counted = Counter((job.state, str(job.reason)) for job in bad)
    newest: dict[tuple[JobState, str], Job] = {}
    for job in sorted(bad, key=lambda one: one.finished_ms or 0):
        newest[job.state, str(job.reason)] = job
    return [
        Cause(state=state, reason=reason, count=count, newest=newest[state, reason].id)
        for (state, reason), count in counted.most_common()
    ]


__all__ = ["Cause", "LastHour", "LastHours", "last_hour"]
