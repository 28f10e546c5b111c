"""Facts: what the scaling decision looks at of one endpoint, all but the room that there is on the machine."""

from __future__ import annotations

from stoker.budget import arrears
from stoker.clock import Clock
from stoker.endpoint import Endpoint, Release
from stoker.scaling import Snapshot, WorkerView
from stoker.store import Held, Store
from stoker.worker import WorkerReason


class Facts:
    """Reads of one endpoint."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def snapshot(self, endpoint: Endpoint) -> Snapshot:
        """As if there were room for as many workers as like."""
        counts = await self._store.jobs.counts(endpoint.id)
        held = await self._store.workers.of_endpoint(endpoint.id)
        failures = await self._store.workers.failures(endpoint.release)
        budgets = await self._store.budgets.of_team(endpoint.team)
        return Snapshot(
            now_ms=self._clock.now_ms(),
            min_workers=endpoint.min_workers,
            max_workers=endpoint.max_workers,
            idle_timeout_s=endpoint.idle_timeout_s,
            slots=endpoint.slots,
            policy=endpoint.policy,
            max_surge=endpoint.max_surge,
            deleted=endpoint.deleted_ms is not None,
            paused=endpoint.paused_ms is not None,
            arrears=arrears(budgets, endpoint.id, self._clock.now_ms()),
            queued=counts.queued,
            queued_low=counts.queued_low,
            oldest_queued_ms=await self._store.jobs.oldest_queued_ms(endpoint.id),
            running=counts.running,
            workers=tuple(_view(one, endpoint) for one in held),
            failures=failures.count,
            crashes=failures.crashes,
            failed_ms=failures.last_ms,
            failure_text=failures.text,
        )

    async def release(self, endpoint: Endpoint) -> Release:
        """The present one."""
        release = await self._store.endpoints.release(endpoint.release)
        assert release is not None, "an endpoint always names a stored release"
        return release


def _view(held: Held, endpoint: Endpoint) -> WorkerView:
    worker = held.worker
    return WorkerView(
        id=worker.id,
        state=worker.state,
        current=worker.release == endpoint.release,
        held=held.in_slots or min(1, held.ahead),  # what it has ahead needs no other worker: it could not go there
        decided_ms=worker.decided_ms,
        place=worker.specification,
        idle_ms=worker.idle_ms,
        pulling=worker.detail if worker.reason is WorkerReason.IMAGE_PULLING else "",
        placing=worker.detail if worker.reason is WorkerReason.PLACING else "",
        no_room=worker.detail if worker.reason is WorkerReason.NO_ROOM_YET else "",
        ailing=worker.detail if worker.reason is WorkerReason.HEALTH_FAILING else "",
    )
