"""Health checks of workers: who is asked when, and what becomes of the answers.

Called by the loop that asks, on the one server that runs loops. Answers are counted here and forgotten with the process: another
server counts anew, so a worker may get that many more questions before it is replaced.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from stoker.checkup import HealthCheck, Tally, Verdict, verdict
from stoker.clock import Clock
from stoker.errors import Unavailable
from stoker.fleet.moves import Moves
from stoker.ids import ReleaseId, WorkerId
from stoker.runtimes import Runtime, TellsAddresses
from stoker.store import Store
from stoker.worker import HealthFailed, HealthPassed, Worker, WorkerReason, WorkerState

log = structlog.get_logger()

ASKED_MOST: Final = 50
"""Workers that are asked at once."""
_ASKED: Final = (WorkerState.STARTING, WorkerState.READY)


class Probe(Protocol):
    """Whatever asks a worker over HTTP."""

    async def get(self, address: str, path: str, *, timeout_s: float) -> str:
        """Why the answer was no good one, in words; empty when it was. `address` is `HOST:PORT`."""
        ...


@dataclass(slots=True)
class _Patient:
    """What is known of a worker that is asked."""

    next_ms: int
    tally: Tally = field(default_factory=Tally)
    asking: asyncio.Task[None] | None = None


class Checks:
    """The health checks of all workers."""

    def __init__(self, store: Store, clock: Clock, runtime: Runtime, moves: Moves, probe: Probe) -> None:
        self._store = store
        self._clock = clock
        self._runtime = runtime
        self._moves = moves
        self._probe = probe
        self._patients: dict[WorkerId, _Patient] = {}
        self._known: dict[ReleaseId, HealthCheck | None] = {}
        self._room = asyncio.Semaphore(ASKED_MOST)

    async def look(self) -> None:
        """Ask every worker whose time has come. The answers are waited for elsewhere: one that is slow holds up nobody."""
        alive = [held.worker for held in await self._store.workers.alive() if held.worker.state in _ASKED]
        self._forget({worker.id for worker in alive}, {worker.release for worker in alive})
        now_ms = self._clock.now_ms()
        for worker in alive:
            check = await self._check(worker.release)
            if check is not None and worker.launched_ms is not None:
                first_ms = worker.launched_ms + check.initial_delay_s * 1000
                patient = self._patients.setdefault(worker.id, _Patient(first_ms))
                if patient.next_ms <= now_ms and patient.asking is None:
                    patient.next_ms = now_ms + check.period_s * 1000
                    patient.asking = asyncio.create_task(self._ask(worker, check, patient), name=f"ask {worker.id}")

    def _forget(self, alive: set[WorkerId], releases: set[ReleaseId]) -> None:
        self._known = {release: check for release, check in self._known.items() if release in releases}
        for gone in [worker for worker in self._patients if worker not in alive]:
            patient = self._patients.pop(gone)
            if patient.asking is not None:
                patient.asking.cancel()

    async def _check(self, release: ReleaseId) -> HealthCheck | None:
        """A release never changes, so neither does its check."""
        if release not in self._known:
            found = await self._store.endpoints.release(release)
            self._known[release] = None if found is None else found.health
        return self._known[release]

    async def _ask(self, worker: Worker, check: HealthCheck, patient: _Patient) -> None:
        try:
            async with self._room:
                fault = await self._fault(worker, check)
            if fault is not None:
                patient.tally = patient.tally.with_answer(not fault)
                await self._judge(worker.id, check, patient.tally, fault)
        except Unavailable as error:
            log.warning("health_not_judged", worker=worker.id, error=error.message)
        finally:
            patient.asking = None

    async def _fault(self, worker: Worker, check: HealthCheck) -> str | None:
        """What is wrong with the answer, empty for nothing; None when the runtime cannot say whom to ask: no fault of the
        worker's."""
        if not isinstance(self._runtime, TellsAddresses):
            return None
        address = await self._runtime.address(worker.id)
        if not address:
            return "nobody knows where its HTTP server is"
        fault = await self._probe.get(address, check.path, timeout_s=check.timeout_s)
        return f"GET {check.path}: {fault}" if fault else ""

    async def _judge(self, worker_id: WorkerId, check: HealthCheck, tally: Tally, fault: str) -> None:
        worker = await self._store.workers.get(worker_id)
        if worker is None or worker.state not in _ASKED:
            return
        healthy = worker.unhealthy_ms is None
        said = verdict(check, tally, healthy=healthy, passed=not worker.never_ready)
        now_ms = self._clock.now_ms()
        if said is Verdict.HEALTHY and not healthy:
            await self._moves.advance(worker, HealthPassed(at_ms=now_ms))
        elif said is Verdict.LOST:
            text = f"{fault}, {tally.bad} times in a row"
            await self._moves.drain(worker.id, WorkerReason.UNHEALTHY, text)
        elif said is Verdict.UNHEALTHY and fault:
            await self._moves.advance(worker, HealthFailed(at_ms=now_ms, text=fault))

    async def close(self) -> None:
        """Stop asking."""
        asking = [patient.asking for patient in self._patients.values() if patient.asking is not None]
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        self._patients.clear()


__all__ = ["Checks", "Probe"]
