"""Workers as the SDKs write them: they take, work, ping beside their work, listen for stops, post results. And their vices.

A vice is drawn once for each worker, or once for each job, from the worker's own chance, so that a seed tells the whole story.
The ping is a task beside the worker, as the SDKs' ping process is: it may stop before the worker does and go on after it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from random import Random
from typing import TYPE_CHECKING, Final, TypeVar

from stoker.ids import JobId, WorkerId
from stoker.leases import Asker, Caller, Report
from stoker.runtimes.fake import FakeWorker
from stoker.store import Claim

if TYPE_CHECKING:
    from tests.simulation.world import Server, World

T = TypeVar("T")

SDK: Final = "1.12.0"
POST_TRIES: Final = 3
"""How often the SDK posts a result before it gives up and forgets it."""
RETRY_AFTER_S: Final = 1.0


class Down(Exception):
    """Nobody answered, or the connection broke."""


@dataclass(frozen=True, kw_only=True)
class Vices:
    """How likely each is: the first group for a worker, the second for a job."""

    crashes_while_starting: float = 0.0
    fails_its_check: float = 0.0
    starts_slowly: float = 0.0
    never_starts: float = 0.0
    ignores_sigterm: float = 0.0
    ignores_stops: float = 0.0
    sends_no_pings: float = 0.0
    lets_pings_linger: float = 0.0

    crashes: float = 0.0
    hangs: float = 0.0
    """Goes on pinging, and does nothing else for a long time."""
    falls_silent: float = 0.0
    stops_pinging: float = 0.0
    """Works on, and posts late."""
    loses_delivery: float = 0.0
    loses_result: float = 0.0
    posts_twice: float = 0.0
    asks_for_refresh: float = 0.0


ALL_VICES: Final = Vices(**{field.name: 0.03 for field in fields(Vices)} | {"crashes_while_starting": 0.15})


class SdkWorker:
    """One worker."""

    def __init__(self, world: World, fake: FakeWorker, chance: Random) -> None:
        env = fake.spec.env
        self.id = WorkerId(env["RUNPOD_POD_ID"])
        self.fake = fake
        self.jobs: dict[tuple[JobId, int], asyncio.Task[None]] = {}
        """What it works on, by job and attempt. A killed worker's list stays as it was, for the ping that outlives it."""
        self._world = world
        self._token = env["RUNPOD_AI_API_KEY"]
        self._slots = int(env["SLOTS"])
        self._start_s = float(env["START_S"])
        self._ping_s = int(env["RUNPOD_PING_INTERVAL"]) / 1000
        self._chance = chance
        self._has = {name: self._vice(name) for name in _OF_WORKERS}
        self._silent = False
        self._pinging = not self._has["sends_no_pings"]
        self._caller: Caller | None = None
        self._freed = asyncio.Event()
        self._turns = asyncio.Semaphore(self._slots)
        self.begun: list[JobId] = []
        """Jobs in the order in which their handlers began."""
        self._crash: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    # ── its life ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> int:
        """Start, work, and end with an exit code; the program of the fake runtime."""
        code = await self._start()
        if code is not None:
            return code
        if self._pinging:
            self._world.beside(self._ping())
        tasks = [asyncio.create_task(self._fetch()), asyncio.create_task(self._listen())]
        term = asyncio.create_task(self._terminated())
        try:
            ends: set[asyncio.Future[int]] = {self._crash, term}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            return self._crash.result() if self._crash.done() else term.result()
        finally:
            for task in (*tasks, term, *self.jobs.values()):
                task.cancel()

    async def _start(self) -> int | None:
        if self._has["never_starts"]:
            await asyncio.sleep(86_400)
        slow = 20 if self._has["starts_slowly"] else 1
        await asyncio.sleep(self._start_s * slow * self._chance.uniform(0.9, 1.1))
        if self._has["fails_its_check"]:
            await self._say(lambda server: server.leases.unhealthy(self._known(), "no GPU"))
            return 1
        return 1 if self._has["crashes_while_starting"] else None

    async def _terminated(self) -> int:
        """SIGTERM: what it works on is finished first; who ignores it is killed."""
        await self.fake.terminated.wait()
        if self._has["ignores_sigterm"]:
            await asyncio.Event().wait()
        while self.jobs:
            await self._wait_for_a_slot()
        return 0

    # ── what it says ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _say(self, call: Callable[[Server], Awaitable[T]]) -> T:
        """One request. Raises `Down` when the server is not there, or dies meanwhile."""
        await asyncio.sleep(self._chance.random() * 0.005)
        return await self._world.request(lambda server: self._called(server, call))

    async def _called(self, server: Server, call: Callable[[Server], Awaitable[T]]) -> T:
        self._caller = await server.leases.caller(self.id, self._token)
        return await call(server)

    def _known(self) -> Caller:
        assert self._caller is not None
        return self._caller

    async def _ping(self) -> None:
        """A process of its own: it says what is on the list of jobs."""
        linger_s = self._chance.uniform(1, 120) if self._has["lets_pings_linger"] else 0.0
        await asyncio.sleep(self._chance.uniform(0, 2))  # while the process starts, the first take is on its way
        while self._pinging:
            if self.fake.exit is not None:
                linger_s -= self._ping_s
                if linger_s < 0:
                    return
            if not self._silent:
                await self._ping_once()
            await asyncio.sleep(self._ping_s)

    async def _ping_once(self) -> None:
        listed = [job for job, _attempt in self.jobs]
        try:
            await self._say(lambda server: server.leases.ping(self._known(), listed, sdk=SDK))
        except Down:
            return

    async def _fetch(self) -> None:
        while not (self.fake.terminated.is_set() and not self._has["ignores_sigterm"]):
            free = self._slots - len(self.jobs)
            if free <= 0 or self._silent:
                await self._wait_for_a_slot()
                continue
            try:
                claims = await self._take(free)
            except Down:
                await asyncio.sleep(RETRY_AFTER_S)
                continue
            for claim in claims:
                self._begin(claim)

    async def _take(self, free: int) -> list[Claim]:
        asker = Asker()
        holds_none = not self.jobs

        async def take(server: Server) -> list[Claim]:
            return await server.take(self._known(), asker, limit=free, holds_none=holds_none, sdk=SDK)

        try:
            return await self._say(take)
        finally:
            asker.hung_up = True
            if self._caller is not None:
                self._world.hang_up(self._caller, asker)

    async def _listen(self) -> None:
        while True:
            try:
                told = await self._say(lambda server: server.leases.stops(self._known()))
            except Down:
                await asyncio.sleep(RETRY_AFTER_S)
                continue
            for (job, _attempt), task in list(self.jobs.items()):
                if job in told and not self._has["ignores_stops"]:
                    task.cancel()

    # ── what it does ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _begin(self, claim: Claim) -> None:
        key = (claim.job.id, claim.job.attempt)
        if not self._vice("loses_delivery") and key not in self.jobs:
            self.jobs[key] = asyncio.create_task(self._work(claim))

    def _vice(self, name: str) -> bool:
        return self._chance.random() < float(getattr(self._world.vices, name))

    async def _wait_for_a_slot(self) -> None:
        self._freed.clear()
        await self._freed.wait()

    async def _work(self, claim: Claim) -> None:
        try:
            async with self._turns:  # those delivered ahead begin in their order, as slots become free
                self.begun.append(claim.job.id)
                await self._handle(claim)
        finally:
            if self.fake.exit is None:
                del self.jobs[claim.job.id, claim.job.attempt]
            self._freed.set()

    async def _handle(self, claim: Claim) -> None:
        wish = json.loads(claim.input)
        await asyncio.sleep(wish["work_s"] * self._chance.random())
        if wish["kills"] or self._vice("crashes"):
            if not self._crash.done():
                self._crash.set_result(139)
            await asyncio.Event().wait()
        if self._vice("falls_silent"):
            self._silent = True
            await asyncio.Event().wait()
        if self._vice("stops_pinging"):
            self._pinging = False
            await asyncio.sleep(self._chance.uniform(1, 200))
        if self._vice("hangs"):
            await asyncio.sleep(3_600)
        await asyncio.sleep(wish["work_s"])
        if self._vice("loses_result"):
            return
        for _ in range(2 if self._vice("posts_twice") else 1):
            await self._post(claim, failed=wish["fails"])

    async def _post(self, claim: Claim, *, failed: bool) -> None:
        output = json.dumps({"worker": self.id, "attempt": claim.job.attempt}).encode()
        report = Report(
            output=None if failed else output,
            error="ValueError: no" if failed else None,
            refresh=self._vice("asks_for_refresh"),
        )
        for _ in range(POST_TRIES):
            try:
                await self._say(lambda server: server.finish(self._known(), claim.job.id, report))
                return
            except Down:
                await asyncio.sleep(RETRY_AFTER_S)


_OF_WORKERS: Final = (
    "crashes_while_starting",
    "fails_its_check",
    "starts_slowly",
    "never_starts",
    "ignores_sigterm",
    "ignores_stops",
    "sends_no_pings",
    "lets_pings_linger",
)
