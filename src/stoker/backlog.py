"""What a server knows of each endpoint's backlog: how long its jobs run, and how many a worker may have ahead.

Called by `leases.py`. Run times are measured by what this server hears, and forgotten with its process. While the queue is
short a take pays for one look into a table; the database is asked once a second, and again before anything is given.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from stoker.clock import Clock
from stoker.delivery import Demand, gains, jobs_ahead
from stoker.endpoint import Endpoint
from stoker.ids import EndpointId
from stoker.job import Job
from stoker.store import Store
from stoker.worker import WorkerState

TRUST_MS: Final = 1_000
"""How long a queue is believed to be as long as it was."""
REMEMBERED_MOST: Final = 10_000
"""Endpoints that are remembered at once."""
WEIGHT: Final = 0.1
"""Of the latest job in the mean: after a slow one nothing is delivered ahead for a while."""
_LIVE: Final = (WorkerState.DECIDED, WorkerState.STARTING, WorkerState.READY)


@dataclass(frozen=True, slots=True)
class _Look:
    until_ms: int
    """How long it is believed."""
    endpoint: Endpoint | None
    """None where none is delivered ahead, whoever takes: it is gone, does not want it, or no more jobs wait than a worker has slots."""
    queued: int


class Backlog:
    """One for all endpoints of a server."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._run_ms: dict[EndpointId, float] = {}
        self._looks: dict[EndpointId, _Look] = {}

    def ended(self, job: Job) -> None:
        """A job ended on its worker. One whose turn nobody saw has no run time: it does not count."""
        run_ms = job.execution_ms
        if not run_ms:
            return
        mean = self._run_ms.get(job.endpoint)
        if mean is None:
            mean = run_ms
            if len(self._run_ms) >= REMEMBERED_MOST:
                self._run_ms.clear()
        self._run_ms[job.endpoint] = mean + WEIGHT * (run_ms - mean)

    def none_ahead(self, endpoint_id: EndpointId, sdk: str, now_ms: int) -> bool:
        """Whether it is known, without asking the database, that `ahead` is 0."""
        look = self._looks.get(endpoint_id)
        if look is None or now_ms >= look.until_ms:
            return False
        return look.endpoint is None or not gains(sdk, look.endpoint.slots)

    async def ahead(self, endpoint_id: EndpointId, sdk: str, now_ms: int) -> int:
        """How many jobs a worker that takes now may have ahead."""
        look = self._looks.get(endpoint_id)
        if look is None or now_ms >= look.until_ms:
            if look is not None:  # others who take now believe it once more, and do not look too
                self._looks[endpoint_id] = replace(look, until_ms=now_ms + TRUST_MS)
            look = await self._look(endpoint_id, now_ms)
        endpoint = look.endpoint
        if endpoint is None or not self._allows(endpoint, sdk, look.queued, live=1):
            return 0
        counts = await self._store.jobs.counts(endpoint_id)
        workers = await self._store.workers.of_endpoint(endpoint_id)
        live = sum(held.worker.state in _LIVE for held in workers)
        return self._allows(endpoint, sdk, counts.queued + counts.queued_low, live=live)

    def _allows(self, endpoint: Endpoint, sdk: str, queued: int, *, live: int) -> int:
        return jobs_ahead(
            Demand(
                setting=endpoint.deliver_ahead,
                sdk=sdk,
                slots=endpoint.slots,
                queued=queued,
                live=live,
                run_ms=self._run_ms.get(endpoint.id),
            )
        )

    async def _look(self, endpoint_id: EndpointId, now_ms: int) -> _Look:
        endpoint = await self._store.endpoints.get(endpoint_id)
        counts = await self._store.jobs.counts(endpoint_id)
        queued = counts.queued + counts.queued_low
        if endpoint is not None and (endpoint.deliver_ahead == 0 or queued <= endpoint.slots):
            endpoint = None
        if len(self._looks) >= REMEMBERED_MOST:
            self._looks.clear()
        look = self._looks[endpoint_id] = _Look(now_ms + TRUST_MS, endpoint, queued)
        return look


__all__ = ["Backlog"]
