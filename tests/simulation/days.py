"""What happens in a simulated world: who asks for what, and what goes wrong."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from stoker.endpoint import Endpoint, Policy, PolicyType
from stoker.ids import JobId
from stoker.worker import Worker
from tests.simulation.checkers import Checker
from tests.simulation.workers import Vices
from tests.simulation.world import World

SETTLES_WITHIN_S: Final = 3_600
"""After the last job and the last trouble, everything has ended and every idle worker has gone within this."""


@dataclass(frozen=True, kw_only=True)
class Day:
    """How long, how busy, how unlucky. Intervals are means."""

    length_s: float
    submit_every_s: float
    restart_every_s: float = math.inf
    outage_every_s: float = math.inf
    mishap_every_s: float = math.inf
    """A worker is killed, vanishes, or is stopped by a user."""
    change_every_s: float = math.inf
    """A new release, or the queue is purged."""
    look_every_s: float = 5.0
    tides: bool = False
    """Whether most jobs come by day, and some in bursts."""


class Play:
    """One day in one world."""

    def __init__(self, world: World, day: Day) -> None:
        self.world = world
        self.checker = Checker(world)
        self._day = day
        self._over = False

    async def run(self) -> None:
        """The day, and then quiet until everything has ended."""
        for task in (self._clients(), self._restarts(), self._outages(), self._mishaps(), self._changes()):
            self.world.beside(task)
        while self.world.now_s < self._day.length_s:
            await asyncio.sleep(self._day.look_every_s)
            await self.checker.look()
        self._over = True
        self.world.vices = Vices()
        self.world.machine.calm()
        await self._settle()

    async def _settle(self) -> None:
        end_s = self.world.now_s + SETTLES_WITHIN_S
        while self.checker.open_jobs() or not await self._rests():
            assert self.world.now_s < end_s, await self._unsettled()
            await asyncio.sleep(self._day.look_every_s)
            await self.checker.look()
        await self.checker.check_ends()

    async def _rests(self) -> bool:
        """Whether each endpoint is back at min, all of them serving."""
        for endpoint in await self.world.view.endpoints.active():
            held = await self.world.view.workers.of_endpoint(endpoint.id)
            ready = sum(one.worker.takes_jobs and one.held == 0 for one in held)
            if not len(held) == ready == endpoint.min_workers:
                return False
        return True

    async def _unsettled(self) -> str:
        jobs = [await self.world.view.jobs.result(self.world.team, None, job) for job in self.checker.open_jobs()]
        workers = await self.world.view.workers.alive()
        return "\n".join(["not settled:", *map(str, jobs), *map(str, workers)])

    # ── what goes wrong ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _restarts(self) -> None:
        async for chance in self._now_and_then("restarts", self._day.restart_every_s):
            grace_s = chance.uniform(0, 20) if chance.random() < 0.3 else None
            await self.world.restart(down_s=chance.choice([0.05, 2, 10, 45]), grace_s=grace_s)

    async def _outages(self) -> None:
        async for chance in self._now_and_then("outages", self._day.outage_every_s):
            self.world.machine.away = chance.random() < 0.5
            self.world.machine.blind = not self.world.machine.away
            await asyncio.sleep(chance.uniform(1, 60))
            self.world.machine.away = self.world.machine.blind = False

    async def _mishaps(self) -> None:
        async for chance in self._now_and_then("mishaps", self._day.mishap_every_s):
            running = [worker.id for worker in self.world.workers.values() if worker.fake.exit is None]
            alive = [held.worker for held in await self.world.view.workers.alive()]
            what = chance.choice(["kill", "vanish", "stop", "stop now"])
            if what == "kill" and running:
                self.world.machine.kill(chance.choice(running))
            elif what == "vanish" and running:
                self.world.machine.vanish(chance.choice(running))
            elif alive:
                await self._stop(chance.choice(alive), now=what == "stop now")

    async def _stop(self, worker: Worker, *, now: bool) -> None:
        await self.world.try_(lambda server: server.fleet.stop(worker, now=now))

    async def _changes(self) -> None:
        async for chance in self._now_and_then("changes", self._day.change_every_s):
            endpoint = chance.choice(self.world.endpoints)
            if chance.random() < 0.3:
                await self.world.try_(lambda server, e=endpoint: server.queue.purge(e.id))  # type: ignore[misc]
            else:
                await self.world.release(endpoint)

    async def _now_and_then(self, name: str, every_s: float) -> Any:
        """Until the day is over."""
        chance = Random(f"{self.world.setting.seed} {name}")
        while every_s < math.inf:
            await asyncio.sleep(chance.expovariate(1 / every_s))
            if self._over:
                return
            yield chance

    # ── clients ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _clients(self) -> None:
        async for chance in self._now_and_then("clients", self._day.submit_every_s):
            if chance.random() > self._tide():
                continue
            endpoint = chance.choice(self.world.endpoints)
            burst = 20 if self._day.tides and chance.random() < 0.01 else 1
            for _ in range(burst):
                self.world.beside(self._client(endpoint, Random(chance.random())))

    def _tide(self) -> float:
        """The share of jobs that come at this hour: the day begins at midnight."""
        if not self._day.tides:
            return 1.0
        return max(0.0, -math.cos(2 * math.pi * self.world.now_s / self._day.length_s)) ** 2

    async def _client(self, endpoint: Endpoint, chance: Random) -> None:
        wish = {
            "work_s": chance.choice([0.1, 1, 3, 15]),
            "fails": chance.random() < 0.05,
            "kills": chance.random() < 0.02,
        }
        job = await self.world.submit(
            endpoint,
            wish,
            low_priority=chance.random() < 0.1,
            ttl_ms=20_000 if chance.random() < 0.05 else None,
            execution_timeout_ms=10_000 if chance.random() < 0.05 else None,
        )
        if job is None:
            return
        if chance.random() < 0.1:
            await asyncio.sleep(chance.expovariate(1 / 10))
            await self.world.try_(lambda server: server.queue.cancel(endpoint.team, endpoint.id, job))
        elif chance.random() < 0.1:
            await self.world.try_(lambda server: server.queue.wait(endpoint.team, endpoint.id, job, wait_s=60))
        elif chance.random() < 0.05:
            await asyncio.sleep(chance.expovariate(1 / 60))
            await self._retry(endpoint, job)

    async def _retry(self, endpoint: Endpoint, job: JobId) -> None:
        async def retry(server: Any) -> None:
            await server.queue.status(endpoint.team, endpoint.id, job)
            self.checker.client_retried(job)
            await server.queue.retry(endpoint.team, endpoint.id, job)
            self.checker.client_retried(job)

        await self.world.try_(retry)


async def three_endpoints(world: World) -> None:
    """A plain one, one with slots that never sleeps, one that waits a little; two of them share the GPUs."""
    common = {"execution_timeout_ms": 60_000, "ttl_ms": 600_000}
    await world.create(idle_timeout_s=15, max_workers=3, gpus_per_worker=1, **common)
    await world.create(
        idle_timeout_s=30, min_workers=1, max_workers=2, slots=3, retries=2, policy=Policy(value=2), **common
    )
    await world.create(
        idle_timeout_s=5,
        max_workers=3,
        gpus_per_worker=2,
        start_s=5.0,
        policy=Policy(type=PolicyType.QUEUE_DELAY, value=5),
        **common,
    )
