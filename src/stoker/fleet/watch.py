"""The watch over workers: what the runtime sees is compared with what is stored, and time does its work.

Called by the lifeline, and by the server while it waits for workers to go.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import structlog

from stoker.clock import Clock
from stoker.errors import Conflict, Unavailable
from stoker.fleet.launches import Launches
from stoker.fleet.moves import RETELL_STOP_AFTER_S, Moves
from stoker.fleet.terms import FleetTerms
from stoker.health import Check
from stoker.ids import WorkerId
from stoker.images import Images
from stoker.runtimes import Forgets, Observation, Runtime, TrimsLogs
from stoker.signals import Signals
from stoker.store import Held, Store
from stoker.worker import (
    Emptied,
    Exited,
    Launched,
    LaunchFailed,
    Stopped,
    Vanished,
    Waits,
    Worker,
    WorkerEvent,
    WorkerReason,
    WorkerState,
    advance,
)

log = structlog.get_logger()


class Watch:
    """Looks at all workers."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        runtime: Runtime,
        terms: FleetTerms,
        moves: Moves,
        launches: Launches,
        images: Images,
        signals: Signals,
    ) -> None:
        self._store = store
        self._clock = clock
        self._runtime = runtime
        self._terms = terms
        self._moves = moves
        self._launches = launches
        self._images = images
        self._signals = signals
        self._since_ms = clock.now_ms()  # what workers could not say or hear before is not held against them
        self.available = True
        """Whether the runtime answered when it was last asked."""

    async def look(self) -> None:
        """Compare what the runtime sees with what is stored, and let time do its work on workers."""
        alive = await self._store.workers.alive()
        launching = frozenset(self._moves.launching)  # what is seen may be older than the end of a launch
        try:
            seen = {one.worker: one for one in await self._runtime.observe()}
        except Unavailable as error:
            self.available = False
            log.warning("runtime_unavailable", error=error.message)
            return
        self.available = True
        for held in alive:
            if held.worker.id in seen or held.worker.id not in launching:
                await self._look_at(held, seen.get(held.worker.id))
        await self._stop_strays({held.worker.id for held in alive}, list(seen.values()))
        await self._replace_disobedient()
        await self._launches.tell_pulls()

    async def _look_at(self, held: Held, seen: Observation | None) -> None:
        worker, now_ms = held.worker, self._clock.now_ms()
        if seen is not None and seen.exit is not None:
            await self._moves.advance(worker, Exited(at_ms=now_ms, exit=seen.exit))
        elif seen is not None and seen.refused:
            await self._moves.advance(worker, LaunchFailed(at_ms=now_ms, text=seen.refused))
        elif seen is None:
            await self._moves.advance(worker, Vanished(at_ms=now_ms))
        elif worker.state is WorkerState.DRAINING and held.running + held.ahead == 0:
            await self._moves.advance(worker, Emptied(at_ms=now_ms))
        elif worker.state is WorkerState.STOPPING:
            await self._insist(worker, now_ms)
        elif seen.leaving and worker.state is not WorkerState.DRAINING:
            await self._moves.drain(worker.id, WorkerReason.PREEMPTED, seen.leaving)
        elif worker.state is WorkerState.DECIDED and (seen.waiting is not None or seen.steps):
            await self._look_at_start(worker, seen, now_ms)
        else:
            await self._look_at_time(worker, now_ms)

    async def _look_at_start(self, worker: Worker, seen: Observation, now_ms: int) -> None:
        """A worker whose start others decide: what it waits for, or that it runs."""
        event: WorkerEvent
        if seen.waiting is not None:
            event = Waits(at_ms=now_ms, text=seen.waiting.text, reason=seen.waiting.reason)
            if not advance(worker, event).changed:
                return  # most looks at a thousand that wait: what is stored is what is seen
        else:
            event = Launched(at_ms=now_ms, stages=tuple((one.name, one.at_ms) for one in seen.steps))
            await self._images.found(worker.release, seen.image)
        if (await self._moves.advance(worker, event)).changed:
            self._signals.scale(worker.endpoint)

    async def _insist(self, worker: Worker, now_ms: int) -> None:
        patience_s = self._moves.grace_s(worker) + RETELL_STOP_AFTER_S
        if now_ms - (worker.stopped_ms or 0) > patience_s * 1000:
            await self._moves.stop_in_runtime(worker.id, grace_s=0)

    async def _look_at_time(self, worker: Worker, now_ms: int) -> None:
        waited_s = (now_ms - max(worker.launched_ms or worker.decided_ms, self._since_ms)) / 1000
        silent_s = (now_ms - max(worker.seen_ms or 0, self._since_ms)) / 1000
        if worker.never_ready and waited_s > self._terms.start_timeout_s:
            failing = f": {worker.detail}" if worker.reason is WorkerReason.HEALTH_FAILING else ""
            missing = "ask for work" if worker.unhealthy_ms is None else "pass its health check"
            text = f"it did not {missing} within {self._terms.start_timeout_s:g} s{failing}"
            await self._moves.advance(worker, Stopped(at_ms=now_ms, reason=WorkerReason.START_TIMEOUT, detail=text))
        elif worker.pinged_ms is not None and not worker.never_ready and silent_s > self._terms.lease_s:
            text = f"it has been silent for {silent_s:.0f} s"
            await self._moves.advance(worker, Stopped(at_ms=now_ms, reason=WorkerReason.SILENT, detail=text))

    async def _stop_strays(self, alive: set[WorkerId], seen: Sequence[Observation]) -> None:
        """Workers of ours that run although the store says they are over (or lost its memory of them)."""
        for one in seen:
            if one.exit is None and one.worker not in alive and one.worker not in self._moves.launching:
                worker = await self._store.workers.get(one.worker)
                if worker is None or not worker.alive:
                    log.warning("stray_worker_stopped", worker=one.worker)
                    await self._moves.stop_in_runtime(one.worker, grace_s=0)

    async def _replace_disobedient(self) -> None:
        """A worker that went on with a job it was told to stop is replaced when its grace is over."""
        now_ms = self._clock.now_ms()
        asked_before_ms = now_ms - int(self._terms.cancel_grace_s * 1000)
        if asked_before_ms < self._since_ms:
            return
        for stop in await self._store.jobs.stops_due(asked_before_ms):
            worker = await self._store.workers.get(stop.worker)
            if worker is not None and worker.alive:
                text = f"it did not stop job {stop.job} within {self._terms.cancel_grace_s:g} s"
                await self._moves.advance(
                    worker, Stopped(at_ms=now_ms, reason=WorkerReason.JOB_NOT_STOPPED, detail=text)
                )

    async def welcome_back(self) -> None:
        """After a restart, or after another server: nobody heard the workers meanwhile, so their leases begin anew. The next look
        sees who died."""
        self._since_ms = self._clock.now_ms()
        now_ms, lease_ms = self._clock.now_ms(), int(self._terms.lease_s * 1000)
        for held in await self._store.workers.alive():
            if held.worker.pinged_ms is not None:
                await self._store.jobs.confirm(held.worker.id, None, at_ms=now_ms, lease_ms=lease_ms)

    def health(self) -> Check:
        """Whether the runtime answered the last time."""
        text = "the runtime answers" if self.available else "the runtime that starts workers does not answer"
        return Check(name="runtime", ok=self.available, text=text, needed=False)

    async def forget_gone(self, limit: int) -> int:
        """Forget workers that went long ago, with what the runtime keeps of them, and the oldest output beyond its bound; how many
        workers."""
        before_ms = self._clock.now_ms() - int(self._terms.gone_workers_kept_s * 1000)
        gone = await self._store.workers.prune(before_ms, limit)
        if isinstance(self._runtime, Forgets):
            for worker in gone:
                with contextlib.suppress(Conflict):  # it still runs: a stray, which the next look stops
                    await self._runtime.forget(worker)
        if isinstance(self._runtime, TrimsLogs):
            removed = await self._runtime.trim_logs(self._terms.gone_logs_bytes_max)
            if removed:
                log.info("logs_trimmed", bytes=removed)
        return len(gone)

    async def forget_told(self, limit: int) -> int:
        """Forget lines of the ledger about endpoints that are as old; how many."""
        before_ms = self._clock.now_ms() - int(self._terms.gone_workers_kept_s * 1000)
        return await self._store.ledger.prune(before_ms, limit)
