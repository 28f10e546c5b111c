"""An event of a worker: stored, everybody woken whom it concerns, and the runtime told what the step says."""

from __future__ import annotations

from typing import Final

import structlog

from stoker.clock import Clock
from stoker.errors import Unavailable
from stoker.fleet.terms import FleetTerms
from stoker.ids import WorkerId
from stoker.metrics import Metrics
from stoker.runtimes import Runtime
from stoker.signals import Signals
from stoker.store import Store
from stoker.worker import Drained, StopInRuntime, Worker, WorkerEvent, WorkerReason, WorkerState, WorkerStep

log = structlog.get_logger()

RETELL_STOP_AFTER_S: Final = 5.0
"""A worker that is still there this long after its grace is killed outright."""


class Moves:
    """What moves workers, and stops them."""

    def __init__(
        self, store: Store, clock: Clock, signals: Signals, runtime: Runtime, terms: FleetTerms, metrics: Metrics
    ) -> None:
        self._store = store
        self._clock = clock
        self._signals = signals
        self._runtime = runtime
        self._terms = terms
        self._metrics = metrics
        self.launching: set[WorkerId] = set()
        """Those that a launch goes on for: it stops them at its end if it has to."""
        self._stopping: set[WorkerId] = set()

    async def drain(self, worker_id: WorkerId, reason: WorkerReason, detail: str) -> None:
        """Let a worker finish what it holds and go; one that is gone already is left as it is."""
        worker = await self._store.workers.get(worker_id)
        if worker is None:
            return
        await self.advance(worker, Drained(at_ms=self._clock.now_ms(), reason=reason, detail=detail))
        self._signals.look_at_workers()

    async def advance(self, worker: Worker, event: WorkerEvent) -> WorkerStep:
        """Store the event, wake whoever is concerned, and tell the runtime if the step says so."""
        held = await self._store.jobs.held_by(worker.id)
        step = await self._store.workers.advance(worker.id, event)
        if not step.changed:
            return step
        if step.worker.state is WorkerState.GONE:
            self._metrics.worker_ended(step.worker)
        if step.worker.state is not worker.state:
            log.info(
                "worker_moved",
                worker=worker.id,
                state=step.worker.state,
                why=step.worker.reason,
                detail=step.worker.detail,
            )
        for job in held:
            self._signals.job_changed(job.id)
        self._signals.jobs_queued(worker.endpoint)
        if any(isinstance(effect, StopInRuntime) for effect in step.effects):
            await self.stop_in_runtime(worker.id, grace_s=self.grace_s(step.worker))
        self._signals.worker_changed(worker.id)
        return step

    def grace_s(self, worker: Worker) -> float:
        """A worker that did not obey before is not asked again."""
        deaf = worker.reason in (WorkerReason.JOB_NOT_STOPPED, WorkerReason.SILENT, WorkerReason.START_TIMEOUT)
        return 0.0 if deaf else self._terms.stop_grace_s

    async def stop_in_runtime(self, worker: WorkerId, *, grace_s: float) -> None:
        """Tell the runtime. If it does not answer, the lifeline tells it again; if it still launches the worker, whoever
        launches it does so at the end: calls for one worker are made one after another."""
        if worker in self.launching or worker in self._stopping:
            return
        self._stopping.add(worker)
        try:
            await self._runtime.stop(worker, grace_s=grace_s)
        except Unavailable as error:
            log.warning("runtime_unavailable", worker=worker, error=error.message)
        finally:
            self._stopping.discard(worker)
