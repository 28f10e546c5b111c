"""Launching workers: each is written down with what is reserved for it, then started in the background.

Called by plans that are carried out. A launch may take long (an image is pulled): whoever ends a worker meanwhile leaves it to
the launch to stop it (`moves`).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import structlog

from stoker import ids
from stoker.catalog.mounts import FindPlaces
from stoker.catalog.sealing import opened
from stoker.clock import Clock
from stoker.endpoint import Endpoint, Release, cuda_refusal
from stoker.errors import StokerError, Unavailable
from stoker.fleet.moves import Moves
from stoker.fleet.order import worker_environment, worker_spec
from stoker.fleet.shares import Shares
from stoker.fleet.terms import FleetTerms
from stoker.ids import WorkerId
from stoker.images import Images
from stoker.runtimes import Runtime, WorkerSpec
from stoker.scaling import Launch
from stoker.signals import Signals
from stoker.specification import Specification
from stoker.store import Store
from stoker.vault import Vault
from stoker.worker import Launched, LaunchFailed, Waits, Worker, WorkerState

log = structlog.get_logger()


class Launches:
    """Workers on their way into the runtime."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        signals: Signals,
        runtime: Runtime,
        terms: FleetTerms,
        vault: Vault,
        images: Images,
        shares: Shares,
        moves: Moves,
        find_places: FindPlaces,
    ) -> None:
        self._store = store
        self._clock = clock
        self._signals = signals
        self._runtime = runtime
        self._terms = terms
        self._vault = vault
        self._images = images
        self._shares = shares
        self._moves = moves
        self._find_places = find_places
        self._pulling: dict[WorkerId, tuple[Worker, Release]] = {}
        self._tasks: dict[WorkerId, asyncio.Task[None]] = {}

    async def launch(self, endpoint: Endpoint, release: Release, line: Launch) -> None:
        """Write one worker of a plan's line down unless as many exist as may, then start it in the background: a start may take long."""
        inventory = await self._shares.inventory(endpoint, release)
        place = inventory.place(release)
        if place is None:
            return
        one = inventory.specification(place.specification)
        assert one is not None, "the inventory places workers in what it has"
        token = ids.new_worker_token()
        worker = Worker(
            id=ids.new_worker_id(),
            team=endpoint.team,
            endpoint=endpoint.id,
            release=release.id,
            detail=line.text,
            token_hash=ids.secret_hash(token),
            gpus=place.gpus,
            specification=place.specification,
            memory_bytes=place.memory_bytes,
            price_per_hour_micros=one.price_micros_of(release.gpus_per_worker),
            wanted_ms=line.wanted_ms,
            decided_ms=self._clock.now_ms(),
            unhealthy_ms=None if release.health is None else self._clock.now_ms(),
        )
        start = asyncio.Event()
        task = asyncio.create_task(self._start(worker, release, one, token, start), name=f"launch {worker.id}")
        self._tasks[worker.id] = task
        self._moves.launching.add(worker.id)
        task.add_done_callback(lambda _done: self._over(worker.id))
        if not await self._store.workers.add(worker, alive_max=line.alive_max, bounds=inventory.bounds(one)):
            task.cancel()
            return
        log.info("worker_decided", worker=worker.id, endpoint=endpoint.name, where=one.id, why=line.text)
        start.set()

    def _over(self, worker: WorkerId) -> None:
        self._tasks.pop(worker, None)
        self._moves.launching.discard(worker)

    async def _start(
        self, worker: Worker, release: Release, place: Specification, token: str, start: asyncio.Event
    ) -> None:
        await start.wait()
        try:
            spec = await self._spec(worker, release, place, token)
            image = await self._have_image(worker, release)
            pulled_ms = self._clock.now_ms()
            login = await self._images.login(release)
            await self._check_driver(release)
            steps = await self._runtime.launch(replace(spec, image=image, login=login))
        except StokerError as error:
            log.warning("launch_failed", worker=worker.id, error=error.message)
            await self._moves.advance(worker, LaunchFailed(at_ms=self._clock.now_ms(), text=error.message))
        else:
            self._over(worker.id)
            if steps is None:  # it starts later: who looks at workers sees it
                stopped = await self._store.workers.get(worker.id)
                if stopped is None or stopped.state in (WorkerState.STOPPING, WorkerState.GONE):
                    await self._moves.stop_in_runtime(worker.id, grace_s=0)
                self._signals.look_at_workers()
                return
            stages = (("pulled", pulled_ms), *((one.name, one.at_ms) for one in steps)) if steps else ()
            step = await self._moves.advance(worker, Launched(at_ms=self._clock.now_ms(), stages=stages))
            if step.worker.state in (WorkerState.STOPPING, WorkerState.GONE):
                await self._moves.stop_in_runtime(worker.id, grace_s=0)

    async def _check_driver(self, release: Release) -> None:
        """Raise `Unavailable` when the driver is too old now: the machine may have started with another since the plan was made."""
        if release.gpus_per_worker and release.cuda:
            capacity = await self._runtime.capacity()
            if refusal := cuda_refusal(release.cuda, capacity.cuda):
                raise Unavailable(refusal)

    async def _spec(self, worker: Worker, release: Release, place: Specification, token: str) -> WorkerSpec:
        """What the runtime is told; secrets are open in it. Raises `Unavailable` when they cannot be opened, `NotFound` when a
        volume is gone."""
        env = await opened(self._vault, worker.team, release.env)
        environment = worker_environment(
            worker,
            token,
            self._terms,
            env,
            release.volumes,
            gpus=release.gpus_per_worker,
            http_port=release.http_port,
        )
        volumes = await self._find_places(worker.team, release.volumes)
        return worker_spec(worker, release, environment, place, volumes)

    async def _have_image(self, worker: Worker, release: Release) -> str:
        self._pulling[worker.id] = (worker, release)
        try:
            return await self._images.have(release)
        finally:
            del self._pulling[worker.id]

    async def tell_pulls(self) -> None:
        """Let everybody who waits for a worker see how far its image is."""
        for worker, release in list(self._pulling.values()):
            text = self._images.progress(release)
            if text and (await self._moves.advance(worker, Waits(at_ms=self._clock.now_ms(), text=text))).changed:
                self._signals.scale(worker.endpoint)

    async def cancel(self) -> None:
        """Break off every launch that goes on."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
