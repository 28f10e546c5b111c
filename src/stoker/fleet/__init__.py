"""What happens to workers: launch, drain, stop, observe; and what their environment is.

    plans     what the autoscaler decides about, and carrying out what it decided
    launches  writing a worker down with what is reserved for it, and starting it
    moves     an event of a worker: stored, told to whom it concerns
    watch     what the runtime sees, and what time has done
    roster    workers as users see them
    turns     while which workers ran a job
    job_logs  what workers printed about a job
    costs     what a job cost
    checks    asking workers how they are, whose endpoints want it
    order     what the runtime is told to start

Decisions are made elsewhere: `scaling.decide` for how many, `worker.advance` for what an event means. Stored state leads: a
worker is written down before it is launched, and told to stop again for as long as the store says STOPPING.
"""

from __future__ import annotations

import asyncio

from stoker.catalog.mounts import FindPlaces, no_places
from stoker.clock import Clock
from stoker.endpoint import Endpoint
from stoker.fleet.checks import Checks, Probe
from stoker.fleet.costs import JobCosts
from stoker.fleet.facts import Facts
from stoker.fleet.job_logs import JobLogs
from stoker.fleet.launches import Launches
from stoker.fleet.moves import RETELL_STOP_AFTER_S, Moves
from stoker.fleet.order import worker_environment
from stoker.fleet.plans import Plans
from stoker.fleet.roster import Roster
from stoker.fleet.shares import Shares
from stoker.fleet.shortages import Shortages
from stoker.fleet.terms import FleetTerms
from stoker.fleet.watch import Watch
from stoker.images import Images
from stoker.machine import Machine
from stoker.metrics import Metrics
from stoker.runtimes import Runtime
from stoker.scaling import Plan, Snapshot
from stoker.signals import Signals
from stoker.store import Store
from stoker.vault import NO_VAULT, Vault
from stoker.worker import Drained, Stopped, Worker, WorkerEvent, WorkerReason


class Fleet:
    """All workers, and the end of them."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        signals: Signals,
        runtime: Runtime,
        terms: FleetTerms,
        vault: Vault = NO_VAULT,
        images: Images | None = None,
        find_places: FindPlaces = no_places,
        machine: Machine | None = None,
        probe: Probe | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._signals = signals
        self._terms = terms
        self._moves = Moves(store, clock, signals, runtime, terms, metrics or Metrics())
        machine, images = machine or Machine(store, clock, runtime), images or Images(store, clock, runtime)
        facts = Facts(store, clock)
        shares = Shares(store, clock, machine, facts, Shortages(store, clock, terms.patience))
        self._launches = Launches(
            store, clock, signals, runtime, terms, vault, images, shares, self._moves, find_places
        )
        self.watch = Watch(store, clock, runtime, terms, self._moves, self._launches, images, signals)
        self.checks = None if probe is None else Checks(store, clock, runtime, self._moves, probe)
        """Who asks workers how they are; None in programs that reach none."""
        self.roster = Roster(store, runtime)
        self.job_logs = JobLogs(store, runtime, signals)
        self.costs = JobCosts(store, clock)
        self._plans = Plans(store, clock, facts, shares, self._moves, self._launches, self.watch)
        self._closing = False
        self._hurried = False

    async def snapshot(self, endpoint: Endpoint) -> Snapshot:
        """Everything the scaling decision looks at."""
        return await self._plans.snapshot(endpoint)

    async def carry_out(self, endpoint: Endpoint, plan: Plan) -> None:
        """Do what the plan says, line by line; a line that the world has overtaken is skipped."""
        if not self._closing:  # what it says is about a server that goes on
            await self._plans.carry_out(endpoint, plan)

    async def welcome_back(self) -> None:
        """After a restart, or after another server: nobody heard the workers meanwhile, and what was decided last may be another's."""
        self._plans.welcome_back()
        await self.watch.welcome_back()

    async def stop(self, worker: Worker, *, now: bool) -> Worker:
        """A user wants the worker gone: after its jobs, or at once."""
        at_ms = self._clock.now_ms()
        reason, detail = WorkerReason.STOPPED_BY_USER, "a user stopped it"
        event: WorkerEvent = (
            Stopped(at_ms=at_ms, reason=reason, detail=detail)
            if now
            else Drained(at_ms=at_ms, reason=reason, detail=detail)
        )
        step = await self._moves.advance(worker, event)
        self._signals.look_at_workers()
        return step.worker

    # ── for the server ────────────────────────────────────────────────────────────────────────────────────────────────

    async def close(self, *, grace_s: float) -> None:
        """Launch nothing more, let workers finish for `grace_s`, then stop them; jobs left over go back to the queue."""
        self._closing = True
        await self._launches.cancel()
        for held in await self._store.workers.alive():
            await self._moves.drain(held.worker.id, WorkerReason.SERVER_STOPPING, "the server is stopping")
        await self._until_gone(grace_s)
        self._hurried = False
        for held in await self._store.workers.alive():
            event = Stopped(
                at_ms=self._clock.now_ms(), reason=WorkerReason.SERVER_STOPPING, detail="the server is stopping"
            )
            await self._moves.advance(held.worker, event)
        await self._until_gone(self._terms.stop_grace_s + RETELL_STOP_AFTER_S)

    def hurry(self) -> None:
        """Cut the grace of `close` short."""
        self._hurried = True
        self._signals.look_at_workers()

    async def _until_gone(self, wait_s: float) -> None:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + wait_s
        while not self._hurried:
            await self.watch.look()
            left_s = until_s - loop.time()
            if left_s <= 0 or not await self._store.workers.alive():
                return
            await self._signals.workers_to_look_at(min(left_s, 0.2))


__all__ = ["RETELL_STOP_AFTER_S", "Fleet", "FleetTerms", "worker_environment"]
