"""Why jobs, endpoints and workers are as they are: reads what was recorded and lets `stoker.why` say it.

Called by the management API. Costs some reads of the store, so nothing on the way of a job asks it.
"""

from __future__ import annotations

from collections.abc import Sequence

from stoker.budget import Level, counting, worst
from stoker.clock import Clock
from stoker.endpoint import Endpoint
from stoker.ids import EndpointId, TeamId
from stoker.job import Job, JobState
from stoker.scaling import Reason
from stoker.store import Decision, Held, Page, Result, Store
from stoker.warmup import WarmUp
from stoker.why import Forecast, Why
from stoker.why.endpoints import STUCK, explain_endpoint
from stoker.why.forecast import SAMPLES_MOST, History, forecast
from stoker.why.jobs import explain_job
from stoker.why.workers import explain_worker
from stoker.worker import Worker, WorkerState

STARTS_MOST = 20
"""Workers that went whose starts are looked at, besides those that are there."""


class Explanations:
    """Operations that explain."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def job(self, result: Result) -> Why:
        """Why the job is as it is, and when it is expected to start if it waits."""
        job = result.job
        decision = await self._store.workers.decision(job.endpoint)
        if job.state.shown is not JobState.QUEUED:
            return explain_job(job, error=result.error, decision=decision, ahead=None)
        endpoint = await self._store.endpoints.get(job.endpoint)
        ahead = await self._store.jobs.ahead_of(job)
        expected = None if endpoint is None else await self._expected(endpoint, decision, job, ahead)
        name = "" if endpoint is None else endpoint.name
        return explain_job(job, error=result.error, decision=decision, ahead=ahead, endpoint=name, expected=expected)

    async def endpoint(self, endpoint: Endpoint) -> Why:
        """Why the endpoint has the workers that it has."""
        counts = await self._store.jobs.counts(endpoint.id)
        now_ms = self._clock.now_ms()
        budget = worst(counting(await self._store.budgets.of_team(endpoint.team), endpoint.id), now_ms)
        warning = budget.text(now_ms) if budget is not None and budget.level(now_ms) is Level.WARN else ""
        decision = await self._store.workers.decision(endpoint.id)
        warm_up = await self._warm_up(endpoint)
        return explain_endpoint(endpoint, counts, decision, warning=warning, warm_up=warm_up)

    async def _warm_up(self, endpoint: Endpoint) -> WarmUp | None:
        """That of the image of its release, if there was one."""
        release = await self._store.endpoints.release(endpoint.release)
        wishes = await self._store.warm_ups.of_team(endpoint.team)
        return next((one for one in wishes if release is not None and one.image == release.image), None)

    async def worker(self, held: Held) -> Why:
        """Why the worker is as it is."""
        story = await self._store.workers.story(held.worker.id)
        return explain_worker(held, story, self._clock.now_ms())

    async def _expected(self, endpoint: Endpoint, decision: Decision | None, job: Job, ahead: int) -> Forecast | None:
        if job.state is not JobState.QUEUED or (decision is not None and decision.reason in STUCK):
            return None
        if job.low_priority and decision is not None and decision.reason == Reason.LOW_PRIORITY:
            return None  # it starts when others are done, and who knows how many will come
        workers = await self._store.workers.of_endpoint(endpoint.id, gone=STARTS_MOST)
        ready = [one for one in workers if one.worker.state is WorkerState.READY]
        wanted = max(1, 0 if decision is None else decision.wanted)
        history = History(
            runs_ms=await self._runs_ms(endpoint.team, endpoint.id),
            starts_ms=_starts_ms([one.worker for one in workers]),
        )
        return forecast(
            history,
            before=ahead,
            lanes=(len(ready) or min(wanted, endpoint.max_workers)) * endpoint.slots,
            free=sum(max(0, endpoint.slots - one.held) for one in ready) if ready else wanted * endpoint.slots,
            ready=bool(ready),
        )

    async def _runs_ms(self, team: TeamId, endpoint: EndpointId) -> Sequence[int]:
        ended = await self._store.jobs.list(team, endpoint, state=JobState.COMPLETED, page=Page(limit=SAMPLES_MOST))
        return [job.execution_ms for job in ended if job.execution_ms is not None]


def _starts_ms(workers: Sequence[Worker]) -> Sequence[int]:
    return [one.ready_ms - one.decided_ms for one in workers if one.ready_ms is not None]


__all__ = ["Explanations"]
