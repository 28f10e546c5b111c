"""A world to play days in: a store, a machine, a server that may die at any moment, workers with vices, and clients.

Only the loop moves time. Everything is wired as `stoker.server` wires it, without HTTP: workers and clients call the operations
as the web layer would, a request that the server's death cuts off raises `Down`, and what was begun at that moment may or may not
have happened. One seed decides every chance.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import structlog

from stoker.audit import Actor
from stoker.catalog import Catalog, Defaults
from stoker.endpoint import Endpoint
from stoker.errors import StokerError
from stoker.fleet import Fleet, FleetTerms
from stoker.ids import EndpointId, JobId, TeamId, WorkerId
from stoker.leases import Asker, Caller, Leases, Report
from stoker.loops.autoscaler import Autoscaler
from stoker.loops.lifeline import Lifeline
from stoker.loops.pruner import Pruner
from stoker.queue import Queue, Submission
from stoker.runtimes import Device
from stoker.runtimes.fake import FakeRuntime, FakeWorker
from stoker.signals import Signals
from stoker.store import Claim
from stoker.store.sqlite import MEMORY, SqliteStore
from stoker.store.sqlite.connection import connect
from stoker.store.sqlite.transaction import Session
from stoker.store.sqlite.writer import Inline
from tests.simulation.loop import SimulatedLoop
from tests.simulation.machine import Disk, Machine
from tests.simulation.workers import Down, SdkWorker, Vices

T = TypeVar("T")

EPOCH_MS: Final = 1_700_000_000_000
"""When the loop's time 0 is."""
TERMS: Final = FleetTerms(
    worker_url="http://stoker",
    ping_interval_ms=4_000,
    lease_s=30,
    cancel_grace_s=10,
    stop_grace_s=10,
    start_timeout_s=90,
    gone_workers_kept_s=86_400,
)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a world is made."""

    seed: int
    vices: Vices = field(default_factory=Vices)
    terms: FleetTerms = TERMS
    hold_s: float = 20.0
    observe_every_s: float = 1.0
    gpus: int = 0
    more_devices: tuple[Device, ...] = ()
    """GPUs of other kinds."""
    runtime_delay_s: float = 0.01
    launch_refusals: float = 0.0


class LoopClock:
    """The loop's time as a time of day."""

    def now_ms(self) -> int:
        """Milliseconds."""
        return EPOCH_MS + round(asyncio.get_running_loop().time() * 1000)


class Server:
    """One life of the server: everything that its death forgets."""

    def __init__(self, world: World) -> None:
        store, clock, terms = world.store, world.clock, world.setting.terms
        self.signals = Signals()
        self.fleet = Fleet(store, clock, self.signals, world.machine, terms)
        self.catalog = Catalog(store, clock, self.signals, world.machine, Defaults(retention_s=21_600))
        self.queue = Queue(store, clock, self.signals)
        self.leases = Leases(
            store, clock, self.signals, hold_s=world.setting.hold_s, lease_s=terms.lease_s, output_bytes_max=1_000_000
        )
        lifeline = Lifeline(store, clock, self.signals, self.fleet, every_s=world.setting.observe_every_s)
        self.stopping = False
        self.loops = [
            asyncio.create_task(loop.run())
            for loop in (lifeline, Pruner(store, clock, self.fleet), Autoscaler(store, clock, self.signals, self.fleet))
        ]
        self.requests: dict[asyncio.Task[Any], None] = {}

    async def serve(self, request: Awaitable[T]) -> T:
        """One request. It goes on when its caller has gone; it raises `Down` when the server dies."""
        task = asyncio.ensure_future(request)
        self.requests[task] = None
        task.add_done_callback(self._served)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise Down from None
            raise

    def _served(self, task: asyncio.Task[Any]) -> None:
        del self.requests[task]
        if not task.cancelled():
            task.exception()  # its caller may be dead and never look

    async def take(self, caller: Caller, asker: Asker, *, limit: int, holds_none: bool, sdk: str) -> list[Claim]:
        """As the web layer does it: what is handed to a worker that hung up goes back."""
        claims = await self.leases.take(caller, asker, limit=limit, holds_none=holds_none, sdk=sdk)
        if claims and asker.hung_up:
            await self.leases.give_back(caller, claims)
            return []
        return list(claims)

    async def finish(self, caller: Caller, job: JobId, report: Report) -> None:
        """A result."""
        await self.leases.finish(caller, job, report)

    async def die(self) -> None:
        """As by SIGKILL: nothing that was begun goes on."""
        launches = [task for task in asyncio.all_tasks() if task.get_name().startswith("launch ")]
        doomed = [*self.loops, *sorted(launches, key=asyncio.Task.get_name), *self.requests]
        for task in doomed:
            task.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)

    async def stop(self, grace_s: float) -> None:
        """As by SIGTERM."""
        self.stopping = True
        for task in self.loops:
            task.cancel()
        await asyncio.gather(*self.loops, return_exceptions=True)
        await self.fleet.close(grace_s=grace_s)
        self.signals.close()
        await asyncio.sleep(0.1)
        await self.die()


class World:
    """All of it."""

    def __init__(self, setting: Setting, store: SqliteStore, view: SqliteStore) -> None:
        self.setting = setting
        self.store = store
        self.view = view
        """The same store for onlookers: it answers at once, so that several looks see one moment."""
        self.clock = LoopClock()
        self.chance = random.Random(f"{setting.seed} world")
        self.vices = setting.vices
        self._gpus: list[str | Device] = [f"GPU-{number}" for number in range(setting.gpus)]
        self._gpus += setting.more_devices
        self.machine = Machine(
            self._program,
            random.Random(f"{setting.seed} machine"),
            nudge=self._nudge,
            gpus=self._gpus,
            delay_s=setting.runtime_delay_s,
            refusals=setting.launch_refusals,
        )
        self.workers: dict[WorkerId, SdkWorker] = {}
        """Every worker that ever ran."""
        self.endpoints: list[Endpoint] = []
        self.accepted: dict[JobId, EndpointId] = {}
        """Every job that a client was told it has."""
        self.team = TeamId("")
        self.server: Server | None = None
        self.started_ms = 0
        """When the present server, or the last, began."""
        self.mishaps: list[dict[str, Any]] = []
        """What the loop complained about: tasks that failed and that nobody asked."""
        self._beside: dict[asyncio.Task[None], None] = {}

    @property
    def now_s(self) -> float:
        """The loop's time."""
        return asyncio.get_running_loop().time()

    @property
    def well(self) -> bool:
        """Whether there are a server and a runtime that can act."""
        acting = self.server is not None and not self.server.stopping
        return acting and not self.machine.away and not self.machine.blind

    def devices(self) -> FakeRuntime:
        """The machine for onlookers: it says at once what it has."""
        return FakeRuntime(self._program, gpus=self._gpus)

    # ── the server ────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> Server:
        """A new life on what is stored."""
        self.server = Server(self)
        self.started_ms = self.clock.now_ms()
        return self.server

    async def restart(self, *, down_s: float, grace_s: float | None = None) -> None:
        """Kill the server, or stop it with a grace; start another after `down_s`."""
        server = self.server
        assert server is not None
        if grace_s is not None:
            await server.stop(grace_s)
        self.server = None
        await server.die()
        await asyncio.sleep(down_s)
        self.start()

    async def request(self, call: Callable[[Server], Awaitable[T]]) -> T:
        """What a client or a worker asks. Raises `Down`, and what the server answers."""
        if self.server is None:
            raise Down
        return await self.server.serve(call(self.server))

    def hang_up(self, caller: Caller, asker: Asker) -> None:
        """The connection of a held take was closed."""
        if self.server is not None:
            self.server.leases.hang_up(caller, asker)

    def _nudge(self) -> None:
        if self.server is not None:
            self.server.signals.look_at_workers()

    # ── workers ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _program(self, fake: FakeWorker) -> int:
        chance = random.Random(f"{self.setting.seed} worker {len(self.workers)}")
        worker = SdkWorker(self, fake, chance)
        self.workers[worker.id] = worker
        return await worker.run()

    def beside(self, life: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Something that belongs to nobody: ends with the world."""
        task = asyncio.create_task(life)
        self._beside[task] = None
        task.add_done_callback(lambda done: self._beside.pop(done))
        return task

    def running(self, endpoint: EndpointId) -> list[WorkerId]:
        """Workers of the endpoint that the machine runs."""
        return [
            worker.id
            for worker in self.workers.values()
            if worker.fake.exit is None and worker.fake.spec.env["RUNPOD_ENDPOINT_ID"] == endpoint
        ]

    # ── clients ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def create(self, *, start_s: float = 2.0, slots: int = 1, **fields: Any) -> Endpoint:
        """An endpoint whose workers need `start_s` to start."""
        env = {"SLOTS": str(slots), "START_S": str(start_s)}
        deployed = await self.request(
            lambda server: server.catalog.create(
                Actor(team=self.team), {"image": "any", "env": env, "slots": slots, **fields}
            )
        )
        self.endpoints.append(deployed.endpoint)
        return deployed.endpoint

    async def submit(self, endpoint: Endpoint, wish: Mapping[str, Any] | None = None, **fields: Any) -> JobId | None:
        """A job; None when nobody answered: it may be there all the same, as at any queue."""
        body = {"work_s": 1.0, "fails": False, "kills": False} | dict(wish or {})
        submission = Submission(input=json.dumps(body).encode(), **fields)
        try:
            job = await self.request(lambda server: server.queue.submit(endpoint, submission))
        except Down:
            return None
        self.accepted[job.id] = endpoint.id
        return job.id

    async def release(self, endpoint: Endpoint) -> None:
        """Let its workers be replaced by those of a new release."""

        async def update(server: Server) -> None:
            deployed = await server.catalog.deployed(await server.catalog.find(self.team, endpoint.id))
            env = {**deployed.release.env, "RELEASE": str(deployed.release.number + 1)}
            await server.catalog.update(Actor(team=self.team), deployed, {"env": env})

        await self.try_(update)

    async def delete(self, endpoint: Endpoint) -> None:
        """Delete it."""

        async def delete(server: Server) -> None:
            await server.catalog.delete(Actor(team=self.team), await server.catalog.deployed(endpoint))

        await self.request(delete)

    async def try_(self, call: Callable[[Server], Awaitable[object]]) -> None:
        """A request whose refusal does not matter."""
        with suppress(Down, StokerError):
            await self.request(call)

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def until(self, condition: Callable[[], Awaitable[bool]], *, within_s: float, what: str) -> None:
        """Look every half second; fails after `within_s`."""
        end_s = self.now_s + within_s
        while not await condition():
            assert self.now_s < end_s, f"not within {within_s:g} s: {what}"
            await asyncio.sleep(0.5)

    async def close(self) -> None:
        """End everything."""
        for task in list(self._beside):
            task.cancel()
        if self.server is not None:
            await self.server.die()
        await self.machine.close()
        await asyncio.sleep(0)
        await self.store.close()


@asynccontextmanager
async def opened(setting: Setting) -> AsyncIterator[World]:
    """A world with a running server and a team."""
    connection = connect(MEMORY)
    session = Session(connection)
    inline = Inline(connection, session.write)
    writer = Disk(inline, random.Random(f"{setting.seed} writer"))
    reader = Disk(inline, random.Random(f"{setting.seed} reader"))
    world = World(
        setting,
        SqliteStore(writer, reader, reader, session.known),
        SqliteStore(inline, inline, inline, session.known),
    )
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: world.mishaps.append(context))
    server = world.start()
    try:
        await server.catalog.teams.bootstrap(None)
        team = await world.store.teams.first()
        assert team is not None
        world.team = team.id
        yield world
    finally:
        await world.close()


@contextmanager
def _chosen_chance(seed: int) -> Iterator[None]:
    """Let the operating system's chance, which ids and tokens are drawn from, follow the seed."""
    chance = random.Random(f"{seed} ids").randbytes
    before = os.urandom
    os.urandom = random._urandom = chance  # type: ignore[attr-defined]
    try:
        yield
    finally:
        os.urandom = random._urandom = before  # type: ignore[attr-defined]


def play(setting: Setting, story: Callable[[World], Awaitable[T]]) -> T:
    """What `story` returns about a fresh world. The same setting and story are the same world, to the last millisecond."""

    async def life() -> T:
        async with opened(setting) as world:
            answer = await story(world)
            assert not world.machine.mistakes, world.machine.mistakes
        assert not world.mishaps, world.mishaps
        return answer

    with (
        _chosen_chance(setting.seed),
        structlog.testing.capture_logs() as lines,
        asyncio.Runner(loop_factory=SimulatedLoop) as runner,
    ):
        answer = runner.run(life())
    wrong = [line for line in lines if line["log_level"] == "error" or line.get("code") == "internal"]
    assert not wrong, wrong
    return answer
