"""Workers as containers: the runtime of a machine with a Docker engine, with or without GPUs.

The engine's labels are the memory: containers of this installation are found again after a restart of the server, what bears
another label is left alone. A container lives once. When it has ended, its output and the words of its end are kept in a record
(`record`) and the container is removed, so that no worker's file system outlives it.

    engine      the API             container   order → create call      networks    one for each endpoint
    firewall    what keeps workers from the machine's metadata
    images      pulled once, kept   reference   names, progress, refusals
    death       ends in words       output      lines with times          record      what stays
    disk        limits on writing

Calls follow the contract of the port.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Collection, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import structlog

from stoker.clock import Clock
from stoker.errors import Conflict, InvalidInput, StokerError, Unavailable
from stoker.ids import WorkerId
from stoker.runtimes import Capacity, Image, Login, LogLine, Nudge, Observation, Step, WorkerSpec, gpus
from stoker.runtimes.container import INSTALLATION, WORKER, check_image, container_name
from stoker.runtimes.docker import death, disk, places
from stoker.runtimes.docker.container import DISK, Terms, container_config, published
from stoker.runtimes.docker.engine import Engine, Refusal
from stoker.runtimes.docker.firewall import Firewall
from stoker.runtimes.docker.images import Images
from stoker.runtimes.docker.networks import Networks
from stoker.runtimes.docker.record import Records
from stoker.runtimes.output import lines_of
from stoker.runtimes.reference import check_name
from stoker.worker import Exit

log = structlog.get_logger()

WATCH_AGAIN_S: Final = 1.0
"""How soon to look again whether a worker has ended, after the engine went away while we waited for it."""
_RUNS: Final = frozenset({"running", "paused", "restarting", "removing"})


class DockerRuntime:
    """Runs workers as containers of the engine. `root` holds what is kept of ended workers.

    Call `close` before the event loop ends; it leaves the workers running.
    """

    def __init__(self, engine: Engine, root: Path, clock: Clock, *, nudge: Nudge | None, terms: Terms) -> None:
        self._engine = engine
        self._clock = clock
        self._nudge = nudge or (lambda: None)
        self._terms = terms
        self._records = Records(root)
        self._networks = Networks(engine, terms.installation, _firewall(engine, terms))
        self._images = Images(engine, clock, root.with_suffix(".json"))
        self._ends: dict[WorkerId, Exit] | None = None
        self._launching: dict[WorkerId, asyncio.Task[tuple[Step, ...]]] = {}
        self._burying: dict[WorkerId, asyncio.Task[Exit]] = {}
        self._watched: dict[WorkerId, asyncio.Task[None]] = {}
        self._kills: dict[WorkerId, asyncio.TimerHandle] = {}
        self._stopped: dict[WorkerId, str] = {}
        self._errands: set[asyncio.Task[None]] = set()
        self._removals: dict[WorkerId, asyncio.Task[None]] = {}
        self._enforces_disk: bool | None = None
        """None while nobody has asked the engine."""
        self._look_at_disks_at = 0.0

    # ── the five calls ────────────────────────────────────────────────────────────────────────────────────────────────

    async def launch(self, spec: WorkerSpec) -> Sequence[Step]:
        """Create and start the container. The start goes on if the caller stops waiting for it."""
        task = self._launching.get(spec.worker)
        if task is None:
            task = asyncio.create_task(self._start(spec), name=f"start {spec.worker}")
            self._launching[spec.worker] = task
            task.add_done_callback(functools.partial(self._launched, spec.worker))
        return await asyncio.shield(task)

    async def stop(self, worker: WorkerId, *, grace_s: float) -> None:
        """SIGTERM to the first process, which passes it on; after the grace the engine kills all that is in the container."""
        if worker in self._launching:
            return
        container = container_name(worker)
        if grace_s > 0:
            await self._send(container, "SIGTERM")
            self._kill_later(worker, grace_s)
        else:
            self._stopped.setdefault(worker, "because it was stopped at once")
            await self._send(container, "SIGKILL")

    async def observe(self) -> Sequence[Observation]:
        """What the engine lists under our label, and what is recorded of those that ended."""
        ends = await self._recorded()
        launching = set(self._launching)
        found = await self._ask_containers()
        running = [worker for worker, state in found.items() if state in _RUNS]
        gone = [worker for worker, state in found.items() if state not in _RUNS and worker not in launching]
        for worker in running:
            self._watch(worker)
        self._watch_disks()
        await asyncio.gather(*(self._bury(worker, found[worker]) for worker in gone if worker not in ends))
        seen: dict[WorkerId, Exit | None] = dict.fromkeys((*launching, *self._launching, *running))
        return [Observation(worker=worker, exit=end) for worker, end in sorted((seen | ends).items())]

    async def logs(self, worker: WorkerId, *, tail: int, follow: bool) -> AsyncIterator[LogLine]:
        """From the engine while the container is there, else from the record."""
        if worker not in await self._recorded():
            pieces = self._engine.output(container_name(worker), tail=tail, follow=follow)
            try:
                async for line in lines_of(pieces):
                    yield line
                return
            except Refusal:
                pass  # it was never there, or has been buried meanwhile
        for line in await asyncio.to_thread(self._records.output, worker, tail):
            yield line

    async def capacity(self) -> Capacity:
        """The GPUs of this machine."""
        return await asyncio.to_thread(gpus.read_capacity)

    # ── abilities ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def check_image(self, image: str, command: str) -> None:
        """Whether the names can be understood. Whether the image exists is seen when it is pulled."""
        check_image(image, command)

    async def address(self, worker: WorkerId) -> str:
        """The port of this machine's loopback at which the engine publishes the worker's."""
        try:
            shown = await self._engine.show(container_name(worker))
        except Refusal:
            return ""
        return published(shown)

    async def forget(self, worker: WorkerId) -> None:
        """Remove the record. Raises `Conflict` while the worker runs."""
        ends = await self._recorded()
        if worker in self._launching or (worker not in ends and worker in await self._ask_containers()):
            raise Conflict(f"worker {worker} still runs", next_step="stop it first")
        if (removal := self._removals.get(worker)) is not None:
            await removal  # else the next look would find a container without a record
        ends.pop(worker, None)
        await asyncio.to_thread(self._records.remove, worker)

    async def trim_logs(self, bytes_max: int) -> int:
        """Let go of the output of those that ended first."""
        return await asyncio.to_thread(self._records.trim, bytes_max)

    async def pull(self, image: str, *, login: Login | None) -> str:
        """Have the image here; its name by digest."""
        return await self._images.pull(image, login)

    async def is_built_here(self, image: str) -> bool:
        """Whether the engine has it and did not pull it."""
        return await self._images.is_built_here(image)

    def pulling(self, image: str) -> str:
        """How far its pull is, in words; empty when none goes on."""
        return self._images.progress(image)

    async def images(self) -> Sequence[Image]:
        """The images that were fetched for workers."""
        return await self._images.list()

    async def remove_image(self, image: str) -> None:
        """Remove one of them."""
        await self._images.remove(image)

    async def collect_images(self, *, used: Collection[str], unused_before_ms: int, bytes_max: int) -> Sequence[str]:
        """Remove those that nobody needs, and networks that nobody is in."""
        await self._networks.sweep()
        return await self._images.collect(used=used, unused_before_ms=unused_before_ms, bytes_max=bytes_max)

    async def gateway(self) -> str:
        """The address under which workers reach this machine."""
        return await self._networks.gateway()

    async def close(self) -> None:
        """Stop watching. Workers go on; another `DockerRuntime` of the same installation finds them."""
        for kill in self._kills.values():
            kill.cancel()
        tasks = [*self._watched.values(), *self._errands, *self._launching.values(), *self._burying.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._images.close()
        await self._engine.close()

    # ── launching ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _start(self, spec: WorkerSpec) -> tuple[Step, ...]:
        """Bring the worker into being; when each stage was over. Nothing for one that had been started before."""
        if spec.worker in await self._recorded():
            return ()
        check_name(spec.image)
        if not await self._create(spec):
            return ()
        created = Step(name="created", at_ms=self._clock.now_ms())
        try:
            await self._engine.start(container_name(spec.worker))
        except Refusal as refusal:
            await self._discard(spec.worker)
            raise _start_error(spec, refusal) from None
        self._watch(spec.worker)
        return (created, Step(name="started", at_ms=self._clock.now_ms()))

    async def _create(self, spec: WorkerSpec) -> bool:
        """Make the container, pulling its image if it is not here. False when it had been made before."""
        for pulled in (False, True):
            try:
                await self._create_once(spec)
            except Refusal as refusal:
                if refusal.status == 409:
                    return False
                if refusal.status == 404 and "network" in refusal.message:
                    self._networks.forget()
                elif refusal.status == 404 and not pulled:
                    await self._images.pull(spec.image, spec.login)
                elif self._enforces_disk and "storage-opt" in refusal.message.lower():
                    self._enforces_disk = False
                else:
                    raise _start_error(spec, refusal) from None
            else:
                return True
        raise Unavailable(f"the engine did not create worker {spec.worker} twice in a row", code="launch_failed")

    async def _create_once(self, spec: WorkerSpec) -> None:
        volumes = await asyncio.to_thread(places.found, spec.volumes, self._terms.mounts)
        spec = replace(spec, volumes=volumes)
        network = await self._networks.of(spec.endpoint)
        if self._enforces_disk is None:
            self._enforces_disk = disk.keeps_limits(await self._engine.info())
        config = container_config(spec, self._terms, network=network, enforce_disk=self._enforces_disk)
        await self._engine.create(container_name(spec.worker), config)

    def _launched(self, worker: WorkerId, task: asyncio.Task[tuple[Step, ...]]) -> None:
        del self._launching[worker]
        if not task.cancelled():
            task.exception()  # whoever waited has it

    async def _discard(self, worker: WorkerId) -> None:
        """Remove its container. What is gone is removed."""
        try:
            await self._engine.remove(container_name(worker))
        except Refusal as refusal:
            if refusal.status not in (404, 409):  # 409: it is being removed already
                log.warning("container_not_removed", worker=worker, error=refusal.message)
        except Unavailable as error:  # the next look finds it again
            log.warning("container_not_removed", worker=worker, error=error.message)

    # ── stopping ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _send(self, container: str, signal: str) -> None:
        try:
            await self._engine.signal(container, signal)
        except Refusal as refusal:
            if refusal.status not in (404, 409):  # it is gone, or it does not run
                raise Unavailable(f"the engine cannot send {signal} to {container}: {refusal.message}") from None

    def _kill_later(self, worker: WorkerId, grace_s: float) -> None:
        """SIGKILL after the grace; of several graces the first to end counts."""
        loop = asyncio.get_running_loop()
        at, before = loop.time() + grace_s, self._kills.get(worker)
        if before is not None and before.when() <= at:
            return
        if before is not None:
            before.cancel()
        self._kills[worker] = loop.call_at(at, self._kill, worker, grace_s)

    def _kill(self, worker: WorkerId, grace_s: float) -> None:
        self._kills.pop(worker, None)
        self._stopped.setdefault(worker, f"when its grace of {grace_s:g} s had passed")
        self._run_errand(self._send_later(container_name(worker)))

    async def _send_later(self, container: str) -> None:
        try:
            await self._send(container, "SIGKILL")
        except Unavailable as error:  # the lifeline tells us again
            log.warning("runtime_unavailable", container=container, error=error.message)

    def _run_errand(self, errand: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(errand)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)
        return task

    # ── watching and burying ──────────────────────────────────────────────────────────────────────────────────────────

    def _watch_disks(self) -> None:
        """Look at what containers have written, if it is time and nobody looks."""
        now = asyncio.get_running_loop().time()
        if now >= self._look_at_disks_at:  # an earlier server may have begun one that the engine does not keep
            self._look_at_disks_at = now + disk.LOOK_EVERY_S
            self._run_errand(self._look_at_disks())

    async def _look_at_disks(self) -> None:
        try:
            found = await self._engine.containers(self._labels(DISK), sizes=True)
        except (Refusal, Unavailable) as error:
            log.warning("disks_not_looked_at", error=str(error))
            return
        for worker, text in disk.too_full(found).items():
            self._stopped.setdefault(worker, text)
            await self._send_later(container_name(worker))

    def _labels(self, *more: str) -> list[str]:
        return [f"{INSTALLATION}={self._terms.installation}", *more]

    async def _recorded(self) -> dict[WorkerId, Exit]:
        if self._ends is None:
            read = await asyncio.to_thread(self._records.read)
            if self._ends is None:
                self._ends = read
        return self._ends

    async def _ask_containers(self) -> dict[WorkerId, str]:
        """Our containers, by worker, with the engine's word for their state."""
        try:
            found = await self._engine.containers(self._labels())
        except Refusal as refusal:
            raise Unavailable(f"the Docker engine refuses to list containers: {refusal.message}") from None
        return {WorkerId(one["Labels"][WORKER]): str(one["State"]) for one in found if WORKER in one["Labels"]}

    def _watch(self, worker: WorkerId) -> None:
        """See to it that the nudge comes as soon as it ends."""
        if worker not in self._watched:
            task = asyncio.create_task(self._wait_for_end(worker), name=f"watch {worker}")
            self._watched[worker] = task
            task.add_done_callback(lambda _done: self._watched.pop(worker, None))

    async def _wait_for_end(self, worker: WorkerId) -> None:
        while True:
            try:
                await self._engine.ended(container_name(worker))
            except Unavailable:
                await asyncio.sleep(WATCH_AGAIN_S)
                continue
            except Refusal:
                pass  # somebody removed it
            self._nudge()
            return

    async def _bury(self, worker: WorkerId, state: str) -> Exit | None:
        """Keep what is to be kept of an ended worker, then remove its container. Whoever comes meanwhile waits for the same."""
        if state == "created" and worker in self._watched:
            return None  # it was listed just before it started
        if state == "created":  # a server was killed between its creation and its start: it never was
            await self._discard(worker)
            return None
        task = self._burying.get(worker)
        if task is None:
            task = asyncio.create_task(self._keep_record(worker), name=f"bury {worker}")
            self._burying[worker] = task
            task.add_done_callback(lambda _done: self._burying.pop(worker, None))
        try:
            return await asyncio.shield(task)
        except Refusal:
            return None  # somebody removed it while we looked

    async def _keep_record(self, worker: WorkerId) -> Exit:
        container = container_name(worker)
        shown = await self._engine.show(container)
        lines = [line async for line in lines_of(self._engine.output(container, tail=None, follow=False))]
        state = shown["State"]
        victims = await asyncio.to_thread(death.read_victims) if state.get("OOMKilled") else {}
        last = next((line.text for line in reversed(lines) if line.text.strip()), "")
        end = death.exit_of(
            state, stopped=self._stopped.pop(worker, ""), victim=victims.get(shown["Id"], ""), last_line=last
        )
        await asyncio.to_thread(self._records.write, worker, end, lines)
        (await self._recorded())[worker] = end
        if (kill := self._kills.pop(worker, None)) is not None:
            kill.cancel()
        removal = self._run_errand(self._discard(worker))
        self._removals[worker] = removal
        removal.add_done_callback(lambda _done: self._removals.pop(worker, None))
        return end


def _firewall(engine: Engine, terms: Terms) -> Firewall | None:
    if terms.block_metadata == "never":
        return None
    return Firewall(engine, required=terms.block_metadata == "always")


def _start_error(spec: WorkerSpec, refusal: Refusal) -> StokerError:
    """What the engine's refusal to create or start a container means: its own words, which name the program or the mount."""
    text = refusal.message.removeprefix("failed to create shim task: ")
    if "nvidia" in text or "could not select device driver" in text:
        return Unavailable(
            f"the engine cannot give GPUs to containers: {text}",
            code="no_gpu_toolkit",
            next_step="install the NVIDIA Container Toolkit (nvidia-container-toolkit) and restart the engine",
        )
    if refusal.status in (400, 404) or "executable file not found" in text or "permission denied" in text:
        return InvalidInput(f"{spec.image} cannot start: {text}", code="cannot_start", field="command")
    return Unavailable(f"the engine cannot start {spec.image}: {text}", code="launch_failed")


__all__ = ["DockerRuntime", "Engine", "Terms"]
