"""Novita's dialect of the job API: `/v1/{endpoint}`.

A queued job is PENDING, and there is `/stats`. Novita points users of Runpod's Python client here too, so every operation of
that client works as well. Facts: protocol, Novita API §1.
"""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from stoker.catalog import Entrance
from stoker.job import JobState
from stoker.rate import Asked
from stoker.team import Scope
from stoker.web.call import Answer, Call, answer
from stoker.web.jobs import Dialect, JobRoutes, add_route

NOVITA: Final = Dialect(
    name="v1",
    vendor="Novita",
    states={
        JobState.QUEUED: "PENDING",
        JobState.AHEAD: "PENDING",
        JobState.RUNNING: "IN_PROGRESS",
        JobState.COMPLETED: "COMPLETED",
        JobState.FAILED: "FAILED",
        JobState.CANCELLED: "CANCELLED",
        JobState.TIMED_OUT: "TIMED_OUT",
    },
)


class NovitaJobs(JobRoutes):
    """The shared operations and `/stats`."""

    def router(self) -> APIRouter:
        """The dialect's routes."""
        router = super().router()
        stats = self._gate.before(self.stats, Scope.READ, Asked.LOOK)
        add_route(router, "/stats", ["GET"], stats, "Counters of the queue", needs_body=False)
        return router

    async def stats(self, call: Call, entrance: Entrance) -> Answer:
        """GET /stats. `total_workers` counts starting workers too."""
        endpoint = entrance.endpoint
        counts = await self._queue.counts(endpoint.id)
        workers = await self._fleet.roster.workers(endpoint.id, gone=0)
        return answer(
            {
                "busy_workers": sum(one.held > 0 for one in workers),
                "endpoint": call.parameters["endpoint"],
                "in_progress": counts.running,
                "pending": counts.waiting,
                "total_workers": len(workers),
            }
        )
